"""What the fuzzer found is found no more: each sample comes to an artifact or to an error of ours.

Most are told as an edit of a good artifact; where that is not to be told in a line, the damaged files lie in `regressions`
as the fuzzer left them (`<format>/<what>/files`), and any that is put there is replayed.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formats.sample import FOLDERS, contents
from fuzz.execution import execute
from fuzz.keras_roads import hdf5_seeds, made_hdf5
from fuzz.seeds import DATA, INDEX, Sample, folder
from fuzz.targets import TARGETS
from thaw.errors import GraphTooLargeError
from thaw.formats.bundle import slice_key
from thaw.formats.table import crc32c, masked, write_table
from thaw.wire.protos import Message, new, parse
from thaw.wire.varint import encoded

pytestmark = pytest.mark.skipif(
    os.environ["KERAS_BACKEND"] != "jax", reason="reading needs no backend: it is shown once, beside jax"
)

KEPT = {p: p.parent.name for p in sorted((Path(__file__).parent / "regressions").glob("*/*"))}


def problem(target: str, sample: Sample) -> str:
    """What is wrong with how a target takes a sample, time aside."""
    outcome = execute(TARGETS[target], sample)
    return "" if outcome.problem.startswith("took") else outcome.problem


@pytest.mark.parametrize("path", [pytest.param(p, id=f"{kind}-{p.name}") for p, kind in KEPT.items()])
def test_a_kept_finding_stays_mended(path: Path) -> None:
    assert not problem(path.parent.name, folder(path / "files"))


def graph(*lines: str) -> Sample:
    """A frozen graph of lines "name Op input ... key=function" (or key=number)."""
    proto = new("GraphDef")
    for line in lines:
        name, op, *rest = line.split()
        node = proto.node.add(name=name, op=op, input=[r for r in rest if "=" not in r])
        for key, value in (r.split("=") for r in rest if "=" in r):
            if value.isdecimal():
                node.attr[key].i = int(value)
            else:
                node.attr[key].func.name = value
        if op == "Const" and "value" not in node.attr:
            node.attr["value"].tensor.dtype = 1
    return {"frozen.pb": proto.SerializeToString()}


def with_functions(sample: Sample, **bodies: str) -> Sample:
    """The graph with functions of one argument `x` and one result, the body's only line or `x` itself."""
    proto = parse("GraphDef", sample["frozen.pb"], "test")
    for name, body in bodies.items():
        function = proto.library.function.add()
        function.signature.name = name
        function.signature.input_arg.add(name="x", type=1)
        function.signature.output_arg.add(name="y", type=1)
        function.ret["y"] = "x"
        if body:
            made = parse("GraphDef", graph(body)["frozen.pb"], "test").node[0]
            function.node_def.append(made)
            function.ret["y"] = f"{made.name}:output:0"
    return {"frozen.pb": proto.SerializeToString()}


GRAPHS = {
    "Switch-of-one-input": graph("x Placeholder", "s Switch x", "m Merge s s:1", "y Neg m"),
    "Const-of-a-function": graph("c Const value=f", "y Neg c"),
    "Placeholder-with-an-input": graph("x Placeholder", "p Placeholder x", "y Neg p"),
    "comparison-of-three": graph("x Placeholder", "y Less x x x"),
    "If-without-inputs": with_functions(graph("y If then_branch=f else_branch=f"), f=""),
    "If-with-too-many-inputs": with_functions(graph("x Placeholder", "y If x x x then_branch=f else_branch=f"), f=""),
    "loop-without-condition": with_functions(graph("x Placeholder", "y While x body=f"), f=""),
    "loop-of-an-unknown-function": with_functions(graph("x Placeholder", "y While x cond=g body=f"), f=""),
    "branches-that-hold-themselves": with_functions(
        graph("x Placeholder", "y If x x then_branch=f else_branch=f"), f="i If x x then_branch=f else_branch=f"
    ),
    "loop-that-is-its-own-body": with_functions(graph("x Placeholder", "y While x cond=f body=f"), f="w While x cond=f body=f"),
    "output-that-an-op-does-not-have": graph("x Placeholder", "c Const", "y Neg c:7"),
    "loop-whose-NextIteration-is-missing": graph(
        "x Placeholder", "e Enter x", "m Merge e gone", "l LoopCond m", "s Switch m l", "y Exit s"
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_does_not_fit_together_is_refused(name: str) -> None:
    assert not problem("frozen", GRAPHS[name])


def edited(model: str, edit: Callable[[Message], Any]) -> Sample:
    """An artifact of the suite with another graph."""
    files = contents(FOLDERS[model])
    proto = parse("SavedModel", files["saved_model.pb"], "test")
    edit(proto)
    return {**files, "saved_model.pb": proto.SerializeToString()}


def test_a_callable_without_a_name_is_read() -> None:
    def rename(proto: Message) -> None:
        root = proto.meta_graphs[0].object_graph_def.nodes[0]
        child = next(c for c in root.children if c.local_name == "__call__")
        child.local_name = ""

    assert not problem("saved_model_tf2", edited("tf2-half_plus_one", rename))


def test_strings_longer_than_any_number_are_refused() -> None:
    lengths = b"\xff" * 9 + b"\x7f"  # ten bytes, 70 bits
    data = lengths + bytes(4)
    header = new("BundleHeaderProto", num_shards=1).SerializeToString()
    entry = new("BundleEntryProto", dtype=7, size=len(data), crc32c=masked(crc32c(data)))
    entry.shape.dim.add(size=1)
    sample = {INDEX: write_table({b"": header, b"s": entry.SerializeToString()}), DATA: data}
    assert len(encoded(2**64)) == 10 and not problem("variables_data", sample)


def test_the_good_hdf5_files_of_the_fuzzer_are_read() -> None:
    """Else it would show nothing."""
    assert all(execute(TARGETS["hdf5"], sample).error is None for sample in hdf5_seeds().values())
    assert execute(TARGETS["hdf5_new"], {"m.h5": made_hdf5(libver="latest")}).error is None


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"h5", "keras", "keras_metadata"}))
def test_every_target_reads_a_seed_and_refuses_what_is_no_file(target: str) -> None:
    seeds = list(TARGETS[target].seeds().values())
    assert any(execute(TARGETS[target], seed).error is None for seed in seeds)
    assert not any(problem(target, seed) for seed in seeds)


def test_slices_that_claim_what_is_not_there_take_no_memory() -> None:
    """By thought, not by chance: whole and slice agree that there are a tera of elements."""
    header = new("BundleHeaderProto", num_shards=1).SerializeToString()
    whole = new("BundleEntryProto", dtype=1)
    whole.shape.dim.add(size=2**40)
    extent = whole.slices.add().extent.add()
    extent.length = 2**40
    part = new("BundleEntryProto", dtype=1, size=2**42)
    part.shape.dim.add(size=2**40)
    rows = {b"": header, b"w": whole.SerializeToString(), slice_key("w", whole.slices[0]): part.SerializeToString()}
    assert not problem("variables_index", {INDEX: write_table(rows), DATA: b"x"})


def test_a_slice_of_hundreds_of_long_axes_is_refused() -> None:
    """It would hold so many elements that Python does not write the number down."""
    header = new("BundleHeaderProto", num_shards=1).SerializeToString()
    whole, part = new("BundleEntryProto", dtype=1), new("BundleEntryProto", dtype=1)
    whole.shape.dim.add(size=1)
    whole.slices.add().extent.add(length=1)
    for _ in range(300):
        part.shape.dim.add(size=2**62)
    rows = {b"": header, b"w": whole.SerializeToString(), slice_key("w", whole.slices[0]): part.SerializeToString()}
    assert not problem("variables_index", {INDEX: write_table(rows), DATA: b"x"})


@pytest.mark.parametrize("text", ["x:" + "9" * 5000, "x:0:" + "9" * 5000], ids=["tensor", "output"])
def test_numbers_that_python_does_not_read_are_refused(text: str) -> None:
    assert not problem("frozen", graph("x Placeholder", f"y Neg {text}"))
    assert not problem("frozen", with_functions(graph("x Placeholder", "y PartitionedCall x f=f"), f=f"z Neg {text}"))


def test_an_object_whose_name_is_too_long_a_number_is_read() -> None:
    def rename(proto: Message) -> None:
        root = proto.meta_graphs[0].object_graph_def.nodes[0]
        listed = next(c for c in root.children if c.local_name == "variables")
        proto.meta_graphs[0].object_graph_def.nodes[listed.node_id].children[0].local_name = "9" * 5000

    assert not problem("saved_model_tf2", edited("tf2-half_plus_one", rename))


def chain(line: str, count: int) -> Sample:
    """A graph with functions f0, f1, ... of which each runs the next one twice, by that line."""
    bodies = {f"f{i}": line.replace("NEXT", f"f{i + 1}") for i in range(count)}
    return with_functions(graph("x Placeholder", line.replace("NEXT", "f0")), **bodies, **{f"f{count}": ""})


def test_branches_that_double_at_every_step_do_not_take_forever() -> None:
    """A billion billion branches in a file of a few kilobytes; each function is looked at once."""
    assert not problem("frozen", chain("y If x x then_branch=NEXT else_branch=NEXT", 60))


def test_calls_that_double_at_every_step_are_refused() -> None:
    calls = [f"a{i} PartitionedCall x f=f{i + 1}" for i in range(40)]
    proto = parse("GraphDef", with_functions(graph("x Placeholder", "y PartitionedCall x f=f0"))["frozen.pb"], "test")
    for i in range(40):
        sample = with_functions({"frozen.pb": proto.SerializeToString()}, **{f"f{i}": calls[i]})
        proto = parse("GraphDef", sample["frozen.pb"], "test")
        twin = proto.library.function[i].node_def.add()
        twin.CopyFrom(proto.library.function[i].node_def[0])
        twin.name = "again"
    sample = with_functions({"frozen.pb": proto.SerializeToString()}, f40="")
    outcome = execute(TARGETS["frozen"], sample)
    assert isinstance(outcome.error, GraphTooLargeError)


@pytest.mark.parametrize("sliced", [False, True], ids=["whole", "in-slices"])
def test_tensors_of_more_axes_than_numpy_has_are_refused(sliced: bool) -> None:
    header = new("BundleHeaderProto", num_shards=1).SerializeToString()
    entry = new("BundleEntryProto", dtype=1, size=4, crc32c=masked(crc32c(bytes(4))))
    for _ in range(100):
        entry.shape.dim.add(size=1)
    if sliced:
        del entry.shape.dim[1:]
        for _ in range(300):
            entry.slices.add().extent.add(length=1)
        entry.slices[0].extent.extend([entry.slices[0].extent[0]] * 300)
    sample = {INDEX: write_table({b"": header, b"w": entry.SerializeToString()}), DATA: bytes(4)}
    assert not problem("variables_index", sample)
    constant = parse("GraphDef", graph("c Const", "y Neg c")["frozen.pb"], "test")
    for _ in range(100):
        constant.node[0].attr["value"].tensor.tensor_shape.dim.add(size=1)
    assert not problem("frozen", {"frozen.pb": constant.SerializeToString()})


def test_a_captured_constant_without_a_value_is_refused() -> None:
    def empty(proto: Message) -> None:
        for node in proto.meta_graphs[0].graph_def.node:
            node.attr.pop("value", None)

    assert all(not problem("saved_model_tf2", edited(name, empty)) for name in FOLDERS if name.startswith("tf2"))
