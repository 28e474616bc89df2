"""Serialized examples and CSV lines. The messages are written by hand below, so that no protobuf class is needed."""

import struct

import numpy as np

from lowering.cases.text import case, i, one, s


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    result = b""
    while number > 127:
        result += bytes([number & 127 | 128])
        number >>= 7
    return result + bytes([number])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(values) -> bytes:
    if values and isinstance(values[0], bytes):
        return field(1, b"".join(field(1, v) for v in values))
    if values and isinstance(values[0], float):
        return field(2, field(1, b"".join(struct.pack("<f", v) for v in values)))
    return field(3, field(1, b"".join(varint(v) for v in values))) if values else b""


def example(**features) -> bytes:
    entries = (field(1, field(1, name.encode()) + field(2, feature(v))) for name, v in features.items())
    return field(1, b"".join(entries))


BATCH = s(
    example(age=[42], name=["Zoë".encode()], scores=[0.5, 1.5], tags=[b"a", b"b"]),
    example(age=[-7], name=[b""], scores=[2.0, 3.0], tags=[]),
    example(name=[b"x"], scores=[4.0, 5.0], tags=[b"c"], other=[1]),
)
EMPTY = s()
V2 = {"ragged_value_types": (), "ragged_split_types": ()}
AGE, NAME, SCORES = i(5, dtype="int64"), one("nobody"), np.array([], "float32")

CASES = [
    case(
        "ParseExample",
        "sparse-and-dense",
        BATCH,
        EMPTY,
        one("tags"),
        one("other"),
        one("age"),
        one("name"),
        one("scores"),
        AGE,
        NAME,
        SCORES,
        Nsparse=2,
        Ndense=3,
        sparse_types=("string", "int64"),
        Tdense=("int64", "string", "float32"),
        dense_shapes=((1,), (), (2,)),
    ),
    case(
        "ParseExampleV2",
        "sparse-and-dense",
        BATCH,
        EMPTY,
        s("other", "tags"),
        s("age", "name", "scores"),
        s(),
        AGE,
        NAME,
        SCORES,
        num_sparse=2,
        sparse_types=("int64", "string"),
        Tdense=("int64", "string", "float32"),
        dense_shapes=((1,), (), (2,)),
        **V2,
    ),
    case(
        "ParseExampleV2",
        "one",
        one(BATCH[0]),
        EMPTY,
        s("tags"),
        s("age"),
        s(),
        AGE[0],
        num_sparse=1,
        sparse_types=("string",),
        Tdense=("int64",),
        dense_shapes=((),),
        **V2,
    ),
    case(
        "ParseExampleV2",
        "ragged",
        BATCH,
        EMPTY,
        s(),
        s(),
        s("tags", "age"),
        num_sparse=0,
        sparse_types=(),
        Tdense=(),
        dense_shapes=(),
        ragged_value_types=("string", "int64"),
        ragged_split_types=("int64", "int32"),
    ),
    case(
        "ParseExampleV2",
        "variable-length",
        BATCH,
        EMPTY,
        s(),
        s("tags", "age"),
        s(),
        s("-"),
        i(9, dtype="int64"),
        num_sparse=0,
        sparse_types=(),
        Tdense=("string", "int64"),
        dense_shapes=((None,), (None,)),
        **V2,
    ),
    case(
        "ParseSingleExample",
        "one",
        one(BATCH[0]),
        AGE,
        SCORES,
        num_sparse=1,
        sparse_keys=("tags",),
        dense_keys=("age", "scores"),
        sparse_types=("string",),
        Tdense=("int64", "float32"),
        dense_shapes=((1,), (2,)),
    ),
    case(
        "DecodeCSV",
        "types",
        s("1,2.5,abc", '-3,,"q,""uoted"""', "7,1e3,"),
        i(0),
        np.array([9.5], "float32"),
        s("none"),
        OUT_TYPE=("int32", "float32", "string"),
    ),
    case(
        "DecodeCSV", "semicolon", s("a;b", ";NA"), s("x"), s("y"), OUT_TYPE=("string", "string"), field_delim=";", na_value="NA"
    ),
    case(
        "DecodeCSV",
        "columns",
        s("1,2,3", "4,5,6"),
        i(0, dtype="int64"),
        i(0, dtype="int64"),
        OUT_TYPE=("int64", "int64"),
        select_cols=(0, 2),
    ),
    case("DecodeCSV", "no-quotes", s('"a",b'), s(""), s(""), OUT_TYPE=("string", "string"), use_quote_delim=False),
]
