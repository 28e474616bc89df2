"""What loops need of the backends beyond `keras.ops`: scans that spare memory, shapes without running, TensorFlow's lists.

With kernels.py one of the few files that may touch jax and tensorflow: lazily, inside functions, and only the backend that
Keras runs on. PyTorch needs nothing here: its loops run step by step. What is done with these, and when, is said in loops.py.
"""
# ruff: noqa: TID251

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from thaw.errors import LoopGradientError, LoopLimitError
from thaw.lowering.values import Value, is_host, on_device


def is_staged() -> bool:
    """Whether what runs now is being traced (jax.jit, a scan's body, tf.function), so that values are not at hand."""
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(jax.numpy.zeros(()) + 0, jax.core.Tracer)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    return False


def wanted() -> bool:
    """Whether loops are taken apart for speed; THAW_KERNELS=off in the environment runs them plainly."""
    return os.environ.get("THAW_KERNELS", "on") != "off"


def is_traced(value: Value) -> bool:
    """Whether `value` stands for data that come later."""
    if is_host(value):
        return False
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(value, jax.core.Tracer) and is_staged()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.is_symbolic_tensor(value))
    return False


F = TypeVar("F", bound=Callable[..., Any])


def as_written(function: F) -> F:
    """`function`, which TensorFlow's autograph must not rewrite: it would convert the whole interpreter, for minutes."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    shielded: F = tf.autograph.experimental.do_not_convert(function)
    return shielded


def element(array: Value, index: Value) -> Value:
    """`array[index]` for an index that is not known; its gradient touches that row only."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False)
    return keras.ops.take(array, index, axis=0)


def with_element(array: Value, index: Value, value: Value) -> Value:
    """`array` with `value` at `index`."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.dynamic_update_index_in_dim(array, value, index, 0)
    start = keras.ops.stack([keras.ops.cast(index, "int32"), *[0] * (len(array.shape) - 1)])
    return keras.ops.slice_update(array, start, keras.ops.expand_dims(value, 0))


def shapes(function: Callable[..., Any], *arguments: Any) -> Any:
    """Shapes and dtypes of what `function(*arguments)` gives, without computing it (JAX)."""
    import jax

    return jax.eval_shape(function, *arguments)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, rows: Any, length: int, *, spare: bool = True
) -> tuple[Any, Any]:
    """`jax.lax.scan`; with `spare`, the gradient keeps only matrix products of each round and computes the rest again.

    On one slow core this took a training step of a small ELMo from 316 to 219 ms. Rounds are not unrolled: that only
    made compilation long.
    """
    import jax

    if spare:
        step = jax.checkpoint(step, policy=jax.checkpoint_policies.dots_saveable, prevent_cse=False)
    last, stacked = jax.lax.scan(step, carry, rows, length=length)
    return last, stacked


def scan_with_weights(
    step: Callable[[Any, Any, Any, Any], tuple[Any, tuple[Any, Any]]],
    carry: Any,
    rows: Any,
    length: int,
    weights: Sequence[Value],
    lefts: Sequence[tuple[int, ...]],
) -> tuple[Any, Any]:
    """A scan that takes the gradients of `weights` after the loop, in one large product each, instead of adding up per round.

    Args:
        step: of (carry, row, weights, zeros); gives (carry, (what is stacked, left sides)). It must use each of the weights as
            `left @ weights + zeros` alone.
        carry: at the start.
        rows: stacked.
        length: how many rounds.
        weights: (inputs, outputs), one a product; one tensor may stand there twice.
        lefts: shapes of the left sides, (batch, inputs).
    """
    import jax

    def run(held: Any, carry: Any, rows: Any, zeros: Any) -> Any:
        def one(carry: Any, row: Any) -> Any:
            return step(carry, row[0], held, row[1])

        return scan(one, carry, (rows, zeros), length)

    def zeros() -> Any:  # made where they are used: a value held from here would not survive a second trace of the step
        return tuple(jax.numpy.zeros((length, s[0], w.shape[1]), w.dtype) for s, w in zip(lefts, weights, strict=True))

    weights = tuple(weights)
    run_, hidden = jax.closure_convert(run, weights, carry, rows, zeros())

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def whole(weights: Any, carry: Any, rows: Any, hidden: Any) -> Any:
        last, (stacked, _) = run_(weights, carry, rows, zeros(), *hidden)
        return last, stacked

    def forward(weights: Any, carry: Any, rows: Any, hidden: Any) -> Any:
        def held(carry: Any, rows: Any, zeros: Any, hidden: Any) -> Any:
            return run_(weights, carry, rows, zeros, *hidden)

        (last, (stacked, left)), back = jax.vjp(held, carry, rows, zeros(), hidden)
        return (last, stacked), (back, left)

    def backward(kept: Any, cotangents: Any) -> Any:
        back, left = kept
        nothing = jax.tree.map(jax.numpy.zeros_like, left)
        carry, rows, products, hidden = back((cotangents[0], (cotangents[1], nothing)))
        flat = [(x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])) for x, y in zip(left, products, strict=True)]
        return tuple([x.T @ y for x, y in flat]), carry, rows, hidden

    whole.defvjp(forward, backward)
    last, stacked = whole(weights, carry, rows, tuple(hidden))
    return last, stacked


def forward_only(condition: Callable[..., Any], body: Callable[..., Any], carry: Sequence[Value], loop: str) -> list[Value]:
    """`jax.lax.while_loop`, whose gradient raises our own error.

    Raises:
        LoopGradientError: later, when the gradient is taken.
    """
    import jax

    results: list[Value] = list(jax.lax.while_loop(lambda c: condition(*c), lambda c: tuple(body(*c)), tuple(carry)))

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def final(*values: Any) -> Any:
        return values

    def forward(*values: Any) -> Any:
        return values, None

    def backward(_: Any, cotangents: Any) -> Any:
        raise LoopGradientError(loop)

    final.defvjp(forward, backward)
    floats = [i for i, r in enumerate(results) if jax.numpy.issubdtype(r.dtype, jax.numpy.inexact)]
    for i, value in zip(floats, final(*[results[i] for i in floats]), strict=True):
        results[i] = value
    return results


def check_ended(goes_on: Value, loop: str, limit: int, given: bool) -> None:
    """Raises a LoopLimitError where `goes_on` holds after a loop was cut off at its limit; while the step runs, if traced."""
    if keras.backend.backend() == "jax":
        import jax

        def check(value: Any) -> None:
            if bool(value):
                raise LoopLimitError(loop, limit, given)

        jax.debug.callback(check, goes_on)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.debugging.assert_equal(goes_on, False, message=str(LoopLimitError(loop, limit, given)))


def tensorflow_while(
    condition: Callable[..., Any], body: Callable[..., Any], carry: Sequence[Value], most: int | None
) -> list[Value]:
    """`tf.while_loop`; axes whose lengths change from round to round are let loose."""
    import tensorflow as tf

    carry = list(carry)
    invariants = [value.shape for value in carry]
    for _ in range(3):
        after: list[list[Any]] = []

        def watched(*values: Any, after: list[list[Any]] = after) -> list[Any]:
            results: list[Any] = body(*values)
            after.append([r.shape for r in results])
            return results

        try:
            return list(tf.while_loop(condition, watched, carry, maximum_iterations=most, shape_invariants=invariants))
        except ValueError:
            if not after:
                raise
            wider = [_common(a, b) for a, b in zip(invariants, after[-1], strict=True)]
            if [s.rank if s.rank is None else s.as_list() for s in wider] == [
                s.rank if s.rank is None else s.as_list() for s in invariants
            ]:
                raise
            invariants = wider
    results: list[Value] = tf.while_loop(condition, body, carry, maximum_iterations=most, shape_invariants=invariants)
    return list(results)


def _common(a: Any, b: Any) -> Any:
    import tensorflow as tf

    if a.rank is None or b.rank is None or a.rank != b.rank:
        return tf.TensorShape(None)
    return tf.TensorShape([m if m == n else None for m, n in zip(a, b, strict=True)])


def lists_are_native() -> bool:
    """Whether lists are TensorFlow's own now: while it traces, since lengths and shapes may be unknown there."""
    return keras.backend.backend() == "tensorflow" and is_staged()


class NativeList:
    """A list of tensors as TensorFlow holds it (a variant tensor); answers to the methods of `lists.TensorList`."""

    __slots__ = ("dtype", "handle", "shape")

    is_host = False

    def __init__(self, handle: Value, dtype: str, shape: tuple[int | None, ...] | None) -> None:
        self.handle = handle
        self.dtype = dtype
        self.shape = shape

    @staticmethod
    def _raw() -> Any:
        import tensorflow as tf

        return tf.raw_ops

    @staticmethod
    def _shape(shape: tuple[int | None, ...] | None) -> Any:
        return np.int32(-1) if shape is None else np.array([-1 if n is None else n for n in shape], np.int32)

    def _with(self, handle: Value) -> "NativeList":
        return NativeList(handle, self.dtype, self.shape)

    @classmethod
    def reserve(cls, size: Value, dtype: str, shape: tuple[int | None, ...] | None) -> "NativeList":
        """A list of `size` elements, none written."""
        handle = cls._raw().TensorListReserve(element_shape=cls._shape(shape), num_elements=size, element_dtype=dtype)
        return cls(handle, dtype, shape)

    @classmethod
    def from_rows(cls, values: Value, dtype: str, shape: tuple[int | None, ...] | None) -> "NativeList":
        """The rows of a tensor."""
        values = on_device(values)
        rows = tuple(values.shape[1:]) if values.shape.rank is not None else shape
        handle = cls._raw().TensorListFromTensor(tensor=values, element_shape=cls._shape(rows))
        return cls(handle, values.dtype.name, rows)

    @classmethod
    def split(cls, values: Value, lengths: Value, dtype: str, shape: tuple[int | None, ...] | None) -> "NativeList":
        """Parts of a tensor along its first axis."""
        import tensorflow as tf

        values = on_device(values)
        shape = (None, *values.shape[1:])
        lengths = tf.cast(lengths, tf.int64)
        handle = cls._raw().TensorListSplit(tensor=values, element_shape=cls._shape(shape), lengths=lengths)
        return cls(handle, values.dtype.name, shape)

    @classmethod
    def of(cls, other: Any) -> "NativeList":
        """What a `TensorList` holds."""
        if isinstance(other, cls):
            return other
        shapes = {tuple(i.shape) for i in other.items if i is not None}
        shape = next(iter(shapes)) if len(shapes) == 1 else other.shape
        made = cls.reserve(np.int32(other.length), other.dtype, shape)
        for index, item in enumerate(other.items):
            if item is not None:
                made = made.set(np.int32(index), item)
        return made

    @property
    def length(self) -> Value:
        """How many elements it has."""
        return self._raw().TensorListLength(input_handle=self.handle)

    def _known(self, shape: tuple[int | None, ...] | None) -> Any:
        return self._shape(self.shape if shape is None else shape)

    def array(self, shape: tuple[int | None, ...] | None = None) -> Value:
        """All elements in one tensor."""
        return self._raw().TensorListStack(input_handle=self.handle, element_shape=self._known(shape), element_dtype=self.dtype)

    def get(self, index: Value, shape: tuple[int | None, ...] | None = None) -> Value:
        """The element at `index`."""
        return self._raw().TensorListGetItem(
            input_handle=self.handle, index=index, element_shape=self._known(shape), element_dtype=self.dtype
        )

    def set(self, index: Value, value: Value) -> "NativeList":
        """The list with `value` at `index`."""
        item = on_device(value, self.dtype)
        return self._with(
            self._raw().TensorListSetItem(input_handle=self.handle, index=index, item=item, resize_if_index_out_of_bounds=True)
        )

    def gather(self, indices: Value, shape: tuple[int | None, ...] | None = None) -> Value:
        """The elements at `indices` in one tensor (by way of all, since XLA cannot gather from lists)."""
        array = self.array(shape)
        if is_host(indices) and array.shape.rank and np.array_equal(indices, np.arange(array.shape[0] or -1)):
            return array
        import tensorflow as tf

        return tf.gather(array, indices)

    def scatter(self, indices: Value, values: Value) -> "NativeList":
        """The list with the rows of `values` at `indices`."""
        values = on_device(values, self.dtype)
        handle = self._raw().TensorListScatterIntoExistingList(
            input_handle=self.handle, tensor=values, indices=on_device(indices, "int32")
        )
        made = self._with(handle)
        if made.shape is None and values.shape.rank is not None:
            made.shape = tuple(values.shape[1:])
        return made

    def resize(self, size: Value) -> "NativeList":
        """Cut off or filled up."""
        return self._with(self._raw().TensorListResize(input_handle=self.handle, size=size))

    def push(self, value: Value) -> "NativeList":
        """The list with one more element."""
        return self._with(self._raw().TensorListPushBack(input_handle=self.handle, tensor=on_device(value, self.dtype)))

    def pop(self, shape: tuple[int | None, ...] | None = None) -> tuple["NativeList", Value]:
        """The list without its last element, and that."""
        rest, last = self._raw().TensorListPopBack(
            input_handle=self.handle, element_shape=self._known(shape), element_dtype=self.dtype
        )
        return self._with(rest), last

    def extend(self, other: "NativeList") -> "NativeList":
        """The elements of both."""
        return self._with(self._raw().TensorListConcatLists(input_a=self.handle, input_b=other.handle, element_dtype=self.dtype))

    def concat(self, shape: tuple[int | None, ...] | None = None) -> tuple[Value, Value]:
        """The elements one after the other, and the length of each."""
        both = self.shape if shape is None else shape
        values, lengths = self._raw().TensorListConcatV2(
            input_handle=self.handle,
            element_shape=self._shape(None if both is None else (None, *both[1:])),
            leading_dims=np.zeros(0, np.int64),
            element_dtype=self.dtype,
        )
        return values, lengths
