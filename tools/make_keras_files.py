"""Writes the small Keras files of tests/models/keras2 with the Keras versions that are installed, and what each model answers.

Run under each of three environments; each writes its own files:

    python tools/make_keras_files.py tests/models/keras2      # TensorFlow 2 with tf_keras: Keras 2.13 and later
    python3.7 tools/make_keras_files.py tests/models/keras2   # tensorflow==1.15.5 keras==2.3.1 h5py==2.10.0 protobuf==3.20.3
    python3.7 tools/make_keras_files.py tests/models/keras2   # tensorflow==1.15.5 keras==1.2.2 (and theano==1.0.5)

For each model NAME: NAME.h5 (and NAME.keras, or the folder NAME_saved_model), and NAME.npz with `in:<i>`, `out:<i>`. Runs on
Python 3.7 too; imports nothing of thaw.
"""

# Runs on Python 3.7 too, with the libraries of its time.
# ruff: noqa: B905, UP031, UP036, PTH103, PTH107, PTH110, PTH118, PTH123
import json
import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

RNG = np.random.RandomState(7)


def settle(model):
    """Fills every weight with numbers that no initializer gives; statistics stay positive."""
    values = []
    for weight in model.get_weights():
        value = RNG.uniform(0.2, 0.8, weight.shape) * np.where(RNG.uniform(size=weight.shape) < 0.5, -0.7, 1.0)
        values.append(np.abs(value).astype(weight.dtype) if weight.ndim == 1 else value.astype(weight.dtype))
    model.set_weights(values)
    return model


def floats(*shape):
    return RNG.standard_normal(shape).astype("float32")


def record(folder, name, model, inputs, formats=("h5",)):
    """Saves the model in each format, with inputs and the outputs of inference."""
    outputs = model.predict(inputs if len(inputs) > 1 else inputs[0], batch_size=len(inputs[0]))
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    arrays = {"in:%d" % i: value for i, value in enumerate(inputs)}
    arrays.update({"out:%d" % i: value for i, value in enumerate(outputs)})
    if "h5" in formats:
        model.save(os.path.join(folder, name + ".h5"))
    if "keras" in formats:
        model.save(os.path.join(folder, name + ".keras"))
    if "tf" in formats:
        target = os.path.join(folder, name + "_saved_model")
        shutil.rmtree(target, ignore_errors=True)
        model.save(target, save_format="tf", include_optimizer=False)
        shutil.rmtree(os.path.join(target, "assets"), ignore_errors=True)
        without_graph(target)
    np.savez_compressed(os.path.join(folder, name + ".npz"), **arrays)
    print(name, [value.shape for value in outputs])


def without_graph(target):
    """Leaves of a SavedModel only what makes a Keras model of it, since graphs are large."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = os.path.join(target, "saved_model.pb")
    saved = SavedModel()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    for graph in saved.meta_graphs:
        for part in ("graph_def", "signature_def", "collection_def"):
            graph.ClearField(part)
        graph.meta_info_def.ClearField("stripped_op_list")
        graph.object_graph_def.ClearField("concrete_functions")
    with open(path, "wb") as file:
        file.write(saved.SerializeToString())
    fingerprint = os.path.join(target, "fingerprint.pb")
    if os.path.exists(fingerprint):
        os.remove(fingerprint)


def keras2(folder):
    """tf_keras: Keras 2 as it is today."""
    import tensorflow as tf
    import tf_keras as keras

    layers = keras.layers
    both = ("h5", "keras")

    model = keras.Sequential(name="plain")
    model.add(layers.Dense(5, activation="hard_sigmoid", input_shape=(4,), kernel_regularizer="l2"))
    model.add(layers.BatchNormalization())
    model.add(layers.Dropout(0.4))
    model.add(layers.LeakyReLU(alpha=0.15))
    model.add(layers.ThresholdedReLU(theta=0.05))
    model.add(layers.Dense(3, activation="softmax", bias_constraint=keras.constraints.MaxNorm(2.0)))
    model.compile(keras.optimizers.legacy.Adam(lr=0.005, decay=0.0), "categorical_crossentropy", ["accuracy"])
    record(folder, "sequential", settle(model), [floats(3, 4)], both)

    words, numbers = keras.Input((6,), dtype="int32", name="words"), keras.Input((3,), name="numbers")
    x = layers.Embedding(11, 4, mask_zero=True, input_length=6, name="table")(words)
    x = layers.LSTM(5, name="reader")(x)
    joined = layers.Concatenate(name="join")([x, numbers])
    model = keras.Model([words, numbers], [layers.Dense(2, name="left")(joined), layers.Dense(1, name="right")(joined)])
    record(folder, "functional", settle(model), [RNG.randint(0, 11, (4, 6)).astype("int32"), floats(4, 3)], both)

    inner_in = keras.Input((4,), name="inner_in")
    inner_out = layers.BatchNormalization(name="inner_norm")(layers.Dense(3, name="inner_dense")(inner_in))
    inner = keras.Model(inner_in, layers.Dense(3, activation="relu", name="inner_last")(inner_out), name="encoder")
    inner.get_layer("inner_dense").trainable = False
    left, right = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(2, name="shared")
    tower = keras.Sequential([layers.Dense(3, input_shape=(3,), name="t1"), layers.BatchNormalization(name="t2")], name="tower")
    one, two = inner(left), inner(right)
    outputs = [layers.Add(name="sum")([shared(one), shared(two)]), tower(layers.Subtract(name="gap")([one, two]))]
    model = keras.Model([left, right], outputs, name="twins")
    record(folder, "nested", settle(model), [floats(3, 4), floats(3, 4)], ("h5", "keras", "tf"))
    inner.trainable = False
    record(folder, "nested_frozen", settle(model), [floats(3, 4), floats(3, 4)], ("h5",))

    sequence, state = keras.Input((5, 3), name="sequence"), keras.Input((4,), name="state")
    x = layers.GRU(4, return_sequences=True, name="gru_after")(sequence, initial_state=state)
    x = layers.GRU(4, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid", name="gru_before")(x)
    x = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True, recurrent_activation="hard_sigmoid"), merge_mode="sum", name="both"
    )(x)
    x = layers.TimeDistributed(layers.Dense(3, activation="tanh"), name="each")(x)
    x, h, c = layers.LSTM(2, return_sequences=True, return_state=True, name="stateful_out")(x)
    y = layers.SimpleRNN(2, go_backwards=True, name="simple")(x)
    z = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], name="stack")(x)
    model = keras.Model([sequence, state], [y, z, h, c])
    record(folder, "recurrent", settle(model), [floats(3, 5, 3), floats(3, 4)], both)

    image = keras.Input((8, 8, 3), name="image")
    x = layers.ZeroPadding2D(1, name="pad")(image)
    x = layers.Conv2D(4, 3, strides=2, name="conv", kernel_initializer="he_normal")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.ReLU(6.0, name="relu6")(x)
    x = layers.SeparableConv2D(4, 3, padding="same", name="separable")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same", name="up")(x)
    x = layers.BatchNormalization(axis=-1, name="norm")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="larger")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Reshape((8, 24), name="rows")(x)
    x = layers.Conv1D(4, 2, dilation_rate=2, padding="causal", name="conv1d")(x)
    model = keras.Model(image, layers.GlobalAveragePooling1D(name="mean")(x))
    record(folder, "convolutions", settle(model), [floats(2, 8, 8, 3)], both)

    frame = keras.Sequential(name="frame")
    frame.add(layers.Conv2D(3, 3, activation="relu", input_shape=(6, 6, 2), name="see"))
    frame.add(layers.BatchNormalization(name="calm"))
    frame.add(layers.GlobalMaxPooling2D(name="most"))
    model = keras.Sequential(name="video")
    model.add(layers.TimeDistributed(frame, batch_input_shape=(2, 4, 6, 6, 2), name="frames"))
    model.add(layers.Masking(0.0, name="mask"))
    model.add(layers.LSTM(3, stateful=True, unroll=True, dropout=0.1, name="memory"))
    model.add(layers.Dense(2, activation=tf.nn.swish, name="head"))
    record(folder, "video", settle(model), [floats(2, 4, 6, 6, 2)], both)

    tokens = keras.Input((4, 6), name="tokens")
    x = layers.MultiHeadAttention(2, 3, name="heads")(tokens, tokens)
    x = layers.LayerNormalization(name="norm")(layers.Add(name="residual")([x, tokens]))
    x = layers.Attention(use_scale=True, name="dot")([x, tokens])
    x = layers.AdditiveAttention(name="additive")([x, tokens])
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d", name="einsum")(x)
    x = layers.GroupNormalization(5, name="groups")(x)
    x = layers.UnitNormalization(name="unit")(x)
    model = keras.Model(tokens, layers.Dense(2, activation="gelu", name="head")(x))
    record(folder, "attention", settle(model), [floats(2, 4, 6)], both)

    x = keras.Input((4, 6), name="x")
    y = tf.nn.relu(x) * 2.0 + x[:, 1:3, :1][:, :1]
    y = tf.concat([y, 1.0 - x, tf.expand_dims(tf.reduce_mean(x, axis=1), 1)], axis=1)
    y = tf.transpose(tf.math.tanh(y / 3.0), [0, 2, 1])
    y = layers.Dense(4, name="dense")(y)
    y = tf.nn.softmax(tf.matmul(y, y, transpose_b=True), axis=-1)
    flat = tf.reshape(y, [-1, 36])
    z = tf.stack([flat, tf.square(flat)], axis=-1)
    w = tf.clip_by_value(tf.cast(x > 0.1, "float32") - tf.abs(x), -0.5, 0.5)
    model = keras.Model(x, [z, w, layers.Add(name="add")([flat, tf.math.exp(flat)])], name="calls")
    model.add_loss(tf.reduce_mean(tf.math.lgamma(tf.abs(flat) + 1.0)))
    record(folder, "tf_calls", settle(model), [floats(2, 4, 6)], both)

    @keras.utils.register_keras_serializable("Toy")
    class Scale(layers.Layer):
        def __init__(self, factor=2.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def build(self, shape):
            self.w = self.add_weight(name="w", shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.w * self.factor

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

    model = keras.Sequential([layers.Dense(3, input_shape=(2,), name="dense"), Scale(3.0, name="scale")], name="custom")
    record(folder, "custom", settle(model), [floats(3, 2)], both)

    norm, x = layers.Normalization(name="norm"), keras.Input((3,), name="numbers")
    norm.adapt(floats(20, 3) * 3.0 + 1.0)
    kind = keras.Input((1,), dtype="int32", name="kind")
    y = layers.Concatenate(name="join")([
        norm(x),
        layers.Rescaling(0.5, offset=1.0, name="rescale")(x),
        layers.CategoryEncoding(4, output_mode="one_hot", name="encode")(kind),
    ])
    model = keras.Model([x, kind], layers.Dense(2, name="head")(y))
    model.get_layer("head").set_weights([floats(10, 2), floats(2)])
    record(folder, "preprocessing", model, [floats(3, 3), RNG.randint(0, 4, (3, 1)).astype("int32")], both)

    text = keras.Input((1,), dtype="string", name="text")
    vectorize = layers.TextVectorization(
        20, output_sequence_length=4, vocabulary=["good", "bad", "film", "the"], name="vectorize"
    )
    y = layers.GlobalAveragePooling1D(name="mean")(layers.Embedding(20, 3, name="table")(vectorize(text)))
    model = keras.Model(text, layers.Dense(2, name="head")(y))
    for name in ("table", "head"):
        layer = model.get_layer(name)
        layer.set_weights([floats(*weight.shape) for weight in layer.get_weights()])
    record(folder, "text", model, [np.array([["the good film"], ["a bad, bad film"]])], both)

    model = keras.Sequential([layers.Dense(2, input_shape=(2,), name="dense"), layers.Lambda(lambda v: v * 2.0, name="double")])
    record(folder, "lambda", settle(model), [floats(2, 2)], both)

    # A mask goes on to a layer that is also given states; names have dots.
    read, write = keras.Input((4,), name="read"), keras.Input((5,), name="write")
    table = layers.Embedding(6, 3, mask_zero=True, name="table.v1")
    _, *states = layers.LSTM(3, return_state=True, name="reader")(table(read))
    y = layers.LSTM(3, return_sequences=True, name="writer")(table(write), initial_state=states)
    _, *states = layers.Bidirectional(layers.GRU(2, return_state=True), name="around")(table(read))
    z = layers.Bidirectional(layers.GRU(2, name="g"), name="both")(table(write), initial_state=states)
    z = keras.Sequential([layers.Dense(2, input_shape=(4,), name="a.b"), layers.BatchNormalization(name="c.d")], name="head.v1")(
        z
    )
    model = keras.Model([read, write], [layers.TimeDistributed(layers.Dense(2), name="each")(y), z], name="masks.v1")
    words = [np.array([[1, 5, 2, 0], [3, 0, 0, 0]], "float32"), np.array([[4, 1, 0, 0, 0], [2, 2, 3, 5, 0]], "float32")]
    record(folder, "masks", settle(model), words)

    # More TensorFlow calls, sizes of tensors among them.
    x = keras.Input((4, 4, 4), name="x")
    y = tf.nn.space_to_depth(tf.nn.depth_to_space(x, 2), 2)
    y = tf.nn.avg_pool2d(tf.nn.max_pool2d(y, 2, 1, "SAME"), [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    sizes = tf.shape(y)
    rows = tf.reshape(y, [sizes[0], sizes[1] * 2, 4])
    rows = rows / tf.norm(rows, axis=-1, keepdims=True)
    alike = tf.matmul(rows, layers.Dense(4, name="dense")(rows), transpose_b=True)
    alike = tf.repeat(tf.slice(alike, [0, 1, 0], [-1, 2, -1]), 2, axis=1) + tf.math.log_sigmoid(alike[:, :4])
    model = keras.Model(x, [alike, tf.reshape(tf.convert_to_tensor(rows), [sizes[0], -1])], name="more_calls")
    record(folder, "more_calls", settle(model), [floats(2, 4, 4, 4)])

    spread = layers.Discretization(num_bins=3, name="spread")
    spread.adapt(floats(30, 1))
    x = keras.Input((2,), name="x")
    y = layers.Normalization(mean=0.5, variance=2.0, name="norm")(x)
    y = layers.Concatenate(name="join")([layers.CategoryEncoding(4, "count", name="encode")(spread(x)), y])
    model = keras.Model(x, layers.Dense(2, name="head")(y), name="spread")
    model.get_layer("head").set_weights([floats(6, 2), floats(2)])
    record(folder, "spread", model, [floats(5, 2)])

    # Masks that merging layers join, attention that takes them away, and a table in a TimeDistributed.
    read, write, plain = keras.Input((4,), name="read"), keras.Input((4,), name="write"), keras.Input((4, 3), name="plain")
    table = layers.Embedding(6, 3, mask_zero=True, name="table")
    a, b = table(read), table(write)
    one = layers.Dense(3, name="dense")(layers.Add(name="one_masked")([a, plain]))
    product = layers.Multiply(name="product")([a, plain])
    joined = layers.Concatenate(name="joined")([a, b, product])
    heads = layers.MultiHeadAttention(2, 2, name="heads")(one, one)
    ends = [
        layers.LSTM(2, name="lstm")(one),
        product,
        layers.GRU(2, name="gru")(joined),
        layers.Attention(name="dot")([layers.Average(name="both")([a, b]), one]),
        layers.GlobalAveragePooling1D(name="mean")(layers.Add(name="again")([one, heads])),
        layers.Bidirectional(layers.LSTM(1), name="around")(layers.Concatenate(axis=1, name="after")([one, b])),
    ]
    texts = keras.Input((2, 4), name="texts")
    each = layers.TimeDistributed(layers.LSTM(2, name="inner"), name="each")(
        layers.TimeDistributed(layers.Embedding(6, 3, mask_zero=True, name="words"), name="tables")(texts)
    )
    model = keras.Model([read, write, plain, texts], [*ends, layers.SimpleRNN(2, name="last")(each)], name="merged")
    words = [np.array([[1, 5, 2, 0], [3, 0, 0, 0]], "float32"), np.array([[4, 1, 0, 0], [2, 2, 3, 5]], "float32")]
    record(
        folder,
        "merged",
        settle(model),
        [*words, floats(2, 4, 3), np.array([[[1, 2, 0, 0], [0, 0, 0, 0]], [[3, 0, 0, 0], [2, 5, 1, 4]]], "float32")],
    )

    # A crop that is random in training only, in a Sequential and in a model around it.
    steps = [layers.RandomCrop(4, 6, input_shape=(9, 10, 2), name="crop"), layers.Conv2D(3, 2, name="conv")]
    front = keras.Sequential([*steps, layers.RandomFlip(seed=1, name="flip")], name="front")
    image, other = keras.Input((9, 10, 2), name="image"), keras.Input((5, 3, 2), name="other")
    larger = layers.RandomCrop(7, 4, seed=3, name="larger")(other)
    y = layers.Concatenate(name="join")([
        layers.Flatten(name="flat")(front(image)),
        layers.GlobalMaxPooling2D(name="most")(larger),
    ])
    model = keras.Model([image, other], [layers.Dense(2, name="head")(y), larger], name="cropped")
    for name in ("front", "head"):
        layer = model.get_layer(name)
        layer.set_weights([floats(*value.shape) if value.dtype == "float32" else value for value in layer.get_weights()])
    record(folder, "cropped", model, [floats(2, 9, 10, 2), floats(2, 5, 3, 2)], both)

    # Attention masks of floats, alone and beside a mask of their query.
    tokens, allowed = keras.Input((3, 4), name="tokens"), keras.Input((3, 3), name="allowed")
    masked = layers.Masking(0.0, name="masking")(tokens)
    ends = [
        layers.MultiHeadAttention(2, 3, name="alone")(tokens, tokens, attention_mask=allowed),
        layers.MultiHeadAttention(2, 3, name="beside")(masked, tokens, attention_mask=allowed),
    ]
    x = floats(2, 3, 4)
    x[0, 2] = 0.0
    allows = np.array([[[1, 0.5, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 0.9], [0, 0, 0], [1, 1, 1]]], "float32")
    record(folder, "allowed", settle(keras.Model([tokens, allowed], ends, name="allowed")), [x, allows])


def keras23(folder):
    """Keras 2.3.1 itself, and the tf.keras of TensorFlow 1.15."""
    import h5py
    import keras
    import tensorflow as tf
    from keras import layers

    model = keras.models.Sequential(name="old")
    model.add(layers.Embedding(9, 4, input_length=5))
    model.add(layers.SpatialDropout1D(0.1))
    model.add(layers.Bidirectional(layers.LSTM(3, return_sequences=True)))
    model.add(layers.TimeDistributed(layers.Dense(3, activation="hard_sigmoid")))
    model.add(layers.GRU(3))
    model.add(layers.Dense(2, activation="softmax"))
    model.compile(keras.optimizers.Adam(lr=0.002), "categorical_crossentropy", ["acc"])
    record(folder, "keras23_sequential", settle(model), [RNG.randint(0, 9, (3, 5)).astype("float32")])

    inner_in = layers.Input((8, 8, 2))
    y = layers.BatchNormalization()(layers.Conv2D(3, 3, activation="relu", kernel_initializer="he_normal")(inner_in))
    inner = keras.models.Model(inner_in, layers.LeakyReLU(0.2)(y), name="features")
    left, right = layers.Input((8, 8, 2)), layers.Input((8, 8, 2))
    y = layers.concatenate([inner(left), inner(right)])
    y = layers.SeparableConv2D(4, 3, use_bias=False, depthwise_regularizer=keras.regularizers.l2(0.01))(y)
    y = layers.Dense(3, kernel_constraint=keras.constraints.max_norm(2.0))(layers.Flatten()(y))
    model = keras.models.Model([left, right], [y, layers.Activation("tanh")(y)])
    record(folder, "keras23_nested", settle(model), [floats(2, 8, 8, 2), floats(2, 8, 8, 2)])

    # CuDNN's layers run on GPUs only: Keras' own plain layers answer, and Keras' own converter turns their weights over.
    model = keras.models.Sequential(name="cudnn")
    lstm = layers.LSTM(3, return_sequences=True, recurrent_activation="sigmoid", name="l")
    model.add(layers.Bidirectional(lstm, input_shape=(5, 2), name="both"))
    model.add(layers.GRU(4, reset_after=True, recurrent_activation="sigmoid", name="g"))
    record(folder, "keras23_cudnn", settle(model), [floats(3, 5, 2)])
    with h5py.File(os.path.join(folder, "keras23_cudnn.h5"), "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for entry in config["config"]["layers"]:
            inner = entry["config"].get("layer", entry)
            inner["class_name"] = "CuDNN" + inner["class_name"]
            for key in (
                "activation",
                "recurrent_activation",
                "dropout",
                "recurrent_dropout",
                "implementation",
                "reset_after",
                "unroll",
                "use_bias",
            ):
                inner["config"].pop(key, None)
        file.attrs["model_config"] = json.dumps(config).encode()
        for layer, kind in (("both", "CuDNNLSTM"), ("g", "CuDNNGRU")):
            group = file["model_weights"][layer]
            names = list(group.attrs["weight_names"])
            target = type(kind, (), {})()
            for first in range(0, len(names), 3):
                three = names[first : first + 3]
                values = keras.engine.saving._convert_rnn_weights(target, [group[name][()] for name in three])
                for name, value in zip(three, values):
                    del group[name]
                    group[name] = value

    keras.backend.clear_session()
    layers = tf.keras.layers
    x = tf.keras.Input((4,), name="x")
    y = layers.Dense(3, name="dense")(x)
    y = layers.Dense(2, name="last")(tf.nn.relu(y * 2.0) + 1.0 - tf.reduce_mean(y, axis=-1, keepdims=True))
    z = layers.LSTM(3, name="lstm")(layers.Reshape((2, 2), name="rows")(x))
    model = tf.keras.Model(x, [y, layers.BatchNormalization(name="norm")(z)], name="ops")
    record(folder, "tf115_ops", settle(model), [floats(3, 4)])


def keras1(folder):
    """Keras 1.2.2, on TensorFlow or Theano."""
    import keras
    from keras import layers
    from keras.layers import convolutional, recurrent

    backend = keras.backend.backend()
    if backend == "theano":
        import theano.ifelse  # noqa: F401  (Keras uses it without importing it)

        keras.backend.set_image_dim_ordering("th")
    name = "keras1_" + backend
    ordering = keras.backend.image_dim_ordering()
    shape = (8, 8, 2) if ordering == "tf" else (2, 8, 8)
    image, numbers = layers.Input(shape, name="image"), layers.Input((3,), name="numbers")
    y = convolutional.Convolution2D(3, 3, 2, border_mode="valid", subsample=(1, 2), activation="relu", name="conv")(image)
    y = layers.normalization.BatchNormalization(axis=3 if ordering == "tf" else 1, name="norm")(y)
    y = convolutional.MaxPooling2D((2, 2), name="pool")(y)
    y = layers.Dropout(0.3, name="drop")(layers.Flatten(name="flat")(y))
    y = layers.Dense(4, activation="hard_sigmoid", W_regularizer="l2", name="dense")(y)
    y = layers.merge([y, numbers], mode="concat", name="join")
    z = layers.merge([layers.Dense(2, name="p")(y), layers.Dense(2, bias=False, name="q")(y)], mode="sum", name="plus")
    model = keras.models.Model([image, numbers], [z, layers.Activation("tanh", name="act")(y)])
    record(folder, name + "_functional", settle(model), [floats(2, *shape), floats(2, 3)])

    model = keras.models.Sequential()
    model.add(layers.Embedding(9, 4, input_length=6, name="table"))
    model.add(convolutional.Convolution1D(5, 3, border_mode="same", name="conv"))
    model.add(recurrent.LSTM(3, return_sequences=True, name="lstm"))
    model.add(layers.Bidirectional(recurrent.GRU(2, return_sequences=True, name="gru"), name="both"))
    model.add(layers.TimeDistributed(layers.Dense(3, name="inner"), name="each"))
    model.add(recurrent.SimpleRNN(2, name="simple"))
    model.compile("adam", "mse")
    record(folder, name + "_sequential", settle(model), [RNG.randint(0, 9, (3, 6)).astype("float32")])


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    if sys.version_info >= (3, 9):
        keras2(sys.argv[1])
    else:
        import keras as installed

        (keras1 if installed.__version__.startswith("1.") else keras23)(sys.argv[1])
