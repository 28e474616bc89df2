"""Keras' files, damaged: HDF5, the zips of `.keras`, configs, and metadata in SavedModels, on the road to a built model."""

import io
import json
import tempfile
import warnings
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import h5py
import numpy as np

from fuzz.graph_roads import change_message
from fuzz.mutation import change_json, damaged
from fuzz.seeds import MODELS, SCRATCH, Sample, single
from thaw.errors import ThawError
from thaw.formats.keras_file import hdf5, is_keras_file, open_keras_saved_model, read_keras_file
from thaw.formats.keras_file.archive import open_archive
from thaw.formats.keras_file.config import read_config
from thaw.formats.keras_file.hdf5 import attribute, open_hdf5, read_array
from thaw.formats.keras_file.vocabulary import Vocabulary
from thaw.wire.protos import parse

MARKS = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"FRHP", b"FHDB", b"OHDR", b"BTHD", b"BTLF", b"\x89HDF")


@cache
def marks(data: bytes) -> list[int]:
    """Where the structures of an HDF5 file begin, and what its addresses point at: object headers have no signature."""
    found = [i for mark in MARKS for i in _all(data, mark)]
    numbers = {int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - 8, 8)}
    return sorted({*found, *(n for n in numbers if 0 < n < len(data) and n % 8 == 0)})


def _all(data: bytes, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def change_hdf5(rng: Random, data: bytes, other: bytes) -> bytes:
    """An HDF5 file with damage near its structures, or with addresses that lead elsewhere."""
    near = marks(data)
    if rng.random() < 0.3 and len(near) > 1:
        out = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 4])):
            at = rng.choice([rng.choice(near), rng.randrange(len(data))]) // 8 * 8 + 8 * rng.randrange(8)
            out[at : at + 8] = rng.choice([rng.choice(near), 2**64 - 1, 0, len(data), len(data) - 8]).to_bytes(8, "little")
        return bytes(out)
    return damaged(rng, data, near, other)


DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [None, 3]}}
CONFIG = {"class_name": "Sequential", "config": {"name": "m", "layers": [DENSE]}}


def made_hdf5(*, libver: str = "earliest", **options: Any) -> bytes:
    """A Keras model of one layer as HDF5, with every structure that Keras' files have; `options` are those of its arrays."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        file.attrs["model_config"] = json.dumps(CONFIG)
        file.attrs["keras_version"] = b"2.2.4"
        file.attrs["backend"] = np.bytes_("tensorflow")
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"d"]
        inner = group.create_group("d")
        inner.attrs["weight_names"] = ["d/kernel:0", "d/bias:0"]
        inner.create_dataset("d/kernel:0", data=np.ones((3, 2), "float32"), **options)
        inner.create_dataset("d/bias:0", data=np.ones(2, "float16"))
    return buffer.getvalue()


@cache
def hdf5_seeds() -> dict[str, Sample]:
    """Small files as the library writes them."""
    made = {
        "earliest": made_hdf5(),
        "chunks": made_hdf5(chunks=(2, 2)),
        "packed": made_hdf5(chunks=(2, 2), compression="gzip", shuffle=True, fletcher32=True),
    }
    return {name: {"m.h5": data} for name, data in made.items()}


@cache
def new_hdf5_seeds() -> dict[str, Sample]:
    """Small files of the newer forms, which are tried in a process of their own: slow."""
    made = {
        "latest": made_hdf5(libver="latest"),
        "v110": made_hdf5(libver="v110", chunks=(2, 2)),
        "growing": made_hdf5(libver="latest", chunks=(1, 2), maxshape=(None, None)),
        "order": made_hdf5(track_order=True),
    }
    return {name: {"m.h5": data} for name, data in made.items()}


@cache
def keras3_seeds(name: str) -> dict[str, Sample]:
    """A model as Keras 3 itself saves it, under a name of that ending: several kinds of layers, optimizer included."""
    import keras

    model = keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(2, activation="relu"), keras.layers.BatchNormalization(),
        keras.layers.Reshape((2, 1)), keras.layers.Bidirectional(keras.layers.GRU(2)),
    ])  # fmt: skip
    model.compile("adam", "mse")
    with tempfile.TemporaryDirectory(prefix="thaw-fuzz-", dir=SCRATCH) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(Path(folder) / name)
        return {f"keras3-{name}": {name: (Path(folder) / name).read_bytes()}}


def h5_seeds() -> dict[str, Sample]:
    """`.h5` files of Keras 1, 2 and 3."""
    return keras3_seeds("m.h5") | hdf5_seeds() | single("keras2/*.h5", "m.h5", 22_000)


def zip_seeds() -> dict[str, Sample]:
    """`.keras` files of Keras 2 and 3."""
    return keras3_seeds("m.keras") | single("keras2/*.keras", "m.keras", 22_000)


def mutate_h5(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to a `.h5` file: in its structure, or in its config."""
    return {"m.h5": change_hdf5(rng, sample["m.h5"], other["m.h5"])}


def untried(path: Path) -> str:
    """Stands in for the trial of a file with unusual structures, which takes a process of its own: too slow."""
    return "it was not tried"


def hdf5_road(files: Sample) -> None:
    """Opens an HDF5 file and reads every attribute and array in it; one with unusual structures is refused."""
    with mock.patch.object(hdf5, "rehearse", untried):
        new_hdf5_road(files)


def new_hdf5_road(files: Sample) -> None:
    """The same, unusual structures tried in a process of their own."""
    with OnDisk("m.h5", files["m.h5"]) as path, open_hdf5(path) as file:
        read_everything(file, path)


def read_everything(file: h5py.File, shown: Path) -> None:
    """Reads every attribute and array of an HDF5 file."""

    def visit(_: str, item: Any) -> None:
        for name in list(item.attrs):
            attribute(item, name, shown)
        if isinstance(item, h5py.Dataset):
            read_array(item, shown)

    visit("", file)
    file.visititems(visit)


class OnDisk:
    """A file of that content, gone afterwards."""

    def __init__(self, name: str, data: bytes) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="thaw-fuzz-", dir=SCRATCH)
        self.path = Path(self._folder.name) / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(data)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self._folder.cleanup()


def keras_file_road(files: Sample) -> None:
    """Opens a Keras file as a native model."""
    import keras

    ((name, data),) = files.items()
    with OnDisk(name, data) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if is_keras_file(path):
                with mock.patch.object(hdf5, "rehearse", untried):
                    read_keras_file(path)
        finally:
            keras.utils.clear_session(free_memory=False)


def mutate_h5_config(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Another config in a `.h5` file, or another `training_config`; one time in three damage to the file itself."""
    if rng.random() < 0.34:
        return mutate_h5(rng, sample, other)
    buffer = io.BytesIO(sample["m.h5"])
    try:
        with h5py.File(buffer, "r+") as file:
            key = rng.choice([k for k in ("model_config", "model_config", "training_config") if k in file.attrs])
            text = file.attrs[key]
            config = json.loads(text.decode() if isinstance(text, bytes) else text)
            file.attrs[key] = json.dumps(change_json(rng, config))
    except (OSError, ValueError, KeyError, RuntimeError, IndexError, AttributeError, RecursionError, UnicodeError):
        return mutate_h5(rng, sample, other)
    return {"m.h5": buffer.getvalue()}


def mutate_keras_zip(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to a `.keras` zip: to its bytes, or to one of its members, zipped anew."""
    data = sample["m.keras"]
    if rng.random() < 0.2:
        return {"m.keras": damaged(rng, data, _all(data, b"PK"))}
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            members = {name: source.read(name) for name in source.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError):
        return {"m.keras": damaged(rng, data)}
    name = rng.choice(sorted(members) or ["config.json"])
    content = members.get(name, b"")
    if rng.random() < 0.04:
        members.pop(name, None)
    elif name.endswith(".json") and rng.random() < 0.9:
        try:
            members[name] = json.dumps(change_json(rng, json.loads(content))).encode()
        except (ValueError, RecursionError):
            members[name] = damaged(rng, content)
    else:
        members[name] = change_hdf5(rng, content, b"") if name.endswith(".h5") else damaged(rng, content)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as target:
        for member, value in members.items():
            target.writestr(member, value)
    return {"m.keras": out.getvalue()}


def keras_archive_road(files: Sample) -> None:
    """Opens the zip of a `.keras` file and reads its texts, and its weights as HDF5, but builds no model."""
    with OnDisk("m.keras", files["m.keras"]) as path:
        if not is_keras_file(path):
            return
        with open_archive(path) as opened:
            config = opened.config()
            read_config(config, Vocabulary(None), version=3 if opened.version().startswith("3") else 2, shown=path)
            for name in opened.names():
                if name.startswith("assets/"):
                    opened.text(name)
            with opened.weights() as copy, mock.patch.object(hdf5, "rehearse", untried), open_hdf5(copy, path) as file:
                read_everything(file, path)


def config_road(files: Sample) -> None:
    """Reads the config of a Keras model, without building it."""
    from thaw.formats.keras_file.archive import parse_json

    version = int(files["version"])
    read_config(
        parse_json(files["config.json"].decode("utf-8", "surrogateescape"), "a config"),
        Vocabulary(None),
        version=version,
        shown="a config",
    )


@cache
def config_seeds() -> dict[str, Sample]:
    """The configs of all Keras files of tests/models, with the major version of Keras that wrote them."""
    found: dict[str, Sample] = {}
    for path in sorted((MODELS / "keras2").glob("*.keras")):
        with zipfile.ZipFile(path) as source:
            found[path.name] = {"config.json": source.read("config.json"), "version": b"2"}
    for path in sorted((MODELS / "keras2").glob("*.h5")):
        with h5py.File(path) as file:
            text = file.attrs["model_config"]
            raw = text.encode() if isinstance(text, str) else bytes(text)
            found[path.name] = {"config.json": raw, "version": b"1" if "keras1" in path.name else b"2"}
    return found


def mutate_config(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Another config."""
    try:
        config = json.loads(sample["config.json"])
        changed = json.dumps(change_json(rng, config)).encode() if rng.random() < 0.95 else damaged(rng, sample["config.json"])
    except (ValueError, RecursionError):
        changed = damaged(rng, sample["config.json"])
    return {**sample, "config.json": changed}


def mutate_metadata(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to `keras_metadata.pb`: to the message, or to the JSON in it."""
    data = sample["keras_metadata.pb"]
    if rng.random() < 0.3:
        return {**sample, "keras_metadata.pb": change_message(rng, "SavedMetadata", data)}
    try:
        proto = parse("SavedMetadata", data, "a seed")
        node = proto.nodes[0 if rng.random() < 0.7 else rng.randrange(len(proto.nodes))]
        node.metadata = json.dumps(change_json(rng, json.loads(node.metadata)))
        return {**sample, "keras_metadata.pb": bytes(proto.SerializeToString())}
    except (ThawError, ValueError, IndexError, RecursionError):
        return {**sample, "keras_metadata.pb": damaged(rng, data)}


def keras_saved_model_road(files: Sample) -> None:
    """Opens a Keras SavedModel as a native model."""
    import keras

    with tempfile.TemporaryDirectory(prefix="thaw-fuzz-", dir=SCRATCH) as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file, data in files.items():
            target = Path(name) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        try:
            open_keras_saved_model(name)
        finally:
            keras.utils.clear_session(free_memory=False)
