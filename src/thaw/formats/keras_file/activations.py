"""Functions of old Keras versions that Keras 3 has under the same name with another formula.

Importing this registers them with Keras, so that a model that was saved in Keras 3's own format finds them again.
"""

from typing import Any

import keras

__all__ = ["hard_sigmoid_keras2", "hard_sigmoid_of_layers"]


@keras.saving.register_keras_serializable(package="thaw", name="hard_sigmoid_keras2")  # type: ignore[untyped-decorator]
def hard_sigmoid_keras2(x: Any) -> Any:
    """`clip(0.2 x + 0.5, 0, 1)`: what `hard_sigmoid` meant in Keras 1 and 2 (Keras 3: `clip(x / 6 + 0.5, 0, 1)`).

    Source: tf_keras/src/backend.py, `hard_sigmoid`.
    """
    return keras.ops.clip(keras.ops.add(keras.ops.multiply(x, 0.2), 0.5), 0.0, 1.0)


def hard_sigmoid_of_layers(dtype: Any = None) -> Any:
    """The config of Keras' own layers that together compute `hard_sigmoid_keras2`.

    A model with them opens without thaw; uncompiled, as PyTorch runs it, a recurrent layer takes three times as long.

    Args:
        dtype: That of the layer whose activation it is.
    """
    layers = keras.layers
    steps = [layers.Rescaling(0.2, offset=0.5, dtype=dtype, name="scale"), layers.ReLU(1.0, dtype=dtype, name="clip")]
    return keras.saving.serialize_keras_object(layers.Pipeline(steps, name="hard_sigmoid"))
