"""TensorList ops: the lists of TensorFlow 2's loops, which travel as variants. What a list is: `thaw.lowering.lists`."""

from typing import Any

import numpy as np

from thaw.lowering import lists
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, known


@lowering("TensorListReserve", ignored=("shape_type",), gradient="none")
def reserve(element_shape: Value, num_elements: Value, *, element_dtype: str) -> Any:
    """A list of unwritten elements."""
    return lists.reserve(num_elements, element_dtype, lists.element_shape(element_shape))


@lowering("EmptyTensorList", ignored=("shape_type",), gradient="none")
def empty(element_shape: Value, max_num_elements: Value, *, element_dtype: str) -> Any:
    """A list without elements."""
    return lists.reserve(np.int32(0), element_dtype, lists.element_shape(element_shape))


@lowering("TensorListFromTensor", ignored=("shape_type",))
def from_tensor(tensor: Value, element_shape: Value, *, element_dtype: str = "") -> Any:
    """The rows of a tensor."""
    return lists.from_rows(tensor, element_dtype, lists.element_shape(element_shape))


@lowering("TensorListGetItem")
def get_item(input_handle: Any, index: Value, element_shape: Value, *, element_dtype: str) -> Value:
    """One element."""
    return input_handle.get(index, lists.element_shape(element_shape))


@lowering("TensorListSetItem")
def set_item(
    input_handle: Any, index: Value, item: Value, *, element_dtype: str = "", resize_if_index_out_of_bounds: bool = False
) -> Any:
    """The list with one element replaced."""
    if resize_if_index_out_of_bounds and isinstance(lists.position(index), int):
        size = lists.position(index) + 1
        input_handle = input_handle.resize(size) if size > input_handle.length else input_handle
    return input_handle.set(index, item)


@lowering("TensorListStack", ignored=("num_elements",))
def stack(input_handle: Any, element_shape: Value, *, element_dtype: str) -> Value:
    """All elements along a new first axis."""
    return input_handle.array(lists.element_shape(element_shape))


@lowering("TensorListLength", gradient="none")
def length(input_handle: Any) -> Value:
    """How many elements there are."""
    size = input_handle.length
    return np.int32(size) if isinstance(size, int) else size


@lowering("TensorListResize")
def resize(input_handle: Any, size: Value) -> Any:
    """The list cut off or filled up with unwritten elements."""
    return input_handle.resize(lists.position(size))


@lowering("TensorListPushBack")
def push_back(input_handle: Any, tensor: Value, *, element_dtype: str = "") -> Any:
    """The list with one more element."""
    return input_handle.push(tensor)


@lowering("TensorListPopBack")
def pop_back(input_handle: Any, element_shape: Value, *, element_dtype: str) -> tuple[Any, Value]:
    """The list without its last element, and that element."""
    rest, last = input_handle.pop(lists.element_shape(element_shape))
    return rest, last


@lowering("TensorListGather")
def gather(input_handle: Any, indices: Value, element_shape: Value, *, element_dtype: str) -> Value:
    """Some elements along a new first axis."""
    return input_handle.gather(indices, lists.element_shape(element_shape))


@lowering("TensorListScatter", "TensorListScatterV2", ignored=("shape_type",))
def scatter(tensor: Value, indices: Value, element_shape: Value, num_elements: Value = None, *, element_dtype: str = "") -> Any:
    """A list with the rows of a tensor at given places; as long as the last of these, or as `num_elements` says."""
    size = np.int32(0) if num_elements is None else np.maximum(known(num_elements, "num_elements"), 0)
    return lists.reserve(size, element_dtype, lists.element_shape(element_shape)).scatter(indices, tensor)


@lowering("TensorListScatterIntoExistingList")
def scatter_into(input_handle: Any, tensor: Value, indices: Value, *, element_dtype: str = "") -> Any:
    """The list with the rows of a tensor at given places."""
    return input_handle.scatter(indices, tensor)


@lowering("TensorListConcat")
def concat(input_handle: Any, *, element_dtype: str, element_shape: tuple[int | None, ...] | None = None) -> tuple[Value, Value]:
    """The elements one after the other, and the length of each."""
    values, lengths = input_handle.concat(element_shape)
    return values, lengths


@lowering("TensorListConcatV2", ignored=("shape_type",))
def concat_v2(input_handle: Any, element_shape: Value, leading_dims: Value, *, element_dtype: str) -> tuple[Value, Value]:
    """The elements one after the other, and the length of each."""
    values, lengths = input_handle.concat(lists.element_shape(element_shape))
    return values, lengths


@lowering("TensorListSplit", ignored=("shape_type",))
def split(tensor: Value, element_shape: Value, lengths: Value, *, element_dtype: str = "") -> Any:
    """Parts of a tensor, of given lengths."""
    shape = lists.element_shape(element_shape)
    return lists.split(tensor, lengths, element_dtype, shape)


@lowering("TensorListElementShape", gradient="none")
def element_shape(input_handle: Any, *, shape_type: str) -> Value:
    """The shape of an element, -1 where it is not known."""
    shape = input_handle.shape
    if shape is None:
        return np.asarray(-1, shape_type)
    return np.array([-1 if n is None else n for n in shape], shape_type)


@lowering("TensorListConcatLists")
def concat_lists(input_a: Any, input_b: Any, *, element_dtype: str) -> Any:
    """The elements of two lists."""
    return input_a.extend(input_b)
