"""Lets models that hold a text layer take arrays of strings on every backend; Keras' own adapters refuse them.

At the model's door numbers take their place, which every adapter, jit and `Input` accept. In `fit`, `evaluate`, `predict`, ...
arrays of strings stay on the host until the call ends, and rows say which string is meant; in calls of the model, and batch by
batch of datasets, whose strings nobody sees go, they are packed into bytes. The layer finds or unpacks them where its host part
runs. TensorFlow takes them as its own tensors. Installed when the first layer that takes strings is made. It leans on two
private attributes of KerasTensor, checked before anything is changed.
"""

import functools
from collections.abc import Callable
from types import GeneratorType
from typing import Any, TypeAlias

import keras
import numpy as np

from thaw.errors import KerasDriftError, ThawError
from thaw.lowering.kernels import failure_on_host
from thaw.lowering.packing import Kept, Pack, pack
from thaw.lowering.strings import as_strings
from thaw.trainable import hooks
from thaw.trainable.watch import drop_spare

CALLS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")
LONG_CALLS = ("fit", "evaluate", "predict")
Encode: TypeAlias = Callable[[Any, Pack], Any]
_open: list[bool] = []


def open_door() -> None:
    """Wraps the calls of keras.Model that take data, once.

    Raises:
        KerasDriftError: this version of Keras lacks what the door leans on.
    """
    if _open:
        return
    probe = keras.KerasTensor((None,), dtype="float32")
    lacking = [f"KerasTensor.{name}" for name in ("_shape", "_dtype") if not hasattr(probe, name)]
    if lacking:
        raise KerasDriftError(keras.__version__, keras.backend.backend(), lacking, ["3.15"])
    for name in CALLS:
        owner = next(c for c in keras.Model.__mro__ if name in vars(c))
        setattr(owner, name, _packing(vars(owner)[name]))
    keras.Model.__call__ = _packing_call(keras.Model.__call__)
    _open.append(True)


def text_layers(model: keras.Model) -> list[Any]:
    """The layers in `model` that take strings."""
    return [layer for layer in hooks.all_layers(model) if getattr(layer, "takes_strings", False)]


def _packing(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        layers = text_layers(self)
        if not layers:
            return method(self, *args, **kwargs)
        kept = Kept(repeated=method.__name__ == "fit")
        encode = _encoder(self, layers)
        failure_on_host()  # of an earlier call
        try:
            args = tuple(_packed(value, encode, kept.pack) for value in args)
            kwargs = {name: _packed(value, encode, kept.pack) for name, value in kwargs.items()}
            return method(self, *args, **kwargs)
        except Exception as error:
            # A compiled step tells of an error on the host in its own words, and in the backend's own class.
            failure = None if isinstance(error, ThawError) else failure_on_host()
            if failure is None:
                raise
            raise failure from None
        finally:
            kept.release()
            if method.__name__ in LONG_CALLS:
                drop_spare(self)

    return call


def _packing_call(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        if any(_has_strings(value) for value in args) and not getattr(self, "takes_strings", False):
            layers = text_layers(self)
            if layers:
                encode = _encoder(self, layers)
                args = tuple(_packed(value, encode) for value in args)
        return method(self, *args, **kwargs)

    return call


def _encoder(model: keras.Model, layers: list[Any]) -> Encode:
    """What turns texts into numbers for `model`, whose inputs are made to take them, by way of a `pack`.

    With room for as many tokens as the one text layer makes of them, or else as there are words. Under TensorFlow a model with
    string inputs gets TensorFlow's own strings.
    """
    inputs = [t for inner in hooks.all_layers(model) for t in _inputs(inner) if t.dtype == "string"]
    if keras.backend.backend() == "tensorflow":
        if inputs:
            return lambda texts, pack: keras.ops.convert_to_tensor(as_strings(texts), dtype="string")
    else:
        for tensor in inputs:
            # Packed: uint8, two axes more. What is saved of an Input is its layer's config, which stays as it was.
            tensor._dtype = "uint8"
            tensor._shape = (*tensor.shape, None, None)
    return layers[0].encoded if len(layers) == 1 else lambda texts, pack: pack(texts, None)


def _inputs(layer: Any) -> list[Any]:
    """The symbolic inputs of a model that is built; empty for anything else."""
    try:
        return list(keras.tree.flatten(layer.inputs)) if isinstance(layer, keras.Model) else []
    except AttributeError:
        return []


def _is_text(value: Any) -> bool:
    """Whether `value` is an array, or a list, of strings."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "SU" or (value.dtype == object and value.size > 0 and isinstance(value.flat[0], (str, bytes)))
    if type(value).__module__.startswith("pandas") and hasattr(value, "to_numpy"):
        return _is_text(value.to_numpy(dtype=object)) if getattr(value, "ndim", 0) == 1 else False
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(v, (str, bytes)) for v in value)


def _has_strings(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_strings(v) for v in value.values())
    if _is_text(value):
        return True
    return isinstance(value, (list, tuple)) and any(_has_strings(v) for v in value)


def _packed(value: Any, encode: Encode, pack: Pack = pack) -> Any:
    """`value` with texts encoded by way of `pack`, in nests too; batches of datasets and generators always into bytes."""
    if _is_text(value):
        return encode(np.asarray(value, dtype=object), pack)
    if isinstance(value, dict):
        return {key: _packed(part, encode, pack) for key, part in value.items()}
    if type(value) in {list, tuple}:
        return type(value)(_packed(part, encode, pack) for part in value)
    if isinstance(value, keras.utils.PyDataset):
        return value if isinstance(value, PackedDataset) else PackedDataset(value, encode)
    if isinstance(value, GeneratorType):
        return (_packed(batch, encode) for batch in value)
    return value


class PackedDataset(keras.utils.PyDataset):  # type: ignore[misc]
    """A PyDataset whose batches have their strings packed."""

    def __init__(self, dataset: keras.utils.PyDataset, encode: Encode) -> None:
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self._dataset, self._encode = dataset, encode

    def __getitem__(self, index: int) -> Any:
        """The batch, packed."""
        return _packed(self._dataset[index], self._encode)

    @property
    def num_batches(self) -> int | None:
        """As many as the dataset has."""
        count: int | None = self._dataset.num_batches
        return count

    def on_epoch_begin(self) -> None:
        """Tells the dataset."""
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Tells the dataset."""
        self._dataset.on_epoch_end()
