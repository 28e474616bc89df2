"""TensorProto to numpy and back. Bounded: nothing is allocated for a shape before the bytes for it are known to be there.

Imports numpy, and protobuf's messages from protos.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from thaw.errors import CorruptFileError
from thaw.graph.ir import Shape
from thaw.wire.dtypes import NUMBERS, name_of, numpy_type
from thaw.wire.protos import Message, new
from thaw.wire.varint import encoded, varint

LARGEST_SPLAT = 2**28
"""Elements that a tensor of one repeated value may have; it takes memory only when something is computed from it."""

LARGEST_FILL = 2**26
"""Elements that a tensor may have of which only the first few values are given, and the last of them fills the rest.

Of four bytes each, that is; of wider ones fewer.
"""

MOST_AXES = 32
"""What every numpy has; TensorFlow's own bound is 254, and its ops take eight or so."""

_FIELDS = {
    "float32": "float_val", "float64": "double_val", "int64": "int64_val", "bool": "bool_val", "string": "string_val",
    "uint32": "uint32_val", "uint64": "uint64_val", "complex64": "scomplex_val", "complex128": "dcomplex_val",
    "float16": "half_val", "bfloat16": "half_val",
}  # fmt: skip


def shape_of(proto: Message) -> Shape:
    """The shape that a TensorShapeProto says, None for an unknown rank or axis."""
    if proto.unknown_rank:
        return None
    return tuple([d.size if d.size >= 0 else None for d in proto.dim])


def array_of(proto: Message, origin: str) -> np.ndarray:
    """The value of a TensorProto; read-only where it shares the message's bytes. Strings are objects (bytes).

    Raises:
        CorruptFileError: shape and content do not fit each other, or the shape is out of bounds.
    """
    dtype = name_of(proto.dtype)
    shape = tuple([d.size for d in proto.tensor_shape.dim])
    if proto.tensor_shape.unknown_rank or len(shape) > MOST_AXES or any(n < 0 for n in shape):
        raise CorruptFileError(origin, f"a constant has the shape {list(shape)}, which no value can have")
    count = math.prod(shape)
    if dtype in {"resource", "variant"}:
        return np.empty((), object)  # a handle: nothing that a file could hold
    kind = numpy_type(dtype, origin)
    content = proto.tensor_content
    if content and dtype == "string":
        return _packed_strings(content, count, origin).reshape(shape)
    if content:
        if len(content) != count * kind.itemsize:
            problem = f"a {dtype} constant of shape {list(shape)} has {len(content)} bytes, not {count * kind.itemsize}"
            raise CorruptFileError(origin, problem)
        return np.frombuffer(content, kind).reshape(shape)
    return _splat(_listed_values(proto, dtype, kind), shape, count, origin)


def _listed_values(proto: Message, dtype: str, kind: np.dtype) -> np.ndarray:
    """The values that stand one by one in the field for the dtype."""
    if dtype.startswith("float8"):
        return np.frombuffer(proto.float8_val, kind)
    values = getattr(proto, _FIELDS.get(dtype, "int_val"))
    if dtype == "string":
        strings = np.empty(len(values), object)
        strings[:] = list(values)
        return strings
    if dtype in {"float16", "bfloat16"}:
        return (np.array(values, np.int64) & 0xFFFF).astype(np.uint16).view(kind)
    if dtype in {"complex64", "complex128"}:
        part = np.float32 if dtype == "complex64" else np.float64
        return np.array(values[: len(values) // 2 * 2], part).view(kind)
    if dtype in _FIELDS:
        return np.array(values, kind)
    return np.array(values, np.int64).astype(kind)  # a number that does not fit wraps around, as in TensorFlow


def _packed_strings(content: bytes, count: int, origin: str) -> np.ndarray:
    """`count` strings of one content: the lengths of all, then their bytes."""
    if count > len(content):
        raise CorruptFileError(
            origin, f"a constant of {count} strings has {len(content)} bytes, fewer than one for the length of each"
        )
    at, ends = 0, [0]
    for _ in range(count):
        length, at = varint(content, at, origin)
        ends.append(ends[-1] + length)
    if at + ends[-1] != len(content):
        problem = f"a constant of {count} strings has {len(content) - at} bytes behind their lengths, not {ends[-1]}"
        raise CorruptFileError(origin, problem)
    strings = np.empty(count, object)
    strings[:] = [content[at + begin : at + end] for begin, end in itertools.pairwise(ends)]
    return strings


def _splat(values: np.ndarray, shape: tuple[int, ...], count: int, origin: str) -> np.ndarray:
    """`values` in that shape; where there are fewer, the last one fills the rest, and where there are none, zero does."""
    if len(values) >= count:
        return values[:count].reshape(shape)
    most = LARGEST_SPLAT if len(values) < 2 else LARGEST_FILL * 4 // max(values.itemsize, 4)
    if count > most:
        problem = f"a constant of shape {list(shape)} is given by {len(values)} values; at most {most} elements are filled up"
        raise CorruptFileError(origin, problem)
    if not len(values):
        values = np.array([b""], object) if values.dtype == object else np.zeros(1, values.dtype)
    if len(values) == 1:
        return np.broadcast_to(values[0], shape) if count > 1024 else np.full(shape, values[0], values.dtype)
    full = np.full(count, values[-1], values.dtype)
    full[: len(values)] = values
    return full.reshape(shape)


def tensor_proto(value: np.ndarray | Sequence[bytes], dtype: str, *, packed: bool = False) -> Message:
    """`value` as a TensorProto of that dtype; with `packed`, strings lie in its content too, as numbers always do."""
    array = np.asarray(value)
    proto = new("TensorProto", dtype=NUMBERS[dtype])
    proto.tensor_shape.SetInParent()  # a scalar's too, as TensorFlow writes it
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype != "string":
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    elif packed:
        every = array.ravel().tolist()
        proto.tensor_content = b"".join([*(encoded(len(s)) for s in every), *every])
    else:
        proto.string_val.extend(array.ravel().tolist())
    return proto
