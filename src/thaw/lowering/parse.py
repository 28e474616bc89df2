"""Parses serialized tf.train.Example messages and CSV lines into tensors. All on the host.

The messages are declared here, with field numbers only for what is read, in a descriptor pool of their own, so that they live
beside an imported TensorFlow. Imports protobuf and numpy.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, row_splits, strings
from thaw.lowering.values import numpy_dtype

KINDS = {"bytes_list": "string", "float_list": "float32", "int64_list": "int64"}
"""The three kinds of feature, and the dtypes that they hold."""


def _field(
    owner: descriptor_pb2.DescriptorProto, name: str, number: int, kind: int, of: str = "", repeated: bool = False
) -> descriptor_pb2.FieldDescriptorProto:
    field: descriptor_pb2.FieldDescriptorProto = owner.field.add(name=name, number=number, type=kind, label=3 if repeated else 1)
    if of:
        field.type_name = of
    return field


@functools.cache
def message_class(name: str) -> Any:
    """The message class Example, a map from names to features, or SequenceExample, which has one of lists of features too."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="thaw/example.proto", package="thaw.example", syntax="proto3")
    for held, kind in (("BytesList", kinds.TYPE_BYTES), ("FloatList", kinds.TYPE_FLOAT), ("Int64List", kinds.TYPE_INT64)):
        _field(file.message_type.add(name=held), "value", 1, kind, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (one, of) in enumerate(zip(KINDS, ("BytesList", "FloatList", "Int64List"), strict=True), 1):
        _field(feature, one, number, kinds.TYPE_MESSAGE, f".thaw.example.{of}").oneof_index = 0
    _field(file.message_type.add(name="FeatureList"), "feature", 1, kinds.TYPE_MESSAGE, ".thaw.example.Feature", repeated=True)
    for name_of_map, member, entry_name, value in (
        ("Features", "feature", "FeatureEntry", "Feature"),
        ("FeatureLists", "feature_list", "FeatureListEntry", "FeatureList"),
    ):
        owner = file.message_type.add(name=name_of_map)
        entry = owner.nested_type.add(name=entry_name)  # the name that protobuf asks of the entries of a map
        entry.options.map_entry = True
        _field(entry, "key", 1, kinds.TYPE_STRING)
        _field(entry, "value", 2, kinds.TYPE_MESSAGE, f".thaw.example.{value}")
        _field(owner, member, 1, kinds.TYPE_MESSAGE, f".thaw.example.{name_of_map}.{entry_name}", repeated=True)
    _field(file.message_type.add(name="Example"), "features", 1, kinds.TYPE_MESSAGE, ".thaw.example.Features")
    sequence = file.message_type.add(name="SequenceExample")
    _field(sequence, "context", 1, kinds.TYPE_MESSAGE, ".thaw.example.Features")
    _field(sequence, "feature_lists", 2, kinds.TYPE_MESSAGE, ".thaw.example.FeatureLists")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"thaw.example.{name}"))


def parsed(data: bytes, kind: str = "Example") -> Any:
    """The Example (or other `kind` of message) of serialized `data`.

    Raises:
        ValueError: the bytes are none.
    """
    example = message_class(kind)()
    try:
        example.ParseFromString(data)
    except message.DecodeError as error:
        raise ValueError(f"Could not parse example input, value: {data[:60]!r} ({error})") from None
    return example


def feature_values(features: Mapping[str, Any], key: str, dtype: str, where: str) -> list[Any] | None:
    """The values of the feature of that name; None where it is not there."""
    return values_of(features[key], key, dtype, where) if key in features else None


def values_of(feature: Any, key: str, dtype: str, where: str) -> list[Any] | None:
    """The values of a feature; None where it has none.

    Raises:
        ValueError: it holds another dtype.
    """
    kind = feature.WhichOneof("kind")
    if kind is None:
        return None
    if KINDS[kind] != dtype:
        raise ValueError(f"{where}. Key: {key}. Data types don't match. Data type: {KINDS[kind]} but expected type: {dtype}")
    return list(getattr(feature, kind).value)


def array_of(values: Sequence[Any], dtype: str) -> np.ndarray:
    """A vector of that dtype, strings as objects."""
    return strings(values) if dtype == "string" else np.array(values, dtype=numpy_dtype(dtype))


def _sparse(rows: Sequence[Sequence[Any]], dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array([len(r) for r in rows], dtype=np.int64)
    row = np.repeat(np.arange(len(rows)), lengths)
    column = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = array_of([v for r in rows for v in r], dtype)
    return np.stack([row, column], axis=1).astype(np.int64), values, np.array([len(rows), lengths.max(initial=0)], np.int64)


def _dense(
    rows: Sequence[list[Any] | None], key: str, dtype: str, shape: Sequence[int | None], default: np.ndarray
) -> np.ndarray:
    """A feature of a fixed shape, or of one whose first axis varies (then filled to the longest)."""
    variable = bool(shape) and (shape[0] is None or shape[0] < 0)
    inner = tuple(int(n or 0) for n in (shape[1:] if variable else shape))
    size = int(np.prod(inner, dtype=np.int64))
    if variable:
        most = max((len(r or ()) for r in rows), default=0)
        filler = default.item() if default.size else (b"" if dtype == "string" else 0)
        flat = [[*(r or ()), *[filler] * (most - len(r or ()))] for r in rows]
        return array_of([v for r in flat for v in r], dtype).reshape(len(rows), most // max(size, 1), *inner)
    result: list[Any] = []
    for number, row in enumerate(rows):
        if row is None:
            if not default.size and size:
                raise ValueError(f"Index {number}: Feature: {key} (data type: {dtype}) is required but could not be found.")
            row = default.ravel().tolist()
        if len(row) != size:
            raise ValueError(f"Key: {key}, Index: {number}. {len(row)} {dtype} values, expected shape {list(inner)}")
        result.extend(row)
    return array_of(result, dtype).reshape(len(rows), *inner)


def as_text(keys: Iterable[Any]) -> list[str]:
    """Names of features, which come as bytes or as text."""
    return [k.decode() if isinstance(k, bytes) else str(k) for k in keys]


def _examples(serialized: Iterable[bytes]) -> list[Mapping[str, Any]]:
    return [parsed(data).features.feature for data in serialized]


def column(examples: Sequence[Mapping[str, Any]], key: str, dtype: str) -> list[list[Any] | None]:
    """The values of one feature of each example."""
    return [feature_values(e, key, dtype, f"Name: <unknown>, Feature index {i}") for i, e in enumerate(examples)]


def sparse_columns(
    examples: Sequence[Mapping[str, Any]], keys: Sequence[str], dtypes: Sequence[str]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Indices, values and shapes of the features of those names, each as a sparse matrix."""
    found = [_sparse([r or [] for r in column(examples, k, d)], d) for k, d in zip(keys, dtypes, strict=True)]
    return [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]


def dense_columns(
    examples: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    dtypes: Sequence[str],
    shapes: Sequence[Sequence[int | None]],
    defaults: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """The features of those names, each of one shape for every example."""
    return [
        _dense(column(examples, key, dtype), key, dtype, shape, default)
        for key, dtype, shape, default in zip(keys, dtypes, shapes, defaults, strict=True)
    ]


@lowering("ParseExample", host=True, gradient="none")
def parse_example(
    serialized: Strings,
    names: Strings,
    *rest: np.ndarray,
    Nsparse: int,
    Ndense: int,
    sparse_types: tuple[str, ...],
    Tdense: tuple[str, ...],
    dense_shapes: tuple[tuple[int | None, ...], ...],
) -> tuple[np.ndarray, ...]:
    """Features of a batch of examples: sparse indices, values and shapes, then dense ones."""
    sparse_keys = as_text(k.item() for k in rest[:Nsparse])
    dense_keys = as_text(k.item() for k in rest[Nsparse : Nsparse + Ndense])
    examples = _examples(serialized.tolist())
    indices, values, shapes = sparse_columns(examples, sparse_keys, sparse_types)
    dense = dense_columns(examples, dense_keys, Tdense, dense_shapes, rest[Nsparse + Ndense :])
    return (*indices, *values, *shapes, *dense)


@lowering("ParseExampleV2", host=True, gradient="none")
def parse_example_v2(
    serialized: Strings,
    names: Strings,
    sparse_keys: Strings,
    dense_keys: Strings,
    ragged_keys: Strings,
    *dense_defaults: np.ndarray,
    num_sparse: int,
    sparse_types: tuple[str, ...],
    ragged_value_types: tuple[str, ...],
    ragged_split_types: tuple[str, ...],
    Tdense: tuple[str, ...],
    dense_shapes: tuple[tuple[int | None, ...], ...],
) -> tuple[np.ndarray, ...]:
    """Features of a batch of examples (or of one): sparse indices, values, shapes; dense; ragged values and row splits."""
    scalar = serialized.ndim == 0
    examples = _examples(serialized.ravel().tolist())
    indices, values, shapes = sparse_columns(examples, as_text(sparse_keys.tolist()), sparse_types)
    dense = dense_columns(examples, as_text(dense_keys.tolist()), Tdense, dense_shapes, dense_defaults)
    ragged_values, ragged_splits = [], []
    for key, dtype, splits in zip(as_text(ragged_keys.tolist()), ragged_value_types, ragged_split_types, strict=True):
        rows = [r or [] for r in column(examples, key, dtype)]
        ragged_values.append(array_of([v for r in rows for v in r], dtype))
        ragged_splits.append(row_splits([len(r) for r in rows], splits))
    if scalar:
        indices, shapes = [i[:, 1:] for i in indices], [s[1:] for s in shapes]
        dense = [d[0] for d in dense]
    return (*indices, *values, *shapes, *dense, *ragged_values, *ragged_splits)


@lowering("ParseSingleExample", host=True, gradient="none")
def parse_single_example(
    serialized: Strings,
    *dense_defaults: np.ndarray,
    num_sparse: int,
    sparse_keys: tuple[str, ...],
    dense_keys: tuple[str, ...],
    sparse_types: tuple[str, ...],
    Tdense: tuple[str, ...],
    dense_shapes: tuple[tuple[int | None, ...], ...],
) -> tuple[np.ndarray, ...]:
    """Features of one example: sparse indices, values and shapes, then dense ones."""
    examples = _examples([serialized.item()])
    indices, values, shapes = sparse_columns(examples, as_text(sparse_keys), sparse_types)
    dense = dense_columns(examples, as_text(dense_keys), Tdense, dense_shapes, dense_defaults)
    return (*(i[:, 1:] for i in indices), *values, *(s[1:] for s in shapes), *(d[0] for d in dense))


@lowering("DecodeCSV", host=True, gradient="none")
def decode_csv(
    records: Strings,
    *record_defaults: np.ndarray,
    OUT_TYPE: tuple[str, ...],
    field_delim: str = ",",
    use_quote_delim: bool = True,
    na_value: str = "",
    select_cols: tuple[int, ...] = (),
) -> tuple[np.ndarray, ...]:
    """The columns of CSV lines, each in its dtype; a default where a field is empty."""
    rows = [csv_fields(r, field_delim.encode(), use_quote_delim) for r in records.ravel().tolist()]
    columns = list(select_cols) or list(range(len(OUT_TYPE)))
    results = []
    for column, dtype, default in zip(columns, OUT_TYPE, record_defaults, strict=True):
        values: list[Any] = []
        for number, row in enumerate(rows):
            if column >= len(row) or (not select_cols and len(row) != len(OUT_TYPE)):
                raise ValueError(f"Expect {len(OUT_TYPE)} fields but have {len(row)} in record {number}")
            field = row[column]
            if field in {b"", na_value.encode()}:
                if not default.size:
                    raise ValueError(f"Field {column} is required but missing in record {number}!")
                values.append(default.item())
            elif dtype == "string":
                values.append(field)
            else:
                values.append(float(field) if dtype.startswith("float") else int(field))
        results.append(array_of(values, dtype).reshape(records.shape))
    return tuple(results)


def csv_fields(record: bytes, delimiter: bytes, quotes: bool) -> list[bytes]:
    """The fields of a line, quotes as RFC 4180 has them.

    Raises:
        ValueError: a quote stands where none may, or is not closed.
    """
    if not quotes or b'"' not in record:
        return record.split(delimiter)
    fields, position = [], 0
    while True:
        if record[position : position + 1] == b'"':
            end, parts = position + 1, []
            while True:
                close = record.find(b'"', end)
                if close < 0:
                    raise ValueError("Quoted field has to end with quote followed by delim or end")
                parts.append(record[end:close])
                if record[close + 1 : close + 2] != b'"':
                    break
                parts.append(b'"')
                end = close + 2
            fields.append(b"".join(parts))
            position = close + 1
            if position < len(record) and record[position : position + 1] != delimiter:
                raise ValueError("Quoted field has to end with quote followed by delim or end")
        else:
            end = record.find(delimiter, position)
            field = record[position : end if end >= 0 else len(record)]
            if b'"' in field:
                raise ValueError("Unquoted fields cannot have quotes inside")
            fields.append(field)
            position = end if end >= 0 else len(record)
        if position >= len(record):
            return fields
        position += 1
