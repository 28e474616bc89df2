"""Zeros before a convolution that become its own padding: found, answering as the two ops do, gradients included."""

import numpy as np
import pytest

from lowering.spelt import Spelt, agree, both
from thaw.graph.ir import Graph, Tensor
from thaw.lowering import table as table  # every op
from thaw.lowering.conv_padding import taken_in

R = np.random.default_rng(11)
SPATIAL = ((0, 0), (1, 2), (0, 1), (0, 0))
STRIDED = {"strides": (1, 2, 2, 1), "padding": "VALID"}
FIRST = {"strides": (1, 1, 2, 2), "padding": "VALID", "data_format": "NCHW"}
KERNELS = {"Conv2D": (3, 3, 3, 4), "DepthwiseConv2dNative": (3, 3, 3, 2)}


def padded(op="Conv2D", widths=SPATIAL, pad="Pad", fill=(), attributes=STRIDED, read=(), dtype="int32"):
    """A graph of that pad and a convolution; `read`: what else it answers ("pad")."""
    n = Spelt("x", "kernel")
    constants = [np.array(widths, dtype), *(np.array(v, "float32") for v in fill)]
    y = n(pad, Tensor("x"), *(n("Const", value=value) for value in constants))
    answers = [n(op, y, Tensor("kernel"), **attributes)]
    return n.graph(*answers, *(y for _ in read))


def convolutions(graph):
    return [node for node in graph.nodes.values() if node.op in KERNELS]


@pytest.mark.parametrize("strides", [(1, 1, 1, 1), (1, 2, 2, 1), (1, 1, 2, 1)], ids=str)
@pytest.mark.parametrize("pad", [("Pad", ()), ("PadV2", (0.0,))], ids=["Pad", "PadV2"])
@pytest.mark.parametrize("op", KERNELS)
def test_a_convolution_takes_its_padding_in(monkeypatch, op, pad, strides):
    graph = padded(op, pad=pad[0], fill=pad[1], attributes={**STRIDED, "strides": strides})
    (found,) = convolutions(taken_in(graph))
    assert found.inputs[0] == Tensor("x") and found.attrs["explicit_paddings"] == (0, 0, 1, 2, 0, 1, 0, 0)
    rows, columns = -(-7 // strides[1]), -(-5 // strides[2])  # of 6 + 3 - 2 and 6 + 1 - 2
    x, kernel = R.standard_normal((2, 6, 6, 3)).astype("float32"), R.standard_normal(KERNELS[op]).astype("float32")
    shape = (2, rows, columns, 4 if op == "Conv2D" else 6)
    agree(*both(monkeypatch, graph, x, kernel, shape=shape))


@pytest.mark.parametrize("dilations", [(1, 2, 2, 1), (1, 1, 2, 1)], ids=str)
def test_a_dilated_one_too(monkeypatch, dilations):
    graph = padded(attributes={"strides": (1, 1, 1, 1), "padding": "VALID", "dilations": dilations})
    assert convolutions(taken_in(graph))[0].inputs[0] == Tensor("x")
    x, kernel = R.standard_normal((2, 6, 6, 3)).astype("float32"), R.standard_normal((3, 3, 3, 4)).astype("float32")
    agree(*both(monkeypatch, graph, x, kernel, shape=(2, 9 - 2 * dilations[1], 7 - 2 * dilations[2], 4)))


def test_what_it_pads_itself_is_added(monkeypatch):
    own = {"strides": (1, 1, 1, 1), "padding": "EXPLICIT", "explicit_paddings": (0, 0, 2, 0, 1, 1, 0, 0)}
    graph = padded(attributes=own)
    assert convolutions(taken_in(graph))[0].attrs["explicit_paddings"] == (0, 0, 3, 2, 1, 2, 0, 0)
    x, kernel = R.standard_normal((2, 6, 6, 3)).astype("float32"), R.standard_normal((3, 3, 3, 4)).astype("float32")
    agree(*both(monkeypatch, graph, x, kernel, shape=(2, 9, 7, 4)))


def test_what_it_would_pad_itself_if_it_were_explicit_is_not():
    graph = padded(attributes={**STRIDED, "explicit_paddings": (0, 0, 2, 0, 1, 1, 0, 0)})
    assert convolutions(taken_in(graph))[0].attrs["explicit_paddings"] == (0, 0, 1, 2, 0, 1, 0, 0)


def test_channels_may_come_first(monkeypatch):
    graph = padded(widths=((0, 0), (0, 0), (1, 1), (0, 1)), attributes=FIRST)
    assert convolutions(taken_in(graph))[0].attrs["explicit_paddings"] == (0, 0, 0, 0, 1, 1, 0, 1)
    x, kernel = R.standard_normal((2, 3, 6, 6)).astype("float32"), R.standard_normal((3, 3, 3, 4)).astype("float32")
    agree(*both(monkeypatch, graph, x, kernel, shape=(2, 4, 3, 3)))


def test_a_pad_that_others_read_is_there_for_them():
    graph = taken_in(padded(read=("pad",)))
    assert convolutions(graph)[0].inputs[0] == Tensor("x") and graph.nodes[graph.outputs[1].node].op == "Pad"


def alone():
    yield "channels", padded(widths=((0, 0), (1, 1), (1, 1), (0, 1)))
    yield "batch", padded(widths=((1, 0), (1, 1), (1, 1), (0, 0)))
    yield "rows of the other layout", padded(widths=((0, 0), (1, 1), (0, 0), (0, 0)), attributes=FIRST)
    yield "ones", padded(pad="PadV2", fill=(1.0,))
    yield "mirrored", padded(pad="MirrorPad")
    yield "SAME", padded(attributes={**STRIDED, "padding": "SAME"})
    yield (
        "explicit widths of three numbers",
        padded(attributes={**STRIDED, "padding": "EXPLICIT", "explicit_paddings": (1, 2, 3)}),
    )
    yield (
        "explicit widths below zero",
        padded(attributes={**STRIDED, "padding": "EXPLICIT", "explicit_paddings": (0, 0, -1, 0, 0, 0, 0, 0)}),
    )
    yield "widths that are text", padded(widths=np.full((4, 2), b"", object), dtype=object)
    graph = padded()
    pad = next(Tensor(name) for name, node in graph.nodes.items() if node.op == "Pad")
    yield "supplied", Graph("cut", graph.nodes, (*graph.inputs, pad), graph.outputs)
    yield "widths supplied", Graph("cut", graph.nodes, (*graph.inputs, graph.nodes[pad.node].inputs[1]), graph.outputs)


@pytest.mark.parametrize(("name", "graph"), list(alone()), ids=lambda v: v if isinstance(v, str) else "")
def test_what_only_looks_alike_is_left_alone(name, graph):
    assert taken_in(graph) is graph
