"""Chains of ops that PyTorch runs as one: found in each spelling, answering as the chain does, gradients included."""

import keras
import numpy as np
import pytest

from lowering.spelt import Spelt, agree, both, ops_of
from thaw.graph.ir import Graph, Tensor
from thaw.lowering import fusion
from thaw.lowering import table as table  # every op

answers = pytest.mark.skipif(keras.backend.backend() != "torch", reason="only PyTorch runs them as one")

R = np.random.default_rng(5)


def erfc(n, x, half=0.5):
    return n("Mul", n("Mul", half, x), n("Erfc", n("Mul", n("Neg", x), 0.70710677)))


def erf(n, x):
    return n("Mul", n("Mul", 0.5, x), n("AddV2", 1.0, n("Erf", n("RealDiv", x, 1.4142135))))


def distribution(n, x):
    """As Google's BERT has it, in TensorFlow 1."""
    share = n("Mul", 0.5, n("Add", 1.0, n("Erf", n("RealDiv", x, n("Sqrt", 2.0)))))
    return n("Mul", n("Identity", x), share)


def tanh(n, x, three=3.0):
    cubic = n("AddV2", x, n("Mul", 0.044715, n("Pow", x, three)))
    return n("Mul", n("Mul", 0.5, x), n("AddV2", n("Tanh", n("Mul", 0.7978846, cubic)), 1.0))


def moments(n, x, scale, offset, epsilon=1e-3, axes=(2,), center=None):
    axes = n("Const", value=np.array(axes, "int32"))
    mean = n("Mean", x, axes, keep_dims=True)
    square = n("SquaredDifference", x, n("StopGradient", mean) if center is None else center)
    variance = n("Mean", square, axes, keep_dims=True)
    factor = n("Mul", n("Rsqrt", n("AddV2", variance, epsilon)), scale)
    return n("AddV2", n("Mul", x, factor), n("Sub", offset, n("Mul", mean, factor)))


def cell(n, i, f, g, o, c):
    """As Keras and TensorFlow 1 have it."""
    state = n("AddV2", n("Mul", n("Sigmoid", f), c), n("Mul", n("Sigmoid", i), n("Tanh", g)))
    return state, n("Mul", n("Sigmoid", o), n("Tanh", state))


def gelu_of(spelling, **changes):
    n = Spelt("x")
    return n.graph(spelling(n, Tensor("x"), **changes))


def norm_of(**changes):
    n = Spelt("x", "scale", "offset")
    return n.graph(moments(n, *n.inputs, **changes))


SPELLINGS = {"erfc": erfc, "erf": erf, "distribution": distribution, "tanh": tanh}


@answers
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_gelu_is_found_and_answers_alike(monkeypatch, spelling):
    graph = gelu_of(spelling)
    agree(*both(monkeypatch, graph, R.standard_normal((3, 7)).astype("float32") * 3))
    assert ops_of(monkeypatch, graph) == {"thaw.gelu"}


@answers
@pytest.mark.parametrize("axes", [(2,), (-1,), (1, 2), (1,)], ids=str)
def test_layer_norm_is_found_and_answers_alike(monkeypatch, axes):
    graph = norm_of(axes=axes)
    shape = (1, 4, 5) if axes == (1,) else (4, 5) if axes == (1, 2) else (5,)
    inputs = [R.standard_normal(s).astype("float32") + 1 for s in ((3, 4, 5), shape, shape)]
    agree(*both(monkeypatch, graph, *inputs))
    assert ops_of(monkeypatch, graph) == {"thaw.layer_norm"}


@answers
def test_cell_of_an_lstm_is_found_and_answers_alike(monkeypatch):
    n = Spelt(*"ifgoc")
    state, answer = cell(n, *n.inputs)
    graph = n.graph(n("AddV2", state, answer))
    agree(*both(monkeypatch, graph, *[R.standard_normal((3, 7)).astype("float32") * 2 for _ in "ifgoc"]))
    assert ops_of(monkeypatch, graph) == {"thaw.lstm_state", "thaw.lstm_output"}


@answers
def test_cell_that_is_known_on_the_host_answers_too(monkeypatch):
    n = Spelt("x")
    known = [n("Const", value=np.full((1, 7), v, "float32")) for v in (0.1, -0.3, 0.7, 0.2, -1.0)]
    graph = n.graph(n("Mul", cell(n, *known)[1], Tensor("x")))
    agree(*both(monkeypatch, graph, R.standard_normal((3, 7)).astype("float32")))


def near_misses():
    yield "half of it", gelu_of(erfc, half=0.25)
    yield "a square", gelu_of(tanh, three=2.0)
    n = Spelt("x", "y")
    yield "another x", n.graph(n("Mul", n("Mul", 0.5, Tensor("x")), n("Erfc", n("Mul", n("Neg", Tensor("y")), 0.70710677))))
    yield "another center", norm_of(center=Tensor("offset"))
    n = Spelt(*"ifgc")
    i, f, g, c = n.inputs
    yield "no curve", n.graph(n("AddV2", n("Mul", n("Sigmoid", f), c), n("Mul", n("Sigmoid", i), g)))
    n = Spelt("x")
    answer = erfc(n, Tensor("x"))
    complement = next(Tensor(name) for name, node in n.nodes.items() if node.op == "Erfc")
    yield "supplied in the middle", Graph("cut", n.nodes, (*n.inputs, complement), (answer,))


@pytest.mark.parametrize(("name", "graph"), list(near_misses()), ids=lambda v: v if isinstance(v, str) else "")
def test_what_only_looks_alike_is_left_alone(monkeypatch, name, graph):
    assert not ops_of(monkeypatch, graph)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch has the kernels")
def test_other_backends_keep_the_graph():
    graph = gelu_of(erf)
    assert fusion.fused(graph) is graph
