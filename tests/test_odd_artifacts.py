"""Small artifacts with what is odd in those that others published: each line here was once a model that did not open."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from frozen_graphs import FrozenGraph


def test_unsigned_64_bits_go_in_and_come_out_on_every_backend(tmp_path: Path) -> None:
    g = FrozenGraph()
    g.placeholder("x", (-1,), "uint64")
    g.op("narrow", "Cast", "x", SrcT="uint64", DstT="float32")
    g.op("wide", "Cast", g.op("doubled", "AddV2", "narrow", "narrow", T="float32"), SrcT="float32", DstT="uint64")
    g.op("known", "Identity", g.op("seven", "Const", dtype="uint64", value=np.array(7, "uint64")), T="uint64")
    layer = thaw.KerasLayer(g.write(tmp_path / "graph.pb"), signature="frozen", signature_outputs_as_dict=True)
    found = layer(np.array([1, 5], "uint64"))
    assert np.array_equal(keras.ops.convert_to_numpy(found["wide"]), [2, 10])
    assert keras.ops.convert_to_numpy(found["known"]) == 7


def test_a_variable_of_strings_is_read_gathered_and_saved(tmp_path: Path) -> None:
    folder = Path(__file__).parent / "models" / "tf2" / "retrieval"
    answer = json.loads((folder / "expected.json").read_text())[0]
    query = np.array(answer["args"][0], "float32")
    layer = thaw.KerasLayer(folder)
    assert list(layer.source_variables) == ["candidates"]
    layer(query)
    layer.save(tmp_path / "model.keras")
    for model in (layer, keras.saving.load_model(tmp_path / "model.keras")):
        found = model(query)
        assert [word.decode() for word in np.asarray(found["names"]).ravel()] == answer["outputs"]["names"]
        assert [word.decode() for word in np.asarray(found["all"]).ravel()] == answer["outputs"]["all"]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found["scores"]), answer["outputs"]["scores"])


@pytest.mark.parametrize("chosen", [False, True])
def test_R4_a_frozen_graph_that_ends_in_a_condition_says_which_branch_ran(tmp_path: Path, chosen: bool) -> None:
    graph = FrozenGraph()
    x, p = graph.placeholder("x", (-1, 2)), graph.placeholder("p", (), "bool")
    graph.op("switch", "Switch", x, p, T="float32")
    graph.op("else", "Neg", "switch", T="float32")
    graph.op("then", "MatMul", "switch:1", graph.constant("kernel", np.eye(2) * 3), T="float32")
    graph.op("cond/Merge", "Merge", "else", "then", T="float32", N=2)
    layer = thaw.KerasLayer(graph.write(tmp_path / "graph.pb"), signature_outputs_as_dict=True, lift_constants=True)
    given = np.array([[1.0, 2.0]], "float32")
    found = layer({"x": given, "p": np.array(chosen)})
    assert sorted(found) == ["cond/Merge", "cond/Merge:1"]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found["cond/Merge"]), given * (3 if chosen else -1))
    assert int(keras.ops.convert_to_numpy(found["cond/Merge:1"])) == int(chosen)
