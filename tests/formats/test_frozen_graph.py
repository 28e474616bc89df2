"""Frozen graphs: what is taken for inputs and outputs, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from formats.sample import FOLDERS, const, contents, expected, ours
from thaw.errors import CorruptFileError, NoSignatureError, UnknownFormatError
from thaw.formats import MemoryFiles, read
from thaw.graph.ir import TensorSpec
from thaw.wire.protos import new


def graph(*nodes: object, producer: int = 1000) -> MemoryFiles:
    proto = new("GraphDef", node=nodes)
    proto.versions.producer = producer
    return MemoryFiles({"graph.pb": proto.SerializeToString()})


def test_placeholders_go_in_and_leaves_come_out() -> None:
    artifact = ours("frozen")
    trace = artifact.metagraphs[0].signatures["frozen"].traces[0]
    row = expected(FOLDERS["frozen"])[0]
    assert trace.kwargs == {"factor": TensorSpec("factor", "float32", ()), "x": TensorSpec("x", "float32", (None, 3))}
    assert isinstance(trace.outputs, dict)
    assert sorted(trace.outputs) == sorted(row["outputs"])
    dtypes = {n: s.dtype for n, s in trace.outputs.items() if isinstance(s, TensorSpec)}
    assert dtypes == {"chosen": "int64", "halves": "float32", "halves:1": "float32", "large": "bool", "sum": "float32"}
    assert artifact.variables == {}
    np.testing.assert_array_equal(np.asarray(trace.graph.nodes["weights"].attrs["value"]), np.arange(12).reshape(3, 4))


def test_a_file_and_its_folder_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "any name.pb").write_bytes(contents(FOLDERS["frozen"])["frozen.pb"])
    for place in (tmp_path, tmp_path / "any name.pb", str(tmp_path)):
        assert read(place).format == "frozen_graph"


def test_a_frozen_graph_may_be_named_saved_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(contents(FOLDERS["frozen"])["frozen.pb"])
    for place in (tmp_path, tmp_path / "saved_model.pb"):
        again = read(place)
        assert again.format == "frozen_graph"
        assert sorted(again.metagraphs[0].signatures["frozen"].traces[0].kwargs) == ["factor", "x"]
        assert read(MemoryFiles(again.files)).format == "frozen_graph"


def test_old_graphs_could_not_tell_a_scalar_from_an_unknown_shape() -> None:
    place = new("NodeDef", name="x", op="Placeholder")
    place.attr["dtype"].type = 1
    place.attr["shape"].shape.SetInParent()
    use = new("NodeDef", name="y", op="Relu", input=["x"])
    for producer, shape in ((21, None), (24, ())):
        kwargs = read(graph(place, use, producer=producer)).metagraphs[0].signatures["frozen"].traces[0].kwargs
        assert kwargs["x"] == TensorSpec("x", "float32", shape)


def test_left_over_ends_of_loops_are_no_outputs() -> None:
    nodes = [
        const("c", np.float32([1.0])),
        new("NodeDef", name="loop", op="Exit", input=["c"]),
        new("NodeDef", name="y", op="Relu", input=["c"]),
    ]
    assert list(read(graph(*nodes)).metagraphs[0].signatures["frozen"].traces[0].outputs) == ["y"]  # type: ignore[arg-type]
    assert list(read(graph(*nodes[:2])).metagraphs[0].signatures["frozen"].traces[0].outputs) == ["loop"]  # type: ignore[arg-type]


def test_a_graph_of_constants_alone_has_nothing_to_call() -> None:
    with pytest.raises(NoSignatureError):
        read(graph(const("c", np.float32([1.0]))))


@pytest.mark.parametrize("size", [1, 10, 200, -1])
def test_a_truncated_graph_is_refused(size: int) -> None:
    with pytest.raises(CorruptFileError):
        read(MemoryFiles({"g.pb": contents(FOLDERS["frozen"])["frozen.pb"][:size]}))


@pytest.mark.parametrize(
    "files",
    [{}, {"model.pb": b""}, {"model.pb": b"\x89HDF"}, {"a.pb": b"\x0a\x00", "b.pb": b"\x0a\x00"}, {"README.md": b"hello"}],
    ids=["nothing", "empty", "other-bytes", "two-graphs", "no-model"],
)
def test_what_no_reader_knows_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(UnknownFormatError, match="is of no known format"):
        read(MemoryFiles(files))


def test_many_nodes_are_read() -> None:
    nodes = [const("n0", np.float32([1.0]))] + [
        new("NodeDef", name=f"n{i}", op="Relu", input=[f"n{i - 1}"]) for i in range(1, 20_000)
    ]
    assert len(read(graph(*nodes)).metagraphs[0].signatures["frozen"].traces[0].graph.nodes) == 20_000
