"""Serialized tensors that nobody vouches for end in an error of thaw's, and a policy of mixed precision may ask for less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thaw.lowering.table  # noqa: F401  (fills the registry)
from lowering.cases.serialize import NUMBERS, SPARSE, message
from lowering.cases.text import one, s
from thaw.errors import LoweringError, ThawError
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.run import Context, Plan, Resources
from thaw.wire.protos import new


def run(op, value, compute_dtype="float32", outputs=1, **attrs):
    places = (Tensor("in"),)
    graph = Graph("g", {"op": Node("op", op, places, attrs=attrs)}, places, tuple(Tensor("op", i) for i in range(outputs)))
    return Plan(graph, {}, compute_dtype).run(Context(Resources(), compute_dtype=compute_dtype), [value])


def shaped(*shape, **fields):
    proto = new("TensorProto", **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto.SerializeToString()


HOSTILE = {
    "no message": b"\xff\xff",
    "another dtype": message(NUMBERS.astype("int32")),
    "no dtype": shaped(2, dtype=0, float_val=[1.0, 2.0]),
    "an unknown dtype": shaped(2, dtype=77, float_val=[1.0, 2.0]),
    "a handle": shaped(dtype=20),
    "too few bytes": shaped(1 << 40, dtype=1, tensor_content=b"1234"),
    "one value for many": shaped(1 << 40, dtype=1, float_val=[1.0]),
    "a negative size": shaped(-3, dtype=1, float_val=[1.0]),
    "too many axes": shaped(*[1] * 200, dtype=1, float_val=[1.0]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_tensor_is_refused(data):
    with pytest.raises(LoweringError, match=r"ParseTensor.*the serialized tensor"):
        run("ParseTensor", one(data), out_type="float32")


HOSTILE_SPARSE = {
    "indices of another rank": [message(np.zeros((4, 3), "int64")), *SPARSE[1:]],
    "fewer values": [SPARSE[0], message(NUMBERS.ravel()[:3]), SPARSE[2]],
    "a matrix of values": [SPARSE[0], message(NUMBERS), SPARSE[2]],
    "one index for many": [shaped(1 << 27, 2, dtype=9, int64_val=[0]), shaped(1 << 27, dtype=1, float_val=[0]), SPARSE[2]],
    "two of three": SPARSE[:2],
    "indices as floats": [SPARSE[1], *SPARSE[1:]],
}


@pytest.mark.parametrize("messages", HOSTILE_SPARSE.values(), ids=HOSTILE_SPARSE)
@pytest.mark.parametrize("op", ["DeserializeSparse", "DeserializeManySparse"])
def test_what_is_no_sparse_tensor_is_refused(op, messages):
    with pytest.raises(LoweringError, match=op):
        run(op, s(*messages, shape=(1, len(messages))), outputs=3, dtype="float32")


@given(st.binary(max_size=60), st.sampled_from(["float32", "string", "int64", "bool", "complex64"]))
def test_any_bytes_are_a_tensor_or_an_error_of_thaw(data, dtype):
    try:
        (value,) = run("ParseTensor", one(data), out_type=dtype)
    except ThawError:
        return
    assert isinstance(value, np.ndarray)


def test_mixed_precision_narrows_what_is_parsed():
    (value,) = run("ParseTensor", one(message(NUMBERS)), "float16", out_type="float32")
    np.testing.assert_array_equal(value, NUMBERS.astype("float16"))
