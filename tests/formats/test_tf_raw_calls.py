"""Ops that Keras recorded as `TensorFlowOpLayer` answer as TensorFlow's own, with the attributes of their NodeDef."""

import base64
from typing import Any

import keras
import numpy as np
import pytest

from formats.keras_cases import flat
from thaw.formats.keras_file.tf_calls import run_call

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow itself is the oracle")

IMAGE = np.random.default_rng(0).standard_normal((2, 4, 4, 4)).astype("float32")
ROWS = np.random.default_rng(1).standard_normal((3, 4)).astype("float32")
NHWC = {"data_format": {"s": base64.b64encode(b"NHWC").decode()}}
HALVES = {"ksize": {"list": {"i": ["1", "2", "2", "1"]}}, "strides": {"list": {"i": ["1", "2", "2", "1"]}}}

CASES: list[tuple[str, list[Any], dict[int, Any], dict[str, Any], dict[str, Any]]] = [
    # op, tensors, constants by position, attributes as in the NodeDef's JSON, arguments of tf.raw_ops
    ("DepthToSpace", [IMAGE], {}, {"block_size": {"i": "2"}, **NHWC}, {"input": IMAGE, "block_size": 2}),
    ("SpaceToDepth", [IMAGE], {}, {"block_size": {"i": "2"}, **NHWC}, {"input": IMAGE, "block_size": 2}),
    (
        "MaxPool",
        [IMAGE],
        {},
        {**HALVES, **NHWC, "padding": {"s": base64.b64encode(b"VALID").decode()}},
        {"input": IMAGE, "ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"},
    ),
    ("Cast", [ROWS], {}, {"DstT": {"type": "DT_INT32"}, "Truncate": {"b": False}}, {"x": ROWS, "DstT": "int32"}),
    ("LeakyRelu", [ROWS], {}, {"alpha": {"f": 0.3}}, {"features": ROWS, "alpha": 0.3}),
    ("Squeeze", [ROWS[:, :1]], {}, {"squeeze_dims": {"list": {"i": ["1"]}}}, {"input": ROWS[:, :1], "axis": [1]}),
    ("Split", [ROWS], {0: 1}, {"num_split": {"i": "2"}}, {"axis": 1, "value": ROWS, "num_split": 2}),
    ("Tile", [ROWS], {1: [1, 2]}, {}, {"input": ROWS, "multiples": [1, 2]}),
    ("PadV2", [ROWS], {1: [[0, 0], [1, 2]], 2: 0.5}, {}, {"input": ROWS, "paddings": [[0, 0], [1, 2]], "constant_values": 0.5}),
    (
        "MirrorPad",
        [ROWS],
        {1: [[0, 0], [1, 2]]},
        {"mode": {"s": base64.b64encode(b"REFLECT").decode()}},
        {"input": ROWS, "paddings": [[0, 0], [1, 2]], "mode": "REFLECT"},
    ),
    ("Slice", [ROWS], {1: [1, 0], 2: [-1, 2]}, {}, {"input": ROWS, "begin": [1, 0], "size": [-1, 2]}),
    ("ArgMax", [ROWS], {1: 1}, {"output_type": {"type": "DT_INT64"}}, {"input": ROWS, "dimension": 1}),
    ("BiasAdd", [ROWS], {1: [1.0, 2.0, 3.0, 4.0]}, NHWC, {"value": ROWS, "bias": [1.0, 2.0, 3.0, 4.0]}),
    ("Mean", [ROWS], {1: [1]}, {"keep_dims": {"b": True}}, {"input": ROWS, "axis": [1], "keep_dims": True}),
    ("GatherV2", [ROWS], {1: [2, 0], 2: 0}, {"batch_dims": {"i": "0"}}, {"params": ROWS, "indices": [2, 0], "axis": 0}),
]


@pytest.mark.parametrize(("op", "tensors", "constants", "attributes", "arguments"), [pytest.param(*c, id=c[0]) for c in CASES])
def test_raw_call_answers_as_tensorflow(
    op: str, tensors: list[Any], constants: dict[int, Any], attributes: dict[str, Any], arguments: dict[str, Any]
) -> None:
    import tensorflow as tf

    config = {
        "function": f"raw_ops.{op}",
        "node_def": {"op": op, "attr": {"T": {"type": "DT_FLOAT"}, **attributes}},
        "constants": {str(key): value for key, value in constants.items()},
    }
    found = flat(run_call(config, [tf.constant(tensor) for tensor in tensors], {}))
    expected = flat(getattr(tf.raw_ops, op)(**arguments))
    assert len(found) == len(expected)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
        assert value.dtype == wanted.dtype


def test_a_resize_of_the_old_kind_is_refused() -> None:
    node = {"op": "ResizeBilinear", "attr": {"align_corners": {"b": False}}}
    config = {"function": "raw_ops.ResizeBilinear", "node_def": node, "constants": {"1": [8, 8]}}
    with pytest.raises(ValueError, match="half_pixel_centers"):
        run_call(config, [keras.ops.convert_to_tensor(IMAGE)], {})
