"""Writes tests/models/behaviour/: modules like those that tensorflow_hub tests its KerasLayer with.

`python tools/make_behaviour_models.py`, with TensorFlow installed. tests/test_layer.py says what each must do.
"""

import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

TARGET = Path(__file__).resolve().parent.parent / "tests" / "models" / "behaviour"
Trackable = tf.__internal__.tracking.AutoTrackable


def save(name, module, signatures=None):
    folder = TARGET / name
    shutil.rmtree(folder, ignore_errors=True)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "fingerprint.pb").unlink(missing_ok=True)


def hyperparameters():
    """f(x, a=1, b=2) = a x + b, with a and b as tensors."""
    module = Trackable()

    def call(x, a=1.0, b=2.0):
        return x * a + b

    module.__call__ = tf.function(call)
    spec = tf.TensorSpec([None, 1], tf.float32)
    scalar = tf.TensorSpec([], tf.float32)
    for a in (1.0, scalar):
        for b in (2.0, scalar):
            module.__call__.get_concrete_function(spec, a=a, b=b)
    return module


def dict_output():
    """{"left": x, "right": y} -> x + y, or with return_dict {"sum": x + y, "difference": x - y}."""
    module = Trackable()

    def call(inputs, return_dict=False):
        total = inputs["left"] + inputs["right"]
        return {"sum": total, "difference": inputs["left"] - inputs["right"]} if return_dict else total

    module.__call__ = tf.function(call)
    spec = {key: tf.TensorSpec([None, 1], tf.float32, key) for key in ("left", "right")}
    for return_dict in (False, True):
        module.__call__.get_concrete_function(spec, return_dict=return_dict)
    return module


def list_output():
    """x -> [x, x without its last row], shapes unknown to TensorFlow."""
    module = Trackable()

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
    def call(x):
        return [x, tf.reshape(x, tf.stack([-1]))[:-1]]

    module.__call__ = call
    return module


def words():
    """A word -> its row of an embedding table, an unknown word -> the last row; the vocabulary is an asset."""
    module = Trackable()
    path = Path("vocabulary.txt")
    path.write_text("the\ncat\nsat\n")
    initializer = tf.lookup.TextFileInitializer(
        str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    module.table = tf.lookup.StaticHashTable(initializer, 3)
    module.embedding = tf.Variable(np.arange(16, dtype=np.float32).reshape(4, 4) / 10, name="embedding")
    module.variables = [module.embedding]
    module.trainable_variables = [module.embedding]
    module.words = tf.saved_model.Asset(str(path))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def call(words):
        return tf.gather(module.embedding, module.table.lookup(words))

    module.__call__ = call
    return module


def nothing_to_train():
    """x -> x * scale, with no variable that the publisher would have trained."""
    module = Trackable()
    module.scale = tf.Variable([2.0], name="block/scale")
    module.variables = [module.scale]
    module.trainable_variables = []

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32)])
    def call(x):
        return x * module.scale

    module.__call__ = call
    return module


def counter():
    """Adds one to a counter in training; a second, frozen scope holds the weight."""
    module = Trackable()
    module.count = tf.Variable(0.0, trainable=False, name="counting/count")
    module.shift = tf.Variable([0.0], name="counting/shift")
    module.weight = tf.Variable([[3.0]], name="dense/kernel")
    module.variables = [module.count, module.shift, module.weight]
    module.trainable_variables = [module.shift, module.weight]

    def call(x, training=False):
        if training:
            module.count.assign_add(1.0)
        return x @ module.weight + module.shift

    module.__call__ = tf.function(call)
    for training in (False, True):
        module.__call__.get_concrete_function(tf.TensorSpec([None, 1], tf.float32), training=training)
    return module


def several():
    """Two named inputs, one of them integer, and two outputs; through a signature."""
    module = Trackable()
    module.table = tf.Variable(np.eye(4, dtype=np.float32), name="table")

    @tf.function
    def serve(ids, scale):
        rows = tf.gather(module.table, ids)
        return {"rows": rows * scale, "total": tf.reduce_sum(rows * scale, axis=1)}

    module.serve = serve
    concrete = serve.get_concrete_function(
        ids=tf.TensorSpec([None], tf.int64, "ids"), scale=tf.TensorSpec([None, 1], tf.float32, "scale")
    )
    return module, concrete


def main():
    with tempfile.TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)
        for build in (hyperparameters, dict_output, list_output, words, nothing_to_train, counter):
            save(build.__name__, build())
        module, concrete = several()
        save("several", module, {"serving_default": concrete})
        os.chdir(here)


if __name__ == "__main__":
    main()
