"""One fit with flags changed at the ends of epochs, for one optimizer of each pattern of slots."""

import itertools
from collections.abc import Callable

import keras
import numpy as np
import pytest

from thaw.errors import OptimizerRefusedError
from thaw.trainable.memory import memory_of
from thaw.trainable.optimizer import regroup
from thaw.trainable.watch import multiply_rates, watch
from trainable.toys import THOROUGH, At, fit, honest_reference, same, set_phase, steps, tower, values

o = keras.optimizers
# Thaw, freeze and thaw again, with equal shapes changing places; the second list is for slots like those of the first.
PHASES = ("2", "01", "12")
FEW = ("2", "12")


def excluding(optimizer: keras.Optimizer) -> keras.Optimizer:
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


SLOT_PATTERNS = ("adam", "sgd-momentum", "adafactor", "nadam", "muon", "accumulation")
EXACT: dict[str, Callable[[], keras.Optimizer]] = {
    "adam": lambda: o.Adam(0.01),
    "adam-schedule": lambda: o.Adam(o.schedules.ExponentialDecay(0.05, 2, 0.5)),
    "adamw-exclusions": lambda: excluding(o.AdamW(0.01, weight_decay=0.1)),
    "sgd-momentum": lambda: o.SGD(0.05, momentum=0.9, nesterov=True),
    "sgd-plain-clipnorm": lambda: o.SGD(0.05, clipnorm=0.1),
    "adafactor": lambda: o.Adafactor(0.05),
    "nadam": lambda: o.Nadam(0.01),
    "muon": lambda: o.Muon(0.01),
    "amsgrad-global-clipnorm": lambda: o.Adam(0.01, amsgrad=True, global_clipnorm=0.1),
    "accumulation": lambda: o.Adam(0.01, gradient_accumulation_steps=2),
    "loss-scale-factor": lambda: o.RMSprop(0.01, momentum=0.5, centered=True, loss_scale_factor=8.0),
}


def live(
    optimizer: keras.Optimizer, phases: tuple[str, ...], fresh_slots: str = "keras"
) -> tuple[keras.Model, list[list[np.ndarray]]]:
    """Weights after each epoch of one fit in which every epoch is a phase."""
    model = watch(tower(optimizer), fresh_slots=fresh_slots)
    course = []

    def next_phase(model: keras.Model, epoch: int) -> None:
        course.append(values(model.weights))
        if epoch + 1 < len(phases):
            set_phase(model, phases[epoch + 1])

    set_phase(model, phases[0])
    fit(model, len(phases), callbacks=[At(next_phase)])
    return model, course


CASES = list(EXACT if THOROUGH else SLOT_PATTERNS)


@pytest.mark.parametrize("name", [pytest.param(n, id=f"T1-T2-T5-T6-{n}") for n in CASES])
def test_one_live_fit_equals_the_honest_reference_in_every_bit(name: str) -> None:
    phases = PHASES if name in SLOT_PATTERNS else FEW
    expected = honest_reference(EXACT[name](), phases)
    model, course = live(EXACT[name](), phases)
    assert all(same(a, b) for a, b in zip(course, expected, strict=True)), [
        max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True)) for a, b in zip(course, expected, strict=True)
    ]
    every = model.optimizer.gradient_accumulation_steps or 1
    assert steps(model) * every == 2 * len(phases)


def test_T5_loss_scale_lives_on_through_regroupings() -> None:
    def make() -> keras.Optimizer:
        return o.LossScaleOptimizer(o.Adam(0.01), initial_scale=8.0, dynamic_growth_steps=3)

    expected = honest_reference(make(), ("012",))
    model, course = live(make(), ("012", "2", "02", "02"))
    assert same(course[0], expected[0])
    assert steps(model) == 8
    # 8 doubled after every third step: scale and counter live on through two regroupings.
    assert float(keras.ops.convert_to_numpy(model.optimizer.dynamic_scale)) == 32.0
    assert int(keras.ops.convert_to_numpy(model.optimizer.step_counter)) == 2
    assert same(course[0][:4], course[1][:4]) and not same(course[2][:1], course[1][:1])


def test_averages_of_a_late_variable_start_as_its_value_T5_ema() -> None:
    model = watch(tower(o.SGD(0.05, use_ema=True, ema_momentum=0.5)))
    model.layers[0].trainable = False
    before = values(model.layers[0].weights)
    course = []

    def thaw(model: keras.Model, epoch: int) -> None:
        course.append(values(model.layers[0].weights))
        model.layers[0].trainable = epoch == 1

    fit(model, 4, callbacks=[At(thaw)])
    assert same(course[1], before) and not same(course[2], before)
    # Frozen again after the third epoch: its raw value stays. Those that train end as their averages.
    assert same(values(model.layers[0].weights), course[2])
    averages = values(model.optimizer._model_variables_moving_average)
    assert same(averages, values(model.trainable_variables))
    assert float(np.abs(averages[0]).max()) > 0.05  # not dragged to zero


def test_an_average_goes_on_while_its_variable_is_frozen_T5_ema() -> None:
    model = watch(tower(o.SGD(0.05, use_ema=True, ema_momentum=0.5)))
    watched = model.layers[0].kernel
    seen = {}

    def flip(model: keras.Model, epoch: int) -> None:
        if epoch == 0:
            seen["average"] = values(model.optimizer._model_variables_moving_average)[0]
            seen["value"] = values([watched])[0]
            model.layers[0].trainable = False
        if epoch == 1:
            model.layers[0].trainable = True
            watch(model)  # settles at once
            seen["back"] = values(model.optimizer._model_variables_moving_average)[0]

    fit(model, 3, callbacks=[At(flip)])
    expected = seen["value"] + 0.5**2 * (seen["average"] - seen["value"])
    np.testing.assert_allclose(seen["back"], expected, rtol=1e-6)


def test_each_optimizer_of_a_multi_optimizer_keeps_its_variables_T5() -> None:
    if not hasattr(o, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")
    adam, sgd = o.Adam(0.01), o.SGD(0.05, momentum=0.9)
    multi = o.MultiOptimizer(o.OptimizerMap(sgd, {"tower/d[01]/.*": adam}))
    model, course = live(multi, ("2", "012"))
    assert steps(model) == 4
    assert [v.path for v in adam._trainable_variables] == [w.path for w in model.weights[:4]]
    assert [v.path for v in sgd._trainable_variables] == [w.path for w in model.weights[4:]]
    # Alone, the head's SGD would have taken the same steps in the first epoch.
    alone = tower(o.SGD(0.05, momentum=0.9))
    set_phase(alone, "2")
    fit(alone)
    assert same(course[0], values(alone.weights))
    assert all(np.isfinite(w).all() for w in values(model.weights))


LATE = {
    "adam": lambda: o.Adam(0.001),
    "adamw": lambda: o.AdamW(0.001),
    "nadam": lambda: o.Nadam(0.001),
    "adamax": lambda: o.Adamax(0.001),
    "lamb": lambda: o.Lamb(0.001),
    "muon": lambda: o.Muon(0.001),
    "schedule-free-adamw": lambda: o.ScheduleFreeAdamW(0.001),
}


class Slope(keras.layers.Layer):
    """Gives weights a constant gradient of 1, whatever their value."""

    def build(self, shape: object) -> None:
        self.early = self.add_weight(shape=(1,), name="early", initializer="zeros")
        self.late = self.add_weight(shape=(1,), name="late", initializer="zeros")

    def call(self, x: object) -> object:
        return x * 0.0 + self.early + self.late


def slope(optimizer: keras.Optimizer) -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), Slope()])
    model.compile(optimizer, loss=lambda y, p: keras.ops.mean(p))
    return model


def late_moves(fresh_slots: str, optimizer: keras.Optimizer, before: int = 5000) -> list[float]:
    """How far a weight moves in each of its first 12 steps, thawed at step `before`, in learning rates."""
    model = watch(slope(optimizer), fresh_slots=fresh_slots)
    layer = model.layers[0]
    layer.late.trainable = False
    x = np.zeros((2, 1), "float32")
    model.train_on_batch(x, x)
    optimizer.iterations.assign(before)
    layer.late.trainable = True
    places = [0.0]
    for _ in range(12):
        model.train_on_batch(x, x)
        places.append(float(values([layer.late])[0][0]))
    return [abs(b - a) / 0.001 for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize("name", [pytest.param(n, id=f"T13-{n}") for n in (LATE if THOROUGH else ("adam", "nadam"))])
def test_what_is_thawed_late_moves_by_the_learning_rate(name: str) -> None:
    moves = late_moves("own_steps", LATE[name]())
    # Nadam's own first step is 1.06 learning rates long, also at the start of a training.
    assert max(moves) < 1.07, moves
    assert moves[0] > 0.9, moves


def test_T13_keras_own_arithmetic_bursts_and_can_be_asked_for() -> None:
    moves = late_moves("keras", o.Adam(0.001))
    assert 3.1 < moves[0] < 3.2 and 6.4 < max(moves) < 7.0, moves


def test_T13_own_steps_are_those_of_an_optimizer_that_began_at_the_thaw() -> None:
    late = late_moves("own_steps", o.Nadam(0.001), before=40)
    model = slope(o.Nadam(0.001))
    places = [0.0]
    for _ in range(12):
        model.train_on_batch(np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32"))
        places.append(float(values([model.layers[0].late])[0][0]))
    fresh = [abs(b - a) / 0.001 for a, b in itertools.pairwise(places)]
    np.testing.assert_allclose(late, fresh, rtol=1e-4)


def test_T13_what_trained_from_the_start_is_as_in_keras() -> None:
    """In the step after a thaw both see the same gradients: the layers that trained before end it alike."""
    model = watch(tower(o.Adam(0.01)))
    model.layers[0].trainable = False
    fit(model, 2)
    model.layers[0].trainable = True
    plain = tower(o.Adam(0.01))
    plain.layers[0].trainable = False
    fit(plain, 2)
    model.train_on_batch(X8, Y8)
    plain.train_on_batch(X8, Y8)
    for a, b in zip(values(model.weights[2:]), values(plain.weights[2:]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_slots_of_frozen_variables_leave_the_device_T2() -> None:
    model = watch(tower())
    fit(model)
    assert len(model.optimizer.variables) == 2 + 2 * 6
    for layer in model.layers[:2]:
        layer.trainable = False
    fit(model)
    assert len(model.optimizer.variables) == 2 + 2 * 2
    assert len(memory_of(model.optimizer).parked) == 4


def test_an_optimizer_with_state_of_its_own_is_refused_and_left_as_it_was() -> None:
    class Odd(o.SGD):
        def build(self, variables: list[keras.Variable]) -> None:
            if not self.built:
                super().build(variables)
                self.table = {"odd": self.add_variable((3,), name="odd")}

    model = watch(tower(Odd(0.05)))
    fit(model)
    before = values(model.weights), values(model.optimizer.variables)
    model.layers[0].trainable = False
    with pytest.raises(OptimizerRefusedError, match="odd"):
        fit(model)
    assert same(values(model.weights), before[0]) and same(values(model.optimizer.variables), before[1])
    model.layers[0].trainable = True
    fit(model)
    assert steps(model) == 4


def test_a_regrouped_optimizer_is_the_same_object_with_the_same_counters_T6() -> None:
    model = tower()
    fit(model)
    optimizer = model.optimizer
    parts = optimizer, optimizer.iterations, optimizer.learning_rate, optimizer.variables[0]
    optimizer.learning_rate = 0.5
    regroup(optimizer, model.trainable_variables[2:])
    assert all(
        a is b
        for a, b in zip(parts, (optimizer, optimizer.iterations, optimizer.learning_rate, optimizer.variables[0]), strict=True)
    )
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.5 and steps(model) == 2
    # In Keras' own order, so that a saved state loads into a new optimizer of the same variables.
    fresh = o.Adam()
    fresh.build(model.trainable_variables[2:])
    assert [(v.path, v.shape) for v in fresh.variables][2:] != [] and [tuple(v.shape) for v in fresh.variables] == [
        tuple(v.shape) for v in optimizer.variables
    ]


X8, Y8 = np.ones((8, 4), "float32") * 0.5, np.zeros((8, 4), "float32")


RATED = {"adam": lambda rate: o.Adam(rate), "nadam": lambda rate: o.Nadam(rate), "sgd": lambda rate: o.SGD(rate, momentum=0.9)}


@pytest.mark.parametrize("name", RATED if THOROUGH else ("nadam",))
def test_a_multiple_of_the_rate_is_the_rate_of_an_optimizer_of_its_own(name: str) -> None:
    """In the first step all see the same gradients: each layer moves as under an optimizer with its own rate."""
    model = tower(RATED[name](0.02))
    multiply_rates(model, {"d0": 0.25, "d1": 0.0})
    model.train_on_batch(X8, Y8)
    slow, untouched = tower(RATED[name](0.005)), tower(RATED[name](0.02))
    begun = values(untouched.weights)
    for other in (slow, untouched):
        other.train_on_batch(X8, Y8)
    for a, b in zip(values(model.weights[:2]), values(slow.weights[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)
    assert same(values(model.weights[2:4]), begun[2:4])
    for a, b in zip(values(model.weights[4:]), values(untouched.weights[4:]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)
    multiply_rates(model, {})
    assert memory_of(model.optimizer).rates == {}


DECAYING = {
    "adamw": lambda rate: excluding(o.AdamW(rate, weight_decay=0.5)),
    "sgd": lambda rate: o.SGD(rate, weight_decay=0.5),
    "muon": lambda rate: o.Muon(rate, adam_lr_ratio=1, weight_decay=0.5, adam_weight_decay=0.25),
}


@pytest.mark.parametrize("name", DECAYING)
def test_weight_decay_goes_with_the_multiple_of_the_rate(name: str) -> None:
    """In the first step each layer moves as under an optimizer with its own rate, decay included; at 0 it stays."""
    model = tower(DECAYING[name](0.02))
    multiply_rates(model, {"d0": 0.25, "d1": 0.0})
    begun = values(model.weights)
    decays = (model.optimizer.weight_decay, getattr(model.optimizer, "adam_weight_decay", None))
    model.train_on_batch(X8, Y8)
    slow, untouched = tower(DECAYING[name](0.005)), tower(DECAYING[name](0.02))
    for other in (slow, untouched):
        other.train_on_batch(X8, Y8)
    for a, b in zip(values(model.weights[:2]), values(slow.weights[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)
    assert same(values(model.weights[2:4]), begun[2:4])
    for a, b in zip(values(model.weights[4:]), values(untouched.weights[4:]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)
    assert decays == (model.optimizer.weight_decay, getattr(model.optimizer, "adam_weight_decay", None))
