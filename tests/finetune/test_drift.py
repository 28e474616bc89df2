"""Forgetting: a job measures how far the module moved, in its weights and in what it answers with, and options hold it near."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from finetune.making import image_folder
from thaw.errors import OutputFolderError
from thaw.finetune import drift as drift_module
from thaw.finetune import job
from thaw.finetune.drift import Drift, Start
from thaw.finetune.job import Options, Result, finetune

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "samples" / "digits"
OPTIONS = Options(epochs=3, batch_size=4, unfreeze=("*",), learning_rate=0.01)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("images"), {"a": 6, "b": 6, "c": 6})


def run(data: Path, out: Path, options: Options = OPTIONS, **more: object) -> Result:
    return finetune(DIGITS, data, out, options, verbose=0, **more)


def drift_of(result: Result) -> Drift:
    assert result.drift is not None
    return result.drift


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(images, tmp_path_factory.mktemp("whole") / "out")


def test_S7_the_report_says_how_far_weights_and_features_moved(whole: Result) -> None:
    drift = drift_of(whole)
    assert drift.examples == 3 and drift.features > 0 and drift.cosine[1] <= drift.cosine[0] < 1
    assert drift.layers and all(move > 0 for move in drift.layers.values())
    report = (whole.folder / "report.md").read_text()
    assert "How far the module moved" in report and f"changed by {drift.features:.1%}" in report
    for name, move in drift.layers.items():
        assert f"| {name} | {move:.2%} |" in report
    assert not (whole.folder / job.START).exists()


def test_S7_the_figures_are_those_of_the_saved_model(whole: Result, images: Path, tmp_path: Path) -> None:
    """Measured again, from the files alone and in another way."""
    import thaw

    begun, trained = thaw.KerasLayer(DIGITS), whole.model.get_layer("module")
    name, move = next(iter(drift_of(whole).layers.items()))
    pairs = [
        (keras.ops.convert_to_numpy(begun.source_variables[key]), keras.ops.convert_to_numpy(variable))
        for key, variable in trained.source_variables.items()
        if key.startswith(name + "/")
    ]
    moved = sum(((after - before) ** 2).sum() for before, after in pairs)
    assert move == pytest.approx(float(np.sqrt(moved / sum((before**2).sum() for before, _ in pairs))), rel=1e-4)


def test_S7_a_part_that_stays_frozen_does_not_count_as_moved(images: Path, tmp_path: Path) -> None:
    drift = drift_of(run(images, tmp_path / "out", replace(OPTIONS, unfreeze=("features",), epochs=1)))
    assert set(drift.layers) == {"features"} and drift.still > 0


def test_S7_nothing_is_measured_where_only_the_head_trains(images: Path, tmp_path: Path) -> None:
    result = run(images, tmp_path / "out", replace(OPTIONS, unfreeze=(), epochs=1))
    assert result.drift is None and "moved" not in (result.folder / "report.md").read_text()


@pytest.mark.parametrize(
    "change", [pytest.param({"keep": 30.0}, id="keep"), pytest.param({"layer_decay": 0.1}, id="layer-decay")]
)
def test_S7_options_that_mitigate_forgetting_lower_what_is_measured(
    change: dict[str, float], whole: Result, images: Path, tmp_path: Path
) -> None:
    held, free = drift_of(run(images, tmp_path / "out", replace(OPTIONS, **change))), drift_of(whole)
    assert held.features < 0.9 * free.features
    assert held.cosine[0] > free.cosine[0]
    assert sum(held.layers.values()) < 0.8 * sum(free.layers.values())


class Killed(BaseException):
    """Ends the process's work, as SIGKILL would, as far as files are concerned."""


def kill_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    def begins(self: job._Keeper, index: int, logs: object = None) -> None:
        if self.train.epoch == epoch:
            raise Killed

    monkeypatch.setattr(job._Keeper, "on_train_batch_begin", begins)


def test_S7_a_resumed_job_is_held_to_the_start_of_the_first_run(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, keep=1.0)
    straight = drift_of(run(images, tmp_path / "straight", options))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_epoch(patch, 2)
        run(images, tmp_path / "killed", options)
    resumed = drift_of(run(images, tmp_path / "killed", options, resume=True))
    assert resumed.layers == pytest.approx(straight.layers, rel=1e-3)
    assert resumed.features == pytest.approx(straight.features, rel=1e-3)


def test_S7_a_resumed_job_whose_start_is_gone(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for keep in (0.0, 1.0):
        out = tmp_path / str(keep)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in_epoch(patch, 1)
            run(images, out, replace(OPTIONS, keep=keep, epochs=2))
        (out / job.START).write_bytes(b"no archive")
        said: list[str] = []
        if keep:
            with pytest.raises(OutputFolderError, match=r"lacks start\.npz"):
                run(images, out, resume=True)
        else:
            assert run(images, out, resume=True, say=said.append).drift is None
            assert said[-1] == "start.npz is gone: how far the module moves cannot be told"


def test_a_start_goes_through_its_file(tmp_path: Path) -> None:
    start = Start({"a/kernel": np.ones((2, 3), "float32"), "scale": np.float32(2.0).reshape(())}, np.zeros((4, 2), "float32"))
    start.save(tmp_path / "start.npz")
    again = Start.load(tmp_path / "start.npz")
    assert again is not None and list(again.weights) == ["a/kernel", "scale"]
    np.testing.assert_array_equal(again.weights["a/kernel"], start.weights["a/kernel"])
    np.testing.assert_array_equal(again.features, start.features)
    assert Start.load(tmp_path / "nothing.npz") is None


def test_the_layers_that_moved_most_are_named_and_the_rest_counted() -> None:
    drift = Drift({f"l{i}": i / 100 for i in range(1, 31)}, 4, 0.5, (0.9, 0.8), 7)
    text = list(drift_module.lines(drift, most=3))
    assert [line for line in text if line.startswith("|")][2:] == [
        "| l30 | 30.00% |",
        "| l29 | 29.00% |",
        "| l28 | 28.00% |",
        "| 27 more | less |",
        "| 4 others | none |",
    ]
