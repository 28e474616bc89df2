"""How to provoke the errors of reading artifacts."""

from pathlib import Path

import numpy as np

from provoke import Row
from thaw.errors import (
    CorruptFileError,
    MissingFileError,
    NoSignatureError,
    UnknownFormatError,
    UnsafePathError,
    UnsupportedModuleError,
    WeightsNotPlacedError,
)
from thaw.formats import DirectoryFiles, read, rewritten
from thaw.wire.protos import new


def unknown_format(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    read(folder)


def truncated(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"\x12\x7f")
    read(folder)


def required_feature(folder: Path) -> None:
    module = new("ModuleDef", format=3, required_features=["time_travel"])
    (folder / "tfhub_module.pb").write_bytes(module.SerializeToString())
    (folder / "saved_model.pb").write_bytes(b"")
    read(folder)


def no_signature(folder: Path) -> None:
    metagraph = new("MetaGraphDef", meta_info_def=new("MetaInfoDef", tags=["serve"]))
    (folder / "saved_model.pb").write_bytes(new("SavedModel", meta_graphs=[metagraph]).SerializeToString())
    read(folder)


def other_weights(folder: Path) -> None:
    node = new("NodeDef", name="weights", op="Const")
    node.attr["value"].tensor.dtype = 1
    graph = new("GraphDef", node=[node, new("NodeDef", name="y", op="Relu", input=["weights"])])
    (folder / "graph.pb").write_bytes(graph.SerializeToString())
    rewritten(read(folder), {"wights": np.zeros(3)})


ROWS = [
    Row(
        UnknownFormatError,
        unknown_format,
        what="is of no known format: it holds 'notes.txt'",
        expected="tf1_hub: a folder with tfhub_module.pb and saved_model.pb",
        do="Give the folder in which saved_model.pb lies",
    ),
    Row(
        MissingFileError,
        lambda folder: DirectoryFiles(folder).read("assets/words.txt"),
        what="lacks the file 'assets/words.txt'",
        expected="Expected it beside the others",
        do="fetch or copy the whole folder again",
    ),
    Row(
        UnsafePathError,
        lambda folder: DirectoryFiles(folder).read("../secret"),
        what="The artifact names the file '../secret', which leaves its folder",
        expected="Expected a relative name inside it",
        do="Do not trust this artifact",
    ),
    Row(
        CorruptFileError,
        truncated,
        what="its 2 bytes do not parse as a SavedModel protobuf message",
        expected="Expected a whole file",
        do="Fetch or export it again",
        name="graph",
    ),
    Row(
        UnsupportedModuleError,
        required_feature,
        what="uses required features that thaw does not know: 'time_travel'",
        expected="Expected only: 'none'",
        do="Export it again without them",
    ),
    Row(
        NoSignatureError,
        no_signature,
        what="has nothing that could be called under the tags ['serve']: no signature, no function",
        expected="Expected at least one",
        do="Export it again with a signature",
    ),
    Row(
        WeightsNotPlacedError,
        other_weights,
        what="The weights do not go into this frozen_graph: it has none called 'wights'",
        expected="Expected its own variables, by name and shape: 'weights'",
        do="Take the names from `layer.source_variables`",
    ),
]
