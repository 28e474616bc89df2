"""Writes tests/models/tf2/ and tests/models/frozen/: small artifacts by TensorFlow 2.21, tf_keras and keras.

`python tools/make_tf2_models.py`, with tensorflow, tf_keras and keras installed. Beside each artifact lies expected.json: what
TensorFlow answers for the values named in it, so that readers and runners can be held against it without TensorFlow.
"""

import collections
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf
import tf_keras

MODELS = Path(__file__).resolve().parent.parent / "tests" / "models"
TARGET = MODELS / "tf2"
Trackable = tf.__internal__.tracking.AutoTrackable
Pair = collections.namedtuple("Pair", ["second", "first"])


def plain(value):
    """A nest of tensors as JSON holds it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, tf.RaggedTensor):
        return value.to_list()
    if isinstance(value, tf.SparseTensor):
        return {"indices": plain(value.indices), "values": plain(value.values), "dense_shape": plain(value.dense_shape)}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    array = np.asarray(value)
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    if array.dtype == object:
        return [s.decode() for s in array.ravel()] if array.ndim else array.item().decode()
    return array.astype(np.float64).tolist() if array.dtype.kind == "V" or array.dtype.name == "bfloat16" else array.tolist()


def save(name, module, expected=(), signatures=None):
    folder = TARGET / name
    shutil.rmtree(folder, ignore_errors=True)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "expected.json").write_text(json.dumps([plain(row) for row in expected], indent=1, sort_keys=True) + "\n")


class HalfPlusOne(Trackable):
    """f(x) = 0.5 x + 1: one weight that trains, a bias that does not, and a variable that nothing uses."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable([[0.5]], name="weight")
        self.bias = tf.Variable([1.0], trainable=False, name="bias")
        self.unused = tf.Variable(7, trainable=False, name="unused", dtype=tf.int64)
        self.variables = [self.weight, self.bias, self.unused]
        self.trainable_variables = [self.weight]
        self.regularization_losses = [tf.function(lambda: 0.01 * tf.reduce_sum(self.weight**2), input_signature=[])]

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32)])
    def __call__(self, x):
        return x @ self.weight + self.bias


class BatchNorm(Trackable):
    """y = beta + normalized x, with moving statistics of momentum 0.8 updated in training."""

    def __init__(self):
        super().__init__()
        self.mean = tf.Variable([0.0], trainable=False, name="norm/moving_mean")
        self.variance = tf.Variable([1.0], trainable=False, name="norm/moving_variance")
        self.beta = tf.Variable([0.0], name="norm/beta")
        self.gamma = tf.Variable([1.0], name="norm/gamma")
        self.variables = [self.gamma, self.beta, self.mean, self.variance]
        self.trainable_variables = [self.gamma, self.beta]
        self.regularization_losses = []

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32), tf.TensorSpec([], tf.bool)])
    def by_tensor(self, x, training):
        return tf.cond(training, lambda: self._train(x), lambda: self._infer(x))

    @tf.function
    def __call__(self, x, training=False):
        return self._train(x) if training else self._infer(x)

    def _train(self, x):
        mean, variance = tf.nn.moments(x, [0])
        self.mean.assign(self.mean * 0.8 + mean * 0.2)
        self.variance.assign(self.variance * 0.8 + variance * 0.2)
        return tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, 1e-3)

    def _infer(self, x):
        return tf.nn.batch_normalization(x, self.mean, self.variance, self.beta, self.gamma, 1e-3)


class Structures(tf.Module):
    """Every kind of thing that can go in and come out."""

    @tf.function
    def __call__(self, pair, *, scale=2.0, mode="plain", flag=True):
        left, right = pair["left"], pair["right"]
        total = left * scale + right[0] - right[1]
        return {"b": [total, left], "a": (right[0], Pair(first=total + 1.0, second=total + 2.0)), "none": None} if flag else total

    @tf.function
    def arguments(self, x, a=10.0, b=2.0, return_dict=False):
        y = x * a + b
        return {"y": y, "x": x} if return_dict else y

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)])
    def ragged(self, words):
        return {"sum": tf.reduce_sum(words, axis=1), "twice": words * 2}

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 3], tf.float32)])
    def sparse(self, x):
        return {"dense": tf.sparse.to_dense(x), "twice": x * 2.0}


class Tables(tf.Module):
    """Lookup by an asset file, by tensors, and by a mutable table that the checkpoint holds."""

    def __init__(self):
        super().__init__()
        path = Path("words.txt")
        path.write_text("apple\nbanana\ncherry\n")
        text = tf.lookup.TextFileInitializer(
            str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.file = tf.lookup.StaticVocabularyTable(text, num_oov_buckets=2)
        pairs = tf.lookup.KeyValueTensorInitializer(["apple", "kiwi"], tf.constant([1.5, 2.5]))
        self.memory = tf.lookup.StaticHashTable(pairs, -1.0)
        self.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, default_value=-1, name="mutable")
        self.mutable.insert(tf.constant(["apple", "zebra"]), tf.constant([7, 8], tf.int64))
        self.words = tf.saved_model.Asset(str(path))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, words):
        return {"file": self.file.lookup(words), "memory": self.memory.lookup(words), "mutable": self.mutable.lookup(words)}

    @tf.function(input_signature=[])
    def path(self):
        return self.words.asset_path


class Retrieval(tf.Module):
    """The nearest of a few candidates, by name: the names are a variable of strings, as TensorFlow Recommenders keeps them."""

    def __init__(self):
        super().__init__()
        self.names = tf.Variable(["ant", "bee", "cat", "dog"], trainable=False, name="identifiers")
        self.candidates = tf.Variable([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], name="candidates")

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def __call__(self, query):
        scores, places = tf.math.top_k(tf.linalg.matmul(query, self.candidates, transpose_b=True), 2)
        return {"scores": scores, "names": tf.gather(self.names, places), "all": tf.identity(self.names)}


class Names(tf.Module):
    """Variables of one name, of none, and of every dtype that a checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.first = tf.Variable([1.0], name="kernel")
        self.second = tf.Variable([2.0], name="kernel")
        self.third = tf.Variable([3.0], name="kernel")
        values = {
            "bfloat16": np.array([1.5, -2.0], ml_dtypes.bfloat16),
            "bool": np.array([True, False]),
            "complex64": np.array([1 + 2j], np.complex64),
            "float16": np.array([0.5], np.float16),
            "float64": np.array(3.25),
            "int32": np.int32(-5),
            "int64": np.array([[1, 2], [3, 4]]),
            "int8": np.int8([-1]),
            "string": np.array([b"", b"long " * 40, "\u00e9".encode()], object),
            "uint8": np.zeros([0, 3], np.uint8),
        }
        self.kinds = {
            name: tf.Variable(value, trainable=False, name=f"kinds/{name}", dtype=name) for name, value in values.items()
        }

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32)])
    def __call__(self, x):
        kinds = {k: v.read_value() for k, v in self.kinds.items()}
        return {"y": x * self.first + self.second * self.third, **kinds}


def keras_model(module):
    """A convolutional net with batch normalization and dropout in a nested model, by the Keras that `module` is."""
    layers = module.layers
    inner_in = module.Input((4, 4, 2), name="inner_in")
    inner = layers.BatchNormalization(name="norm")(layers.Conv2D(3, 2, name="conv", use_bias=False)(inner_in))
    inner = module.Model(inner_in, inner, name="inner")
    image, extra = module.Input((4, 4, 2), name="image"), module.Input((1,), name="extra")
    x = layers.GlobalAveragePooling2D(name="pool")(inner(image))
    x = layers.Concatenate(name="join")([layers.Dropout(0.5, name="drop")(x), extra])
    regularizer = module.regularizers.L2(0.01)
    first = layers.Dense(2, name="head", kernel_regularizer=regularizer)(x)
    second = layers.Dense(1, name="tail", activation="tanh")(x)
    model = module.Model([image, extra], {"head": first, "tail": second}, name="outer")
    model.compile("adam", {"head": "mse", "tail": "mse"})
    return model


def fixed_weights(model):
    for i, weight in enumerate(model.weights):
        count = int(np.prod(weight.shape))
        weight.assign(0.1 + np.sin(np.arange(1, count + 1) + i).reshape(weight.shape) ** 2)


def frozen(folder):
    """A graph whose weights are constants, with a loop, an operation of several outputs and a placeholder of a scalar."""
    folder.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        factor = tf.compat.v1.placeholder(tf.float32, [], name="factor")
        y = tf.matmul(x, tf.constant(np.arange(12.0).reshape(3, 4), tf.float32, name="weights")) * factor
        values, indices = tf.nn.top_k(y, 2, name="best")
        tf.argmax(y, 1, name="chosen")
        tf.add(values, tf.cast(indices, tf.float32), name="sum")
        tf.greater(y, 3.0, name="large")
        tf.split(y, 2, axis=1, name="halves")
        with tf.compat.v1.Session() as session:
            names = ["chosen", "sum", "large", "halves", "halves:1"]
            feeds = {"x": [[1.0, -1.0, 2.0], [0.5, 0.25, 0.0]], "factor": 2.0}
            tensors = [n if ":" in n else f"{n}:0" for n in names]
            answers = session.run(tensors, {f"{k}:0": v for k, v in feeds.items()})
        (folder / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString(deterministic=True))
    rows = [{"signature": "frozen", "inputs": feeds, "outputs": {n: plain(a) for n, a in zip(names, answers, strict=True)}}]
    (folder / "expected.json").write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")


def main():
    tf.random.set_seed(3)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    TARGET.mkdir(parents=True, exist_ok=True)
    x = np.array([[1.0], [3.0]], np.float32)

    half = HalfPlusOne()
    save(
        "half_plus_one",
        half,
        [{"args": [x], "outputs": half(x)}],
        signatures={
            "serving_default": half.__call__,
            "other": tf.function(lambda x: {"y": half(x) * 2.0}, input_signature=[tf.TensorSpec([None, 1], tf.float32)]),
        },
    )

    norm = BatchNorm()
    spec = tf.TensorSpec([None, 1], tf.float32)
    for training in (True, False):
        norm.__call__.get_concrete_function(spec, training=training)
    save("batch_norm", norm, [{"args": [x], "kwargs": {"training": False}, "outputs": norm(x)}])

    structures = Structures()
    pair = {"left": np.float32([1.0]), "right": [np.float32([5.0]), np.float32([2.0])]}
    row = {"args": [pair], "outputs": structures(pair)}
    structures(pair, scale=3.0, mode="other", flag=False)
    rows = [row, {"name": "arguments", "args": [x], "outputs": structures.arguments(x)}]
    rows.append({
        "name": "arguments",
        "args": [x],
        "kwargs": {"return_dict": True},
        "outputs": structures.arguments(x, return_dict=True),
    })
    structures.arguments(x, a=tf.constant(1.0))
    ragged = tf.ragged.constant([[1, 2], [], [3]], tf.int64)
    sparse = tf.sparse.from_dense([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0]])
    rows += [
        {"name": "ragged", "args": [ragged], "outputs": structures.ragged(ragged)},
        {"name": "sparse", "args": [sparse], "outputs": structures.sparse(sparse)},
    ]
    save("structures", structures, rows)

    words = tf.constant(["banana", "kiwi", "apple", "zebra"])
    with tempfile.TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)  # the graph keeps the path, which should be the same on every machine
        tables = Tables()
        save("tables", tables, [{"args": [words], "outputs": tables(words)}], signatures=tables.__call__)
        os.chdir(here)

    retrieval = Retrieval()
    query = tf.constant([[3.0, 1.0], [-1.0, -2.0], [0.0, 5.0]])
    save("retrieval", retrieval, [{"args": [query], "outputs": retrieval(query)}])

    names = Names()
    save("names", names, [{"args": [[4.0]], "outputs": names([4.0])}])

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        mirrored = HalfPlusOne()
    save("mirrored", mirrored, [{"args": [x], "outputs": half(x)}])

    inputs = [np.arange(32, dtype=np.float32).reshape(1, 4, 4, 2) / 32, np.float32([[2.0]])]
    model = keras_model(tf_keras)
    fixed_weights(model)
    model.train_on_batch(inputs, {"head": np.zeros([1, 2]), "tail": np.zeros([1, 1])})
    shutil.rmtree(TARGET / "keras2", ignore_errors=True)
    model.save(TARGET / "keras2", save_format="tf")
    rows = [{"args": [inputs], "kwargs": {"training": False}, "outputs": model(inputs, training=False)}]
    (TARGET / "keras2" / "expected.json").write_text(json.dumps([plain(r) for r in rows], indent=1, sort_keys=True) + "\n")

    model = keras_model(keras)
    fixed_weights(model)
    shutil.rmtree(TARGET / "keras3", ignore_errors=True)
    model.export(TARGET / "keras3", verbose=False)
    rows = [{"name": "serve", "args": [inputs], "outputs": model(inputs, training=False)}]
    (TARGET / "keras3" / "expected.json").write_text(json.dumps([plain(r) for r in rows], indent=1, sort_keys=True) + "\n")

    frozen(MODELS / "frozen")
    sizes = {
        d.name: sum(f.stat().st_size for f in d.rglob("*") if f.is_file()) for d in [*sorted(TARGET.iterdir()), MODELS / "frozen"]
    }
    print(json.dumps(sizes, indent=1))
    if max(sizes.values()) > 200_000:
        sys.exit("an artifact is larger than 200 KB")


if __name__ == "__main__":
    main()
