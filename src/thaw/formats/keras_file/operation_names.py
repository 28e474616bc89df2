"""Names the operations of `keras.ops` that stand between the layers of a file, so that none has the name of a layer.

Names must be unique in a model, and Keras' automatic ones (`concatenate_3`) know nothing of the file's. Imports Keras only.
"""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["name_operations"]


def name_operations(sources: Any, results: Any, name: str) -> None:
    """Renames what was computed on the way from `sources` to `results`, nests of symbolic tensors; layers keep their names.

    Args:
        sources: What was there before; may hold other values.
        results: What came out.
        name: The last operation's; those before it are numbered as its parts.
    """
    before = [tensor for tensor in keras.tree.flatten(sources) if keras.utils.is_keras_tensor(tensor)]
    after = [tensor for tensor in keras.tree.flatten(results) if keras.utils.is_keras_tensor(tensor)]
    if not after or any(tensor is source for tensor in after for source in before):
        return
    made = [operation for operation in keras.Function(before, after).operations if not isinstance(operation, keras.layers.Layer)]
    for number, operation in enumerate(reversed(made)):
        operation.name = name + (f"_part_{number}" if number else "")
