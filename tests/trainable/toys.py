"""Small models, data, and ways to look at what moved. Variables are told apart by identity, never by value."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np

BACKEND = keras.config.backend()
# A trace costs half a second on JAX and TensorFlow: there, one case of each kind unless asked for all.
THOROUGH = BACKEND == "torch" or bool(os.environ.get("THAW_TEST_ALL"))
X = np.random.RandomState(0).randn(16, 4).astype("float32")
Y = np.tanh(X[:, ::-1] * 2 + 0.3).astype("float32")


def tower(optimizer: keras.Optimizer | None = None, layers: int = 3, jit: object = "auto") -> keras.Model:
    """Dense layers d0, d1, ... of equal shapes, compiled; the same weights at every call."""
    keras.utils.set_random_seed(7)
    stack = [keras.layers.Dense(4, activation="tanh", name=f"d{i}") for i in range(layers)]
    model = keras.Sequential([keras.Input((4,)), *stack], name="tower")
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse", jit_compile=jit)
    return model


def fit(model: keras.Model, epochs: int = 1, **more: object) -> dict[str, list[float]]:
    """Two steps an epoch, in the same order every time; returns the history."""
    more.setdefault("callbacks", [])
    return model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **more).history


def values(variables: Iterable[keras.Variable]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v.value).copy() for v in variables]


def moved(model: keras.Model, action: Callable[[], object]) -> set[str]:
    """`layer/variable` of the weights that differ in any bit after `action`."""
    named = [(f"{layer.name}/{v.name}", v) for layer in model.layers for v in layer.weights]
    before = values(v for _, v in named)
    action()
    pairs = zip(named, before, values(v for _, v in named), strict=True)
    return {name for (name, _), a, b in pairs if a.tobytes() != b.tobytes()}


def names(*layers: str) -> set[str]:
    return {f"{layer}/{part}" for layer in layers for part in ("kernel", "bias")}


def same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    """Equal in every bit."""
    return len(a) == len(b) and all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def steps(model: keras.Model) -> int:
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def slots_of(optimizer: keras.Optimizer, variable: keras.Variable) -> list[np.ndarray]:
    """Adam's two moments of `variable`."""
    index = [v is variable for v in optimizer._trainable_variables].index(True)
    return values([optimizer._momentums[index], optimizer._velocities[index]])


class At(keras.callbacks.Callback):
    """Calls `act(model, epoch)` at every end of an epoch."""

    def __init__(self, act: Callable[[keras.Model, int], object]) -> None:
        super().__init__()
        self.act = act

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.act(self.model, epoch)


def set_phase(model: keras.Model, training: str) -> None:
    """Only the layers d0, d1, ... whose digits are in `training` train from now on."""
    for i, layer in enumerate(model.layers):
        layer.trainable = str(i) in training


def honest_reference(optimizer: keras.Optimizer, phases: Sequence[str]) -> list[list[np.ndarray]]:
    """Weights after each phase where the optimizer was built on all from the start and only gradients are left out.

    No part of thaw is used: plain Keras, one fit for each phase, step functions made anew by hand.
    """
    model = tower(optimizer)
    optimizer.build(model.trainable_variables)
    course = []
    for phase in phases:
        set_phase(model, phase)
        if BACKEND == "jax":
            # A new function each time: JAX keeps traces by function, and would take that of the last phase.
            model.train_step = lambda state, data: padded_train_step(model, state, data)
        model.make_train_function(force=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(model)
        course.append(values(model.weights))
    return course


def padded_train_step(model: keras.Model, state: tuple, data: object) -> tuple:
    """Keras' JAX step, with None as gradient of what is frozen now but was there when the optimizer was built."""
    import jax

    trainable, others, optimizer_state, metrics = state
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    differentiate = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
    (_, aux), grads = differentiate(trainable, others, metrics, x, y, weight, training=True, optimizer_variables=optimizer_state)
    loss, y_pred, others, metrics = aux
    now = {id(v): i for i, v in enumerate(model.trainable_variables)}
    frozen = {id(v): i for i, v in enumerate(model.non_trainable_variables)}
    built = model.optimizer._trainable_variables
    every = [trainable[now[id(v)]] if id(v) in now else others[frozen[id(v)]] for v in built]
    padded = [grads[now[id(v)]] if id(v) in now else None for v in built]
    every, optimizer_state = model.optimizer.stateless_apply(optimizer_state, padded, every)
    trainable = [every[i] for i, v in enumerate(built) if id(v) in now]
    logs, metrics = model._update_metrics_variables(metrics, loss, x, y, y_pred, weight)
    return logs, (trainable, others, optimizer_state, metrics)
