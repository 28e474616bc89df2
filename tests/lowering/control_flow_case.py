"""Reads the goldens of tools/make_control_flow_golden.py and runs them on whichever backend is on."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import keras
import numpy as np

from gradients import vjp
from thaw.formats import graph_def
from thaw.graph.functionalize_control_flow import functionalize
from thaw.graph.ir import Graph, Tensor
from thaw.lowering import table as table
from thaw.lowering.run import Context, Resources
from thaw.wire import protos

FOLDER = Path(__file__).parent.parent / "golden" / "control_flow"


@dataclass(frozen=True)
class Recorded:
    """A graph with TensorFlow's answers."""

    name: str
    graph: Graph
    library: dict
    inputs: dict
    outputs: tuple
    cotangents: tuple
    gradients: dict
    before: dict
    after: dict


@cache
def arrays(file):
    with np.load(FOLDER / f"{file}.npz") as data:
        return {key: data[key] for key in data.files}


@cache
def load(name):
    """The golden of that name ("file" or "file|part")."""
    file, _, part = name.partition("|")
    prefix = f"{part}|" if part else ""
    data = {k.removeprefix(prefix): v for k, v in arrays(file).items() if k.startswith(prefix)}

    def named(kind):
        return {k.split("|", 1)[1]: v for k, v in data.items() if k.startswith(f"{kind}|")}

    proto = protos.parse("GraphDef", data["graph"].tobytes(), name)
    results = sorted((int(k.split("|")[0]), k.split("|")[1], v) for k, v in named("out").items())
    inputs = named("in")
    graph = Graph(
        name,
        graph_def.nodes_of(proto, name),
        tuple(Tensor(n) for n in inputs),
        tuple(graph_def.tensor_of(tensor, name) for _, tensor, _ in results),
    )
    return Recorded(
        name,
        graph,
        dict(graph_def.Library(proto.library.function, (), name)),
        inputs,
        tuple(v for _, _, v in results),
        tuple(data.get(f"cot|{i}") for i, _, _ in results),
        named("grad"),
        named("var"),
        named("after"),
    )


def live(build):
    """The record of a graph that `build(fed)` makes now, TensorFlow 1 answering; see tools/make_control_flow_golden.py."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default() as graph:
        feeds = {}

        def fed(name, value):
            placeholder = tf1.placeholder(value.dtype, value.shape, name=name)
            feeds[placeholder] = value
            return placeholder

        outputs = build(fed)
        definition = graph.as_graph_def()
        cotangents = [np.random.default_rng(i).standard_normal(o.shape).astype(np.float32) for i, o in enumerate(outputs)]
        total = tf.add_n([tf.reduce_sum(o * c) for o, c in zip(outputs, cotangents, strict=True)])
        floats = [p for p in feeds if p.dtype.is_floating]
        gradients = {p.op.name: g for p, g in zip(floats, tf.gradients(total, floats), strict=True) if g is not None}
        with tf1.Session() as session:
            values, gradients = session.run((outputs, gradients), feeds)
    nodes = graph_def.nodes_of(protos.parse("GraphDef", definition.SerializeToString(), "live"), "live")
    places = tuple(Tensor(p.op.name) for p in feeds)
    made = Graph("live", nodes, places, tuple(graph_def.tensor_of(o.name, "live") for o in outputs))
    inputs = {p.op.name: v for p, v in feeds.items()}
    return Recorded("live", made, {}, inputs, tuple(values), tuple(cotangents), gradients, {}, {})


def names():
    """All goldens of one graph each."""
    return sorted(f.stem for f in FOLDER.glob("*.npz") if f.stem != "programs")


def programs():
    """The recorded random programs."""
    return sorted({f"programs|{key.split('|')[0]}" for key in arrays("programs")})


def resources(recorded):
    variables = {k: keras.Variable(v, name=k.replace("/", "_"), trainable=False) for k, v in recorded.before.items()}
    return Resources(variables, recorded.library)


def run(recorded, values, kept=None, **context):
    """The outputs for `values` (in the order of the inputs), as tensors."""
    kept = resources(recorded) if kept is None else kept
    graph = functionalize(recorded.graph)
    results = kept.plan(graph, "float32").run(Context(kept, **context), values)
    return [keras.ops.convert_to_tensor(r) for r in results]


def traced(function, inputs, cotangents, host=()):
    """As `vjp`, but the whole step compiled: jax.jit, tf.function. Inputs of the positions `host` stay numpy."""
    inputs = [np.asarray(x) for x in inputs]
    passed = [i for i in range(len(inputs)) if i not in host]
    floating = [i for i in passed if inputs[i].dtype.kind == "f"]

    def full(values):
        values = iter(values)
        return [x if i in host else next(values) for i, x in enumerate(inputs)]

    def scalar(outputs):
        terms = [keras.ops.sum(o * c) for o, c in zip(outputs, cotangents, strict=True) if c is not None]
        return sum(terms[1:], terms[0])

    if keras.backend.backend() == "jax":
        import jax

        def step(floats, others):
            merged = iter(floats), iter(others)
            outputs = function(*full([next(merged[0] if i in floating else merged[1]) for i in passed]))
            return scalar(outputs), outputs

        floats = [keras.ops.convert_to_tensor(inputs[i]) for i in floating]
        others = [keras.ops.convert_to_tensor(inputs[i]) for i in passed if i not in floating]
        grads, outputs = jax.jit(jax.grad(step, has_aux=True))(floats, others)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def step(*values):
            with tf.GradientTape() as tape:
                for v, i in zip(values, passed, strict=True):
                    if i in floating:
                        tape.watch(v)
                outputs = function(*full(values))
                total = scalar(outputs)
            grads = tape.gradient(total, [v for v, i in zip(values, passed, strict=True) if i in floating])
            return outputs, grads

        outputs, grads = step(*[tf.constant(inputs[i]) for i in passed])
    else:
        return vjp(function, inputs, cotangents)
    result = [None] * len(inputs)
    for i, g in zip(floating, grads, strict=True):
        result[i] = None if g is None else keras.ops.convert_to_numpy(g)
    return [keras.ops.convert_to_numpy(o) for o in outputs], result


def check(recorded, results, gradients=None, rtol=2e-5):
    """Asserts equality with TensorFlow's answers."""
    for i, (ours, theirs) in enumerate(zip(results, recorded.outputs, strict=True)):
        assert ours.shape == theirs.shape, f"output {i}: {ours.shape}, not {theirs.shape}"
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=rtol * max(1e-3, np.abs(theirs).max(initial=0)), err_msg=f"output {i}"
        )
    for name, ours in zip(recorded.inputs, gradients or [None] * len(recorded.inputs), strict=True):
        if gradients is not None and name in recorded.gradients:
            theirs = recorded.gradients[name]
            ours = np.zeros_like(theirs) if ours is None else ours
            np.testing.assert_allclose(
                ours, theirs, rtol=0, atol=rtol * max(1e-3, np.abs(theirs).max(initial=0)), err_msg=f"gradient of {name}"
            )
