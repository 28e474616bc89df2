"""Tensors as serialized messages, and back: dense ones, and sparse ones as three messages each. All on the host.

A message is data, which may come from anybody: what it says of its size is held against its bytes before memory is taken.
Variants that hold messages are the messages themselves. Imports wire and numpy.
"""

import numpy as np

from thaw.errors import CorruptFileError
from thaw.lowering.registry import lowering
from thaw.lowering.run import NARROW
from thaw.lowering.strings import Strings, strings
from thaw.lowering.values import dtype_of, numpy_dtype
from thaw.wire.dtypes import name_of
from thaw.wire.protos import parse
from thaw.wire.tensor_proto import array_of, tensor_proto


def _tensor(data: bytes, dtype: str, what: str) -> np.ndarray:
    """The tensor of a message.

    Raises:
        CorruptFileError: the bytes are none, or one of another dtype.
    """
    proto = parse("TensorProto", data, what)
    held = name_of(proto.dtype)
    value = array_of(proto, what)
    if held == "float32" and dtype in NARROW:  # a policy of mixed precision asks for less than was written
        return value.astype(numpy_dtype(dtype))
    if held != dtype:
        raise CorruptFileError(what, f"it holds a tensor of {held}, and the graph asks for one of {dtype}")
    return value


@lowering("ParseTensor", host=True, gradient="none")
def parse_tensor(serialized: Strings, *, out_type: str) -> np.ndarray:
    """The tensor that a message holds."""
    return _tensor(serialized.item(), out_type, "the serialized tensor")


@lowering("SerializeTensor", host=True, gradient="none")
def serialize_tensor(tensor: np.ndarray) -> Strings:
    """The message that holds a tensor."""
    return strings([tensor_proto(tensor, dtype_of(tensor)).SerializeToString()], ())


def _messages(indices: np.ndarray, values: np.ndarray, shape: np.ndarray) -> list[bytes]:
    return [tensor_proto(part, dtype_of(part), packed=True).SerializeToString() for part in (indices, values, shape)]


@lowering("SerializeSparse", host=True, gradient="none", ignored=("out_type",))
def serialize_sparse(sparse_indices: np.ndarray, sparse_values: np.ndarray, sparse_shape: np.ndarray) -> Strings:
    """The messages of a sparse tensor: of its indices, of its values, of its shape."""
    return strings(_messages(sparse_indices, sparse_values, sparse_shape))


@lowering("SerializeManySparse", host=True, gradient="none", ignored=("out_type",))
def serialize_many_sparse(sparse_indices: np.ndarray, sparse_values: np.ndarray, sparse_shape: np.ndarray) -> Strings:
    """The messages of each row of a sparse tensor: (rows, 3)."""
    rows = int(sparse_shape[0])
    found: list[bytes] = []
    for row in range(rows):
        inside = sparse_indices[:, 0] == row
        found += _messages(sparse_indices[inside, 1:], sparse_values[inside], sparse_shape[1:])
    return strings(found, (rows, 3))


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _sparse(op: str, messages: list[bytes], dtype: str) -> Parts:
    """Indices, values and shape of one sparse tensor.

    Raises:
        CorruptFileError: the three do not fit each other.
    """
    what = f"the serialized sparse tensor of {op}"
    indices, values, shape = parts = [_tensor(m, d, what) for m, d in zip(messages, ("int64", dtype, "int64"), strict=True)]
    for message, part in zip(messages, parts, strict=True):
        if part.size > len(message):  # one value that is repeated: nobody writes indices so
            raise CorruptFileError(what, f"{len(message)} bytes of it say that they hold {part.size} values")
    if not (indices.ndim == 2 and values.ndim == shape.ndim == 1 and indices.shape == (len(values), len(shape))):
        found = f"indices of shape {indices.shape}, values of shape {values.shape}, and a shape of shape {shape.shape}"
        raise CorruptFileError(what, f"it has {found}, which do not fit")
    return indices, values, shape


def _together(op: str, serialized: Strings, dtype: str) -> Parts:
    """Sparse tensors (..., 3) as one, with the axes of their places before their own; sizes are the greatest of each axis."""
    lead = serialized.shape[:-1]
    every = [_sparse(op, messages, dtype) for messages in serialized.reshape(-1, 3).tolist()]
    if not every:
        raise ValueError(f"{op} of an array of shape {serialized.shape}: expected at least one sparse tensor")
    if len({len(shape) for _, _, shape in every}) > 1:
        raise ValueError(
            f"{op} of sparse tensors of the ranks {sorted({len(shape) for _, _, shape in every})}: expected one rank"
        )
    places = [
        np.concatenate([np.broadcast_to(np.array(place, np.int64), (len(indices), len(lead))), indices], axis=1)
        for place, (indices, _, _) in zip(np.ndindex(lead), every, strict=True)
    ]
    sizes = np.max([shape for _, _, shape in every], axis=0)
    return np.concatenate(places), np.concatenate([values for _, values, _ in every]), np.array([*lead, *sizes], np.int64)


@lowering("DeserializeSparse", host=True, gradient="none", ignored=("Tserialized",))
def deserialize_sparse(serialized_sparse: Strings, *, dtype: str) -> Parts:
    """The sparse tensor of three messages, or of an array of such, the axes of which come before its own."""
    return _together("DeserializeSparse", serialized_sparse, dtype)


@lowering("DeserializeManySparse", host=True, gradient="none")
def deserialize_many_sparse(serialized_sparse: Strings, *, dtype: str) -> Parts:
    """As DeserializeSparse, of a matrix of messages."""
    return _together("DeserializeManySparse", serialized_sparse, dtype)
