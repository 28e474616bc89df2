"""Serialized tensors, dense and sparse, in both directions."""

import numpy as np

from lowering.cases.text import case, i, one, s
from thaw.wire.tensor_proto import tensor_proto

R = np.random.default_rng(41)
NUMBERS = R.standard_normal((2, 3)).astype("float32")
WORDS = s("", "a", "straße", b"\xff\x00", "x" * 200, "b", shape=(2, 3))


def longs(*rows):
    return np.array(rows, np.int64).reshape(len(rows), -1)


def message(array, dtype=None):
    return tensor_proto(
        array, dtype or ("string" if array.dtype == object else array.dtype.name), packed=True
    ).SerializeToString()


def messages(indices, values, *shape):
    return [message(part) for part in (indices, values, np.array(shape, np.int64))]


INDICES = longs((0, 1), (0, 3), (2, 0), (4, 4))
SHAPE = i(5, 6, dtype="int64")
NONE = np.empty((0, 2), np.int64)
SPARSE = messages(INDICES, NUMBERS.ravel()[:4], 5, 6)
OTHER = messages(
    longs(
        (1, 1),
    ),
    NUMBERS.ravel()[:1],
    2,
    9,
)
EMPTY = messages(NONE, NUMBERS.ravel()[:0], 3, 3)
TEXTS = messages(INDICES, WORDS.ravel()[:4], 5, 6)
SCALARS = messages(np.zeros((1, 0), np.int64), NUMBERS.ravel()[:1])

CASES = [
    *[
        case("SerializeTensor", kind, NUMBERS.astype(kind))
        for kind in ("float32", "float64", "float16", "int32", "uint8", "int64", "bool", "complex64")
    ],
    case("SerializeTensor", "scalar", np.array(7, "int32")),
    case("SerializeTensor", "nothing", NUMBERS[:0]),
    case("SerializeTensor", "strings", WORDS),
    case("SerializeTensor", "same-strings", s("a", "a", "a")),
    *[
        case("ParseTensor", kind, one(message(NUMBERS.astype(kind))), out_type=kind)
        for kind in ("float32", "float64", "float16", "int32", "uint8", "int64", "bool", "complex64")
    ],
    case("ParseTensor", "scalar", one(message(np.array(7, "int32"))), out_type="int32"),
    case("ParseTensor", "nothing", one(message(NUMBERS[:0])), out_type="float32"),
    case("ParseTensor", "strings", one(tensor_proto(WORDS, "string").SerializeToString()), out_type="string"),
    case("ParseTensor", "packed-strings", one(message(WORDS)), out_type="string"),
    case("SerializeSparse", "floats", INDICES, NUMBERS.ravel()[:4], SHAPE),
    case("SerializeSparse", "strings", INDICES, WORDS.ravel()[:4], SHAPE),
    case("SerializeSparse", "nothing", NONE, NUMBERS.ravel()[:0], SHAPE),
    case("SerializeManySparse", "rows", INDICES, NUMBERS.ravel()[:4], SHAPE),
    case(
        "SerializeManySparse",
        "strings-rank3",
        np.concatenate([INDICES, INDICES[:, :1]], 1),
        WORDS.ravel()[:4],
        i(5, 6, 7, dtype="int64"),
    ),
    case("SerializeManySparse", "nothing", NONE, i(), SHAPE),
    case("DeserializeSparse", "one", s(*SPARSE), dtype="float32"),
    case("DeserializeSparse", "rows", s(*SPARSE, *OTHER, *EMPTY, shape=(3, 3)), dtype="float32"),
    case("DeserializeSparse", "grid", s(*SPARSE, *OTHER, *EMPTY, *OTHER, shape=(2, 2, 3)), dtype="float32"),
    case("DeserializeSparse", "strings", s(*TEXTS, *TEXTS, shape=(2, 3)), dtype="string"),
    case("DeserializeSparse", "empty", s(*EMPTY), dtype="float32"),
    case("DeserializeSparse", "scalars", s(*SCALARS, *SCALARS, shape=(2, 3)), dtype="float32"),
    case("DeserializeManySparse", "rows", s(*SPARSE, *OTHER, *EMPTY, shape=(3, 3)), dtype="float32"),
    case("DeserializeManySparse", "strings", s(*TEXTS, *TEXTS, shape=(2, 3)), dtype="string"),
]
