"""ELMo beside thaw: the two ways in which TensorFlow itself still trains a TF1 Hub module, each in a process of its own.

    python benchmarks/elmo_graph.py SIDE ARTIFACT FOLDER

SIDE: "v1" is compat.v1's graph mode in today's TensorFlow, control flow v2 off (with it, or eagerly, there are no gradients);
"tf1" is hub.Module under genuine TensorFlow 1.15. ARTIFACT says what trains: "elmo" everything, "elmo-scalars" what the publisher
meant to be trained. Same head, loss, optimizer and figures as worker.py. Runs on Python 3.7 too.
"""

import json
import os

import numpy as np

SENTENCES, WORDS, WIDTH = 32, 24, 256
VOCABULARY = ["the", "cat", "sat", "on", "a", "mat", "quickly", "jumping", "internationalization", "x"]


def sentences(count):
    """So many lines of WORDS words each."""
    picks = np.random.RandomState(0).randint(0, len(VOCABULARY), (count, WORDS))
    return np.array([" ".join(VOCABULARY[i] for i in row).encode() for row in picks], object)


def main():
    from worker import CLOCK, FOLDER, NAME, RATE, SIDE, peak, repeated, reset, timed

    start = CLOCK()
    import tensorflow as tf

    tf1 = tf.compat.v1
    if SIDE == "tf1":
        import tensorflow_hub
    found = {"import": [CLOCK() - start]}
    tf1.disable_eager_execution()
    tf1.disable_control_flow_v2()
    threads = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else 0
    config = tf1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    session = tf1.Session(config=config)
    x = sentences(SENTENCES)
    y = np.random.RandomState(1).randint(0, 5, SENTENCES)

    def load():
        if SIDE == "tf1":
            module = tensorflow_hub.Module(FOLDER, trainable=True)
            lines = tf1.placeholder(tf.string, [None])
            made = lines, module(lines, signature="default", as_dict=True)["default"], module.variable_map.values()
            session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
            return made
        meta = tf1.saved_model.load(session, [], FOLDER)
        signature = meta.signature_def["default"]
        lines, means = (
            session.graph.get_tensor_by_name(n.name)
            for n in (next(iter(signature.inputs.values())), signature.outputs["default"])
        )
        return lines, means, tf1.global_variables()

    reset()
    spent, (lines, means, variables) = timed(load)
    found["load"] = [spent]
    found["memory_load"] = [peak()]
    trained = tf1.trainable_variables() if NAME == "elmo-scalars" else [v for v in variables if v.dtype.is_floating]
    labels = tf1.placeholder(tf.int64, [None])
    kernel = tf1.get_variable("head_kernel", [WIDTH, 5], use_resource=True)
    bias = tf1.get_variable("head_bias", [5], initializer=tf1.zeros_initializer(), use_resource=True)
    logits = tf.matmul(means, kernel) + bias
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    step = tf1.train.GradientDescentOptimizer(RATE).minimize(loss, var_list=[*trained, kernel, bias])
    session.run([kernel.initializer, bias.initializer])

    reset()
    found["first_prediction"] = [timed(lambda: session.run(logits, {lines: x}))[0]]
    found["prediction"] = repeated(lambda: session.run(logits, {lines: x}), 6)
    found["memory_prediction"] = [peak()]
    reset()
    found["first_step"] = [timed(lambda: session.run([loss, step], {lines: x, labels: y}))[0]]
    found["step"] = repeated(lambda: session.run([loss, step], {lines: x, labels: y}), 6)
    found["memory_step"] = [peak()]
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
