"""Choosing elements: by condition, by rank, by bin; one-hot; splitting and stitching by index."""

from typing import Any

import numpy
from keras import ops

from thaw.lowering.array import on_device_if_known
from thaw.lowering.elementwise import alike, apply
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, is_host, known, on_device, static_shape


@lowering("SelectV2")
def select(condition: Value, t: Value, e: Value) -> Value:
    """`t` where the condition holds, else `e`."""
    if is_host(condition) and condition.ndim == 0 and static_shape(t) == static_shape(e):
        return t if condition else e
    if dtype_of(t) == "string":
        condition = known(condition, "condition")
    return apply(lambda np, c, t, e: np.where(c, t, e), condition, t, e)


@lowering("Select")
def select_rows(condition: Value, t: Value, e: Value) -> Value:
    """`t` where the condition holds, else `e`; a vector of conditions chooses whole rows."""
    if is_host(condition) and condition.ndim == 1 and len(condition) and (condition == condition[0]).all():
        condition = condition[0]  # as for sequences of one length: no row of the other is chosen
    missing = len(static_shape(t)) - len(static_shape(condition))
    if missing and len(static_shape(condition)) == 1:
        lead = static_shape(condition)[0]
        condition = apply(lambda np, c: np.reshape(c, (-1 if lead is None else lead, *[1] * missing)), condition)
    result: Value = select(condition, t, e)
    return result


@lowering("Where", gradient="none")
def positions(condition: Value) -> Value:
    """The positions of what is not zero, one a row, int64. How many there are must be known, but under TensorFlow."""
    condition = known(condition, "condition")
    if is_host(condition):
        return numpy.argwhere(condition).astype("int64")
    return ops.cast(ops.transpose(ops.stack(ops.nonzero(condition))), "int64")


@lowering("OneHot", static=("depth",))
def one_hot(indices: Value, depth: Value, on_value: Value, off_value: Value, *, axis: int = -1) -> Value:
    """`on_value` at each index along a new axis of length `depth`, `off_value` elsewhere and beside indices out of range."""
    rank = len(static_shape(indices)) + 1
    axis %= rank

    def function(np: Any, indices: Value, on: Value, off: Value) -> Value:
        classes = np.arange(int(depth), dtype=dtype_of(indices))
        classes = np.reshape(classes, [-1 if a == axis else 1 for a in range(rank)])
        return np.where(np.expand_dims(indices, axis) == classes, on, off)

    return apply(function, indices, on_value, off_value)


@lowering("TopKV2", static=("k",))
def top_k(input: Value, k: Value, *, sorted: bool = True, index_type: str = "int32") -> Value:
    """The k greatest along the last axis, from the greatest, and where they are; of equal ones the first comes first."""
    return _top(input, int(k), index_type)


@lowering("TopK")
def top_k_fixed(input: Value, *, k: int, sorted: bool = True) -> Value:
    """The k greatest along the last axis, from the greatest, and where they are."""
    return _top(input, k, "int32")


def _top(x: Value, k: int, dtype: str) -> Value:
    if is_host(x):
        order = numpy.argsort(-x.astype("float64") if x.dtype.kind != "i" else -x.astype("int64"), axis=-1, kind="stable")[
            ..., :k
        ]
        return numpy.take_along_axis(x, order, axis=-1), order.astype(dtype)
    # `ops.top_k` leaves the order of equal values open on PyTorch; a stable sort does not.
    signed = ops.cast(x, "int32") if dtype_of(x).startswith("uint") else x
    order = ops.argsort(-signed, axis=-1)[..., :k]
    return ops.take_along_axis(x, order, axis=-1), ops.cast(order, dtype)


@lowering("ApproxTopK", ignored=("recall_target", "reduction_input_size_override", "aggregate_to_topk"))
def top_k_along(input: Value, *, k: int, reduction_dimension: int = -1, is_max_k: bool = True) -> Value:
    """The k greatest (or least) along an axis, exactly, and where they are."""
    moved = apply(lambda np, x: np.moveaxis(x, reduction_dimension, -1), input)
    values, places = _top(moved if is_max_k else -moved, k, "int32")
    back = [apply(lambda np, x: np.moveaxis(x, -1, reduction_dimension), v) for v in (values, places)]
    return (back[0] if is_max_k else -back[0]), back[1]


@lowering("NthElement", static=("n",))
def nth_element(input: Value, n: Value, *, reverse: bool = False) -> Value:
    """The n-th smallest (`reverse`: greatest) along the last axis."""
    position = static_shape(input)[-1] - 1 - int(n) if reverse else int(n)  # type: ignore[operator]
    return apply(lambda np, x: np.sort(x, axis=-1)[..., position], input)


def _bounds(sorted_inputs: Value, values: Value, dtype: str, right: bool) -> Value:
    """How many of each sorted row are below (`right`: not above) each value."""

    def function(np: Any, rows: Value, values: Value) -> Value:
        rows, values = np.expand_dims(rows, -2), np.expand_dims(values, -1)
        before = rows <= values if right else rows < values
        return np.sum(before.astype(dtype) if np is numpy else ops.cast(before, dtype), axis=-1)

    return cast(apply(function, sorted_inputs, values), dtype)


@lowering("LowerBound", gradient="none")
def lower_bound(sorted_inputs: Value, values: Value, *, out_type: str = "int32") -> Value:
    """Where each value would be put in its sorted row, before its equals."""
    return _bounds(sorted_inputs, values, out_type, right=False)


@lowering("UpperBound", gradient="none")
def upper_bound(sorted_inputs: Value, values: Value, *, out_type: str = "int32") -> Value:
    """Where each value would be put in its sorted row, behind its equals."""
    return _bounds(sorted_inputs, values, out_type, right=True)


@lowering("Bucketize", gradient="none")
def bucketize(input: Value, *, boundaries: tuple[float, ...]) -> Value:
    """In which of the intervals between `boundaries` each number lies."""

    def function(np: Any, x: Value, limits: Value) -> Value:
        x = x.astype("float32") if np is numpy else ops.cast(x, "float32")
        return np.sum(np.expand_dims(x, -1) >= limits, axis=-1)

    return cast(apply(function, input, numpy.array(boundaries, dtype="float32")), "int32")


@lowering("BoostedTreesBucketize", gradient="none", ignored=("num_features",))
def bucketize_features(*float_values_and_bucket_boundaries: Value) -> Value:
    """For each feature in which bucket its numbers lie, the last one open upwards."""
    half = len(float_values_and_bucket_boundaries) // 2
    values, limits = float_values_and_bucket_boundaries[:half], float_values_and_bucket_boundaries[half:]

    def function(np: Any, x: Value, limits: Value) -> Value:
        below = np.sum(np.expand_dims(np.reshape(x, (-1,)), -1) > limits, axis=-1)
        return np.minimum(below, (static_shape(limits)[0] or 1) - 1)

    return tuple(cast(apply(function, v, b), "int32") for v, b in zip(values, limits, strict=True))


@lowering("UnravelIndex", static=("dims",), gradient="none")
def unravel_index(indices: Value, dims: Value) -> Value:
    """Positions in an array of shape `dims`, of flat positions: one column each."""

    def function(np: Any, flat: Value) -> Value:
        columns = []
        for length in reversed([int(n) for n in dims]):
            columns.append(flat % length)
            flat = flat // length
        return np.stack(columns[::-1])

    return apply(function, indices)


@lowering("DynamicStitch", "ParallelDynamicStitch")
def dynamic_stitch(*indices_and_data: Value) -> Value:
    """Rows of `data` put where `indices` say; of two for one place the later stays."""
    half = len(indices_and_data) // 2
    indices = [known(i, "indices") for i in indices_and_data[:half]]
    data = alike(*indices_and_data[half:])
    if all(is_host(i) for i in indices):
        count = max((int(i.max()) for i in indices if i.size), default=-1) + 1
        flat = numpy.concatenate([i.reshape(-1) for i in indices])
        chosen = numpy.zeros(count, dtype="int64")
        chosen[flat] = numpy.arange(len(flat))
        rest = static_shape(data[0])[indices[0].ndim :]
        rows = [apply(lambda np, d: np.reshape(d, (-1, *rest)), d) for d in data]
        every = numpy.concatenate(rows) if is_host(rows[0]) else ops.concatenate(rows)
        return numpy.take(every, chosen, axis=0) if is_host(every) else ops.take(every, on_device(chosen), axis=0)
    flat = ops.concatenate([ops.reshape(on_device_if_known(i), (-1,)) for i in indices])
    rest = static_shape(data[0])[len(static_shape(indices[0])) :]
    every = ops.concatenate([ops.reshape(d, (-1, *rest)) for d in data])
    return ops.scatter(ops.expand_dims(flat, -1), every, ops.stack([ops.max(flat) + 1, *rest]))


@lowering("DynamicPartition")
def dynamic_partition(data: Value, partitions: Value, *, num_partitions: int) -> Value:
    """Rows of `data` in `num_partitions` groups; how many fall in each must be known, but under TensorFlow."""
    partitions = known(partitions, "partitions")
    rest = static_shape(data)[len(static_shape(partitions)) :]
    flat = apply(lambda np, d: np.reshape(d, (-1, *rest)), data)
    groups = []
    for group in range(num_partitions):
        if is_host(partitions):
            rows = numpy.flatnonzero(partitions.reshape(-1) == group)
            groups.append(numpy.take(flat, rows, axis=0) if is_host(flat) else ops.take(flat, on_device(rows), axis=0))
        else:
            groups.append(ops.take(flat, ops.nonzero(ops.reshape(partitions, (-1,)) == group)[0], axis=0))
    return tuple(groups)
