"""Loops that are an LSTM or a GRU, which PyTorch runs at once: found, answering and differentiated as the rounds are."""

import keras
import numpy as np
import pytest

from gradients import vjp
from lowering.spelt import Spelt
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import gru_loops, loops, lstm_loops, recurrences, torch_kernels
from thaw.lowering import table as table  # every op
from thaw.lowering.lists import TensorList
from thaw.lowering.run import Context, Resources

R = np.random.default_rng(11)
TIME, BATCH, FEATURES, UNITS = 5, 3, 4, 2
TORCH = keras.backend.backend() == "torch"
CARRIED = ("counter", "list", "h", "c", "rows", "kernel", "recurrent", "bias")


def axis(n):
    return n("Const", value=np.array(1, "int32"))


def whole(n, value):
    return n("Const", value=np.array(value, "int32"))


def cell(n, sums, c, order="ifco", forget_bias=0.0, clipped=False):
    split = n("Split", axis(n), sums, num_split=4)
    gate = {name: Tensor(split.node, k) for k, name in enumerate(order)}
    if forget_bias:
        gate["f"] = n("AddV2", gate["f"], forget_bias)
    state = n("AddV2", n("Mul", c, n("Sigmoid", gate["f"])), n("Mul", n("Sigmoid", gate["i"]), n("Tanh", gate["c"])))
    if clipped:
        state = n("Minimum", state, 0.1)
    return n("Mul", n("Tanh", state), n("Sigmoid", gate["o"])), state


def two_products(n, x, h, kernel, recurrent, bias):
    """As Keras has it."""
    return n("BiasAdd", n("AddV2", n("MatMul", x, kernel), n("MatMul", h, recurrent)), bias)


def side_by_side(n, x, h, kernel, recurrent, bias):
    """As TensorFlow 1's BasicLSTMCell has it: `kernel` is both, one above the other."""
    return n("BiasAdd", n("MatMul", n("ConcatV2", x, h, axis(n)), kernel), bias)


def body_of(sums=two_products, at="counter", step=1, extra=None, **of_cell):
    """A round: the counter, the list that is written, output and state, and what stays."""
    n = Spelt(*CARRIED)
    counter, list_, h, c, rows, *weights = n.inputs
    row = n("TensorListGetItem", rows, counter, whole(n, [-1, FEATURES]), element_dtype="float32")
    output, state = cell(n, sums(n, row, h, *weights), c, **of_cell)
    if extra == "masked":
        output = n("SelectV2", n("Greater", row, 0.0), output, h) if FEATURES == UNITS else n("Mul", output, 0.5)
    written = n("TensorListSetItem", list_, counter if at == "counter" else whole(n, at), output, element_dtype="float32")
    moved = n("AddV2", counter, whole(n, step))
    return n.graph(moved, written, n("Identity", output), state, rows, *weights)


def condition_of(last=TIME, step=1):
    n = Spelt(*CARRIED)
    op = "Less" if step > 0 else "Greater"
    return n.graph(n(op, Tensor("counter"), whole(n, last)))


def counted(monkeypatch, name):
    """A list that grows with each call of a native op."""
    calls, own = [], getattr(torch_kernels, name)
    monkeypatch.setattr(torch_kernels, name, lambda *values: calls.append(1) or own(*values))
    return calls


def run(monkeypatch, body, condition, start=0, length=TIME, kernels="on", beside=False):
    """Answers (list, output, state) and gradients of rows, start and weights; and how often the native op ran."""
    monkeypatch.setenv("THAW_KERNELS", kernels)
    calls = counted(monkeypatch, "lstm")
    random = np.random.default_rng(3)
    shapes = [(TIME, BATCH, FEATURES), (BATCH, UNITS), (BATCH, UNITS)]
    shapes += [(FEATURES + UNITS, 4 * UNITS), (1,)] if beside else [(FEATURES, 4 * UNITS), (UNITS, 4 * UNITS)]
    inputs = [0.7 * random.standard_normal(s).astype("float32") for s in (*shapes, (4 * UNITS,))]
    resources = Resources()

    def function(rows, h, c, kernel, recurrent, bias):
        lists = TensorList("float32", (None, UNITS), [None] * length), TensorList("float32", (None, FEATURES), stacked=rows)
        values = [np.array(start, "int32"), lists[0], h, c, lists[1], kernel, recurrent, bias]
        after = loops.run_loop(Context(resources), "lstm", condition, body, values)
        return [after[1].array((BATCH, UNITS)), after[2], after[3]]

    weights = [random.standard_normal(s).astype("float32") for s in ((length, BATCH, UNITS), (BATCH, UNITS), (BATCH, UNITS))]
    answers, gradients = vjp(function, inputs, weights)
    return [*answers, *gradients], len(calls)


SPELLINGS = {
    "as Keras has it": {},
    "as TensorFlow 1 has it": {"sums": side_by_side, "order": "icfo", "forget_bias": 1.0},
    "the last output alone is kept": {"at": 0},
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_lstm_is_found_and_answers_alike(monkeypatch, name):
    options = SPELLINGS[name]
    length = TIME if options.get("at", "counter") == "counter" else 1
    body, beside = body_of(**options), "sums" in options
    plain, none = run(monkeypatch, body, condition_of(), length=length, kernels="off", beside=beside)
    found, calls = run(monkeypatch, body, condition_of(), length=length, beside=beside)
    assert none == 0 and (calls > 0) == TORCH
    for a, b in zip(found, plain, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_rows_are_taken_in_the_order_of_the_counter(monkeypatch):
    body, condition = body_of(step=-1), condition_of(last=0, step=-1)
    plain, _ = run(monkeypatch, body, condition, start=TIME - 1, kernels="off")
    found, calls = run(monkeypatch, body, condition, start=TIME - 1)
    assert (calls > 0) == TORCH
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def near_misses():
    yield "a clipped state", body_of(clipped=True)
    yield "an output changed on its way", body_of(extra="masked")
    yield "gates in another number", body_of(sums=lambda n, x, h, k, r, b: n("BiasAdd", n("MatMul", x, k), b))
    body = body_of()
    swapped = (*body.outputs[:2], body.outputs[3], body.outputs[2], *body.outputs[4:])
    yield "output and state changed places", Graph("swapped", body.nodes, body.inputs, swapped)
    effect = Node("effect", "Identity", (Tensor("h"),), (), {})
    yield "an effect", Graph("effect", {**body.nodes, "effect": effect}, body.inputs, body.outputs, ("effect",))


@pytest.mark.skipif(not TORCH, reason="the other backends find none")
@pytest.mark.parametrize(("name", "body"), list(near_misses()), ids=lambda v: v if isinstance(v, str) else "")
def test_what_only_looks_alike_is_run_as_it_is(name, body):
    fixed = frozenset(range(4, len(CARRIED)))
    assert lstm_loops.LstmReader(body, fixed, {0: list(range(TIME + 1))}).read() is None


@pytest.mark.skipif(not TORCH, reason="the other backends find none")
def test_weights_in_variables_and_constants_are_held():
    n = Spelt(*CARRIED)
    counter, list_, h, c, rows, kernel, *_ = n.inputs
    row = n("TensorListGetItem", rows, counter, whole(n, [-1, FEATURES]), element_dtype="float32")
    constant = n("Const", value=np.zeros((UNITS, 4 * UNITS), "float32"))
    sums = n("AddV2", n("MatMul", row, n("ReadVariableOp", kernel)), n("MatMul", h, constant))
    output, state = cell(n, sums, c)
    written = n("TensorListSetItem", list_, counter, output, element_dtype="float32")
    body = n.graph(n("AddV2", counter, whole(n, 1)), written, output, state, *n.inputs[4:])
    found = lstm_loops.LstmReader(body, frozenset(range(4, len(CARRIED))), {0: list(range(TIME + 1))}).read()
    assert found.kernel == recurrences.Held(5, is_variable=True) and found.biases == () and found.added == (0.0,) * 4
    assert found.recurrent.constant.shape == (UNITS, 4 * UNITS)


GRU = ("counter", "list", "h", "rows", "kernel", "recurrent", "bias", "inner")


def gru_of(order="zrn", swapped=False, before=False):
    """A round of a GRU; `before`: it resets the last output before the product, as GRUs first did."""
    n = Spelt(*GRU)
    counter, list_, h, rows, kernel, recurrent, bias, inner = n.inputs
    row = n("TensorListGetItem", rows, counter, whole(n, [-1, FEATURES]), element_dtype="float32")
    x = n("Split", axis(n), n("BiasAdd", n("MatMul", row, kernel), bias), num_split=3)
    y = n("Split", axis(n), n("BiasAdd", n("MatMul", h, recurrent), inner), num_split=3)
    of = {name: (Tensor(x.node, k), Tensor(y.node, k)) for k, name in enumerate(order)}
    z, r = (n("Sigmoid", n("AddV2", *(of[gate][::-1] if swapped else of[gate]))) for gate in "zr")
    new = n("Tanh", n("AddV2", of["n"][0], n("Mul", h, of["n"][1]) if before else n("Mul", r, of["n"][1])))
    output = n("AddV2", n("Mul", z, h), n("Mul", n("Sub", 1.0, z), new))
    written = n("TensorListSetItem", list_, counter, output, element_dtype="float32")
    return n.graph(n("AddV2", counter, whole(n, 1)), written, output, *n.inputs[3:])


def run_gru(monkeypatch, body, kernels="on"):
    monkeypatch.setenv("THAW_KERNELS", kernels)
    calls, random, resources = counted(monkeypatch, "gru"), np.random.default_rng(4), Resources()
    n = Spelt(*GRU)
    condition = n.graph(n("Less", Tensor("counter"), whole(n, TIME)))
    shapes = [(TIME, BATCH, FEATURES), (BATCH, UNITS), (FEATURES, 3 * UNITS), (UNITS, 3 * UNITS), (3 * UNITS,), (3 * UNITS,)]
    inputs = [0.7 * random.standard_normal(s).astype("float32") for s in shapes]

    def function(rows, h, *weights):
        lists = TensorList("float32", (None, UNITS), [None] * TIME), TensorList("float32", (None, FEATURES), stacked=rows)
        after = loops.run_loop(
            Context(resources), "gru", condition, body, [np.array(0, "int32"), lists[0], h, lists[1], *weights]
        )
        return [after[1].array((BATCH, UNITS)), after[2]]

    weights = [random.standard_normal(s).astype("float32") for s in ((TIME, BATCH, UNITS), (BATCH, UNITS))]
    answers, gradients = vjp(function, inputs, weights)
    return [*answers, *gradients], len(calls)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("order", ["zrn", "rzn"])
def test_a_gru_is_found_and_answers_alike(monkeypatch, order, swapped):
    body = gru_of(order, swapped)
    plain, none = run_gru(monkeypatch, body, kernels="off")
    found, calls = run_gru(monkeypatch, body)
    assert none == 0 and (calls > 0) == TORCH
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not TORCH, reason="the other backends find none")
def test_a_gru_of_another_kind_is_run_as_it_is():
    fixed, counters = frozenset(range(3, len(GRU))), {0: list(range(TIME + 1))}
    assert gru_loops.GruReader(gru_of(), fixed, counters).read() is not None
    assert gru_loops.GruReader(gru_of(before=True), fixed, counters).read() is None
    assert lstm_loops.LstmReader(gru_of(), fixed, counters).read() is None


@pytest.mark.skipif(not TORCH, reason="the other backends find none")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_shapes_are_told_without_a_round(kind):
    """Keras asks for them with tensors that have no values."""
    gates, biases = (4, 1) if kind == "lstm" else (3, 2)
    states = [(BATCH, UNITS)] * (2 if kind == "lstm" else 1)
    shapes = [(TIME, BATCH, FEATURES), *states, (FEATURES, gates * UNITS), (UNITS, gates * UNITS), *[(gates * UNITS,)] * biases]
    told = keras.ops.convert_to_tensor(np.zeros(0, "float32")).new_empty
    found = getattr(torch_kernels, kind)(*(told(shape, device="meta") for shape in shapes))
    expected = getattr(torch_kernels, kind)(*(told(shape) for shape in shapes))
    assert [(t.shape, t.dtype) for t in found] == [(t.shape, t.dtype) for t in expected] and all(t.is_meta for t in found)
