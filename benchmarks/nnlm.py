"""Tables of embeddings: sentences by a vocabulary as nnlm-en-dim128 has it, and ids into a million rows.

Words and ids are drawn evenly, which is the worst case for caches; those of real text are not.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from artifacts import Artifact

SENTENCES, WORDS = 256, 12


def ids(count, rows):
    return np.random.default_rng(0).integers(0, count, (rows, WORDS)).astype("int32")


def sentences(count, rows):
    return np.array([" ".join(f"w{i}" for i in row) for row in ids(count, rows)], dtype=object)


def publish(table, call, spec, folder, **assets):
    """Writes what TF-Hub's text modules are: a callable, its variables, and the table of words where there is one."""
    import tensorflow as tf

    module = tf.train.Checkpoint(table=table, **assets)
    module.variables = module.trainable_variables = [table]
    module.regularization_losses = []
    module.__call__ = tf.function(call, input_signature=[spec])
    tf.saved_model.save(module, str(folder))


def build_nnlm(count, width, folder):
    import tempfile
    from pathlib import Path

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as scratch:
        vocabulary = Path(scratch) / "tokens.txt"
        vocabulary.write_text("".join(f"w{i}\n" for i in range(count)))
        lines = tf.lookup.TextFileInitializer(
            str(vocabulary), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        known = tf.lookup.StaticVocabularyTable(lines, num_oov_buckets=1)
        table = tf.Variable(tf.random.stateless_normal([count + 1, width], [1, 2]) * 0.3, name="embeddings")

        def call(texts):
            words, _ = tf.sparse.fill_empty_rows(tf.strings.split(tf.strings.lower(texts)).to_sparse(), "")
            numbers = tf.SparseTensor(words.indices, known.lookup(words.values), words.dense_shape)
            return tf.nn.embedding_lookup_sparse(table, numbers, None, combiner="sqrtn")

        publish(table, call, tf.TensorSpec([None], tf.string), folder, known=known)


def build_table(count, width, folder):
    import tensorflow as tf

    table = tf.Variable(tf.random.stateless_normal([count, width], [1, 2]) * 0.3, name="embeddings")
    publish(table, lambda x: tf.reduce_mean(tf.gather(table, x), 1), tf.TensorSpec([None, WORDS], tf.int32), folder)


def native_table(count, width):
    import keras

    mean = keras.layers.GlobalAveragePooling1D()
    return keras.Sequential([keras.Input((WORDS,), dtype="int32"), keras.layers.Embedding(count, width), mean])


def by_signature(module, training):
    """These have no variant for training."""
    return module.__call__


SENTENCES_50K = Artifact(
    "nnlm_50k",
    SENTENCES,
    {"shape": (), "dtype": "string"},
    (128,),
    partial(build_nnlm, 50_000, 128),
    partial(sentences, 50_000),
    None,
    layer={"dtype": "string"},
    epoch=20,
    raw=by_signature,
    without={"native": "Keras 3 has no strings there", "tfsm": "no training variant", "tf2jax": "no strings"},
)

ARTIFACTS = [
    SENTENCES_50K,
    replace(SENTENCES_50K, name="nnlm_50k_adam", optimizer="Adam", without=SENTENCES_50K.without | {"raw": "trains by SGD"}),
    Artifact(
        "table_1m",
        SENTENCES,
        {"shape": (WORDS,), "dtype": "int32"},
        (64,),
        partial(build_table, 1_000_000, 64),
        partial(ids, 1_000_000),
        partial(native_table, 1_000_000, 64),
        raw=by_signature,
        without={"tfsm": "no training variant"},
    ),
]
