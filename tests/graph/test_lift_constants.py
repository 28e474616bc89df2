"""Weights that were baked into a graph become variables again; what is no weight stays a constant."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from frozen_graphs import FrozenGraph
from thaw.graph.artifact import Artifact, Function, MetaGraph, Trace
from thaw.graph.ir import FunctionName, Graph, Node, Tensor, TensorSpec
from thaw.graph.lift_constants import LARGE, PREFIX, folded_batch_norms, lift_constants, spelt_statistics

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((5, 4)).astype("float32")


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("float32")


def matmul(g: FrozenGraph) -> None:
    g.op("y", "MatMul", "x", g.constant("w", normal(4, 3)), T="float32")


def transposed(g: FrozenGraph) -> None:
    g.constant("order", [1, 0])
    g.op("turned", "Transpose", g.constant("w", normal(3, 4)), "order", T="float32")
    g.op("y", "MatMul", "x", g.op("read", "Identity", "turned", T="float32"), T="float32")


def bias(g: FrozenGraph) -> None:
    g.op("y", "BiasAdd", "x", g.constant("w", normal(4)), T="float32")


def affine(g: FrozenGraph) -> None:
    g.op("y", "Mul", "x", g.constant("w", normal(4)), T="float32")


def rows(g: FrozenGraph) -> None:
    g.op("ids", "Cast", g.op("positive", "Abs", "x", T="float32"), SrcT="float32", DstT="int32")
    g.op("y", "Gather", g.constant("w", normal(9, 2)), "ids")


def fake_quantized(g: FrozenGraph) -> None:
    """As quantization-aware training leaves it: `narrow_range` for weights, the range as scalars."""
    w = g.constant("w", normal(4, 3))
    rounded = g.op("quant", "FakeQuantWithMinMaxVars", w, g.constant("min", np.float32(-3)), g.constant("max", np.float32(3)))
    g.op("y", "MatMul", "x", rounded, T="float32")


WEIGHTS: dict[str, Callable[[FrozenGraph], None]] = {
    f.__name__: f for f in (matmul, transposed, bias, affine, rows, fake_quantized)
}


def frozen(file: Path, fill: Callable[[FrozenGraph], None]) -> Path:
    g = FrozenGraph()
    g.placeholder("x", (-1, 4))
    fill(g)
    return g.write(file)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_weight_becomes_a_variable_of_its_name_that_trains(kind: str, tmp_path: Path) -> None:
    file = frozen(tmp_path / "frozen.pb", WEIGHTS[kind])
    constant, layer = thaw.KerasLayer(file), thaw.KerasLayer(file, lift_constants=True, trainable=True)
    assert set(layer.source_variables) == {"w"} and [v.source_name for v in layer.trainable_variables] == ["w"]
    expected = keras.ops.convert_to_numpy(constant(X))
    assert np.allclose(expected, keras.ops.convert_to_numpy(layer(X)), atol=1e-6)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = np.array(keras.ops.convert_to_numpy(layer.source_variables["w"]))
    model.fit(X, np.zeros_like(expected), verbose=0)
    assert not np.array_equal(before, keras.ops.convert_to_numpy(layer.source_variables["w"]))
    model.save(tmp_path / "model.keras")
    file.unlink()
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.allclose(model.predict(X, verbose=0), again.predict(X, verbose=0), atol=1e-6)


def test_what_is_no_weight_stays_a_constant(tmp_path: Path) -> None:
    def fill(g: FrozenGraph) -> None:
        g.op("scaled", "Mul", "x", g.constant("scalar", 2.0), T="float32")
        g.op("shaped", "Reshape", "scaled", g.constant("shape", [-1, 2]), T="float32")
        g.op("y", "Sum", "shaped", g.constant("axis", [1]), T="float32")

    layer = thaw.KerasLayer(frozen(tmp_path / "frozen.pb", fill), lift_constants=True)
    assert layer.source_variables == {}


def test_a_constant_that_is_also_looked_at_while_tracing_stays_known_there(tmp_path: Path) -> None:
    def fill(g: FrozenGraph) -> None:
        g.constant("w", [1.0, 2.0, 3.0, 4.0])
        g.op("count", "Cast", "w", SrcT="float32", DstT="int32")
        g.op("wide", "Tile", g.op("added", "BiasAdd", "x", "w", T="float32"), g.op("two", "Slice", "count", "from", "size"))
        g.constant("from", [0])
        g.constant("size", [2])
        g.op("y", "Identity", "wide", T="float32")

    layer = thaw.KerasLayer(frozen(tmp_path / "frozen.pb", fill), lift_constants=True, trainable=True)
    model = keras.Sequential([keras.Input((4,)), layer])
    assert model.predict(X, verbose=0).shape == (5, 8) and set(layer.source_variables) == {"w"}


def test_large_constants_of_frozen_graphs_are_always_held(tmp_path: Path) -> None:
    def fill(g: FrozenGraph) -> None:
        hidden = g.op("hidden", "MatMul", "x", g.constant("large", normal(4, LARGE // 4)), T="float32")
        g.op("y", "BiasAdd", hidden, g.constant("small", normal(LARGE // 4)), T="float32")

    layer = thaw.KerasLayer(frozen(tmp_path / "frozen.pb", fill), trainable=False)
    assert set(layer.source_variables) == {"large"} and layer.trainable_variables == []
    thaw.unfreeze(layer, "large")
    assert [v.source_name for v in layer.trainable_variables] == ["large"]


def spelt(g: FrozenGraph) -> None:
    """A batch normalization in single ops, as TensorFlow 1 wrote it."""
    for name, value in (("gamma", normal(4)), ("beta", normal(4)), ("mean", normal(4)), ("variance", np.ones(4))):
        g.constant(f"bn/{name}", value)
    g.op("bn/add", "AddV2", "bn/variance", g.constant("bn/epsilon", 0.001), T="float32")
    g.op("bn/scale", "Mul", g.op("bn/root", "Rsqrt", "bn/add", T="float32"), "bn/gamma", T="float32")
    g.op("bn/scaled", "Mul", "x", "bn/scale", T="float32")
    g.op("bn/shift", "Sub", "bn/beta", g.op("bn/moved", "Mul", "bn/mean", "bn/scale", T="float32"), T="float32")
    g.op("y", "AddV2", "bn/scaled", "bn/shift", T="float32")


def test_moving_statistics_in_single_ops_are_found(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(frozen(tmp_path / "frozen.pb", spelt), lift_constants=True, trainable=True)
    assert {v.source_name for v in layer.trainable_variables} == {"bn/gamma", "bn/beta"}
    graph = layer.program.variants[0].inference
    assert spelt_statistics(graph) == {PREFIX + "bn/mean", PREFIX + "bn/variance"}
    assert {inner.name for inner in layer.layers} | {layer.name} >= {"bn"} or set(layer.source_variables) >= {"bn/mean"}


def test_folded_batch_norms_are_told(tmp_path: Path) -> None:
    def fill(g: FrozenGraph) -> None:
        g.op("conv", "MatMul", "x", g.constant("conv/weights_fold", normal(4, 3)), T="float32")
        g.op("y", "BiasAdd", "conv", g.constant("conv/BatchNorm/Const", normal(3)), T="float32")

    layer = thaw.KerasLayer(frozen(tmp_path / "frozen.pb", fill), lift_constants=True, trainable=True)
    found = folded_batch_norms(layer.program.variants[0].inference)
    assert set(found) == {"conv/weights_fold", "conv/BatchNorm/Const"}
    assert any("folded" in note for note in thaw.explain(layer).notes)


# Functions, which SavedModels have


def saved_model(second: np.ndarray) -> Artifact:
    """Two traces that call two functions, each with a constant of one name."""
    first = normal(4, 3)
    library = {}
    for number, value in enumerate((first, second)):
        nodes = {
            "x": Node("x", "_Arg"),
            "w": Node("w", "Const", (), (), {"value": value}),
            "y": Node("y", "MatMul", (Tensor("x"), Tensor("w"))),
        }
        library[f"f{number}"] = Graph(f"f{number}", nodes, (Tensor("x"),), (Tensor("y"),))
    traces = []
    for number in range(2):
        nodes = {
            "x": Node("x", "Placeholder"),
            "call": Node("call", "PartitionedCall", (Tensor("x"),), (), {"f": FunctionName(f"f{number}")}),
        }
        graph = Graph("trace", nodes, (Tensor("x"),), (Tensor("call"),))
        traces.append(Trace((), {"x": TensorSpec("x", "float32", (None, 4))}, TensorSpec("y", "float32", (None, 3)), graph))
    signature = Function("serving_default", (), tuple(traces))
    return Artifact(
        "tf2_saved_model", (MetaGraph(frozenset({"serve"}), {"serving_default": signature}, library=library),), {}, {}
    )


def test_copies_of_one_constant_in_several_functions_share_a_variable() -> None:
    one = saved_model(normal(4, 3))
    value = one.metagraphs[0].library["f0"].nodes["w"].attrs["value"]
    assert isinstance(value, np.ndarray)
    nodes = one.metagraphs[0].library["f1"].nodes
    nodes["w"] = Node("w", "Const", (), (), {"value": value.copy()})  # type: ignore[index]
    assert [s.name for s in lift_constants(one, everything=True).variables.values()] == ["w"]


def test_different_constants_of_one_name_are_two_variables() -> None:
    lifted = lift_constants(saved_model(normal(4, 3)), everything=True)
    assert [s.name for s in lifted.variables.values()] == ["w", "w#2"]
    assert [np.shape(s.read()) for s in lifted.variables.values()] == [(4, 3), (4, 3)]


def test_a_saved_model_is_left_alone_unless_asked() -> None:
    artifact = saved_model(normal(400, 300))
    assert lift_constants(artifact, everything=False) is artifact


@pytest.mark.parametrize("position", [0, 1])
def test_a_constant_handed_to_a_loop_is_a_weight_where_the_body_multiplies_by_it(position: int) -> None:
    names = ("state", "w")
    inside = {name: Node(name, "_Arg") for name in names}
    inside["next"] = Node("next", "MatMul", (Tensor("state"), Tensor("w")))
    body = Graph("body", inside, tuple(Tensor(n) for n in names), (Tensor("next"), Tensor("w")))
    nodes = {
        "x": Node("x", "Placeholder"),
        "c": Node("c", "Const", (), (), {"value": normal(3, 3)}),
        "loop": Node("loop", "While", (Tensor("x"), Tensor("c"))[:: 1 if position else -1], (), {"body": FunctionName("body")}),
    }
    graph = Graph("main", nodes, (Tensor("x"),), (Tensor("loop"),))
    trace = Trace((), {"x": TensorSpec("x", "float32", (3, 3))}, TensorSpec("y", "float32", (3, 3)), graph)
    functions = {"serving_default": Function("serving_default", (), (trace,))}
    artifact = Artifact("tf2_saved_model", (MetaGraph(frozenset(), functions, library={"body": body}),), {}, {})
    assert list(lift_constants(artifact, everything=True).variables) == [PREFIX + "c"]
