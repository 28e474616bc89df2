"""Writes tests/models/behaviour/: modules like those that tensorflow_hub tests its KerasLayer with, and two small nets.

`python tools/make_behaviour_models.py`, with TensorFlow and tf_keras installed. tests/test_layer.py says what each must do; for
the nets TensorFlow's outputs, gradients and updated statistics go to tests/golden/models/, which tests/test_goldens.py replays.
"""

import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

TARGET = Path(__file__).resolve().parent.parent / "tests" / "models" / "behaviour"
GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "models"
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


def keras_net(build, shape):
    """A net of tf_keras as a reusable SavedModel with an inference and a training function."""
    import tf_keras

    tf_keras.utils.set_random_seed(4)
    inputs = tf_keras.Input(shape[1:], dtype="int32" if len(shape) == 2 else "float32")
    model = tf_keras.Model(inputs, build(tf_keras.layers, inputs))
    random = np.random.default_rng(5)
    for variable in model.variables:  # away from ones and zeros, where a wrong order would not show
        if variable.name.endswith(("gamma:0", "variance:0")):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif len(variable.shape) == 1:
            variable.assign(random.normal(0.0, 0.3, variable.shape))
    module = Trackable()
    module.variables, module.trainable_variables = model.variables, model.trainable_variables
    module.__call__ = tf.function(lambda x, training=False: model(x, training=training))
    for training in (False, True):
        module.__call__.get_concrete_function(tf.TensorSpec(shape, inputs.dtype), training=training)
    return module


def convnet(layers, x):
    """What convolutional nets are made of: strides, depthwise, both kinds of batch normalization, pools, a gate."""
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="block_depthwise")(x)
    y = layers.BatchNormalization(momentum=0.9, name="block_bn")(y)
    y = layers.Conv2D(8, 1, activation="swish", name="block_project")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(x)
    x = layers.LeakyReLU(name="leaky")(x)
    x = layers.AveragePooling2D(2, padding="same", name="average")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(6, use_bias=False, name="dense")(x)
    x = layers.BatchNormalization(momentum=0.8, name="dense_bn")(x)  # of rank 2: spelt out in single ops
    return layers.Dense(3, activation="softmax", name="head")(x)


def transformer(layers, x):
    """Embedding, self-attention, layer normalization, gelu."""
    x = layers.Embedding(11, 8, name="embedding")(x)
    y = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm_1")(layers.Add(name="add_1")([x, y]))
    y = layers.Dense(8, name="feed_2")(layers.Dense(16, activation="gelu", name="feed_1")(x))
    x = layers.LayerNormalization(name="norm_2")(layers.Add(name="add_2")([x, y]))
    return layers.GlobalAveragePooling1D(name="average")(x)


def record(name, module, x):
    """TensorFlow's answers: outputs, gradients of sum(outputs * cotangent), and what a training call leaves in the variables."""
    found = {"input": x}
    before = [v.numpy() for v in module.variables]
    for training in (False, True):
        with tf.GradientTape() as tape:
            outputs = module.__call__(tf.constant(x), training=training)
            cotangent = np.random.default_rng(6).standard_normal(outputs.shape).astype("float32")
            scalar = tf.reduce_sum(outputs * cotangent)
        kind = "training" if training else "inference"
        found[f"{kind}|output"], found["cotangent"] = outputs.numpy(), cotangent
        for variable, gradient in zip(module.trainable_variables, tape.gradient(scalar, module.trainable_variables), strict=True):
            found[f"{kind}|gradient|{variable.name.removesuffix(':0')}"] = tf.convert_to_tensor(gradient).numpy()
    for variable, old in zip(module.variables, before, strict=True):
        if not np.array_equal(old, variable.numpy()):
            found[f"training|after|{variable.name.removesuffix(':0')}"] = variable.numpy()
        variable.assign(old)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(GOLDEN / f"{name}.npz", **found)


def main():
    random = np.random.default_rng(3)
    for build, x in (
        (convnet, random.standard_normal((4, 12, 12, 3)).astype("float32")),
        (transformer, random.integers(0, 11, (3, 5)).astype("int32")),
    ):
        module = keras_net(build, (None, *x.shape[1:]))
        save(build.__name__, module)
        record(build.__name__, module, x)
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
