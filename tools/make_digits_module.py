"""Trains the sample module of `make demo`: a small convolutional net on digits 0 to 4, exported as a TF2 SavedModel.

Needs TensorFlow and tf_keras (Keras 2), since it plays the publisher. The module is a reusable SavedModel as TF-Hub's image
feature vectors are: `__call__(images, training=False)`, `variables`, `trainable_variables`, `regularization_losses`; its input
is (batch, 8, 8, 1) in [0, 1], its output (batch, 128). Digits 5 to 9 are never shown to it.

    python tools/make_digits_module.py [FOLDER]
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tf_keras as keras
from sklearn.datasets import load_digits

FEATURES = 32


def old_digits():
    """Images (n, 8, 8, 1) in [0, 1] and labels of digits 0 to 4: training and held-out fifths by position."""
    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    old = digits.target < 5
    images, labels = images[old], digits.target[old]
    held_out = np.arange(len(labels)) % 5 == 0
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def backbone():
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="images")
    x = image
    for index, filters in enumerate((16, 32)):
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-4), name=f"block_{index}_conv"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"block_{index}_bn")(x)
        x = layers.ReLU(name=f"block_{index}_relu")(x)
        x = layers.MaxPooling2D(name=f"block_{index}_pool")(x)
    x = layers.Conv2D(FEATURES, 1, name="features")(x)
    x = layers.ReLU(name="features_relu")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(image, layers.Flatten(name="flatten")(x), name="digits")


def regularization_loss(layer):
    return tf.function(lambda: layer.kernel_regularizer(layer.kernel), input_signature=[])


class Module(tf.train.Checkpoint):
    """What TF-Hub calls a reusable SavedModel."""

    def __init__(self, model):
        super().__init__(model=model)
        self.variables = model.variables
        self.trainable_variables = model.trainable_variables
        self.regularization_losses = [
            regularization_loss(layer) for layer in model.layers if getattr(layer, "kernel_regularizer", None) is not None
        ]

        def call(images, training=False):
            return model(images, training=training)

        spec = tf.TensorSpec((None, 8, 8, 1), tf.float32, "images")
        self.__call__ = tf.function(call)
        for training in (True, False):
            self.__call__.get_concrete_function(spec, training=training)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "samples" / "digits")
    keras.utils.set_random_seed(7)
    (images, labels), (held_images, held_labels) = old_digits()
    model = backbone()
    classifier = keras.Sequential([model, keras.layers.Dense(5)])
    classifier.compile(
        keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    classifier.fit(images, labels, batch_size=32, epochs=25, verbose=0)
    accuracy = classifier.evaluate(held_images, held_labels, verbose=0)[1]
    module = Module(model)
    serving = tf.function(lambda images: {"features": module.__call__(images, training=False)})
    signature = serving.get_concrete_function(tf.TensorSpec((None, 8, 8, 1), tf.float32, "images"))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder}: {size / 1024:.0f} KiB, accuracy on held-out digits 0-4 of its own head: {accuracy:.3f}")


if __name__ == "__main__":
    main()
