"""Flags changed at any time take effect in the next step: the traps of plain Keras, one by one."""

import gc
import weakref
from collections.abc import Callable

import keras
import numpy as np
import pytest

from thaw.trainable import hooks
from thaw.trainable.flags import freeze, only_training, unfreeze
from thaw.trainable.watch import is_watched, obey_automatically, recompile, unwatch, watch
from trainable.toys import BACKEND, THOROUGH, At, X, Y, fit, moved, names, same, slots_of, steps, tower, values

o = keras.optimizers


def test_T1_thaw_after_fit_takes_effect_and_keeps_moments() -> None:
    model = watch(tower())
    model.layers[0].trainable = False
    assert moved(model, lambda: fit(model)) == names("d1", "d2")
    kernel = model.layers[2].kernel
    before = slots_of(model.optimizer, kernel)
    model.layers[0].trainable = True
    watch(model)
    assert same(slots_of(model.optimizer, kernel), before)
    assert np.any(before[0]) and not np.any(slots_of(model.optimizer, model.layers[0].kernel)[0])
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")
    assert steps(model) == 4


def test_T2_freeze_after_fit_takes_effect_and_statistics_stop() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="bn"), keras.layers.Dense(4, name="d")])
    model.compile("adam", "mse")
    watch(model)
    assert moved(model, lambda: fit(model)) == names("d") | {
        f"bn/{n}" for n in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    model.layers[0].trainable = False
    assert moved(model, lambda: fit(model)) == names("d")


def test_T3_swapped_layers_keep_their_own_moments() -> None:
    model = watch(tower())
    first, second = model.layers[0].kernel, model.layers[1].kernel
    model.layers[1].trainable = False
    fit(model)
    left = slots_of(model.optimizer, first)
    model.layers[0].trainable, model.layers[1].trainable = False, True
    assert moved(model, lambda: fit(model)) == names("d1", "d2")
    gained = slots_of(model.optimizer, second)
    model.layers[0].trainable, model.layers[1].trainable = True, False
    watch(model)
    assert same(slots_of(model.optimizer, first), left) and not same(left, gained)
    assert moved(model, lambda: fit(model)) == names("d0", "d2")


def test_T4_recompiling_with_the_same_optimizer_works() -> None:
    model = watch(tower())
    model.layers[0].trainable = False
    fit(model)
    before = slots_of(model.optimizer, model.layers[2].kernel)
    model.layers[0].trainable = True
    model.compile(model.optimizer, "mse")
    watch(model)
    assert same(slots_of(model.optimizer, model.layers[2].kernel), before)
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")
    assert steps(model) == 4


def test_T5_T6_in_the_middle_of_fit_history_callbacks_and_schedule_go_on(tmp_path: object) -> None:
    rates = o.schedules.PiecewiseConstantDecay([3, 5], [0.02, 0.01, 0.005])
    model = watch(tower(o.Adam(rates)))
    freeze(model, "d0", "d1")
    course = []

    def flip(model: keras.Model, epoch: int) -> None:
        course.append(values(model.weights))
        if epoch == 1:
            unfreeze(model, "d1")

    patient = keras.callbacks.EarlyStopping("loss", patience=10)
    best = keras.callbacks.ModelCheckpoint(f"{tmp_path}/best.keras", "loss", save_best_only=True)
    history = fit(model, 4, callbacks=[At(flip), patient, best], validation_data=(X, Y))
    assert [len(column) for column in history.values()] == [4, 4]
    assert history["loss"] == sorted(history["loss"], reverse=True)
    assert patient.best == min(history["loss"])
    assert same(course[0][:4], course[1][:4]) and same(course[2][:2], course[1][:2])
    assert not same(course[2][2:4], course[1][2:4])
    assert steps(model) == 8
    np.testing.assert_allclose(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)), 0.005)


def test_T5_in_the_middle_of_an_epoch() -> None:
    """A batch callback that holds the model itself, so that on JAX nobody brought the carried weights home before."""
    model = watch(tower())
    kernel, before = model.layers[0].kernel, []

    class Flip(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 0:
                model.layers[0].trainable = False
            if batch == 1:
                before.append(values([self.model.layers[0].kernel])[0])

    fit(model, callbacks=[Flip()])
    one = watch(tower())
    one.train_on_batch(X[:8], Y[:8])
    np.testing.assert_allclose(values([kernel])[0], values([one.layers[0].kernel])[0], rtol=1e-5)
    assert same(values([kernel]), before) and steps(model) == 2
    assert moved(model, lambda: fit(model)) == names("d1", "d2")


def test_T5_several_steps_in_one_execution() -> None:
    if BACKEND == "torch":
        pytest.skip("Keras on PyTorch executes one step at a time")
    model = tower()
    model.compile("adam", "mse", steps_per_execution=2)
    watch(model)
    freeze(model, "d0")
    assert moved(model, lambda: fit(model, 2, callbacks=[At(lambda m, epoch: freeze(m, "d1"))])) == names("d1", "d2")
    assert steps(model) == 4


def test_T5_train_on_batch_eager_and_custom_train_step() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.d0, self.d1 = keras.layers.Dense(4, name="d0"), keras.layers.Dense(4, name="d1")

        def call(self, x: object) -> object:
            return self.d1(self.d0(x))

        def train_step(self, *args: object) -> object:
            return super().train_step(*args)

    model = Own()
    model.compile("adam", "mse", run_eagerly=True)
    watch(model)
    model.train_on_batch(X, Y)
    model.d0.trainable = False
    assert moved(model, lambda: model.train_on_batch(X, Y)) == names("d1")
    model.d0.trainable, model.d1.trainable = True, False
    assert moved(model, lambda: model.train_on_batch(X, Y)) == names("d0")
    assert steps(model) == 3


def test_T7_freeze_every_layer_then_thaw_the_model() -> None:
    model = watch(tower())
    for layer in model.layers:
        layer.trainable = False
    model.trainable = True
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")
    for layer in model.layers:
        layer.trainable = False
    unfreeze(model)
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")


def test_T7_inside_a_nested_model() -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="d0")], name="inner")
    model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(4, name="d1")], name="outer")
    model.compile("adam", "mse")
    watch(model)
    for layer in inner.layers:
        layer.trainable = False
    inner.trainable = True
    assert len(model.trainable_variables) == 4


def test_T8_the_base_kernel_under_lora_never_trains() -> None:
    model = watch(tower())
    fit(model)
    layer = model.layers[1]
    layer.enable_lora(2)
    adapted = {"d1/lora_kernel_a", "d1/lora_kernel_b", "d1/bias"}
    ways = (lambda: None, lambda: unfreeze(model), lambda: setattr(model, "trainable", True))
    for thaw_all in ways if THOROUGH else ways[2:]:
        thaw_all()
        changed = moved(model, lambda: fit(model))
        assert changed == names("d0", "d2") | adapted - ({"d1/lora_kernel_a"} - changed), changed
        model.trainable = False
        assert moved(model, lambda: fit(model)) == set()
    kept = unfreeze(model, "d1").kept
    assert kept == (("d1/kernel", "LoRA trains in its place"),)


def test_T11_every_selected_variable_moves_and_every_other_is_bit_identical() -> None:
    model = watch(tower(layers=4))
    fit(model)
    for chosen in (["d0"], ["d1", "d3"], ["*/bias"], [2]) if THOROUGH else (["d1", "*/bias"],):
        freeze(model)
        picked = unfreeze(model, *chosen)
        paths = {v.path.partition("/")[2] for v in picked}
        assert moved(model, lambda: fit(model)) == paths, chosen


def test_T11_equal_values_are_not_taken_for_the_same_variable() -> None:
    """All biases are zeros of one shape; only the named one may move."""
    model = watch(tower())
    with only_training(model, model.layers[1].bias) as picked:
        assert list(picked) == [model.layers[1].bias]
        assert moved(model, lambda: fit(model)) == {"d1/bias"}
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")


@pytest.mark.parametrize("call", ["predict", "evaluate", "test_on_batch", "predict_on_batch"])
def test_T14_after_a_swap_without_training(call: str) -> None:
    model = watch(tower())
    ask: Callable[[], object] = {
        "predict": lambda: model.predict(X, verbose=0),
        "evaluate": lambda: model.evaluate(X, Y, verbose=0),
        "test_on_batch": lambda: model.test_on_batch(X, Y),
        "predict_on_batch": lambda: model.predict_on_batch(X),
    }[call]
    model.layers[0].trainable = False
    expected = np.asarray(ask())
    model.layers[0].trainable, model.layers[1].trainable = True, False
    np.testing.assert_array_equal(np.asarray(ask()), expected)


class Deferred(keras.Model):
    """Built at its first call only."""

    def __init__(self) -> None:
        super().__init__()
        self.d0, self.d1 = keras.layers.Dense(4, name="d0"), keras.layers.Dense(4, name="d1")

    def call(self, x: object) -> object:
        return self.d1(self.d0(x))


def test_T15_frozen_before_a_deferred_build_can_be_thawed() -> None:
    model = Deferred()
    model.d0.trainable = False
    model.compile("adam", "mse")
    watch(model)
    assert moved_after_build(model) == names("d1")
    model.d0.trainable = True
    assert moved(model, lambda: fit(model)) == names("d0", "d1")
    assert steps(model) == 4


def moved_after_build(model: keras.Model) -> set[str]:
    fit(model)
    return {v.path.partition("/")[2] for v in model.trainable_variables}


def vgg_like() -> keras.Model:
    """A small functional image model in blocks, named as keras.applications names its VGG16."""
    x = inputs = keras.Input((8, 8, 3))
    for block in (1, 2):
        for conv in (1, 2):
            x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name=f"block{block}_conv{conv}")(x)
        x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return keras.Model(inputs, x, name="vgg")


IMAGES = np.random.RandomState(1).rand(8, 8, 8, 3).astype("float32")
LABELS = np.random.RandomState(2).rand(8, 2).astype("float32")


def on_images(model: keras.Model) -> None:
    model.fit(IMAGES, LABELS, batch_size=4, verbose=0, shuffle=False)


def test_S11_flags_set_before_and_after_compile_and_fit_take_effect() -> None:
    base = vgg_like()
    model = keras.Sequential([
        base,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax", name="head"),
    ])
    model.build((None, 8, 8, 3))
    watch(model)
    for layer in base.layers:
        layer.trainable = False
    model.compile("adam", "mse")
    head = {v.path for v in model.layers[-1].weights}
    weights = {id(v): v.path for v in model.weights}

    def paths() -> set[str]:
        before = values(model.weights)
        on_images(model)
        return {
            weights[id(v)] for v, a, b in zip(model.weights, before, values(model.weights), strict=True) if not same([a], [b])
        }

    assert paths() == head
    for layer in base.layers:
        layer.trainable = True
    assert paths() == set(weights.values())
    freeze(model, slice(0, 1))
    assert paths() == head
    unfreeze(model, "block2_*")
    assert paths() == head | {v.path for layer in base.layers if "block2" in layer.name for v in layer.weights}
    assert steps(model) == 8


def test_S12_a_flag_set_through_a_sub_model_trains_the_shared_layers_in_the_parent() -> None:
    model = tower()
    part = keras.Model(model.inputs, model.layers[1].output, name="part")
    watch(model)
    for layer in part.layers:
        layer.trainable = False
    assert moved(model, lambda: fit(model)) == names("d2")
    unfreeze(part, "d0")
    assert moved(model, lambda: fit(model)) == names("d0", "d2")


def test_S12_containers_that_block_are_lifted_and_named() -> None:
    base = vgg_like()
    model = keras.Sequential([base, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, name="head")], name="root")
    model.build((None, 8, 8, 3))
    model.trainable = False
    done = unfreeze(base, "block2_conv2")
    assert done.lifted == ("vgg",) and model.trainable_variables == []
    watch(model)
    # Known now as a root: a thaw through a part lifts it.
    assert unfreeze(base, "block2_conv2").lifted == ("root",)
    assert [v.path for v in model.trainable_variables] == ["block2_conv2/kernel", "block2_conv2/bias"]


def test_S12_a_layer_used_twice_is_one_layer() -> None:
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(4, name="top")(shared(shared(inputs))), name="twice")
    model.compile("adam", "mse")
    watch(model)
    assert len(freeze(model, shared)) == 2
    weights = values(shared.weights)
    fit(model)
    assert same(values(shared.weights), weights)


def test_recompile_makes_one_change_take_effect_T1() -> None:
    model = tower()
    model.layers[0].trainable = False
    fit(model)
    before = slots_of(model.optimizer, model.layers[2].kernel)
    model.layers[0].trainable = True
    recompile(model)
    assert not is_watched(model)
    assert same(slots_of(model.optimizer, model.layers[2].kernel), before)
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")
    assert steps(model) == 4


def test_models_that_hold_a_live_layer_obey_without_a_call_T1() -> None:
    class Live(keras.layers.Dense):
        _thaw_live = True

    plain = {name: vars(keras.Model).get(name) for name in ("compile", "fit", "predict")}
    undo = obey_automatically()
    try:
        model = keras.Sequential([keras.Input((4,)), keras.Sequential([Live(4, name="d0")]), keras.layers.Dense(4, name="d1")])
        model.compile("adam", "mse")
        model.layers[0].trainable = False
        fit(model)
        model.layers[0].trainable = True
        before = values(model.weights)
        fit(model)
        assert not any(same([a], [b]) for a, b in zip(before, values(model.weights), strict=True))
        other = tower()
        assert not is_watched(other)
    finally:
        hooks.undo_all()
    assert {name: vars(keras.Model).get(name) for name in plain} == plain
    del undo


def test_unwatch_leaves_plain_keras() -> None:
    model = tower()
    before = set(vars(model))
    watch(model)
    fit(model)
    model.predict(X, verbose=0)
    unwatch(model)
    assert not is_watched(model)
    assert not any(getattr(vars(model).get(name), "looks_at_flags", False) for name in hooks.STEP_FUNCTIONS)
    assert not {n for n in set(vars(model)) - before if n.startswith(("make_", "save", "load", "evaluate"))}
    fit(model)


def test_watching_survives_clone_and_pickle() -> None:
    import pickle

    model = watch(tower())
    fit(model)
    for copy in (keras.models.clone_model(model), pickle.loads(pickle.dumps(model))):
        assert not is_watched(copy)
        np.testing.assert_equal(copy.predict(X, verbose=0).shape, (16, 4))


def test_mixed_precision_obeys_T5() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = watch(tower())
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, o.LossScaleOptimizer)
    freeze(model, "d0")
    assert moved(model, lambda: fit(model)) == names("d1", "d2")
    unfreeze(model, "d0")
    assert moved(model, lambda: fit(model)) >= names("d0")
    assert steps(model) == 4


def test_S11_thaws_own_verbs_need_no_watch() -> None:
    model = tower()
    freeze(model, "d0")
    assert moved(model, lambda: fit(model)) == names("d1", "d2")
    unfreeze(model, "d0")
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")
    assert steps(model) == 4


def test_a_watched_model_can_be_forgotten() -> None:
    def dies(model: keras.Model) -> bool:
        fit(model)
        gone = weakref.ref(model)
        del model
        keras.utils.clear_session(free_memory=True)
        gc.collect()
        return gone() is None

    if not dies(tower()):
        pytest.skip("plain Keras keeps models alive on this backend")
    # In a line of its own: an assertion keeps what it has seen.
    forgotten = dies(watch(tower()))
    assert forgotten
