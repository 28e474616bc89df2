"""An artifact's files again, with other weights: the same graph, a new checkpoint, so that whoever served it goes on.

Nothing is written to disk here. Imports artifact and its neighbours in formats.
"""

from collections.abc import Mapping

import numpy as np

from thaw.errors import MissingFileError, WeightsNotPlacedError
from thaw.formats.bundle import Bundle, Reading, write_bundle
from thaw.formats.checkpoint import PREFIX, SMALL
from thaw.formats.dtypes import name_of, numpy_type
from thaw.formats.files import MemoryFiles
from thaw.formats.protos import parse
from thaw.formats.tensor_proto import tensor_proto
from thaw.graph.artifact import Artifact

FINGERPRINT = "fingerprint.pb"
"""Holds a hash of the old checkpoint; TensorFlow does without."""


def rewritten(artifact: Artifact, values: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The files of `artifact`, by relative name, with `values` in place of its weights.

    Args:
        artifact: as read; the shards of its checkpoint are only needed for what `values` leaves out.
        values: by the variable's name (of a frozen graph: by the constant's node).

    Raises:
        WeightsNotPlacedError: the artifact has no such variable, or one of another shape.
        CorruptFileError, MissingFileError: a weight that `values` leaves out cannot be read.
    """
    if artifact.format == "frozen_graph":
        return _frozen(artifact, values)
    kept = {name: data for name, data in artifact.files.items() if name != FINGERPRINT and not name.startswith(f"{SMALL}.")}
    sources = {v.name: v for v in artifact.variables.values()}
    strangers = [name for name in values if name not in sources]
    wrong = [
        f"{name} {list(np.shape(values[name]))}, not {list(v.shape)}"
        for name, v in sources.items()
        if name in values and np.shape(values[name]) != v.shape
    ]
    if strangers or wrong:
        raise WeightsNotPlacedError(artifact.format, strangers, wrong, sources)
    readings = {name: v.read for name, v in sources.items() if isinstance(v.read, Reading)}
    if f"{PREFIX}.index" not in kept:
        return kept
    bundles = [reading.bundle for reading in readings.values()] or [Bundle(MemoryFiles(artifact.files), PREFIX)]
    bundle = bundles[0]
    covered = _covered(bundle, readings)
    tensors = {key: (bundle.dtype(key), _whole(bundle, key, artifact)) for key in bundle if key not in covered}
    for name, reading in readings.items():
        stored, dtype = reading.stored, sources[name].dtype
        value = np.asarray(values[name] if name in values else reading(), numpy_type(dtype, bundle.origin))
        if not stored.length:
            tensors[stored.key] = (dtype, value)
            continue
        if stored.key not in tensors:
            tensors[stored.key] = (dtype, np.zeros(bundle.shape(stored.key), value.dtype))
        whole = tensors[stored.key][1]
        if not whole.flags.writeable:
            whole = whole.copy()
            tensors[stored.key] = (dtype, whole)
        whole[stored.place] = value
    return kept | write_bundle(PREFIX, tensors)


def _covered(bundle: Bundle, readings: Mapping[str, Reading]) -> set[str]:
    """The keys whose every element belongs to one of the variables."""
    elements: dict[str, int] = {}
    for reading in readings.values():
        shape = reading.stored.length or bundle.shape(reading.stored.key)
        elements[reading.stored.key] = elements.get(reading.stored.key, 0) + int(np.prod(shape))
    return {key for key, count in elements.items() if count >= int(np.prod(bundle.shape(key)))}


def _whole(bundle: Bundle, key: str, artifact: Artifact) -> np.ndarray:
    """A tensor that is no variable's: from the checkpoint, from the artifact's small files, or zeros.

    Zeros stand for what an optimizer kept, where the old checkpoint is gone: the next training starts anew.
    """
    try:
        return bundle.read(key)
    except MissingFileError:
        if f"{SMALL}.index" in artifact.files:
            small = Bundle(MemoryFiles(artifact.files), SMALL)
            if key in small:
                return small.read(key)
        if bundle.dtype(key) == "string":
            raise
        return np.zeros(bundle.shape(key), numpy_type(bundle.dtype(key), bundle.origin))


def _frozen(artifact: Artifact, values: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The GraphDef with other constants."""
    (name, data), *_ = artifact.files.items()
    proto = parse("GraphDef", data, name)
    constants = {node.name: node for node in proto.node if node.op == "Const"}
    strangers = [n for n in values if n not in constants]
    if strangers:
        raise WeightsNotPlacedError(artifact.format, strangers, [], constants)
    wrong = []
    for key, value in values.items():
        tensor = constants[key].attr["value"].tensor
        shape = tuple(d.size for d in tensor.tensor_shape.dim)
        if np.shape(value) != shape:
            wrong.append(f"{key} {list(np.shape(value))}, not {list(shape)}")
            continue
        dtype = name_of(tensor.dtype)
        tensor.CopyFrom(tensor_proto(np.asarray(value, numpy_type(dtype, name)), dtype))
    if wrong:
        raise WeightsNotPlacedError(artifact.format, [], wrong, constants)
    return {name: proto.SerializeToString()}
