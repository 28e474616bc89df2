"""One output of several (`output_key=`): what only the others need does not run, and the weights stay as they were listed."""

from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from frozen_graphs import FrozenGraph
from thaw.errors import UnsupportedOpsError

KERNEL = np.arange(6, dtype="float32").reshape(3, 2)
GIVEN = np.array([[1, 2, 3], [4, 5, 7]], "float32")


@pytest.fixture
def graph(tmp_path: Path) -> FrozenGraph:
    """x @ kernel, doubled by another weight, and as words."""
    g = FrozenGraph()
    g.placeholder("x", (-1, 3))
    g.op("a/kernel", "Const", dtype="float32", value=np.full((2, 2), 2, "float32"))
    g.op("b/kernel", "Const", dtype="float32", value=KERNEL)
    g.op("product", "MatMul", "x", "b/kernel", T="float32")
    g.op("scores", "Identity", "product", T="float32")
    g.op("other", "MatMul", "product", "a/kernel", T="float32")
    g.op("words", "AsString", "product", T="float32")
    return g


def layer_of(graph: FrozenGraph, file: Path, **kwargs: object) -> thaw.KerasLayer:
    return thaw.KerasLayer(graph.write(file), lift_constants=True, trainable=True, signature="frozen", **kwargs)


def test_a_model_with_words_beside_its_scores_trains_in_a_compiled_step(graph: FrozenGraph, tmp_path: Path) -> None:
    layer = layer_of(graph, tmp_path / "graph.pb", output_key="scores")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(GIVEN, GIVEN[:, :2], verbose=0).history["loss"]).all()
    assert not np.array_equal(keras.ops.convert_to_numpy(layer.source_variables["b/kernel"]), KERNEL)


def test_an_op_that_only_another_output_needs_is_not_missed(graph: FrozenGraph, tmp_path: Path) -> None:
    graph.op("strange", "NobodyKnowsIt", "product", T="float32")
    layer = layer_of(graph, tmp_path / "graph.pb", output_key="scores")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(GIVEN)), GIVEN @ KERNEL)
    with pytest.raises(UnsupportedOpsError, match="NobodyKnowsIt"):
        layer_of(graph, tmp_path / "graph.pb", signature_outputs_as_dict=True)


def test_weights_are_listed_as_without_a_choice(graph: FrozenGraph, tmp_path: Path) -> None:
    whole = layer_of(graph, tmp_path / "graph.pb", signature_outputs_as_dict=True)
    for key in ("scores", "other"):
        assert list(layer_of(graph, tmp_path / "graph.pb", output_key=key).source_variables) == list(whole.source_variables)
    assert list(layer_of(graph, tmp_path / "graph.pb", outputs="scores").source_variables) == ["b/kernel"]


def test_layers_of_other_outputs_can_still_be_tapped(graph: FrozenGraph, tmp_path: Path) -> None:
    layer = layer_of(graph, tmp_path / "graph.pb", output_key="scores")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.tap("other")(GIVEN)), GIVEN @ KERNEL @ np.full((2, 2), 2))
