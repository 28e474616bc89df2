"""What a traced function takes and gives: StructuredValue and FunctionSpec to the IR's structures and parameters.

Also how TensorFlow flattens a structure into tensors. Imports ir, artifact, protos.
Source: tensorflow/core/protobuf/struct.proto, tensorflow/python/saved_model/nested_structure_coder.py.
"""

from collections.abc import Iterator

from thaw.errors import CorruptFileError
from thaw.graph.artifact import Parameter
from thaw.graph.ir import CompositeSpec, Shape, Structure, TensorSpec
from thaw.wire.dtypes import name_of
from thaw.wire.protos import Message
from thaw.wire.tensor_proto import array_of, shape_of

_SPARSE, _RAGGED = 1, 3
_KINDS = {2: "indexed_slices", 4: "tensor_array", 5: "dataset", 6: "iterator", 7: "optional", 9: "variable", 10: "row_partition"}
MOST_COMPONENTS = 256
"""Tensors that one composite value may consist of."""


def structure_of(value: Message, origin: str) -> Structure:
    """A StructuredValue: nested dicts (sorted by key), lists and tuples of specs and Python constants.

    A named tuple becomes a tuple: what matters of it is the order of its fields.
    """
    kind = value.WhichOneof("kind")
    if kind in {None, "none_value"}:
        return None
    if kind in {"float64_value", "int64_value", "string_value", "bool_value"}:
        constant: Structure = getattr(value, kind)
        return constant
    if kind in {"tensor_spec_value", "bounded_tensor_spec_value"}:
        spec = getattr(value, kind)
        return TensorSpec(spec.name, name_of(spec.dtype), shape_of(spec.shape))
    if kind == "list_value":
        return [structure_of(v, origin) for v in value.list_value.values]
    if kind == "tuple_value":
        return tuple(structure_of(v, origin) for v in value.tuple_value.values)
    if kind == "dict_value":
        fields = value.dict_value.fields
        return {key: structure_of(fields[key], origin) for key in sorted(fields)}
    if kind == "named_tuple_value":
        return tuple(structure_of(p.value, origin) for p in value.named_tuple_value.values)
    if kind == "type_spec_value":
        return _composite(value.type_spec_value, origin)
    if kind == "tensor_dtype_value":
        return name_of(value.tensor_dtype_value)
    if kind == "tensor_shape_value":
        return shape_of(value.tensor_shape_value)
    plain: Structure = array_of(getattr(value, str(kind)), origin).tolist()
    return plain


def _composite(proto: Message, origin: str) -> CompositeSpec | TensorSpec:
    state = structure_of(proto.type_state, origin)
    if not isinstance(state, tuple):
        state = (state,)
    shape = state[0] if state and (state[0] is None or isinstance(state[0], tuple)) else None
    dtype = state[1] if len(state) > 1 and isinstance(state[1], str) else "variant"
    if proto.type_spec_class == _SPARSE:
        return sparse_spec("", dtype, shape)  # type: ignore[arg-type]
    if proto.type_spec_class == _RAGGED:
        rank, splits = (*state[2:4], 1, "int64")[:2] if len(state) > 3 else (1, "int64")
        if not isinstance(rank, int) or not 0 <= rank <= MOST_COMPONENTS:
            raise CorruptFileError(origin, f"a ragged value has the ragged rank {rank!r}")
        return ragged_spec("", dtype, shape, rank, str(splits))  # type: ignore[arg-type]
    count = proto.num_flat_components
    if not 0 <= count <= MOST_COMPONENTS:
        raise CorruptFileError(origin, f"a value of type {proto.type_spec_class_name!r} consists of {count} tensors")
    kind = _KINDS.get(proto.type_spec_class, proto.type_spec_class_name or "unknown")
    return CompositeSpec(kind, dtype, None, tuple(TensorSpec(f"component_{i}", dtype, None) for i in range(count)))


def sparse_spec(name: str, dtype: str, shape: Shape) -> CompositeSpec:
    """A sparse value: indices, values and the dense shape, in that order."""
    rank = None if shape is None else len(shape)
    parts = (
        TensorSpec(f"{name}/indices", "int64", (None, rank)),
        TensorSpec(f"{name}/values", dtype, (None,)),
        TensorSpec(f"{name}/shape", "int64", (rank,)),
    )
    return CompositeSpec("sparse", dtype, shape, parts)


def ragged_spec(name: str, dtype: str, shape: Shape, ragged_rank: int, splits: str) -> CompositeSpec:
    """A ragged value: the flat values, then the row splits from the outermost axis inwards."""
    inner: Shape = None if shape is None else (None, *shape[ragged_rank + 1 :])
    parts = [TensorSpec(f"{name}/values", dtype, shape if ragged_rank == 0 else inner)]
    parts += [TensorSpec(f"{name}/row_splits_{i}", splits, (None,)) for i in range(ragged_rank)]
    return CompositeSpec("ragged", dtype, shape, tuple(parts))


def leaves(structure: Structure) -> Iterator[TensorSpec]:
    """The specs of the tensors that a structure flattens to: dicts by sorted key, composites as their components."""
    if isinstance(structure, TensorSpec):
        yield structure
    elif isinstance(structure, CompositeSpec):
        yield from structure.components
    elif isinstance(structure, dict):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, (list, tuple)):
        for part in structure:
            yield from leaves(part)


def named(structure: Structure, name: str) -> Structure:
    """`structure` with specs that have no name named after where they stand: "x", "x_1", "pair_left"."""
    if isinstance(structure, TensorSpec):
        known = structure.name not in {"", "unknown"}  # TensorFlow itself writes "unknown" since 2.11
        return structure if known else TensorSpec(name or "output_0", structure.dtype, structure.shape)
    if isinstance(structure, CompositeSpec):
        parts = tuple(TensorSpec(name + p.name, p.dtype, p.shape) if p.name.startswith("/") else p for p in structure.components)
        return CompositeSpec(structure.kind, structure.dtype, structure.shape, parts)
    if isinstance(structure, dict):
        return {key: named(value, f"{name}_{key}" if name else key) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        parts_named = [named(part, f"{name}_{i}" if name else str(i)) for i, part in enumerate(structure)]
        return parts_named if isinstance(structure, list) else tuple(parts_named)
    return structure


def parameters_of(spec: Message, origin: str) -> tuple[Parameter, ...]:
    """The parameters that a FunctionSpec says, `self` left out; `*args` and `**kwargs` have no name to be given by."""
    fields = {p.key: p.value for p in spec.fullargspec.named_tuple_value.values}

    def listed(key: str) -> list[Structure]:
        value = structure_of(fields[key], origin) if key in fields else None
        return list(value) if isinstance(value, (list, tuple)) else []

    names = [str(n) for n in listed("args")]
    defaults = listed("defaults")
    keyword_defaults = structure_of(fields["kwonlydefaults"], origin) if "kwonlydefaults" in fields else None
    keyword_defaults = keyword_defaults if isinstance(keyword_defaults, dict) else {}
    first = len(names) - len(defaults)
    if first < 0:
        raise CorruptFileError(origin, f"a function of {len(names)} parameters has {len(defaults)} defaults")
    parameters = [Parameter(n, defaults[i - first] if i >= first else None, i >= first) for i, n in enumerate(names)]
    if parameters and (spec.is_method or names[0] == "self"):
        del parameters[0]
    for name in listed("kwonlyargs"):
        parameters.append(Parameter(str(name), keyword_defaults.get(str(name)), name in keyword_defaults, keyword_only=True))
    return tuple(parameters)
