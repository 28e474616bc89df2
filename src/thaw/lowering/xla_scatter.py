"""XLA's scatters: blocks written into a tensor, and the gradient of a reduction over windows, as JAX exports them.

Imports the numbers of XLA's ops and what their functions mean.
"""

import math
from typing import Any

import numpy
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.graph.ir import FunctionName
from thaw.lowering import kernels
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, dtype_of, on_device, sizes
from thaw.lowering.windows import padded
from thaw.lowering.xla import block_of_rows, known_shape, numbers_of
from thaw.lowering.xla_reducers import MOST_OFFSETS, REDUCERS, only_op

WRITES = ("set", "sum", "max", "min")
"""What a scatter may do with what is there."""


def what_it_writes(context: Context, function: FunctionName) -> str:
    """What a function of an old and a new element does: one of `WRITES`.

    Raises:
        UnhandledValueError: something else.
    """
    kind = only_op(context, function)
    graph = context.graph(function)
    taken = graph.outputs[0]
    while kind == "" and graph.nodes[taken.node].op == "Identity":
        taken = graph.nodes[taken.node].inputs[0]
    found = "set" if kind == "" and taken == graph.inputs[1] else REDUCERS.get(kind or "", "")
    if found not in WRITES:
        raise UnhandledValueError(context.node.op, "function", kind, WRITES)
    return found


def written(kind: str, rows: Value, places: Value, values: Value) -> Value:
    """`rows` (count, width) with `values` (n, width) put, added ... at `places` (n,); those at `count` are left out."""
    count = rows.shape[0]
    if kind == "set":
        wide = ops.concatenate([rows, ops.zeros_like(rows[:1])], axis=0) if count else ops.zeros((1, rows.shape[1]), rows.dtype)
        return ops.scatter_update(wide, ops.expand_dims(places, -1), values)[:count]
    if kind == "sum":
        return rows + kernels.segment_sum(values, places, count + 1, ordered=False)[:count]
    if kind == "min":
        return -written("max", -rows, places, -values)
    return ops.maximum(rows, ops.segment_max(values, places, count + 1)[:count])


@lowering("XlaScatter", context=True, ignored=("Tindices", "indices_are_sorted"))
def xla_scatter(
    context: Context,
    operand: Value,
    scatter_indices: Value,
    updates: Value,
    *,
    update_computation: FunctionName,
    dimension_numbers: str | bytes,
) -> Value:
    """Blocks put, added ... into the operand, one for each position; a block that does not fit is left out.

    Raises:
        UnhandledValueError: axes that are a batch of both the operand and the positions.
    """
    kind, numbers = what_it_writes(context, update_computation), numbers_of("XlaScatter", dimension_numbers)
    if numbers.get(5) or numbers.get(6):
        raise UnhandledValueError("XlaScatter", "input_batching_dims", numbers[5], ((),))
    windows, inserted, mapped = (numbers.get(i, []) for i in (1, 2, 3))
    vector = (numbers.get(4) or [0])[0]
    shape, own = known_shape("XlaScatter", operand), known_shape("XlaScatter", updates)
    starts = ops.cast(on_device(scatter_indices), "int32")
    starts = ops.expand_dims(starts, -1) if vector == len(starts.shape) else ops.moveaxis(starts, vector, -1)
    blocks = iter(own[d] for d in sorted(windows))
    lengths = [1 if d in inserted else next(blocks) for d in range(len(shape))]
    whole, strides, offsets = block_of_rows(shape, lengths, {*inserted, *mapped})
    count, width = math.prod(shape[:whole]), math.prod(shape[whole:])
    most = numpy.array([shape[d] - lengths[d] for d in mapped], "int32")
    fits = ops.all(ops.logical_and(starts >= 0, starts <= on_device(most)), axis=-1)
    first = ops.sum(starts * on_device(numpy.array([strides[d] for d in mapped], "int32")), axis=-1)
    places = ops.reshape(ops.where(fits, first, count), (-1, 1)) + on_device(offsets.reshape(1, -1).astype("int32"))
    places = ops.where(ops.reshape(fits, (-1, 1)), places, count)
    order = [d for d in range(len(own)) if d not in windows] + sorted(windows)
    values = ops.reshape(ops.transpose(on_device(updates), order), (-1, width))
    rows = ops.reshape(on_device(operand), (count, width))
    return ops.reshape(written(kind, rows, ops.reshape(places, (-1,)), values), shape)


@lowering(
    "XlaSelectAndScatter",
    context=True,
    static=("window_dimensions", "window_strides", "padding", "init_value"),
    ignored=("Tindices",),
)
def xla_select_and_scatter(
    context: Context,
    operand: Value,
    window_dimensions: Value,
    window_strides: Value,
    padding: Value,
    source: Value,
    init_value: Value,
    *,
    select: FunctionName,
    scatter: FunctionName,
) -> Value:
    """Each element of `source` added where the first greatest (least) element of its window lies: a pool's gradient.

    Raises:
        UnhandledValueError: other functions, or windows of too many elements.
    """
    kind, chosen = what_it_writes(context, scatter), only_op(context, select)
    if chosen not in {"GreaterEqual", "LessEqual"} or kind != "sum":
        raise UnhandledValueError("XlaSelectAndScatter", "select, scatter", (chosen, kind), ("GreaterEqual or LessEqual, Add",))
    window, strides = sizes(window_dimensions), sizes(window_strides)
    if math.prod(window) > MOST_OFFSETS:
        raise UnhandledValueError("XlaSelectAndScatter", "window_dimensions", window, (f"at most {MOST_OFFSETS} elements",))
    shape = known_shape("XlaSelectAndScatter", operand)
    low, high = [p[0] for p in padding.tolist()], [p[1] for p in padding.tolist()]
    x = ops.stop_gradient(on_device(operand))
    x = x if chosen == "GreaterEqual" else -x
    lowest: Any = -numpy.inf if "float" in dtype_of(x) else int(numpy.iinfo(dtype_of(x)).min)
    wide = padded(x, lowest, low, high, [0] * len(shape))
    total = math.prod(shape)
    numbered = padded(numpy.arange(total, dtype="int32").reshape(shape), total, low, high, [0] * len(shape))
    counts = known_shape("XlaSelectAndScatter", source)
    best: Value = None
    place: Value = None
    for offset in numpy.ndindex(*window):
        cut = tuple(slice(o, o + (c - 1) * s + 1 if c else o, s) for o, c, s in zip(offset, counts, strides, strict=True))
        value, number = wide[cut], on_device(numbered[cut])
        if best is None:
            best, place = value, number
            continue
        better = ops.logical_or(value > best, ops.logical_and(place == total, number < total))
        best, place = ops.where(better, value, best), ops.where(better, number, place)
    given = ops.reshape(on_device(source), (-1,))
    added = kernels.segment_sum(given, ops.reshape(place, (-1,)), total + 1, ordered=False)[:total]
    return ops.reshape(added, shape) + on_device(init_value.astype(dtype_of(operand)))
