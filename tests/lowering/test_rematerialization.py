"""Segments that are computed twice: the same results and gradients, and what cannot be repeated runs once."""

import gc
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.rematerialization import segments
from thaw.lowering.run import Context, Plan, Resources

ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(0).random((4, 8, 8, 1), "float32")
SEEDS = ROOT / "tests" / "models" / "seeds"


def trained(handle, remat, inputs=IMAGES, **arguments):
    """Loss and all variables after two steps."""
    keras.utils.set_random_seed(0)
    layer = thaw.KerasLayer(handle, trainable=True, remat=remat, **arguments)
    model = keras.Sequential([layer, keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.001), "mse")
    losses = [float(model.train_on_batch(inputs, np.ones((len(inputs), 3), "float32"))) for _ in range(2)]
    return layer, losses, [keras.ops.convert_to_numpy(v) for v in model.variables]


def plans(layer):
    """Plans of the layer that ran in segments."""
    made = [plan for _, plan in layer._runtime.resources._derived.values() if isinstance(plan, Plan)]
    return [plan for plan in made if plan.segments]


@pytest.mark.parametrize("remat", [True, 1, 3])
def test_a_step_with_remat_equals_one_without_P4(remat):
    _, plain, expected = trained(ROOT / "samples" / "digits", False)
    layer, losses, found = trained(ROOT / "samples" / "digits", remat)
    assert plans(layer), "nothing ran in segments"
    assert not any(s.plain for p in plans(layer) for every in p.segments.values() for s in every)
    np.testing.assert_allclose(losses, plain, rtol=1e-5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_tf1_training_graph_with_remat_P4():
    handle = ROOT / "tests" / "models" / "tf1" / "batch_norm"
    probe = thaw.KerasLayer(handle)
    inputs = np.random.default_rng(0).random([n or 4 for n in probe.input.shape], "float32")
    _, plain, expected = trained(handle, False, inputs)
    _, losses, found = trained(handle, True, inputs)
    np.testing.assert_allclose(losses, plain, rtol=1e-5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_remat_comes_back_from_a_config_and_serving_is_as_ever(tmp_path):
    layer = thaw.KerasLayer(ROOT / "samples" / "digits", remat=3)
    again = thaw.KerasLayer.from_config(layer.get_config())
    assert again.remat == 3
    plain = thaw.KerasLayer(ROOT / "samples" / "digits")
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(x(IMAGES)) for x in (again, plain)))
    assert not plans(again)


@pytest.mark.parametrize("remat", [-1, 0.5, "yes"])
def test_remat_that_is_no_number_of_segments_is_refused(remat):
    with pytest.raises(thaw.errors.HubArgumentError, match=r"number of segments"):
        thaw.KerasLayer(ROOT / "samples" / "digits", remat=remat)


def node(name, op, *inputs, **attributes):
    return Node(name, op, tuple(Tensor(i) for i in inputs), (), attributes)


def graph(*nodes, outputs, updates=()):
    made = {n.name: n for n in nodes}
    return Graph("g", made, (Tensor("x"),), tuple(Tensor(o) for o in outputs), tuple(updates))


def test_what_is_assigned_before_it_is_read_again_stays_so():
    """A read that follows an assignment sees the new value, in segments too."""
    handle = Node("w", "VarHandleOp", (), (), {"shared_name": "w"})
    nodes = [
        node("x", "Placeholder"),
        handle,
        node("old", "ReadVariableOp", "w"),
        node("a", "Mul", "x", "old"),
        node("b", "Exp", "a"),
        node("set", "AssignAddVariableOp", "w", "b"),
        Node("new", "ReadVariableOp", (Tensor("w"),), ("set",), {}),
        node("c", "Mul", "b", "new"),
        node("d", "Tanh", "c"),
    ]
    made = graph(*nodes, outputs=["d"], updates=["set"])
    answers = []
    for remat in (False, True, 1, 5):
        resources = Resources({"w": keras.Variable(2.0)})
        context = Context(resources, training=True, remat=remat)
        (value,) = resources.plan(made, "float32").run(context, [keras.ops.convert_to_tensor(0.5)])
        answers.append((float(value), float(resources.variables["w"].value)))
    assert answers[0] == pytest.approx((np.tanh(np.e * (2 + np.e)), 2 + np.e), rel=1e-6)
    for answer in answers[1:]:
        assert answer == pytest.approx(answers[0], rel=1e-6)


def test_every_step_is_in_one_segment_and_random_ones_stand_alone():
    layer = thaw.KerasLayer(ROOT / "samples" / "digits", trainable=True)
    _, made, _, _ = layer.prepared(IMAGES, True)
    plan = Plan(made, layer._runtime.resources.library)
    for wanted in (0, 1, 2, 100):
        found = segments(plan, wanted)
        assert sorted(i for s in found for i in (*s.reads, *s.inside, *s.assigns)) == list(range(len(plan.steps)))
        repeated = [plan.steps[i] for s in found for i in s.inside]
        assert repeated and not any("Random" in s.node.op or s.lowering.context for s in repeated)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="only PyTorch computes again by calling Python again")
def test_what_was_computed_again_is_given_back_at_once_P4():
    layer = thaw.KerasLayer(ROOT / "samples" / "digits", trainable=True, remat=3)
    rows = 37
    images = keras.ops.convert_to_tensor(np.resize(IMAGES, (rows, *IMAGES.shape[1:])))
    gc.collect()
    gc.disable()
    try:
        keras.ops.sum(layer(images, training=True)).backward()
        tensors = [o for o in gc.get_objects() if keras.ops.is_tensor(o) and o is not images]
        assert not [tuple(t.shape) for t in tensors if t.ndim and t.shape[0] == rows]
    finally:
        gc.enable()
