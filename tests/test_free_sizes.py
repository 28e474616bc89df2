"""Other image sizes and batches than the publisher fixed, where the graph allows it, and what is said where it does not (S10)."""

from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from frozen_graphs import FrozenGraph
from thaw.errors import InputError, SizeNotFreeError

MODELS = Path(__file__).parent / "models"
DIGITS = Path(__file__).parents[1] / "samples" / "digits"


def array(value: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def network(file: Path, batch: int, pool: str) -> Path:
    """A convolution of stride 2 on images of 8x8 and a dense layer on its mean, or on all of it."""
    random = np.random.default_rng(0)
    graph = FrozenGraph()
    graph.placeholder("image", (batch, 8, 8, 3))
    graph.constant("kernel", random.normal(size=(3, 3, 3, 4)))
    graph.op("conv", "Conv2D", "image", "kernel", T="float32", strides=[1, 2, 2, 1], padding="SAME")
    if pool == "mean":
        graph.constant("axes", [1, 2])
        graph.op("pooled", "Mean", "conv", "axes", T="float32", Tidx="int32", keep_dims=False)
        width, target = 4, [batch, 4]
    else:
        width = 64 if pool == "flat" else 4
        target = [batch, 64] if pool == "flat" else [-1, 4]
        if pool == "pool":
            graph.op("pooled", "AvgPool", "conv", T="float32", ksize=[1, 4, 4, 1], strides=[1, 1, 1, 1], padding="VALID")
        else:
            graph.op("pooled", "Identity", "conv", T="float32")
    graph.constant("target", target if pool != "rest" else [batch, -1])
    graph.op("rows", "Reshape", "pooled", "target", T="float32", Tshape="int32")
    graph.constant("dense/kernel", random.normal(size=(width if pool != "rest" else 64, 2)))
    graph.op("dense", "MatMul", "rows", "dense/kernel", T="float32")
    return graph.write(file)


def test_the_size_is_fixed_unless_it_is_freed_S10(tmp_path: Path) -> None:
    file = network(tmp_path / "net.pb", 1, "mean")
    images = np.random.default_rng(1).random((5, 12, 10, 3), "float32")
    with pytest.raises(InputError, match=r"free_sizes=True"):
        thaw.KerasLayer(file)(images)
    layer = thaw.KerasLayer(file, free_sizes=True)
    assert layer(images).shape == (5, 2)
    first = thaw.KerasLayer(file)
    same = images[:, :8, :8]
    np.testing.assert_allclose(array(layer(same)), np.concatenate([array(first(x[None])) for x in same]), rtol=1e-5, atol=1e-6)
    assert tuple(layer(keras.Input((16, 16, 3))).shape) == (None, 2)
    assert layer.program.describe() == "(image: float32 (None, None, None, 3))"


@pytest.mark.parametrize("pool", ["flat", "pool", "rest"])
def test_an_op_that_does_not_go_along_is_named_with_the_sizes_allowed_S10(pool: str, tmp_path: Path) -> None:
    layer = thaw.KerasLayer(network(tmp_path / "net.pb", 1, pool), free_sizes=True)
    random = np.random.default_rng(1)
    assert layer(random.random((3, 8, 8, 3), "float32")).shape == (3, 2)
    assert layer(random.random((3, 7, 7, 3), "float32")).shape == (3, 2)
    node = {"rest": "dense"}.get(pool, "rows")
    with pytest.raises(SizeNotFreeError, match=rf"{node}.*images of 7 to 8 pixels a side are allowed"):
        layer(random.random((3, 16, 16, 3), "float32"))
    with pytest.raises(SizeNotFreeError, match=r"'pooled' \(AvgPool\) has nothing left|rows|dense|pooled"):
        layer(random.random((3, 4, 4, 3), "float32"))


def test_a_batch_that_the_graph_adds_up_is_refused_S10(tmp_path: Path) -> None:
    graph = FrozenGraph()
    graph.placeholder("x", (1, 4))
    graph.constant("axes", [0])
    graph.op("best", "Max", "x", "axes", T="float32", Tidx="int32", keep_dims=True)
    layer = thaw.KerasLayer(graph.write(tmp_path / "net.pb"), free_sizes=True)
    assert layer(np.ones((1, 4), "float32")).shape == (1, 4)
    with pytest.raises(SizeNotFreeError, match=r"output 'best' has the shape \[1, 4\] for 2 examples"):
        layer(np.ones((2, 4), "float32"))


def test_it_trains_at_another_size_and_is_saved_S10(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(network(tmp_path / "net.pb", 1, "mean"), trainable=True, lift_constants=True, free_sizes=True)
    model = keras.Sequential([keras.Input((12, 12, 3)), layer])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(1).random((6, 12, 12, 3), "float32")
    before = array(layer.source_variables["kernel"]).copy()
    model.fit(x, np.arange(6) % 2, batch_size=3, verbose=0)
    assert not np.array_equal(array(layer.source_variables["kernel"]), before)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(array(keras.saving.load_model(tmp_path / "model.keras")(x)), array(model(x)), rtol=1e-5)


def test_a_SavedModel_at_another_size_S10() -> None:
    layer = thaw.KerasLayer(DIGITS, free_sizes=True, outputs="*features_relu/Relu")
    assert tuple(layer(np.zeros((2, 20, 24, 1), "float32")).shape[:3]) == (2, 5, 6)
    with pytest.raises(SizeNotFreeError, match=r"would mix examples|flatten"):
        thaw.KerasLayer(DIGITS, free_sizes=True)(np.zeros((2, 20, 24, 1), "float32"))


def test_the_shape_of_a_new_input_is_traced_where_no_one_wrote_it_down_S10(tmp_path: Path) -> None:
    tail = thaw.KerasLayer(network(tmp_path / "net.pb", -1, "mean"), inputs="conv")
    assert tail.program.describe() == "(conv: float32 (None, 4, 4, 4))"
    assert tuple(tail(tail.input).shape) == (None, 2)
