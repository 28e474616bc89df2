"""`thaw finetune` as a command: options, exit codes, messages without tracebacks, a real Ctrl-C and a real kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from cli.command import ROOT, command, environment, thaw
from finetune.making import image_folder, table

DIGITS = ROOT / "samples" / "digits"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("images"), {"a": 6, "b": 6})


def test_options_reach_the_job(images: Path, tmp_path: Path) -> None:
    held = image_folder(tmp_path / "held", {"a": 1, "b": 2})
    done = thaw(
        "finetune", DIGITS, images, "-o", tmp_path / "out", "--epochs", 2, "--batch-size", 4, "--learning-rate", "0.01",
        "--unfreeze", "features", "--probe-epochs", 1, "--validation", held, "--seed", 4,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().splitlines()[-1].startswith("done: 2 epochs, validation accuracy")
    report = (tmp_path / "out" / "report.md").read_text()
    assert "head, features:" in report and "| 4, 0.01, 4 |" in report and "12 to train on, 3 to validate with" in report
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["a", "b"]


def test_no_progress_bar_where_output_is_no_terminal(images: Path, tmp_path: Path) -> None:
    done = thaw("finetune", DIGITS, images, "-o", tmp_path / "out", "--epochs", 1)
    assert "\r" not in done.output and "\x08" not in done.output and "\x1b[" not in done.output
    assert "val_accuracy: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["nowhere", "DATA"], "No model found for the handle 'nowhere'", id="unknown-handle"),
        pytest.param([DIGITS, "nothing"], "'nothing' does not exist", id="no-data"),
        pytest.param([DIGITS, "DATA/a"], "holds no subfolder with images", id="no-classes"),
        pytest.param([DIGITS, "DATA", "--unfreeze", "featurs"], "'featurs' matches no layer", id="unknown-pattern"),
        pytest.param([DIGITS, "TABLE"], "has no column 'label'", id="no-label-column"),
        pytest.param([DIGITS, "TABLE", "--label", "y"], "The data are numbers, which do not fit", id="wrong-kind"),
        pytest.param([DIGITS, "TABLE", "--label", "y", "--text", "words"], "has no column 'words'", id="no-text-column"),
        pytest.param([DIGITS, "DATA", "--resume", "--out", "FULL"], "holds no checkpoint to resume from", id="resume"),
        pytest.param([DIGITS, "DATA", "--out", "FULL"], "is not empty", id="folder-in-use"),
    ],
)
def test_bad_input_ends_with_exit_code_2_and_a_message(arguments: list[object], words: str, images: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    places = {
        "DATA": images,
        "DATA/a": images / "a",
        "FULL": full,
        "TABLE": table(tmp_path / "t.csv", {"x": [1, 2], "y": ["a", "b"]}),
    }
    given = [places.get(str(a), a) for a in arguments]
    done = thaw("finetune", "-o", tmp_path / "out", *given)
    assert done.exit_code == 2
    last = done.stderr.partition("thaw: ")[2]  # after what was said of the data
    assert words in last and "Traceback" not in done.output
    assert not (tmp_path / "out").exists()
    assert [p.name for p in full.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "arguments",
    [["--epochs", "0"], ["--split", "2"], ["--seed", "-1"], ["--value-range", "0;1"], ["--no-such-option"], ["--epochs", "x"]],
    ids=lambda arguments: arguments[0],
)
def test_options_that_make_no_sense_end_with_exit_code_2(arguments: list[str], images: Path, tmp_path: Path) -> None:
    done = thaw("finetune", DIGITS, images, "-o", tmp_path / "out", *arguments)
    assert done.exit_code == 2 and "Traceback" not in done.output and not (tmp_path / "out").exists()


def started(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """The command, interruptible also where the suite itself runs in the background, whose children ignore SIGINT."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    while not file.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_T10_ctrl_c_and_kill_and_resume_for_real(images: Path, tmp_path: Path) -> None:
    """One job interrupted by SIGINT, taken up, killed by SIGKILL, taken up again: the same weights as in one go."""
    job = ["finetune", DIGITS, images, "-o", tmp_path / "out", "--epochs", 25, "--batch-size", 1, "--unfreeze", "*"]
    first = started(*job, cwd=tmp_path)
    wait_for(tmp_path / "out" / "history.csv", first)
    first.send_signal(signal.SIGINT)
    _, stderr = first.communicate()
    assert first.returncode == 130, stderr
    assert "interrupted in epoch" in stderr and "Traceback" not in stderr
    assert "Interrupted after" in (tmp_path / "out" / "report.md").read_text()
    keras.saving.load_model(tmp_path / "out" / "model.keras")

    before = (tmp_path / "out" / "checkpoint" / "progress.json").stat().st_mtime_ns
    second = started(*job, "--resume", cwd=tmp_path)
    while (tmp_path / "out" / "checkpoint" / "progress.json").stat().st_mtime_ns == before:
        assert second.poll() is None, second.communicate()
        time.sleep(0.02)
    second.kill()
    second.communicate()

    assert thaw(*job, "--resume").exit_code == 0
    whole = [str(a) if a != tmp_path / "out" else str(tmp_path / "whole") for a in job]
    assert thaw(*whole).exit_code == 0
    ours, theirs = (keras.saving.load_model(tmp_path / name / "model.keras") for name in ("out", "whole"))
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), rtol=1e-5, atol=1e-6)


def test_the_command_itself_ends_with_2_and_prints_to_stderr(tmp_path: Path) -> None:
    """The whole way, from the entry point on, in a process of its own."""
    done = subprocess.run(
        command("inspect", "nowhere"), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    # TensorFlow may have logged a banner of its own before.
    assert "thaw: No model found for the handle 'nowhere'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("given", [["--backend", "theano"], ["--backend=theano"]], ids=["apart", "joined"])
def test_unknown_backend_ends_with_2_before_anything_is_imported(given: list[str], tmp_path: Path) -> None:
    script = ROOT / "src" / "thaw_command.py"
    done = subprocess.run(
        [sys.executable, "-S", str(script), "inspect", "x", *given],
        cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("thaw: there is no backend 'theano'. Expected one of jax, torch")
