"""Reductions over segments: rows with the same id together. Ids are data; how many segments there are must be known."""

from typing import Any

import numpy
from keras import ops

from thaw.lowering.elementwise import alike, apply
from thaw.lowering.registry import lowering
from thaw.lowering.slicing import scatter_into
from thaw.lowering.values import Value, cast, dtype_of, is_host, known, numpy_dtype, static_shape


def lowest(dtype: str) -> float:
    """The lowest finite number of a dtype."""
    if "int" in dtype:
        return int(numpy.iinfo(dtype).min)
    return -3.3895313892515355e38 if dtype == "bfloat16" else float(numpy.finfo(dtype).min)


def highest(dtype: str) -> float:
    """The highest number of a dtype."""
    return int(numpy.iinfo(dtype).max) if "int" in dtype else -lowest(dtype)


def reduced(data: Value, ids: Value, count: int, how: str, empty: float) -> Value:
    """Rows of `data` with the same id reduced to one ("add", "max", "min", "mul"), `empty` where there is none.

    Rows with an id below 0 or beyond `count` are left out: they fall into a row that is cut off.
    """
    rest = static_shape(data)[len(static_shape(ids)) :]
    ids = apply(lambda np, i: np.reshape(np.where((i < 0) | (i >= count), np.full_like(i, count), i), (-1,)), ids)
    rows = apply(lambda np, d: np.reshape(d, (-1, *rest)), data)
    start = numpy.full((count + 1, *(n or 0 for n in rest)), empty, dtype=numpy_dtype(dtype_of(data)))
    if how == "mul":
        return _products(rows, ids, count)
    if how == "add":
        return scatter_into(start, apply(lambda np, i: np.expand_dims(i, -1), ids), rows, how)[:count]
    if is_host(rows) and is_host(ids):
        bound = lowest(dtype_of(rows)) if how == "max" else highest(dtype_of(rows))
        best = scatter_into(numpy.full_like(start, bound), ids[:, None], rows, how)
        best[~numpy.isin(numpy.arange(count + 1), ids)] = empty
        return best[:count]
    rows, ids, start = alike(rows, ids, start)
    reduce = ops.segment_max if how == "max" else ops.segment_min
    best = ops.stop_gradient(cast(reduce(rows, ids, num_segments=count + 1), dtype_of(rows)))
    # TensorFlow shares the gradient equally between equal extrema; so the value is the mean over those.
    chosen = cast(rows == ops.take(best, ids, axis=0), dtype_of(rows))
    positions = ops.expand_dims(ids, -1)
    zeros = ops.zeros_like(start)
    number = scatter_into(zeros, positions, chosen, "add")
    mean = scatter_into(zeros, positions, chosen * rows, "add") / ops.maximum(number, 1)
    mean = cast(mean, dtype_of(rows)) if dtype_of(mean) != dtype_of(rows) else mean
    value = mean if "int" not in dtype_of(rows) else best
    return ops.where(number > 0, value, start)[:count]


def _products(rows: Value, ids: Value, count: int) -> Value:
    """Products by segment, one column of segments at a time: there are few, and gradients stay right beside zeros."""
    products = []
    for segment in range(count):

        def product(np: Any, rows: Value, ids: Value, segment: int = segment) -> Value:
            mask = np.reshape(ids == segment, (-1, *[1] * (len(rows.shape) - 1)))
            return np.prod(np.where(mask, rows, np.ones_like(rows)), axis=0)

        products.append(apply(product, rows, ids))
    if not products:
        return rows[:0]
    stacked = numpy.stack(products) if is_host(products[0]) else ops.stack(products)
    return stacked if dtype_of(stacked) == dtype_of(rows) else cast(stacked, dtype_of(rows))


def _count(ids: Value) -> int:
    ids = known(ids, "segment_ids")
    return int(ids.max()) + 1 if ids.size else 0


def _empty(how: str, dtype: str) -> float:
    return {"add": 0, "mul": 1, "max": lowest(dtype) if how == "max" else 0, "min": highest(dtype) if how == "min" else 0}[how]


def _register(name: str, how: str, line: str) -> None:
    def by_sorted_ids(data: Value, segment_ids: Value) -> Value:
        count = _count(segment_ids)
        return reduced(data, segment_ids, count, how, 1 if how == "mul" else 0)

    def by_ids(data: Value, segment_ids: Value, num_segments: Value) -> Value:
        return reduced(data, segment_ids, int(num_segments), how, _empty(how, dtype_of(data)))

    def by_sorted_ids_of(data: Value, segment_ids: Value, num_segments: Value) -> Value:
        return by_ids(data, segment_ids, num_segments)

    by_sorted_ids.__doc__ = by_ids.__doc__ = by_sorted_ids_of.__doc__ = line
    lowering(f"Segment{name}")(by_sorted_ids)
    lowering(f"Segment{name}V2", static=("num_segments",))(by_sorted_ids_of)
    lowering(f"UnsortedSegment{name}", static=("num_segments",))(by_ids)


_register("Sum", "add", "Sums by segment.")
_register("Prod", "mul", "Products by segment.")
_register("Max", "max", "The greatest by segment; of none, the lowest number there is.")
_register("Min", "min", "The smallest by segment; of none, the highest number there is.")


@lowering("SegmentMean")
def segment_mean(data: Value, segment_ids: Value) -> Value:
    """Means by segment; of none, 0."""
    count = _count(segment_ids)
    total = reduced(data, segment_ids, count, "add", 0)
    ones = apply(lambda np, d: np.ones_like(d), data)
    number = reduced(ones, segment_ids, count, "add", 0)
    means = apply(lambda np, t, n: t / np.maximum(n, np.ones_like(n)), total, number)
    return cast(means, dtype_of(data)) if dtype_of(means) != dtype_of(data) else means


@lowering("HistogramFixedWidth", static=("nbins",), gradient="none")
def histogram(values: Value, value_range: Value, nbins: Value, *, dtype: str = "int32") -> Value:
    """How many values fall in each of `nbins` bins of equal width; what lies outside counts in the first or last."""
    bins = int(nbins)

    def places(np: Any, values: Value, limits: Value) -> Value:
        scaled = (np.reshape(values, (-1,)) - limits[0]) / (limits[1] - limits[0]) * bins
        clipped = np.clip(np.floor(scaled), 0, bins - 1)
        return clipped.astype("int32") if np is numpy else ops.cast(clipped, "int32")

    at = apply(places, values, value_range)
    ones = apply(lambda np, i: np.ones_like(i), at)
    return cast(reduced(ones, at, bins, "add", 0), dtype)
