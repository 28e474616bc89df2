"""The account of `thaw.explain`: first lines, folding, and its forms; the command prints the same."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import thaw
from thaw.cli import app
from thaw.cli import explain as command

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"


def tower(layers: int) -> keras.Model:
    x = keras.Input((4,))
    inner = x
    for number in range(layers):
        inner = keras.layers.Dense(4, name=f"d{number}")(inner)
    base = keras.Model(x, inner, name="base")
    return keras.Sequential([keras.Input((4,)), base, keras.layers.Dense(2, name="head")], name="whole")


def test_everything_trains_is_a_short_answer() -> None:
    report = thaw.explain(tower(3))
    assert str(report) == "Everything trains: 8 of 8 weights (70 of 70 parameters)."
    assert report.markdown() == f"**{report.first_line}**\n"


def test_a_frozen_tower_is_one_row_that_folds_out() -> None:
    model = tower(40)
    model.get_layer("base").trainable = False
    report = thaw.explain(model)
    assert [(row.path, row.weights, row.code) for row in report.folded] == [("base", 80, "E1"), ("head", 2, "")]
    assert len(report.rows) == 82 and report["base/d7/kernel"].code == "E1"
    assert "2 of 82 weights" in report.first_line and "Mend: thaw.unfreeze(model, 'base')" in report.first_line


def test_what_is_meant_to_train_and_does_not_comes_first() -> None:
    model = tower(2)
    model.get_layer("base").trainable = False
    model.compile(keras.optimizers.SGD(0.0), "mse")
    line = thaw.explain(model).first_line
    assert line.startswith("2 weights set to train will not move: 'head': the optimizer's learning rate is 0")


def test_nothing_trains() -> None:
    model = tower(2)
    model.trainable = False
    line = thaw.explain(model).first_line
    assert line.startswith("Nothing trains (6 weights, 50 parameters)") and "'whole'" in line


def test_forms() -> None:
    model = tower(2)
    model.get_layer("base").trainable = False
    report = thaw.explain(model)
    read = json.loads(report.to_json())
    assert read["totals"] == {"weights": 6, "trainable_weights": 2, "parameters": 50, "trainable_parameters": 10}
    assert read["first_line"] == report.first_line and [row["code"] for row in read["rows"]] == ["E1"] * 4 + [""] * 2
    assert "| base (4 weights) | 40 | no | E1: frozen by the layer 'base' (trainable=False) |" in report.markdown()
    assert "<table>" in report._repr_html_() and "thaw.unfreeze(model, &#x27;base&#x27;)" in report._repr_html_()
    assert "base (4 weights)" in str(report) and repr(report) == str(report)
    with pytest.raises(KeyError):
        report["nothing"]


def test_the_command_prints_the_same(tmp_path: Path) -> None:
    if not any(entry.name == "explain" for entry in app.registered_commands):
        command.add_to(app)
        app.command(name="other")(lambda: None)  # typer makes a command of its own of an app with a single one
    model = tower(2)
    model.get_layer("base").trainable = False
    model.save(tmp_path / "model.keras")
    read = json.loads(CliRunner().invoke(app, ["explain", str(tmp_path / "model.keras"), "--json"]).output)
    assert read["first_line"] == thaw.explain(model).first_line
    told = CliRunner().invoke(app, ["explain", str(DIGITS), "--markdown"]).output
    assert told.startswith("**Everything trains: 8 of 12 weights")
    assert "tensorflow" not in sys.modules or keras.config.backend() == "tensorflow"


def test_a_half_thawed_tower_is_told_in_runs() -> None:
    model = tower(30)
    model.get_layer("base").trainable = False
    for layer in model.get_layer("base").layers[-5:]:
        layer.trainable = True
    rows = thaw.explain(model).folded
    assert [(row.path, row.weights, row.trains) for row in rows] == [("base", 50, False), ("base", 10, True), ("head", 2, True)]
    assert rows[0].label == "base: d0 ... d24" and rows[0].mend == "thaw.unfreeze(model, 'base')"


def test_what_is_not_built_says_so() -> None:
    report = thaw.explain(keras.Sequential([keras.layers.Dense(3)], name="later"))
    assert report.first_line.startswith("'later' has no weights: 2 layers are not built yet")


def test_a_probe_without_targets_weighs_the_outputs() -> None:
    model = tower(2)
    model.get_layer("head").set_weights([np.zeros((4, 2)), np.zeros(2)])
    report = thaw.explain(model, inputs=np.ones((3, 4), "float32"))
    assert report["base/d0/kernel"].code == "E10" and report["head/kernel"].trains


def test_a_late_thaw_that_would_burst_is_told_T13() -> None:
    x = np.ones((4, 3), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="body"), keras.layers.Dense(1, name="head")])
    model.layers[0].trainable = False
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    assert not [note for note in thaw.explain(model).notes if "under way" in note]
    model.fit(x, np.ones((4, 1), "float32"), batch_size=1, epochs=6, verbose=0)
    (note,) = [note for note in thaw.explain(model).notes if "under way" in note]
    assert "thaw.watch(model)" in note
    thaw.watch(model)
    assert not [note for note in thaw.explain(model).notes if "under way" in note]
    thaw.watch(model, fresh_slots="keras")
    assert [note for note in thaw.explain(model).notes if "under way" in note]
