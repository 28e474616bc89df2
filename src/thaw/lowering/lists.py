"""Lists of tensors as values: what TensorArrays and TensorLists hold.

A list is a Python list of its elements (None: never written) wherever each step runs at once: PyTorch, and JAX and TensorFlow
outside of a trace. Inside a traced loop JAX has one stacked array instead (`stacked`), and TensorFlow its own lists
(`loop_kernels.NativeList`, which answers to the same methods). Lists never change; a write gives a new one. What was never
written reads as zeros, as in TensorFlow. Imports values and kernels.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from keras import ops

from thaw.lowering import loop_kernels
from thaw.lowering.values import Value, is_host, known, numpy_dtype, on_device, static_shape

ElementShape: TypeAlias = tuple[int | None, ...] | None
"""Shape of one element; None: unknown rank; a None inside: unknown length."""


def element_shape(value: Value) -> ElementShape:
    """The element shape that an op's input says: a vector with -1 for unknown, or a scalar -1 for unknown rank."""
    if value is None or isinstance(value, tuple):
        return value
    if not is_host(value):
        value = known(value, "element_shape")
        if not is_host(value):
            return None  # traced by TensorFlow
    if np.ndim(value) == 0:
        return None
    return tuple(None if n < 0 else int(n) for n in value)


def merged(first: ElementShape, second: ElementShape) -> ElementShape:
    """What two descriptions of one shape say together."""
    if first is None or second is None or len(first) != len(second):
        return first if second is None else second
    return tuple(a if a is not None else b for a, b in zip(first, second, strict=True))


class GrowthError(Exception):
    """Internal: a traced write that may lie past the end of a list."""


class TensorList:
    """Some tensors of one dtype, as Python list or stacked.

    Args:
        dtype: of the elements, by TensorFlow's name.
        shape: of one element, as far as it is known.
        items: the elements; or None where `stacked` is given.
        stacked: all elements in one tensor, along its first axis.
    """

    __slots__ = ("_items", "_stacked", "dtype", "shape")

    def __init__(
        self, dtype: str, shape: ElementShape, items: Sequence[Value] | None = None, stacked: Value | None = None
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self._items = None if items is None else list(items)
        self._stacked = stacked

    def _with(self, items: Sequence[Value]) -> "TensorList":
        return TensorList(self.dtype, self.shape, items)

    @property
    def items(self) -> list[Value]:
        """The elements, one by one; None where nothing was written."""
        if self._items is not None:
            return self._items
        items = unstack(self._stacked)
        if not loop_kernels.is_staged():  # rows made in one trace must not be met in another
            self._items = items
        return items

    @property
    def length(self) -> int:
        """How many elements it has."""
        return len(self._items) if self._items is not None else int(static_shape(self._stacked)[0] or 0)

    @property
    def is_host(self) -> bool:
        """Whether every element is known on the host (or was never written)."""
        if self._items is None:
            return is_host(self._stacked)
        return all(i is None or is_host(i) for i in self._items)

    @property
    def known_shape(self) -> tuple[int, ...] | None:
        """The shape of an element where all of it is known."""
        shape = self.shape
        if self._items is None:
            shape = static_shape(self._stacked)[1:]
        else:
            for item in self._items:
                if item is not None:
                    shape = static_shape(item)
                    break
        return None if shape is None or any(n is None for n in shape) else tuple(int(n or 0) for n in shape)

    def array(self, shape: ElementShape = None) -> Value:
        """All elements in one tensor along a new first axis; zeros where nothing was written.

        Args:
            shape: of an element, for lists that do not say it themselves.
        """
        if self._items is None:
            return self._stacked
        known_shape = self.known_shape
        if known_shape is None:
            both = merged(self.shape, shape)
            if both is None or any(n is None for n in both):
                if self._items:
                    raise ValueError("nothing was written into this list, and the shape of its elements is not known")
                both = tuple(n or 0 for n in both or ())
            known_shape = tuple(n or 0 for n in both)
        dtype = next((i.dtype for i in self._items if i is not None and is_host(i)), numpy_dtype(self.dtype))
        missing = np.zeros(known_shape, dtype)
        items = [missing if i is None else i for i in self._items]
        if all(is_host(i) for i in items):
            return np.stack(items) if items else np.zeros((0, *known_shape), numpy_dtype(self.dtype))
        return ops.stack([on_device(i) for i in items])

    def get(self, index: Value, shape: ElementShape = None) -> Value:
        """The element at `index`."""
        index = position(index)
        if isinstance(index, int):
            self._check(index)
            if self._items is None and loop_kernels.is_staged():
                return on_device(self._stacked)[index]
            item = self.items[index]
            if item is None:
                both = merged(self.known_shape or self.shape, shape)
                if both is None or any(n is None for n in both):
                    raise ValueError(f"element {index} was never written, and the shape of the elements is not known")
                return np.zeros(tuple(n or 0 for n in both), numpy_dtype(self.dtype))
            return item
        return loop_kernels.element(on_device(self.array(shape)), index)

    def set(self, index: Value, value: Value) -> "TensorList":
        """The list with `value` at `index`."""
        index = position(index)
        if isinstance(index, int) and (self._items is not None or not loop_kernels.is_staged()):
            self._check(index)
            items = self.items.copy()
            items[index] = value
            return self._with(items)
        array = on_device(self.array(static_shape(value)))
        value = ops.cast(on_device(value), array.dtype)
        return TensorList(self.dtype, self.shape, stacked=loop_kernels.with_element(array, index, value))

    def _check(self, index: int) -> None:
        if not 0 <= index < self.length:
            raise IndexError(f"index {index} lies outside of a list of {self.length} elements")

    def gather(self, indices: Value, shape: ElementShape = None) -> Value:
        """The elements at `indices` in one tensor."""
        host = known(indices, "indices") if self._items is not None else indices
        if self._items is None or not is_host(host):
            return ops.take(on_device(self.array(shape)), indices, axis=0)
        host = host.reshape(-1)
        if np.array_equal(host, np.arange(self.length)):
            return self.array(shape)
        return TensorList(self.dtype, merged(self.known_shape, self.shape), [self.items[i] for i in host]).array(shape)

    def scatter(self, indices: Value, values: Value) -> "TensorList":
        """The list with the rows of `values` at `indices`; longer if need be."""
        host = known(indices, "indices").reshape(-1)
        if np.array_equal(host, np.arange(max(self.length, len(host)))) and not is_host(values):
            return TensorList(self.dtype, self.shape, stacked=values)
        items = self.items.copy()
        items += [None] * (int(host.max(initial=-1)) + 1 - len(items))
        rows = unstack(values)
        for index, row in zip(host, rows, strict=True):
            items[index] = row
        return self._with(items)

    def resize(self, size: int) -> "TensorList":
        """The first `size` elements, or all and as many unwritten ones as it takes."""
        return self._with([*self.items[:size], *[None] * (size - self.length)])

    def push(self, value: Value) -> "TensorList":
        """The list with one more element."""
        return self._with([*self.items, value])

    def pop(self, shape: ElementShape = None) -> tuple["TensorList", Value]:
        """The list without its last element, and that."""
        return self._with(self.items[:-1]), self.get(np.int32(self.length - 1), shape)

    def extend(self, other: "TensorList") -> "TensorList":
        """The elements of both."""
        return self._with([*self.items, *other.items])

    def concat(self, shape: ElementShape = None) -> tuple[Value, Value]:
        """The elements one after the other along their first axis, and the length of each."""
        parts = [i if i is not None else self.get(np.int32(n), shape) for n, i in enumerate(self.items)]
        lengths = np.array([static_shape(p)[0] for p in parts], np.int64)
        if not parts:
            rest = merged(self.shape, shape)
            return np.zeros((0, *((n or 0) for n in (rest or (0,))[1:])), numpy_dtype(self.dtype)), lengths
        if all(is_host(p) for p in parts):
            return np.concatenate(parts), lengths
        return ops.concatenate([on_device(p) for p in parts]), lengths


def position(index: Value) -> Any:
    """An index as an int where it can be known now; the tensor it is where it cannot."""
    if is_host(index):
        return int(index)
    if loop_kernels.is_traced(index):
        return index
    return int(known(index, "index"))


def unstack(values: Value) -> list[Value]:
    """The rows of a tensor."""
    if is_host(values):
        return list(values)
    return list(ops.unstack(values)) if static_shape(values)[0] else []


def reserve(size: Value, dtype: str, shape: ElementShape) -> Any:
    """A list of `size` elements, none written."""
    if loop_kernels.lists_are_native():
        return loop_kernels.NativeList.reserve(size, dtype, shape)
    return TensorList(dtype, shape, [None] * int(known(size, "size")))


def from_rows(values: Value, dtype: str, shape: ElementShape) -> Any:
    """The rows of a tensor as a list."""
    if loop_kernels.lists_are_native():
        return loop_kernels.NativeList.from_rows(values, dtype, shape)
    if is_host(values):
        return TensorList(dtype, shape, unstack(values))
    return TensorList(dtype, shape, stacked=values)


def split(values: Value, lengths: Value, dtype: str, shape: ElementShape) -> Any:
    """Parts of a tensor along its first axis, of the given lengths, as a list."""
    lengths = known(lengths, "lengths")
    if not is_host(lengths):
        return loop_kernels.NativeList.split(values, lengths, dtype, shape)
    ends = np.cumsum(lengths)
    parts = [values[int(end - n) : int(end)] for n, end in zip(lengths, ends, strict=True)]
    result = TensorList(dtype, shape, parts)
    return loop_kernels.NativeList.of(result) if loop_kernels.lists_are_native() else result
