"""Crosses of features."""

import numpy as np

from lowering.cases.text import case, i, one, s


def longs(*items):
    return i(*items, dtype="int64")


INDICES, SHAPE = longs(0, 0, 0, 1, 2, 0).reshape(3, 2), longs(3, 2)
DENSE_WORDS, DENSE_NUMBERS = s("x", "y", "z", shape=(3, 1)), longs(7, -8, 9).reshape(3, 1)
STRINGS = (INDICES, INDICES, s("a", "b", "c"), s("é", "f", ""), SHAPE, SHAPE, DENSE_WORDS)
NUMBERS = (INDICES, INDICES, longs(1, 2, 3), s("d", "e", "f"), SHAPE, SHAPE, DENSE_NUMBERS)
HASHED = {"N": 2, "hashed_output": True, "out_type": "int64", "hash_key": 956888297470}
BOOLEAN, ALL = np.array(True), longs(5)[0]

SS = {"sparse_types": ("string", "string"), "dense_types": ("string",)}
IS = {"sparse_types": ("int64", "string"), "dense_types": ("int64",)}
II = {"sparse_types": ("int64",), "dense_types": ("int64",)}
TEXT = {"hashed_output": False, "num_buckets": 0, "hash_key": 1, "out_type": "string", "internal_type": "string"}
WHOLE = {"internal_type": "int64"}

CASES = [
    case("SparseCross", "text", *STRINGS, N=2, **TEXT, **SS),
    case("SparseCross", "hashed", *NUMBERS, **HASHED, num_buckets=100, **WHOLE, **IS),
    case("SparseCross", "hashed-without-buckets", *STRINGS, **HASHED, num_buckets=0, **WHOLE, **SS),
    case(
        "SparseCross",
        "numbers",
        INDICES,
        longs(1, -2, 3),
        SHAPE,
        DENSE_NUMBERS,
        **(HASHED | {"N": 1}),
        num_buckets=99,
        **WHOLE,
        **II,
    ),
    case("SparseCrossV2", "separator", *STRINGS, one("-&-"), N=2, **SS),
    case("SparseCrossV2", "numbers", *NUMBERS, one(","), N=2, **IS),
    case("SparseCrossHashed", "weak", *STRINGS, ALL, np.array(False), longs(3, 4), N=2, **SS),
    case("SparseCrossHashed", "strong", *STRINGS, longs(1000)[0], BOOLEAN, longs(137, 173), N=2, **SS),
    case(
        "RaggedCross",
        "text",
        s("a", "b", "c"),
        longs(0, 2, 2, 3),
        INDICES,
        s("d", "e", "f"),
        SHAPE,
        DENSE_WORDS,
        Nsparse=1,
        input_order="RDS",
        hashed_output=False,
        num_buckets=0,
        hash_key=0,
        ragged_values_types=("string",),
        ragged_splits_types=("int64",),
        sparse_values_types=("string",),
        dense_types=("string",),
        out_values_type="string",
        out_row_splits_type="int64",
    ),
    case(
        "RaggedCross",
        "hashed",
        longs(1, 2, 3),
        i(0, 2, 2, 3),
        INDICES,
        s("d", "e", "f"),
        SHAPE,
        DENSE_NUMBERS,
        Nsparse=1,
        input_order="SRD",
        hashed_output=True,
        num_buckets=100,
        hash_key=5,
        ragged_values_types=("int64",),
        ragged_splits_types=("int32",),
        sparse_values_types=("string",),
        dense_types=("int64",),
        out_values_type="int64",
        out_row_splits_type="int32",
    ),
]
