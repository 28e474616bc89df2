"""Writes tests/models/behaviour/silent_lstm: LSTMs in both directions, laid out as Keras of TensorFlow 2.1 exported them.

    python tools/make_silent_lstm.py [FOLDER]

With TensorFlow. Each direction is a While over TensorLists in a function of its own, which takes the handles of its weights as
arguments, below calls of calls; the arguments carry no shapes, and the calls name a gradient that nobody saved. For a published
one (c_news_bilstm of the recorded models) TensorFlow answers None for the gradient of every recurrent weight, without a word;
a present TensorFlow finds those of this one, so that its answers can be recorded beside: tests/golden/models/silent_lstm.npz.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

WORDS, WIDTH, UNITS, CLASSES = 12, 3, 4, 2
WORDS_FED = [[1, 2, 3, 11, 7], [4, 5, 6, 0, 1]]
GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "models"
TARGET = Path(__file__).resolve().parents[1] / "tests" / "models" / "behaviour" / "silent_lstm"


class Direction(tf.Module):
    """One direction of the LSTM, written as Keras' `standard_lstm` was."""

    def __init__(self, name: str, random: np.random.Generator, backwards: bool) -> None:
        super().__init__(name=name)
        self.backwards = backwards

        def weight(part: str, *shape: int) -> tf.Variable:
            return tf.Variable(random.standard_normal(shape).astype("float32") / 2, name=f"{name}/lstm/{part}")

        self.kernel = weight("kernel", WIDTH, 4 * UNITS)
        self.recurrent_kernel = weight("recurrent_kernel", UNITS, 4 * UNITS)
        self.bias = weight("bias", 4 * UNITS)

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        zeros = tf.zeros([tf.shape(x)[0], UNITS])
        return self.standard_lstm(x, zeros, zeros, self.kernel, self.recurrent_kernel, self.bias)[0]

    @tf.function
    def standard_lstm(self, x, h, c, kernel, recurrent_kernel, bias):
        steps = tf.transpose(x, [1, 0, 2])
        if self.backwards:
            steps = tf.reverse(steps, [0])
        length = tf.shape(steps)[0]
        given = tf.TensorArray(tf.float32, length).unstack(steps)

        def step(time, made, h, c):
            z = given.read(time) @ kernel + h @ recurrent_kernel + bias
            i, f, g, o = tf.split(z, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            return time + 1, made.write(time, h), h, c

        made = tf.TensorArray(tf.float32, length, element_shape=[None, UNITS])
        start = (tf.constant(0), made, h, c)
        _, made, h, c = tf.while_loop(lambda time, *_: time < length, step, start, maximum_iterations=length)
        return h, made.stack(), c


class News(tf.Module):
    """Embedding, both directions, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(5)
        self.embedding = tf.Variable(random.standard_normal((WORDS, WIDTH)).astype("float32"), name="embedding/embeddings")
        self.forward = Direction("forward", random, backwards=False)
        self.backward = Direction("backward", random, backwards=True)
        self.kernel = tf.Variable(random.standard_normal((2 * UNITS, CLASSES)).astype("float32"), name="dense/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="words")])
    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        x = tf.gather(self.embedding, words)
        return tf.concat([self.forward(x), self.backward(x)], 1) @ self.kernel


def age(file: Path) -> None:
    """Takes out of the graphs what TensorFlow 2.1 did not write."""
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        function.arg_attr.clear()
        function.resource_arg_unique_id.clear()
        for node in function.node_def:
            for attribute in ("_read_only_resource_inputs", "_stateful_parallelism"):
                if attribute in node.attr:
                    del node.attr[attribute]
            if node.op in {"PartitionedCall", "StatefulPartitionedCall"}:
                node.attr["_gradient_op_type"].s = b"PartitionedCallUnused"
    file.write_bytes(model.SerializeToString(deterministic=True))


def answers(folder: Path) -> dict[str, np.ndarray]:
    """TensorFlow's answer for `WORDS_FED`, and the gradient of half its sum of squares for each variable."""
    loaded = tf.saved_model.load(str(folder))
    lstms = [getattr(getattr(loaded, d), w) for d in ("forward", "backward") for w in ("kernel", "recurrent_kernel", "bias")]
    variables = [loaded.embedding, *lstms, loaded.kernel]
    with tf.GradientTape() as tape:
        answer = loaded(tf.constant(WORDS_FED))
        total = tf.reduce_sum(answer**2) / 2
    found = zip(variables, tape.gradient(total, variables), strict=True)
    gradients = {v.name.removesuffix(":0"): tf.convert_to_tensor(g).numpy() for v, g in found}
    return {"words": np.array(WORDS_FED, "int32"), "answer": answer.numpy(), **gradients}


def main(folder: Path) -> None:
    """Writes the SavedModel and TensorFlow's answers."""
    shutil.rmtree(folder, ignore_errors=True)
    tf.saved_model.save(News(), str(folder))
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    age(folder / "saved_model.pb")
    GOLDEN.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(GOLDEN / "silent_lstm.npz", **answers(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
