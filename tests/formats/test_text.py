"""Models written as text: `saved_model.pbtxt`, and GraphDefs as `.pbtxt` or as text that is named `.pb`."""

import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from formats.sample import FOLDERS, const, contents, expected, values
from thaw.errors import CorruptFileError, UnknownFormatError
from thaw.formats import MemoryFiles, read
from thaw.wire.dtypes import NUMBERS
from thaw.wire.protos import new, parse

_NAMES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
DTYPES = {number: _NAMES.get(name, f"DT_{name.upper()}") for name, number in NUMBERS.items()}


def as_text(kind: str, data: bytes) -> bytes:
    """A message as TensorFlow writes it: dtypes by name."""
    text = text_format.MessageToString(parse(kind, data, "test"))
    return re.sub(r"\b(dtype|type|list_type): (\d+)", lambda m: f"{m[1]}: {DTYPES[int(m[2])]}", text).encode()


def test_a_saved_model_as_text_is_the_same_model() -> None:
    for folder in (f for name, f in FOLDERS.items() if name.startswith(("tf1-half", "tf2-"))):
        files = contents(folder)
        plain = read(MemoryFiles(files))
        files["saved_model.pbtxt"] = as_text("SavedModel", files.pop("saved_model.pb"))
        again = read(MemoryFiles(files))
        assert again.format == plain.format
        assert [sorted(m.signatures) for m in again.metagraphs] == [sorted(m.signatures) for m in plain.metagraphs]
        for name, value in values(plain).items():
            np.testing.assert_array_equal(values(again)[name], value)


def test_bytes_that_are_named_text_are_read_too() -> None:
    files = contents(FOLDERS["tf1-half_plus_two"])
    files["saved_model.pbtxt"] = files.pop("saved_model.pb")
    assert read(MemoryFiles(files)).metagraphs[0].signatures


@pytest.mark.parametrize("name", ["graph.pbtxt", "graph.pb", "saved_model.pbtxt"])
def test_a_graph_as_text_is_the_same_graph(name: str, tmp_path: Path) -> None:
    text = b"# a comment\n" + as_text("GraphDef", contents(FOLDERS["frozen"])["frozen.pb"])
    (tmp_path / name).write_bytes(text)
    for place in (tmp_path, tmp_path / name):
        trace = read(place).metagraphs[0].signatures["frozen"].traces[0]
        assert set(trace.outputs) == set(expected(FOLDERS["frozen"])[0]["outputs"])  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.asarray(trace.graph.nodes["weights"].attrs["value"]), np.arange(12).reshape(3, 4))


def test_dtypes_inside_of_strings_are_left_alone_and_references_are_dtypes_too() -> None:
    text = b"""node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT_REF } } }
node { name: "y" op: "Relu" input: "x" attr { key: "note" value { s: "DT_FLOAT \\" DT_INT32" } }
attr { key: "Ts" value { list { type: [DT_INT32, DT_FLOAT] } } } }"""
    graph = read(MemoryFiles({"graph.pbtxt": text})).metagraphs[0].signatures["frozen"].traces[0].graph
    assert graph.nodes["x"].attrs["dtype"] == "float32"
    assert graph.nodes["y"].attrs["Ts"] == ("int32", "float32")
    assert graph.nodes["y"].attrs["note"] == 'DT_FLOAT " DT_INT32'


@pytest.mark.parametrize(
    "text",
    [
        b"node { name: ",
        b"node { name: 3 }",
        b"node {" * 5000,
        b"node { attr { key: 'a' value { type: DT_WHAT } } }",
        b"node: \xff\xfe",
    ],
    ids=["cut", "wrong-kind", "deep", "unknown-dtype", "bytes"],
)
def test_damaged_text_is_refused(text: bytes) -> None:
    with pytest.raises(CorruptFileError, match="as the text of a"):
        read(MemoryFiles({"graph.pbtxt": text}))
    with pytest.raises(CorruptFileError, match="as the text of a"):
        read(MemoryFiles({"saved_model.pbtxt": b"meta_graphs {" + text}))


def test_a_saver_says_its_format_in_words() -> None:
    files = contents(FOLDERS["tf1-half_plus_two"])
    text = as_text("SavedModel", files.pop("saved_model.pb"))
    files["saved_model.pbtxt"] = text.replace(b"meta_graphs {", b"meta_graphs {\n  saver_def { version: V2 }", 1)
    assert b"version: V2" in files["saved_model.pbtxt"]
    assert read(MemoryFiles(files)).metagraphs[0].signatures


def test_other_text_is_no_graph() -> None:
    with pytest.raises(UnknownFormatError):
        read(MemoryFiles({"labels.pbtxt": b"item { id: 1 }"}))


def test_summaries_are_no_outputs() -> None:
    nodes = [
        const("c", np.float32([1.0])),
        new("NodeDef", name="y", op="Relu", input=["c"]),
        new("NodeDef", name="seen", op="ScalarSummary", input=["c", "c"]),
        new("NodeDef", name="all", op="MergeSummary", input=["seen"]),
    ]
    artifact = read(MemoryFiles({"graph.pb": new("GraphDef", node=nodes).SerializeToString()}))
    assert list(artifact.metagraphs[0].signatures["frozen"].traces[0].outputs) == ["y"]  # type: ignore[arg-type]
