"""`thaw.load_model(path)`: a legacy Keras file or SavedModel as a Keras 3 model, native where that can be.

Native means every layer as Keras 3's own class, config and weights. Where a SavedModel has a class that Keras 3 does not know, or
no config at all, it opens by its graph, as a `thaw.KerasLayer`. Imports layer, load and formats.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from thaw.errors import ConfigNotNativeError, CorruptFileError, MissingFileError, NoModelConfigError, UnknownFormatError
from thaw.layer import KerasLayer
from thaw.load import resolve

logger = logging.getLogger("thaw")


def load_model(
    handle: str | os.PathLike[str],
    *,
    custom_objects: Mapping[str, Callable[..., Any]] | None = None,
    into: keras.Model | None = None,
    native: bool | None = None,
    plain: bool = False,
) -> keras.Model:
    """The model behind `handle`, as a Keras 3 model.

    Args:
        handle: a `.h5` or `.keras` file of Keras 1, 2 or 3 (or of thaw), or any artifact that `KerasLayer` opens.
        custom_objects: the user's own layers and functions, by the names that the file gives them.
        into: a model built in code whose weights are to be read from a file of weights alone.
        native: True: only as native layers; False: only by the graph; None: native where that can be, else by the graph.
        plain: True: native layers that, once saved, open without thaw. Costs a legacy file with the hard sigmoid of Keras 1 and 2
            time where steps are not compiled, as on PyTorch.

    Raises:
        ThawError: it is not there, cannot be read, or (`native=True`, or a file without a graph) has what Keras 3 has not; every
            unknown class is named.

    Example:
        >>> model = thaw.load_model("old_model.h5")
    """
    from thaw.formats.keras_file import is_keras_file, is_of_thaw, open_keras_saved_model, read_keras_file  # see thaw.load

    path = resolve(handle)
    if into is None and is_of_thaw(path):
        return _read_own(path, custom_objects)
    if is_keras_file(path):
        return read_keras_file(path, custom_objects=custom_objects, into=into, plain=plain)
    if native is not False:
        try:
            return open_keras_saved_model(path, custom_objects=custom_objects, plain=plain)
        except (ConfigNotNativeError, NoModelConfigError, MissingFileError, UnknownFormatError) as reason:
            if native:
                raise
            logger.info("%s opens by its graph: %s", path, reason)
    return KerasLayer(path)


def _read_own(path: Path, custom_objects: Mapping[str, Callable[..., Any]] | None) -> keras.Model:
    """A file that was saved with thaw, by Keras' own loader: it alone gives back everything, the optimizer included."""
    try:
        return keras.saving.load_model(path, custom_objects=custom_objects)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CorruptFileError(path, f"Keras says {str(error)[:200]!r}") from error
