"""Mixed precision and float64: the policy reaches the graph, training stays stable, statistics accumulate in float32."""

from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from finetune.making import image_folder
from thaw.finetune.job import Options, finetune
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.run import Context, Resources, narrowed

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "samples" / "digits"
POLICIES = ("mixed_float16", "mixed_bfloat16", "float64")


def array(value):
    return keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", POLICIES, indirect=True)
def test_training_is_stable_under_every_policy_P6(policy):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x, y = random.random((16, 8, 8, 1), "float32"), random.random((16, 3)).astype("float32")
    layer = thaw.KerasLayer(DIGITS, trainable=True)
    before = {v.path: array(v) for v in layer.variables}
    model = keras.Sequential([layer, keras.layers.Dense(3, dtype="float32")])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    losses = model.fit(x, y, batch_size=16, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()
    assert ("LossScale" in type(model.optimizer).__name__) == (policy == "mixed_float16")
    wide = "float64" if policy == "float64" else "float32"
    for variable in layer.source_variables.values():
        assert variable.dtype == wide
        assert np.isfinite(array(variable)).all()
        assert (array(variable) != before[variable.path]).any(), f"{variable.path} stood still"


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_moving_statistics_accumulate_in_float32_P6(dtype):
    x = np.random.default_rng(0).random((8, 8, 8, 1), "float32")
    after = {}
    for policy in ("float32", dtype):
        layer = thaw.KerasLayer(DIGITS, trainable=True, dtype=policy)
        start = {n: array(v) for n, v in layer.source_variables.items()}
        for _ in range(5):
            layer(x, training=True)
        after[policy] = {n: array(v) - start[n] for n, v in layer.source_variables.items() if "block_0_bn/moving" in n}
    assert len(after[dtype]) == 2
    for name, moved in after["float32"].items():  # the batch's statistic is narrow, the average of it is not
        assert np.abs(moved).max() > 0
        np.testing.assert_allclose(after[dtype][name], moved, atol=0.03 * np.abs(moved).max())


def node(name, op, *inputs, **attributes):
    return Node(name, op, tuple(Tensor(i) for i in inputs), (), attributes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_average_that_moves_by_a_thousandth_moves_P6(dtype):
    """moving -= (moving - mean) * 0.001, in single ops, as layers without a fused op have it."""
    nodes = [
        node("x", "Placeholder"),
        node("moving", "VarHandleOp", shared_name="moving"),
        node("axes", "Const", value=np.array([0], "int32")),
        node("mean", "Mean", "x", "axes"),
        node("rate", "Const", value=np.array(0.001, "float32")),
        node("read", "ReadVariableOp", "moving", dtype="float32"),
        node("difference", "Sub", "read", "mean"),
        node("step", "Mul", "difference", "rate"),
        node("update", "AssignSubVariableOp", "moving", "step"),
        node("y", "Sub", "x", "mean"),
    ]
    graph = Graph("g", {n.name: n for n in nodes}, (Tensor("x"),), (Tensor("y"),), ("update",))
    variable = keras.Variable(np.full(2, 8.0, "float32"), trainable=False, autocast=False)
    resources = Resources({"moving": variable})
    x = keras.ops.full((4, 2), 9.0, dtype=dtype)
    for _ in range(100):
        (y,) = resources.plan(graph, dtype).run(Context(resources, training=True, compute_dtype=dtype), [x])
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    np.testing.assert_allclose(array(variable), 9.0 - 0.999**100, rtol=1e-4)


def test_constants_keep_their_meaning_in_float16_P6():
    assert narrowed(np.array(1e-12, "float32"), "float16") > 0
    assert narrowed(np.array(-1e-12, "float32"), "float16") < 0
    assert narrowed(np.array(0, "float32"), "float16") == 0
    assert np.isfinite(narrowed(np.array(-1e9, "float32"), "float16"))
    assert np.isneginf(narrowed(np.array(-np.inf, "float32"), "float16"))
    np.testing.assert_array_equal(narrowed(np.float32([1e-12, 1.5, 1e9]), "float16"), np.float16([0, 1.5, 32752]))
    assert narrowed(np.array(0.01, "float32"), "float16") == np.float16(0.01)
    assert float(narrowed(np.array(-1e9, "float32"), "bfloat16")) == pytest.approx(-1e9, rel=1e-2)


def test_masks_and_epsilons_survive_float16_P6():
    """softmax(x + (1 - mask) * -1e9) and x / sqrt(mean(x^2) + 1e-12), of zeros."""
    nodes = [
        node("x", "Placeholder"),
        node("mask", "Placeholder"),
        node("one", "Const", value=np.array(1, "float32")),
        node("far", "Const", value=np.array(-1e9, "float32")),
        node("open", "Sub", "one", "mask"),
        node("bias", "Mul", "open", "far"),
        node("scores", "AddV2", "x", "bias"),
        node("y", "Softmax", "scores"),
        node("epsilon", "Const", value=np.array(1e-12, "float32")),
        node("square", "Square", "x"),
        node("power", "AddV2", "square", "epsilon"),
        node("factor", "Rsqrt", "power"),
        node("z", "Mul", "x", "factor"),
    ]
    graph = Graph("g", {n.name: n for n in nodes}, (Tensor("x"), Tensor("mask")), (Tensor("y"), Tensor("z")))
    resources = Resources()
    feeds = [keras.ops.cast(v, "float16") for v in (np.float32([[0, -20, 30]]), np.float32([[1, 0, 0]]))]
    y, z = resources.plan(graph, "float16").run(Context(resources, compute_dtype="float16"), feeds)
    np.testing.assert_allclose(array(y), [[1, 0, 0]], atol=1e-3)
    assert np.isfinite(array(z)).all() and array(z)[0, 0] == 0


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_fine_tuning_under_a_policy_P6(name, tmp_path):
    data = image_folder(tmp_path / "data", {"across": 8, "down": 8})
    options = Options(epochs=1, unfreeze=("*",), dtype_policy=name)
    result = finetune(DIGITS, data, tmp_path / "out", options, verbose=0)
    assert np.isfinite(result.history[-1]["loss"])
    assert result.model.get_layer("module").dtype_policy.name == name
    assert ("LossScale" in type(result.model.optimizer).__name__) == (name == "mixed_float16")
    again = keras.saving.load_model(tmp_path / "out" / "model.keras")
    assert again.get_layer("module").dtype_policy.name == name
    with pytest.raises(thaw.errors.HubArgumentError, match=r"'half'.*one of 'float32'"):
        finetune(DIGITS, data, tmp_path / "other", Options(epochs=1, dtype_policy="half"), verbose=0)
    assert not (tmp_path / "other").exists()
