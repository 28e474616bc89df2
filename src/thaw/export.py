"""`thaw.export`: a fine-tuned layer back into the format that it came from, so that whoever serves the artifact goes on.

The same graph, the same files, other weights. Written beside the target first and renamed at the end: a job that is killed leaves
nothing that looks like a model. Imports layer and below.
"""

import os
import shutil
import uuid
from pathlib import Path

import keras
import numpy as np

from thaw.errors import ExportTargetError, NotExportableError
from thaw.layer import KerasLayer


def export(model: keras.Model, path: str | os.PathLike[str], *, overwrite: bool = False, progress: bool = False) -> Path:
    """Writes a fine-tuned layer as the kind of artifact that it was opened from, weights as they are now.

    Args:
        model: a `thaw.KerasLayer`, or a model that is nothing but one.
        path: the folder to make (SavedModel, TF1 Hub module), or the `.pb` file (frozen graph).
        overwrite: whether what is there may be replaced.
        progress: whether to show a bar on stderr, where that is a terminal.

    Returns:
        The path.

    Raises:
        NotExportableError: the model computes something else than the artifact did; says what to do.
        ExportTargetError: something is there already, or the place cannot be written to.
        FormatError: a weight that the layer does not hold cannot be read from the artifact.

    Example:
        >>> thaw.export(model.get_layer("keras_layer"), "tuned_module")
    """
    layer = _only_layer(model)
    _check_unchanged(layer)
    artifact = layer.resolved_object
    if layer._runtime.pending:
        layer._check_restored()
    values = {name: keras.ops.convert_to_numpy(variable) for name, variable in layer.source_variables.items()}
    single = artifact.format == "frozen_graph"
    target = Path(path)
    _check_target(target, single, overwrite)
    from thaw import formats  # see thaw.load
    from thaw.handles.progress import Meter

    files = formats.rewritten(artifact, {name: np.asarray(value) for name, value in values.items()})
    if single:
        files = {target.name: next(iter(files.values()))}
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with Meter(show=progress) as meter:
            meter.begin(f"Writing {target.name}", sum(map(len, files.values())))
            for name, data in files.items():
                _write(partial if single else partial / name, data)
                meter.advance(len(data))
        _put(partial, target)
    except OSError as error:
        raise ExportTargetError(target, f"cannot be written: {error.strerror or error}", "Free space, or name another") from error
    finally:
        _remove(partial)
    return target


def _only_layer(model: keras.Model) -> KerasLayer:
    """The one layer that `model` is.

    Raises:
        NotExportableError: there are other layers, or none of thaw's.
    """
    if isinstance(model, KerasLayer):
        return model
    layers = [layer for layer in getattr(model, "layers", []) if not isinstance(layer, keras.layers.InputLayer)]
    ours = [layer for layer in layers if isinstance(layer, KerasLayer)]
    if len(layers) == 1 and ours:
        return ours[0]
    others = [f"{layer.name} ({type(layer).__name__})" for layer in layers if not isinstance(layer, KerasLayer)]
    if not ours:
        nested = [layer for layer in layers if isinstance(layer, keras.Model)]
        if len(layers) == 1 and nested:
            return _only_layer(nested[0])
        raise NotExportableError(
            model.name, f"it holds no thaw.KerasLayer beside {others}" if others else "it holds no layers", others, ""
        )
    raise NotExportableError(model.name, "layers stand around what came from the artifact", others, ours[0].name)


def _check_unchanged(layer: KerasLayer) -> None:
    """That the layer answers by the graph that it was published with."""
    changes = {
        "outputs": layer.outputs_wanted is not None,
        "inputs": layer.inputs_wanted is not None,
        "thaw.relax(..., how='soft')": any(how == "soft" for _, how in layer.relaxed),
    }
    changed = [name for name, is_so in changes.items() if is_so]
    if changed:
        raise NotExportableError(layer.name, "the layer runs another graph than the artifact holds", changed, "")


def _check_target(target: Path, single: bool, overwrite: bool) -> None:
    if single and target.suffix != ".pb":
        raise ExportTargetError(target, "does not end with .pb, and a frozen graph is one such file", "Name it so")
    if not target.parent.is_dir():
        raise ExportTargetError(
            target, f"lies in {str(target.parent)!r}, which does not exist", "Make that folder, or name another"
        )
    empty = target.is_dir() and not single and not any(target.iterdir())
    if target.exists() and not overwrite and not empty:
        raise ExportTargetError(target, "is there already", "Name another, or pass overwrite=True (`--overwrite`)")


def _write(file: Path, data: bytes) -> None:
    """Writes a file down to the disk: what is renamed afterwards must not turn out to be empty after a crash."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _put(partial: Path, target: Path) -> None:
    """Renames `partial` to `target`; a folder that was there goes only when the new one stands ready."""
    if not target.is_dir():
        partial.replace(target)
        return
    old = partial.with_suffix(".replaced")
    target.replace(old)
    try:
        partial.replace(target)
    except OSError:
        old.replace(target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
