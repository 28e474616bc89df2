"""Nets that tf_keras and Keras 3 build from the same lines: convolutional nets, a BERT-like encoder, an LSTM classifier."""

from functools import partial

import numpy as np
from artifacts import Artifact, reusable


def images(shape, rows):
    return np.random.default_rng(0).random((rows, *shape), "float32")


def tokens(length, words, rows):
    return np.random.default_rng(0).integers(0, words, (rows, length)).astype("int32")


def mobilenet_v2(keras, size, alpha):
    return keras.applications.MobileNetV2((size, size, 3), alpha=alpha, include_top=False, weights=None, pooling="avg")


def resnet50(keras):
    return keras.applications.ResNet50(include_top=False, weights=None, input_shape=(224, 224, 3), pooling="avg")


def unet(keras):
    layers = keras.layers

    def block(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    x = inputs = keras.Input((128, 128, 3))
    skips = []
    for filters in (16, 32, 64):
        x = block(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, 128)
    for filters in (64, 32, 16):
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = block(layers.Concatenate()([skips.pop(), x]), filters)
    return keras.Model(inputs, x)


def bert(keras, length=64, width=256, blocks=4):
    layers = keras.layers

    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(name="table", shape=shape[1:])

        def call(self, x):
            return x + self.table

    inputs = keras.Input((length,), dtype="int32")
    x = Positions()(layers.Embedding(8192, width)(inputs))
    x = layers.Dropout(0.1)(layers.LayerNormalization(epsilon=1e-6)(x))
    for _ in range(blocks):
        attended = layers.MultiHeadAttention(4, width // 4, dropout=0.1)(x, x)
        x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(attended))
        inner = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(x))
        x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(inner))
    return keras.Model(inputs, layers.Dense(width, activation="tanh")(x[:, 0]))


def lstm(keras):
    inputs = keras.Input((50,), dtype="int32")
    x = keras.layers.LSTM(128, name="lstm")(keras.layers.Embedding(10000, 128)(inputs))
    return keras.Model(inputs, keras.layers.Dense(64, activation="relu")(x))


def native(net):
    import keras

    return net(keras)


def build(net, shape, dtype, folder):
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    reusable(net(tf_keras), folder, tf.TensorSpec((None, *shape), dtype, "inputs"))


def artifact(name, net, batch, shape, output, words=None, **more):
    dtype = "int32" if words else "float32"
    return Artifact(
        name=name,
        batch=batch,
        input={"shape": shape, "dtype": dtype},
        output=output,
        build=partial(build, net, shape, dtype),
        inputs=partial(tokens, shape[0], words) if words else partial(images, shape),
        native=partial(native, net),
        **more,
    )


NO_LOOPS = {"tf2jax": "tf2jax 0.3.8 fails on its loop: 'numpy.ndarray' object has no attribute 'at'"}

ARTIFACTS = [
    artifact("mobilenet_v2_96", partial(mobilenet_v2, size=96, alpha=0.35), 32, (96, 96, 3), (1280,)),
    artifact("mobilenet_v2_224", partial(mobilenet_v2, size=224, alpha=1.0), 32, (224, 224, 3), (1280,)),
    artifact("resnet50", resnet50, 8, (224, 224, 3), (2048,)),
    artifact("unet", unet, 8, (128, 128, 3), (128, 128, 16)),
    artifact("bert_4", bert, 16, (64,), (256,), words=8192),
    artifact("lstm", lstm, 32, (50,), (64,), words=10000, without=NO_LOOPS),
]
