"""Writes tests/models/seeds/elmo_like: a small TF1 Hub module in ELMo's shape, by genuine TensorFlow 1.15.5.

Needs Python 3.7: `pip install tensorflow==1.15.5 tensorflow-hub==0.12.0 'protobuf<3.21'`. Sentences are split, words looked up by
hash, embedded, run through an LSTM and a projection in nested scopes, and mixed by two dense layers and an aggregation.
"""

import shutil
from pathlib import Path

import tensorflow as tf
import tensorflow_hub as hub

tf.logging.set_verbosity(tf.logging.ERROR)

TARGET = Path(__file__).resolve().parent.parent / "tests" / "models" / "seeds" / "elmo_like"
WORDS, WIDTH = 200, 8


def dense(name, x, width):
    """A dense layer in a scope of that name."""
    with tf.variable_scope(name):
        kernel = tf.get_variable("kernel", [x.shape[-1].value, width])
        bias = tf.get_variable("bias", [width], initializer=tf.zeros_initializer())
        return tf.tanh(tf.tensordot(x, kernel, 1) + bias)


def module(is_training):
    """The module's function for one set of tags."""
    sentences = tf.placeholder(tf.string, [None])
    words = tf.sparse.to_dense(tf.strings.split(sentences), default_value="")
    ids = tf.strings.to_hash_bucket_fast(words, WORDS)
    lengths = tf.reduce_sum(tf.cast(tf.not_equal(words, ""), tf.int32), 1)
    with tf.variable_scope("embedding"):
        x = tf.nn.embedding_lookup(tf.get_variable("table", [WORDS, WIDTH]), ids)
    x = dense("dense_in", x, WIDTH)
    with tf.variable_scope("bilm"):
        with tf.variable_scope("RNN_0"):
            states, _ = tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(WIDTH), x, sequence_length=lengths, dtype=tf.float32)
        states = dense("projection", states, WIDTH)
    y = dense("dense_out", states, WIDTH)
    if is_training:
        y = tf.nn.dropout(y, rate=0.1)
    with tf.variable_scope("aggregation"):
        weights = tf.get_variable("weights", [2], initializer=tf.zeros_initializer())
        scale = tf.get_variable("scaling", [], initializer=tf.ones_initializer())
    mix = tf.nn.softmax(weights)
    mask = tf.expand_dims(tf.sequence_mask(lengths, tf.shape(words)[1], tf.float32), -1)
    elmo = scale * tf.reduce_sum(tf.stack([x, y]) * tf.reshape(mix, [2, 1, 1, 1]), 0) * mask
    mean = tf.reduce_sum(elmo, 1) / tf.maximum(tf.reduce_sum(mask, 1), 1.0)
    hub.add_signature(inputs=sentences, outputs={"default": mean, "elmo": elmo})


def main():
    """Exports it."""
    shutil.rmtree(str(TARGET), ignore_errors=True)
    spec = hub.create_module_spec(module, tags_and_args=[(set(), {"is_training": False}), ({"train"}, {"is_training": True})])
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        made = hub.Module(spec)
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.tables_initializer()])
            made.export(str(TARGET), session)


if __name__ == "__main__":
    main()
