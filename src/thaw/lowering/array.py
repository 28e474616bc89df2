"""Ops on the shape of arrays: identities, shapes, reshaping, stacking, splitting, joining, filling.

Shapes are numpy on the host: what follows from them never reaches the device. Only TensorFlow has lengths that are not
known while tracing; there a shape may be a tensor, and TensorFlow's ops take it. Slices and gathers are in slicing.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy
from keras import ops

from thaw.errors import ShapeRefusedError
from thaw.lowering import kernels, sequence_kernels
from thaw.lowering.elementwise import alike, apply
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, cast, dtype_of, is_host, known, numpy_dtype, static_shape


def lengths(shape: Value) -> Any:
    """A shape input as a tuple of ints; TensorFlow's tensor of unknown lengths as it is."""
    return tuple(int(n) for n in numpy.atleast_1d(shape)) if is_host(shape) else shape


def as_array(value: Any, like: Value) -> Value:
    """What indexing an array of strings gave, as an array again (numpy unwraps objects)."""
    if is_host(value) or not is_host(like):
        return value
    result = numpy.empty((), dtype=object)
    result[()] = value
    return result


@lowering("Identity", "Snapshot", "RefIdentity")
def identity(input: Value) -> Value:
    """The input."""
    return input


@lowering("PlaceholderWithDefault", ignored=("dtype", "shape"))
def default(input: Value) -> Value:
    """The default, where the caller supplies nothing."""
    return input


@lowering("GuaranteeConst", "DeepCopy")
def same(input: Value) -> Value:
    """The input."""
    return input


@lowering("PreventGradient", ignored=("message",))
def prevent_gradient(input: Value) -> Value:
    """The input; TensorFlow would refuse to differentiate, which a call for training here may do all the same."""
    return input


@lowering("CheckNumerics", "CheckNumericsV2", ignored=("message",))
def check_numerics(tensor: Value) -> Value:
    """The input, unchecked: a NaN goes on instead of stopping the step."""
    return tensor


@lowering("EnsureShape")
def ensure_shape(input: Value, *, shape: tuple[int | None, ...] | None) -> Value:
    """The input, which must fit `shape`.

    Raises:
        ShapeRefusedError: it does not.
    """
    own = static_shape(input)
    fits = shape is None or (
        len(own) == len(shape) and all(a is None or b is None or b < 0 or a == b for a, b in zip(own, shape, strict=True))
    )
    if not fits:
        raise ShapeRefusedError(own, shape)
    return input


@lowering("StopGradient", gradient="yes")
def stop_gradient(input: Value) -> Value:
    """The input, without a gradient."""
    return input if is_host(input) or not ops.is_tensor(input) else ops.stop_gradient(input)


@lowering("IdentityN", ignored=("T",))
def identities(*input: Value) -> Value:
    """The inputs."""
    return tuple(input)


@lowering("NoOp", stateful=True, gradient="none")
def nothing() -> Value:
    """Nothing."""
    return ()


@lowering("DeviceIndex", gradient="none")
def device_index(*, device_names: tuple[str, ...]) -> Value:
    """Which of those kinds of device this is: that of the CPU, whose branch every backend can run; else one after the last."""
    return numpy.array(device_names.index("CPU") if "CPU" in device_names else len(device_names), "int32")


@lowering("ToBool", static=("input",), gradient="none")
def to_bool(input: Value) -> Value:
    """Whether a scalar is not zero (a string: not empty), or whether any other tensor has elements."""
    return numpy.array(bool(input.item()) if input.ndim == 0 else input.size > 0)


@lowering("Assert", stateful=True, ignored=("T", "summarize"), gradient="none")
def assertion(*condition_and_data: Value) -> Value:
    """Nothing: a failed assertion does not stop the step."""
    return ()


@lowering("Print", ignored=("U", "message", "first_n", "summarize"))
def printed(*input_and_data: Value) -> Value:
    """The first input; nothing is printed."""
    return input_and_data[0]


@lowering("PrintV2", stateful=True, ignored=("output_stream", "end"), gradient="none")
def print_nothing(input: Value) -> Value:
    """Nothing."""
    return ()


@lowering(
    "PartitionedCall",
    "StatefulPartitionedCall",
    context=True,
    stateful=True,
    ignored=("Tin", "Tout", "config", "config_proto", "executor_type"),
)
def call(context: Context, *args: Value, f: Any) -> Value:
    """What the function `f` gives."""
    return tuple(context.call(f, args))


@lowering(
    "BatchFunction",
    context=True,
    stateful=True,
    ignored=(
        "Tin",
        "Tcaptured",
        "Tout",
        "num_batch_threads",
        "max_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "allowed_batch_sizes",
        "container",
        "shared_name",
        "batching_queue",
        "low_priority_max_batch_size",
        "low_priority_batch_timeout_micros",
        "low_priority_allowed_batch_sizes",
        "low_priority_max_enqueued_batches",
        "mixed_priority_policy",
        "batch_padding_policy",
        "enable_large_batch_splitting",
    ),
)
def call_batched(context: Context, *in_and_captured_tensors: Value, f: Any) -> Value:
    """What the function `f` gives for this batch alone: a server would wait for others to join it."""
    return tuple(context.call(f, in_and_captured_tensors))


@lowering("FakeParam", gradient="none")
def unused_value(*, dtype: str, shape: tuple[int | None, ...] | None) -> Value:
    """Zeros in place of a value that this branch does not have and nobody reads."""
    return numpy.zeros([n or 0 for n in shape or ()], dtype=numpy_dtype(dtype))


def _lengths_of(x: Value) -> list[Any]:
    """The lengths of `x`: ints, but TensorFlow's scalars where it does not know one."""
    shape = static_shape(x)
    if None not in shape:
        return list(shape)
    return list(ops.shape(x))


def _shape_vector(parts: Sequence[Any], dtype: str) -> Value:
    if all(isinstance(n, int) for n in parts):
        return numpy.array(parts, dtype=dtype)
    return ops.stack([ops.cast(n, dtype) for n in parts])


@lowering("Shape", gradient="none")
def shape(input: Value, *, out_type: str = "int32") -> Value:
    """The lengths of all axes."""
    return _shape_vector(_lengths_of(input), out_type)


@lowering("ShapeN", gradient="none")
def shapes(*input: Value, out_type: str = "int32") -> Value:
    """The shape of each input."""
    return tuple(_shape_vector(_lengths_of(x), out_type) for x in input)


@lowering("Rank", gradient="none")
def rank(input: Value) -> Value:
    """The number of axes."""
    return numpy.array(len(static_shape(input)), dtype="int32")


@lowering("Size", gradient="none")
def size(input: Value, *, out_type: str = "int32") -> Value:
    """The number of elements."""
    lengths = _lengths_of(input)
    if all(isinstance(n, int) for n in lengths):
        return numpy.array(numpy.prod(lengths, dtype="int64"), dtype=out_type)
    return ops.prod(_shape_vector(lengths, out_type))


@lowering("Reshape", static=("shape",))
def reshape(tensor: Value, shape: Value) -> Value:
    """The same elements in another shape; one length may be -1."""
    if not is_host(shape):  # TensorFlow, unknown lengths
        return ops.reshape(on_device_if_known(tensor), shape)
    target = lengths(shape)
    if shape.ndim == 0:
        target = (int(shape),)
    if -1 in target and 0 in target:  # neither numpy nor PyTorch infers a length beside a 0
        target = tuple(_inferred(static_shape(tensor), target) if n == -1 else n for n in target)
    if is_host(tensor):
        return numpy.reshape(tensor, target)
    return tensor if static_shape(tensor) == target else ops.reshape(tensor, target)


def _inferred(source: Sequence[int | None], target: Sequence[int]) -> int:
    rest = [n for n in target if n != -1]
    total, known_part = int(numpy.prod([n or 0 for n in source])), int(numpy.prod(rest))
    return total // known_part if known_part else 0


def on_device_if_known(value: Value) -> Value:
    """`value` as a tensor."""
    return ops.convert_to_tensor(value) if is_host(value) else value


@lowering("Squeeze")
def squeeze(input: Value, *, squeeze_dims: tuple[int, ...] = ()) -> Value:
    """Without axes of length 1: those named, or all."""
    own = static_shape(input)
    axes = tuple(a % len(own) for a in squeeze_dims) or tuple(a for a, n in enumerate(own) if n == 1)
    if not axes:
        return input
    return as_array(apply(lambda np, x: np.squeeze(x, axis=axes), input), input)


@lowering("ExpandDims", static=("dim",))
def expand_dims(input: Value, dim: Value) -> Value:
    """With an axis of length 1 more."""
    return apply(lambda np, x: np.expand_dims(x, axis=int(numpy.reshape(dim, ()))), input)


@lowering("Pack")
def stack(*values: Value, axis: int = 0) -> Value:
    """The inputs side by side along a new axis."""
    if not all(is_host(v) for v in values):
        values = _same_dtype(values)
        return ops.stack(values, axis=axis)
    return numpy.stack(values, axis=axis)


def _same_dtype(values: Sequence[Value]) -> tuple[Value, ...]:
    """All as tensors of one dtype: a known int64 beside a shape of TensorFlow's, or a narrowed one under JAX."""
    values = alike(*values)
    dtypes = {dtype_of(v) for v in values}
    return values if len(dtypes) == 1 else tuple(cast(v, dtype_of(values[0])) for v in values)


@lowering("Unpack", ignored=("num",))
def unstack(value: Value, *, axis: int = 0) -> Value:
    """The parts along an axis, without it."""
    axis %= len(static_shape(value))
    count = static_shape(value)[axis]
    if is_host(value):
        return tuple(as_array(value[(slice(None),) * axis + (i,)], value) for i in range(count or 0))
    return tuple(ops.unstack(value, num=count, axis=axis)) if count else ()


def _parts(value: Value, widths: Sequence[int], axis: int) -> tuple[Value, ...]:
    """Consecutive slices of the given widths along an axis."""
    if len(widths) == 1:
        return (value,)
    if kernels.chosen("torch", "tensorflow") and not is_host(value):
        return sequence_kernels.parts(value, widths, axis)
    ends = numpy.cumsum(widths).tolist()
    lead = (slice(None),) * axis
    return tuple(value[(*lead, slice(end - width, end))] for width, end in zip(widths, ends, strict=True))


@lowering("Split", static=("split_dim",))
def split(split_dim: Value, value: Value, *, num_split: int) -> Value:
    """`num_split` equal parts along an axis."""
    axis = int(numpy.reshape(split_dim, ())) % len(static_shape(value))
    length = static_shape(value)[axis]
    if length is None:
        return tuple(ops.split(value, num_split, axis=axis))
    if length % num_split:
        raise ValueError(f"an axis of length {length} does not split into {num_split} equal parts")
    return _parts(value, [length // num_split] * num_split, axis)


@lowering("SplitV", static=("size_splits", "split_dim"), ignored=("num_split",))
def split_by_widths(value: Value, size_splits: Value, split_dim: Value) -> Value:
    """Parts of given widths along an axis; one width may be -1."""
    axis = int(numpy.reshape(split_dim, ())) % len(static_shape(value))
    widths = [int(n) for n in size_splits]
    if -1 in widths:
        widths[widths.index(-1)] = (static_shape(value)[axis] or 0) - sum(widths) - 1
    return _parts(value, widths, axis)


def joined(values: Sequence[Value], axis: int) -> Value:
    """Concatenation."""
    if all(is_host(v) for v in values):
        return numpy.concatenate(values, axis=axis)
    return ops.concatenate(_same_dtype(values), axis=axis) if len(values) > 1 else values[0]


@lowering("ConcatV2")
def concatenate(*values_and_axis: Value) -> Value:
    """The inputs one after the other along an axis (the last input)."""
    return joined(values_and_axis[:-1], int(numpy.reshape(known(values_and_axis[-1], "axis"), ())))


@lowering("Concat")
def concatenate_along(*concat_dim_and_values: Value) -> Value:
    """The inputs one after the other along an axis (the first input)."""
    return joined(concat_dim_and_values[1:], int(numpy.reshape(known(concat_dim_and_values[0], "concat_dim"), ())))


@lowering("ParallelConcat", ignored=("shape",))
def concatenate_parallel(*values: Value) -> Value:
    """The inputs one after the other along the first axis."""
    return joined(values, 0)


@lowering("ConcatOffset", gradient="none", ignored=("shape_type",))
def concat_offsets(*concat_dim_and_shapes: Value) -> Value:
    """Where each of the shapes begins in the concatenation."""
    axis, *shapes = (known(v, "shape") for v in concat_dim_and_shapes)
    offsets, begin = [], 0
    for part in shapes:
        offset = numpy.zeros_like(part)
        offset[int(axis) % len(part)] = begin
        begin += int(part[int(axis)])
        offsets.append(offset)
    return tuple(offsets)


@lowering("Fill", static=("dims",), ignored=("index_type",))
def fill(dims: Value, value: Value) -> Value:
    """An array of one value."""
    if is_host(dims) and is_host(value):
        return numpy.full(lengths(dims), value, dtype=value.dtype)
    return ops.broadcast_to(on_device_if_known(value), lengths(dims))


@lowering("ZerosLike", gradient="none")
def zeros_like(x: Value) -> Value:
    """Zeros (empty strings) of the same shape and dtype."""
    if is_host(x):
        return numpy.full(x.shape, b"", dtype=object) if x.dtype == object else numpy.zeros_like(x)
    return ops.zeros_like(x)


@lowering("OnesLike", gradient="none")
def ones_like(x: Value) -> Value:
    """Ones of the same shape and dtype."""
    return numpy.ones_like(x) if is_host(x) else ops.ones_like(x)


@lowering("Empty", static=("shape",), ignored=("init",), gradient="none")
def empty(shape: Value, *, dtype: str) -> Value:
    """Zeros: TensorFlow leaves the values open."""
    return numpy.zeros(lengths(shape), dtype=numpy_dtype(dtype))


@lowering("BroadcastTo", static=("shape",))
def broadcast_to(input: Value, shape: Value) -> Value:
    """Repeated along axes of length 1 until it has `shape`."""
    target = lengths(shape)
    if is_host(shape):
        own = static_shape(input)
        lead = len(target) - len(own)
        target = tuple((own[a - lead] or 1) if n == -1 and a >= lead else n for a, n in enumerate(target))
    return apply(lambda np, x: np.broadcast_to(x, target), input)


@lowering("BroadcastArgs", static=("s0", "s1"), gradient="none")
def broadcast_shape(s0: Value, s1: Value) -> Value:
    """The shape to which two shapes broadcast."""
    if is_host(s0) and is_host(s1):
        return numpy.array(numpy.broadcast_shapes(lengths(s0), lengths(s1)), dtype=s0.dtype)
    s0, s1 = alike(s0, s1)
    longest = max(static_shape(s0)[0] or 0, static_shape(s1)[0] or 0)
    s0, s1 = (ops.pad(s, [[longest - (static_shape(s)[0] or 0), 0]], constant_values=1) for s in (s0, s1))
    return ops.where(s0 == 1, s1, s0)


@lowering("BroadcastGradientArgs", static=("s0", "s1"), gradient="none")
def broadcast_axes(s0: Value, s1: Value) -> Value:
    """For each of two shapes the axes over which a gradient is summed after broadcasting."""
    longest = max(len(s0), len(s1))
    padded = [[1] * (longest - len(s)) + [int(n) for n in s] for s in (s0, s1)]
    every = range(longest)
    both = [{a for a in every if row[a] == 1} for row in padded]
    axes = [[a for a in every if a in own and (a not in other or a in own)] for own, other in (both, both[::-1])]
    same = [a for a in every if padded[0][a] == padded[1][a] != 1]
    result = [[a for a in row if a not in same] for row in axes]
    return tuple(numpy.array(row, dtype=s0.dtype) for row in result)


@lowering("Range", static=("start", "limit", "delta"), gradient="none")
def arange(start: Value, limit: Value, delta: Value) -> Value:
    """Numbers from start, by delta, before limit."""
    if all(is_host(v) for v in (start, limit, delta)):
        count = max(0, int(numpy.ceil((limit.astype("float64") - start) / delta.astype("float64"))))
        if numpy.issubdtype(start.dtype, numpy.integer):
            count = max(
                0, -((int(start) - int(limit)) // int(delta)) if delta > 0 else -((int(limit) - int(start)) // -int(delta))
            )
        return (start + numpy.arange(count).astype(start.dtype) * delta).astype(start.dtype)
    return ops.arange(start, limit, delta, dtype=dtype_of(start))


@lowering("LinSpace", static=("num",), gradient="none", ignored=("Tidx",))
def linspace(start: Value, stop: Value, num: Value) -> Value:
    """`num` numbers from start to stop, both included."""
    count = int(num)
    steps = numpy.arange(count, dtype="float64") / max(count - 1, 1)
    start, stop, steps = alike(start, stop, steps.astype(numpy_dtype(dtype_of(start))))
    return start + (stop - start) * steps
