"""What is fuzzed: for each format its seeds, how they are damaged, and the road that a damaged one is sent along.

Seeds are the small artifacts of tests/models. A road goes as far as reading and preparing goes: for a graph to a `Program`
with every pass run, its plan, the simulation of its loops, and `thaw.inspect`; for Keras' files to the built model. Nothing is
executed but table initializers. Roads raise what they meet; only a ThawError is allowed to come out (`fuzz.execution`).
"""

import gzip
import io
import json
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import h5py
import numpy as np

from fuzz.mutation import change, change_graph, change_json, change_table, damaged, texts
from thaw import inspection
from thaw.errors import ThawError
from thaw.formats import MemoryFiles, read
from thaw.formats.bundle import Bundle
from thaw.formats.keras_file import hdf5, is_keras_file, open_keras_saved_model, read_keras_file
from thaw.formats.keras_file.archive import open_archive
from thaw.formats.keras_file.config import read_config
from thaw.formats.keras_file.hdf5 import attribute, open_hdf5, read_array
from thaw.formats.keras_file.vocabulary import Vocabulary
from thaw.formats.protos import Message, new, parse
from thaw.formats.table import crc32c, masked, read_table, write_table
from thaw.graph.artifact import Artifact
from thaw.graph.program import ready
from thaw.handles import archive
from thaw.handles.progress import Meter
from thaw.load import program as program_of
from thaw.lowering import table as table
from thaw.lowering.run import Context, Resources
from thaw.lowering.trips import UNKNOWN, Simulator

MODELS = Path(__file__).parents[1] / "models"
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files go that a library wants on disk: memory, where the system has that."""

INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"
LARGEST_SEED, LARGEST = 20_000, 45_000
"""Bytes of a graph, and of a file of another kind; larger seeds would only be slower to read."""

Sample = Mapping[str, bytes]
"""One input: the files of an artifact by relative name."""


@dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        name: for FORMAT=.
        weight: its share of a run, relative to the others; slow roads get less.
        seeds: whole samples by name.
        mutate: a damaged copy of a sample; `other` is a second one, to splice from.
        road: reads it as far as that goes.
        computes: whether the backend may have to: its threads are started before memory is bounded.
    """

    name: str
    weight: float
    seeds: Callable[[], dict[str, Sample]]
    mutate: Callable[[Random, Sample, Sample], Sample]
    road: Callable[[Sample], None]
    computes: bool = False


def folder(path: Path) -> dict[str, bytes]:
    """The files below a folder, by relative name."""
    files = (p for p in sorted(path.rglob("*")) if p.is_file() and p.name != "expected.json")
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in files}


def folders(*patterns: str, having: str = "", most: int = LARGEST_SEED) -> dict[str, Sample]:
    """The artifacts of tests/models that fit: small ones that hold a file of that name."""
    found = {f"{p.parent.name}-{p.name}": folder(p) for pattern in patterns for p in sorted(MODELS.glob(pattern)) if p.is_dir()}
    return {
        name: files
        for name, files in found.items()
        if (not having or having in files) and len(files.get("saved_model.pb", b"")) <= most
    }


def single(pattern: str, name: str, most: int = LARGEST) -> dict[str, Sample]:
    """Files of tests/models, each under the name `name`."""
    return {p.name: {name: p.read_bytes()} for p in sorted(MODELS.glob(pattern)) if p.stat().st_size <= most}


# ---- graphs -----------------------------------------------------------------------------------------------------


@cache
def names_in(kind: str, data: bytes) -> list[str]:
    """The texts of a message, kept for the few that come again and again: the seeds."""
    return texts(parse(kind, data, "a seed"))


def _graph_parts(proto: Message) -> list[tuple[Any, bool]]:
    graphs = [m.graph_def for m in proto.meta_graphs] if "meta_graphs" in proto.DESCRIPTOR.fields_by_name else [proto]
    parts = [(g.node, False) for g in graphs if len(g.node)]
    return parts + [(f.node_def, True) for g in graphs for f in g.library.function if len(f.node_def)]


def change_message(rng: Random, kind: str, data: bytes) -> bytes:
    """A message with one to four fields, wires or ops changed; or, one time in five, with damaged bytes."""
    if rng.random() < 0.2:
        return damaged(rng, data)
    try:
        proto = parse(kind, data, "")
    except ThawError:
        return damaged(rng, data)
    names = names_in(kind, data) if len(data) < 10_000 else texts(proto)[:400]
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        parts = _graph_parts(proto) if kind in ("SavedModel", "GraphDef") else []
        if parts and rng.random() < 0.6:
            functions = [f for f in names if f.startswith(("__inference", "while", "cond", "case"))][:60]
            nodes, in_function = rng.choice(parts)
            change_graph(rng, nodes, functions, in_function)
        else:
            change(rng, proto, names)
    try:
        return bytes(proto.SerializeToString())
    except ValueError:  # texts that are no UTF-8
        return damaged(rng, data)


def graph_mutation(file: str, kind: str) -> Callable[[Random, Sample, Sample], Sample]:
    """Damage to one message file of an artifact; now and then to another of its files, or one less.

    What grows far beyond its seed is left as it was: a bound of seconds is one for a file of that size.
    """

    def mutate(rng: Random, sample: Sample, other: Sample) -> Sample:
        files = dict(sample)
        if rng.random() < 0.03 and len(files) > 1:
            name = rng.choice(sorted(files))
            files[name] = damaged(rng, files[name])
            if rng.random() < 0.3:
                del files[name]
        if file in files:
            changed = change_message(rng, kind, files[file])
            files[file] = changed if len(changed) < 2 * LARGEST else damaged(rng, files[file])
        return files

    return mutate


class Attempts:
    """Goes on after an error of ours, so that one refused part does not hide the others; raises the first in the end."""

    def __init__(self) -> None:
        self.first: ThawError | None = None

    def __call__(self, step: Callable[[], object]) -> None:
        try:
            step()
        except ThawError as error:
            self.first = self.first or error

    def close(self) -> None:
        if self.first is not None:
            raise self.first


def artifact_road(files: Sample) -> None:
    """Reads an artifact and prepares everything that it offers."""
    artifact = read(MemoryFiles(files))
    attempt = Attempts()
    for metagraph in artifact.metagraphs:
        for name in metagraph.library:
            attempt(lambda m=metagraph, n=name: m.library[n])  # type: ignore[misc]
        for name in [*metagraph.signatures, *metagraph.callables]:
            attempt(lambda m=metagraph, n=name: prepare(artifact, m, n))  # type: ignore[misc]
        attempt(lambda m=metagraph: inspection.inspect_artifact(artifact, "a seed", tags=m.tags))  # type: ignore[misc]
        if metagraph.regularization_losses is not None:
            attempt(lambda m=metagraph: ready(m.regularization_losses, m.library, updates=False))  # type: ignore[misc]
    for variable in artifact.variables.values():
        attempt(variable.read)
    attempt(lambda: initialize(artifact))
    attempt.close()


def prepare(artifact: Artifact, metagraph: Any, name: str) -> None:
    """Runs every pass on one entry point, plans it, and simulates its loops."""
    program = program_of(artifact, metagraph, name)
    program.describe()
    attempt = Attempts()
    for variant in (*program.variants, *program.training_variants):
        attempt(lambda v=variant: v.updates)  # type: ignore[misc]
        attempt(lambda v=variant: simulate(artifact, v))  # type: ignore[misc]
    attempt.close()


def simulate(artifact: Artifact, variant: Any) -> None:
    """Plans a graph and finds out how long its loops are."""
    graph = variant.inference
    resources = Resources(library=variant.library, files=artifact.files)
    Simulator(Context(resources), 1000).evaluate(graph, [UNKNOWN] * len(graph.inputs), graph.outputs)
    resources.plan(graph, "float32")


def initialize(artifact: Artifact) -> None:
    """Fills the lookup tables."""
    for metagraph in artifact.metagraphs:
        resources = Resources(library=metagraph.library, files=artifact.files)
        for graph in metagraph.initializers:
            resources.plan(graph, "float32").run(Context(resources), [])


# ---- checkpoints ------------------------------------------------------------------------------------------------


def mutate_index(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to a checkpoint's index, its checksums mostly made right again."""

    def entry(key: bytes, value: bytes) -> bytes:
        if key == b"" or rng.random() < 0.8:
            return change_message(rng, "BundleEntryProto" if key else "BundleHeaderProto", value)
        return damaged(rng, value)

    try:
        changed = change_table(rng, sample[INDEX], entry) if rng.random() < 0.8 else damaged(rng, sample[INDEX])
    except ThawError:
        changed = damaged(rng, sample[INDEX], other=other[INDEX])
    return {**sample, INDEX: changed}


def mutate_data(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to a shard; every second time the index gets the checksums of what is there now."""
    files = dict(sample)
    data = files[DATA] = damaged(rng, sample[DATA], other=other[DATA])
    if rng.random() < 0.5:
        try:
            rows = read_table(files[INDEX], "a seed")
            for key, value in rows.items():
                if key:
                    entry = parse("BundleEntryProto", value, "a seed")
                    entry.crc32c = masked(crc32c(data[entry.offset : entry.offset + entry.size]))
                    rows[key] = entry.SerializeToString()
            files[INDEX] = write_table(rows)
        except ThawError:
            pass
    return files


def bundle_road(files: Sample) -> None:
    """Reads every tensor of a checkpoint."""
    bundle = Bundle(MemoryFiles(files), "variables/variables")
    attempt = Attempts()
    for key in bundle:
        attempt(lambda k=key: (bundle.shape(k), bundle.dtype(k)))  # type: ignore[misc]
        attempt(lambda k=key: bundle.read(k))  # type: ignore[misc]
        attempt(lambda k=key: bundle.read_slice(k, (0,) * len(bundle.shape(k)), bundle.shape(k)))  # type: ignore[misc]
    attempt.close()


# ---- vocabularies -----------------------------------------------------------------------------------------------


def mutate_assets(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Lines of a vocabulary lost, repeated, exchanged or damaged."""
    files = dict(sample)
    name = rng.choice(sorted(n for n in files if n.startswith("assets/")))
    lines = files[name].split(b"\n")
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(lines))
        kind = rng.randrange(5)
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif kind == 2:
            lines[at] = damaged(rng, lines[at])
        elif kind == 3:
            lines[at] = rng.choice([b"", b" ", b"\r", b"\0", b"\xff\xfe", b"-1", b"9" * 30, b"a\tb\tc", b"\t", "é".encode()])
        else:
            rng.shuffle(lines)
    files[name] = b"\n".join(lines)
    if rng.random() < 0.02:
        del files[name]
    return files


@cache
def _read_once(names: tuple[tuple[str, bytes], ...]) -> Artifact:
    return read(MemoryFiles(dict(names)))


def assets_road(files: Sample) -> None:
    """Fills the tables of an artifact from its vocabulary files; the rest of it is read once."""
    rest = {n: d for n, d in files.items() if not n.startswith("assets/")}
    seed = next(s for s in asset_seeds().values() if s["saved_model.pb"] == files["saved_model.pb"])
    whole = _read_once(tuple({**rest, **{n: b"" for n in seed if n.startswith("assets/")}}.items()))
    artifact = Artifact(whole.format, whole.metagraphs, whole.variables, dict(files), whole.provenance)
    initialize(artifact)


@cache
def asset_seeds() -> dict[str, Sample]:
    """Artifacts with vocabularies."""
    found = folders("tf1/*", "tf2/*", "behaviour/*", having="saved_model.pb", most=LARGEST)
    return {name: files for name, files in found.items() if any(n.startswith("assets/") for n in files)}


# ---- HDF5 -------------------------------------------------------------------------------------------------------

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


# ---- archives ---------------------------------------------------------------------------------------------------


def tar_seeds() -> dict[str, Sample]:
    """A small archive in each of tar's formats, packed and not."""
    found: dict[str, Sample] = {}
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
            for name, data in {
                "saved_model.pb": b"x" * 900,
                "variables/variables.index": b"y" * 300,
                "assets/" + "n" * 90: b"",
            }.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            if kind != tarfile.USTAR_FORMAT:
                tar.addfile(tarfile.TarInfo("long/" + "é" * 120 + "/name"))
        found[f"tar-{kind}"] = {"m.tar.gz": out.getvalue()}
    return found


def mutate_tar(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to an archive: in a header whose checksum is made right again, in the tar, or in the gzip around it."""
    data = sample["m.tar.gz"]
    packed = data[:2] == b"\x1f\x8b"
    if packed:
        return {"m.tar.gz": damaged(rng, data)}
    out = bytearray(data)
    roll = rng.random()
    if roll < 0.75 and len(out) >= 512:
        for _ in range(rng.choice([1, 1, 2])):
            at = 512 * rng.randrange(len(out) // 512)
            start, size = rng.choice([
                (0, 100),
                (100, 8),
                (124, 12),
                (124, 12),
                (156, 1),
                (156, 1),
                (157, 100),
                (257, 8),
                (345, 155),
            ])
            field = {124: b"%011o\0" % (abs(rng.choice([0, 1, 511, 512, 513, 2**20, 2**33 - 1])) % 2**33), 156: rng.choice(
                [b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S", b"X", b"\0"])}.get(start)  # fmt: skip
            if field is None or rng.random() < 0.4:
                field = damaged(rng, bytes(out[at + start : at + start + size]))
            out[at + start : at + start + size] = field[:size].ljust(size, b"\0")
            if rng.random() < 0.1:
                out[at + 124] = 0x80 | rng.randrange(2) * 0x7F
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    if roll > 0.6:
        out = bytearray(damaged(rng, bytes(out)))
    whole = bytes(out)
    if rng.random() < 0.5:
        whole = gzip.compress(whole, 1)
        whole = damaged(rng, whole) if rng.random() < 0.2 else whole
    return {"m.tar.gz": whole}


def archive_road(files: Sample) -> None:
    """Unpacks an archive into a fresh folder, and looks that nothing came out beside it."""
    with tempfile.TemporaryDirectory(prefix="thaw-fuzz-", dir=SCRATCH) as name:
        file, inner = Path(name) / "m.tar.gz", Path(name) / "inner"
        inner.mkdir()
        file.write_bytes(files["m.tar.gz"])
        try:
            if archive.is_archive(file):
                archive.unpack(file, inner, Meter(show=False))
        finally:
            beside = sorted(p.name for p in Path(name).iterdir())
            if beside != ["inner", "m.tar.gz"]:
                raise AssertionError(f"an archive wrote outside its folder: {beside}")


# ---- the table --------------------------------------------------------------------------------------------------


def module_road(files: Sample) -> None:
    """Reads a TF1 Hub module whose definition may be damaged."""
    read(MemoryFiles(files))


def module_mutation(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to `tfhub_module.pb`."""
    changed = change_message(rng, "ModuleDef", sample["tfhub_module.pb"])
    if rng.random() < 0.3:
        proto = new("ModuleDef", format=rng.choice([0, 1, 2, 3, 4, -1, 2**31 - 1]))
        proto.required_features.extend(rng.choice([[], ["x"], ["", "y" * 1000]]))
        changed = bytes(proto.SerializeToString())
    return {**sample, "tfhub_module.pb": changed}


TARGETS = {
    t.name: t
    for t in (
        Target(
            "saved_model_tf2",
            3,
            lambda: folders("tf2/*", "behaviour/*"),
            graph_mutation("saved_model.pb", "SavedModel"),
            artifact_road,
            True,
        ),
        Target(
            "saved_model_tf1",
            3,
            lambda: folders("tf1/*", having="saved_model.pb"),
            graph_mutation("saved_model.pb", "SavedModel"),
            artifact_road,
            True,
        ),
        Target(
            "frozen", 3, lambda: single("frozen/*.pb", "frozen.pb"), graph_mutation("frozen.pb", "GraphDef"), artifact_road, True
        ),
        Target("tfhub_module", 0.3, lambda: folders("tf1/half*", having="tfhub_module.pb"), module_mutation, module_road),
        Target("variables_index", 3, lambda: folders("tf1/*", "tf2/*", having=INDEX), mutate_index, bundle_road),
        Target("variables_data", 1.5, lambda: folders("tf1/*", "tf2/*", having=DATA), mutate_data, bundle_road),
        Target("assets", 0.5, asset_seeds, mutate_assets, assets_road, True),
        Target("hdf5", 4, lambda: hdf5_seeds() | single("keras2/*.h5", "m.h5", 15_000), mutate_h5, hdf5_road),
        Target("hdf5_new", 0.5, new_hdf5_seeds, mutate_h5, new_hdf5_road),
        Target("keras_config", 2, config_seeds, mutate_config, config_road),
        Target("keras_archive", 1, lambda: single("keras2/*.keras", "m.keras", 22_000), mutate_keras_zip, keras_archive_road),
        Target("h5", 2, lambda: hdf5_seeds() | single("keras2/*.h5", "m.h5", 22_000), mutate_h5_config, keras_file_road, True),
        Target("keras", 2, lambda: single("keras2/*.keras", "m.keras", 22_000), mutate_keras_zip, keras_file_road, True),
        Target(
            "keras_metadata",
            1,
            lambda: folders("keras2/*saved_model", having="keras_metadata.pb", most=LARGEST),
            mutate_metadata,
            keras_saved_model_road,
            True,
        ),
        Target("archive", 1, tar_seeds, mutate_tar, archive_road),
    )
}
