"""How long loops are found to be, and how they run and fail where their length is not known."""

import functools

import keras
import numpy as np
import pytest

from lowering import control_flow_case as case
from thaw.errors import BranchShapeError, LoopGradientError, LoopLimitError, LoopShapeError
from thaw.graph.functionalize_control_flow import functionalize
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import loops
from thaw.lowering.loops import run_loop
from thaw.lowering.run import Context, Resources
from thaw.lowering.trips import BOUND, EXACT, UNBOUNDED, UNKNOWN, Simulator

JAX = keras.backend.backend() == "jax"
TORCH = keras.backend.backend() == "torch"


def trips(name, known):
    """What is found of the first loop of a golden, the inputs `known` being numpy and the others unknown."""
    recorded = case.load(name)
    graph = functionalize(recorded.graph)
    simulator = Simulator(Context(Resources({}, recorded.library)), 1000)
    loop = next(n for n in graph.nodes.values() if n.op in {"While", "StatelessWhile"})
    inputs = [recorded.inputs[n] if n in known else UNKNOWN for n in recorded.inputs]
    context = simulator.context
    values = simulator.evaluate(graph, inputs, loop.inputs)
    return simulator.trips(context.graph(loop.attrs["cond"]), context.graph(loop.attrs["body"]), values)


@pytest.mark.parametrize(
    ("name", "known", "kind", "count"),
    [
        pytest.param("loop_counted", (), EXACT, 4, id="N4-counted"),
        pytest.param("loop_odd_counters", (), EXACT, 5, id="N4-odd-counters"),
        pytest.param("loop_never", (), EXACT, 0, id="N4-never"),
        pytest.param("loop_counted_by_data", ("n",), EXACT, 3, id="N4-count-on-host"),
        pytest.param("loop_counted_by_data", (), UNBOUNDED, 0, id="N4-count-unknown"),
        pytest.param("loop_until_value", (), UNBOUNDED, 0, id="N4-no-counter"),
        pytest.param("loop_bounded_and_stopped", (), BOUND, 8, id="N4-bound-by-conjunct"),
        pytest.param("loop_bounded_by_minimum", (), BOUND, 6, id="N4-bound-by-minimum"),
        pytest.param("loop_bounded_by_minimum", ("lengths",), EXACT, 4, id="N4-minimum-on-host"),
        pytest.param("rnn_with_lengths", (), BOUND, 5, id="N4-rnn-lengths-unknown"),
        pytest.param("rnn_with_lengths", ("lengths",), EXACT, 4, id="N4-rnn-lengths-on-host"),
        pytest.param("v2_map", (), EXACT, 4, id="N4-v2-map"),
        pytest.param("loops_nested_triangle", (), EXACT, 4, id="N4-triangle"),
    ],
)
def test_trip_count(name, known, kind, count):
    found = trips(name, known)
    assert (found.kind, found.count) == (kind, count)


def step(name, **context):
    recorded = case.load(name)
    return recorded, lambda *values: case.run(recorded, values, **context)


@pytest.mark.skipif(not JAX, reason="other backends differentiate loops of any length")
def test_N4_gradient_of_unbounded_loop_names_loop_and_bound():
    recorded, function = step("loop_counted_by_data")
    with pytest.raises(LoopGradientError, match=r"'while'.*max_iterations"):
        case.traced(function, list(recorded.inputs.values()), recorded.cotangents)


def compiled(function):
    if JAX:
        import jax

        return jax.jit(function)
    if not TORCH:
        import tensorflow as tf

        return tf.function(function, autograph=False)  # as Keras does
    return function


@pytest.mark.parametrize("name", ["loop_counted_by_data", "loop_until_value"])
def test_N4_unbounded_loop_runs_forward(name):
    recorded, function = step(name)
    results = compiled(function)(*[keras.ops.convert_to_tensor(v) for v in recorded.inputs.values()])
    case.check(recorded, [keras.ops.convert_to_numpy(r) for r in results])


@pytest.mark.parametrize("name", ["loop_counted_by_data", "loop_until_value"])
def test_N4_loop_cut_off_at_max_iterations_is_noticed(name):
    recorded, function = step(name, max_iterations=2)
    values = [keras.ops.convert_to_tensor(v) for v in recorded.inputs.values()]
    with pytest.raises(Exception, match="still wants to go on after max_iterations=2") as caught:
        for result in compiled(function)(*values):
            keras.ops.convert_to_numpy(result)
        if JAX:
            import jax

            jax.effects_barrier()
    assert TORCH is isinstance(caught.value, LoopLimitError)  # compiled steps wrap it in their own


def test_N4_one_trace_serves_all_lengths():
    recorded, function = step("rnn_with_lengths")
    calls = []

    def counted(x, kernel, lengths):
        calls.append(1)
        given = {"x": x, "kernel": kernel, "lengths": lengths}
        return function(*[given[name] for name in recorded.inputs])

    run = compiled(counted)
    x, kernel = (keras.ops.convert_to_tensor(recorded.inputs[k]) for k in ("x", "kernel"))
    for lengths in ([2, 4, 3], [5, 9, 1], [0, 0, 0]):
        outputs, state = run(x, kernel, keras.ops.convert_to_tensor(np.array(lengths, np.int32)))
        outputs = keras.ops.convert_to_numpy(outputs)
        assert np.isfinite(outputs).all() and np.isfinite(keras.ops.convert_to_numpy(state)).all()
        for row, n in zip(outputs, lengths, strict=True):
            assert not row[n:].any() and row[:n].any() == (n > 0)
    assert len(calls) == (3 if TORCH else 1)


def loop(condition_op, body_op):
    places = (Tensor("i"), Tensor("x"))
    inputs = {"i": Node("i", "_Arg"), "x": Node("x", "_Arg"), "n": Node("n", "Const", attrs={"value": np.array(3, np.int32)})}
    condition = Graph("cond", {**inputs, "c": Node("c", condition_op, (Tensor("i"), Tensor("n")))}, places, (Tensor("c"),))
    one = Node("one", "Const", attrs={"value": np.array(1, np.int32)})
    axis = Node("axis", "Const", attrs={"value": np.array(0, np.int32)})
    longer = Node("longer", "ConcatV2", (Tensor("x"), Tensor("x"), Tensor("axis")))
    nodes = {**inputs, "one": one, "axis": axis, "longer": longer, "next": Node("next", body_op, (Tensor("i"), Tensor("one")))}
    return condition, Graph("body", nodes, places, (Tensor("next"), Tensor("longer")))


def test_N4_values_that_grow():
    condition, body = loop("Less", "AddV2")

    def function(x):
        return run_loop(Context(Resources()), "while", condition, body, [np.array(0, np.int32), x])[1]

    assert keras.ops.convert_to_numpy(compiled(function)(keras.ops.ones((2,)))).shape == (16,)


def test_N4_condition_of_a_loop_of_known_length_is_asked_no_more():
    condition, body = loop("Less", "AddV2")
    resources, asked = Resources(), []
    plain = resources.plan
    resources.plan = lambda graph, dtype: (asked.append(graph), plain(graph, dtype))[1]
    for start, rounds in ((0, 3), (1, 2), (3, 0), (0, 3)):
        counter, x = run_loop(Context(resources), "while", condition, body, [np.array(start, np.int32), keras.ops.ones((2,))])
        assert (int(counter), x.shape[0]) == (3, 2 * 2**rounds)
    assert condition not in asked
    with pytest.raises(LoopLimitError, match="max_iterations=2"):
        run_loop(Context(resources, max_iterations=2), "while", condition, body, [np.array(0, np.int32), keras.ops.ones((2,))])


@pytest.mark.skipif(not JAX, reason="only JAX needs constant shapes")
def test_N4_values_that_grow_for_an_unknown_time_are_refused():
    condition, body = loop("Less", "AddV2")

    def function(i, x):
        return run_loop(Context(Resources(), max_iterations=5), "while", condition, body, [i, x])[1]

    with pytest.raises(LoopShapeError, match="unknown number of rounds"):
        compiled(function)(keras.ops.convert_to_tensor(0, "int32"), keras.ops.ones((2,)))


def test_N4_endless_loop_ends_with_an_error():
    condition, body = loop("Less", "Sub")
    body = Graph(body.name, body.nodes, body.inputs, (body.outputs[0], Tensor("x")))
    with pytest.raises(LoopLimitError, match="'while' still wants to go on after max_iterations=500"):
        run_loop(Context(Resources(), max_iterations=500), "while", condition, body, [np.array(0, np.int32), keras.ops.ones(2)])


@pytest.mark.parametrize("known", [True, False], ids=["counter-on-the-host", "counter-on-the-device"])
def test_N4_endless_loop_ends_with_an_error_inside_a_compiled_step(known, monkeypatch):
    monkeypatch.setattr("thaw.lowering.loops.LIMIT", 2000)
    condition, body = loop("Less", "Sub")
    body = Graph(body.name, body.nodes, body.inputs, (body.outputs[0], Tensor("x")))

    def function(i, x):
        start = np.array(0, np.int32) if known else i
        return run_loop(Context(Resources(), max_iterations=50), "while", condition, body, [start, x])[1]

    with pytest.raises(Exception, match="still wants to go on after"):
        keras.ops.convert_to_numpy(compiled(function)(keras.ops.convert_to_tensor(0, "int32"), keras.ops.ones(2)))


def test_random_numbers_differ_from_round_to_round():
    places = (Tensor("i"), Tensor("a"), Tensor("b"))
    inputs = {t.node: Node(t.node, "_Arg") for t in places}
    number = {n: Node(n, "Const", attrs={"value": np.array(v, np.int32)}) for n, v in (("n", 3), ("one", 1), ("shape", [4]))}
    condition = Graph("cond", {**inputs, **number, "c": Node("c", "Less", (Tensor("i"), Tensor("n")))}, places, (Tensor("c"),))
    draw = Node("draw", "RandomUniform", (Tensor("shape"),), (), {"dtype": "float32"})
    more = {"next": Node("next", "AddV2", (Tensor("i"), Tensor("one"))), "draw": draw}
    body = Graph("body", {**inputs, **number, **more}, places, (Tensor("next"), Tensor("b"), Tensor("draw")))
    generator = keras.random.SeedGenerator(3)

    def function(state):
        start = keras.ops.zeros((4,))
        with keras.StatelessScope(state_mapping=[(generator.state, state)]):
            context = Context(Resources(), seed_generator=generator)
            _, a, b = run_loop(context, "while", condition, body, [np.array(0, np.int32), start, start])
        return a, b

    a, b = (keras.ops.convert_to_numpy(x) for x in compiled(function)(generator.state.value))
    assert (a != b).all() and (a > 0).all() and (b < 1).all()


def branch(name, nodes):
    return Graph(name, {n.name: n for n in nodes}, (Tensor("x"),), (Tensor("y"),))


@pytest.mark.skipif(not JAX, reason="only JAX needs branches of equal shapes")
def test_N4_branches_of_different_shapes_are_refused_with_both_shapes():
    short = branch("short", [Node("x", "Placeholder"), Node("y", "Identity", (Tensor("x"),))])
    axis = Node("axis", "Const", (), (), {"value": np.array(0, np.int32)})
    long = branch("long", [Node("x", "Placeholder"), axis, Node("y", "ConcatV2", (*[Tensor("x")] * 2, Tensor("axis")))])
    nodes = [Node("p", "Placeholder"), Node("x", "Placeholder")]
    nodes.append(Node("if", "If", (Tensor("p"), Tensor("x")), (), {"then_branch": long, "else_branch": short}))
    graph = Graph("g", {n.name: n for n in nodes}, (Tensor("p"), Tensor("x")), (Tensor("if"),))
    resources = Resources()
    run = compiled(lambda p, x: resources.plan(graph, "float32").run(Context(resources), [p, x])[0])
    with pytest.raises(BranchShapeError, match=r"'if' is float32 of shape \(3,\) in one branch and float32 of shape \(6,\)"):
        run(keras.ops.convert_to_tensor(True), keras.ops.ones(3))


@pytest.mark.skipif(not JAX, reason="only JAX scans")
def test_N4_columns_read_in_a_loop_keep_the_scan(monkeypatch):
    monkeypatch.setattr(loops, "UNROLLED", -1)
    recorded = case.load("loop_reads_columns")
    function = functools.partial(lambda *values: case.run(recorded, values))
    case.check(recorded, *case.traced(function, list(recorded.inputs.values()), recorded.cotangents))
