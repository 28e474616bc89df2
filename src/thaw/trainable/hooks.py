"""Everything in which live flags lean on Keras' own internals: this file, and for a step on JAX jax_hooks.py.

Three groups: reading layers and variables, reading and rebuilding optimizers, and hooking a model's step functions.
`check_keras` compares each internal with what was tested, by presence and signature and not by version number, before a
model is touched. Backends are imported inside functions, and only the one that Keras runs on. It may import errors only.
"""

import functools
import inspect
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from thaw.errors import KerasDriftError

TESTED = ("3.15.0", "3.15.1")
STEP_FUNCTIONS = ("train_function", "test_function", "predict_function")
_STATISTICS = frozenset({"moving_mean", "moving_variance", "mean", "variance", "count", "vector_u"})


def backend() -> str:
    """The name of the backend that Keras runs on."""
    return str(keras.config.backend())


# Layers and variables


def all_layers(model: keras.Layer) -> list[keras.Layer]:
    """`model` and every layer below it, each once."""
    return list(model._flatten_layers())


def children(layer: keras.Layer) -> list[keras.Layer]:
    """The layers directly below `layer` as its user counts them, in graph order.

    That is a list `layers` of layers where there is one, as models and thaw's own layers have.
    """
    ordered = getattr(layer, "layers", None)
    if isinstance(ordered, list | tuple) and all(isinstance(child, keras.Layer) for child in ordered):
        return list(ordered)
    return list(layer._layers)


def uncounted_children(layer: keras.Layer) -> list[keras.Layer]:
    """Layers directly below `layer` that `children` leaves out, such as a Sequential model's InputLayer."""
    seen = {id(child) for child in children(layer)}
    return [child for child in layer._layers if id(child) not in seen]


def own_variables(layer: keras.Layer) -> list[tuple[keras.Variable, bool]]:
    """The variables that `layer` itself holds, each with whether its maker meant it to train.

    A variable made inside a frozen layer still counts as meant to train. An attribute `may_train` on it has the last word.
    """
    pairs = [(v, True) for v in layer._trainable_variables] + [(v, False) for v in layer._non_trainable_variables]
    return [(v, bool(getattr(v, "may_train", meant)) and is_float(v)) for v, meant in pairs]


def is_float(variable: keras.Variable) -> bool:
    """Whether gradients can reach a variable of this dtype."""
    return "float" in str(keras.backend.standardize_dtype(variable.dtype))


def could_train(variable: keras.Variable) -> bool:
    """Whether a variable that its maker left out of training could train all the same: a float, not a statistic."""
    return is_float(variable) and variable.name not in _STATISTICS and not getattr(variable, "is_statistic", False)


def is_native(thing: object) -> bool:
    """Whether `thing` is the backend's own variable (torch.nn.Parameter, tf.Variable) or array, by its module."""
    return not callable(thing) and type(thing).__module__.partition(".")[0] in ("torch", "tensorflow", "jax", "jaxlib")


def value_is(variable: keras.Variable, native: object) -> bool:
    """Whether `native` is the very object that `variable` wraps."""
    return has_value(variable) and variable._value is native


def has_value(variable: keras.Variable) -> bool:
    """Whether a variable holds a value now: not before a deferred build, nor while a JAX step has its values."""
    return variable._value is not None


def set_flag(variable: keras.Variable, trains: bool) -> None:
    """Write a variable's flag, and on TensorFlow the one of the tf.Variable inside."""
    variable.trainable = trains
    mend_tf_flag(variable)


def mend_tf_flag(variable: keras.Variable) -> None:
    """Let gradient tapes watch a trainable variable that TensorFlow made while its layer was frozen."""
    if variable.trainable and backend() == "tensorflow" and has_value(variable) and not variable._value.trainable:
        variable._value._trainable = True


def computes_flag(layer: keras.Layer) -> bool:
    """Whether a layer's class answers `trainable` in its own way, as thaw's containers do from their leaves."""
    return type(layer).trainable is not keras.Layer.trainable


def own_flag(layer: keras.Layer) -> bool:
    """The flag of the layer itself."""
    return bool(layer.trainable)


def set_own_flag(layer: keras.Layer, trains: bool) -> None:
    """Write the flag of this layer and of nothing below it; one that computes its flag has none."""
    if not computes_flag(layer):
        layer._trainable = trains


def left_out(variable: keras.Variable) -> bool:
    """Whether a variable could train but its publisher did not list it as trainable (an attribute of thaw's variables)."""
    return bool(getattr(variable, "left_out", False))


def lora_base(layer: keras.Layer) -> keras.Variable | None:
    """The kernel that LoRA keeps frozen in `layer`, where LoRA is enabled."""
    if not getattr(layer, "lora_enabled", False):
        return None
    held = vars(layer)
    return held.get("_kernel", held.get("_embeddings"))


def is_batch_norm(layer: keras.Layer) -> bool:
    """Whether a layer keeps batch statistics: a BatchNormalization, or a layer that holds variables named as its are."""
    held = {variable.name for variable, may_train in own_variables(layer) if not may_train}
    return isinstance(layer, keras.layers.BatchNormalization) or {"moving_mean", "moving_variance"} <= held


# Optimizers

AVERAGES = "_model_variables_moving_average"
HALF_SUMS = "_accumulated_gradients"
_NO_SLOTS = frozenset({"_variables", "_trainable_variables", "_inner_optimizers"})


def inner_optimizer(optimizer: keras.Optimizer) -> keras.Optimizer | None:
    """What a LossScaleOptimizer wraps."""
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else None


def several_optimizers(optimizer: keras.Optimizer) -> list[keras.Optimizer] | None:
    """The optimizers among which a MultiOptimizer divides the variables."""
    multi = getattr(keras.optimizers, "MultiOptimizer", None)
    return list(optimizer.optimizers) if multi is not None and isinstance(optimizer, multi) else None


def leaf_optimizers(optimizer: keras.Optimizer) -> list[keras.Optimizer]:
    """The optimizers that hold slots themselves: `optimizer`, or those that it wraps."""
    inner = inner_optimizer(optimizer)
    if inner is not None:
        return leaf_optimizers(inner)
    several = several_optimizers(optimizer)
    return several if several is not None else [optimizer]


def built_on(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The variables that an optimizer was built on, in its order."""
    return list(optimizer._trainable_variables)


def slot_lists(optimizer: keras.Optimizer) -> dict[str, list[keras.Variable | None]]:
    """The optimizer's state that goes variable by variable: attribute -> one slot or None for each, in its order."""
    count = len(optimizer._trainable_variables)
    found = {}
    for name, value in vars(optimizer).items():
        if name in _NO_SLOTS or not isinstance(value, list) or not count or len(value) != count:
            continue
        entries = list(value)
        if any(e is not None for e in entries) and all(e is None or isinstance(e, keras.Variable) for e in entries):
            found[name] = entries
    return found


def single_variables(optimizer: keras.Optimizer) -> dict[str, keras.Variable]:
    """The optimizer's state that is one variable for all, such as the step count and the learning rate."""
    return {name: value for name, value in vars(optimizer).items() if isinstance(value, keras.Variable)}


def tracked(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """What the optimizer itself saves and hands to a step, without what it wraps."""
    return list(optimizer._variables)


def untrack(optimizer: keras.Optimizer, variable: keras.Variable) -> None:
    """Take a variable out of an optimizer's own list."""
    optimizer._untrack_variable(variable)


def track(optimizer: keras.Optimizer, variable: keras.Variable) -> None:
    """Put a variable at the end of an optimizer's own list."""
    optimizer._track_variable(variable)


def build_again(optimizer: keras.Optimizer, variables: list[keras.Variable]) -> None:
    """Let an optimizer without slots build itself on `variables`."""
    optimizer._trainable_variables_indices = {}
    optimizer.built = False
    optimizer.build(list(variables))
    optimizer.built = True


def point_wrapper_at(optimizer: keras.Optimizer, variables: list[keras.Variable], child_of: dict[int, int] | None) -> None:
    """Tell a wrapping optimizer its variables anew; `child_of` maps their ids to positions in a MultiOptimizer."""
    # Past TensorFlow's tracking, whose list wrapper compares variables by value.
    put_over(optimizer, "_trainable_variables", list(variables))
    put_over(optimizer, "_trainable_variables_indices", {optimizer._var_key(v): i for i, v in enumerate(variables)})
    if child_of is not None:
        put_over(optimizer, "_var_to_optimizer_idx", {optimizer._var_key(v): child_of[id(v)] for v in variables})


def child_positions(optimizer: keras.Optimizer, variables: Iterable[keras.Variable]) -> dict[int, int]:
    """Which optimizer of a MultiOptimizer has which variable, for those that it knows."""
    known = getattr(optimizer, "_var_to_optimizer_idx", {})
    return {id(v): known[optimizer._var_key(v)] for v in variables if optimizer._var_key(v) in known}


def assigned_child(optimizer: keras.Optimizer, variable: keras.Variable) -> int:
    """The position of the optimizer that a MultiOptimizer's map gives to a variable new to it."""
    child = optimizer._optimizer_map(variable)
    if not any(child is known for known in optimizer._inner_optimizers):
        child.loss_scale_factor = optimizer.loss_scale_factor
        optimizer._inner_optimizers.append(child)
    return next(i for i, known in enumerate(optimizer._inner_optimizers) if known is child)


def position(optimizer: keras.Optimizer, variable: object) -> int:
    """The place of a variable (Keras' or the backend's) in the optimizer's lists."""
    return int(optimizer._get_variable_index(variable))


def step_count(optimizer: keras.Optimizer) -> keras.Variable:
    """The variable that counts steps, before division by gradient accumulation."""
    return optimizer._iterations


def raw_steps(optimizer: keras.Optimizer) -> int:
    """The value of `step_count`."""
    return int(np.asarray(keras.ops.convert_to_numpy(step_count(optimizer))))


def running_product(optimizer: keras.Optimizer) -> keras.Variable | None:
    """Nadam's product of all momenta so far; None for other optimizers."""
    return optimizer._u_product if isinstance(optimizer, keras.optimizers.Nadam) else None


class shifted_steps(AbstractContextManager[None]):
    """Within it the optimizer reads its step count less `offset`; the count itself is untouched."""

    def __init__(self, optimizer: keras.Optimizer, count: keras.Variable, offset: int) -> None:
        self._optimizer, self._count, self._offset = optimizer, count, offset

    def __enter__(self) -> None:
        # Past Keras' and TensorFlow's attribute tracking: this is a passing tensor, no state.
        if self._offset:
            put_over(self._optimizer, "_iterations", self._count - self._offset)

    def __exit__(self, *_: object) -> None:
        put_over(self._optimizer, "_iterations", self._count)


def hook_update(optimizer: keras.Optimizer, replacement: Callable[..., None]) -> None:
    """Put `replacement(grads, variables, learning_rate)` over an optimizer's update of one step."""
    put_over(optimizer, "_backend_update_step", replacement)


def hook_decay(optimizer: keras.Optimizer, rate_of: Callable[[keras.Variable], float]) -> None:
    """Scale an optimizer's decay of each variable with the multiple of the learning rate that `rate_of` gives for it."""
    reference = weakref.ref(optimizer)

    def decay(variables: Sequence[keras.Variable]) -> None:
        itself = reference()
        assert itself is not None
        groups: dict[float, list[keras.Variable]] = {}
        for variable in variables:
            if itself._use_weight_decay(variable):
                groups.setdefault(rate_of(variable), []).append(variable)
        for rate, members in groups.items():
            with _scaled_decay(itself, rate):
                own_method(itself, "_apply_weight_decay")(members)

    put_over(optimizer, "_apply_weight_decay", decay)


@contextmanager
def _scaled_decay(optimizer: keras.Optimizer, rate: float) -> Iterator[None]:
    """Within it the optimizer's decays (Muon has two) are `rate` times what they are."""
    begun = {name: vars(optimizer).get(name) for name in ("weight_decay", "adam_weight_decay")}
    begun = {name: value for name, value in begun.items() if isinstance(value, (int, float))}
    try:
        for name, value in begun.items():
            put_over(optimizer, name, value * rate)
        yield
    finally:
        for name, value in begun.items():
            put_over(optimizer, name, value)


def hook_gradients(optimizer: keras.Optimizer, prepare: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    """Let gradients go through `prepare` before an optimizer applies them."""
    reference = weakref.ref(optimizer)

    def apply(grads: Sequence[Any], trainable_variables: Any = None) -> None:
        itself = reference()
        assert itself is not None
        own_method(itself, "apply")(prepare(grads), trainable_variables)

    put_over(optimizer, "apply", apply)


def has_hooked_update(optimizer: keras.Optimizer) -> bool:
    """Whether `hook_update` was called."""
    return "_backend_update_step" in vars(optimizer)


def own_update(optimizer: keras.Optimizer) -> Callable[..., None]:
    """The optimizer's update of one step as its class has it."""
    return own_method(optimizer, "_backend_update_step")


def hook_finalize(optimizer: keras.Optimizer) -> None:
    """Let the end of a fit average the optimizer's own variables, not those that train at that moment."""
    if "finalize_variable_values" in vars(optimizer):
        return
    reference = weakref.ref(optimizer)

    def finalize_variable_values(var_list: object) -> None:
        itself = reference()
        if itself is not None and itself.built:
            type(itself).finalize_variable_values(itself, built_on(itself))

    put_over(optimizer, "finalize_variable_values", finalize_variable_values)


def strategy_scope(model: keras.Model) -> AbstractContextManager[object]:
    """Where new variables of this model must be made: inside its tf.distribute strategy, if it has one."""
    if backend() == "tensorflow":
        scope: AbstractContextManager[object] = model.distribute_strategy.scope()
        return scope
    return nullcontext()


def copied(variable: keras.Variable) -> object:
    """The present value, which later changes of the variable do not touch. No copy is made on JAX."""
    if backend() == "torch":
        return variable.value.detach().clone()
    return keras.ops.copy(variable.value) if backend() == "tensorflow" else variable.value


def fresh_copy(variable: keras.Variable) -> np.ndarray:
    """The present value on the host, sharing nothing with the variable."""
    return np.array(keras.ops.convert_to_numpy(variable.value))


# Models


def own_method(instance: object, name: str) -> Callable[..., Any]:
    """The method as the class has it, bound, whatever was put over it on the instance."""
    method: Callable[..., Any] = getattr(type(instance), name).__get__(instance)
    return method


def put_over(instance: object, name: str, function: object) -> None:
    """Set an attribute on the instance alone, past all attribute tracking."""
    object.__setattr__(instance, name, function)


def take_off(instance: object, name: str) -> None:
    """Undo `put_over`."""
    vars(instance).pop(name, None)


_SIGNATURES: dict[str, tuple[str, ...]] = {
    "make_train_function": ("force",),
    "make_test_function": ("force",),
    "make_predict_function": ("force",),
    "save": ("filepath",),
    "save_weights": ("filepath",),
    "load_weights": ("filepath",),
    "_flatten_layers": (),
}
_JAX_SIGNATURES: dict[str, tuple[str, ...]] = {
    "_get_jax_state": (
        "trainable_variables",
        "non_trainable_variables",
        "optimizer_variables",
        "metrics_variables",
        "purge_model_variables",
    ),
    "jax_state_sync": (),
    "_make_function": ("step_function", "concatenate_outputs"),
    "train_step": ("state", "data"),
    "compute_loss_and_updates": ("metrics_variables", "training", "optimizer_variables"),
    "_update_metrics_variables": ("metrics_variables", "unscaled_loss", "y_pred"),
    "evaluate": (),
    "predict": (),
}
_OPTIMIZER_SIGNATURES: dict[str, tuple[str, ...]] = {
    "build": ("variables",),
    "_backend_update_step": ("grads", "trainable_variables", "learning_rate"),
    "_apply_weight_decay": ("variables",),
    "_use_weight_decay": ("variable",),
    "_get_variable_index": ("variable",),
    "_untrack_variable": ("variable",),
    "_track_variable": ("variable",),
    "_var_key": ("variable",),
    "finalize_variable_values": (),
}


def lacking(owner: type, signatures: dict[str, tuple[str, ...]]) -> list[str]:
    """The methods of `owner` that are absent or lack a parameter."""
    missing = []
    for name, parameters in signatures.items():
        method = getattr(owner, name, None)
        if method is None:
            missing.append(f"{owner.__name__}.{name}")
            continue
        known = inspect.signature(method).parameters
        missing += [f"{owner.__name__}.{name}({p}=)" for p in parameters if p not in known]
    return missing


@functools.cache
def check_keras() -> None:
    """Refuse to hook anything where Keras has moved what the hooks lean on.

    Raises:
        KerasDriftError: with every method, parameter and attribute that is missing.
    """
    missing = lacking(keras.Model, _SIGNATURES) + lacking(keras.Optimizer, _OPTIMIZER_SIGNATURES)
    if backend() == "jax":
        missing += lacking(keras.Model, _JAX_SIGNATURES)
    if backend() == "tensorflow":
        missing += [] if hasattr(keras.Model, "distribute_strategy") else ["Model.distribute_strategy"]
    optimizer = keras.optimizers.SGD(momentum=0.9)
    of_optimizer = ("_variables", "_trainable_variables", "_trainable_variables_indices", "_iterations", "built")
    missing += [f"Optimizer.{name}" for name in of_optimizer if not hasattr(optimizer, name)]
    of_layer = ("_trainable", "_trainable_variables", "_non_trainable_variables", "_layers")
    missing += [f"Layer.{name}" for name in of_layer if not hasattr(keras.layers.Dense(1), name)]
    variable = keras.Variable([0.0], trainable=True)
    missing += [] if hasattr(variable, "_value") else ["Variable._value"]
    optimizer.build([variable])
    if [len(slots) for slots in slot_lists(optimizer).values()] != [1]:
        missing.append("Optimizer: one list of slots for SGD with momentum")
    if missing:
        raise KerasDriftError(keras.__version__, backend(), missing, TESTED)


# What makes models obey without a call

_LIVE_CALLS = ("compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")
_obeying: dict[str, Callable[[], None]] = {}
_written_through: "weakref.WeakSet[keras.Layer]" = weakref.WeakSet()


def holds_live_layer(model: keras.Model) -> bool:
    """Whether a layer of `model` asks for live flags by an attribute `_thaw_live` that is True."""
    return any(getattr(layer, "_thaw_live", False) for layer in all_layers(model))


def before_live_calls(prepare: Callable[[keras.Model], None]) -> Callable[[], None]:
    """Call `prepare(model)` before compile, fit, evaluate, ... of models that hold a live layer. Returns the undoing."""
    if "calls" in _obeying:
        return _obeying["calls"]
    # Wrapped where each is defined, and not on Model: Keras calls a model whose class has another `compile` than
    # Trainer's a custom one, and then compiles nothing on loading.
    owners = {name: next(c for c in keras.Model.__mro__ if name in vars(c)) for name in _LIVE_CALLS}
    before = {name: vars(owner)[name] for name, owner in owners.items()}
    for name, owner in owners.items():
        setattr(owner, name, _prepared(before[name], prepare))

    def undo() -> None:
        for name, owner in owners.items():
            setattr(owner, name, before[name])
        del _obeying["calls"]

    _obeying["calls"] = undo
    return undo


def _prepared(method: Callable[..., Any], prepare: Callable[[keras.Model], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        prepare(self)
        return method(self, *args, **kwargs)

    return call


def after_load(concerns: Callable[[str], bool], finish: Callable[[keras.Model, str], None]) -> Callable[[], None]:
    """Call `finish(model, path)` after keras.saving.load_model has read a file that `concerns` it. Returns the undoing."""
    if "load" in _obeying:
        return _obeying["load"]
    from keras.src.saving import saving_lib

    original = saving_lib.load_model

    @functools.wraps(original)
    def load_model(filepath: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(filepath, str | os.PathLike) or not concerns(str(filepath)):
            return original(filepath, *args, **kwargs)
        with warnings.catch_warnings():
            # `finish` loads what Keras skips here, once the flags are those of the file.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model = original(filepath, *args, **kwargs)
        if isinstance(model, keras.Model):
            finish(model, str(filepath))
        return model

    saving_lib.load_model = load_model

    def undo() -> None:
        saving_lib.load_model = original
        del _obeying["load"]

    _obeying["load"] = undo
    return undo


def write_through(layers: Iterable[keras.Layer]) -> None:
    """On TensorFlow, let `layer.trainable = value` reach the leaves of these layers even where it was `value` already.

    Layers that compute their flag are always among them.

    Keras' tracking on TensorFlow drops an assignment of the same object before the layer sees it, so that freezing every
    layer and setting `model.trainable = True` does nothing there, while it thaws everything on JAX and PyTorch.
    """
    if backend() != "tensorflow":
        return
    _written_through.update(layers)
    if "write" in _obeying:
        return
    tracking = next(c for c in keras.Layer.__mro__ if c.__name__ == "KerasAutoTrackable")
    original = tracking.__setattr__

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if name == "trainable" and isinstance(self, keras.Layer) and (self in _written_through or computes_flag(self)):
            type(self).trainable.fset(self, value)
        else:
            original(self, name, value)

    tracking.__setattr__ = __setattr__

    def undo() -> None:
        tracking.__setattr__ = original
        del _obeying["write"]

    _obeying["write"] = undo


def undo_all() -> None:
    """Take every class-level hook off again. Models that are watched stay so."""
    for undo in list(_obeying.values()):
        undo()


def makeup(model: keras.Model) -> list[Any]:
    """What a model is made of, cheaply: its optimizer, and every layer with how many variables it holds. To be compared."""
    optimizer = getattr(model, "optimizer", None)
    parts = [(layer, len(layer._trainable_variables), len(layer._non_trainable_variables)) for layer in all_layers(model)]
    return [optimizer, optimizer is not None and optimizer.built, *parts]


def variables_of(model: keras.Layer) -> Iterator[keras.Variable]:
    """Every variable of a model's layers, each once; metrics and optimizers are not among them."""
    seen: set[int] = set()
    for layer in all_layers(model):
        for variable, _ in own_variables(layer):
            if id(variable) not in seen:
                seen.add(id(variable))
                yield variable


# The graph of layers


def is_layer_graph(layer: object) -> bool:
    """Whether a model is a graph of layers that is known: Functional, or Sequential and built."""
    known = isinstance(layer, keras.Sequential) or (isinstance(layer, keras.Model) and hasattr(layer, "operations"))
    return known and bool(getattr(layer, "inputs", None)) and bool(getattr(layer, "outputs", None))


def producer(tensor: Any) -> tuple[Any, list[Any], int]:
    """The operation that made a KerasTensor, the tensors that it made it from, and which of its outputs it is."""
    history = getattr(tensor, "_keras_history", None)
    if history is None:
        return None, [], 0
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, list(node.input_tensors), int(history.tensor_index)
