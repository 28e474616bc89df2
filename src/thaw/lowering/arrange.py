"""Other orders and sizes of the same elements: transposing, reversing, rolling, repeating, padding."""

from typing import Any

import numpy
from keras import ops

from thaw.lowering.array import on_device_if_known
from thaw.lowering.elementwise import alike, apply
from thaw.lowering.math import is_complex
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, is_host, sizes, static_shape


@lowering("Transpose", static=("perm",))
def transpose(x: Value, perm: Value) -> Value:
    """Axes in another order."""
    order = tuple(n % len(perm) for n in sizes(perm)) if len(perm) else ()
    return x if order == tuple(range(len(order))) else apply(lambda np, x: np.transpose(x, order), x)


@lowering("ConjugateTranspose", static=("perm",))
def conjugate_transpose(x: Value, perm: Value) -> Value:
    """Axes in another order, complex conjugates of the elements."""
    result: Value = transpose(x, perm)
    return apply(lambda np, y: np.conj(y), result) if is_complex(x) else result


def _renamed(source: str, target: str) -> list[int]:
    """For each axis of `target` where it is in `source`: ("NHWC", "NCHW") gives [0, 3, 1, 2]."""
    return [source.index(axis) for axis in target]


@lowering("DataFormatDimMap", gradient="none")
def format_axis(x: Value, *, src_format: str = "NHWC", dst_format: str = "NCHW") -> Value:
    """Axis numbers of one layout in another."""
    where = numpy.array([dst_format.index(axis) for axis in src_format])
    return apply(lambda np, x, w: np.take(w, x % len(src_format)), x, where.astype("int32"))


@lowering("DataFormatVecPermute", gradient="none")
def format_vector(x: Value, *, src_format: str = "NHWC", dst_format: str = "NCHW") -> Value:
    """Lengths or paddings by axis, in the order of another layout; of a short vector, the axes of space alone."""
    if static_shape(x)[0] == len(src_format) - 2:
        src_format, dst_format = (f.replace("N", "").replace("C", "") for f in (src_format, dst_format))
    order = numpy.array(_renamed(src_format, dst_format))
    return apply(lambda np, x, o: np.take(x, o, axis=0), x, order.astype("int32"))


@lowering("InvertPermutation", gradient="none")
def invert_permutation(x: Value) -> Value:
    """The permutation that undoes `x`."""
    if is_host(x):
        return numpy.argsort(x).astype(x.dtype)
    return ops.cast(ops.argsort(x), x.dtype)


@lowering("ReverseV2", static=("axis",))
def reverse(tensor: Value, axis: Value) -> Value:
    """Axes the other way round."""
    axes = tuple(n % len(static_shape(tensor)) for n in sizes(axis))
    return apply(lambda np, x: np.flip(x, axis=axes), tensor) if axes else tensor


@lowering("Reverse", static=("dims",))
def reverse_marked(tensor: Value, dims: Value) -> Value:
    """Axes the other way round, those that are marked true."""
    result: Value = reverse(tensor, numpy.flatnonzero(dims))
    return result


@lowering("ReverseSequence")
def reverse_sequence(input: Value, seq_lengths: Value, *, seq_dim: int, batch_dim: int = 0) -> Value:
    """The first `seq_lengths[i]` elements along an axis the other way round, for each i of the batch."""
    rank = len(static_shape(input))
    seq_dim, batch_dim = seq_dim % rank, batch_dim % rank

    def function(np: Any, x: Value, limits: Value) -> Value:
        length = static_shape(x)[seq_dim] if static_shape(x)[seq_dim] is not None else ops.shape(x)[seq_dim]
        positions = np.arange(length, dtype="int32")
        limits = np.expand_dims(limits, 1)
        limits = limits.astype("int32") if np is numpy else ops.cast(limits, "int32")
        taken = np.where(positions < limits, limits - 1 - positions, positions)  # (batch, sequence)
        if seq_dim < batch_dim:
            taken = np.transpose(taken)
        for axis in range(rank):
            if axis not in (seq_dim, batch_dim):
                taken = np.expand_dims(taken, axis)
        return np.take_along_axis(x, taken, axis=seq_dim)

    return apply(function, input, seq_lengths)


@lowering("Roll", static=("shift", "axis"))
def roll(input: Value, shift: Value, axis: Value) -> Value:
    """Elements moved along axes; what leaves at one end enters at the other."""
    for by, along in zip(sizes(shift), sizes(axis), strict=True):
        input = apply(lambda np, x, by=by, along=along: np.roll(x, by, axis=along), input)
    return input


@lowering("Tile", static=("multiples",))
def tile(input: Value, multiples: Value) -> Value:
    """Repeated along each axis."""
    if not is_host(multiples):  # TensorFlow, unknown lengths
        return ops.tile(on_device_if_known(input), [multiples[i] for i in range(static_shape(multiples)[0] or 0)])
    return apply(lambda np, x: np.tile(x, sizes(multiples)) if len(multiples) else x, input)


def padded(input: Value, paddings: Value, fill: Value) -> Value:
    """With `fill` around; a negative padding cuts off, as TensorFlow's gradients do."""
    widths = [(int(a), int(b)) for a, b in paddings]
    if is_host(input) and is_host(fill):
        return numpy.pad(input, widths, constant_values=numpy.asarray(fill, dtype=input.dtype))
    if not is_host(fill):  # `ops.pad` wants a number
        input, fill = alike(input, fill)
        inside = ops.pad(ops.ones_like(input), widths)
        return ops.where(inside == 1, ops.pad(input, widths), ops.stop_gradient(fill))  # as TensorFlow
    value = fill.item()
    if not any(a or b for a, b in widths):
        return input
    return ops.pad(input, widths, constant_values=value) if value else ops.pad(input, widths)


@lowering("Pad", static=("paddings",))
def pad(input: Value, paddings: Value) -> Value:
    """With zeros around."""
    return padded(input, paddings, numpy.zeros((), dtype="float32") if not is_host(input) else numpy.zeros((), input.dtype))


@lowering("PadV2", static=("paddings",))
def pad_with(input: Value, paddings: Value, constant_values: Value) -> Value:
    """With a value around."""
    return padded(input, paddings, constant_values)


@lowering("MirrorPad", static=("paddings",))
def mirror_pad(input: Value, paddings: Value, *, mode: str) -> Value:
    """With its own reflection around; "SYMMETRIC" repeats the border, "REFLECT" does not."""
    repeat_border = mode == "SYMMETRIC"
    for axis, (before, after) in enumerate((int(a), int(b)) for a, b in paddings):
        length = static_shape(input)[axis]
        if not before and not after:
            continue
        assert length is not None, "only axes of known length are mirrored"
        positions = numpy.arange(-before, length + after)
        period = 2 * length if repeat_border else max(2 * length - 2, 1)
        positions %= period
        positions = numpy.where(positions < length, positions, period - positions - (1 if repeat_border else 0))
        if is_host(input):
            input = numpy.take(input, positions, axis=axis)
        else:
            input = ops.take(input, on_device_if_known(positions.astype("int32")), axis=axis)
    return input


@lowering("MirrorPadGrad", static=("paddings",))
def mirror_pad_gradient(input: Value, paddings: Value, *, mode: str) -> Value:
    """What mirroring adds up to, folded back."""
    offset = 0 if mode == "SYMMETRIC" else 1
    for axis, (before, after) in enumerate((int(a), int(b)) for a, b in paddings):
        length = (static_shape(input)[axis] or 0) - before - after
        middle = _along(input, axis, before, before + length)
        for width, begin, at in ((before, 0, offset), (after, before + length, length - offset - after)):
            if width:
                piece = apply(lambda np, x, axis=axis: np.flip(x, axis=axis), _along(input, axis, begin, begin + width))
                widths = numpy.zeros((len(static_shape(input)), 2), dtype=int)
                widths[axis] = (at, length - at - width)
                middle = apply(lambda np, x, y: x + y, middle, pad(piece, widths))
        input = middle
    return input


def _along(x: Value, axis: int, begin: int, end: int) -> Value:
    return x[(slice(None),) * axis + (slice(begin, end),)]
