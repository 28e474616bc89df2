"""The choice of what trains, kept inside the files that Keras writes.

A .keras file (a zip archive) gets one more member, a .weights.h5 file one more data set: the choice, the steps that
each variable missed, and the parked slots of what is frozen. Keras reads past both. Nothing here is pickled.
May import errors and this package.
"""

import io
import json
import weakref
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import keras
import numpy as np
import numpy.typing as npt

from thaw.trainable import hooks
from thaw.trainable.flags import Choice, trainable
from thaw.trainable.memory import Parked, memory_of
from thaw.trainable.select import survey
from thaw.trainable.update import take_over

_MEMBER = "thaw.npz"
_DATASET = "thaw_npz"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file carries beside the weights."""

    choice: Choice
    fresh_slots: Literal["own_steps", "keras"]
    optimizers: tuple[dict[str, Any], ...]
    notes: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


_takers: "weakref.WeakKeyDictionary[keras.Model, Callable[[], dict[str, Any]]]" = weakref.WeakKeyDictionary()
_notes: "weakref.WeakKeyDictionary[keras.Model, dict[str, Any]]" = weakref.WeakKeyDictionary()


def take_notes(model: keras.Model, taker: Callable[[], dict[str, Any]]) -> None:
    """Let every file that `model` is saved to carry what `taker()` gives, as JSON: the state of a schedule, say."""
    _takers[model] = taker


def recalled_notes(model: keras.Model) -> dict[str, Any] | None:
    """The notes of the file that `model` was last restored from, given once; None where there are none."""
    return _notes.pop(model, None)


def write(model: keras.Model, path: str, fresh_slots: str) -> None:
    """Add what `model` would lose to the file that Keras has just written at `path`; other kinds are left alone."""
    if path.endswith(".keras") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_MEMBER, _packed(model, fresh_slots))
    elif path.endswith(".weights.h5") and Path(path).is_file():
        with h5py.File(path, "a") as file:
            file[_DATASET] = np.frombuffer(_packed(model, fresh_slots), dtype=np.uint8)


def carries(path: str) -> bool:
    """Whether `write` added anything to the file at `path`."""
    return read(path) is not None


def read(path: str) -> Saved | None:
    """What `write` added to the file at `path`; None where there is nothing."""
    if path.endswith(".keras") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _unpacked(archive.read(_MEMBER)) if _MEMBER in archive.namelist() else None
    if path.endswith(".weights.h5") and Path(path).is_file():
        with h5py.File(path, "r") as file:
            return _unpacked(bytes(file[_DATASET][()])) if _DATASET in file else None
    return None


def _packed(model: keras.Model, fresh_slots: str) -> bytes:
    paths = {id(leaf.variable): leaf.path for leaf in survey(model).leaves}
    arrays: dict[str, npt.NDArray[Any]] = {}
    optimizers = []
    for number, optimizer in enumerate(_optimizers(model)):
        memory = memory_of(optimizer)
        parked = []
        for key, entry in memory.parked.items():
            if key not in paths or entry.variable() is None:
                continue
            parked.append({"path": paths[key], "offset": entry.offset, "since": entry.since, "slots": sorted(entry.slots)})
            for name, value in entry.slots.items():
                arrays[f"{number}/{len(parked) - 1}/{name}"] = value
        offsets = {paths[key]: offset for key, offset in memory.offsets.items() if key in paths and offset}
        rates = {paths[key]: rate for key, rate in memory.rates.items() if key in paths}
        optimizers.append({"offsets": offsets, "rates": rates, "parked": parked})
    taken = _takers[model]() if model in _takers else {}
    told = {"choice": trainable(model).to_json(), "fresh_slots": fresh_slots, "optimizers": optimizers, "notes": taken}
    text = json.dumps({**told, "version": 1})
    stream = io.BytesIO()
    members = {"json": np.frombuffer(text.encode(), dtype=np.uint8)} | {k: _plain(v) for k, v in arrays.items()}
    np.savez(stream, **members)
    return stream.getvalue()


def _plain(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # bfloat16 and its like are no numpy types of their own; float32 holds them exactly.
    return value if value.dtype.kind in "fiub" and value.dtype.isbuiltin else value.astype(np.float32)


def _unpacked(data: bytes) -> Saved:
    with np.load(io.BytesIO(data), allow_pickle=False) as members:
        arrays = {name: members[name] for name in members.files}
    told = json.loads(bytes(arrays.pop("json")))
    fresh: Literal["own_steps", "keras"] = "keras" if told["fresh_slots"] == "keras" else "own_steps"
    return Saved(Choice.from_json(told["choice"]), fresh, tuple(told["optimizers"]), dict(told.get("notes", {})), arrays)


def recall(model: keras.Model, saved: Saved) -> None:
    """Put step counts and parked slots back, after the optimizer was grouped by the saved choice and loaded."""
    if saved.notes:
        _notes[model] = saved.notes
    leaves = survey(model).leaves
    # Automatic names differ between sessions; the order of variables does not.
    named = dict(zip((path for path, _ in saved.choice.variables), (leaf.variable for leaf in leaves), strict=False))
    named |= {leaf.path: leaf.variable for leaf in leaves if leaf.path in named}
    for number, (optimizer, told) in enumerate(zip(_optimizers(model), saved.optimizers, strict=False)):
        memory = memory_of(optimizer)
        memory.offsets = {id(named[path]): int(offset) for path, offset in told["offsets"].items() if path in named}
        memory.parked = {}
        for position, entry in enumerate(told["parked"]):
            variable = named.get(entry["path"])
            if variable is not None:
                slots = {name: saved.arrays[f"{number}/{position}/{name}"] for name in entry["slots"]}
                memory.parked[id(variable)] = Parked(weakref.ref(variable), slots, int(entry["offset"]), int(entry["since"]))
        memory.rates = {id(named[path]): float(rate) for path, rate in told["rates"].items() if path in named}
        take_over(optimizer)


def _optimizers(model: keras.Model) -> list[keras.Optimizer]:
    optimizer = getattr(model, "optimizer", None)
    return hooks.leaf_optimizers(optimizer) if optimizer is not None else []
