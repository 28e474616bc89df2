"""The artifacts that the tests of formats read: ours in tests/models, those in ../shared/models where they are there."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from thaw.formats import MemoryFiles, read
from thaw.graph.artifact import Artifact
from thaw.wire.protos import Message, new, parse

MODELS = Path(__file__).parents[1] / "models"
SHARED = Path(__file__).parents[3] / "shared" / "models"

FOLDERS = {f"{d.parent.name}-{d.name}": d for kind in ("tf1", "tf2") for d in sorted((MODELS / kind).iterdir())}
FOLDERS["frozen"] = MODELS / "frozen"


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by relative name, without what our own tools put beside them."""
    names = (p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "expected.json")
    return {name: (folder / name).read_bytes() for name in names}


def expected(folder: Path) -> list[dict[str, Any]]:
    """What TensorFlow answers for an artifact."""
    rows: list[dict[str, Any]] = json.loads((folder / "expected.json").read_text())
    return rows


def saved_model(folder: Path) -> Message:
    """The SavedModel message of a folder, to be changed."""
    return parse("SavedModel", (folder / "saved_model.pb").read_bytes(), "test")


def changed(folder: Path, proto: Message | None = None, **files: bytes | None) -> MemoryFiles:
    """The folder's files with another graph, or with files replaced (None: left out); "__" in a name stands for "/"."""
    every = contents(folder)
    if proto is not None:
        every["saved_model.pb"] = proto.SerializeToString()
    for key, data in files.items():
        name = key.replace("__", "/")
        name = next((n for n in every if n.replace(".", "_").replace("-", "_") == name.replace(".", "_").replace("-", "_")), name)
        every.pop(name, None)
        if data is not None:
            every[name] = data
    return MemoryFiles(every, "a test")


def values(artifact: Artifact) -> dict[str, np.ndarray]:
    """Every variable's value by name."""
    return {v.name: v.read() for v in artifact.variables.values()}


def ours(name: str) -> Artifact:
    """One of our own artifacts: "tf1-half_plus_two"."""
    return read(FOLDERS[name])


def const(name: str, value: np.ndarray, dtype: int = 1) -> Message:
    """A NodeDef of a float constant."""
    node = new("NodeDef", name=name, op="Const")
    node.attr["dtype"].type = dtype
    node.attr["value"].tensor.dtype = dtype
    for size in value.shape:
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)
    node.attr["value"].tensor.tensor_content = value.tobytes()
    return node
