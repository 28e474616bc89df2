"""Artifacts that were damaged or made to do harm: whatever the bytes, there is an artifact or an error of ours, soon.

Bytes are changed anywhere, and fields of the messages at random (so that checksums and lengths are right again and the
damage gets as deep as it can). `pytest tests/formats/test_hostile.py --hypothesis-profile=fuzz` goes on for longer.
"""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.sample import FOLDERS, contents
from thaw.errors import CorruptFileError, ThawError
from thaw.formats import MemoryFiles, read
from thaw.formats.table import read_table, write_table
from thaw.wire.protos import Message, parse

pytestmark = pytest.mark.skipif(
    os.environ["KERAS_BACKEND"] != "jax", reason="reading needs no backend: it is shown once, beside jax"
)

CONTENTS = {name: contents(folder) for name, folder in FOLDERS.items()}
MESSAGES = {"saved_model.pb": "SavedModel", "frozen.pb": "GraphDef", "tfhub_module.pb": "ModuleDef"}
NUMBERS = [0, 1, -1, 2, 3, 7, 2**30, -(2**30)]
TEXTS = ["", "x", "../../etc/passwd", "/abs", "a:b", "NoOp:0", "x:y:0", "Identity:output:99"]


def touch(files: dict[str, bytes]) -> None:
    """Reads all that can be read; only our own errors may come out."""
    try:
        artifact = read(MemoryFiles(files))
        for metagraph in artifact.metagraphs:
            list(metagraph.library.values())
        for variable in artifact.variables.values():
            variable.read()
    except ThawError:
        pass


def changed_value(field: Any, old: Any, draw: st.DrawFn) -> Any:
    if field.type in {field.TYPE_STRING}:
        return draw(st.sampled_from([*TEXTS, old + "x"]))
    if field.type == field.TYPE_BYTES:
        return draw(st.sampled_from([b"", b"x", old[:-1], old + b"zz"]))
    if field.type == field.TYPE_BOOL:
        return not old
    if field.type in {field.TYPE_FLOAT, field.TYPE_DOUBLE}:
        return draw(st.sampled_from([0.0, 1e30, -1.0]))
    unsigned = field.type in {field.TYPE_UINT32, field.TYPE_UINT64, field.TYPE_FIXED32}
    wide = field.type in {field.TYPE_INT64, field.TYPE_SINT64}
    return draw(st.sampled_from([n for n in NUMBERS if n >= 0 or not unsigned] + ([2**60] if wide else [])))


def change(message: Message, draw: st.DrawFn, depth: int = 0) -> None:
    """Changes one field, somewhere in `message`."""
    filled = [f for f, _ in message.ListFields()]
    if not filled:
        return
    field = draw(st.sampled_from(filled))
    value = getattr(message, field.name)
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 9)) == 0:
            del value[key]
        elif inner.fields_by_name["value"].message_type is not None:
            change(value[key], draw, depth + 1)
        else:
            value[key] = draw(st.sampled_from(TEXTS))
    elif field.is_repeated:
        at = draw(st.integers(0, len(value) - 1))
        if draw(st.integers(0, 9)) == 0:
            del value[at]
        elif inner is not None:
            change(value[at], draw, depth + 1)
        else:
            value[at] = changed_value(field, value[at], draw)
    elif inner is not None:
        change(value, draw, depth + 1)
    else:
        setattr(message, field.name, changed_value(field, value, draw))


@st.composite
def changed_fields(draw: st.DrawFn, model: str) -> dict[str, bytes]:
    files = dict(CONTENTS[model])
    name = draw(st.sampled_from(sorted(n for n in files if n in MESSAGES or n.endswith(".index"))))
    if name.endswith(".index"):
        table = read_table(files[name], "test")
        key = draw(st.sampled_from(sorted(table)))
        message = parse("BundleEntryProto" if key else "BundleHeaderProto", table[key], "test")
        change(message, draw)
        files[name] = write_table(table | {key: message.SerializeToString()})
    else:
        message = parse(MESSAGES[name], files[name], "test")
        for _ in range(draw(st.integers(1, 4))):
            change(message, draw)
        files[name] = message.SerializeToString()
    return files


@st.composite
def changed_bytes(draw: st.DrawFn, model: str) -> dict[str, bytes]:
    files = dict(CONTENTS[model])
    name = draw(st.sampled_from(sorted(n for n in files if files[n])))
    data = bytearray(files[name])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["set", "cut", "repeat", "end"]))
        if kind == "set":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 60))]
        else:
            del data[at:]
    files[name] = bytes(data)
    return files


@pytest.mark.parametrize("model", sorted(FOLDERS))
def test_changed_fields_are_read_or_refused(model: str) -> None:
    @given(changed_fields(model))
    def run(files: dict[str, bytes]) -> None:
        touch(files)

    run()


@pytest.mark.parametrize("model", sorted(FOLDERS))
def test_changed_bytes_are_read_or_refused(model: str) -> None:
    @given(changed_bytes(model))
    def run(files: dict[str, bytes]) -> None:
        touch(files)

    run()


@pytest.mark.parametrize("model", sorted(FOLDERS))
def test_every_file_may_be_missing_or_empty(model: str) -> None:
    for name in CONTENTS[model]:
        touch({n: d for n, d in CONTENTS[model].items() if n != name})
        touch(CONTENTS[model] | {name: b""})


def test_a_huge_constant_in_a_small_file_is_refused() -> None:
    proto = parse("GraphDef", CONTENTS["frozen"]["frozen.pb"], "test")
    tensor = next(n for n in proto.node if n.name == "weights").attr["value"].tensor
    for size in (2**20, 2**20, 2**20):
        tensor.tensor_shape.dim.add(size=size)
    with pytest.raises(CorruptFileError, match="a float32 constant of shape"):
        read(MemoryFiles({"frozen.pb": proto.SerializeToString()}))


@pytest.mark.parametrize("count", [2**40, -1])
def test_a_node_of_countless_outputs_is_refused(count: int) -> None:
    proto = parse("GraphDef", CONTENTS["frozen"]["frozen.pb"], "test")
    next(n for n in proto.node if n.op == "Split").attr["num_split"].i = count
    with pytest.raises(CorruptFileError, match=f"claims {count} outputs"):
        read(MemoryFiles({"frozen.pb": proto.SerializeToString()}))


def test_functions_that_call_each_other_without_end_are_read() -> None:
    """Calls are flattened by a pass, which refuses them; reading follows none but those of regularization losses."""
    proto = parse("SavedModel", CONTENTS["tf2-half_plus_one"]["saved_model.pb"], "test")
    for function in proto.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if "f" in node.attr:
                node.attr["f"].func.name = function.signature.name
    touch(CONTENTS["tf2-half_plus_one"] | {"saved_model.pb": proto.SerializeToString()})
