"""Files keep the choice of what trains, and a training taken up again ends as one that was never stopped."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import pytest

from thaw.trainable import checkpoint, hooks
from thaw.trainable.flags import Choice, freeze, trainable, unfreeze
from thaw.trainable.memory import memory_of
from thaw.trainable.watch import is_watched, watch
from trainable.toys import THOROUGH, At, fit, moved, names, same, set_phase, steps, tower, values

o = keras.optimizers


def state(model: keras.Model) -> list:
    return values(model.weights) + values(model.optimizer.variables)


def test_T9_flags_of_single_variables_survive_save_and_load(tmp_path: Path) -> None:
    model = watch(tower())
    freeze(model, model.layers[0].bias, "d2/kernel")
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert trainable(loaded) == trainable(model)
    assert is_watched(loaded) and same(state(loaded), state(model))
    expected = names("d0", "d1", "d2") - {"d0/bias", "d2/kernel"}
    assert moved(loaded, lambda: fit(loaded)) == expected
    fit(model)
    assert same(state(loaded), state(model)) and steps(loaded) == 4


def test_T9_a_file_of_thaw_is_read_by_plain_keras(tmp_path: Path) -> None:
    model = watch(tower())
    fit(model)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    hooks.undo_all()
    plain = keras.saving.load_model(tmp_path / "model.keras")
    assert not is_watched(plain) and same(state(plain), state(model))
    other = tower()
    other.load_weights(tmp_path / "model.weights.h5")
    assert same(values(other.weights), values(model.weights))


def test_T9_files_without_a_choice_load_as_ever(tmp_path: Path) -> None:
    model = tower()
    fit(model)
    model.save(tmp_path / "plain.keras")
    model.save_weights(tmp_path / "plain.weights.h5")
    watched = watch(tower())
    watched.layers[0].trainable = False
    watched.load_weights(tmp_path / "plain.weights.h5")
    assert not watched.layers[0].trainable and same(values(watched.weights), values(model.weights))
    assert checkpoint.read(str(tmp_path / "plain.keras")) is None


def test_T9_weights_put_into_a_model_that_is_not_compiled_leave_its_flags(tmp_path: Path) -> None:
    model = watch(tower())
    freeze(model, "d0")
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = watch(keras.models.clone_model(model))
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert len(fresh.trainable_variables) == 4 or trainable(fresh).trains == trainable(keras.models.clone_model(model)).trains


class Killed(Exception):
    """Stands for the end of a process."""


PHASES = ("2", "12", "02", "012")


def phases(model: keras.Model, epoch: int) -> None:
    if epoch + 1 < len(PHASES):
        set_phase(model, PHASES[epoch + 1])


class KillAt(keras.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == self.epoch:
            raise Killed


def begun(optimizer: keras.Optimizer) -> keras.Model:
    model = watch(tower(optimizer))
    set_phase(model, PHASES[0])
    return model


@pytest.mark.parametrize("kill", [pytest.param(k, id=f"T10-T16-killed-in-epoch-{k}") for k in ((1, 3) if THOROUGH else (3,))])
def test_a_killed_training_ends_as_if_it_had_not_been(kill: int, tmp_path: Path) -> None:
    """Backups are taken under the flags of each phase; the new process begins with those of the first."""
    whole = begun(o.Nadam(0.01))
    fit(whole, 4, callbacks=[At(phases)])

    def backup() -> keras.callbacks.Callback:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    first = begun(o.Nadam(0.01))
    with pytest.raises(Killed):
        # The flags change before the backup is written, as by a schedule that comes first in the list.
        fit(first, 4, callbacks=[At(phases), backup(), KillAt(kill)])
    second = begun(o.Nadam(0.01))
    fit(second, 4, callbacks=[At(phases), backup()])
    assert same(state(second), state(whole)) and steps(second) == 8
    assert trainable(second) == trainable(whole)
    assert [v.path for v in second.optimizer._trainable_variables] == [v.path for v in whole.optimizer._trainable_variables]


@pytest.mark.parametrize("kind", [pytest.param(k, id=f"T16-{k}") for k in ("best.keras", "best.weights.h5")])
def test_a_model_checkpoint_under_other_flags_restores_everything(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    model = watch(tower())
    freeze(model, "d0")
    keep = keras.callbacks.ModelCheckpoint(path, save_weights_only=kind.endswith("h5"))
    fit(model, 2, callbacks=[keep])
    saved, choice = state(model), trainable(model)
    unfreeze(model)
    fit(model, 2)
    model.load_weights(path)
    assert trainable(model) == choice and same(state(model), saved) and steps(model) == 4
    assert moved(model, lambda: fit(model)) == names("d1", "d2")


def test_T16_parked_moments_and_missed_steps_are_in_the_file(tmp_path: Path) -> None:
    def course(model: keras.Model) -> None:
        fit(model)
        model.layers[0].trainable = False
        fit(model)

    def rest(model: keras.Model) -> None:
        model.layers[0].trainable = True
        fit(model, 2)

    model = watch(tower())
    course(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(memory_of(loaded.optimizer).parked) == 2
    rest(model)
    rest(loaded)
    assert same(state(loaded), state(model))
    offsets = sorted(memory_of(loaded.optimizer).offsets.values())
    assert offsets == sorted(memory_of(model.optimizer).offsets.values()) and max(offsets) == 2


def test_T9_automatic_names_of_another_session_do_not_matter(tmp_path: Path) -> None:
    def nameless() -> keras.Model:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(4)])
        model.compile("adam", "mse")
        return watch(model)

    model = nameless()
    freeze(model, model.layers[0].bias)
    fit(model)
    model.save_weights(tmp_path / "a.weights.h5")
    other = nameless()
    assert other.layers[0].name != model.layers[0].name
    other.load_weights(tmp_path / "a.weights.h5")
    assert [v.trainable for v in other.weights] == [v.trainable for v in model.weights]
    assert same(state(other), state(model))


def test_the_choice_is_plain_data_T9(tmp_path: Path) -> None:
    model = watch(tower())
    freeze(model, "d1/bias")
    choice = trainable(model)
    assert Choice.from_json(choice.to_json()) == choice and hash(choice) == hash(trainable(model))
    assert "d1/bias" not in choice.trains and "d1/kernel" in choice.trains
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert "thaw.npz" in archive.namelist()
    with h5py.File(tmp_path / "m.weights.h5") as file:
        assert file["thaw_npz"].dtype == "uint8"
    saved = checkpoint.read(str(tmp_path / "m.keras"))
    assert saved is not None and saved.choice == choice
    assert json.loads(choice.to_json())["variables"]["d1/bias"] is False


ACTIONS: dict[str, Callable[[keras.Model], None]] = {
    "frozen": lambda model: freeze(model, "d1"),
    "root-frozen": lambda model: setattr(model, "trainable", False),
}


@pytest.mark.parametrize("name", [pytest.param(n, id=f"T9-{n}") for n in ACTIONS])
def test_a_choice_put_back_is_the_choice_that_was_taken(name: str) -> None:
    model = tower()
    before = trainable(model)
    ACTIONS[name](model)
    changed = trainable(model)
    assert changed != before
    before.apply(model)
    assert trainable(model) == before and len(model.trainable_variables) == 6
    changed.apply(model)
    assert trainable(model) == changed
