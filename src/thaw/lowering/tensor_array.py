"""TensorArray ops of TensorFlow 1. The data travel in the flow, as a list; the handle only says what was asked for.

What a list is: `thaw.lowering.lists`. Not here: gradients of TensorArrays (TensorArrayGradV3), which inference graphs prune.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from thaw.lowering import lists
from thaw.lowering.lists import ElementShape, GrowthError, TensorList, merged, position
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, is_host


@dataclass(frozen=True, slots=True)
class ArrayHandle:
    """What a TensorArray was made as."""

    size: Value
    dtype: str
    shape: ElementShape
    dynamic: bool

    def list(self, flow: Value) -> Any:
        """The list in `flow`; a fresh one where it is only a number, as before the first write in the oldest graphs."""
        if is_host(flow) or not hasattr(flow, "scatter"):
            return lists.reserve(self.size, self.dtype, self.shape)
        return flow


@lowering(
    "TensorArrayV3",
    "TensorArrayV2",
    "TensorArray",
    stateful=True,
    ignored=("clear_after_read", "identical_element_shapes", "tensor_array_name"),
    gradient="none",
)
def tensor_array(
    size: Value, *, dtype: str, element_shape: ElementShape = None, dynamic_size: bool = False
) -> tuple[ArrayHandle, Any]:
    """A handle, and the flow of a fresh list."""
    handle = ArrayHandle(size, dtype, element_shape, dynamic_size)
    return handle, lists.reserve(size, dtype, element_shape)


@lowering("TensorArrayReadV3", "TensorArrayReadV2", "TensorArrayRead")
def read(handle: ArrayHandle, index: Value, flow_in: Any, *, dtype: str) -> Value:
    """One element."""
    return handle.list(flow_in).get(index, handle.shape)


@lowering("TensorArrayWriteV3", "TensorArrayWriteV2", "TensorArrayWrite")
def write(handle: ArrayHandle, index: Value, value: Value, flow_in: Any) -> Any:
    """The list with one element written."""
    elements, place = handle.list(flow_in), position(index)
    if handle.dynamic and isinstance(place, int) and isinstance(elements.length, int) and place >= elements.length:
        elements = elements.resize(place + 1)
    if handle.dynamic and not isinstance(place, int) and isinstance(elements, TensorList):
        raise GrowthError("a write into a TensorArray that grows")
    return elements.set(index, value)


@lowering("TensorArrayGatherV3", "TensorArrayGatherV2", "TensorArrayGather")
def gather(handle: ArrayHandle, indices: Value, flow_in: Any, *, dtype: str, element_shape: ElementShape = None) -> Value:
    """Some elements along a new first axis."""
    return handle.list(flow_in).gather(indices, merged(element_shape, handle.shape))


@lowering("TensorArrayScatterV3", "TensorArrayScatterV2", "TensorArrayScatter")
def scatter(handle: ArrayHandle, indices: Value, value: Value, flow_in: Any) -> Any:
    """The list with the rows of a tensor at given places."""
    return handle.list(flow_in).scatter(indices, value)


@lowering("TensorArrayPack")
def pack(handle: ArrayHandle, flow_in: Any, *, dtype: str, element_shape: ElementShape = None) -> Value:
    """All elements along a new first axis."""
    elements = handle.list(flow_in)
    every = np.arange(elements.length, dtype="int32") if isinstance(elements.length, int) else ops.arange(elements.length)
    return elements.gather(every, merged(element_shape, handle.shape))


@lowering("TensorArrayUnpack")
def unpack(handle: ArrayHandle, value: Value, flow_in: Any) -> Any:
    """The list of the rows of a tensor."""
    elements = handle.list(flow_in)
    return elements.scatter(np.arange(int(value.shape[0]), dtype="int32"), value)


@lowering("TensorArrayConcatV3", "TensorArrayConcatV2", "TensorArrayConcat")
def concat(handle: ArrayHandle, flow_in: Any, *, dtype: str, element_shape_except0: ElementShape = None) -> tuple[Value, Value]:
    """The elements one after the other, and the length of each."""
    shape = None if element_shape_except0 is None else (None, *element_shape_except0)
    values, lengths = handle.list(flow_in).concat(merged(handle.shape, shape))
    return values, lengths


@lowering("TensorArraySplitV3", "TensorArraySplitV2", "TensorArraySplit")
def split(handle: ArrayHandle, value: Value, lengths: Value, flow_in: Any) -> Any:
    """Parts of a tensor, of given lengths."""
    return lists.split(value, lengths, handle.dtype, handle.shape)


@lowering("TensorArraySizeV3", "TensorArraySizeV2", "TensorArraySize", gradient="none")
def size(handle: ArrayHandle, flow_in: Any) -> Value:
    """How many elements there are."""
    length = handle.list(flow_in).length
    return np.int32(length) if isinstance(length, int) else length


@lowering("TensorArrayCloseV3", "TensorArrayCloseV2", "TensorArrayClose", stateful=True, gradient="none")
def close(handle: ArrayHandle) -> Value:
    """Nothing."""
    return ()
