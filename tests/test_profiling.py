"""`thaw.profile`: every layer that has ops is there, shares sum to the whole, and the op that dominates is one of them."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

import thaw
from cli.command import thaw as command
from thaw.report.profile import render

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "samples" / "digits"
WORDS = ROOT / "tests" / "models" / "behaviour" / "words"


def check(found):
    assert found.rows
    assert sum(row.share for row in found.rows) == pytest.approx(100)
    assert found.forward > 0
    for row in found.rows:
        assert row.dominating in row.ops
        assert set(row.by_op) == set(row.ops)
        assert sum(row.by_op.values()) == pytest.approx(row.total)
        assert row.forward >= 0 and row.backward >= 0


def test_profile_lists_every_inner_layer_P7():
    layer = thaw.KerasLayer(DIGITS, trainable=True)
    found = thaw.profile(layer, batch=2, repeats=1)
    check(found)
    assert found.batch == 2 and found.inputs == ((2, 8, 8, 1),)
    rows = {row.path: row for row in found.rows}
    assert [p for p in rows if not p.startswith("(")] == [inner.source_path for inner in layer.layers]
    normalization = "thaw.batch_norm" if keras.backend.backend() == "torch" else "FusedBatchNormV3"  # with its activation
    assert "Conv2D" in rows["block_0_conv"].ops and normalization in rows["block_0_bn"].ops
    assert found.backward > 0 and rows["block_1_conv"].backward > 0


def test_profile_of_a_frozen_layer_has_no_way_back():
    layer = thaw.KerasLayer(DIGITS)
    before = [keras.ops.convert_to_numpy(v) for v in layer.variables]
    found = thaw.profile(layer, np.zeros((3, 8, 8, 1), "float32"), repeats=1)
    check(found)
    assert found.backward == 0 and found.batch == 3
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


def test_profiling_a_layer_that_trains_changes_nothing():
    layer = thaw.KerasLayer(DIGITS, trainable=True)
    before = [keras.ops.convert_to_numpy(v) for v in layer.variables]
    thaw.profile(layer, batch=2, repeats=1)
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


def test_profile_of_a_model_with_its_other_layers_P7():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(2.0, name="scale")(inputs)
    features = thaw.KerasLayer(DIGITS, trainable=True, name="module")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(features))
    found = thaw.profile(model, batch=2, repeats=1)
    check(found)
    paths = [row.path for row in found.rows]
    assert paths[0] == "scale" and paths[-1] == "head" and "block_0_conv" in paths
    assert found.rows[-1].dominating == "Dense" and found.rows[-1].backward > 0


def test_profile_of_a_text_module():
    found = thaw.profile(thaw.KerasLayer(WORDS, trainable=True), batch=2, repeats=1)
    check(found)
    assert "(text, on the host)" in [row.path for row in found.rows]


@pytest.mark.parametrize("name", ["tf1/batch_norm", "behaviour/transformer", "behaviour/silent_lstm", "frozen/frozen.pb"])
def test_profile_of_every_kind_of_artifact_P7(name):
    check(thaw.profile(ROOT / "tests" / "models" / name, batch=2, size=8, repeats=1))


def test_profile_of_a_model_that_does_not_say_what_it_takes():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(thaw.errors.HubArgumentError, match=r"Functional or Sequential"):
        thaw.profile(Own())
    with pytest.raises(thaw.errors.HubArgumentError, match=r"batch=0"):
        thaw.profile(DIGITS, batch=0)


def test_the_table_has_each_layer_or_the_top_of_them():
    found = thaw.profile(DIGITS, batch=2, repeats=1)
    console = Console(width=120, record=True, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        console.print(render(found))
        console.print(render(found, top=2))
    text = captured.get()
    every, _, cut = text.partition("measured:")
    assert all(row.path in every for row in found.rows)
    assert f"{len(found.rows) - 2} more layers" in cut
    assert "100.0 %" in every and found.by_op and "best of 1" in text


def test_the_command_profile_P7(tmp_path):
    done = command("profile", DIGITS, "--batch", 2, "--top", 3)
    assert done.exit_code == 0, done.output
    assert " more" in done.stdout and "by op: " in done.stdout and "sum" in done.stdout
    file = tmp_path / "model.keras"
    keras.Sequential([keras.Input((8, 8, 1)), thaw.KerasLayer(DIGITS, trainable=True), keras.layers.Dense(2, name="head")]).save(
        file
    )
    done = command("profile", file, "--batch", 2, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["layers"][-1]["path"] == "head" and sum(row["share"] for row in told["layers"]) == pytest.approx(100)
    assert command("profile", tmp_path / "nothing").exit_code == 2
