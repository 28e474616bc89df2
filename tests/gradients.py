"""Vector-Jacobian products on whichever backend runs, for tests that replay TensorFlow's gradients."""

import keras
import numpy as np


def vjp(function, inputs, cotangents, *, jit=False):
    """Outputs of `function(*inputs)` and, for the float ones weighted by `cotangents`, the gradient of each input.

    `inputs` are numpy arrays; integer ones get None. `cotangents` are numpy arrays or None, one an output.
    `jit` compiles it under JAX, as `fit` does.
    Returns (outputs, gradients) as lists of numpy arrays or None (None too where the backend says "not connected").
    """
    inputs = [np.asarray(x) for x in inputs]
    floating = [i for i, x in enumerate(inputs) if np.issubdtype(x.dtype, np.inexact) or x.dtype.name == "bfloat16"]

    def scalar(outputs):
        outputs = [outputs] if not isinstance(outputs, (list, tuple)) else outputs
        terms = []
        for o, c in zip(outputs, cotangents, strict=True):
            if c is not None and np.iscomplexobj(c):
                parts = [keras.ops.convert_to_tensor(part) for part in (c.real, c.imag)]
                terms += [keras.ops.sum(keras.ops.real(o) * parts[0]), keras.ops.sum(keras.ops.imag(o) * parts[1])]
            elif c is not None:
                terms.append(keras.ops.sum(o * keras.ops.cast(c, o.dtype)))
        dtype = keras.backend.result_type(*(t.dtype for t in terms))  # TensorFlow does not add half to float
        terms = [keras.ops.cast(t, dtype) for t in terms]
        return sum(terms[1:], terms[0])

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        tensors = [keras.ops.convert_to_tensor(x) for x in inputs]

        def of_floats(*values):
            full = list(tensors)
            for i, v in zip(floating, values, strict=True):
                full[i] = v
            outputs = function(*full)
            return scalar(outputs), outputs

        if floating:
            gradient = jax.grad(of_floats, argnums=tuple(range(len(floating))), has_aux=True)
            grads, outputs = (jax.jit(gradient) if jit else gradient)(*[tensors[i] for i in floating])
        else:  # a gradient for no argument is refused
            grads, outputs = [], function(*tensors)
        grads = [keras.ops.conj(g) if np.iscomplexobj(g) else g for g in grads]  # JAX's convention is the conjugate
    elif backend == "torch":
        import torch

        tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
        for i in floating:
            tensors[i] = tensors[i].detach().clone().requires_grad_()
        outputs = function(*tensors)
        total = scalar(outputs)
        grads = (
            torch.autograd.grad(total, [tensors[i] for i in floating], allow_unused=True)
            if total.requires_grad
            else [None] * len(floating)
        )
        grads = [g.resolve_conj() if g is not None else None for g in grads]
    else:
        import tensorflow as tf

        tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
        with tf.GradientTape() as tape:
            for i in floating:
                tape.watch(tensors[i])
            outputs = function(*tensors)
            total = scalar(outputs)
        grads = tape.gradient(total, [tensors[i] for i in floating])
    result = [None] * len(inputs)
    for i, g in zip(floating, grads, strict=True):
        result[i] = (
            None
            if g is None
            else np.asarray(keras.ops.convert_to_numpy(g if not hasattr(g, "values") else keras.ops.convert_to_tensor(g)))
        )
    outputs = [outputs] if not isinstance(outputs, (list, tuple)) else list(outputs)
    return [o if isinstance(o, np.ndarray) else _as_numpy(keras.ops.stop_gradient(o)) for o in outputs], result


def _as_numpy(tensor):
    """`tensor` as an array; of one bfloat16 number TensorFlow gives numpy a scalar, which newer ones refuse."""
    try:
        return keras.ops.convert_to_numpy(tensor)
    except ValueError:
        return np.asarray(tensor.numpy())
