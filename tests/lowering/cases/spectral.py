"""Fourier transforms."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(8)


def f(*shape):
    return R.standard_normal(shape).astype("float32")


def z(*shape):
    return (f(*shape) + 1j * f(*shape)).astype("complex64")


def i(*values):
    return np.array(values, dtype="int32")


CASES = [
    Case("FFT", "batch", (z(2, 5),)),
    Case("IFFT", "batch", (z(2, 5),)),
    Case("FFT2D", "batch", (z(2, 3, 4),)),
    Case("IFFT2D", "batch", (z(2, 3, 4),)),
    Case("FFT3D", "cube", (z(2, 3, 4),)),
    Case("IFFT3D", "cube", (z(2, 3, 4),)),
    Case("RFFT", "even", (f(2, 8), i(8))),
    Case("RFFT", "odd-cut", (f(2, 8), i(5)), gradient=False),
    Case("IRFFT", "even", (z(2, 5), i(8)), gradient=False),
    Case("IRFFT", "odd", (z(2, 5), i(9)), gradient=False),
    Case("RFFT2D", "batch", (f(2, 4, 6), i(4, 6))),
    Case("IRFFT2D", "batch", (z(2, 4, 4), i(4, 6)), gradient=False),
    Case("RFFT3D", "cube", (f(4, 4, 6), i(4, 4, 6)), gradient=False),
    Case("IRFFT3D", "cube", (z(4, 4, 4), i(4, 4, 6)), gradient=False),
]
