"""Convolutions: odd sizes, strides, paddings, dilations, groups, formats, dtypes; their gradients as ops."""

import ml_dtypes
import numpy as np

from lowering.case import Case

R = np.random.default_rng(11)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values):
    return np.array(values, "int32")


def attrs(stride=1, padding="SAME", dilation=1, data_format="NHWC", **more):
    ones = (1,) if data_format.endswith("C") else (1, 1)
    tail = (1,) if data_format.endswith("C") else ()
    strides = stride if isinstance(stride, tuple) else (stride,) * (len(data_format) - 2)
    rates = dilation if isinstance(dilation, tuple) else (dilation,) * (len(data_format) - 2)
    found = {"strides": (*ones, *strides, *tail), "padding": padding} | more
    if set(rates) != {1}:
        found["dilations"] = (*ones, *rates, *tail)
    if data_format not in {"NHWC", "NDHWC"}:
        found["data_format"] = data_format
    return found


HALF = ml_dtypes.bfloat16
EXPLICIT = {"padding": "EXPLICIT", "explicit_paddings": (0, 0, 1, 2, 0, 3, 0, 0)}

NOT_ONEDNN = {
    "backends": ("jax", "torch"),
    "why": "TensorFlow's oneDNN convolution of no images has the shape of its input; recorded without oneDNN",
}

CASES = [
    Case("Conv2D", "same", (f(2, 7, 6, 3), f(3, 3, 3, 4)), attrs()),
    Case("Conv2D", "same-stride2-even", (f(2, 8, 8, 3), f(3, 3, 3, 4)), attrs(2)),
    Case("Conv2D", "same-stride2-odd", (f(2, 7, 5, 3), f(3, 3, 3, 4)), attrs(2)),
    Case("Conv2D", "same-even-window", (f(1, 6, 5, 2), f(4, 2, 2, 3)), attrs()),
    Case("Conv2D", "same-stride-beyond-window", (f(1, 9, 10, 2), f(2, 2, 2, 3)), attrs(3)),
    Case("Conv2D", "valid", (f(2, 7, 6, 3), f(3, 2, 3, 4)), attrs(padding="VALID")),
    Case("Conv2D", "valid-unequal-strides", (f(2, 9, 8, 3), f(3, 3, 3, 2)), attrs((2, 1), padding="VALID")),
    Case("Conv2D", "explicit", (f(2, 5, 6, 3), f(3, 3, 3, 2)), attrs(2) | EXPLICIT),
    Case("Conv2D", "dilated", (f(1, 9, 8, 2), f(3, 3, 2, 3)), attrs(dilation=2)),
    Case("Conv2D", "dilated-unequal-valid", (f(1, 9, 9, 2), f(3, 3, 2, 3)), attrs(padding="VALID", dilation=(2, 3))),
    Case("Conv2D", "dilated-and-strided", (f(1, 9, 9, 2), f(3, 3, 2, 3)), attrs(2, dilation=2)),
    Case("Conv2D", "1x1", (f(2, 4, 5, 6), f(1, 1, 6, 3)), attrs()),
    Case("Conv2D", "1x1-stride2", (f(2, 5, 5, 6), f(1, 1, 6, 3)), attrs(2)),
    Case("Conv2D", "1x1-stride2-valid", (f(2, 6, 6, 6), f(1, 1, 6, 3)), attrs(2, "VALID")),
    Case("Conv2D", "1x1-explicit", (f(1, 3, 3, 2), f(1, 1, 2, 3)), attrs() | EXPLICIT),
    Case("Conv2D", "whole-image", (f(2, 4, 4, 3), f(4, 4, 3, 5)), attrs(padding="VALID")),
    Case("Conv2D", "groups", (f(2, 5, 5, 4), f(3, 3, 2, 6)), attrs()),
    Case("Conv2D", "groups-stride2", (f(2, 6, 5, 6), f(3, 3, 2, 3)), attrs(2, "VALID")),
    Case("Conv2D", "empty-batch", (f(0, 5, 5, 2), f(3, 3, 2, 3)), attrs(), **NOT_ONEDNN),
    Case("Conv2D", "nchw", (f(2, 3, 7, 6), f(3, 3, 3, 4)), attrs(2, data_format="NCHW")),
    Case(
        "Conv2D",
        "nchw-explicit",
        (f(2, 3, 5, 5), f(3, 3, 3, 4)),
        attrs(data_format="NCHW") | {"padding": "EXPLICIT", "explicit_paddings": (0, 0, 0, 0, 1, 2, 2, 0)},
    ),
    Case("Conv2D", "half", (f(2, 5, 5, 3, dtype="float16"), f(3, 3, 3, 4, dtype="float16")), attrs()),
    Case("Conv2D", "bfloat16", (f(2, 5, 5, 3, dtype=HALF), f(3, 3, 3, 4, dtype=HALF)), attrs(2), rtol=4e-2),
    Case("Conv2D", "double", (f(2, 5, 5, 3, dtype="float64"), f(3, 3, 3, 4, dtype="float64")), attrs()),
    Case(
        "Conv2D",
        "nan-stays-in-its-windows",
        (np.where(np.arange(49).reshape(1, 7, 7, 1) == 0, np.nan, f(1, 7, 7, 1)).astype("float32"), f(3, 3, 1, 2)),
        attrs(),
        gradient=False,
    ),
    Case("DepthwiseConv2dNative", "same", (f(2, 7, 6, 3), f(3, 3, 3, 1)), attrs()),
    Case("DepthwiseConv2dNative", "same-stride2-even", (f(2, 8, 6, 5), f(3, 3, 5, 1)), attrs(2)),
    Case("DepthwiseConv2dNative", "same-stride2-odd", (f(2, 7, 9, 5), f(3, 3, 5, 1)), attrs(2)),
    Case("DepthwiseConv2dNative", "window5-stride2", (f(1, 9, 8, 4), f(5, 5, 4, 1)), attrs(2)),
    Case("DepthwiseConv2dNative", "multiplier", (f(2, 6, 5, 3), f(3, 2, 3, 2)), attrs()),
    Case("DepthwiseConv2dNative", "multiplier-stride2", (f(2, 6, 5, 3), f(3, 2, 3, 2)), attrs(2, "VALID")),
    Case("DepthwiseConv2dNative", "valid", (f(2, 7, 6, 3), f(3, 3, 3, 1)), attrs(padding="VALID")),
    Case("DepthwiseConv2dNative", "valid-stride2", (f(2, 9, 9, 3), f(3, 3, 3, 1)), attrs(2, padding="VALID")),
    Case("DepthwiseConv2dNative", "valid-stride3", (f(1, 9, 10, 3), f(2, 2, 3, 1)), attrs(3, padding="VALID")),
    Case("DepthwiseConv2dNative", "explicit-stride2", (f(2, 6, 7, 3), f(3, 3, 3, 1)), attrs(2) | EXPLICIT),
    Case("DepthwiseConv2dNative", "many-channels", (f(2, 5, 5, 50), f(3, 3, 50, 1)), attrs()),
    Case("DepthwiseConv2dNative", "empty-batch", (f(0, 5, 5, 2), f(3, 3, 2, 1)), attrs(), **NOT_ONEDNN),
    Case("DepthwiseConv2dNative", "half", (f(2, 5, 5, 3, dtype="float16"), f(3, 3, 3, 1, dtype="float16")), attrs()),
    Case("DepthwiseConv2dNative", "nchw", (f(2, 3, 5, 6), f(3, 3, 3, 2)), attrs(data_format="NCHW")),
    Case("Conv2DBackpropInput", "same-stride2-even", (i(2, 8, 6, 3), f(3, 3, 3, 4), f(2, 4, 3, 4)), attrs(2)),
    Case("Conv2DBackpropInput", "same-stride2-odd", (i(2, 7, 5, 3), f(3, 3, 3, 4), f(2, 4, 3, 4)), attrs(2)),
    Case("Conv2DBackpropInput", "same-window4", (i(2, 8, 8, 3), f(4, 4, 3, 4), f(2, 4, 4, 4)), attrs(2)),
    Case("Conv2DBackpropInput", "same-window5-stride1", (i(2, 5, 4, 3), f(5, 5, 3, 4), f(2, 5, 4, 4)), attrs()),
    Case("Conv2DBackpropInput", "same-stride-beyond-window", (i(1, 8, 9, 2), f(2, 2, 2, 3), f(1, 3, 3, 3)), attrs(3)),
    Case("Conv2DBackpropInput", "valid", (i(2, 7, 6, 3), f(3, 2, 3, 4), f(2, 5, 5, 4)), attrs(padding="VALID")),
    Case(
        "Conv2DBackpropInput", "valid-stride2-leftover", (i(2, 8, 8, 3), f(3, 3, 3, 4), f(2, 3, 3, 4)), attrs(2, padding="VALID")
    ),
    Case("Conv2DBackpropInput", "spatial-sizes-only", (i(8, 6), f(3, 3, 3, 4), f(2, 4, 3, 4)), attrs(2)),
    Case("Conv2DBackpropInput", "explicit", (i(2, 5, 6, 3), f(3, 3, 3, 2), f(2, 3, 4, 2)), attrs(2) | EXPLICIT),
    Case("Conv2DBackpropInput", "dilated", (i(1, 9, 8, 2), f(3, 3, 2, 3), f(1, 9, 8, 3)), attrs(dilation=2)),
    Case("Conv2DBackpropInput", "groups", (i(2, 5, 5, 4), f(3, 3, 2, 6), f(2, 5, 5, 6)), attrs()),
    Case("Conv2DBackpropInput", "nchw", (i(2, 3, 8, 6), f(3, 3, 3, 4), f(2, 4, 4, 3)), attrs(2, data_format="NCHW")),
    Case("Conv2DBackpropFilter", "same-stride2", (f(2, 7, 6, 3), i(3, 3, 3, 4), f(2, 4, 3, 4)), attrs(2)),
    Case("Conv2DBackpropFilter", "valid", (f(2, 7, 6, 3), i(3, 2, 3, 4), f(2, 5, 5, 4)), attrs(padding="VALID")),
    Case("Conv2DBackpropFilter", "groups", (f(2, 5, 5, 4), i(3, 3, 2, 6), f(2, 5, 5, 6)), attrs()),
    Case("DepthwiseConv2dNativeBackpropInput", "same", (i(2, 7, 6, 3), f(3, 3, 3, 2), f(2, 7, 6, 6)), attrs()),
    Case("DepthwiseConv2dNativeBackpropInput", "same-stride2", (i(2, 8, 7, 3), f(3, 3, 3, 1), f(2, 4, 4, 3)), attrs(2)),
    Case("DepthwiseConv2dNativeBackpropInput", "valid-stride2", (i(2, 8, 8, 3), f(3, 3, 3, 1), f(2, 3, 3, 3)), attrs(2, "VALID")),
    Case("DepthwiseConv2dNativeBackpropFilter", "same", (f(2, 7, 6, 3), i(3, 3, 3, 2), f(2, 7, 6, 6)), attrs()),
    Case(
        "DepthwiseConv2dNativeBackpropFilter", "valid-stride2", (f(2, 8, 8, 3), i(3, 3, 3, 1), f(2, 3, 3, 3)), attrs(2, "VALID")
    ),
    Case("Conv3D", "same", (f(1, 4, 5, 6, 2), f(3, 2, 3, 2, 3)), attrs(data_format="NDHWC")),
    Case("Conv3D", "same-stride2", (f(2, 4, 5, 6, 2), f(3, 3, 3, 2, 3)), attrs(2, data_format="NDHWC")),
    Case("Conv3D", "valid-unequal-strides", (f(1, 5, 6, 7, 2), f(2, 3, 3, 2, 2)), attrs((1, 2, 2), "VALID", data_format="NDHWC")),
    Case("Conv3D", "dilated", (f(1, 6, 6, 6, 1), f(2, 2, 2, 1, 2)), attrs(dilation=2, data_format="NDHWC")),
    Case("Conv3D", "ncdhw", (f(1, 2, 4, 5, 6), f(3, 2, 3, 2, 3)), attrs(data_format="NCDHW")),
    Case(
        "Conv3DBackpropInputV2",
        "same-stride2",
        (i(1, 4, 5, 6, 2), f(3, 3, 3, 2, 3), f(1, 2, 3, 3, 3)),
        attrs(2, data_format="NDHWC"),
    ),
    Case(
        "Conv3DBackpropInputV2",
        "valid",
        (i(1, 5, 5, 5, 2), f(2, 3, 2, 2, 3), f(1, 4, 3, 4, 3)),
        attrs(1, "VALID", data_format="NDHWC"),
    ),
    Case(
        "Conv3DBackpropFilterV2",
        "same-stride2",
        (f(1, 4, 5, 6, 2), i(3, 3, 3, 2, 3), f(1, 2, 3, 3, 3)),
        attrs(2, data_format="NDHWC"),
    ),
    Case("Dilation2D", "same", (f(2, 6, 5, 3), f(3, 2, 3)), {"strides": (1, 1, 1, 1), "rates": (1, 1, 1, 1), "padding": "SAME"}),
    Case(
        "Dilation2D",
        "valid-stride2-rate2",
        (f(1, 8, 9, 2), f(3, 3, 2)),
        {"strides": (1, 2, 2, 1), "rates": (1, 2, 2, 1), "padding": "VALID"},
    ),
    Case(
        "_FusedConv2D",
        "bias-relu",
        (f(2, 5, 5, 3), f(3, 3, 3, 4), f(4)),
        attrs() | {"num_args": 1, "TArgs": ("float32",), "fused_ops": ("BiasAdd", "Relu")},
        gradient=False,
    ),
    Case(
        "_FusedConv2D",
        "bias-relu6",
        (f(2, 5, 5, 3), f(3, 3, 3, 4), f(4)),
        attrs(2) | {"num_args": 1, "TArgs": ("float32",), "fused_ops": ("BiasAdd", "Relu6")},
        gradient=False,
    ),
    Case(
        "_FusedConv2D",
        "bias-elu",
        (f(2, 5, 5, 3), f(3, 3, 3, 4), f(4)),
        attrs() | {"num_args": 1, "TArgs": ("float32",), "fused_ops": ("BiasAdd", "Elu")},
        gradient=False,
    ),
    Case(
        "_FusedConv2D",
        "bias-leaky-relu",
        (f(2, 5, 5, 3), f(3, 3, 3, 4), f(4)),
        attrs() | {"num_args": 1, "TArgs": ("float32",), "fused_ops": ("BiasAdd", "LeakyRelu"), "leakyrelu_alpha": 0.3},
        gradient=False,
    ),
    Case(
        "_FusedConv2D",
        "batch-norm-relu",
        (f(2, 5, 5, 3), f(3, 3, 3, 4), f(4), f(4), f(4), np.abs(f(4))),
        attrs(1, "VALID") | {"num_args": 4, "TArgs": ("float32",) * 4, "fused_ops": ("FusedBatchNorm", "Relu"), "epsilon": 0.001},
        gradient=False,
    ),
    Case(
        "_FusedMatMul", "bias-relu", (f(3, 4), f(4, 5), f(5)), {"num_args": 1, "fused_ops": ("BiasAdd", "Relu")}, gradient=False
    ),
    Case(
        "_FusedMatMul",
        "bias-transposed",
        (f(3, 4), f(5, 4), f(5)),
        {"num_args": 1, "fused_ops": ("BiasAdd",), "transpose_b": True},
        gradient=False,
    ),
    *[
        Case("Conv", id, (f(*x), f(*kernel)), {"strides": (1,) * len(x)} | own, gradient=False)
        for id, x, kernel, own in (
            ("plane-same", (2, 5, 6, 3), (3, 2, 3, 4), {"padding": "SAME"}),
            ("plane-stride2", (2, 5, 6, 3), (3, 2, 3, 4), {"padding": "VALID", "strides": (1, 2, 2, 1)}),
            ("space", (1, 5, 6, 5, 2), (2, 2, 3, 2, 3), {"padding": "SAME"}),
            ("plane-explicit", (2, 5, 6, 3), (3, 2, 3, 4), EXPLICIT),
        )
    ],
]
