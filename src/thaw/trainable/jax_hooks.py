"""What a training step on JAX carries outside of the variables, and how Keras makes it: the internals that live flags lean on.

On JAX a fit takes the values out of the variables and hands them from step to step. Here they are brought home, counted as
home or away, and traced anew; and Keras' train_step is made with another way to differentiate. What is asked of Keras is
checked by `hooks.check_keras`. No backend is imported here. May import this package's hooks.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from thaw.trainable.hooks import backend, put_over, take_off


@contextmanager
def traced_anew(model: keras.Model, instead: Callable[..., Any] | None = None) -> Iterator[None]:
    """Within it the model's train_step and test_step are functions that JAX has never seen.

    JAX keeps traces by the function, and two bound methods of one model are equal: without this a trace made under other
    flags could be taken again, with its variables at other positions. `instead(model, step, state, data)` runs in the place
    of Keras' own train_step, if that is what the model has.
    """
    names = ("train_step", "test_step") if backend() == "jax" else ()
    set_by_user = {name: vars(model)[name] for name in names if name in vars(model)}
    keras_own = all(getattr(type(model), name, None) is getattr(keras.Model, name) for name in _OWN_STEP)
    for name in names:
        step = _renewed(getattr(model, name))
        if instead is not None and name == "train_step" and name not in set_by_user and keras_own:
            step = functools.partial(instead, model, step)
        put_over(model, name, step)
    try:
        yield
    finally:
        for name in names:
            take_off(model, name)
        for name, function in set_by_user.items():
            put_over(model, name, function)


def _renewed(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: function(*args, **kwargs)


_OWN_STEP = ("train_step", "compute_loss_and_updates", "_update_metrics_variables") if backend() == "jax" else ()

Differentiate = Callable[[Callable[[list[Any]], Any], list[Any]], Any]


def step_by(model: keras.Model, differentiate: Differentiate, state: Any, data: Any) -> Any:
    """Keras' train_step on JAX with another way to differentiate; None where `differentiate(loss, variables)` gives None."""
    trained, others, of_optimizer, of_metrics = state
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)

    def loss_of(variables: list[Any]) -> Any:
        return model.compute_loss_and_updates(
            variables, others, of_metrics, x, y, weight, training=True, optimizer_variables=of_optimizer
        )

    found = differentiate(loss_of, trained)
    if found is None:
        return None
    (_, (loss, predicted, others, of_metrics)), gradients = found
    trained, of_optimizer = model.optimizer.stateless_apply(of_optimizer, gradients, trained)
    logs, of_metrics = model._update_metrics_variables(of_metrics, loss, x, y, predicted, weight)
    return logs, (trained, others, of_optimizer, of_metrics)


def write_back(lists: dict[str, list[keras.Variable]], values: Iterable[list[Any]]) -> None:
    """Give variables the values that a JAX step carries for them."""
    for variables, arrays in zip(lists.values(), values, strict=True):
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)


def copied(values: Iterable[list[Any]]) -> list[list[Any]]:
    """A JAX state of its own, which no computation can take."""
    copies = [[keras.ops.copy(array) for array in arrays] for arrays in values]
    for array in (a for arrays in copies for a in arrays):
        array.block_until_ready()
    return copies


def is_lost(values: Iterable[list[Any]]) -> bool:
    """Whether a JAX state was donated to a computation and is gone."""
    return any(getattr(array, "is_deleted", bool)() for arrays in values for array in arrays)


def state_lists(model: keras.Model, wanted: dict[str, bool]) -> dict[str, list[keras.Variable]]:
    """The variables that Keras puts into a JAX state, in its order."""
    lists: dict[str, list[keras.Variable]] = {}
    for name in ("trainable_variables", "non_trainable_variables"):
        if wanted.get(name):
            lists[name] = list(getattr(model, name))
    if wanted.get("optimizer_variables"):
        lists["optimizer_variables"] = list(model.optimizer.variables)
    if wanted.get("metrics_variables"):
        lists["metrics_variables"] = list(model.metrics_variables)
    return lists


def jax_state(model: keras.Model) -> dict[str, list[Any]] | None:
    """The state that a fit keeps at hand for callbacks and that the variables do not hold yet."""
    state: dict[str, list[Any]] | None = getattr(model, "_jax_state", None)
    return state if state and not model._jax_state_synced else None


def state_is_home(model: keras.Model) -> None:
    """Tell Keras that the variables hold their values."""
    model._jax_state = None
    model._jax_state_synced = True


def state_is_away(model: keras.Model) -> None:
    """Tell Keras that a step has the values of the variables."""
    model._jax_state_synced = False


def forget_state(model: keras.Model) -> None:
    """Drop the state of an earlier epoch, which must not be synced into the lists of this one."""
    model._jax_state = None


def synced(model: keras.Model) -> None:
    """Tell Keras that the state at hand was written to the variables."""
    model._jax_state_synced = True
