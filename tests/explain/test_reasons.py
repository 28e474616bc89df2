"""Every reason that `thaw.explain` gives, provoked; and its mend, pasted, makes the weight train."""

from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from frozen_graphs import FrozenGraph

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "samples" / "digits"
MODELS = ROOT / "tests" / "models"
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((8, 4)).astype("float32")
Y = RANDOM.standard_normal((8, 2)).astype("float32")


def dense_model(**more: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    stack = [keras.layers.Dense(3, name="body"), keras.layers.Dense(2, name="head")]
    model = keras.Sequential([keras.Input((4,)), *stack], name="net")
    if more.get("compiled", True):
        model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def paste(mend: str, **names: object) -> dict[str, object]:
    """Runs the mend as a user would; the names that it leaves behind."""
    assert mend
    space = {"thaw": thaw, "keras": keras, **names}
    exec(mend, space)
    return space


def moves(model: keras.Model, variable: keras.Variable, x: object = X, y: object = Y) -> bool:
    """Whether one epoch changes the variable."""
    before = np.array(keras.ops.convert_to_numpy(variable))
    model.fit(x, y, epochs=1, batch_size=8, verbose=0)
    return not np.array_equal(before, keras.ops.convert_to_numpy(variable))


def trainer(layer: keras.Layer, shape: tuple[int, ...] = (4,), rate: float = 0.1) -> keras.Model:
    """A compiled model around a thaw layer."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def test_E1_frozen_layer_named_and_thawed() -> None:
    model = dense_model()
    model.get_layer("body").trainable = False
    row = thaw.explain(model)["body/kernel"]
    assert (row.code, row.trains) == ("E1", False) and "'body'" in row.reason
    paste(row.mend, model=model)
    assert thaw.explain(model)["body/kernel"].trains and moves(model, model.get_layer("body").kernel)


def test_E1_blocking_container_named_and_lifted() -> None:
    model = dense_model()
    model.trainable = False
    model.get_layer("head").trainable = True
    row = thaw.explain(model)["head/kernel"]
    assert row.code == "E1" and row.cause.culprit == "net" and "its own flag is True" in row.reason
    paste(row.mend, model=model)
    assert moves(model, model.get_layer("head").kernel)


def test_E1_variable_flag() -> None:
    model = dense_model()
    model.get_layer("head").bias.trainable = False
    row = thaw.explain(model)["head/bias"]
    assert row.code == "E1" and "its own flag" in row.reason
    paste(row.mend, model=model)
    assert moves(model, model.get_layer("head").bias)


def test_E1_frozen_thaw_layer_is_one_row() -> None:
    layer = thaw.KerasLayer(DIGITS, name="digits")
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(5, name="head")])
    report = thaw.explain(model)
    rows = {row.path: row for row in report.folded}
    assert set(rows) == {"digits", "head"} and rows["digits"].code == "E1" and rows["digits"].weights == 12
    paste(rows["digits"].mend, model=model)
    assert thaw.explain(model).first_line.startswith("Everything trains")


def test_E2_left_out_by_the_publisher() -> None:
    layer = thaw.KerasLayer(MODELS / "tf2" / "half_plus_one", trainable=True)
    row = thaw.explain(layer)["bias"]
    assert row.code == "E2" and "publisher" in row.reason
    model = trainer(layer, (1,))
    paste(row.mend, layer=layer)
    assert moves(model, layer.source_variables["bias"], X[:, :1], 5 + X[:, :1])


def test_E2_left_out_by_the_maker_of_a_keras_layer() -> None:
    class Scale(keras.layers.Layer):
        def build(self, shape: object) -> None:
            self.scale = self.add_weight(shape=(), initializer="ones", trainable=False, name="scale")

        def call(self, x: object) -> object:
            return x * self.scale

    model = keras.Sequential([keras.Input((2,)), Scale(name="scale_layer")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    row = thaw.explain(model)["scale_layer/scale"]
    assert row.code == "E2" and "scale_layer" in row.reason
    paste(row.mend, model=model)
    assert moves(model, model.layers[0].scale, X[:, :2], Y)


def matmul_graph(file: Path) -> Path:
    g = FrozenGraph()
    g.placeholder("x", (-1, 4))
    g.constant("dense/kernel", RANDOM.standard_normal((4, 2)))
    g.constant("dense/bias", np.zeros(2))
    g.op("dense/MatMul", "MatMul", "x", "dense/kernel", T="float32")
    g.op("y", "BiasAdd", "dense/MatMul", "dense/bias", T="float32")
    return g.write(file)


def test_E3_constant_lifted(tmp_path: Path) -> None:
    file = matmul_graph(tmp_path / "frozen.pb")
    layer = thaw.KerasLayer(file)
    report = thaw.explain(layer)
    assert {row.path for row in report.because("E3")} == {"dense/kernel", "dense/bias"}
    assert "Nothing trains" in report.first_line and "lift_constants=True" in report.first_line
    layer = paste(report["dense/kernel"].mend, layer=layer)["layer"]
    assert moves(trainer(layer), layer.source_variables["dense/kernel"])


def test_E3_large_constant_is_held_and_thaws_by_name(tmp_path: Path) -> None:
    g = FrozenGraph()
    g.placeholder("x", (-1, 40))
    g.constant("kernel", RANDOM.standard_normal((40, 30)))
    g.op("y", "MatMul", "x", "kernel", T="float32")
    layer = thaw.KerasLayer(g.write(tmp_path / "frozen.pb"))
    row = thaw.explain(layer)["kernel"]
    assert row.code == "E3" and not layer.trainable_variables
    paste(row.mend, layer=layer)
    x = RANDOM.standard_normal((8, 40)).astype("float32")
    assert moves(trainer(layer, (40,)), layer.source_variables["kernel"], x, np.zeros((8, 30)))


def test_E4_statistics_are_updated_not_trained() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="bn"), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    report = thaw.explain(model)
    assert {row.path for row in report.because("E4")} == {"bn/moving_mean", "bn/moving_variance"}
    assert report.first_line.startswith("Everything trains")
    assert {r.path for r in thaw.explain(thaw.KerasLayer(DIGITS, trainable=True)).because("E4")} >= {"block_0_bn/moving_mean"}


def test_E5_integer_and_table() -> None:
    layer = thaw.KerasLayer(MODELS / "tf2" / "half_plus_one", trainable=True)
    row = thaw.explain(layer)["unused"]
    assert row.code == "E5" and "int" in row.reason and row.mend == ""
    report = thaw.explain(MODELS / "tf1" / "tables")
    assert any("table" in row.reason for row in report.because("E5"))


def two_outputs() -> keras.Model:
    x = keras.Input((4,))
    a, b = keras.layers.Dense(2, name="a")(x), keras.layers.Dense(2, name="b")(x)
    return keras.Model(x, {"a": a, "b": b})


def test_E6_not_connected_to_the_chosen_output() -> None:
    model = two_outputs()
    report = thaw.explain(model, outputs="a")
    assert report["a/kernel"].trains and report["b/kernel"].code == "E6"
    model.compile(keras.optimizers.SGD(0.1), {"a": "mse", "b": None})
    row = thaw.explain(model)["b/kernel"]
    assert row.code == "E6"
    paste(row.mend, model=model)
    assert moves(model, model.get_layer("b").kernel, X, {"a": Y, "b": Y})


def test_E6_unused_by_the_output_of_a_graph(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(matmul_graph(tmp_path / "frozen.pb"), lift_constants=True, trainable=True)
    layer._runtime.weights["constant:stranger"] = layer._runtime.weights.pop("constant:dense/bias")
    assert thaw.explain(layer)["dense/bias"].code == "E6"


def blocked_graph(file: Path, block: str) -> Path:
    """x @ first, the op in the way, @ second."""
    g = FrozenGraph()
    g.placeholder("x", (-1, 4))
    g.constant("first", RANDOM.standard_normal((4, 3)))
    g.constant("second", RANDOM.standard_normal((3, 2)))
    g.op("hidden", "MatMul", "x", "first", T="float32")
    if block == "Cast":
        g.op("Cast", "Cast", "hidden", SrcT="float32", DstT="int32")
        g.op("after", "Cast", "Cast", SrcT="int32", DstT="float32")
    elif block == "ArgMax":
        g.constant("axis", -1)
        g.op("ArgMax", "ArgMax", "hidden", "axis", output_type="int32", T="float32")
        for name, value in (("depth", 3), ("on", 1.0), ("off", 0.0)):
            g.constant(name, value)
        g.op("after", "OneHot", "ArgMax", "depth", "on", "off", T="float32")
    elif block == "Gather":
        g.constant("axis", -1)
        g.op("ArgMax", "ArgMax", "hidden", "axis", output_type="int32", T="float32")
        g.constant("rows", RANDOM.standard_normal((3, 3)))
        g.op("after", "Gather", "rows", "ArgMax")
    elif block in {"Greater", "Less"}:
        g.constant("zero", 0.0)
        g.op(block, block, "hidden", "zero", T="float32")
        g.op("after", "Cast", block, SrcT="bool", DstT="float32")
    elif block == "Select":
        g.constant("zero", 0.0)
        g.op("Greater", "Greater", "hidden", "zero", T="float32")
        g.constant("left", np.full(3, 2.0))
        g.constant("right", np.full(3, -1.0))
        g.op("after", "SelectV2", "Greater", "left", "right", T="float32")
    else:
        g.op("after", block, "hidden", T="float32")
    g.op("y", "MatMul", "after", "second", T="float32")
    return g.write(file)


BLOCKS = ("ArgMax", "Gather", "Round", "Floor", "Sign", "Cast", "StopGradient", "Greater", "Less", "Select")


@pytest.mark.parametrize("how", ["straight_through", "soft"])
@pytest.mark.parametrize("block", BLOCKS)
def test_E7_op_without_a_gradient_named_and_relaxed(block: str, how: str, tmp_path: Path) -> None:
    layer = thaw.KerasLayer(blocked_graph(tmp_path / "frozen.pb", block), lift_constants=True, trainable=True)
    hard = np.array(keras.ops.convert_to_numpy(layer(X)))
    row = thaw.explain(layer)["first"]
    named = {"Gather": "ArgMax", "Select": "Greater"}.get(block, block)
    assert row.code == "E7" and named in row.reason and thaw.explain(layer)["second"].trains
    assert thaw.explain(layer).first_line.startswith("1 weight set to train will not move: 'first'")
    if how == "straight_through":
        paste(row.mend, layer=layer)
        assert np.allclose(hard, keras.ops.convert_to_numpy(layer(X)), atol=1e-5)
    else:
        thaw.relax(layer, named, how)
    assert thaw.explain(layer)["first"].trains
    model = trainer(layer)
    assert moves(model, layer.source_variables["first"])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.allclose(model.predict(X, verbose=0), again.predict(X, verbose=0), atol=1e-6)


def test_E7_in_a_keras_graph() -> None:
    x = keras.Input((4,))
    hidden = keras.ops.round(keras.layers.Dense(3, name="before")(x))
    model = keras.Model(x, keras.layers.Dense(2, name="after")(hidden))
    report = thaw.explain(model)
    assert report["before/kernel"].code == "E7" and "Round" in report["before/kernel"].reason and report["after/kernel"].trains


def test_E7_below_a_thaw_layer_that_looks_words_up(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(blocked_graph(tmp_path / "frozen.pb", "ArgMax"), lift_constants=True, trainable=True)
    x = keras.Input((4,))
    model = keras.Model(x, layer(keras.layers.Dense(4, name="below")(x)))
    assert thaw.explain(model)["below/kernel"].code == "E7"


def test_E8_stale_compile_of_plain_keras() -> None:
    model = dense_model()
    model.get_layer("body").trainable = False
    model.fit(X, Y, verbose=0)
    model.get_layer("body").trainable = True
    report = thaw.explain(model)
    assert report["body/kernel"].code == "E8" and report["head/kernel"].trains
    assert "set to train will not move" in report.first_line and "thaw.recompile(model)" in report.first_line
    paste(report["body/kernel"].mend, model=model)
    assert thaw.explain(model)["body/kernel"].trains and moves(model, model.get_layer("body").kernel)


def test_E8_frozen_after_the_fact_is_noted() -> None:
    model = dense_model()
    model.fit(X, Y, verbose=0)
    model.get_layer("body").trainable = False
    report = thaw.explain(model)
    assert report["body/kernel"].code == "E1" and any("thaw.recompile(model)" in note for note in report.notes)


def test_E8_watched_models_obey() -> None:
    model = thaw.watch(dense_model())
    model.get_layer("body").trainable = False
    model.fit(X, Y, verbose=0)
    model.get_layer("body").trainable = True
    assert thaw.explain(model)["body/kernel"].trains and moves(model, model.get_layer("body").kernel)


def test_E9_not_among_the_variables_of_the_optimizer() -> None:
    model = dense_model()
    model.optimizer.build(model.get_layer("head").trainable_variables)
    report = thaw.explain(model)
    assert report["body/kernel"].code == "E9" and report["head/kernel"].trains
    paste(report["body/kernel"].mend, model=model)
    assert thaw.explain(model)["body/kernel"].trains and moves(model, model.get_layer("body").kernel)


def test_E10_dead_relu_on_a_probe_batch() -> None:
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Dense(3, activation="relu", name="dead"), keras.layers.Dense(2, name="head")]
    model = keras.Sequential([keras.Input((4,)), *stack])
    model.get_layer("dead").set_weights([np.zeros((4, 3)), np.full(3, -5.0)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
    report = thaw.explain(model, inputs=(X, Y), loss="mse")
    assert all(np.array_equal(a, keras.ops.convert_to_numpy(v)) for a, v in zip(before, model.variables, strict=True))
    assert report["dead/kernel"].code == "E10" and "dead ReLU" in report["dead/kernel"].reason and report["head/bias"].trains
    assert thaw.explain(model)["dead/kernel"].trains
    paste(report["dead/kernel"].mend, model=model)
    assert thaw.explain(model, inputs=(X, Y), loss="mse")["dead/kernel"].trains
    assert moves(model, model.get_layer("dead").kernel)


def batch_norm_graph(file: Path) -> Path:
    g = FrozenGraph()
    g.placeholder("x", (-1, 2, 2, 3))
    for name, value in (("gamma", np.ones(3)), ("beta", np.zeros(3)), ("mean", np.zeros(3)), ("variance", np.ones(3))):
        g.constant(f"bn/{name}", value)
    names = ("bn/gamma", "bn/beta", "bn/mean", "bn/variance")
    g.op("bn/norm", "FusedBatchNormV3", "x", *names, T="float32", U="float32", is_training=False, epsilon=0.001)
    g.op("y", "Identity", "bn/norm", T="float32")
    return g.write(file)


def test_E11_no_training_variant(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(
        batch_norm_graph(tmp_path / "frozen.pb"), lift_constants=True, trainable=True, batch_norm_momentum=0.5
    )
    report = thaw.explain(layer)
    assert {row.path for row in report.because("E11")} == {"bn/mean", "bn/variance"}
    assert any("dropout" in note for note in report.notes)
    x = (4 + RANDOM.standard_normal((8, 2, 2, 3))).astype("float32")
    paste(report["bn/mean"].mend, layer=layer)
    model = trainer(layer, (2, 2, 3), 0.0)
    assert moves(model, layer.source_variables["bn/mean"], x, x)
    assert np.allclose(keras.ops.convert_to_numpy(layer.source_variables["bn/mean"]), x.mean((0, 1, 2)) / 2, atol=1e-4)
    assert {row.path for row in thaw.explain(layer).because("E4")} == {"bn/mean", "bn/variance"}


def test_E11_dropout_in_training_steps_only(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(matmul_graph(tmp_path / "frozen.pb"), lift_constants=True, trainable=True, dropout=0.5)
    x = np.ones((400, 4), "float32")
    still, dropped = (keras.ops.convert_to_numpy(layer(x, training=flag)) for flag in (False, True))
    assert len(np.unique(still[:, 0])) == 1
    assert 0.35 < np.mean(dropped == 0) < 0.65 and np.allclose(dropped[dropped != 0] / (2 * still[dropped != 0]), 1)


def test_E12_quantized_kernel() -> None:
    model = dense_model(compiled=False)
    model.quantize("int8")
    report = thaw.explain(model)
    row = report["body/kernel"] if any(r.path == "body/kernel" for r in report.rows) else report.because("E12")[0]
    assert row.code == "E12" and "int8" in row.reason
    paste(row.mend, model=model)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    assert moves(model, model.get_layer("body").lora_kernel_b)


def test_E12_quantized_constant_unpacked(tmp_path: Path) -> None:
    g = FrozenGraph()
    g.placeholder("x", (-1, 4))
    packed = RANDOM.integers(0, 256, (4, 2)).astype("uint8")
    g.op("kernel/packed", "Const", dtype="quint8", value=packed)
    g.constant("kernel/min", -1.0)
    g.constant("kernel/max", 1.0)
    g.op("kernel", "Dequantize", "kernel/packed", "kernel/min", "kernel/max", T="quint8", mode="MIN_COMBINED")
    g.op("y", "MatMul", "x", "kernel", T="float32")
    layer = thaw.KerasLayer(g.write(tmp_path / "frozen.pb"))
    (row,) = thaw.explain(layer).because("E12")
    assert row.path == "kernel" and "Dequantize" in row.reason
    expected = keras.ops.convert_to_numpy(layer(X))
    layer = paste(row.mend, layer=layer)["layer"]
    assert np.allclose(expected, keras.ops.convert_to_numpy(layer(X)), atol=1e-5)
    assert not thaw.explain(layer).because("E12")
    assert moves(trainer(layer), layer.source_variables["kernel"])


def test_E13_learning_rate_zero() -> None:
    model = dense_model()
    model.optimizer.learning_rate = 0.0
    row = thaw.explain(model)["head/kernel"]
    assert row.code == "E13"
    paste(row.mend, model=model)
    assert thaw.explain(model)["head/kernel"].trains and moves(model, model.get_layer("head").kernel)


def test_E13_multiplier_zero() -> None:
    model = dense_model()
    thaw.multiply_rates(model, {"body": 0.0})
    report = thaw.explain(model)
    assert report["body/kernel"].code == "E13" and report["head/kernel"].trains
    paste(report["body/kernel"].mend, model=model)
    assert moves(model, model.get_layer("body").kernel)
