"""Parses serialized tf.train.SequenceExample messages: features of a whole, and lists of features, one a step. On the host.

Imports the parsing of plain examples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thaw.lowering.parse import array_of, as_text, column, dense_columns, parsed, sparse_columns, values_of
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, row_splits

Steps = list[list[Any]]
"""The values of a feature list, step by step."""

Shapes = Sequence[Sequence[int | None]]


class Batch:
    """Parsed sequence examples.

    Attributes:
        context: the features of each whole.
        lists: the feature lists of each.
    """

    def __init__(self, serialized: Sequence[bytes]) -> None:
        messages = [parsed(data, "SequenceExample") for data in serialized]
        self.context: list[Mapping[str, Any]] = [m.context.feature for m in messages]
        self.lists: list[Mapping[str, Any]] = [m.feature_lists.feature_list for m in messages]

    def steps(self, key: str, dtype: str) -> list[Steps | None]:
        """The feature lists of that name; None where one is not there."""
        return [
            [values_of(f, key, dtype, f"Name: <unknown>, step {t}") or [] for t, f in enumerate(lists[key].feature)]
            if key in lists
            else None
            for lists in self.lists
        ]

    def sparse(self, key: str, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A feature list as a sparse tensor (batch, steps, values)."""
        rows = [steps or [] for steps in self.steps(key, dtype)]
        indices = [(b, t, k) for b, row in enumerate(rows) for t, step in enumerate(row) for k in range(len(step))]
        values = array_of([v for row in rows for step in row for v in step], dtype)
        shape = [len(rows), max(map(len, rows), default=0), max((len(s) for row in rows for s in row), default=0)]
        return np.array(indices, np.int64).reshape(-1, 3), values, np.array(shape, np.int64)

    def dense(self, key: str, dtype: str, shape: Sequence[int | None], optional: bool) -> tuple[np.ndarray, np.ndarray]:
        """A feature list of steps of one shape, (batch, steps, ...), filled with zeros; and how many steps each has.

        Raises:
            ValueError: it is not there, or a step has another number of values.
        """
        inner = tuple(int(n or 0) for n in shape)
        size = int(np.prod(inner, dtype=np.int64))
        rows = self.steps(key, dtype)
        for number, row in enumerate(rows):
            if row is None and not optional:
                raise ValueError(f"Index {number}: the feature list {key!r} is required but could not be found")
            for t, step in enumerate(row or ()):
                if len(step) != size:
                    raise ValueError(f"Key: {key}, Index: {number}, step {t}: {len(step)} {dtype} values, expected shape {inner}")
        lengths = np.array([len(row or ()) for row in rows], np.int64)
        most = int(lengths.max(initial=0))
        filler = b"" if dtype == "string" else 0
        flat = [v for row in rows for v in [*(v for s in row or () for v in s), *[filler] * size * (most - len(row or ()))]]
        return array_of(flat, dtype).reshape(len(rows), most, *inner), lengths

    def ragged(self, key: str, dtype: str, splits: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A feature list as a ragged tensor of rows of rows: values, outer and inner splits."""
        rows = [steps or [] for steps in self.steps(key, dtype)]
        values = array_of([v for row in rows for step in row for v in step], dtype)
        inner = row_splits([len(step) for row in rows for step in row], splits)
        return values, row_splits([len(row) for row in rows], splits), inner


def first(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What each array holds for the only example of a batch."""
    return [a.reshape(a.shape[1:]) for a in arrays]


def turned(parts: Sequence[tuple[np.ndarray, ...]], width: int) -> list[list[np.ndarray]]:
    """Tuples of one kind each as lists of one member each; `width` empty ones where there are none."""
    return [list(column) for column in zip(*parts, strict=True)] if parts else [[] for _ in range(width)]


@lowering("ParseSequenceExample", host=True, gradient="none", ignored=("Ncontext_dense",))
def parse_sequence_example(
    serialized: Strings,
    debug_name: Strings,
    *context_dense_defaults: np.ndarray,
    feature_list_dense_missing_assumed_empty: tuple[str, ...],
    context_sparse_keys: tuple[str, ...],
    context_dense_keys: tuple[str, ...],
    feature_list_sparse_keys: tuple[str, ...],
    feature_list_dense_keys: tuple[str, ...],
    Ncontext_sparse: int = 0,
    Nfeature_list_sparse: int = 0,
    Nfeature_list_dense: int = 0,
    context_sparse_types: tuple[str, ...] = (),
    Tcontext_dense: tuple[str, ...] = (),
    feature_list_dense_types: tuple[str, ...] = (),
    context_dense_shapes: tuple[tuple[int | None, ...], ...] = (),
    feature_list_sparse_types: tuple[str, ...] = (),
    feature_list_dense_shapes: tuple[tuple[int | None, ...], ...] = (),
) -> tuple[np.ndarray, ...]:
    """Context and feature lists of a batch of sequence examples, sparse and dense."""
    optional = as_text(feature_list_dense_missing_assumed_empty)
    lists_dense = zip(as_text(feature_list_dense_keys), feature_list_dense_types, feature_list_dense_shapes, strict=True)
    batch = Batch(serialized.ravel().tolist())
    context = sparse_columns(batch.context, as_text(context_sparse_keys), context_sparse_types)
    whole = dense_columns(
        batch.context, as_text(context_dense_keys), Tcontext_dense, context_dense_shapes, context_dense_defaults
    )
    sparse = turned([batch.sparse(*k) for k in zip(as_text(feature_list_sparse_keys), feature_list_sparse_types, strict=True)], 3)
    dense = turned([batch.dense(key, dtype, shape, key in optional) for key, dtype, shape in lists_dense], 2)
    return tuple(array for group in (*context, whole, *sparse, *dense) for array in group)


@lowering("ParseSequenceExampleV2", host=True, gradient="none")
def parse_sequence_example_v2(
    serialized: Strings,
    debug_name: Strings,
    context_sparse_keys: Strings,
    context_dense_keys: Strings,
    context_ragged_keys: Strings,
    feature_list_sparse_keys: Strings,
    feature_list_dense_keys: Strings,
    feature_list_ragged_keys: Strings,
    feature_list_dense_missing_assumed_empty: np.ndarray,
    *context_dense_defaults: np.ndarray,
    Ncontext_sparse: int = 0,
    Tcontext_dense: tuple[str, ...] = (),
    context_sparse_types: tuple[str, ...] = (),
    context_ragged_value_types: tuple[str, ...] = (),
    context_ragged_split_types: tuple[str, ...] = (),
    context_dense_shapes: tuple[tuple[int | None, ...], ...] = (),
    Nfeature_list_sparse: int = 0,
    Nfeature_list_dense: int = 0,
    feature_list_dense_types: tuple[str, ...] = (),
    feature_list_sparse_types: tuple[str, ...] = (),
    feature_list_ragged_value_types: tuple[str, ...] = (),
    feature_list_ragged_split_types: tuple[str, ...] = (),
    feature_list_dense_shapes: tuple[tuple[int | None, ...], ...] = (),
) -> tuple[np.ndarray, ...]:
    """Context and feature lists of sequence examples (or of one): sparse, dense and ragged."""
    one = serialized.ndim == 0
    batch = Batch(serialized.ravel().tolist())
    context = sparse_columns(batch.context, as_text(context_sparse_keys.ravel()), context_sparse_types)
    keys = as_text(context_dense_keys.ravel())
    whole = dense_columns(batch.context, keys, Tcontext_dense, context_dense_shapes, context_dense_defaults)
    ragged = []
    for key, dtype, splits in zip(
        as_text(context_ragged_keys.ravel()), context_ragged_value_types, context_ragged_split_types, strict=True
    ):
        rows = [r or [] for r in column(batch.context, key, dtype)]
        ragged.append((array_of([v for r in rows for v in r], dtype), row_splits([len(r) for r in rows], splits)))
    names = as_text(feature_list_sparse_keys.ravel())
    sparse = [batch.sparse(key, dtype) for key, dtype in zip(names, feature_list_sparse_types, strict=True)]
    dense = [
        batch.dense(key, dtype, shape, bool(optional))
        for key, dtype, shape, optional in zip(
            as_text(feature_list_dense_keys.ravel()),
            feature_list_dense_types,
            feature_list_dense_shapes,
            feature_list_dense_missing_assumed_empty,
            strict=True,
        )
    ]
    ragged_lists = [
        batch.ragged(key, dtype, splits)
        for key, dtype, splits in zip(
            as_text(feature_list_ragged_keys.ravel()),
            feature_list_ragged_value_types,
            feature_list_ragged_split_types,
            strict=True,
        )
    ]
    if one:
        context = ([i[:, 1:] for i in context[0]], context[1], [s[1:] for s in context[2]])
        whole = first(whole)
        sparse = [(indices[:, 1:], values, shape[1:]) for indices, values, shape in sparse]
        dense = [(values[0], np.asarray(lengths[0])) for values, lengths in dense]
    groups = (*context, whole, *turned(ragged, 2), *turned(sparse, 3), *turned(dense, 2), *turned(ragged_lists, 3))
    return tuple(array for group in groups for array in group)


@lowering("ParseSingleSequenceExample", host=True, gradient="none")
def parse_single_sequence_example(
    serialized: Strings,
    feature_list_dense_missing_assumed_empty: Strings,
    *rest: np.ndarray,
    Ncontext_sparse: int = 0,
    Ncontext_dense: int = 0,
    Nfeature_list_sparse: int = 0,
    Nfeature_list_dense: int = 0,
    context_sparse_types: tuple[str, ...] = (),
    Tcontext_dense: tuple[str, ...] = (),
    feature_list_dense_types: tuple[str, ...] = (),
    context_dense_shapes: tuple[tuple[int | None, ...], ...] = (),
    feature_list_sparse_types: tuple[str, ...] = (),
    feature_list_dense_shapes: tuple[tuple[int | None, ...], ...] = (),
) -> tuple[np.ndarray, ...]:
    """Context and feature lists of one sequence example, sparse and dense."""
    counts = (Ncontext_sparse, Ncontext_dense, Nfeature_list_sparse, Nfeature_list_dense)
    ends = np.cumsum(counts)
    names = [as_text(k.item() for k in rest[end - count : end]) for count, end in zip(counts, ends, strict=True)]
    defaults = rest[ends[-1] : ends[-1] + Ncontext_dense]
    optional = as_text(feature_list_dense_missing_assumed_empty.ravel())
    batch = Batch([serialized.item()])
    context = sparse_columns(batch.context, names[0], context_sparse_types)
    whole = dense_columns(batch.context, names[1], Tcontext_dense, context_dense_shapes, defaults)
    sparse = turned([batch.sparse(*k) for k in zip(names[2], feature_list_sparse_types, strict=True)], 3)
    lists_dense = zip(names[3], feature_list_dense_types, feature_list_dense_shapes, strict=True)
    dense = [batch.dense(key, dtype, shape, key in optional)[0][0] for key, dtype, shape in lists_dense]
    indices, values, shapes = context
    groups: list[list[np.ndarray]] = [
        [i[:, 1:] for i in indices],
        values,
        [s[1:] for s in shapes],
        first(whole),
        [i[:, 1:] for i in sparse[0]],
        sparse[1],
        [s[1:] for s in sparse[2]],
        dense,
    ]
    return tuple(array for group in groups for array in group)
