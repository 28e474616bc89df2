"""Which gradients are exactly zero on a batch: one training step whose effect is undone.

The step is Keras' own, of a model around the given one, with an optimizer whose momenta after one step are the gradients;
so it needs nothing of any backend. May import nothing of this package.
"""

from typing import Any

import keras
import numpy as np


class _Around(keras.Model):  # type: ignore[misc]
    """A model that does what the given one does, and whose loss is that of the probe alone."""

    def __init__(self, inner: keras.Layer, loss: Any) -> None:
        super().__init__(name="probe")
        self.inner = inner
        self.probe_loss = loss
        self.zero_outputs = 0

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The inner model's answer."""
        return self.inner(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The given loss, or a fixed random weighting of all float outputs; without regularization losses."""
        if self.probe_loss is not None and y is not None:
            return keras.ops.mean(self.probe_loss(y, y_pred))
        total = 0.0
        random = np.random.default_rng(0)
        for value in keras.tree.flatten(y_pred):
            if "float" in str(keras.backend.standardize_dtype(value.dtype)):
                weights = keras.ops.convert_to_tensor(random.standard_normal([int(n) for n in value.shape]), dtype="float32")
                total = total + keras.ops.sum(keras.ops.cast(value, "float32") * weights)
        return total


def zero_gradients(model: keras.Layer, inputs: Any, targets: Any, loss: Any) -> list[keras.Variable] | None:
    """The trainable variables of `model` whose gradient on this batch is exactly zero; None where no gradient can be had.

    Args:
        model: any Keras model or layer; left bit-identical.
        inputs: a batch, as the model takes it.
        targets: what the loss compares with, or None.
        loss: a loss function or Keras' name of one; None for a random weighting of the outputs.
    """
    variables = list(model.trainable_variables)
    if not variables:
        return []
    before = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in _all_variables(model)]
    around = _Around(model, keras.losses.get(loss) if loss is not None else None)
    optimizer = keras.optimizers.SGD(1.0, momentum=0.9)
    around.compile(optimizer=optimizer, run_eagerly=True)
    try:
        around(inputs)
        optimizer.build(around.trainable_variables)
        around.train_on_batch(inputs, targets if targets is not None else np.zeros((_batch(inputs), 1), "float32"))
        slots = {id(v): m for v, m in zip(around.trainable_variables, optimizer.momentums, strict=True)}
        return [v for v in variables if id(v) in slots and not np.any(keras.ops.convert_to_numpy(slots[id(v)]))]
    finally:
        for variable, value in before:
            variable.assign(value)


def _all_variables(model: keras.Layer) -> list[keras.Variable]:
    return [v for v in model.variables if "key" not in str(v.dtype)]


def _batch(inputs: Any) -> int:
    return len(keras.tree.flatten(inputs)[0])
