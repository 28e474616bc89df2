"""watch(model): before every step the model looks at its flags, and where they changed, the change takes effect.

Keras' own fit and the user's own optimizer stay. A step function that finds changed flags lets the optimizer regroup in
place and the step functions be traced anew. On JAX, where a fit carries the weights outside of the variables, the watch
remembers which variables the carried values belong to, which also brings them home after an exception. Its state lives
beside the model, never on it. May import errors and this package.
"""

import functools
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import keras

from thaw.trainable import checkpoint, flags, hooks, jax_hooks, row_gradients
from thaw.trainable.optimizer import fits, regroup, same_variables
from thaw.trainable.select import What, select
from thaw.trainable.update import count_own_steps, is_corrected, scale_rates, take_over

FreshSlots = Literal["own_steps", "keras"]

# Weak on both sides: a watch is owned by the methods that it puts over its model's, and dies with them.
_watches: "weakref.WeakKeyDictionary[keras.Model, weakref.ref[Watch]]" = weakref.WeakKeyDictionary()


def _watch_of(model: keras.Model) -> "Watch | None":
    found = _watches.get(model)
    return found() if found is not None else None


SPARE_SHARE = 0.05
"""Of the time, at most, goes into copies of the values, for steps that may fail with the values in their hands (JAX, text)."""

BURST_STEPS = 20
"""From about this many steps on, a fresh slot of Adam under the old step count moves more than two learning rates a step."""


def watch(model: keras.Model, *, fresh_slots: FreshSlots = "own_steps") -> keras.Model:
    """Make every later change of flags on `model` take effect in its next step, and return the model.

    Flags may be changed in any way and at any time: before or after compile, between fits, by callbacks, on layers or
    single variables. Moments, step count and learning rate of what goes on training are kept.

    Args:
        model: any Keras model. Watching it again only sets `fresh_slots`.
        fresh_slots: how optimizers of the Adam family treat what is thawed late. "own_steps" corrects its moments by
            the number of steps that it trained itself, so that it first moves by the learning rate; "keras" by the
            common step count, as Keras does, with first steps of 3 to 7 times the learning rate.

    Raises:
        KerasDriftError: this version of Keras has moved what the watch leans on.

    Example:
        thaw.watch(model)
        model.fit(data)
        model.trainable = True
        model.fit(data)
    """
    if fresh_slots not in ("own_steps", "keras"):
        raise ValueError(f"fresh_slots={fresh_slots!r} is unknown. Expected 'own_steps' or 'keras'.")
    found = _watch_of(model)
    if found is None:
        hooks.check_keras()
        flags.remember_root(model)
        hooks.after_load(checkpoint.carries, resume)
        found = Watch(model)
        found.install()
        _watches[model] = weakref.ref(found)
    if found.fresh_slots != fresh_slots:
        found.fresh_slots = fresh_slots
        count_own_steps(getattr(model, "optimizer", None), fresh_slots == "own_steps")
        found.rebuild()
    found.settle()
    return model


def is_watched(model: keras.Model) -> bool:
    """Whether `model` obeys changes of flags."""
    return _watch_of(model) is not None


def bursts_late(model: keras.Model) -> bool:
    """Whether what is thawed now would move several learning rates a step at first: Adam's family, under way, by Keras' count.

    Source: moments of a fresh slot, corrected by a step count long past: (1 - b1^k) / sqrt(1 - b2^k), at most 6.6 near k = 12.
    """
    optimizer = getattr(model, "optimizer", None)
    watched = _watch_of(model)
    if optimizer is None or (watched is not None and watched.fresh_slots == "own_steps"):
        return False
    if watched is None and hooks.holds_live_layer(model):
        return False  # it is watched with the default before its next step
    leaves = hooks.leaf_optimizers(optimizer)
    return any(leaf.built and is_corrected(leaf) and hooks.raw_steps(leaf) >= BURST_STEPS for leaf in leaves)


def drop_spare(model: keras.Model) -> None:
    """Let go of the copies that were kept in case a step failed on the host."""
    found = _watch_of(model)
    if found is not None:
        found.spare = None


def unwatch(model: keras.Model) -> None:
    """Leave `model` to plain Keras again."""
    found = _watch_of(model)
    _watches.pop(model, None)
    if found is not None:
        found.remove()


def multiply_rates(model: keras.Model, rates: Mapping[What, float] | Iterable[tuple[What, float]]) -> keras.Model:
    """Give parts of a compiled model their own multiple of the learning rate, from the next step on; watches the model.

    Works with any optimizer and with any schedule of its learning rate. Weight decay goes with the rate, as for the
    parameter groups of PyTorch's optimizers: a part at a tenth of the rate decays at a tenth too.

    Args:
        model: a compiled Keras model.
        rates: multipliers by parts of the selection language, as a mapping or as pairs. Where a variable is in several,
            the last one holds; what is in none gets 1. An empty mapping takes all multipliers off.

    Example:
        thaw.multiply_rates(model, {"backbone": 0.1, "backbone/block5_*": 0.5})
    """
    pairs = rates.items() if isinstance(rates, Mapping) else rates
    multiples = {id(variable): float(rate) for what, rate in pairs for variable in select(model, what)}
    watch(model)
    found = _watch_of(model)
    if scale_rates(model.optimizer, multiples) and found is not None:
        found.rebuild()
    return model


def recompile(model: keras.Model) -> keras.Model:
    """Make the present flags of a compiled model take effect now, once, keeping the optimizer and its moments.

    For those who do not want the model watched: what `watch` does before a step is done once, and the model itself
    stays plain Keras.

    Example:
        model.trainable = True
        thaw.recompile(model)
    """
    found = _watch_of(model)
    if found is not None:
        found.settle()
        found.rebuild()
        return model
    hooks.check_keras()
    once = Watch(model)
    once.settle()
    once.rebuild()
    return model


def obey_automatically() -> Callable[[], None]:
    """Watch every model that holds a layer with the attribute `_thaw_live` before it compiles, fits or predicts.

    Wraps these methods of keras.Model, and keras.saving.load_model so that saved choices come back; models without such
    a layer are only looked at. Returns a function that takes the wraps off again.
    """
    hooks.after_load(checkpoint.carries, resume)
    hooks.write_through([])
    return hooks.before_live_calls(_watch_if_live)


def _watch_if_live(model: keras.Model) -> None:
    if not is_watched(model) and hooks.holds_live_layer(model):
        watch(model)


def resume(model: keras.Model, path: str) -> None:
    """Put the choice that a .keras file carries on the model that was just loaded from it, with the optimizer's state."""
    saved = checkpoint.read(path)
    if saved is None:
        return
    optimizer = getattr(model, "optimizer", None)
    built = hooks.built_on(optimizer) if optimizer is not None and optimizer.built else None
    saved.choice.apply(model)
    watch(model, fresh_slots=saved.fresh_slots)
    # Keras knows the flags of layers only: its optimizer may have been built for other variables and skipped its state.
    if built is not None and not same_variables(built, model.trainable_variables):
        hooks.own_method(model, "load_weights")(path)
    found = _watch_of(model)
    if optimizer is not None and found is not None:
        checkpoint.recall(model, saved)
        found.rebuild()


def _watch_if_compiled(model: keras.Layer) -> None:
    """A compiled model whose flags are changed by thaw's own verbs is meant to obey."""
    if isinstance(model, keras.Model) and getattr(model, "compiled", False) and not is_watched(model):
        watch(model)


flags.follow(_watch_if_compiled)


def _says_more(layer: keras.Layer) -> bool:
    """Whether a layer's flag tells what those of its variables do not.

    One that computes its flag from all below it does not, and would be slow to ask, unless it has no weight that may train:
    then its flag is that of its statistics.
    """
    if not hooks.computes_flag(layer):
        return True
    return not hooks.children(layer) and not any(may_train for _, may_train in hooks.own_variables(layer))


class Watch:
    """What is remembered of one watched model between its steps."""

    def __init__(self, model: keras.Model) -> None:
        self._model = weakref.ref(model)
        self.fresh_slots: FreshSlots = "own_steps"  # as an optimizer's memory begins
        self.items: list[Any] = []
        self.seen: list[bool] | None = None
        self.makeup: list[Any] | None = None  # as it was when all was last settled
        self.steps: dict[str, Callable[..., Any]] = {}
        # JAX: the variables whose values are under way, and the last good values where a step is several.
        self.carried: dict[str, list[keras.Variable]] = {}
        self.last_good: Any = None
        # JAX, where a step calls the host and may fail there with the values in its hands: of which variables, values, till when.
        self.calls_host = False
        self.spare: tuple[list[keras.Variable], list[list[Any]], float] | None = None

    @property
    def model(self) -> keras.Model:
        """The model, which lives as long as anything calls its methods."""
        model = self._model()
        assert model is not None
        return model

    # Looking and settling

    def changed(self) -> bool:
        """Whether a flag is not what it was; costs a fraction of a microsecond for each layer and variable."""
        return [item.trainable for item in self.items] != self.seen

    def settle(self) -> None:
        """Make optimizer and step functions fit the flags; nothing where they do, or where values are under way."""
        model = self.model
        variables = list(hooks.variables_of(model))
        if not all(hooks.has_value(v) for v in variables) or self._optimizer_is_away():
            self.makeup = None
            return
        layers = hooks.all_layers(model)
        self.calls_host = any(getattr(layer, "takes_strings", False) for layer in layers)
        self._keep_rules(layers, variables)
        before, regrouped = self.seen, self._settle_optimizer(layers)
        self.items = [*(layer for layer in layers if _says_more(layer)), *variables]
        self.seen = [item.trainable for item in self.items]
        if regrouped or (before is not None and before != self.seen):
            self.rebuild()
        self.makeup = hooks.makeup(model)

    def _optimizer_is_away(self) -> bool:
        optimizer = getattr(self.model, "optimizer", None)
        return optimizer is not None and not all(hooks.has_value(v) for v in optimizer.variables)

    def _keep_rules(self, layers: list[keras.Layer], variables: list[keras.Variable]) -> None:
        """Base kernels under LoRA stay frozen; what TensorFlow made in a frozen layer may be watched by tapes."""
        for layer in layers:
            base = hooks.lora_base(layer)
            if base is not None and base.trainable:
                hooks.set_flag(base, False)
        for variable in variables:
            hooks.mend_tf_flag(variable)
        hooks.write_through(layers)

    def _settle_optimizer(self, layers: list[keras.Layer]) -> bool:
        model = self.model
        optimizer = getattr(model, "optimizer", None)
        if optimizer is None or not all(layer.built for layer in layers):
            return False
        wanted = model.trainable_variables
        if optimizer.built and fits(optimizer, wanted):
            return False
        was_built = bool(optimizer.built)
        with hooks.strategy_scope(model):
            regroup(optimizer, wanted, self.fresh_slots)
        hooks.hook_finalize(optimizer)
        return was_built

    def rebuild(self) -> None:
        """Trace anew those step functions that exist."""
        self._prepare_updates()
        for name in hooks.STEP_FUNCTIONS:
            if getattr(self.model, name, None) is not None:
                with jax_hooks.traced_anew(self.model, row_gradients.train_step):
                    hooks.own_method(self.model, f"make_{name}")(force=True)
                if name in self.steps:
                    self.take(name)

    def _prepare_updates(self) -> None:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            return
        row_gradients.mend(optimizer)
        for leaf in hooks.leaf_optimizers(optimizer):
            if leaf.built:
                take_over(leaf)

    def take(self, name: str) -> None:
        """Put the looking step function over the one that Keras has just made."""
        made = getattr(self.model, name)
        if made is not None and not getattr(made, "looks_at_flags", False):
            self.steps[name] = made
            setattr(self.model, name, self.look_jax(name) if hooks.backend() == "jax" else self.look(name))

    # Step functions

    def look(self, name: str) -> Callable[..., Any]:
        """The step function for TensorFlow and PyTorch: look, then run."""

        def step(*args: Any) -> Any:
            if self.changed():
                self.settle()
            if name != "train_function":
                return self.steps[name](*args)
            with row_gradients.asked_for(self.model):
                return self.steps[name](*args)

        step.looks_at_flags = True  # type: ignore[attr-defined]
        return step

    def look_jax(self, name: str) -> Callable[..., Any]:
        """The step function for JAX: look, run, and bring the carried values home if that fails."""

        def step(state: Any, iterator: Any) -> Any:
            if self.changed():
                state = self.land_and_restart(state)
            self.last_good = None
            try:
                result = self.steps[name](state, iterator)
            except BaseException:
                self.bring_home(state)
                raise
            self.last_good = None
            return result

        step.looks_at_flags = True  # type: ignore[attr-defined]
        return step

    def land_and_restart(self, state: Any) -> Any:
        """Write the carried values back, settle, and take off again with the lists of the new flags."""
        wanted = dict.fromkeys(self.carried, True)
        emptied = not all(hooks.has_value(v) for variables in self.carried.values() for v in variables)
        self.bring_home(state)
        self.settle()
        restarted = self._get_jax_state(**wanted, purge_model_variables=emptied)
        jax_hooks.state_is_away(self.model)
        return restarted

    def bring_home(self, state: Any) -> None:
        """Give the variables the best values that are left: of the step, of the last part of it, or those kept to spare."""
        carried = [v for variables in self.carried.values() for v in variables]
        spare = self.spare[1] if self.spare is not None and same_variables(self.spare[0], carried) else None
        for values in (state, self.last_good, spare):
            if values is not None and not jax_hooks.is_lost(values):
                jax_hooks.write_back(self.carried, values)
                break
        jax_hooks.state_is_home(self.model)

    # Hooks on the instance

    def install(self) -> None:
        """Put the hooks over the instance's methods."""
        for name in hooks.STEP_FUNCTIONS:
            self._over(f"make_{name}", functools.partial(self._make, name))
            self.take(name)
        for name in ("save", "save_weights"):
            self._over(name, functools.partial(self._save, name))
        self._over("load_weights", self._load_weights)
        if hooks.backend() == "jax":
            self._over("_get_jax_state", self._get_jax_state)
            self._over("jax_state_sync", self._jax_state_sync)
            self._over("_make_function", self._make_function)
            for name in ("evaluate", "predict"):
                self._over(name, functools.partial(self._ending_home, name))

    def remove(self) -> None:
        """Take the hooks off again."""
        model = self.model
        for name in hooks.STEP_FUNCTIONS:
            if name in self.steps and getattr(model, name) is not None:
                setattr(model, name, self.steps[name])
            hooks.take_off(model, f"make_{name}")
        for name in (
            "save",
            "save_weights",
            "load_weights",
            "_get_jax_state",
            "jax_state_sync",
            "_make_function",
            "evaluate",
            "predict",
        ):
            hooks.take_off(model, name)

    def _over(self, name: str, function: Callable[..., Any]) -> None:
        own = getattr(type(self.model), name)

        @functools.wraps(own)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        hooks.put_over(self.model, name, call)

    def _make(self, name: str, force: bool = False) -> Any:
        made = getattr(self.model, name, None)
        if (
            not force
            and getattr(made, "looks_at_flags", False)
            and self.makeup == hooks.makeup(self.model)
            and not self.changed()
        ):
            return made  # asked for at every batch by train_on_batch and predict_on_batch: settling would cost milliseconds
        self.settle()
        self._prepare_updates()
        with jax_hooks.traced_anew(self.model, row_gradients.train_step):
            result = hooks.own_method(self.model, f"make_{name}")(force=force)
        self.take(name)
        return result

    def _save(self, name: str, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        self.settle()
        result = hooks.own_method(self.model, name)(filepath, *args, **kwargs)
        checkpoint.write(self.model, str(filepath), self.fresh_slots)
        return result

    def _load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        model = self.model
        # Flags come back where a training is taken up again, not where weights are put into a model to be used.
        saved = checkpoint.read(str(filepath)) if getattr(model, "optimizer", None) is not None else None
        if saved is not None and not saved.choice.fits(model):
            saved = None
        if saved is not None:
            saved.choice.apply(model)
            self.settle()
        result = hooks.own_method(model, "load_weights")(filepath, *args, **kwargs)
        if saved is not None:
            checkpoint.recall(model, saved)
            self.rebuild()
        return result

    # JAX

    def _get_jax_state(self, **wanted: bool) -> Any:
        # Asked for at every step where a callback looks at the model: settling each time would cost milliseconds.
        if self.seen is None or self.changed():
            self.settle()
        self.carried = jax_hooks.state_lists(self.model, wanted)
        jax_hooks.forget_state(self.model)
        if wanted.get("purge_model_variables"):
            state = hooks.own_method(self.model, "_get_jax_state")(**wanted)
        else:  # at every batch of train_on_batch: the lists are at hand
            state = tuple([v.value for v in variables] for variables in self.carried.values())
        if self.calls_host:
            self._keep_spare(state)
        return state

    def _keep_spare(self, state: Any) -> None:
        """Copies of all values: at the start of an epoch, or now and then where they are asked for at every step."""
        carried = [v for variables in self.carried.values() for v in variables]
        start = time.monotonic()
        if self.spare is None or start >= self.spare[2] or not same_variables(self.spare[0], carried):
            self.spare = None  # first, so that there are never two
            copies = jax_hooks.copied(state)
            end = time.monotonic()
            self.spare = (carried, copies, end + (end - start) / SPARE_SHARE)

    def _jax_state_sync(self) -> None:
        state = jax_hooks.jax_state(self.model)
        if state is None:
            return
        jax_hooks.write_back(self.carried, [state[name] for name in self.carried])
        jax_hooks.synced(self.model)

    def _make_function(self, step_function: Callable[..., Any], concatenate_outputs: bool = False) -> Any:
        def remembering(state: Any, data: Any) -> Any:
            outputs, new = step_function(state, data)
            # A predict step hands back only the values that may have changed, beside those that it was given.
            self.last_good = new
            return outputs, new

        several = self.model.steps_per_execution > 1
        original = hooks.own_method(self.model, "_make_function")
        return original(remembering if several else step_function, concatenate_outputs=concatenate_outputs)

    def _ending_home(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return hooks.own_method(self.model, name)(*args, **kwargs)
        except BaseException:
            self.model.jax_state_sync()
            jax_hooks.state_is_home(self.model)
            raise
