"""Artifacts with graphs, damaged, on the road to programs; their checkpoints, vocabularies and module definitions.

A road goes to a `Program` with every pass run, its plan, the simulation of its loops, and `thaw.inspect`. Nothing is executed
but table initializers.
"""

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from google.protobuf import text_format

from fuzz.mutation import change, change_graph, change_table, damaged, texts
from fuzz.seeds import DATA, INDEX, LARGEST, Sample, folders, single
from thaw import inspection
from thaw.errors import ThawError
from thaw.formats import MemoryFiles, read
from thaw.formats.bundle import Bundle
from thaw.formats.table import crc32c, masked, read_table, write_table
from thaw.graph.artifact import Artifact
from thaw.graph.program import ready
from thaw.load import program as program_of
from thaw.lowering import table as table
from thaw.lowering.run import Context, Resources
from thaw.lowering.trips import UNKNOWN, Simulator
from thaw.wire.protos import Message, new, parse


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


@cache
def text_seeds() -> dict[str, Sample]:
    """A frozen graph and a SavedModel as text."""
    frozen = next(iter(single("frozen/*.pb", "frozen.pb").values()))["frozen.pb"]
    model = dict(next(iter(folders("tf1/half*", having="saved_model.pb").values())))
    model.pop("tfhub_module.pb", None)
    model["saved_model.pbtxt"] = as_text("SavedModel", model.pop("saved_model.pb"))
    return {"frozen": {"graph.pbtxt": as_text("GraphDef", frozen)}, "saved_model": model}


def as_text(kind: str, data: bytes) -> bytes:
    """A message as text."""
    return text_format.MessageToString(parse(kind, data, "a seed")).encode()


NESTED = b'node { name: "x" attr { key: "a" value { func { attr { key: "a" value { list { func { '


def mutate_text(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to a graph as text: a field, a bracket, a quote, a number, or brackets without end."""
    name = next(n for n in sample if n.endswith(".pbtxt"))
    text = sample[name]
    at, kind = rng.randrange(len(text) + 1), rng.randrange(5)
    if kind == 0:
        text = (
            text[:at]
            + rng.choice([b"{", b"}", b'"', b"'", b"\\", b"#", b"[", b"<", b"-", b": ", b"DT_FLOAT", b"\\x", b"9" * 5000])
            + text[at:]
        )
    elif kind == 1:
        text = NESTED[: rng.randrange(len(NESTED))] * rng.choice([1, 2, 300]) + text
    elif kind == 2:
        lines = text.split(b"\n")
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
        text = b"\n".join(lines)
    else:
        text = damaged(rng, text)
    return {**sample, name: text}


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
