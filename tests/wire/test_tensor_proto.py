"""TensorProto to numpy: every field that may hold the values, splats, bounds."""

import contextlib

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from thaw.errors import CorruptFileError
from thaw.wire.dtypes import NAMES, NUMBERS, name_of, numpy_type
from thaw.wire.protos import Message, new, parse
from thaw.wire.tensor_proto import array_of, tensor_proto

STORED = [n for n in NAMES.values() if n not in {"invalid", "resource", "variant", "string"}]


def proto(dtype: str, shape: tuple[int, ...], **fields: object) -> Message:
    message = new("TensorProto", dtype=NUMBERS[dtype], **fields)
    message.tensor_shape.SetInParent()
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


@pytest.mark.parametrize("dtype", STORED)
def test_packed_content_round_trips(dtype: str) -> None:
    kind = numpy_type(dtype, "test")
    value = np.arange(6).reshape(2, 3).astype(kind)
    read = array_of(parse("TensorProto", tensor_proto(value, dtype).SerializeToString(), "test"), "test")
    assert read.dtype == kind
    np.testing.assert_array_equal(read.astype(np.complex128), value.astype(np.complex128))


@pytest.mark.parametrize(
    ("dtype", "fields", "answer"),
    [
        ("float32", {"float_val": [1.5, -2.0]}, np.float32([1.5, -2.0])),
        ("float64", {"double_val": [1e300, 2.0]}, np.float64([1e300, 2.0])),
        ("int32", {"int_val": [-3, 4]}, np.int32([-3, 4])),
        ("uint8", {"int_val": [255, 0]}, np.uint8([255, 0])),
        ("int8", {"int_val": [-128, 127]}, np.int8([-128, 127])),
        ("int16", {"int_val": [-3, 4]}, np.int16([-3, 4])),
        ("qint8", {"int_val": [-3, 4]}, np.int8([-3, 4])),
        ("int64", {"int64_val": [-(2**62), 4]}, np.int64([-(2**62), 4])),
        ("uint32", {"uint32_val": [2**32 - 1, 0]}, np.uint32([2**32 - 1, 0])),
        ("uint64", {"uint64_val": [2**64 - 1, 0]}, np.uint64([2**64 - 1, 0])),
        ("bool", {"bool_val": [True, False]}, np.array([True, False])),
        ("float16", {"half_val": [15360, 49152]}, np.float16([1.0, -2.0])),
        ("bfloat16", {"half_val": [16256, 49152]}, np.array([1.0, -2.0], ml_dtypes.bfloat16)),
        ("complex64", {"scomplex_val": [1.0, 2.0, 3.0, 4.0]}, np.complex64([1 + 2j, 3 + 4j])),
        ("complex128", {"dcomplex_val": [1.0, 2.0, 3.0, 4.0]}, np.complex128([1 + 2j, 3 + 4j])),
        ("float8_e5m2", {"float8_val": b"\x3c\xc0"}, np.array([1.0, -2.0], ml_dtypes.float8_e5m2)),
        ("string", {"string_val": [b"a", b"\xff"]}, np.array([b"a", b"\xff"], object)),
    ],
)
def test_values_one_by_one(dtype: str, fields: dict[str, object], answer: np.ndarray) -> None:
    read = array_of(proto(dtype, (2,), **fields), "test")
    assert read.dtype == answer.dtype
    assert read.tolist() == answer.tolist()


@pytest.mark.parametrize(
    ("shape", "given_values", "answer"),
    [
        ((2, 2), [7.0], [[7.0, 7.0], [7.0, 7.0]]),
        ((2, 2), [1.0, 2.0], [[1.0, 2.0], [2.0, 2.0]]),
        ((3,), [], [0.0, 0.0, 0.0]),
        ((), [5.0], 5.0),
        ((2,), [1.0, 2.0, 3.0], [1.0, 2.0]),
        ((0, 3), [1.0], []),
    ],
    ids=["one-fills-all", "last-fills-rest", "none-is-zero", "scalar", "more-than-needed", "empty"],
)
def test_fewer_values_than_elements(shape: tuple[int, ...], given_values: list[float], answer: object) -> None:
    read = array_of(proto("float32", shape, float_val=given_values), "test")
    assert read.shape == shape
    assert read.tolist() == answer


def test_a_huge_constant_of_one_value_takes_no_memory() -> None:
    assert array_of(proto("float32", (2**14, 2**14), float_val=[1.0]), "test").base is not None


def test_a_number_out_of_range_wraps_around() -> None:
    assert array_of(proto("uint8", (1,), int_val=[300]), "test").tolist() == [44]


@pytest.mark.parametrize(
    "message",
    [
        proto("float32", (2**40, 2**40), float_val=[1.0]),
        proto("float32", (2**30,), float_val=[1.0, 2.0]),
        proto("float32", (3,), tensor_content=b"\0" * 11),
        proto("float32", (2**62, 4), tensor_content=b""),
        proto("float32", (-1,), float_val=[1.0]),
        proto("float32", (1,) * 300, float_val=[1.0]),
        new("TensorProto", dtype=99),
    ],
    ids=["huge", "huge-fill", "wrong-bytes", "overflow", "negative", "too-many-axes", "unknown-dtype"],
)
def test_what_no_value_can_be_is_refused(message: Message) -> None:
    with pytest.raises(CorruptFileError):
        array_of(message, "test")


def test_an_unknown_rank_is_refused() -> None:
    message = new("TensorProto", dtype=1)
    message.tensor_shape.unknown_rank = True
    with pytest.raises(CorruptFileError, match="which no value can have"):
        array_of(message, "test")


@given(
    hnp.arrays(
        hnp.floating_dtypes(sizes=(32, 64)) | hnp.integer_dtypes() | hnp.boolean_dtypes(),
        hnp.array_shapes(min_dims=0, min_side=0),
    )
)
def test_any_array_round_trips(value: np.ndarray) -> None:
    value = value.astype(value.dtype.newbyteorder("="))
    read = array_of(tensor_proto(value, value.dtype.name), "test")
    assert read.dtype == value.dtype
    np.testing.assert_array_equal(read, value)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_any_strings_round_trip(strings: list[bytes]) -> None:
    value = np.empty(len(strings), object)
    value[:] = strings
    assert array_of(tensor_proto(value, "string"), "test").tolist() == strings


@given(st.binary(max_size=200))
def test_random_bytes_give_a_tensor_or_an_error_of_ours(data: bytes) -> None:
    with contextlib.suppress(CorruptFileError):
        array_of(parse("TensorProto", data, "test"), "test")


def test_a_reference_type_has_the_name_of_what_it_refers_to() -> None:
    assert name_of(101) == "float32"
    assert name_of(1) == "float32"
    assert name_of(77) == "dtype77"


def test_strings_of_one_content() -> None:
    """As TensorFlow packs the strings of a serialized sparse tensor."""
    words = np.array([[b"", b"a"], [b"\xff\x00", b"x" * 200]], object)
    packed = tensor_proto(words, "string", packed=True)
    assert packed.tensor_content == b"\x00\x01\x02\xc8\x01" + b"a\xff\x00" + b"x" * 200
    assert array_of(packed, "test").tolist() == words.tolist()


@pytest.mark.parametrize("content", [b"\x01", b"\x01\x01a", b"\x01\x01abc", b"\xff\xff\xff\xff", b"\x00\xff"])
def test_strings_that_do_not_fill_their_content_are_refused(content: bytes) -> None:
    with pytest.raises(CorruptFileError):
        array_of(proto("string", (2,), tensor_content=content), "test")


def test_more_strings_than_bytes_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(CorruptFileError, match="1099511627776 strings has 1 bytes"):
        array_of(proto("string", (1 << 40,), tensor_content=b"\x00"), "test")
