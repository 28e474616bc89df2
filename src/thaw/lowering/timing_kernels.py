"""How long a function takes, forward and backward, compiled as the backend compiles: what no backend has under one name.

One of the few files that may touch jax, torch and tensorflow: lazily, and only the backend that Keras runs on. What is timed,
and what the figures mean, is the business of `thaw.profiling`.
"""
# ruff: noqa: TID251

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras

from thaw.lowering.values import Value

Function = Callable[[list[Value]], list[Value]]
"""Takes tensors and gives tensors."""

METHODS = {
    "jax": "compiled by itself with jax.jit",
    "tensorflow": "compiled by itself as a tf.function",
    "torch": "run by itself as PyTorch runs it",
}


def finished(values: Any) -> None:
    """Waits until tensors are computed."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.block_until_ready(values)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        for value in keras.tree.flatten(values):
            if value is not None and "GPU" in str(getattr(value, "device", "")):
                value.numpy()


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """The shortest time of a call, after one that does not count: others on the machine only ever lengthen it."""
    finished(function())
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        finished(function())
        samples.append(time.perf_counter() - start)
    return min(samples)


def forward_and_backward(
    function: Function, wanted: Sequence[Value], others: Sequence[Value], repeats: int
) -> tuple[float, float]:
    """Seconds of `function`, and of the gradients of the sum of its float outputs with respect to `wanted`.

    Args:
        function: of `[*wanted, *others]`.
        wanted: tensors that gradients are asked for; none: the second figure is zero.
        others: the other tensors that it takes.
        repeats: of each, of which the shortest counts.
    """
    ways = {"jax": _with_jax, "torch": _with_torch, "tensorflow": _with_tensorflow}
    return ways[keras.backend.backend()](function, list(wanted), list(others), repeats)


def _floats(values: Sequence[Value]) -> list[Value]:
    return [v for v in values if keras.backend.is_float_dtype(keras.backend.standardize_dtype(v.dtype))]


def _with_jax(function: Function, wanted: list[Value], others: list[Value], repeats: int) -> tuple[float, float]:
    import jax

    run = jax.jit(lambda wanted, others: function([*wanted, *others]))
    forward = seconds(lambda: run(wanted, others), repeats)
    if not wanted:
        return forward, 0.0
    linear = jax.jit(lambda wanted, others: jax.vjp(lambda w: _floats(function([*w, *others])), wanted))
    outputs, back = linear(wanted, others)  # what the forward pass keeps comes along as arrays
    pull = jax.jit(lambda back, gradients: back(gradients))
    gradients = [jax.numpy.ones_like(v) for v in outputs]
    return forward, seconds(lambda: pull(back, gradients), repeats)


def _with_torch(function: Function, wanted: list[Value], others: list[Value], repeats: int) -> tuple[float, float]:
    import torch

    with torch.no_grad():
        forward = seconds(lambda: function([*wanted, *others]), repeats)
    if not wanted:
        return forward, 0.0
    leaves = [v.detach().clone().requires_grad_() for v in wanted]
    outputs = [v for v in _floats(function([*leaves, *others])) if v.requires_grad]
    if not outputs:
        return forward, 0.0
    gradients = [torch.ones_like(v) for v in outputs]
    return forward, seconds(
        lambda: torch.autograd.grad(outputs, leaves, gradients, retain_graph=True, allow_unused=True), repeats
    )


def _with_tensorflow(function: Function, wanted: list[Value], others: list[Value], repeats: int) -> tuple[float, float]:
    import tensorflow as tf

    run = tf.function(lambda wanted, others: function([*wanted, *others]), autograph=False)
    forward = seconds(lambda: run(wanted, others), repeats)
    if not wanted:
        return forward, 0.0

    with tf.GradientTape(persistent=True) as tape:  # keeps the compiled forward pass, whose backward pass is compiled with it
        tape.watch(wanted)
        outputs = _floats(run(wanted, others))
    return forward, seconds(lambda: tape.gradient(outputs, wanted), repeats)
