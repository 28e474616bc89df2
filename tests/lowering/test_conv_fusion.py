"""Convolutions with bias, normalization and activation, which PyTorch runs as one op: found, and answering as the chain does."""

import keras
import numpy as np
import pytest

from lowering.spelt import Spelt, agree, both, ops_of
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import fusion
from thaw.lowering import table as table  # every op

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="only PyTorch runs them as one")

R = np.random.default_rng(7)
CHANNELS = 5
VECTORS = ("scale", "offset", "mean", "variance")
SHAPES = {
    "same": {"strides": (1, 1, 1, 1), "padding": "SAME"},
    "strided": {"strides": (1, 2, 2, 1), "padding": "SAME"},
    "valid": {"strides": (1, 1, 1, 1), "padding": "VALID"},
    "dilated": {"strides": (1, 1, 1, 1), "padding": "SAME", "dilations": (1, 2, 2, 1)},
    "explicit": {"strides": (1, 2, 2, 1), "padding": "EXPLICIT", "explicit_paddings": (0, 0, 1, 2, 0, 1, 0, 0)},
}


def images():
    return R.standard_normal((2, 7, 6, 3)).astype("float32")


def kernel_of(op, size=3):
    return R.standard_normal((size, size, 3, 2) if op.startswith("Depth") else (size, size, 3, CHANNELS)).astype("float32")


def vectors(channels, positive=True):
    values = R.standard_normal((4, channels)).astype("float32")
    values[3] = np.abs(values[3]) + 0.3
    return list(values)


def channels_of(kernel, op):
    return kernel.shape[2] * kernel.shape[3] if op.startswith("Depth") else kernel.shape[3]


def normalized(n, x, training=False, op="FusedBatchNormV3", **attributes):
    return n(op, x, *(Tensor(v) for v in VECTORS), is_training=training, epsilon=1e-3, **attributes)


def shape_of(graph, *inputs):
    from thaw.lowering.run import Context, Resources

    return tuple(Resources().plan(graph, "float32").run(Context(Resources()), inputs)[0].shape)


@pytest.mark.parametrize("activation", ["", "Relu", "Relu6"])
@pytest.mark.parametrize("how", SHAPES)
@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative"])
def test_a_normalization_by_given_statistics_goes_into_the_kernel(monkeypatch, op, how, activation):
    kernel = kernel_of(op)
    n = Spelt("x", "kernel", *VECTORS)
    y = normalized(n, n(op, Tensor("x"), Tensor("kernel"), **SHAPES[how]))
    graph = n.graph(n(activation, y) if activation else y)
    inputs = [images(), kernel, *vectors(channels_of(kernel, op))]
    agree(*both(monkeypatch, graph, *inputs, shape=shape_of(graph, *inputs)))
    assert ops_of(monkeypatch, graph) == {"thaw.normalized_convolution"}


@pytest.mark.parametrize("activation", ["", "Relu6"])
@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative"])
def test_a_bias_between_goes_along(monkeypatch, op, activation):
    kernel = kernel_of(op, size=1)
    n = Spelt("x", "kernel", "bias", *VECTORS)
    y = normalized(n, n("BiasAdd", n(op, Tensor("x"), Tensor("kernel"), **SHAPES["strided"]), Tensor("bias")))
    graph = n.graph(n(activation, y) if activation else y)
    channels = channels_of(kernel, op)
    inputs = [images(), kernel, R.standard_normal(channels).astype("float32"), *vectors(channels)]
    agree(*both(monkeypatch, graph, *inputs, shape=shape_of(graph, *inputs)))
    assert ops_of(monkeypatch, graph) == {"thaw.normalized_convolution"}


@pytest.mark.parametrize("activation", ["", "Relu", "Relu6"])
@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative"])
def test_a_bias_goes_with_its_convolution(monkeypatch, op, activation):
    kernel = kernel_of(op)
    n = Spelt("x", "kernel", "bias")
    y = n("BiasAdd", n(op, Tensor("x"), Tensor("kernel"), **SHAPES["same"]), Tensor("bias"))
    graph = n.graph(n(activation, y) if activation else y)
    inputs = [images(), kernel, R.standard_normal(channels_of(kernel, op)).astype("float32")]
    agree(*both(monkeypatch, graph, *inputs, shape=shape_of(graph, *inputs)))
    assert ops_of(monkeypatch, graph) == {"thaw.convolution"}


@pytest.mark.parametrize("activation", ["Relu", "Relu6"])
@pytest.mark.parametrize("op", ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"])
def test_a_normalization_by_the_batch_takes_its_activation_along(monkeypatch, op, activation):
    n = Spelt("x", *VECTORS)
    y = normalized(n, Tensor("x"), training=True, op=op)
    statistics = n("AddV2", Tensor(y.node, 1), Tensor(y.node, 2))
    graph = n.graph(n("AddV2", n(activation, y), statistics))
    inputs = [images() * 3, *vectors(3)]
    agree(*both(monkeypatch, graph, *inputs))
    assert ops_of(monkeypatch, graph) == {"thaw.batch_norm"}


@pytest.mark.parametrize("activation", ["Relu", "Relu6"])
def test_an_activation_in_place_copies_nothing_and_has_its_gradient(activation):
    import torch
    from torch.profiler import ProfilerActivity, profile

    from thaw.lowering import torch_kernels

    x = torch.tensor([-2.0, 0.0, 1.0, 3.0, 6.0, 9.0], requires_grad=True)
    fresh = torch.clone(x)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        y = torch_kernels.in_place(fresh, activation)
    assert not {"aten::clone", "aten::copy_"} & {event.key for event in seen.key_averages()}
    y.sum().backward()
    relu = activation == "Relu"
    assert y.tolist() == ([0, 0, 1, 3, 6, 9] if relu else [0, 0, 1, 3, 6, 6])
    assert x.grad.tolist() == ([0, 0, 1, 1, 1, 1] if relu else [0, 0, 1, 1, 0, 0])
    (slope,) = torch.autograd.grad(torch_kernels.in_place(x * x, activation).square().sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)  # of x^4: 12 x^2, where it is open
    assert bend.tolist() == ([48, 0, 12, 108, 432, 972] if relu else [48, 0, 12, 0, 0, 0])


def cut(graph, *, outputs=None, inputs=None):
    return Graph("cut", graph.nodes, inputs or graph.inputs, outputs or graph.outputs)


def near_misses():
    n = Spelt("x", "kernel", *VECTORS)
    convolved = n("Conv2D", Tensor("x"), Tensor("kernel"), **SHAPES["same"])
    y = normalized(n, convolved)
    answer = n("Relu", y)
    both_read = n.graph(n("AddV2", answer, n("AddV2", y, convolved)))
    yield "others read both", both_read, set()
    yield "the convolution is an answer", cut(both_read, outputs=(convolved, answer)), set()
    n = Spelt("x", "kernel", *VECTORS)
    convolved = n("Conv2D", Tensor("x"), Tensor("kernel"), **SHAPES["same"])
    y = normalized(n, convolved)
    alone = n.graph(n("Relu", y))
    yield "the convolution is supplied", cut(alone, inputs=(*alone.inputs, convolved)), {"thaw.batch_norm"}
    yield "the normalization is an answer", cut(alone, outputs=(y, *alone.outputs)), {"thaw.normalized_convolution"}
    n = Spelt("x", "kernel", *VECTORS)
    y = normalized(n, n("Conv2D", Tensor("x"), Tensor("kernel"), data_format="NCHW", **SHAPES["same"]), data_format="NCHW")
    yield "channels first", n.graph(n("Relu", y)), set()
    n = Spelt("x", "kernel", *VECTORS)
    y = normalized(n, n("Conv2D", Tensor("x"), Tensor("kernel"), **SHAPES["same"]), T="float16", U="float32")
    yield "16 bits normalized in 32", n.graph(n("Relu", y)), {"thaw.batch_norm"}
    n = Spelt("x", "kernel", *VECTORS)
    convolved = n("Conv2D", Tensor("x"), Tensor("kernel"), **SHAPES["same"])
    y = normalized(n, convolved)
    n.nodes["after"] = Node("after", "Identity", (Tensor("x"),), (convolved.node,), {})
    yield "something waits for the convolution", n.graph(y, Tensor("after")), set()


@pytest.mark.parametrize(("name", "graph", "expected"), list(near_misses()), ids=lambda v: v if isinstance(v, str) else "")
def test_what_others_see_stays(monkeypatch, name, graph, expected):
    assert ops_of(monkeypatch, graph) == expected


def test_in_16_bits_the_normalization_stays_wide(monkeypatch):
    n = Spelt("x", "kernel", *VECTORS)
    graph = n.graph(n("Relu", normalized(n, n("Conv2D", Tensor("x"), Tensor("kernel"), **SHAPES["same"]))))
    monkeypatch.setattr(fusion.kernels, "chosen", lambda *backends: True)
    made = fusion.fused(graph, narrow=True)
    assert {node.op for node in made.nodes.values() if node.op.startswith("thaw.")} == {"thaw.batch_norm"}
