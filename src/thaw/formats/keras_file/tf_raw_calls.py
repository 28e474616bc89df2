"""What an op of TensorFlow's graph that Keras recorded as a `TensorFlowOpLayer` (TensorFlow 1.13 to 2.3) is in `keras.ops`.

Names and attributes are those of the op's NodeDef, as JSON. Imports Keras' public names and the shared forms only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from keras import ops

from thaw.formats.keras_file.call_forms import (
    Function,
    Sizes,
    binary,
    dtype_name,
    numbers,
    only_last,
    pooler,
    reducer,
    reshaped,
    unary,
)

__all__ = ["RAW_CALLS", "attributes", "strided_slice"]

_TYPES = frozenset({"DstT", "out_type", "output_type"})


def attributes(node: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a NodeDef that the functions below take; other types follow from the tensors."""
    found: dict[str, Any] = {}
    content: Any
    for key, value in (node.get("attr") or {}).items():
        kind, content = next(iter(value.items()), ("b", False))
        if kind == "b":
            found[key] = bool(content)
        elif kind == "i":
            found[key] = int(content)
        elif kind == "f":
            found[key] = float(content)
        elif kind == "s":
            found[key] = _text(content)
        elif kind == "list" and content.get("i"):
            found[key] = [int(number) for number in content["i"]]
        elif kind == "type" and key in _TYPES:
            found[key] = dtype_name(content)
    return {key: value for key, value in found.items() if key not in ("N", "_cloned", "_XlaCompile", "_XlaScope")}


def _text(content: Any) -> str:
    try:
        return base64.b64decode(str(content), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return str(content)


def strided_slice(
    tensor: Any,
    begin: Any,
    end: Any,
    strides: Any,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Any:
    """`tensor[begin:end:strides]`, with TensorFlow's masks for what a Python slice leaves out."""
    parts: list[Any] = []
    for axis, (start, stop, step) in enumerate(zip(numbers(begin), numbers(end), numbers(strides), strict=True)):
        bit = 1 << axis
        if ellipsis_mask & bit:
            parts.append(Ellipsis)
        elif new_axis_mask & bit:
            parts.append(None)
        elif shrink_axis_mask & bit:
            parts.append(start)
        else:
            parts.append(slice(None if begin_mask & bit else start, None if end_mask & bit else stop, step))
    return tensor.part(parts[0]) if isinstance(tensor, Sizes) else tensor[tuple(parts)]


def _matmul(
    a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False, adj_x: bool = False, adj_y: bool = False
) -> Any:
    a = ops.swapaxes(a, -1, -2) if transpose_a or adj_x else a
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b or adj_y else b)


def _depth_to_space(input: Any, *, block_size: int, data_format: str = "NHWC") -> Any:
    only_last(data_format)
    _, rows, columns, depth = input.shape
    depth //= block_size**2
    parts = ops.reshape(input, (-1, rows, columns, block_size, block_size, depth))
    return ops.reshape(ops.transpose(parts, (0, 1, 3, 2, 4, 5)), (-1, rows * block_size, columns * block_size, depth))


def _space_to_depth(input: Any, *, block_size: int, data_format: str = "NHWC") -> Any:
    only_last(data_format)
    _, rows, columns, depth = input.shape
    rows, columns = rows // block_size, columns // block_size
    parts = ops.reshape(input, (-1, rows, block_size, columns, block_size, depth))
    return ops.reshape(ops.transpose(parts, (0, 1, 3, 2, 4, 5)), (-1, rows, columns, depth * block_size**2))


def _pool(pool: Function) -> Function:
    pooled = pooler(pool)
    return lambda value, *, ksize, strides, padding, data_format="NHWC", **_: pooled(value, ksize, strides, padding, data_format)


def _resize(method: str) -> Function:
    def resized(images: Any, size: Any, *, align_corners: bool = False, half_pixel_centers: bool = False) -> Any:
        if align_corners or not half_pixel_centers:
            raise ValueError("a resize without half_pixel_centers has no counterpart")
        return ops.image.resize(images, numbers(size), interpolation=method)

    return resized


def _squeeze(input: Any, *, squeeze_dims: Any = None) -> Any:
    return ops.squeeze(input, axis=numbers(squeeze_dims) if squeeze_dims else None)


def _split(axis: Any, value: Any, *, num_split: int) -> Any:
    return ops.split(value, num_split, axis=int(axis))


def _pad(input: Any, paddings: Any, constant_values: Any = 0) -> Any:
    return ops.pad(input, numbers(paddings), mode="constant", constant_values=constant_values)


def _gather(params: Any, indices: Any, axis: Any = 0, *, batch_dims: int = 0) -> Any:
    if batch_dims:
        raise ValueError("GatherV2(batch_dims=...) has no counterpart")
    return ops.take(params, indices, axis=int(axis))


def _pack(*values: Any, axis: int = 0) -> Any:
    plain = all(value is None or isinstance(value, int) for value in values)
    return Sizes(values) if plain else ops.stack(list(values), axis=axis)


def _slice(input: Any, begin: Any, size: Any) -> Any:
    ends = zip(numbers(begin), numbers(size), strict=True)
    return input[tuple(slice(start, None if length == -1 else start + length) for start, length in ends)]


def _mirror_pad(input: Any, paddings: Any, *, mode: str) -> Any:
    return ops.pad(input, numbers(paddings), mode=mode.lower())


_UNARY: dict[str, Function] = {
    "Abs": ops.abs,
    "Ceil": ops.ceil,
    "Cos": ops.cos,
    "Elu": ops.elu,
    "Erf": ops.erf,
    "Exp": ops.exp,
    "Expm1": ops.expm1,
    "Floor": ops.floor,
    "IsNan": ops.isnan,
    "Log": ops.log,
    "Log1p": ops.log1p,
    "LogSoftmax": ops.log_softmax,
    "LogicalNot": ops.logical_not,
    "Neg": ops.negative,
    "OnesLike": ops.ones_like,
    "Reciprocal": ops.reciprocal,
    "Relu": ops.relu,
    "Relu6": ops.relu6,
    "Round": ops.round,
    "Rsqrt": ops.rsqrt,
    "Selu": ops.selu,
    "Sigmoid": ops.sigmoid,
    "Sign": ops.sign,
    "Sin": ops.sin,
    "Softmax": ops.softmax,
    "Softplus": ops.softplus,
    "Softsign": ops.softsign,
    "Sqrt": ops.sqrt,
    "Square": ops.square,
    "StopGradient": ops.stop_gradient,
    "Tan": ops.tan,
    "Tanh": ops.tanh,
    "ZerosLike": ops.zeros_like,
}
_BINARY: dict[str, Function] = {
    "Add": ops.add,
    "AddV2": ops.add,
    "BiasAdd": ops.add,
    "DivNoNan": ops.divide_no_nan,
    "Equal": ops.equal,
    "FloorDiv": ops.floor_divide,
    "FloorMod": ops.mod,
    "Greater": ops.greater,
    "GreaterEqual": ops.greater_equal,
    "Less": ops.less,
    "LessEqual": ops.less_equal,
    "LogicalAnd": ops.logical_and,
    "LogicalOr": ops.logical_or,
    "Maximum": ops.maximum,
    "Minimum": ops.minimum,
    "Mul": ops.multiply,
    "NotEqual": ops.not_equal,
    "Pow": ops.power,
    "RealDiv": ops.true_divide,
    "SquaredDifference": lambda x, y: ops.square(ops.subtract(x, y)),
    "Sub": ops.subtract,
}
RAW_CALLS: dict[str, Function] = {
    **{name: unary(function) for name, function in _UNARY.items()},
    **{name: binary(function) for name, function in _BINARY.items()},
    "BiasAdd": lambda value, bias, data_format="NHWC": ops.add(value, bias),
    "NotEqual": lambda x, y, incompatible_shape_error=True: ops.not_equal(x, y),
    "Equal": lambda x, y, incompatible_shape_error=True: ops.equal(x, y),
    "Identity": lambda x: x,
    "LeakyRelu": lambda features, alpha=0.2: ops.leaky_relu(features, negative_slope=alpha),
    "Cast": lambda x, DstT="float32", Truncate=False: ops.cast(x, DstT),
    "Mean": reducer(ops.mean),
    "Sum": reducer(ops.sum),
    "Max": reducer(ops.max),
    "Min": reducer(ops.min),
    "Prod": reducer(ops.prod),
    "All": reducer(ops.all),
    "Any": reducer(ops.any),
    "AddN": lambda *values: sum(values[1:], values[0]),
    "ConcatV2": lambda *values: ops.concatenate(list(values[:-1]), axis=int(values[-1])),
    "Pack": _pack,
    "Unpack": lambda value, num=None, axis=0: ops.unstack(value, num=num, axis=axis),
    "Shape": lambda input, out_type="int32": Sizes(input.shape),
    "Reshape": reshaped,
    "Transpose": lambda a, perm: ops.transpose(a, axes=numbers(perm)),
    "ExpandDims": lambda tensor, axis: ops.expand_dims(tensor, numbers(axis)),
    "Squeeze": _squeeze,
    "Split": _split,
    "Slice": _slice,
    "StridedSlice": strided_slice,
    "Tile": lambda input, multiples: ops.tile(input, numbers(multiples)),
    "Pad": _pad,
    "PadV2": _pad,
    "MirrorPad": _mirror_pad,
    "GatherV2": _gather,
    "Select": ops.where,
    "SelectV2": ops.where,
    "ClipByValue": ops.clip,
    "ReverseV2": lambda tensor, axis: ops.flip(tensor, axis=numbers(axis)),
    "ArgMax": lambda input, axis, output_type="int64": ops.cast(ops.argmax(input, axis=int(axis)), output_type),
    "ArgMin": lambda input, axis, output_type="int64": ops.cast(ops.argmin(input, axis=int(axis)), output_type),
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "Einsum": lambda *inputs, equation: ops.einsum(equation, *inputs),
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "MaxPool": _pool(ops.max_pool),
    "AvgPool": _pool(ops.average_pool),
    "ResizeBilinear": _resize("bilinear"),
    "ResizeNearestNeighbor": _resize("nearest"),
}
