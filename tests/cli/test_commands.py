"""`thaw inspect`, `thaw explain` and `thaw convert` as commands: what they print, files they write, exit codes."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from cli.command import ROOT, thaw
from thaw import load_model

MODELS = ROOT / "tests" / "models"
DIGITS = ROOT / "samples" / "digits"
KERAS2 = MODELS / "keras2"


def test_inspect_prints_signatures_layers_ops_and_the_verdict() -> None:
    done = thaw("inspect", DIGITS)
    assert done.exit_code == 0 and done.stderr == ""
    for part in ("signatures", "(None, 8, 8, 1)", "features", "Conv2D", "can it be fine-tuned? yes"):
        assert part in done.stdout


def test_inspect_as_json() -> None:
    done = thaw("inspect", DIGITS, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and found["verdict"] == "yes" and found["ops"]["Conv2D"] > 0


@pytest.mark.parametrize(
    "model",
    ["tf1/image", "tf1/tables", "tf2/structures", "behaviour/several", "frozen/frozen.pb", "tf2/keras2", "tf1/control_flow"],
)
def test_inspect_of_every_kind_of_artifact(model: str) -> None:
    assert thaw("inspect", MODELS / model).exit_code == 0
    assert json.loads(thaw("inspect", MODELS / model, "--json").stdout)


def test_explain_as_text_markdown_and_json() -> None:
    assert "8 of 12 weights" in thaw("explain", DIGITS).stdout
    assert "**Everything trains: 8 of 12 weights" in thaw("explain", DIGITS, "--markdown").stdout
    assert json.loads(thaw("explain", DIGITS, "--json").stdout)


def test_explain_a_saved_model_of_thaw_or_keras(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="top")])
    model.save(tmp_path / "plain.keras")
    assert "2 of 2 weights" in thaw("explain", tmp_path / "plain.keras").stdout
    thaw("convert", DIGITS, tmp_path / "digits.keras")
    assert "12 weights" in thaw("explain", tmp_path / "digits.keras").stdout


@pytest.mark.parametrize("source", ["convolutions.h5", "keras1_tensorflow_sequential.h5", "functional.keras"])
def test_convert_a_legacy_file(source: str, tmp_path: Path) -> None:
    """What was written has nothing of thaw's in it, though Keras 3 computes the hard sigmoid of old otherwise."""
    done = thaw("convert", KERAS2 / source, tmp_path / "new.keras")
    assert done.exit_code == 0 and "as native layers" in done.stdout and "import thaw" not in done.stdout
    with zipfile.ZipFile(tmp_path / "new.keras") as file:
        assert b"thaw" not in file.read("config.json")
    model = keras.saving.load_model(tmp_path / "new.keras")
    with np.load(KERAS2 / f"{Path(source).stem}.npz") as answers:
        inputs = [answers[f"in:{i}"] for i in range(len(model.inputs))]
        found = model.predict_on_batch(inputs if len(inputs) > 1 else inputs[0])
        for i, value in enumerate(keras.tree.flatten(found)):
            np.testing.assert_allclose(value, answers[f"out:{i}"], rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["new.keras"]


def test_converting_again_what_thaw_saved_says_that_it_needs_thaw(tmp_path: Path) -> None:
    load_model(KERAS2 / "sequential.h5").save(tmp_path / "ours.keras")
    assert "import thaw" in thaw("convert", tmp_path / "ours.keras", tmp_path / "new.keras").stdout


def test_convert_by_the_graph(tmp_path: Path) -> None:
    done = thaw("convert", DIGITS, tmp_path / "new.keras")
    assert done.exit_code == 0 and "by its graph" in done.stdout
    for load in (keras.saving.load_model, load_model):
        assert load(tmp_path / "new.keras")(np.zeros((1, 8, 8, 1), "float32")).shape[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["inspect", "nowhere"], id="inspect-nothing"),
        pytest.param(["inspect", "GARBAGE.pb"], id="inspect-garbage"),
        pytest.param(["inspect", "EMPTY"], id="inspect-empty-folder"),
        pytest.param(["inspect", DIGITS, "--signature", "none"], id="inspect-unknown-signature"),
        pytest.param(["inspect", DIGITS, "--tags", "train"], id="inspect-unknown-tags"),
        pytest.param(["explain", "nowhere"], id="explain-nothing"),
        pytest.param(["explain", "GARBAGE.keras"], id="explain-garbage"),
        pytest.param(["explain", "nowhere.keras"], id="explain-no-file"),
        pytest.param(["convert", "nowhere", "OUT"], id="convert-nothing"),
        pytest.param(["convert", "GARBAGE.h5", "OUT"], id="convert-garbage"),
        pytest.param(["convert", KERAS2 / "custom.h5", "OUT"], id="convert-unknown-class"),
        pytest.param(["convert", KERAS2 / "sequential.h5", "new.h5"], id="convert-to-h5"),
        pytest.param(["convert", KERAS2 / "sequential.h5", "ABSENT/new.keras"], id="convert-into-no-folder"),
        pytest.param(["convert"], id="convert-what"),
        pytest.param(["melt"], id="unknown-command"),
    ],
)
def test_bad_input_ends_with_exit_code_2(arguments: list[object], tmp_path: Path) -> None:
    for name in ("GARBAGE.pb", "GARBAGE.keras", "GARBAGE.h5"):
        (tmp_path / name).write_bytes(b"garbage" * 20)
    (tmp_path / "EMPTY").mkdir()
    before = sorted(tmp_path.rglob("*"))
    places = {"OUT": tmp_path / "new.keras", "ABSENT/new.keras": tmp_path / "absent" / "new.keras", "EMPTY": tmp_path / "EMPTY"}
    given = [tmp_path / a if str(a).startswith("GARBAGE") else places.get(str(a), a) for a in arguments]
    done = thaw(*given)
    assert done.exit_code == 2, done.output
    assert done.stderr and done.stdout == "" and "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
