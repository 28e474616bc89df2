"""Records what TensorFlow answers to the op cases of tests/lowering/cases: outputs and input gradients, one npz a family.

Only cases that changed since they were recorded are run again.
"""

import contextlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its MaxPoolGrad aborts the process when fed from placeholders

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from lowering import goldens
from lowering.case import Case

with contextlib.suppress(ImportError):  # only the cases of its own ops need it
    import tensorflow_text  # noqa: F401


def attribute(kind: str, value) -> attr_value_pb2.AttrValue:
    """An attribute's value, `kind` being the OpDef's name of its type."""
    result = attr_value_pb2.AttrValue()
    if kind.startswith("list("):
        for v in value:
            result.list.MergeFrom(listed(kind[5:-1], v))
        result.list.SetInParent()
        return result
    set_one(result, kind, value)
    return result


def listed(kind: str, value) -> attr_value_pb2.AttrValue.ListValue:
    one, result = attribute(kind, value), attr_value_pb2.AttrValue.ListValue()
    field = one.WhichOneof("value")
    getattr(result, field).append(getattr(one, field))
    return result


def set_one(result: attr_value_pb2.AttrValue, kind: str, value) -> None:
    if kind == "type":
        result.type = tf.as_dtype(value).as_datatype_enum
    elif kind == "shape":
        result.shape.CopyFrom(tf.TensorShape(value).as_proto())
    elif kind == "tensor":
        result.tensor.CopyFrom(tf.make_tensor_proto(value))
    elif kind == "string":
        result.s = value if isinstance(value, bytes) else value.encode()
    elif kind == "bool":
        result.b = bool(value)
    elif kind == "int":
        result.i = int(value)
    elif kind == "float":
        result.f = float(value)
    else:
        raise ValueError(f"attributes of type {kind} cannot stand in a case")


def implied(op_def, case: Case, dtypes: list) -> dict:
    """The attributes that follow from the inputs: lengths of lists and dtypes. What the case names itself is taken from it."""
    total, result = len(case.inputs), dict(case.attrs)
    numbers = [a.number_attr for a in op_def.input_arg if a.number_attr]
    lists = [a.type_list_attr for a in op_def.input_arg if a.type_list_attr]
    singles = len(op_def.input_arg) - len(numbers) - len(lists)
    for name in set(numbers):
        rest = sum(result.get(n, 0) for n in numbers if n != name) + sum(len(result.get(n, ())) for n in lists)
        result.setdefault(name, (total - singles - rest) // numbers.count(name))
    position = 0
    for argument in op_def.input_arg:
        if argument.type_list_attr:
            others = sum(len(result.get(n, ())) for n in lists if n != argument.type_list_attr)
            count = len(result[argument.type_list_attr]) if argument.type_list_attr in result else 0
            count = count or total - singles - sum(result[n] for n in numbers) - others
            result.setdefault(argument.type_list_attr, tuple(d.name for d in dtypes[position : position + count]))
        else:
            count = result[argument.number_attr] if argument.number_attr else 1
            if argument.type_attr and count:
                result.setdefault(argument.type_attr, dtypes[position].name)
        position += count
    if position != total:
        raise ValueError(f"{case.name}: the OpDef takes {position} inputs, the case has {total}")
    return result


def last_producer(op_def) -> int:
    """The newest version of graphs that may still hold the op."""
    return op_def.deprecation.version - 1 if op_def.HasField("deprecation") else 2000


def answer(case: Case) -> dict[str, np.ndarray]:
    """TensorFlow's outputs and, where the case asks for them, gradients."""
    op_def = op_def_registry.get(case.op)
    if op_def is None:
        raise ValueError(f"TensorFlow has no op {case.op}")
    with tf.Graph().as_default() as graph:
        arrays = [np.asarray(x) for x in case.inputs]
        dtypes = [tf.string if x.dtype.kind in "OSU" else tf.as_dtype(x.dtype) for x in arrays]
        attributes = implied(op_def, case, dtypes)
        # Quantized dtypes travel as integers in a case; the OpDef or the case says which is meant.
        places = [tf.compat.v1.placeholder(d, x.shape) for x, d in zip(arrays, dtypes, strict=True)]
        sources = list(places)
        for i, kind in enumerate(quantized(op_def, attributes, len(places))):
            if kind is not None and kind != dtypes[i]:
                sources[i] = tf.bitcast(places[i], kind)
        node = node_def_pb2.NodeDef(name="case", op=case.op, input=[f"in{i}" for i in range(len(places))])
        kinds = {a.name: a.type for a in op_def.attr}
        for name, value in attributes.items():
            node.attr[name].CopyFrom(attribute(kinds[name], value))
        graph_def = tf.compat.v1.GraphDef(node=[node])
        graph_def.versions.producer = last_producer(op_def)
        tf.import_graph_def(graph_def, {f"in{i}": s for i, s in enumerate(sources)}, name="")
        outputs = [o for o in graph.get_operation_by_name("case").outputs if o.dtype not in (tf.variant, tf.resource)]
        outputs = outputs[: case.outputs]
        fetched = [tf.bitcast(o, PLAIN[o.dtype]) if o.dtype in PLAIN else o for o in outputs]
        feed = dict(zip(places, arrays, strict=True))
        with tf.compat.v1.Session(graph=graph) as session:
            values = session.run(fetched, feed)
            entries = {f"out{i}": as_array(v, o) for i, (v, o) in enumerate(zip(values, fetched, strict=True))}
            if case.gradient:
                weights = [goldens.cotangent(case, i, v.shape, v.dtype.name) for i, v in enumerate(entries.values())]
                used = [(o, w) for o, w in zip(outputs, weights, strict=True) if w is not None]
                floats = [i for i, p in enumerate(places) if p.dtype.is_floating or p.dtype.is_complex]
                if not used or not floats:
                    raise ValueError(f"{case.name}: nothing to differentiate; say gradient=False")
                found = tf.gradients([o for o, _ in used], [places[i] for i in floats], [w for _, w in used])
                dense = {i: tf.convert_to_tensor(g) for i, g in zip(floats, found, strict=True) if g is not None}
                entries |= {f"grad{i}": v for i, v in session.run(dense, feed).items()}
    return entries


def answer_by_xla(case: Case) -> dict[str, np.ndarray]:
    """TensorFlow's outputs and gradients, compiled by XLA: for what has no kernel of its own on a CPU."""
    op_def = op_def_registry.get(case.op)
    arrays = [np.asarray(x) for x in case.inputs]
    dtypes = [tf.as_dtype(x.dtype) for x in arrays]
    kinds = {a.name: a.type for a in op_def.attr}
    node = node_def_pb2.NodeDef(name="case", op=case.op, input=[f"in{i}" for i in range(len(arrays))])
    for name, value in implied(op_def, case, dtypes).items():
        node.attr[name].CopyFrom(attribute(kinds[name], value))
    graph_def = tf.compat.v1.GraphDef(node=[node])
    graph_def.versions.producer = last_producer(op_def)
    floats = [i for i, d in enumerate(dtypes) if d.is_floating]

    @tf.function(jit_compile=True)
    def compiled(*values):
        inputs = [tf.constant(x) for x in arrays]  # shapes must be constants to XLA
        for i, value in zip(floats, values, strict=True):
            inputs[i] = value
        names = [f"case:{i}" for i in range(case.outputs or len(op_def.output_arg))]
        outputs = tf.import_graph_def(graph_def, {f"in{i}": x for i, x in enumerate(inputs)}, names, name="")
        if not case.gradient:
            return outputs, []
        weights = [goldens.cotangent(case, i, tuple(o.shape), o.dtype.name) for i, o in enumerate(outputs)]
        used = [(o, w) for o, w in zip(outputs, weights, strict=True) if w is not None]
        return outputs, tf.gradients([o for o, _ in used], list(values), [w for _, w in used])

    outputs, gradients = compiled(*[arrays[i] for i in floats])
    found = {f"out{i}": o.numpy() for i, o in enumerate(outputs)}
    return found | {f"grad{i}": g.numpy() for i, g in zip(floats, gradients, strict=False) if g is not None}


PLAIN = {tf.qint8: tf.int8, tf.quint8: tf.uint8, tf.qint16: tf.int16, tf.quint16: tf.uint16, tf.qint32: tf.int32}


def quantized(op_def, attributes: dict, total: int) -> list:
    """For each input the quantized dtype that it must have, or None."""
    kinds = []
    for argument in op_def.input_arg:
        count = attributes[argument.number_attr] if argument.number_attr else 1
        if argument.type_list_attr:
            kinds += [None] * len(attributes[argument.type_list_attr])
            continue
        kind = tf.as_dtype(attributes[argument.type_attr] if argument.type_attr else argument.type)
        kinds += [kind if kind in PLAIN else None] * count
    return kinds[:total]


def as_array(value, tensor) -> np.ndarray:
    return np.array(value, dtype=object) if tensor.dtype == tf.string else np.asarray(value)


def record(names: list[str]) -> None:
    """Records the named families, all when none is named.

    Raises:
        SystemExit: some cases failed; what succeeded is written.
    """
    failed = []
    goldens.FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or goldens.families():
        old, new, ran = goldens.load(name), {}, 0
        cases = goldens.family(name).CASES
        double = {c.name for c in cases if [d.name for d in cases].count(c.name) > 1}
        if double:
            sys.exit(f"{name}: two cases are called {sorted(double)}")
        for case in cases:
            digest = np.array(goldens.digest(case))
            kept = {k: v for k, v in old.items() if k.split("|")[0] == case.name}
            if str(kept.get(f"{case.name}|case")) == str(digest):
                new |= kept
                continue
            try:
                try:
                    found = answer(case)
                except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError) as refusal:
                    try:
                        found = answer_by_xla(case)  # channels first, groups and dilations lack CPU kernels
                    except Exception:
                        raise refusal from None
            except Exception as error:
                failed.append(f"{name}: {case.name}: {type(error).__name__}: {str(error)[:500]}")
                continue
            ran += 1
            new |= {f"{case.name}|case": digest} | {f"{case.name}|{k}": v for k, v in found.items()}
        if new:
            np.savez_compressed(goldens.FOLDER / f"{name}.npz", **goldens.pack(new))
        print(f"{name}: {len(cases)} cases, {ran} recorded anew")
    if failed:
        sys.exit("\n".join(failed))
