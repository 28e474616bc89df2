"""stay_near(model, strength): weights that train are pulled towards the values that they start from, so that less is forgotten.

L2-SP: to the loss comes strength / 2 * sum((w - start) ** 2) of every weight that trains at the moment. It is the variable's
regularizer, so that Keras' own `fit` adds it on every backend, and flags toggle it. May import this package.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from thaw.errors import NearnessError
from thaw.trainable.select import Selection, What, select, survey
from thaw.trainable.watch import recompile


class Nearness:
    """The regularizer of a variable that is pulled to where it started; what was there before it goes on counting."""

    def __init__(self, strength: float, start: Any, before: Any) -> None:
        self.strength, self.before = strength, before
        self.start = keras.ops.convert_to_tensor(start)  # once: PyTorch and TensorFlow would copy it in every step

    def __call__(self, value: Any) -> Any:
        """The pull, and what was there before."""
        moved = keras.ops.subtract(value, keras.ops.cast(self.start, keras.backend.standardize_dtype(value.dtype)))
        pull = 0.5 * self.strength * keras.ops.sum(keras.ops.square(moved))
        return pull if self.before is None else pull + self.before(value)


def stay_near(model: keras.Layer, strength: float, *what: What, start: Mapping[str, np.ndarray] | None = None) -> Selection:
    """Pulls weights of `model` towards their present values, whenever they train; from the next step on.

    The pull is part of the loss (L2-SP): strength / 2 times the sum of the squared differences. Called again, it starts from
    the values of that moment. It is not saved with the model.

    Args:
        model: any Keras model or layer; of a compiled model, the model itself and not a part.
        strength: 0.01 to 1 is usual; 0 takes the pull off.
        *what: of which parts, in the selection language; all that may train where nothing is given.
        start: where to pull to instead, by the variables' paths in `model`; for a training that is taken up again.

    Returns:
        The variables that it is for.

    Raises:
        NearnessError: the strength is not a finite number of at least 0, or a start has another shape.

    Example:
        thaw.unfreeze(model, "backbone")
        thaw.stay_near(model, 0.1, "backbone")
        model.fit(data)
    """
    if not np.isfinite(strength) or strength < 0:
        raise NearnessError(f"The strength is {strength!r}", "a finite number, 0 or more", "Pass 0.01 to 1")
    selection = select(model, *what)
    begun = start or {}
    for variable, path in zip(selection.variables, selection.paths, strict=True):
        value = np.asarray(begun[path] if path in begun else keras.ops.convert_to_numpy(variable.value))
        if value.shape != tuple(variable.shape):
            raise NearnessError(
                f"The start of {path!r} has shape {value.shape}", f"{tuple(variable.shape)}", "Pass the weights of this model"
            )
        before = variable.regularizer.before if isinstance(variable.regularizer, Nearness) else variable.regularizer
        variable.regularizer = Nearness(strength, value, before) if strength else before
    if isinstance(model, keras.Model) and getattr(model, "compiled", False):
        recompile(model)  # step functions traced before do not know of it
    return selection


def starting_values(model: keras.Layer) -> dict[str, np.ndarray]:
    """The values of all that may train in `model`, by path: what `start=` takes."""
    return {
        leaf.path: np.array(keras.ops.convert_to_numpy(leaf.variable.value)) for leaf in survey(model).leaves if leaf.may_train
    }
