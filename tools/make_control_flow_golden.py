"""Records TensorFlow's answers to small graphs with control flow: values and gradients, one npz a graph.

Needs TensorFlow. Each file of tests/golden/control_flow/ holds the GraphDef itself, so that the tests read it as they would
any model: v1 graphs (Enter, Merge, Switch ...; control flow v2 switched off) and v2 ones (While, If, Case with functions).
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "golden" / "control_flow"
sys.path.insert(0, str(ROOT / "tests"))

tf1 = tf.compat.v1
CASES = {}
V2 = set()


def case(function, v2=False):
    CASES[function.__name__] = function
    if v2:
        V2.add(function.__name__)
    return function


def v2(function):
    return case(function, v2=True)


def fed(name, value):
    """A placeholder, and the value that it gets."""
    value = np.asarray(value)
    placeholder = tf1.placeholder(value.dtype, value.shape, name=name)
    tf1.add_to_collection("fed", (placeholder, value))
    return placeholder


def floats(*shape, seed=0):
    return np.random.default_rng(seed + 17 * len(shape)).standard_normal(shape).astype(np.float32)


@case
def loop_counted():
    x, w = fed("x", floats(2, 3)), fed("w", 0.5 * floats(3, 3, seed=1))
    return [tf.while_loop(lambda i, y: i < 4, lambda i, y: [i + 1, tf.tanh(tf.matmul(y, w) + x)], [0, x])[1]]


@case
def loops_nested():
    x = fed("x", floats(3))

    def outer(i, y):
        _, y = tf.while_loop(lambda j, y: j < 2, lambda j, y: [j + 1, tf.sin(y) * x + tf.cast(i, tf.float32)], [0, y])
        return [i + 1, y]

    return list(tf.while_loop(lambda i, y: i < 3, outer, [0, x]))


@case
def loops_nested_triangle():
    x = fed("x", floats(3))

    def outer(i, y):
        _, y = tf.while_loop(lambda j, y: j <= i, lambda j, y: [j + 1, tf.tanh(y + x * 0.5)], [0, y])
        return [i + 1, y * 1.1]

    return [tf.while_loop(lambda i, y: i < 4, outer, [0, x])[1]]


@case
def loops_three_deep():
    x = fed("x", floats(2))

    def innermost(k, y):
        return [k + 1, tf.tanh(y) + 0.1 * x]

    def middle(j, i, y):
        return [j + 1, i, tf.while_loop(lambda k, y: k < i + 1, innermost, [0, y])[1]]

    def outer(i, y):
        return [i + 1, tf.while_loop(lambda j, i, y: j < 2, middle, [0, i, y])[2]]

    return [tf.while_loop(lambda i, y: i < 2, outer, [0, x])[1]]


@case
def cond_in_loop():
    x = fed("x", floats(3))

    def body(i, y):
        y = tf.cond(tf.equal(i % 2, 0), lambda: tf.sin(y) + x, lambda: y * x)
        y = tf.cond(tf.reduce_sum(y) > 0.3, lambda: y * 0.7, lambda: y + tf.constant([0.1, 0.2, 0.3]))
        return [i + 1, y]

    return [tf.while_loop(lambda i, y: i < 5, body, [0, x])[1]]


@case
def loop_in_branch():
    x, flag = fed("x", floats(3)), fed("flag", True)
    other = fed("other", False)

    def looped():
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: [i + 1, tf.sin(y) * 1.5 + x], [0, x])[1]

    return [tf.cond(flag, looped, lambda: x * 2.0), tf.cond(other, looped, lambda: tf.exp(x))]


@case
def cond_nested():
    x, p, q = fed("x", floats(4)), fed("p", True), fed("q", False)

    def inner():
        return tf.cond(q, lambda: x * 3.0, lambda: tf.cond(tf.reduce_sum(x) > 100.0, lambda: x, lambda: tf.tanh(x) + 1.0))

    return [tf.cond(p, inner, lambda: x - 1.0), tf.cond(q, inner, lambda: tf.cond(p, lambda: x * x, inner))]


@case
def cond_one_predicate_twice():
    x, p = fed("x", floats(3)), fed("p", True)
    a = tf.cond(p, lambda: x * 2.0, lambda: x)
    b = tf.cond(p, lambda: tf.sin(a), lambda: a + 1.0)
    c, d = tf.cond(p, lambda: (x, b), lambda: (b, x))
    return [a + b, c * d]


@case
def cond_constants_in_branches():
    x, p = fed("x", floats(2)), fed("p", False)
    return [tf.cond(p, lambda: tf.constant([1.0, 2.0]), lambda: tf.constant([3.0, 4.0])) * x, tf.cond(p, lambda: 7, lambda: 8)]


@case
def cond_several_outputs():
    x, p = fed("x", floats(2, 2)), fed("p", False)
    a, b, c = tf.cond(p, lambda: (x, x * 2.0, tf.constant(1)), lambda: (tf.matmul(x, x), x, tf.constant(2)))
    return [a * b, c]


@case
def case_of_three():
    x, n = fed("x", floats(3)), fed("n", np.int32(1))
    return [
        tf1.case([(tf.equal(n, 0), lambda: x), (tf.equal(n, 1), lambda: tf.sin(x) * 2.0)], default=lambda: x * x, exclusive=True)
    ]


@case
def loop_counted_by_data():
    x, n = fed("x", floats(3)), fed("n", np.int32(3))
    return list(tf.while_loop(lambda i, y: i < n, lambda i, y: [i + 1, tf.sin(y) * x], [0, x]))


@case
def loop_until_value():
    x = fed("x", np.float32(1.5))
    return [tf.while_loop(lambda y: y < 20.0, lambda y: y * x, [x])]


@case
def loop_bounded_and_stopped():
    x = fed("x", floats(3) * 0.1 + 0.5)
    i, y = tf.while_loop(lambda i, y: tf.reduce_sum(y) < 6.0, lambda i, y: [i + 1, y * 1.5 + x], [0, x], maximum_iterations=8)
    return [y, i]


@case
def loop_bounded_by_minimum():
    x, lengths = fed("x", floats(2, 6)), fed("lengths", np.array([2, 4], np.int32))
    steps = tf.minimum(tf.shape(x)[1], tf.reduce_max(lengths))
    return list(tf.while_loop(lambda t, y: t < steps, lambda t, y: [t + 1, y * 0.5 + x[:, t]], [0, tf.zeros([2])]))


@case
def loop_odd_counters():
    x = fed("x", floats(2))

    def body(i, k, y):
        return [i - 2, k * 3, y + x * tf.cast(k, tf.float32) / tf.cast(i, tf.float32)]

    return list(tf.while_loop(lambda i, k, y: tf.logical_and(i > 0, k < 1000), body, [9, 1, x]))


@case
def loop_swapped_variables():
    x, z = fed("x", floats(2)), fed("z", floats(2, seed=3))
    return list(tf.while_loop(lambda i, a, b: i < 5, lambda i, a, b: [i + 1, b, tf.tanh(a) + x], [0, x, z]))


@case
def loop_with_assert():
    x = fed("x", floats(2))

    def body(i, y):
        with tf.control_dependencies([tf1.Assert(i < 10, [i])]):
            return [i + 1, tf.identity(y) * x]

    return [tf.while_loop(lambda i, y: i < 3, body, [0, x])[1]]


@case
def loop_never():
    x, array = fed("x", floats(2, 2)), tf.TensorArray(tf.float32, 2, element_shape=[2]).unstack(tf.zeros([2, 2]))

    def body(i, y, a):
        return [i + 1, y * x, a.write(i, y[0])]

    _, y, array = tf.while_loop(lambda i, y, a: i < 0, body, [0, x, array])
    return [y, array.stack()]


@case
def loop_not_a_number_past_end():
    x, n = fed("x", np.float32(0.5)), fed("n", np.int32(3))

    def body(i, y):
        return [i + 1, y + x / (tf.cast(n, tf.float32) - tf.cast(i, tf.float32))]

    return [tf.while_loop(lambda i, y: tf.logical_and(i < 5, i < n), body, [0, x])[1]]


@case
def loop_variable_not_used():
    x = fed("x", floats(2))
    return [tf.while_loop(lambda i, j, y: i < 3, lambda i, j, y: [i + 1, j * 2, y * x], [0, 1, x])[2]]


@case
def loop_reads_columns():
    x, w = fed("x", floats(2, 5, 3)), fed("w", 0.5 * floats(3, 3, seed=1))
    return [tf.while_loop(lambda t, y: t < 5, lambda t, y: [t + 1, tf.tanh(tf.matmul(y, w) + x[:, t])], [0, x[:, 0]])[1]]


@case
def map_over_rows():
    x, w = fed("x", floats(4, 3)), fed("w", floats(3, 2, seed=5))
    return [tf.map_fn(lambda r: tf.tanh(tf.linalg.matvec(w, r, transpose_a=True)), x)]


@case
def scan_sums():
    x = fed("x", floats(5, 2))
    return [tf.scan(lambda a, r: tf.sin(a) + r, x), tf.scan(lambda a, r: a * 0.5 + r, x, initializer=tf.ones(2), reverse=True)]


@case
def fold():
    x = fed("x", floats(4, 2))
    return [tf.foldl(lambda a, r: a * r + 1.0, x), tf.foldr(lambda a, r: tf.tanh(a + r), x, initializer=tf.zeros(2))]


def cell(inputs, state, kernel):
    return tf.tanh(tf.matmul(tf.concat([inputs, state], 1), kernel))


def rnn(lengths):
    """What dynamic_rnn of TensorFlow 1 builds: TensorArrays in and out, rounds up to the longest, states copied through."""
    x, kernel = fed("x", floats(3, 5, 2)), fed("kernel", 0.6 * floats(6, 4, seed=7))
    time_major = tf.transpose(x, [1, 0, 2])
    steps, batch = tf.shape(time_major)[0], tf.shape(time_major)[1]
    inputs = tf.TensorArray(tf.float32, steps).unstack(time_major)
    outputs = tf.TensorArray(tf.float32, steps, element_shape=[3, 4])
    longest = steps if lengths is None else tf.minimum(steps, tf.maximum(1, tf.reduce_max(lengths)))

    def body(t, state, outputs):
        new = cell(inputs.read(t), state, kernel)
        out = new
        if lengths is not None:
            done = t >= lengths
            out = tf1.where(done, tf.zeros_like(new), new)
            new = tf1.where(done, state, new)
        return [t + 1, new, outputs.write(t, out)]

    zero = tf.zeros([batch, 4])
    _, state, outputs = tf.while_loop(lambda t, *_: t < longest, body, [0, zero, outputs], maximum_iterations=steps)
    return [tf.transpose(outputs.stack(), [1, 0, 2]), state]


@case
def rnn_full():
    return rnn(None)


@case
def rnn_with_lengths():
    return rnn(fed("lengths", np.array([2, 4, 3], np.int32)))


@case
def array_ops():
    x = fed("x", floats(4, 2))
    a = tf.TensorArray(tf.float32, 4, clear_after_read=False, element_shape=[2]).unstack(x)
    b = tf.TensorArray(tf.float32, 4, clear_after_read=False, element_shape=[2]).write(2, tf.sin(x[0])).write(0, x[1])
    c = tf.TensorArray(tf.float32, 5, element_shape=[2], clear_after_read=False).scatter([3, 1], x[:2])
    d = tf.TensorArray(tf.float32, 2, infer_shape=False, clear_after_read=False).split(x, [1, 3])
    return [a.read(1) * b.read(2), b.gather([0, 2]), c.stack(), d.concat(), d.read(1), a.size(), c.size()]


@case
def array_written_in_loop():
    x = fed("x", floats(3))
    a = tf.TensorArray(tf.float32, 4, clear_after_read=False)

    def body(i, y, a):
        return [i + 1, tf.sin(y) + x, a.write(i, y * 2.0)]

    _, y, a = tf.while_loop(lambda i, y, a: i < 4, body, [0, x, a])
    return [a.stack(), y]


@case
def array_read_back_in_loop():
    x = fed("x", floats(6))
    a = tf.TensorArray(tf.float32, 6, clear_after_read=False, element_shape=[]).write(0, x[0]).write(1, tf.sin(x[1]))

    def body(i, a):
        return [i + 1, a.write(i, a.read(i - 1) * x[i] + a.read(i - 2))]

    return [tf.while_loop(lambda i, a: i < 6, body, [2, a])[1].stack()]


@case
def array_written_backwards():
    x = fed("x", floats(4))
    source = tf.TensorArray(tf.float32, 4, clear_after_read=False).unstack(x)
    a = tf.TensorArray(tf.float32, 4, element_shape=[])
    a = tf.while_loop(lambda i, a: i >= 0, lambda i, a: [i - 1, a.write(i, tf.exp(source.read(3 - i)))], [3, a])[1]
    return [a.stack()]


@case
def array_grows():
    x = fed("x", floats(2))
    a = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[2])
    a = tf.while_loop(lambda i, a: i < 3, lambda i, a: [i + 1, a.write(i, x * tf.cast(i + 1, tf.float32))], [0, a])[1]
    return [a.stack(), a.size()]


def counter(resource):
    variable = tf1.get_variable("counter", initializer=tf.constant([1.0, 2.0]), use_resource=resource)
    tf1.add_to_collection("kept", variable)
    return variable


def assigned(resource):
    x, v = fed("x", floats(2)), counter(resource)

    def body(i, y):
        with tf.control_dependencies([y]):
            add = tf1.assign_add(v, x)
        with tf.control_dependencies([add]):
            return [i + 1, y * v.read_value()]

    y = tf.while_loop(lambda i, y: i < 3, body, [0, x], parallel_iterations=1)[1]
    with tf.control_dependencies([y]):
        return [y, v.read_value()]


@case
def variable_assigned_in_loop():
    return assigned(True)


@case
def reference_assigned_in_loop():
    return assigned(False)


@case
def variable_assigned_in_branch():
    x, p, v = fed("x", floats(2)), fed("p", True), counter(True)

    def true():
        with tf.control_dependencies([tf1.assign_sub(v, x)]):
            return v.read_value() * x

    y = tf.cond(p, true, lambda: x * 3.0)
    with tf.control_dependencies([y]):
        return [y, v.read_value()]


@case
def reference_assigned_for_effect_only():
    x, p, v = fed("x", floats(2)), fed("p", True), counter(False)
    op = tf.cond(p, lambda: tf.group(tf1.assign(v, x * 2.0)), tf.no_op)
    with tf.control_dependencies([op]):
        return [v.read_value() + x]


@v2
def v2_loop_and_cond():
    x, w = fed("x", floats(2, 3)), fed("w", 0.5 * floats(3, 3, seed=1))

    def body(i, y):
        y = tf.cond(tf.reduce_sum(y) > 0.0, lambda: tf.tanh(tf.matmul(y, w)), lambda: y + x)
        return [i + 1, y]

    return list(tf.while_loop(lambda i, y: i < 4, body, [0, x]))


@v2
def v2_nested():
    x, n = fed("x", floats(3)), fed("n", np.int32(2))

    def outer(i, y):
        y = tf.while_loop(lambda j, y: j <= i, lambda j, y: [j + 1, tf.sin(y) + x], [0, y])[1]
        return [i + 1, tf.cond(i > 0, lambda: y * 2.0, lambda: y)]

    return [tf.while_loop(lambda i, y: i < 3, outer, [0, x])[1], tf.switch_case(n, [lambda: x, lambda: x * 2.0, lambda: x * x])]


@v2
def v2_map():
    x = fed("x", floats(4, 3))
    return [tf.map_fn(lambda r: tf.reduce_sum(r * r) + r, x)]


@v2
def v2_scan_and_arrays():
    x = fed("x", floats(4, 2))
    a = tf.TensorArray(tf.float32, 3, element_shape=[2], clear_after_read=False).scatter([2, 0], x[:2])
    b = tf.TensorArray(tf.float32, 2, infer_shape=False, clear_after_read=False).split(x, [1, 3])
    return [tf.scan(lambda s, r: tf.sin(s) + r, x), a.stack(), a.gather([0, 2]), b.concat(), b.read(1), a.size()]


@v2
def v2_rnn_with_lengths():
    return rnn(fed("lengths", np.array([2, 4, 3], np.int32)))


@v2
def v2_variable_assigned():
    x, p, v = fed("x", floats(2)), fed("p", True), counter(True)

    @tf.function(autograph=False)  # puts what must run into the control outputs, as a SavedModel has it
    def run(x, p):
        def body(i, y):
            v.assign_add(x)
            return [i + 1, y * v.read_value()]

        def true():
            v.assign_sub(y)
            return v.read_value()

        y = tf.while_loop(lambda i, y: i < 3, body, [0, x], parallel_iterations=1)[1]
        return y, tf.cond(p, true, lambda: x)

    return list(run(x, p))


def record(build, v2=False):
    """Arrays to store: graph, inputs, outputs, cotangents, gradients, variables before and after."""
    switch = tf1.enable_control_flow_v2 if v2 else tf1.disable_control_flow_v2
    switch()
    arrays = {}
    with tf1.Graph().as_default() as graph:
        outputs = [tf.convert_to_tensor(o) for o in build()]
        inputs = tf1.get_collection("fed")
        variables = tf1.get_collection("kept")
        definition = graph.as_graph_def()
        for node in definition.node:  # shapes and places are not read
            for key in ("_output_shapes", "_class", "_xla_propagate_compile_time_consts"):
                node.attr.pop(key, None)
        arrays["graph"] = np.frombuffer(definition.SerializeToString(deterministic=True), np.uint8)
        generator = np.random.default_rng(1)
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            feeds = dict(inputs)
            for v in variables:
                arrays[f"var|{v.op.name}"] = session.run(v)
            values = session.run(outputs, feeds)
            for v in variables:
                arrays[f"after|{v.op.name}"] = session.run(v)
        for i, (tensor, value) in enumerate(zip(outputs, values, strict=True)):
            arrays[f"out|{i}|{tensor.name}"] = value
            if tensor.dtype.is_floating:
                arrays[f"cot|{i}"] = generator.standard_normal(value.shape).astype(value.dtype)
        for placeholder, value in inputs:
            arrays[f"in|{placeholder.op.name}"] = value
    if variables or not any(k.startswith("cot|") for k in arrays):
        return arrays
    with tf1.Graph().as_default():  # anew: gradients change v2 loops that have run
        outputs = [tf.convert_to_tensor(o) for o in build()]
        terms = [tf.reduce_sum(o * arrays[f"cot|{i}"]) for i, o in enumerate(outputs) if o.dtype.is_floating]
        inputs = tf1.get_collection("fed")
        differentiated = [p for p, _ in inputs if p.dtype.is_floating]
        gradients = tf.gradients(tf.add_n(terms), differentiated)
        with tf1.Session() as session:
            for placeholder, gradient in zip(differentiated, gradients, strict=True):
                if gradient is not None:
                    arrays[f"grad|{placeholder.op.name}"] = session.run(gradient, dict(inputs))
    return arrays


def programs():
    """Random nests, recorded: tests/lowering/control_flow_programs.py says how they are made."""
    from lowering.control_flow_programs import build, sample

    for number in range(24):
        yield f"program_{number:02d}", (lambda n=number: build(sample(n), fed, tf))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    for name, function in CASES.items():
        if not wanted or name in wanted:
            np.savez_compressed(FOLDER / f"{name}.npz", **record(function, name in V2))
            print(name)
    if not wanted or "programs" in wanted:
        together = {}
        for name, function in programs():
            together.update({f"{name}|{key}": value for key, value in record(function).items()})
        np.savez_compressed(FOLDER / "programs.npz", **together)


if __name__ == "__main__":
    main()
