"""Classification losses over logits, and what counts a right answer.

Imports the registry and the values. CTC is in `ctc`.
"""

from typing import Any

import numpy as np
from keras import ops

from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, on_device, static_shape


def with_gradient(value: Value, *parts: tuple[Value, Value]) -> Value:
    """`value` (one number a row), whose gradient in each `x` of `parts` is the `slope` beside it.

    TensorFlow's losses return their slope as a second output and use it as their gradient even where the labels do not
    sum to one, so that differentiating the value would differ.
    """
    result = ops.stop_gradient(value)
    for x, slope in parts:
        term = ops.sum(x * ops.stop_gradient(slope), axis=-1)
        result = result + (term - ops.stop_gradient(term))
    return result


@lowering("SoftmaxCrossEntropyWithLogits")
def softmax_cross_entropy(features: Value, labels: Value) -> tuple[Value, Value]:
    """The cross entropy of each row, and its slope in the logits."""
    features = on_device(features)
    log_likely = ops.log_softmax(features, axis=-1)
    labels = ops.convert_to_tensor(labels, dtype=dtype_of(log_likely))
    loss = -ops.sum(labels * log_likely, axis=-1)
    slope = ops.softmax(features, axis=-1) - labels
    return with_gradient(loss, (features, slope), (labels, -log_likely)), slope


@lowering("SparseSoftmaxCrossEntropyWithLogits")
def sparse_softmax_cross_entropy(features: Value, labels: Value) -> tuple[Value, Value]:
    """The cross entropy of each row with its class, and its slope in the logits; NaN for a class that is not there."""
    features, labels = on_device(features), on_device(labels)
    classes = int(static_shape(features)[-1] or 0)
    log_likely = ops.log_softmax(features, axis=-1)
    dtype = dtype_of(log_likely)
    hot = ops.one_hot(labels, classes, dtype=dtype)
    valid = ops.logical_and(labels >= 0, labels < classes)
    wrong = ops.where(ops.expand_dims(valid, -1), ops.zeros_like(hot), ops.full_like(hot, np.nan))
    loss = -ops.sum((hot + wrong) * log_likely, axis=-1)
    slope = ops.softmax(features, axis=-1) - hot + wrong
    return with_gradient(loss, (features, slope)), slope


def in_top(predictions: Value, targets: Value, k: Any) -> Value:
    """Whether fewer than `k` predictions are larger than the target's; never in a row that is not finite."""
    predictions, targets = on_device(predictions), on_device(targets)
    classes = int(static_shape(predictions)[-1] or 0)
    inside = ops.logical_and(targets >= 0, targets < classes)
    index = ops.expand_dims(ops.clip(targets, 0, max(classes - 1, 0)), -1)
    own = ops.take_along_axis(predictions, ops.cast(index, "int32"), axis=-1)
    larger = ops.sum(ops.cast(predictions > own, "int32"), axis=-1)
    finite = ops.logical_and(inside, ops.all(ops.isfinite(predictions), axis=-1))
    return ops.logical_and(finite, larger < ops.cast(k, "int32"))


@lowering("InTopK", gradient="none")
def in_top_k(predictions: Value, targets: Value, *, k: int) -> Value:
    """Whether each row's class is among the `k` largest predictions."""
    return in_top(predictions, targets, np.asarray(k))


@lowering("InTopKV2", gradient="none")
def in_top_k_v2(predictions: Value, targets: Value, k: Value) -> Value:
    """Whether each row's class is among the `k` largest predictions, `k` being an input."""
    return in_top(predictions, targets, cast(k, "int32"))
