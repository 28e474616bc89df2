"""The fine-tuning job: what it leaves behind, seeds, Ctrl-C, killing and resuming, and that bad input leaves nothing behind."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import thaw
from finetune.making import image_folder, table
from thaw.errors import DataError, DataMismatchError, HubArgumentError, OutputFolderError, ThawError, UnknownTensorError
from thaw.finetune import job
from thaw.finetune.job import Options, Result, finetune

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "samples" / "digits"
HALF_PLUS_ONE = ROOT / "tests" / "models" / "tf2" / "half_plus_one"
WORDS = ROOT / "tests" / "models" / "behaviour" / "words"
OPTIONS = Options(epochs=3, batch_size=4, unfreeze=("*",), learning_rate=0.01)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("images"), {"two words": 6, "b": 6, "c": 6})


def run(data: Path, out: Path, options: Options = OPTIONS, handle: Path = DIGITS, **more: Any) -> Result:
    return finetune(handle, data, out, options, verbose=0, **more)


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: keras.ops.convert_to_numpy(v).copy() for v in model.variables if v.name != "seed_generator_state"}


def assert_same(a: keras.Model, b: keras.Model) -> None:
    ours, theirs = weights(a), weights(b)
    assert list(ours) == list(theirs)
    for path, value in ours.items():
        np.testing.assert_allclose(value, theirs[path], rtol=1e-6, atol=1e-7, err_msg=path)


def test_what_a_job_leaves_behind_and_the_model_outlives_its_module(images: Path, tmp_path: Path) -> None:
    module = shutil.copytree(DIGITS, tmp_path / "module")
    said: list[str] = []
    result = run(images, tmp_path / "out", handle=module, say=said.append)
    assert result.finished and result.classes == ("b", "c", "two words")
    assert {p.name for p in result.folder.iterdir()} == {"model.keras", "classes.json", "history.csv", "curves.png", "report.md"}
    assert json.loads((result.folder / "classes.json").read_text()) == ["b", "c", "two words"]
    rows = list(csv.DictReader((result.folder / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(rows[0])
    assert (result.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    report = (result.folder / "report.md").read_text()
    assert "Finished after 3 of 3 epochs" in report and "two words" in report
    assert said == ["15 examples to train on, 3 to validate with, 3 classes"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    shutil.rmtree(module)
    again = keras.saving.load_model(result.folder / "model.keras")
    x = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
    np.testing.assert_array_equal(again.predict(x, verbose=0), result.model.predict(x, verbose=0))
    assert again.output_shape == (None, 3)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_table_of_numbers(suffix: str, tmp_path: Path) -> None:
    x = np.arange(40, dtype="float32") - 20
    data = table(tmp_path / f"data{suffix}", {"x": x, "side": np.where(x > 0, "right", "left")})
    options = replace(OPTIONS, label="side", epochs=2)
    result = run(data, tmp_path / "out", options, HALF_PLUS_ONE)
    assert result.finished and result.classes == ("left", "right")
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_table_of_texts(tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv", {"text": ["a b", "b", "c d", "d c"] * 5, "label": ["x", "x", "y", "y"] * 5})
    result = run(data, tmp_path / "out", replace(OPTIONS, epochs=1), WORDS)
    assert result.finished and len(result.history) == 1
    keras.saving.load_model(result.folder / "model.keras")


def moved(result: Result) -> set[str]:
    """The module's variables that are not what the publisher stored."""
    module = next(x for x in result.model.layers if isinstance(x, thaw.KerasLayer))
    before = thaw.KerasLayer(DIGITS).source_variables
    return {
        name
        for name, variable in module.source_variables.items()
        if not np.array_equal(keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(before[name]))
    }


def test_without_unfreeze_only_the_head_trains(images: Path, tmp_path: Path) -> None:
    assert moved(run(images, tmp_path / "out", replace(OPTIONS, unfreeze=(), epochs=1))) == set()


def test_unfreeze_by_pattern(images: Path, tmp_path: Path) -> None:
    assert moved(run(images, tmp_path / "out", replace(OPTIONS, unfreeze=("features",), epochs=1))) == {
        "features/kernel",
        "features/bias",
    }


def test_probe_epochs_train_the_head_alone(images: Path, tmp_path: Path) -> None:
    assert moved(run(images, tmp_path / "a", replace(OPTIONS, probe_epochs=2, epochs=2))) == set()
    assert moved(run(images, tmp_path / "b", replace(OPTIONS, probe_epochs=1, epochs=2)))


def test_validation_set_and_split(images: Path, tmp_path: Path) -> None:
    held = image_folder(tmp_path / "held", {"b": 1, "c": 1, "two words": 2})
    said: list[str] = []
    run(images, tmp_path / "a", replace(OPTIONS, validation=str(held), epochs=1), say=said.append)
    run(images, tmp_path / "b", replace(OPTIONS, split=0.5, epochs=1), say=said.append)
    assert said == [
        "18 examples to train on, 4 to validate with, 3 classes",
        "9 examples to train on, 9 to validate with, 3 classes",
    ]


def test_same_seed_same_weights(images: Path, tmp_path: Path) -> None:
    first, second, other = (run(images, tmp_path / str(n), replace(OPTIONS, seed=seed)) for n, seed in enumerate((5, 5, 6)))
    assert_same(first.model, second.model)
    a, b = weights(first.model), weights(other.model)
    assert any(not np.array_equal(a[k], b[k]) for k in a)


class Killed(BaseException):
    """Ends the process's work, as SIGKILL would, as far as files are concerned."""


def at(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int, action: Callable[[], None]) -> None:
    """Does `action` when that batch of that epoch begins."""

    def begins(self: Any, index: int, logs: Any = None) -> None:
        if self.train.epoch == epoch and index == batch:
            action()

    monkeypatch.setattr(job._Keeper, "on_train_batch_begin", begins)


def stop(error: type[BaseException]) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The job of `OPTIONS` in one go."""
    return run(images, tmp_path_factory.mktemp("whole") / "out")


@pytest.mark.parametrize("probe_epochs", [pytest.param(0, id="everything"), pytest.param(2, id="probe-then-part")])
def test_T10_killed_and_resumed_as_if_never_killed(
    probe_epochs: int, whole: Result, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OPTIONS
    if probe_epochs:
        options = replace(OPTIONS, unfreeze=("features",), probe_epochs=probe_epochs)
        whole = run(images, tmp_path / "whole", options)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at(patch, 2, 1, stop(Killed))
        run(images, tmp_path / "killed", options)
    assert not (tmp_path / "killed" / "model.keras").exists()
    resumed = run(images, tmp_path / "killed", options, resume=True)
    assert resumed.finished and not (tmp_path / "killed" / "checkpoint").exists()
    assert_same(whole.model, resumed.model)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours == pytest.approx(theirs | {"seconds": ours["seconds"]}, rel=1e-5)
    assert resumed.drift is not None and whole.drift is not None
    assert resumed.drift.layers == pytest.approx(whole.drift.layers, rel=1e-4)  # from where the killed job started
    assert resumed.drift.features == pytest.approx(whole.drift.features, rel=1e-4)


@pytest.mark.parametrize("epoch", [0, 1])
def test_T10_ctrl_c_saves_what_there_is_and_can_be_resumed(
    epoch: int, whole: Result, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at(patch, epoch, 2, stop(KeyboardInterrupt))
        said: list[str] = []
        result = run(images, tmp_path / "out", say=said.append)
    assert not result.finished and len(result.history) == epoch
    assert said[-1] == f"interrupted in epoch {epoch + 1}; saving what there is"
    assert f"Interrupted after {epoch} of 3 epochs" in (tmp_path / "out" / "report.md").read_text()
    keras.saving.load_model(tmp_path / "out" / "model.keras")
    resumed = run(images, tmp_path / "out", resume=True)
    assert resumed.finished and len(resumed.history) == 3
    assert_same(resumed.model, whole.model)


def test_T10_killed_while_a_checkpoint_was_put_in_place(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at(patch, 2, 0, stop(Killed))
        run(images, tmp_path / "out")
    (tmp_path / "out" / "checkpoint").rename(tmp_path / "out" / "checkpoint.old")
    resumed = run(images, tmp_path / "out", resume=True)
    assert resumed.finished and len(resumed.history) == 3
    assert not [p.name for p in resumed.folder.iterdir() if p.name.startswith("checkpoint")]


def test_resuming_says_which_options_it_ignores(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at(patch, 1, 0, stop(Killed))
        run(images, tmp_path / "out")
    said: list[str] = []
    result = run(images, tmp_path / "out", replace(OPTIONS, epochs=7, seed=3), resume=True, say=said.append)
    assert said[0] == "going on with the job as it was started; ignored: epochs, seed"
    assert len(result.history) == 3


def test_resuming_on_data_with_other_classes(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shutil.copytree(images, tmp_path / "data")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at(patch, 1, 0, stop(Killed))
        run(data, tmp_path / "out")
    shutil.rmtree(data / "c")
    with pytest.raises(DataMismatchError, match="other classes than when this job was started"):
        run(data, tmp_path / "out", resume=True)


def test_resuming_what_is_finished_or_was_never_begun(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "out", replace(OPTIONS, epochs=1))
    with pytest.raises(OutputFolderError, match="holds a finished job"):
        run(images, tmp_path / "out", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(OutputFolderError, match="holds no checkpoint"):
        run(images, tmp_path / "other", resume=True)


def damaged(images: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(images, tmp_path / "damaged")
    (folder / "b" / "x.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize(
    ("make", "change", "error"),
    [
        pytest.param(lambda i, p: p / "none", {}, DataError, id="no-data"),
        pytest.param(lambda i, p: i / "b", {}, DataError, id="no-classes"),
        pytest.param(lambda i, p: image_folder(p / "one", {"a": 3}), {}, DataError, id="one-class"),
        pytest.param(damaged, {}, DataError, id="unreadable-image"),
        pytest.param(lambda i, p: table(p / "a.csv", {"x": [1, 2], "label": list("ab")}), {}, DataMismatchError, id="numbers"),
        pytest.param(lambda i, p: i, {"unfreeze": ("no_such_layer",)}, ThawError, id="unknown-pattern"),
        pytest.param(lambda i, p: i, {"image_size": 9}, DataMismatchError, id="image-size"),
        pytest.param(lambda i, p: i, {"features": "nowhere"}, UnknownTensorError, id="unknown-tensor"),
        pytest.param(lambda i, p: i, {"batch_norm": "perhaps"}, HubArgumentError, id="batch-norm"),
        pytest.param(lambda i, p: i, {"signature": "nothing"}, ThawError, id="unknown-signature"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    make: Callable[[Path, Path], Path], change: dict[str, Any], error: type[ThawError], images: Path, tmp_path: Path
) -> None:
    data = make(images, tmp_path)
    with pytest.raises(error):
        run(data, tmp_path / "out", replace(OPTIONS, **change))
    assert not (tmp_path / "out").exists()


def test_a_failure_in_the_first_epoch_leaves_nothing_behind(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 0, 1, stop(RuntimeError))
    with pytest.raises(RuntimeError):
        run(images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["file", "full", "unfinished"])
def test_output_folder_in_use_stays_as_it_is(kind: str, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        inside = out / ("notes.txt" if kind == "full" else "checkpoint/progress.json")
        inside.parent.mkdir(parents=True)
        inside.write_text("mine")
    words = {"file": "is a file", "full": "is not empty", "unfinished": "holds an unfinished job"}[kind]
    with pytest.raises(OutputFolderError, match=words):
        run(images, out)
    assert (out if kind == "file" else inside).read_text() == "mine"
