"""Lookup tables: made by a node, filled once by an initializer (from tensors or from a vocabulary file), then only read.

A table lives in `context.resources.objects` under its shared name and outlives runs; what travels through the graph as the
resource is the `Table` itself. Keys and values are numpy, on the host. Imports errors and numpy.
"""

import itertools
from collections import Counter
from typing import Any

import numpy as np

from thaw.errors import TableError
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.strings import Strings, strings
from thaw.lowering.values import numpy_dtype
from thaw.lowering.word_index import MANY_KEYS, MANY_WORDS, WordIndex

SHARING = ("use_node_name_sharing", "container")
"""Attributes about sharing among sessions, of which there are none here."""

WHOLE_LINE, LINE_NUMBER = -2, -1
"""Column numbers of a vocabulary file with a meaning of their own."""


class Table:
    """Keys and their values.

    Attributes:
        name: for messages.
        key_dtype: TensorFlow's name.
        value_dtype: TensorFlow's name.
        value_shape: of one value; () mostly.
        mutable: whether keys may be inserted after it was initialised.
        initialized: whether it was filled.
    """

    def __init__(
        self, name: str, key_dtype: str, value_dtype: str, value_shape: tuple[int, ...] = (), mutable: bool = False
    ) -> None:
        self.name = name
        self.key_dtype = key_dtype
        self.value_dtype = value_dtype
        self.value_shape = value_shape
        self.mutable = mutable
        self.initialized = mutable
        self._positions: dict[Any, int] = {}
        self._values = np.empty((0, *value_shape), numpy_dtype(value_dtype))
        self._index: WordIndex | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def __contains__(self, key: object) -> bool:
        return key in self._positions

    def initialize(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Fills the table; a second time only with what it holds already.

        Raises:
            TableError: it holds something else, or a key stands twice with different values.
        """
        if self.initialized and not self.mutable:
            if len(self) == len(np.unique(keys)) and self._holds(keys, values):
                return
            raise TableError(self.name, f"is initialised twice, with different content ({len(self)} keys, then {keys.size})")
        self._positions, self._values = {}, np.empty((0, *self.value_shape), numpy_dtype(self.value_dtype))
        self._index = None
        self._add(keys, values, replace=False)
        self.initialized = True

    def _holds(self, keys: np.ndarray, values: np.ndarray) -> bool:
        found = [self._positions.get(k) for k in keys.ravel().tolist()]
        where = [p for p in found if p is not None]
        return len(where) == len(found) and bool(np.all(self._values[where] == values))

    def insert(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Adds keys, or gives present ones a new value."""
        self._add(keys, values, replace=True)

    def remove(self, keys: np.ndarray) -> None:
        """Forgets keys; those that are not there are passed over."""
        gone = set(keys.ravel().tolist())
        kept = [k for k in self._positions if k not in gone]
        self._values = self._values[[self._positions[k] for k in kept]]
        self._positions = {k: i for i, k in enumerate(kept)}

    def _add(self, keys: np.ndarray, values: np.ndarray, *, replace: bool) -> None:
        flat = keys.ravel().tolist()
        rows = values.reshape((len(flat), *self.value_shape))
        positions, count = self._positions, len(self._positions)
        fresh: list[int] = []
        for row, key in enumerate(flat):
            known = positions.get(key)
            if known is None:
                positions[key] = count + len(fresh)
                fresh.append(row)
            elif replace and known < count:
                self._values[known] = rows[row]
            elif replace:
                fresh[known - count] = row
            elif not np.array_equal(rows[fresh[known - count]], rows[row]):
                raise TableError(self.name, f"has the key {key!r} twice, with different values")
        self._values = np.concatenate([self._values, rows[fresh].astype(self._values.dtype)])

    def find(self, keys: np.ndarray, default: np.ndarray) -> np.ndarray:
        """The values of `keys`, `default` where there is none: keys.shape + value_shape.

        Raises:
            TableError: it was not initialised.
        """
        if not self.initialized:
            raise TableError(self.name, "is read before it was initialised")
        where = self._places(keys)
        there = where >= 0
        if default.ndim <= len(self.value_shape):
            rows = np.empty((keys.size, *self.value_shape), self._values.dtype)
            rows[~there] = default
        else:  # a default for each key
            rows = default.reshape((keys.size, *self.value_shape)).copy()
        rows[there] = self._values[where[there]]
        return rows.reshape((*keys.shape, *self.value_shape))

    def _places(self, keys: np.ndarray) -> np.ndarray:
        flat = keys.ravel().tolist()
        if self.key_dtype == "string" and not self.mutable and len(flat) >= MANY_WORDS and len(self) >= MANY_KEYS:
            if self._index is None:
                self._index = WordIndex(self._positions)
            return self._index.find(flat)
        return np.fromiter(map(self._positions.get, flat, itertools.repeat(-1)), dtype=np.int64, count=len(flat))

    def content(self) -> tuple[np.ndarray, np.ndarray]:
        """All keys and all values, in the order in which they came."""
        keys = list(self._positions)
        dtype = numpy_dtype(self.key_dtype)
        return (strings(keys) if dtype.kind == "O" else np.array(keys, dtype=dtype)), self._values.copy()


def _table(
    context: Context,
    shared_name: str,
    key_dtype: str,
    value_dtype: str,
    value_shape: tuple[int, ...] = (),
    mutable: bool = False,
) -> Table:
    """The table of a node, made when it is first asked for."""
    key = shared_name or context.node.name
    table = context.resources.objects.get(key)
    if not isinstance(table, Table):
        table = Table(key, key_dtype, value_dtype, value_shape, mutable)
        context.resources.objects[key] = table
    return table


@lowering("HashTable", "HashTableV2", context=True, stateful=True, gradient="none", ignored=SHARING)
def hash_table(context: Context, *, key_dtype: str, value_dtype: str, shared_name: str = "") -> Table:
    """A table that an initializer fills."""
    return _table(context, shared_name, key_dtype, value_dtype)


@lowering("AnonymousHashTable", context=True, stateful=True, gradient="none")
def anonymous_hash_table(context: Context, *, key_dtype: str, value_dtype: str) -> Table:
    """A table that an initializer fills, named by its node."""
    return _table(context, "", key_dtype, value_dtype)


@lowering(
    "MutableHashTable", "MutableHashTableV2", context=True, stateful=True, gradient="none",
    ignored=SHARING,
)  # fmt: skip
def mutable_hash_table(context: Context, *, key_dtype: str, value_dtype: str, shared_name: str = "") -> Table:
    """A table that grows."""
    return _table(context, shared_name, key_dtype, value_dtype, mutable=True)


@lowering("AnonymousMutableHashTable", context=True, stateful=True, gradient="none")
def anonymous_mutable_hash_table(context: Context, *, key_dtype: str, value_dtype: str) -> Table:
    """A table that grows, named by its node."""
    return _table(context, "", key_dtype, value_dtype, mutable=True)


@lowering(
    "MutableHashTableOfTensors", "MutableHashTableOfTensorsV2", context=True, stateful=True, gradient="none",
    ignored=SHARING,
)  # fmt: skip
def mutable_hash_table_of_tensors(
    context: Context, *, key_dtype: str, value_dtype: str, shared_name: str = "", value_shape: tuple[int, ...] = ()
) -> Table:
    """A table that grows, of values that are tensors."""
    return _table(context, shared_name, key_dtype, value_dtype, tuple(value_shape), mutable=True)


DENSE = (*SHARING, "initial_num_buckets", "max_load_factor")


@lowering("MutableDenseHashTable", context=True, stateful=True, gradient="none", ignored=DENSE)
def mutable_dense_hash_table(
    context: Context,
    empty_key: np.ndarray,
    *,
    key_dtype: str,
    value_dtype: str,
    shared_name: str = "",
    value_shape: tuple[int, ...] = (),
) -> Table:
    """A table that grows; the key that marks free places is no concern of a dictionary."""
    return _table(context, shared_name, key_dtype, value_dtype, tuple(value_shape), mutable=True)


@lowering("MutableDenseHashTableV2", context=True, stateful=True, gradient="none", ignored=DENSE)
def mutable_dense_hash_table_v2(
    context: Context,
    empty_key: np.ndarray,
    deleted_key: np.ndarray,
    *,
    key_dtype: str,
    value_dtype: str,
    shared_name: str = "",
    value_shape: tuple[int, ...] = (),
) -> Table:
    """A table that grows; the keys that mark free places are no concern of a dictionary."""
    return _table(context, shared_name, key_dtype, value_dtype, tuple(value_shape), mutable=True)


@lowering("InitializeTable", "InitializeTableV2", host=True, stateful=True, gradient="none", ignored=("Tkey", "Tval"))
def initialize_table(table_handle: Table, keys: np.ndarray, values: np.ndarray) -> tuple[()]:
    """Fills a table from two vectors."""
    if keys.shape != values.shape:
        raise TableError(table_handle.name, f"gets {keys.size} keys and {values.size} values")
    table_handle.initialize(keys, values)
    return ()


@lowering("InitializeTableFromTextFile", "InitializeTableFromTextFileV2", host=True, context=True, stateful=True, gradient="none")
def initialize_table_from_text_file(
    context: Context,
    table_handle: Table,
    filename: Strings,
    *,
    key_index: int,
    value_index: int,
    vocab_size: int = -1,
    delimiter: str = "\t",
    offset: int = 0,
) -> tuple[()]:
    """Fills a table from the lines of an asset: a column number, -2 for the whole line, -1 for its number.

    Raises:
        TableError: the asset is missing, too short, lacks a column, or gives one key different values.
    """
    lines = read_lines(context, table_handle, filename.item())
    if offset:
        lines = lines[offset:]
    if vocab_size > len(lines):
        raise TableError(table_handle.name, f"expects {vocab_size} lines of {filename.item()!r}, which has {len(lines)}")
    if vocab_size > 0:
        lines = lines[:vocab_size]
    separator = delimiter.encode() if isinstance(delimiter, str) else delimiter
    keys = _column(table_handle, lines, key_index, separator, table_handle.key_dtype)
    values = _column(table_handle, lines, value_index, separator, table_handle.value_dtype)
    if table_handle.initialized and not table_handle.mutable:
        table_handle.initialize(keys, values)
        return ()
    doubles = len(keys) - len(set(keys.tolist()))
    if doubles and value_index == LINE_NUMBER:  # TensorFlow refuses it too: two lines of one word have two numbers
        first = next(key for key, count in Counter(keys.tolist()).items() if count > 1)
        raise TableError(table_handle.name, f"has {doubles} lines twice in its vocabulary {filename.item()!r}, e.g. {first!r}")
    table_handle.initialize(keys, values)
    return ()


def read_lines(context: Context, table: Table, path: bytes) -> list[bytes]:
    """The lines of an asset, without their ends.

    Raises:
        TableError: the artifact has no such file.
    """
    name = path.decode("utf-8", "replace")
    files = context.resources.files
    if name not in files:
        assets = sorted(n for n in files if n.startswith("assets"))
        raise TableError(table.name, f"needs the asset {name!r}, which the artifact lacks (it has {assets[:8]})")
    lines = files[name].split(b"\n")
    if not lines[-1]:
        lines.pop()
    lines = [line.removesuffix(b"\r") for line in lines]
    if not all(lines) or not lines:
        where = f"line {lines.index(b'')} is empty" if lines else "it is empty"
        raise TableError(table.name, f"cannot be filled from the vocabulary {name!r}: {where}")
    return lines


def _column(table: Table, lines: list[bytes], index: int, delimiter: bytes, dtype: str) -> np.ndarray:
    if index == LINE_NUMBER:
        return np.arange(len(lines), dtype=numpy_dtype(dtype))
    if index == WHOLE_LINE:
        parts = lines
    else:
        rows = [line.split(delimiter) for line in lines]
        short = next((i for i, row in enumerate(rows) if len(row) <= index), None)
        if short is not None:
            raise TableError(table.name, f"reads column {index} of line {short} of its vocabulary, {lines[short][:60]!r}")
        parts = [row[index] for row in rows]
    if dtype == "string":
        return strings(parts)
    try:
        return np.array([float(p) if dtype.startswith("float") else int(p) for p in parts], dtype=numpy_dtype(dtype))
    except ValueError as error:
        raise TableError(table.name, f"expects {dtype} in column {index} of its vocabulary: {error}") from None


@lowering("LookupTableFind", "LookupTableFindV2", host=True, stateful=True, gradient="none")
def lookup_table_find(table_handle: Table, keys: np.ndarray, default_value: np.ndarray) -> np.ndarray:
    """The values of keys, the default where there is none."""
    return table_handle.find(keys, default_value)


@lowering("LookupTableSize", "LookupTableSizeV2", host=True, stateful=True, gradient="none")
def lookup_table_size(table_handle: Table) -> np.ndarray:
    """How many keys a table holds."""
    return np.array(len(table_handle), dtype=np.int64)


@lowering("LookupTableInsert", "LookupTableInsertV2", host=True, stateful=True, gradient="none")
def lookup_table_insert(table_handle: Table, keys: np.ndarray, values: np.ndarray) -> tuple[()]:
    """Adds keys, or gives present ones a new value."""
    table_handle.insert(keys, values)
    return ()


@lowering("LookupTableImport", "LookupTableImportV2", host=True, stateful=True, gradient="none")
def lookup_table_import(table_handle: Table, keys: np.ndarray, values: np.ndarray) -> tuple[()]:
    """Replaces the content of a table."""
    table_handle.initialize(keys, values)
    return ()


@lowering("LookupTableRemoveV2", host=True, stateful=True, gradient="none")
def lookup_table_remove(table_handle: Table, keys: np.ndarray) -> tuple[()]:
    """Forgets keys."""
    table_handle.remove(keys)
    return ()


@lowering("LookupTableExport", "LookupTableExportV2", host=True, stateful=True, gradient="none", ignored=("Tkeys", "Tvalues"))
def lookup_table_export(table_handle: Table) -> tuple[np.ndarray, np.ndarray]:
    """All keys and all values."""
    return table_handle.content()
