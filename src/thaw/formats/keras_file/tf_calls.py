"""What a TensorFlow call that Keras 2 recorded as a layer (`TFOpLambda` and its like) is in `keras.ops`: an allow-list.

Keras 3 runs these as its own operations inside the functional model, so that a model saved in its own format needs nothing of
thaw. A call outside the table is refused by name. Parameters have TensorFlow's names, since configs give them by
name. Imports Keras' public names, the shared forms and the table of raw ops only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from thaw.formats.keras_file.call_forms import (
    Function,
    Sizes,
    binary,
    dtype_name,
    flipped,
    numbers,
    pooler,
    reducer,
    reshaped,
    unary,
)
from thaw.formats.keras_file.tf_raw_calls import RAW_CALLS, attributes, strided_slice

__all__ = ["is_known_call", "known_calls", "run_call"]


def is_known_call(function: str) -> bool:
    """Whether `function`, as `nn.relu` or `raw_ops.AddV2`, has a translation."""
    return _bare(function) in _TABLE


def known_calls() -> list[str]:
    """Every translated call, sorted."""
    return sorted(_TABLE)


def run_call(config: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the call gives for (symbolic) tensors.

    Args:
        config: Of the layer: `function`, and for a `TensorFlowOpLayer` its `node_def` and `constants`.
        args: The layer's positional arguments.
        kwargs: The rest, by TensorFlow's names.
    """
    function = _TABLE[_bare(str(config["function"]))]
    if "node_def" in config:
        return function(*_with_constants(args, config.get("constants") or {}), **attributes(config["node_def"]))
    return function(*args, **{key: value for key, value in kwargs.items() if key != "name"})


def _bare(function: str) -> str:
    for prefix in ("keras.", "compat.v1.", "compat.v2."):
        function = function.removeprefix(prefix)
    return function


def _with_constants(args: Sequence[Any], constants: Mapping[str, Any]) -> list[Any]:
    tensors = list(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else list(args)
    for index in sorted(int(key) for key in constants):
        tensors.insert(index, constants[str(index)] if str(index) in constants else constants[index])  # type: ignore[index]
    return tensors


def _getitem(tensor: Any, slice_spec: Any) -> Any:
    def part(item: Any) -> Any:
        if isinstance(item, Mapping) and {"start", "stop", "step"} <= set(item):
            return slice(item["start"], item["stop"], item["step"])
        if isinstance(item, Mapping) and item.get("class_name") == "__ellipsis__":
            return Ellipsis
        return Ellipsis if item in ("Ellipsis", "...") else item

    items = slice_spec if isinstance(slice_spec, list | tuple) else [slice_spec]
    if isinstance(tensor, Sizes):
        return tensor.part(part(items[0]))
    return tensor[tuple(part(item) for item in items)]


def _matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, adjoint_a: bool = False, adjoint_b: bool = False
) -> Any:
    a = ops.swapaxes(a, -1, -2) if transpose_a or adjoint_a else a
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b or adjoint_b else b)


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    if mode.upper() == "CONSTANT":
        return ops.pad(tensor, numbers(paddings), mode="constant", constant_values=constant_values)
    return ops.pad(tensor, numbers(paddings), mode=mode.lower())


def _stack(values: Any, axis: int = 0) -> Any:
    return RAW_CALLS["Pack"](*values, axis=axis)


def _einsum(equation: Any, *inputs: Any) -> Any:
    if not inputs:
        # Keras 2 recorded the equation only, and cannot open such a file itself.
        raise ValueError(
            "the file does not say what this tf.einsum takes: rebuild the model with keras.layers.EinsumDense or Dot"
        )
    return ops.einsum(equation, *inputs)


def _norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None) -> Any:
    axes, keep = numbers(axis), bool(keepdims)
    pair = isinstance(axes, tuple) and len(axes) > 1
    if ord in ("euclidean", "fro") or (ord == 2 and not pair):
        return ops.sqrt(ops.sum(ops.square(tensor), axis=axes, keepdims=keep))
    if ord == 1 and not pair:
        return ops.sum(ops.abs(tensor), axis=axes, keepdims=keep)
    raise ValueError(f"tf.norm(ord={ord!r}, axis={axis!r}) has no counterpart")


def _split(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    if isinstance(num_or_size_splits, int):
        return ops.split(value, num_or_size_splits, axis=axis)
    ends = [sum(num_or_size_splits[: i + 1]) for i in range(len(num_or_size_splits) - 1)]
    return ops.split(value, tuple(ends), axis=axis)


def _resize(
    images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False, antialias: bool = False
) -> Any:
    if preserve_aspect_ratio:
        raise ValueError("tf.image.resize(preserve_aspect_ratio=True) has no counterpart")
    return ops.image.resize(images, numbers(size), interpolation=method, antialias=antialias)


def _leaky_relu(features: Any, alpha: float = 0.2) -> Any:
    return ops.leaky_relu(features, negative_slope=alpha)


def _silu(features: Any, beta: float = 1.0) -> Any:
    return ops.multiply(features, ops.sigmoid(ops.multiply(features, beta)))


def _relu(
    x: Any = None, features: Any = None, negative_slope: float = 0.0, max_value: Any = None, threshold: float = 0.0, **_: Any
) -> Any:
    return keras.activations.relu(
        features if x is None else x, negative_slope=negative_slope, max_value=max_value, threshold=threshold
    )


def _gelu(features: Any, approximate: bool = False) -> Any:
    return ops.gelu(features, approximate=approximate)


def _softmax(logits: Any, axis: Any = -1) -> Any:
    return ops.softmax(logits, axis=-1 if axis is None else axis)


def _log_softmax(logits: Any, axis: Any = -1) -> Any:
    return ops.log_softmax(logits, axis=-1 if axis is None else axis)


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12) -> Any:
    norm = ops.sum(ops.square(x), axis=numbers(axis), keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(norm, epsilon)))


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return ops.clip(t, clip_value_min, clip_value_max)


def _gather(params: Any, indices: Any, axis: Any = None, batch_dims: int = 0, validate_indices: Any = None) -> Any:
    if batch_dims:
        raise ValueError("tf.gather(batch_dims=...) has no counterpart")
    return ops.take(params, indices, axis=axis or 0)


def _argument(function: Function) -> Function:
    def found(input: Any, axis: int = 0, output_type: Any = "int64") -> Any:
        return ops.cast(function(input, axis=axis), dtype_name(output_type))

    return found


def _one_hot(
    indices: Any, depth: int, on_value: Any = None, off_value: Any = None, axis: int = -1, dtype: Any = "float32"
) -> Any:
    if on_value not in (None, 1, 1.0) or off_value not in (None, 0, 0.0):
        raise ValueError("tf.one_hot with other values than 0 and 1 has no counterpart")
    return ops.one_hot(indices, depth, axis=axis, dtype=dtype_name(dtype))


def _moments(function: Function) -> Function:
    return reducer(function)


_BINARY: dict[str, Function] = {
    "add": ops.add,
    "subtract": ops.subtract,
    "multiply": ops.multiply,
    "divide": ops.divide,
    "truediv": ops.true_divide,
    "floordiv": ops.floor_divide,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
    "pow": ops.power,
    "greater": ops.greater,
    "greater_equal": ops.greater_equal,
    "less": ops.less,
    "less_equal": ops.less_equal,
    "equal": ops.equal,
    "not_equal": ops.not_equal,
    "logical_and": ops.logical_and,
    "logical_or": ops.logical_or,
    "floormod": ops.mod,
    "atan2": ops.arctan2,
    "squared_difference": lambda x, y: ops.square(ops.subtract(x, y)),
    "divide_no_nan": ops.divide_no_nan,
}
_UNARY: dict[str, Function] = {
    "abs": ops.abs,
    "negative": ops.negative,
    "exp": ops.exp,
    "expm1": ops.expm1,
    "log": ops.log,
    "log1p": ops.log1p,
    "sqrt": ops.sqrt,
    "rsqrt": ops.rsqrt,
    "square": ops.square,
    "sign": ops.sign,
    "sin": ops.sin,
    "cos": ops.cos,
    "tan": ops.tan,
    "tanh": ops.tanh,
    "erf": ops.erf,
    "floor": ops.floor,
    "ceil": ops.ceil,
    "round": ops.round,
    "sigmoid": ops.sigmoid,
    "softplus": ops.softplus,
    "reciprocal": ops.reciprocal,
    "logical_not": ops.logical_not,
    "is_nan": ops.isnan,
}
_REDUCERS: dict[str, Function] = {
    "reduce_sum": ops.sum,
    "reduce_mean": ops.mean,
    "reduce_max": ops.max,
    "reduce_min": ops.min,
    "reduce_prod": ops.prod,
    "reduce_any": ops.any,
    "reduce_all": ops.all,
    "reduce_std": ops.std,
    "reduce_variance": ops.var,
    "reduce_logsumexp": ops.logsumexp,
}
_OPERATORS: dict[str, str] = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "truediv",
    "floordiv": "floordiv",
    "pow": "pow",
    "mod": "floormod",
    "gt": "greater",
    "ge": "greater_equal",
    "lt": "less",
    "le": "less_equal",
    "eq": "equal",
    "ne": "not_equal",
}
_TABLE: dict[str, Function] = {
    **{f"math.{name}": binary(function) for name, function in _BINARY.items()},
    **{f"math.{name}": unary(function) for name, function in _UNARY.items()},
    **{f"math.{name}": reducer(function) for name, function in _REDUCERS.items()},
    **{f"__operators__.{name}": binary(_BINARY[full]) for name, full in _OPERATORS.items()},
    **{f"__operators__.r{name}": flipped(_BINARY[full]) for name, full in _OPERATORS.items()},
    "__operators__.neg": unary(ops.negative),
    "__operators__.abs": unary(ops.abs),
    "__operators__.matmul": lambda x, y: ops.matmul(x, y),
    "__operators__.getitem": _getitem,
    "nn.relu": _relu,
    "backend.relu": _relu,
    "nn.relu6": unary(ops.relu6),
    "nn.elu": unary(ops.elu),
    "nn.selu": unary(ops.selu),
    "nn.leaky_relu": _leaky_relu,
    "nn.sigmoid": unary(ops.sigmoid),
    "nn.tanh": unary(ops.tanh),
    "nn.softplus": unary(ops.softplus),
    "nn.softsign": unary(ops.softsign),
    "nn.silu": _silu,
    "nn.swish": _silu,
    "nn.gelu": _gelu,
    "nn.softmax": _softmax,
    "nn.log_softmax": _log_softmax,
    "nn.l2_normalize": _l2_normalize,
    "math.l2_normalize": _l2_normalize,
    "math.softmax": _softmax,
    "math.argmax": _argument(ops.argmax),
    "math.argmin": _argument(ops.argmin),
    "argmax": _argument(ops.argmax),
    "math.cumsum": lambda x, axis=0: ops.cumsum(x, axis=axis),
    "concat": lambda values, axis: ops.concatenate(list(values), axis=axis),
    "stack": _stack,
    "strided_slice": lambda input_, begin, end, strides=None: strided_slice(input_, begin, end, strides or [1] * len(begin)),
    "slice": lambda input_, begin, size: RAW_CALLS["Slice"](input_, begin, size),
    "convert_to_tensor": lambda value, dtype=None: value if dtype is None else ops.cast(value, dtype_name(dtype)),
    "ensure_shape": lambda x, shape: x,
    "repeat": lambda input, repeats, axis=None: ops.repeat(input, numbers(repeats), axis=axis),
    "norm": _norm,
    "linalg.norm": _norm,
    "math.reduce_euclidean_norm": reducer(lambda x, axis, keepdims: ops.sqrt(ops.sum(ops.square(x), axis, keepdims))),
    "einsum": _einsum,
    "linalg.einsum": _einsum,
    "tensordot": lambda a, b, axes: ops.tensordot(a, b, axes=numbers(axes)),
    "math.add_n": lambda inputs: sum(inputs[1:], inputs[0]),
    "math.log_sigmoid": unary(ops.log_sigmoid),
    "math.cumprod": lambda x, axis=0: ops.cumprod(x, axis=axis),
    "cumsum": lambda x, axis=0: ops.cumsum(x, axis=axis),
    "math.top_k": lambda input, k=1, sorted=True: ops.top_k(input, k, sorted=sorted),
    "nn.bias_add": lambda value, bias: ops.add(value, bias),
    "nn.depth_to_space": lambda input, block_size, data_format="NHWC": RAW_CALLS["DepthToSpace"](
        input, block_size=block_size, data_format=data_format
    ),
    "nn.space_to_depth": lambda input, block_size, data_format="NHWC": RAW_CALLS["SpaceToDepth"](
        input, block_size=block_size, data_format=data_format
    ),
    "nn.max_pool2d": pooler(ops.max_pool),
    "nn.avg_pool2d": pooler(ops.average_pool),
    "image.rgb_to_grayscale": lambda images: ops.image.rgb_to_grayscale(images),
    "image.flip_left_right": lambda image: ops.flip(image, axis=-2),
    "image.flip_up_down": lambda image: ops.flip(image, axis=-3),
    "unstack": lambda value, num=None, axis=0: ops.unstack(value, num=num, axis=axis),
    "split": _split,
    "reshape": reshaped,
    "shape": lambda input, out_type=None: Sizes(input.shape),
    "transpose": lambda a, perm=None, conjugate=False: ops.transpose(a, axes=numbers(perm)),
    "expand_dims": lambda input, axis: ops.expand_dims(input, axis),
    "squeeze": lambda input, axis=None: ops.squeeze(input, axis=numbers(axis)),
    "cast": lambda x, dtype: ops.cast(x, dtype_name(dtype)),
    "identity": lambda input: input,
    "stop_gradient": lambda input: ops.stop_gradient(input),
    "linalg.matmul": _matmul,
    "matmul": _matmul,
    "linalg.l2_normalize": _l2_normalize,
    "tile": lambda input, multiples: ops.tile(input, numbers(multiples)),
    "pad": _pad,
    "clip_by_value": _clip,
    "gather": _gather,
    "where": lambda condition, x, y: ops.where(condition, x, y),
    "one_hot": _one_hot,
    "zeros_like": lambda input, dtype=None: ops.zeros_like(input),
    "ones_like": lambda input, dtype=None: ops.ones_like(input),
    "broadcast_to": lambda input, shape: ops.broadcast_to(input, numbers(shape)),
    "roll": lambda input, shift, axis: ops.roll(input, shift, axis=axis),
    "reverse": lambda tensor, axis: ops.flip(tensor, axis=numbers(axis)),
    "image.resize": _resize,
    **{f"raw_ops.{name}": function for name, function in RAW_CALLS.items()},
}
# TensorFlow gives many of these a second name at its top.
for _name in (
    "add",
    "subtract",
    "multiply",
    "divide",
    "truediv",
    "maximum",
    "minimum",
    "pow",
    "abs",
    "negative",
    "exp",
    "sqrt",
    "square",
):
    _TABLE.setdefault(_name, _TABLE[f"math.{_name}"])
for _name in ("sign", "sin", "cos", "tanh", "round", "floor", "sigmoid", *_REDUCERS):
    _TABLE.setdefault(_name, _TABLE[f"math.{_name}"])
