"""Random programs of loops, conditions and tensor arrays, as plain data; built as TensorFlow graphs where that is at hand.

A program is a list of statements over three float vectors a, b, c of length 3:
    ("set", target, kind, x, y)         target = kind(x, y)
    ("if", predicate, then, else)       predicate: ("flag",) | ("above", x, threshold) | ("constant", bool) | ("odd", counter)
    ("for", rounds, body)               a counter runs from 0
    ("until", x, threshold, most, body) while sum(x) < threshold and counter < most
    ("array", rounds, target, x, back)  writes tanh(x * (i + 1)) at i, reads what stands before, and sums all rows up
"""

import numpy as np

NAMES = ("a", "b", "c")
KINDS = ("add", "mul", "sub", "tanh", "mix")


def statements(choose, depth, most=3):
    """Some statements; `choose(options)` picks one."""
    return [statement(choose, depth) for _ in range(choose(range(1, most + 1)))]


def predicate(choose, loops):
    kinds = ["flag", "above", "constant"] + (["odd"] if loops else [])
    kind = choose(kinds)
    if kind == "above":
        return (kind, choose(NAMES), choose((-1.0, 0.03, 1.0)))
    if kind == "constant":
        return (kind, choose((True, False)))
    return (kind,)


def statement(choose, depth, loops=0):
    kinds = ["set", "set", "array"] if depth == 0 else ["set", "if", "for", "until", "array"]
    kind = choose(kinds)
    if kind == "set":
        return (kind, choose(NAMES), choose(KINDS), choose(NAMES), choose(NAMES))
    if kind == "if":
        return (kind, predicate(choose, depth < 2), statements(choose, depth - 1, 2), statements(choose, depth - 1, 2))
    if kind == "for":
        return (kind, choose((0, 1, 2, 3)), statements(choose, depth - 1, 2))
    if kind == "until":
        return (kind, choose(NAMES), choose((-0.5, 0.53, 3.0)), choose((2, 4)), statements(choose, depth - 1, 2))
    return (kind, choose((2, 3)), choose(NAMES), choose(NAMES), choose((True, False)))


def sample(seed):
    """The program of that number."""
    generator = np.random.default_rng(seed)
    return statements(lambda options: list(options)[generator.integers(len(list(options)))], depth=1 + seed % 3)


def compute(kind, x, y, tf):
    if kind == "add":
        return (x + y) * 0.6
    if kind == "mul":
        return x * y + 0.1
    if kind == "sub":
        return x - 0.5 * y
    if kind == "tanh":
        return tf.tanh(x) + 0.2 * y
    return tf.sin(x) * tf.constant([0.5, -1.0, 0.7]) + y[::-1]


def decide(condition, state, flag, counter, tf):
    kind = condition[0]
    if kind == "flag":
        return flag
    if kind == "constant":
        return tf.constant(condition[1])
    if kind == "odd":
        return flag if counter is None else tf.equal(counter % 2, 1)
    return tf.reduce_sum(state[condition[1]]) > condition[2]


def execute(program, state, flag, counter, tf):
    """The three vectors after `program`, as graph nodes."""
    state = dict(state)
    for entry in program:
        kind = entry[0]
        if kind == "set":
            _, target, how, x, y = entry
            state[target] = compute(how, state[x], state[y], tf)
        elif kind == "if":
            _, condition, then, other = entry
            branches = [
                lambda p=part, s=dict(state): [execute(p, s, flag, counter, tf)[n] for n in NAMES] for part in (then, other)
            ]
            state = dict(zip(NAMES, tf.cond(decide(condition, state, flag, counter, tf), *branches), strict=True))
        elif kind in {"for", "until"}:
            body, rounds = entry[-1], entry[1] if kind == "for" else entry[3]

            def goes_on(i, a, b, c, rounds=rounds, entry=entry):
                within = i < rounds
                if entry[0] == "for":
                    return within
                total = tf.reduce_sum(dict(zip(NAMES, (a, b, c), strict=True))[entry[1]])
                return tf.logical_and(total < entry[2], within)

            def after(i, a, b, c, body=body):
                new = execute(body, dict(zip(NAMES, (a, b, c), strict=True)), flag, i, tf)
                return [i + 1, *[new[n] for n in NAMES]]

            state = dict(zip(NAMES, tf.while_loop(goes_on, after, [tf.constant(0), *[state[n] for n in NAMES]])[1:], strict=True))
        else:
            _, rounds, target, x, back = entry
            array = tf.TensorArray(tf.float32, rounds + 1, element_shape=[3], clear_after_read=False).write(0, state[target])

            def write(i, array, x=state[x], back=back):
                value = tf.tanh(x * tf.cast(i + 1, tf.float32))
                return [i + 1, array.write(i + 1, value + 0.3 * array.read(i) if back else value)]

            array = tf.while_loop(lambda i, _, rounds=rounds: i < rounds, write, [tf.constant(0), array])[1]
            state[target] = tf.reduce_sum(array.stack(), 0) / float(rounds + 1)
    return state


def build(program, fed, tf):
    """The graph of a program: three vectors and a flag go in (by `fed(name, value)`), three vectors come out."""
    generator = np.random.default_rng(len(repr(program)))
    state = {n: fed(n, generator.standard_normal(3).astype(np.float32)) for n in NAMES}
    flag = fed("flag", np.asarray(bool(generator.integers(2))))
    after = execute(program, state, flag, None, tf)
    return [after[n] * 1.0 for n in NAMES]
