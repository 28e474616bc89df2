"""The artifacts that are measured, and their native twins: built here, by the publishers' own software, with random weights.

`build(name, folder)` needs TensorFlow and tf_keras and writes a reusable SavedModel as TF-Hub's are (`__call__` with training,
variables, trainable_variables, regularization_losses). `native(name)` is the same net by Keras 3's own layers.
"""

import numpy as np

SPECS = {
    "mobilenet_v2_96": {"shape": (96, 96, 3), "batch": 32},
    "mobilenet_v2_224": {"shape": (224, 224, 3), "batch": 32},
    "resnet50_224": {"shape": (224, 224, 3), "batch": 8},
    "lstm": {"shape": (50, 128), "batch": 32},
}


def _net(keras, name):
    """The net by `keras`, which is tf_keras or Keras 3."""
    shape = SPECS[name]["shape"]
    if name.startswith("mobilenet_v2"):
        alpha = 0.35 if "96" in name else 1.0
        return keras.applications.MobileNetV2(shape, alpha=alpha, include_top=False, weights=None, pooling="avg")
    if name == "resnet50_224":
        return keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape, pooling="avg")
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.LSTM(128, name="lstm")(inputs))


def native(name):
    """The net by Keras 3's own layers, on the backend in use."""
    import keras

    return _net(keras, name)


def build(name, folder):
    """Writes the artifact."""
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = _net(tf_keras, name)
    module = tf.train.Checkpoint(model=model)
    module.variables = model.variables
    module.trainable_variables = model.trainable_variables
    module.regularization_losses = []
    module.__call__ = tf.function(lambda inputs, training=False: model(inputs, training=training))
    spec = tf.TensorSpec((None, *SPECS[name]["shape"]), tf.float32, "inputs")
    for training in (True, False):
        module.__call__.get_concrete_function(spec, training=training)
    tf.saved_model.save(module, str(folder))


def batch(name, seed=0):
    """One batch: inputs in [0, 1] and labels of five classes."""
    spec = SPECS[name]
    random = np.random.default_rng(seed)
    return random.random((spec["batch"], *spec["shape"]), "float32"), random.integers(0, 5, spec["batch"])
