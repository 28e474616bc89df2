"""Changes of dtype: numeric casts with C's rounding, and the same bits read as another dtype."""

import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, held, is_host, numpy_dtype, on_device, static_shape


@lowering("Cast")
def cast_to(x: Value, *, DstT: str, Truncate: bool = False) -> Value:
    """The same numbers as another dtype: floats to integers towards zero, anything to bool as "is not 0".

    Raises:
        UnhandledValueError: `Truncate`, which cuts digits off instead of rounding, of a value that is not known.
    """
    source = dtype_of(x)
    if source == DstT:
        return x
    if Truncate and DstT in {"bfloat16", "float16"} and source in {"float32", "float64"}:
        return _cut(x, DstT)
    if DstT == "bool":
        return x != 0
    if source.startswith("complex") and not DstT.startswith("complex"):
        x = np.real(x) if is_host(x) else ops.real(x)
    with np.errstate(all="ignore"):
        return cast(x, DstT)


def _cut(x: Value, dtype: str) -> Value:
    """`x` rounded towards zero."""
    if not is_host(x):
        raise UnhandledValueError("Cast", "Truncate", True, [False])
    rounded = x.astype(numpy_dtype(dtype))
    away = np.abs(rounded.astype(x.dtype)) > np.abs(x)
    bits = rounded.view("uint16")
    return (bits - away.astype("uint16")).view(rounded.dtype)


@lowering("Bitcast", gradient="none")
def bitcast(input: Value, *, type: str) -> Value:
    """The same bits as another dtype; an axis appears or goes where the widths differ."""
    if not is_host(input):
        type = _on_this_device(type)
    source, target = numpy_dtype(dtype_of(input)), numpy_dtype(type)
    if source == target:
        return input
    shape = static_shape(input)
    if is_host(input):
        flat = np.ascontiguousarray(input)
        view = flat.reshape(-1).view(target)
    else:
        view = None
    if source.itemsize == target.itemsize:
        return view.reshape(shape) if view is not None else ops.view(input, dtype=type)
    if source.itemsize > target.itemsize:
        parts = source.itemsize // target.itemsize
        wide = (*shape, parts)
        return view.reshape(wide) if view is not None else ops.reshape(ops.view(input, dtype=type), _free(wide))
    if view is not None:
        return view.reshape(shape[:-1])
    return ops.reshape(ops.view(input, dtype=type), _free(shape[:-1]))


def _on_this_device(dtype: str) -> str:
    """The dtype that stands for `dtype` on the device: JAX halves what has 64 bits, PyTorch holds uint64 as int64."""
    halved = {"int64": "int32", "uint64": "uint32", "float64": "float32"}
    narrow = dtype in halved and dtype_of(on_device(np.zeros(0, "int64"))) == "int32"
    return halved[dtype] if narrow else held(dtype)


def _free(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if n is None else n for n in shape)
