"""Activations, biases, and their gradients where a graph holds those as ops of its own.

At a kink the gradient is TensorFlow's: 0 for Relu at 0 and Relu6 at both ends, the slope for LeakyRelu at 0. What lies
in a graph as several ops (Swish, GELU, hard sigmoid ...) needs no row here.
"""

from keras import ops

from thaw.lowering import kernels
from thaw.lowering.elementwise import apply
from thaw.lowering.math import add
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of
from thaw.lowering.windows import channels_first

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717 * SELU_SCALE


@lowering("Relu")
def relu(features: Value) -> Value:
    """The positive part."""
    return kernels.relu(features)


@lowering("Relu6")
def relu6(features: Value) -> Value:
    """The input between 0 and 6."""
    return kernels.relu6(features)


@lowering("LeakyRelu")
def leaky_relu(features: Value, *, alpha: float = 0.2) -> Value:
    """The positive part, and `alpha` of the negative one."""
    features = ops.convert_to_tensor(features)
    return ops.where(features > 0, features, features * alpha)


@lowering("Elu")
def elu(features: Value) -> Value:
    """The positive part, and `exp(x) - 1` of the negative one."""
    return ops.where(features < 0, ops.expm1(ops.minimum(features, 0)), features)


@lowering("Selu")
def selu(features: Value) -> Value:
    """The scaled exponential unit of self-normalizing nets."""
    features = ops.convert_to_tensor(features)
    return ops.where(features < 0, SELU_ALPHA * ops.expm1(ops.minimum(features, 0)), SELU_SCALE * features)


@lowering("Softplus")
def softplus(features: Value) -> Value:
    """`log(1 + exp(x))`."""
    return ops.softplus(features)


@lowering("Softsign")
def softsign(features: Value) -> Value:
    """`x / (1 + |x|)`."""
    features = ops.convert_to_tensor(features)
    return features / (ops.abs(features) + 1)


@lowering("Softmax")
def softmax(logits: Value) -> Value:
    """Exponentials over their sum, along the last axis."""
    return kernels.softmax(logits)


@lowering("LogSoftmax")
def log_softmax(logits: Value) -> Value:
    """The logarithm of the softmax, along the last axis."""
    return ops.log_softmax(logits, axis=-1)


@lowering("ReluGrad")
def relu_gradient(gradients: Value, features: Value) -> Value:
    """What Relu's input would receive as gradient."""
    return ops.where(features > 0, gradients, ops.zeros_like(gradients))


@lowering("Relu6Grad")
def relu6_gradient(gradients: Value, features: Value) -> Value:
    """What Relu6's input would receive as gradient."""
    inside = ops.logical_and(features > 0, features < 6)
    return ops.where(inside, gradients, ops.zeros_like(gradients))


@lowering("LeakyReluGrad")
def leaky_relu_gradient(gradients: Value, features: Value, *, alpha: float = 0.2) -> Value:
    """What LeakyRelu's input would receive as gradient."""
    return ops.where(features > 0, gradients, gradients * alpha)


@lowering("EluGrad")
def elu_gradient(gradients: Value, outputs: Value) -> Value:
    """What Elu's input would receive as gradient, from Elu's output."""
    return ops.where(outputs < 0, gradients * (outputs + 1), gradients)


@lowering("SeluGrad")
def selu_gradient(gradients: Value, outputs: Value) -> Value:
    """What Selu's input would receive as gradient, from Selu's output."""
    return ops.where(outputs < 0, gradients * (outputs + SELU_ALPHA), gradients * SELU_SCALE)


@lowering("SoftplusGrad")
def softplus_gradient(gradients: Value, features: Value) -> Value:
    """What Softplus' input would receive as gradient."""
    return gradients / (ops.exp(-features) + 1)


@lowering("SoftsignGrad")
def softsign_gradient(gradients: Value, features: Value) -> Value:
    """What Softsign's input would receive as gradient."""
    return gradients / ops.square(ops.abs(features) + 1)


@lowering("BiasAdd")
def bias_add(value: Value, bias: Value, *, data_format: str = "NHWC") -> Value:
    """A vector added along the channels."""
    if channels_first(data_format) and len(value.shape) > 2:
        bias = ops.reshape(bias, (1, -1, *(1,) * (len(value.shape) - 2)))
    return apply(add, value, bias)


@lowering("BiasAddV1")
def bias_add_v1(value: Value, bias: Value) -> Value:
    """A vector added along the last axis."""
    return apply(add, value, bias)


@lowering("BiasAddGrad")
def bias_add_gradient(out_backprop: Value, *, data_format: str = "NHWC") -> Value:
    """What BiasAdd's vector would receive as gradient: the sum over all other axes."""
    rank = len(out_backprop.shape)
    channel = 1 if channels_first(data_format) and rank > 2 else rank - 1
    total = ops.sum(out_backprop, axis=tuple(axis for axis in range(rank) if axis != channel))
    return ops.cast(total, dtype_of(out_backprop))
