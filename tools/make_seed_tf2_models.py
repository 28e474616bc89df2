"""Writes tests/models/seeds/: a small MobileNetV2 in two forms and a text embedding, as TensorFlow 2 publishers write them.

`python tools/make_seed_tf2_models.py`, with tensorflow and tf_keras installed. Layer names, input and output shapes are
those of the published modules; widths are not, so that they stay small. The feature vector's publisher left nothing to train.
"""

import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import tf_keras

TARGET = Path(__file__).resolve().parent.parent / "tests" / "models" / "seeds"
L = tf_keras.layers


def mobilenet(top):
    """The stem, two inverted residual blocks and the head of MobileNetV2, four channels wide."""
    tf_keras.utils.set_random_seed(1)
    image = L.Input((224, 224, 3))

    def conv(x, name, width, kernel=1, stride=1):
        x = L.Conv2D(width, kernel, stride, "same", use_bias=False, name=name)(x)
        x = L.BatchNormalization(name=f"bn_{name}" if name[0] == "C" else f"{name}_BN")(x)
        return L.ReLU(6.0, name=f"{name}_relu")(x)

    x = conv(image, "Conv1", 4, 3, 4)
    for block, stride in ((1, 4), (16, 2)):
        x = conv(x, f"block_{block}_expand", 8)
        x = L.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"block_{block}_depthwise")(x)
        x = L.BatchNormalization(name=f"block_{block}_depthwise_BN")(x)
        x = L.ReLU(6.0, name=f"block_{block}_depthwise_relu")(x)
        x = L.Conv2D(4, 1, use_bias=False, name=f"block_{block}_project")(x)
        x = L.BatchNormalization(name=f"block_{block}_project_BN")(x)
    x = conv(x, "Conv_1", 8)
    x = L.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    return tf_keras.Model(image, L.Dense(1001, name="predictions")(x) if top else x)


class Embedding(tf.Module):
    """Sentences to the sum of their words' rows by the root of their number, as nnlm-en-dim128 does it."""

    def __init__(self, vocabulary):
        super().__init__()
        tokens = tf.lookup.KeyValueTensorInitializer(vocabulary, tf.range(len(vocabulary), dtype=tf.int64))
        self.table = tf.lookup.StaticVocabularyTable(tokens, num_oov_buckets=1)
        rows = tf.random.stateless_normal([len(vocabulary) + 1, 128], seed=[1, 2]) * 0.3
        self.embeddings = tf.Variable(rows, name="embeddings/part_0", trainable=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, sentences):
        """(batch,) strings to (batch, 128)."""
        words = tf.strings.split(tf.strings.lower(sentences)).to_sparse()
        ids = tf.SparseTensor(words.indices, self.table.lookup(words.values), words.dense_shape)
        return tf.nn.safe_embedding_lookup_sparse(self.embeddings, ids, combiner="sqrtn")


def save(model, folder, trainable):
    """Saves a Keras model as a reusable SavedModel of TensorFlow 2: `__call__(inputs, training)`, and its variables."""
    shutil.rmtree(folder, ignore_errors=True)
    module = tf.__internal__.tracking.AutoTrackable()
    spec = tf.TensorSpec([None, 224, 224, 3], tf.float32, name="inputs")
    call = tf.function(lambda inputs, training=False: model(inputs, training=training))
    for training in (False, True):
        call.get_concrete_function(spec, training=training)
    module.__call__ = call
    module.variables = list(model.variables)
    module.trainable_variables = list(model.trainable_variables) if trainable else []
    module.regularization_losses = []
    tf.saved_model.save(module, str(folder))


def main():
    """Writes all three."""
    for name, model, trainable in (
        ("mobilenet_v2_classification", mobilenet(True), True),
        ("mobilenet_v2_feature_vector", mobilenet(False), False),
    ):
        save(model, TARGET / name, trainable)
    words = [
        "this",
        "is",
        "a",
        "great",
        "sentence.",
        "another",
        "one",
        "here!",
        "short",
        "the",
        "movie",
        "was",
        "bad",
        "good",
        "not",
    ]
    shutil.rmtree(TARGET / "nnlm_like", ignore_errors=True)
    tf.saved_model.save(Embedding(words), str(TARGET / "nnlm_like"))


if __name__ == "__main__":
    main()
