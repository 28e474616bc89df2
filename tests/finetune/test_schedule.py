"""Phases within one fit: flags, rates, ends by epoch, step and metric; and a killed run ends as one that was not."""

from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from thaw.errors import NothingSelectedError, ScheduleError
from trainable.toys import fit, moved, names, same, tower, values

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"


class Watcher(keras.callbacks.Callback):
    """Notes in every epoch which layers' kernels moved."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[set[str]] = []
        self.rates: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.before = {layer.name: values([layer.kernel])[0] for layer in self.model.layers}

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        now = {layer.name: values([layer.kernel])[0] for layer in self.model.layers}
        self.moved.append({name for name, value in now.items() if not np.array_equal(value, self.before[name])})
        self.rates.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))


def run(model: keras.Model, phases: list, epochs: int, **more: object) -> tuple[Watcher, dict]:
    seen = Watcher()
    history = fit(model, epochs, callbacks=[thaw.schedule(model, phases), seen], **more)
    return seen, history


def test_T5_probe_then_full_in_one_fit_with_one_history() -> None:
    model = tower()
    seen, history = run(model, thaw.probe_then_full("d2", 2, learning_rate=1e-4), 4)
    assert seen.moved == [{"d2"}, {"d2"}, {"d0", "d1", "d2"}, {"d0", "d1", "d2"}]
    assert np.allclose(seen.rates, [0.01, 0.01, 1e-4, 1e-4]) and len(history["loss"]) == 4
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 8


def test_T5_gradual_unfreezing_from_the_top() -> None:
    seen, _ = run(tower(), thaw.gradual_unfreezing(["d2", "d1", "d0"]), 4)
    assert seen.moved == [{"d2"}, {"d1", "d2"}, {"d0", "d1", "d2"}, {"d0", "d1", "d2"}]


def test_T5_phases_end_by_steps_in_the_middle_of_an_epoch() -> None:
    model = tower()
    callback = thaw.schedule(model, [thaw.Phase("d2", steps=3), thaw.Phase("d0")])
    d0 = values([model.layers[0].kernel])
    fit(model, 1, callbacks=[callback])
    assert callback.index == 0 and same(d0, values([model.layers[0].kernel]))
    callback = thaw.schedule(model, [thaw.Phase("d2", steps=3), thaw.Phase("d0")])
    fit(model, 2, callbacks=[callback])
    assert callback.index == 1 and callback.begun == [0, 1] and not same(d0, values([model.layers[0].kernel]))


def test_T5_a_phase_ends_when_its_metric_stalls() -> None:
    model = tower(keras.optimizers.SGD(0.0))  # nothing moves, so that the loss stalls at once
    seen, _ = run(model, [thaw.Phase("d2", until="loss", patience=2), thaw.Phase(learning_rate=0.1)], 5)
    assert seen.moved == [set(), set(), set(), {"d0", "d1", "d2"}, {"d0", "d1", "d2"}]


def test_T5_callbacks_of_keras_go_on() -> None:
    model = tower()
    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=100, restore_best_weights=True)
    callbacks = [thaw.schedule(model, [{"train": "d2", "epochs": 1}, {}]), stopping, keras.callbacks.ReduceLROnPlateau("loss")]
    assert len(fit(model, 3, callbacks=callbacks)["loss"]) == 3


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.0),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "lion": lambda: keras.optimizers.Lion(0.01),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_T5_multipliers_of_the_rate_with_any_optimizer(kind: str) -> None:
    plain, scaled = tower(OPTIMIZERS[kind]()), tower(OPTIMIZERS[kind]())
    begun = {v.path: values([v])[0] for v in plain.trainable_variables}
    fit(plain, 1, steps_per_epoch=1)
    fit(scaled, 1, steps_per_epoch=1, callbacks=[thaw.schedule(scaled, [thaw.Phase(rates={"d0": 0.25, "d1": 0.0})])])
    for a, b in zip(plain.trainable_variables, scaled.trainable_variables, strict=True):
        factor = {"d0": 0.25, "d1": 0.0, "d2": 1.0}[a.path.split("/")[-2]]
        step = values([a])[0] - begun[a.path]
        assert np.allclose(values([b])[0] - begun[a.path], factor * step, atol=1e-6)


def test_T5_layerwise_decay_counts_from_the_output() -> None:
    model = tower()
    rates = {v.path.split("/")[-2]: rate for v, rate in thaw.layerwise_decay(model, 0.5)}
    assert rates == {"d2": 1.0, "d1": 0.5, "d0": 0.25}
    layer = thaw.KerasLayer(DIGITS, trainable=True)
    by_name = {v.source_name: rate for v, rate in thaw.layerwise_decay(layer, 0.5)}
    assert by_name["block_1_conv/kernel"] == by_name["block_1_bn/gamma"] == 0.5 * by_name["features/kernel"]
    assert by_name["block_0_conv/kernel"] == 0.25 * by_name["features/kernel"]


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == self.epoch:
            raise Killed


PHASES = {
    "epochs": [{"train": "d2", "epochs": 2}, {"train": ["d1", "d2"], "epochs": 1, "learning_rate": 1e-3}, {"rates": {"d0": 0.1}}],
    "steps": [{"train": "d2", "steps": 3}, {"learning_rate": 1e-3}],
    "stall": [{"train": "d2", "until": "loss", "patience": 1, "min_delta": 0.5}, {"train": "d0"}],
}


KILLS = [("epochs", 1), ("epochs", 2), ("epochs", 3), ("epochs", 4), ("steps", 2), ("stall", 2)]


@pytest.mark.parametrize(("kind", "killed"), KILLS, ids=[f"{kind}-epoch{killed}" for kind, killed in KILLS])
def test_T10_killed_and_started_again_gives_the_same_weights(kind: str, killed: int, tmp_path: Path) -> None:
    phases = PHASES[kind]
    whole = tower()
    fit(whole, 5, callbacks=[thaw.schedule(whole, phases)])

    def begin(*more: keras.callbacks.Callback) -> keras.Model:
        model = tower()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit(model, 5, callbacks=[thaw.schedule(model, phases), backup, *more])
        return model

    with pytest.raises(Killed):
        begin(Kill(killed))
    again = begin()
    assert same(values(again.weights), values(whole.weights))
    rates = [float(keras.ops.convert_to_numpy(m.optimizer.learning_rate)) for m in (again, whole)]
    assert rates[0] == rates[1] and same(values(again.optimizer.variables), values(whole.optimizer.variables))


def test_T10_goes_on_from_a_saved_file(tmp_path: Path) -> None:
    phases = PHASES["epochs"]
    whole, part = tower(), tower()
    fit(whole, 5, callbacks=[thaw.schedule(whole, phases)])
    fit(part, 3, callbacks=[thaw.schedule(part, phases)])
    part.save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    fit(again, 5, initial_epoch=3, callbacks=[thaw.schedule(again, phases)])
    assert same(values(again.weights), values(whole.weights))


def test_T5_initial_epoch_without_a_file_finds_the_phase() -> None:
    model = tower()
    callback = thaw.schedule(model, [{"train": "d2", "epochs": 2}, {"train": "d0", "epochs": 2}, {}])
    assert moved(model, lambda: fit(model, 3, initial_epoch=2, callbacks=[callback])) == names("d0")
    assert callback.index == 1


def test_T5_a_thaw_layer_is_thawed_in_phases() -> None:
    keras.utils.set_random_seed(0)
    layer = thaw.KerasLayer(DIGITS, name="digits")
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(3, name="head")])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.random.default_rng(0).random((16, 8, 8, 1), "float32"), np.arange(16) % 3
    phases = [{"train": "head", "epochs": 1}, {"train": ["head", "block_1_conv"], "epochs": 1}, {}]
    before = {n: values([v])[0] for n, v in layer.source_variables.items()}
    changed = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            assert self.model is model
            changed.append({n for n, v in layer.source_variables.items() if not np.array_equal(values([v])[0], before[n])})

    model.fit(x, y, epochs=3, verbose=0, callbacks=[thaw.schedule(model, phases), Look()])
    assert changed[0] == set() and changed[1] == {"block_1_conv/kernel"} and changed[2] == set(before)


def test_errors_are_said_before_training() -> None:
    model = tower()
    with pytest.raises(ScheduleError, match="Phase 1 of 2 does not say when it ends"):
        thaw.schedule(model, [{"train": "d2"}, {}])
    with pytest.raises(ScheduleError, match="at least one phase"):
        thaw.schedule(model, [])
    with pytest.raises(ScheduleError, match="epoch"):
        thaw.schedule(model, [{"epoch": 2}])
    with pytest.raises(NothingSelectedError, match="d2"):
        thaw.schedule(model, [{"train": "d9"}])


def test_a_schedule_of_the_optimizer_and_a_rate_of_a_phase_contradict() -> None:
    model = tower(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 10)))
    with pytest.raises(ScheduleError, match="schedule of its own"):
        fit(model, 1, callbacks=[thaw.schedule(model, [{"learning_rate": 0.1}])])


def test_a_metric_that_is_not_there_is_named() -> None:
    model = tower()
    with pytest.raises(ScheduleError, match="val_loss"):
        fit(model, 2, callbacks=[thaw.schedule(model, [{"train": "d2", "until": "val_loss"}, {}])])


def test_callbacks_that_save_stand_behind_the_schedule(tmp_path: Path) -> None:
    def begin(*more: keras.callbacks.Callback) -> None:
        model = tower()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit(model, 5, callbacks=[backup, thaw.schedule(model, PHASES["stall"]), *more])

    with pytest.raises(Killed):
        begin(Kill(1))
    with pytest.raises(ScheduleError, match="stand before the callbacks that save"):
        begin()
