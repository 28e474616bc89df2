"""Elementwise arithmetic: what takes numbers and gives numbers of the same dtype, with TensorFlow's gradients.

Comparisons, logic and bits are in logic.py, special functions in special.py, changes of dtype in dtypes.py.
"""

from typing import Any

import numpy
from keras import ops

from thaw.lowering import kernels, sequence_kernels
from thaw.lowering.elementwise import Arithmetic, alike, apply, elementwise
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, is_host, numpy_dtype


def is_integer(value: Value) -> bool:
    """Whether the dtype is an integer."""
    return "int" in dtype_of(value)


def is_complex(value: Value) -> bool:
    """Whether the dtype is complex."""
    return dtype_of(value).startswith("complex")


@elementwise("Add", "AddV2")
def add(np: Any, x: Value, y: Value) -> Value:
    """Sum; bytes are joined."""
    return x + y


@elementwise("Sub")
def subtract(np: Any, x: Value, y: Value) -> Value:
    """Difference."""
    return x - y


@elementwise("Mul")
def multiply(np: Any, x: Value, y: Value) -> Value:
    """Product."""
    return x * y


@elementwise("MulNoNan")
def multiply_no_nan(np: Any, x: Value, y: Value) -> Value:
    """Product, 0 where y is 0 even if x is NaN or infinite."""
    finite = np.where(np.isfinite(x), x, np.zeros_like(x))
    return np.where(y == 0, finite, x) * y


@elementwise("RealDiv")
def divide(np: Any, x: Value, y: Value) -> Value:
    """Quotient."""
    return x / y


def truncated_quotient(np: Any, x: Value, y: Value) -> Value:
    """Integer quotient rounded towards zero, as in C."""
    if dtype_of(x).startswith("uint"):
        return x // y
    return np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))


@elementwise("Div")
def divide_as_c(np: Any, x: Value, y: Value) -> Value:
    """Quotient; of integers, rounded towards zero."""
    return truncated_quotient(np, x, y) if is_integer(x) else x / y


@elementwise("TruncateDiv")
def truncate_divide(np: Any, x: Value, y: Value) -> Value:
    """Quotient rounded towards zero."""
    return truncated_quotient(np, x, y) if is_integer(x) else np.trunc(x / y)


@elementwise("FloorDiv")
def floor_divide(np: Any, x: Value, y: Value) -> Value:
    """Quotient rounded down."""
    return x // y if is_integer(x) else np.floor(x / y)


@elementwise("FloorMod")
def floor_modulo(np: Any, x: Value, y: Value) -> Value:
    """Remainder with the sign of y."""
    return x % y


@elementwise("Mod", "TruncateMod")
def truncate_modulo(np: Any, x: Value, y: Value) -> Value:
    """Remainder with the sign of x."""
    if dtype_of(x).startswith("uint"):
        return x % y
    if is_integer(x):
        return np.sign(x) * (np.abs(x) % np.abs(y))
    return x - np.trunc(x / y) * y if np is ops else numpy.fmod(x, y)


@elementwise("DivNoNan")
def divide_no_nan(np: Any, x: Value, y: Value) -> Value:
    """Quotient, 0 where y is 0."""
    zero = y == 0
    return np.where(zero, np.zeros_like(x), x / np.where(zero, np.ones_like(y), y))


@elementwise("Xdivy")
def x_divided_by_y(np: Any, x: Value, y: Value) -> Value:
    """Quotient, 0 where x is 0."""
    zero = x == 0
    return np.where(zero, np.zeros_like(x), x / np.where(zero, np.ones_like(y), y))


@elementwise("Xlogy")
def x_log_y(np: Any, x: Value, y: Value) -> Value:
    """`x * log(y)`, 0 where x is 0."""
    zero = x == 0
    return np.where(zero, np.zeros_like(x), x * np.log(np.where(zero, np.ones_like(y), y)))


@elementwise("Xlog1py")
def x_log_1_plus_y(np: Any, x: Value, y: Value) -> Value:
    """`x * log(1 + y)`, 0 where x is 0."""
    zero = x == 0
    return np.where(zero, np.zeros_like(x), x * np.log1p(np.where(zero, np.zeros_like(y), y)))


@lowering("Pow")
def power(x: Value, y: Value) -> Value:
    """`x ** y`; the gradient for y is 0 where x is not positive.

    Source: tensorflow/python/ops/math_grad.py, `_PowGrad`.
    """
    if is_host(y) or is_integer(y) or is_complex(y):
        return apply(lambda np, x, y: np.power(x, y).astype(x.dtype) if np is numpy else np.power(x, y), x, y)
    x, y = alike(x, y)
    fixed = ops.stop_gradient(y)
    value = ops.power(x, fixed)
    positive = x > 0
    log = ops.log(ops.where(positive, ops.stop_gradient(x), ops.ones_like(x)))
    slope = ops.where(positive & ops.isfinite(value), ops.stop_gradient(value) * log, ops.zeros_like(value))
    return value + slope * ops.where(ops.isfinite(fixed), y - fixed, ops.zeros_like(y))


@elementwise("SquaredDifference")
def squared_difference(np: Any, x: Value, y: Value) -> Value:
    """Square of the difference; of complex numbers, of its magnitude."""
    difference = x - y
    return difference * (np.conj(difference) if is_complex(x) else difference)


@lowering("Maximum")
def maximum(x: Value, y: Value) -> Value:
    """The greater; NaN where either is. Equal values: the gradient goes to x alone."""
    if _is_bound(x, y):
        return sequence_kernels.clamp(x, least=float(y))
    return _either(
        lambda np, x, y: np.maximum(x, y) if np is numpy or is_integer(x) else np.where((x >= y) | (x != x), x, y), x, y
    )


@lowering("Minimum")
def minimum(x: Value, y: Value) -> Value:
    """The smaller; NaN where either is. Equal values: the gradient goes to x alone."""
    if _is_bound(x, y):
        return sequence_kernels.clamp(x, most=float(y))
    return _either(
        lambda np, x, y: np.minimum(x, y) if np is numpy or is_integer(x) else np.where((x <= y) | (x != x), x, y), x, y
    )


def _is_bound(x: Value, y: Value) -> bool:
    """Whether `y` is one number that is known, and `x` floats of a backend that has an own op for it (PyTorch)."""
    return (
        is_host(y)
        and y.ndim == 0
        and not is_host(x)
        and dtype_of(x).startswith("float")
        and bool(numpy.isfinite(y))
        and kernels.chosen("torch")
    )


def _either(function: Arithmetic, x: Value, y: Value) -> Value:
    """`function` of both, in the dtype of x."""
    result = apply(function, x, y)
    return result if dtype_of(result) == dtype_of(x) else cast(result, dtype_of(x))


@elementwise("ClipByValue")
def clip_by_value(np: Any, t: Value, clip_value_min: Value, clip_value_max: Value) -> Value:
    """`t` kept between two bounds."""
    below, above = t < clip_value_min, t > clip_value_max
    return np.where(below, clip_value_min + np.zeros_like(t), np.where(above, clip_value_max + np.zeros_like(t), t))


@elementwise("Atan2")
def arctangent_of_quotient(np: Any, y: Value, x: Value) -> Value:
    """Angle of the point (x, y)."""
    return np.arctan2(y, x)


@elementwise("NextAfter", gradient="none")
def next_after(np: Any, x1: Value, x2: Value) -> Value:
    """The next representable number after x1 towards x2."""
    return np.nextafter(x1, x2)


@lowering("AddN")
def add_n(*inputs: Value) -> Value:
    """Sum of all inputs."""
    total, *rest = alike(*inputs)
    for value in rest:
        total = total + value
    return total


@lowering("AccumulateNV2", ignored=("shape",))
def accumulate_n(*inputs: Value) -> Value:
    """Sum of all inputs."""
    result: Value = add_n(*inputs)
    return result


@elementwise("Abs")
def absolute(np: Any, x: Value) -> Value:
    """Magnitude; its gradient at 0 is 0."""
    if np is numpy or is_integer(x):
        return x if dtype_of(x).startswith("uint") else np.abs(x)
    return x * ops.stop_gradient(ops.sign(x))  # JAX's own gradient at 0 is 1


@elementwise("Neg")
def negative(np: Any, x: Value) -> Value:
    """Negation."""
    return -x


@elementwise("Sign")
def sign(np: Any, x: Value) -> Value:
    """-1, 0 or 1; of a complex number, its direction."""
    if is_complex(x):
        size = np.abs(x)
        return x / numpy_or_one(np, size, x)
    if dtype_of(x).startswith("uint"):
        return np.where(x > 0, np.ones_like(x), np.zeros_like(x))
    return np.sign(x) if np is numpy or is_integer(x) else np.where(x == x, np.sign(x), x)  # PyTorch's sign of NaN is 0


def numpy_or_one(np: Any, size: Value, like: Value) -> Value:
    """`size` in the dtype of `like`, 1 where it is 0."""
    size = np.where(size == 0, np.ones_like(size), size)
    return size.astype(like.dtype) if np is numpy else ops.cast(size, dtype_of(like))


@elementwise("Reciprocal", "Inv")
def reciprocal(np: Any, x: Value) -> Value:
    """`1 / x`."""
    return np.ones_like(x) / x


@elementwise("Square")
def square(np: Any, x: Value) -> Value:
    """`x * x`."""
    return x * x


@elementwise("Sqrt")
def square_root(np: Any, x: Value) -> Value:
    """Square root."""
    return np.sqrt(x)


@elementwise("Rsqrt")
def reciprocal_square_root(np: Any, x: Value) -> Value:
    """`1 / sqrt(x)`."""
    return 1 / np.sqrt(x) if np is numpy or is_complex(x) else np.rsqrt(x)


@elementwise("Rint", gradient="none")
@elementwise("Round", gradient="none")
def nearest(np: Any, x: Value) -> Value:
    """The nearest integer, halves to the even one."""
    return x if is_integer(x) else np.round(x)


# Gradients that TensorFlow writes as ops of their own: they stand in exported training graphs. `dy` flows in, `y` came out.


@elementwise("TanhGrad")
def tanh_gradient(np: Any, y: Value, dy: Value) -> Value:
    """`dy * (1 - y * y)`."""
    return dy * (1 - y * y)


@elementwise("SigmoidGrad")
def sigmoid_gradient(np: Any, y: Value, dy: Value) -> Value:
    """`dy * y * (1 - y)`."""
    return dy * y * (1 - y)


@elementwise("ReciprocalGrad", "InvGrad")
def reciprocal_gradient(np: Any, y: Value, dy: Value) -> Value:
    """`-dy * y * y`."""
    return -dy * y * y


@elementwise("SqrtGrad")
def square_root_gradient(np: Any, y: Value, dy: Value) -> Value:
    """`dy / (2 y)`."""
    return dy / (2 * y)


@elementwise("RsqrtGrad")
def reciprocal_square_root_gradient(np: Any, y: Value, dy: Value) -> Value:
    """`-dy * y ** 3 / 2`."""
    return dy * y * y * y / -2


def _same_name(op: str, name: str, line: str, gradient: str = "yes") -> None:
    """Registers an op of one input that numpy and `keras.ops` both call `name`."""

    def function(np: Any, x: Value) -> Value:
        return getattr(np, name)(x)

    function.__doc__ = line
    elementwise(op, gradient=gradient)(function)


for _op, _name, _line in (
    ("Exp", "exp", "Exponential."),
    ("Expm1", "expm1", "`exp(x) - 1`, exact for small x."),
    ("Log", "log", "Natural logarithm."),
    ("Log1p", "log1p", "`log(1 + x)`, exact for small x."),
    ("Sin", "sin", "Sine of radians."),
    ("Cos", "cos", "Cosine of radians."),
    ("Tan", "tan", "Tangent of radians."),
    ("Asin", "arcsin", "Inverse sine, in radians."),
    ("Acos", "arccos", "Inverse cosine, in radians."),
    ("Atan", "arctan", "Inverse tangent, in radians."),
    ("Sinh", "sinh", "Hyperbolic sine."),
    ("Cosh", "cosh", "Hyperbolic cosine."),
    ("Tanh", "tanh", "Hyperbolic tangent."),
    ("Asinh", "arcsinh", "Inverse hyperbolic sine."),
    ("Acosh", "arccosh", "Inverse hyperbolic cosine."),
    ("Atanh", "arctanh", "Inverse hyperbolic tangent."),
):
    _same_name(_op, _name, _line)
for _op, _name, _line in (
    ("Floor", "floor", "The greatest integer that is not greater."),
    ("Ceil", "ceil", "The smallest integer that is not smaller."),
):
    _same_name(_op, _name, _line, gradient="none")


@elementwise("Sigmoid")
def sigmoid(np: Any, x: Value) -> Value:
    """`1 / (1 + exp(-x))`."""
    if np is ops and not is_complex(x):
        return ops.sigmoid(x)
    return 1 / (1 + np.exp(-x))


@elementwise("ComplexAbs", same=False)
def complex_absolute(np: Any, x: Value, *, Tout: str = "float32") -> Value:
    """Magnitude of complex numbers; its gradient at 0 is 0."""
    if np is numpy:
        return numpy.abs(x).astype(numpy_dtype(Tout))
    real, imag = ops.real(x), ops.imag(x)
    squares = real * real + imag * imag
    zero = squares == 0
    return ops.where(zero, ops.zeros_like(squares), ops.sqrt(ops.where(zero, ops.ones_like(squares), squares)))


@elementwise("Real", same=False)
def real(np: Any, input: Value, *, Tout: str = "float32") -> Value:
    """Real part."""
    return np.real(input)


@elementwise("Imag", same=False)
def imaginary(np: Any, input: Value, *, Tout: str = "float32") -> Value:
    """Imaginary part."""
    return np.imag(input)


@elementwise("Conj")
def conjugate(np: Any, input: Value) -> Value:
    """Complex conjugate."""
    return np.conj(input) if is_complex(input) else input


@elementwise("Angle", same=False)
def angle(np: Any, input: Value, *, Tout: str = "float32") -> Value:
    """Angle of complex numbers, in radians."""
    return np.angle(input)


@elementwise("Complex", same=False)
def complex_number(np: Any, real: Value, imag: Value, *, Tout: str = "complex64") -> Value:
    """A complex number of its two parts."""
    if np is numpy:
        return (real + 1j * imag).astype(numpy_dtype(Tout))
    real, imag = real + ops.zeros_like(imag), imag + ops.zeros_like(real)
    return ops.view_as_complex(ops.stack([real, imag], axis=-1))
