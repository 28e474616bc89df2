"""Special functions: error functions, gamma functions and their kin."""

import math
from typing import Any

import keras
import numpy
from keras import ops

from thaw.lowering.elementwise import elementwise
from thaw.lowering.special_kernels import special
from thaw.lowering.values import Value, on_device


def _each(function: Any, x: Value) -> Value:
    """`function` of Python floats on a numpy array."""
    return numpy.vectorize(function, otypes=["float64"])(x.astype("float64")) if x.size else x


@elementwise("Erf")
def error_function(np: Any, x: Value) -> Value:
    """Error function."""
    return _each(math.erf, x) if np is numpy else ops.erf(x)


@elementwise("Erfc")
def complementary_error_function(np: Any, x: Value) -> Value:
    """1 minus the error function, exact for great x."""
    return _each(math.erfc, x) if np is numpy else ops.erfc(x)


def _on_device(name: str, *values: Value) -> Value:
    """The backend's own function: numpy has none, so what was known becomes a tensor."""
    return special(name)(*(on_device(v) for v in values))


def _register(op: str, line: str, name: str, inputs: tuple[str, ...]) -> None:
    def of_x(np: Any, x: Value) -> Value:
        return _on_device(name, x)

    def of_a_and_x(np: Any, a: Value, x: Value) -> Value:
        return _on_device(name, a, x)

    def of_x_and_q(np: Any, x: Value, q: Value) -> Value:
        return _on_device(name, x, q)

    function: Any = {("x",): of_x, ("a", "x"): of_a_and_x, ("x", "q"): of_x_and_q}[inputs]
    function.__doc__ = line
    elementwise(op)(function)


_register("Erfinv", "Inverse of the error function.", "erfinv", ("x",))
_register("Ndtri", "Quantile function of the normal distribution.", "ndtri", ("x",))
_register("Lgamma", "Logarithm of the magnitude of the gamma function.", "lgamma", ("x",))
_register("Digamma", "Derivative of the logarithm of the gamma function.", "digamma", ("x",))
_register("Igamma", "Lower regularized incomplete gamma function.", "igamma", ("a", "x"))
_register("Igammac", "Upper regularized incomplete gamma function.", "igammac", ("a", "x"))
_register("Zeta", "Hurwitz zeta function.", "zeta", ("x", "q"))
_register("BesselI0", "Modified Bessel function of order 0.", "bessel_i0", ("x",))
_register("BesselI1", "Modified Bessel function of order 1.", "bessel_i1", ("x",))
_register("BesselI0e", "Modified Bessel function of order 0, scaled by exp(-|x|).", "bessel_i0e", ("x",))
_register("BesselI1e", "Modified Bessel function of order 1, scaled by exp(-|x|).", "bessel_i1e", ("x",))


@elementwise("Polygamma")
def polygamma(np: Any, a: Value, x: Value) -> Value:
    """The a-th derivative of the digamma function; NaN where a is no whole number."""
    a, x = on_device(a), on_device(x)
    if keras.backend.backend() == "torch":  # its own takes one order for all
        sign = 1 - 2 * ops.mod(a + 1, 2)
        above = sign * ops.exp(special("lgamma")(a + 1)) * special("zeta")(a + 1, x)
        value = ops.where(ops.equal(a, 0), special("digamma")(x), above)
    else:
        value = special("polygamma")(ops.cast(a, "int32") if keras.backend.backend() == "jax" else a, x)
    whole = ops.logical_and(ops.equal(a, ops.floor(a)), ops.greater_equal(a, 0))
    return ops.where(whole, value, math.nan)


@elementwise("Betainc")
def incomplete_beta(np: Any, a: Value, b: Value, x: Value) -> Value:
    """Regularized incomplete beta function."""
    return _on_device("betainc", a, b, x)
