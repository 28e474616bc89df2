"""The checkpoint inside a SavedModel: which key holds the variable or table of which object.

What is in it besides variables (the object graph, contents of tables) is small and needed even where the weights are kept
elsewhere, so it can be written apart: `Checkpoint.small_files`. Imports bundle, files, protos.
"""

import numpy as np

from thaw.errors import CorruptFileError
from thaw.formats.bundle import Bundle, write_bundle
from thaw.formats.files import Files
from thaw.wire.protos import Message, parse

PREFIX = "variables/variables"
SMALL = "variables/small"
"""Prefix of the bundle that holds what is no variable, in `Artifact.files` only."""

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"


class Checkpoint:
    """Variables and tables by the number of their node in the object graph.

    Raises:
        MissingFileError, CorruptFileError: the index is not there or damaged.
    """

    def __init__(self, files: Files) -> None:
        self.bundle = Bundle(files, PREFIX)
        self._small = Bundle(files, SMALL) if files.exists(f"{SMALL}.index") else None
        self._nodes: list[Message] = []
        if _OBJECT_GRAPH in self.bundle:
            data = self._read_small(_OBJECT_GRAPH)
            if data.dtype != object or data.size != 1:
                raise CorruptFileError(self.bundle.origin, "its object graph is not one string")
            self._nodes = list(parse("TrackableObjectGraph", data.item(), self.bundle.origin).nodes)

    def holder(self, key: str) -> Bundle:
        """Where the tensor of that key lies: apart, if it is small and was written so, or with the weights."""
        return self._small if self._small is not None and key in self._small else self.bundle

    def _read_small(self, key: str) -> np.ndarray:
        return self.holder(key).read(key)

    def variable(self, node: int, name: str) -> str:
        """The key of the variable that is that node of the object graph; `name` is its own.

        Raises:
            CorruptFileError: the checkpoint has none for it.
        """
        attributes = self._nodes[node].attributes if node < len(self._nodes) else ()
        for attribute in attributes:
            if attribute.name == _VALUE and attribute.checkpoint_key in self.bundle:
                return str(attribute.checkpoint_key)
        if name in self.bundle:  # written by TensorFlow 1: by name
            return name
        raise CorruptFileError(self.bundle.origin, f"it has no value for the variable {name!r} (node {node} of the object graph)")

    def table(self, node: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Keys and values of the table that is that node, where the checkpoint holds them."""
        attributes = self._nodes[node].attributes if node < len(self._nodes) else ()
        for attribute in attributes:
            key = attribute.checkpoint_key.removesuffix("-keys")
            if f"{key}-keys" in self.bundle and f"{key}-values" in self.bundle:
                return self._read_small(f"{key}-keys"), self._read_small(f"{key}-values")
        return None

    def small_files(self) -> dict[str, bytes]:
        """A bundle of what is no weight (strings are none), so that the artifact can be read again without its shards."""
        tables = ("/table-keys", "/table-values")
        keys = [k for k in self.bundle if k == _OBJECT_GRAPH or k.endswith(tables) or self.bundle.dtype(k) == "string"]
        if not keys:
            return {}
        return write_bundle(SMALL, {k: (self.bundle.dtype(k), self._read_small(k)) for k in keys})
