"""Writes tests/golden/op_defs.json: TensorFlow's OpDefs of the registered ops, one op a line, for test_op_defs.py.

An op that TensorFlow does not have is null. Needs TensorFlow; the ops of TensorFlow Text keep what was written before where that
library is not installed.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import tensorflow as tf
from tensorflow.python.framework import op_def_registry

with contextlib.suppress(ImportError):
    import tensorflow_text  # noqa: F401  (registers its ops)

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.lowering.registry import LOWERINGS

TARGET = Path(__file__).parent.parent / "tests" / "golden" / "op_defs.json"


def plain(kind: str, value):
    """A default as the lowering spells it: dtypes by name, shapes and lists as lists."""
    if kind.startswith("list("):
        values = getattr(value.list, {"int": "i", "float": "f", "bool": "b", "string": "s"}.get(kind[5:-1], kind[5:-1]))
        return [one(kind[5:-1], v) for v in values]
    return one(kind, getattr(value, value.WhichOneof("value")))


def one(kind: str, value):
    if kind == "type":
        return tf.as_dtype(value).name
    if kind == "shape":
        return None if value.unknown_rank else [d.size if d.size >= 0 else None for d in value.dim]
    if kind == "string":
        return value.decode()
    if kind == "float":
        return round(value, 7 - len(str(int(abs(value)))) if abs(value) >= 1 else 10)
    return value if isinstance(value, (int, bool)) else str(value)


def definition(op: str, before: dict):
    op_def = op_def_registry.get(op)
    if op_def is None:
        return before.get(op)
    return {
        "inputs": [
            {"name": a.name} | {k: v for k in ("type_attr", "number_attr", "type_list_attr") if (v := getattr(a, k))}
            for a in op_def.input_arg
        ],
        "outputs": [a.name for a in op_def.output_arg],
        "attrs": {
            a.name: {"type": a.type} | ({"default": plain(a.type, a.default_value)} if a.HasField("default_value") else {})
            for a in op_def.attr
        },
    }


if __name__ == "__main__":
    known = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    lines = [f"{json.dumps(op)}: {json.dumps(definition(op, known))}" for op in sorted(LOWERINGS)]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.write(f"{len(lines)} ops in {TARGET}\n")
