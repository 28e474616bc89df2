"""Fourier transforms over the last one, two or three axes, complex and real."""

from collections.abc import Callable
from typing import Any

import numpy
from keras import ops

from thaw.lowering.elementwise import apply
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, is_host, numpy_dtype, sizes, static_shape

Parts = tuple[Value, Value]


def _split(x: Value) -> Parts:
    return ops.real(x), ops.imag(x)


def _joined(parts: Parts) -> Value:
    return ops.view_as_complex(ops.stack(parts, axis=-1))


def _along(function: Callable[[Parts], Parts], parts: Parts, axis: int) -> Parts:
    """`function`, which works on the last axis, along another."""
    if axis == -1:
        return function(parts)
    moved = function((ops.swapaxes(parts[0], axis, -1), ops.swapaxes(parts[1], axis, -1)))
    return ops.swapaxes(moved[0], axis, -1), ops.swapaxes(moved[1], axis, -1)


def _forward(parts: Parts) -> Parts:
    real, imag = ops.fft(parts)
    return real, imag


def _inverse(parts: Parts) -> Parts:
    """By the forward transform of the conjugate, conjugated: `keras.ops` has an inverse over two axes only."""
    length = static_shape(parts[0])[-1]
    real, imag = ops.fft((parts[0], -parts[1]))
    return real / length, -imag / length


def _transform(x: Value, rank: int, inverse: bool) -> Value:
    if is_host(x):
        axes = tuple(range(-rank, 0))
        result = numpy.fft.ifftn(x, axes=axes) if inverse else numpy.fft.fftn(x, axes=axes)
        return result.astype(x.dtype)
    if 0 in static_shape(x):  # PyTorch transforms no empty batch
        return x
    parts = _split(x)
    for axis in range(-rank, 0):
        parts = _along(_inverse if inverse else _forward, parts, axis)
    result = _joined(parts)
    return result if dtype_of(result) == dtype_of(x) else cast(result, dtype_of(x))


def _fitted(x: Value, lengths: tuple[int, ...]) -> Value:
    """The last axes cut or filled with zeros to `lengths`."""
    own = static_shape(x)
    lead = len(own) - len(lengths)
    cuts = tuple(slice(0, n) for n in lengths)
    x = x[(slice(None),) * lead + cuts]
    widths = [(0, 0)] * lead + [(0, max(0, n - (own[lead + i] or 0))) for i, n in enumerate(lengths)]
    return apply(lambda np, x: np.pad(x, widths), x) if any(b for _, b in widths) else x


def _real(x: Value, lengths: tuple[int, ...], dtype: str) -> Value:
    """Transform of a real signal: the half of the last axis that is not redundant."""
    x = _fitted(x, lengths)
    if is_host(x):
        return numpy.fft.rfftn(x, axes=tuple(range(-len(lengths), 0))).astype(numpy_dtype(dtype))
    if 0 in static_shape(x):
        return cast(x[..., : lengths[-1] // 2 + 1], dtype)
    parts: Parts = tuple(ops.rfft(x))
    for axis in range(-len(lengths), -1):
        parts = _along(_forward, parts, axis)
    return _joined(parts)


def _inverse_real(x: Value, lengths: tuple[int, ...], dtype: str) -> Value:
    """The real signal of which `x` is the half transform."""
    x = _fitted(x, (*lengths[:-1], lengths[-1] // 2 + 1))
    if is_host(x):
        return numpy.fft.irfftn(x, s=lengths, axes=tuple(range(-len(lengths), 0))).astype(numpy_dtype(dtype))
    if 0 in static_shape(x):
        return ops.zeros((*static_shape(x)[:-1], lengths[-1]), dtype)
    parts = _split(x)
    for axis in range(-len(lengths), -1):
        parts = _along(_inverse, parts, axis)
    return ops.irfft(parts, fft_length=lengths[-1])


def _register(rank: int, suffix: str) -> None:
    space = f"the last {rank} axes" if rank > 1 else "the last axis"

    def forward(input: Value) -> Value:
        return _transform(input, rank, inverse=False)

    def backward(input: Value) -> Value:
        return _transform(input, rank, inverse=True)

    def real(input: Value, fft_length: Value, *, Tcomplex: str = "complex64") -> Value:
        return _real(input, sizes(fft_length), Tcomplex)

    def inverse_real(input: Value, fft_length: Value, *, Treal: str = "float32") -> Value:
        return _inverse_real(input, sizes(fft_length), Treal)

    rows: list[tuple[str, Any, str, dict[str, Any]]] = [
        (f"FFT{suffix}", forward, f"Fourier transform over {space}.", {"ignored": ("Tcomplex",)}),
        (f"IFFT{suffix}", backward, f"Inverse Fourier transform over {space}.", {"ignored": ("Tcomplex",)}),
        (
            f"RFFT{suffix}",
            real,
            f"Fourier transform of real numbers over {space}.",
            {"static": ("fft_length",), "ignored": ("Treal",)},
        ),
        (
            f"IRFFT{suffix}",
            inverse_real,
            f"Inverse of the transform of real numbers over {space}.",
            {"static": ("fft_length",), "ignored": ("Tcomplex",)},
        ),
    ]
    for op, function, line, options in rows:
        function.__doc__ = line
        lowering(op, **options)(function)


for _rank, _suffix in ((1, ""), (2, "2D"), (3, "3D")):
    _register(_rank, _suffix)
