"""Writes tests/models/tf1/: small modules by genuine TensorFlow 1.15.5 and tensorflow_hub 0.12.0.

Needs Python 3.7: `pip install tensorflow==1.15.5 tensorflow-hub==0.12.0 'protobuf<3.21'`, then
`python3.7 tools/make_tf1_models.py`. Beside each artifact lies expected.json: what TensorFlow answers for the values named in
it, so that readers and runners can be held against it without TensorFlow.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

tf.logging.set_verbosity(tf.logging.ERROR)

TARGET = Path(__file__).resolve().parent.parent / "tests" / "models" / "tf1"


def export(name, spec, feeds=(), values=None):
    """Exports a hub module with given variable values, and what it answers."""
    folder = str(TARGET / name)
    shutil.rmtree(folder, ignore_errors=True)
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        module = hub.Module(spec)
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.tables_initializer()])
            for variable in tf.global_variables():
                short = variable.op.name.split("/", 1)[1]
                if values and short in values:
                    variable.load(values[short], session)
            module.export(folder, session)
    record(folder, feeds)


def record(folder, feeds):
    """Writes expected.json: for (tags, signature, inputs), the outputs."""
    rows = []
    for tags, signature, inputs in feeds:
        with tf.Graph().as_default():
            module = hub.Module(folder, tags=set(tags))
            given = {k: sparse(v) if isinstance(v, dict) else np.array(v) for k, v in inputs.items()}
            given = {k: tf.constant(v) if isinstance(v, np.ndarray) and v.dtype.kind in "OSU" else v for k, v in given.items()}
            given = {
                k: tf.cast(v, module.get_input_info_dict(signature)[k].dtype) if not is_plain(v) else v for k, v in given.items()
            }
            outputs = module(given, signature=signature, as_dict=True)
            with tf.Session() as session:
                session.run([tf.global_variables_initializer(), tf.tables_initializer()])
                answers = session.run(outputs)
        rows.append({
            "tags": sorted(tags),
            "signature": signature,
            "inputs": inputs,
            "outputs": {k: plain(v) for k, v in answers.items()},
        })
    with Path(folder, "expected.json").open("w") as file:
        json.dump(rows, file, indent=1, sort_keys=True)
        file.write("\n")


def is_plain(value):
    return isinstance(value, (tf.SparseTensor, tf.Tensor))


def sparse(value):
    return tf.SparseTensor(
        np.array(value["indices"], np.int64), tf.constant(value["values"]), np.array(value["dense_shape"], np.int64)
    )


def plain(value):
    if isinstance(value, tf.SparseTensorValue):
        return {"indices": value.indices.tolist(), "values": plain(value.values), "dense_shape": value.dense_shape.tolist()}
    return [v.decode() for v in value.ravel()] if value.dtype == object else value.tolist()


def half_plus_two():
    x = tf.placeholder(tf.float32, name="x")
    a = tf.get_variable("a", [], initializer=tf.constant_initializer(0.5))
    b = tf.get_variable("b", [], initializer=tf.constant_initializer(2.0))
    hub.add_signature(inputs={"x": x}, outputs={"default": a * x + b})


def ref_half_plus_two():
    with tf.variable_scope("", use_resource=False):
        half_plus_two()


def batch_norm(is_training):
    x = tf.placeholder(tf.float32, [None, 1], name="x")
    y = tf.layers.batch_normalization(x, momentum=0.8, training=is_training, name="batch_norm", fused=False)
    hub.add_signature(inputs={"x": x}, outputs={"default": y})
    for update in tf.get_collection(tf.GraphKeys.UPDATE_OPS):
        assert is_training, update


def counter(is_training):
    """An update operation that counts training steps, and a loss for each of two weights."""
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    steps = tf.get_variable("steps", [], tf.int32, tf.zeros_initializer(), trainable=False, use_resource=True)
    penalty = tf.contrib.layers.l2_regularizer(0.01)
    matrix = tf.get_variable("M", [3, 2], initializer=tf.ones_initializer(), regularizer=penalty, use_resource=True)
    bias = tf.get_variable("b", [2], initializer=tf.ones_initializer(), regularizer=penalty, use_resource=True)
    if is_training:
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, steps.assign_add(1).op)
    hub.add_signature(inputs={"x": x}, outputs={"default": tf.matmul(x, matrix) + bias, "steps": steps.read_value()})


def partitioned():
    """Twelve parts, so that part_10 comes before part_2 by name."""
    ids = tf.placeholder(tf.int64, [None], name="ids")
    parts = tf.fixed_size_partitioner(12, axis=0)
    table = tf.get_variable("embeddings", [24, 3], partitioner=parts, use_resource=True)
    hub.add_signature(inputs={"ids": ids}, outputs={"default": tf.nn.embedding_lookup(table, ids, partition_strategy="div")})


def tables(first, second, copy):
    def module():
        words = tf.placeholder(tf.string, [None], name="words")
        one = tf.contrib.lookup.index_table_from_file(first, num_oov_buckets=1)
        two = tf.contrib.lookup.index_to_string_table_from_file(second)
        three = tf.contrib.lookup.index_table_from_file(copy, default_value=-7)
        four = tf.contrib.lookup.index_table_from_tensor(["x", "y"])
        ids = one.lookup(words)
        hub.add_signature(
            inputs={"words": words},
            outputs={"default": ids, "text": two.lookup(ids), "copy": three.lookup(words), "four": four.lookup(words)},
        )

    return module


def image_module(is_training):
    size = 12 if is_training else 8
    info = hub.image_util.ImageModuleInfo() if hasattr(hub, "image_util") and hasattr(hub.image_util, "ImageModuleInfo") else None
    if info is None:
        from tensorflow_hub.image_module_info_pb2 import ImageModuleInfo

        info = ImageModuleInfo()
    info.default_image_size.height = size
    info.default_image_size.width = size
    images = tf.placeholder(tf.float32, [None, size, size, 3], name="images")
    scale = tf.get_variable("scale", [3], initializer=tf.ones_initializer())
    mean = tf.reduce_mean(images * scale, [1, 2])
    hub.add_signature(inputs={"images": images}, outputs={"default": mean})
    hub.add_signature("image_feature_vector", inputs={"images": images}, outputs={"default": mean, "sum": tf.reduce_sum(mean, 1)})
    hub.attach_image_module_info(info)


def sparse_module():
    x = tf.sparse_placeholder(tf.float32, name="x")
    hub.add_signature(
        inputs={"x": x},
        outputs={"default": tf.sparse_reduce_sum(x, 1), "square": tf.SparseTensor(x.indices, x.values**2, x.dense_shape)},
    )


def control_flow():
    """A ref and a resource variable, read inside a conditional inside a loop, and a loop inside a conditional."""
    x = tf.placeholder(tf.float32, [], name="x")
    ref = tf.get_variable("ref", [], initializer=tf.constant_initializer(1.5), use_resource=False)
    resource = tf.get_variable("resource", [], initializer=tf.constant_initializer(0.5), use_resource=True)

    def body(i, y):
        return i + 1, tf.cond(y > 4.0, lambda: y * resource, lambda: y + ref)

    _, looped = tf.while_loop(lambda i, y: i < 5, body, [0, x])
    chosen = tf.cond(x > 0.0, lambda: tf.while_loop(lambda y: y < 10.0, lambda y: y * 2.0 * ref, [x]), lambda: x * resource)
    hub.add_signature(inputs={"x": x}, outputs={"default": looped, "chosen": chosen})


def plain_saved_model(name, build):
    """A SavedModel written by TensorFlow's own builder."""
    folder = str(TARGET / name)
    shutil.rmtree(folder, ignore_errors=True)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(2)
        inputs, outputs, saver, main_op = build(session)
        signature = tf.saved_model.signature_def_utils.build_signature_def(
            {k: tf.saved_model.utils.build_tensor_info(v) for k, v in inputs.items()},
            {k: tf.saved_model.utils.build_tensor_info(v) for k, v in outputs.items()},
            "tensorflow/serving/predict",
        )
        builder = tf.saved_model.builder.SavedModelBuilder(folder)
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
            saver=saver,
            main_op=main_op,
            clear_devices=True,
        )
        builder.save()
        feeds = {v: np.ones([2, 4], np.float32) for v in inputs.values()}
        answers = session.run(outputs, feeds)
        rows = [
            {
                "tags": ["serve"],
                "signature": "serving_default",
                "inputs": {k: np.ones([2, 4]).tolist() for k in inputs},
                "outputs": {k: plain(v) for k, v in answers.items()},
            }
        ]
    with Path(folder, "expected.json").open("w") as file:
        json.dump(rows, file, indent=1, sort_keys=True)
        file.write("\n")


def renamed(session):
    """Ref variables, saved under other names, beside an optimizer's slots; a table filled by the main op."""
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    weights = tf.get_variable("net/weights", [4, 2])
    bias = tf.get_variable("net/bias", [2])
    columns = tf.get_variable("net/columns", [2, 5], partitioner=tf.fixed_size_partitioner(2, axis=1))
    vocabulary = "labels.txt"
    Path(vocabulary).write_text("cat\ndog\n")
    table = tf.contrib.lookup.index_to_string_table_from_file(vocabulary)
    y = tf.matmul(x, weights) + bias
    tf.train.AdamOptimizer().minimize(tf.reduce_sum(y))
    tables = tf.tables_initializer()
    session.run([tf.global_variables_initializer(), tables])
    saver = tf.train.Saver({"published/w": weights, "published/b": bias, "published/c": list(columns)})
    outputs = {"y": y, "columns": tf.convert_to_tensor(columns), "label": table.lookup(tf.argmax(y, 1))}
    return {"x": x}, outputs, saver, tables


def main():
    TARGET.mkdir(exist_ok=True, parents=True)
    scratch = tempfile.mkdtemp()
    os.chdir(scratch)  # tables are named after their files' paths, which should be the same on every machine
    export("half_plus_two", hub.create_module_spec(half_plus_two), [((), "default", {"x": [1.0, 10.0]})])
    export("ref_half_plus_two", hub.create_module_spec(ref_half_plus_two), [((), "default", {"x": [1.0, 10.0]})])
    two = [(set(), {"is_training": False}), ({"train"}, {"is_training": True})]
    export(
        "batch_norm",
        hub.create_module_spec(batch_norm, two),
        [((), "default", {"x": [[10.0], [20.0], [30.0]]}), (("train",), "default", {"x": [[11.0], [12.0], [13.0]]})],
    )
    export("counter", hub.create_module_spec(counter, two), [((), "default", {"x": [[1.0, 2.0, 3.0]]})])
    values = {f"embeddings/part_{i}": np.arange(6).reshape(2, 3) + 6.0 * i for i in range(12)}
    export("partitioned", hub.create_module_spec(partitioned), [((), "default", {"ids": [0, 5, 21, 4]})], values)
    paths = []
    for folder, text in (("a", "one\ntwo\n"), ("b", "eins\nzwei\ndrei\n"), ("c", "one\ntwo\n")):
        Path(folder).mkdir()
        paths.append(f"{folder}/vocabulary.txt")
        Path(paths[-1]).write_text(text)
    export("tables", hub.create_module_spec(tables(*paths)), [((), "default", {"words": ["two", "one", "y"]})])
    export("image", hub.create_module_spec(image_module, two), [((), "default", {"images": np.ones([1, 8, 8, 3]).tolist()})])
    export(
        "sparse",
        hub.create_module_spec(sparse_module),
        [((), "default", {"x": {"indices": [[0, 1], [1, 0], [1, 2]], "values": [1.0, 2.0, 3.0], "dense_shape": [2, 3]}})],
    )
    export("control_flow", hub.create_module_spec(control_flow), [((), "default", {"x": 1.0}), ((), "default", {"x": -1.0})])
    plain_saved_model("renamed", renamed)
    shutil.rmtree(scratch)
    sizes = {d.name: sum(f.stat().st_size for f in d.rglob("*") if f.is_file()) for d in sorted(TARGET.iterdir())}
    print(json.dumps(sizes, indent=1))
    if max(sizes.values()) > 200000:
        sys.exit("an artifact is larger than 200 KB")


if __name__ == "__main__":
    main()
