"""Every row of the op table against TensorFlow's own definition of the op (tests/golden/op_defs.json).

A SavedModel leaves out attributes at their default, so a keyword's default is model content; an attribute that nobody
thought about would be a silent wrong answer.
"""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.lowering.registry import IMPLIED, LOWERINGS

OP_DEFS = json.loads((Path(__file__).parent.parent / "golden" / "op_defs.json").read_text())
NOT_TENSORFLOWS = {
    "CaseFoldUTF8": "TensorFlow Text",
    "NormalizeUTF8": "TensorFlow Text",
    "RegexSplitWithOffsets": "TensorFlow Text",
    "WordpieceTokenizeWithOffsets": "TensorFlow Text",
}
"""Registered ops that TensorFlow itself does not define, and where they come from; those of our own passes begin with Thaw."""


LOWERINGS_BY_FUNCTION: dict = {}
for _op, _row in ((op, LOWERINGS[op]) for op in LOWERINGS):
    LOWERINGS_BY_FUNCTION.setdefault(_row.function, []).append((_op, _row))


def plain(value):
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode()
    return value


def same(found, expected) -> bool:
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return bool(np.float32(found) == np.float32(expected))
    if isinstance(expected, list) and len(expected) == len(found):
        return all(same(f, e) for f, e in zip(found, expected, strict=True))
    return plain(found) == expected and isinstance(found, bool) == isinstance(expected, bool)


def problems(op: str) -> list[str]:
    row, definition = LOWERINGS[op], OP_DEFS[op]
    inputs, attrs = definition["inputs"], definition["attrs"]
    found = []
    lists = [i for i in inputs if "number_attr" in i or "type_list_attr" in i]
    if lists and not row.variadic:
        found.append(f"takes lists ({[i['name'] for i in lists]}), so it must end in *values")
    if not lists and row.variadic:
        found.append("takes no list, but the lowering has *values")
    parameters = inspect.signature(row.function).parameters
    needed = [name for name in row.inputs if parameters[name].default is inspect.Parameter.empty]  # a later version may take more
    if not row.variadic and not len(needed) <= len(inputs) <= len(row.inputs):
        found.append(f"takes {[i['name'] for i in inputs]}, the lowering {list(row.inputs)}")
    found += [f"static input {name!r} is not a parameter" for name in row.static - set(row.inputs)]
    implied = {i[k] for i in inputs for k in ("type_attr", "number_attr", "type_list_attr") if k in i}
    free = IMPLIED & (implied | {"Tout"})  # a list of output dtypes says nothing that the values do not
    for name, attribute in attrs.items():
        if name not in row.attributes | row.ignored and (name not in free):
            found.append(f"attribute {name!r} ({attribute['type']}) is neither handled, nor ignored, nor implied by an input")
    versions = [OP_DEFS[o] for o, r in LOWERINGS_BY_FUNCTION[row.function] if OP_DEFS.get(o)]
    every = set().union(*(definition["attrs"] for definition in versions))
    found += [f"attribute {name!r} is not TensorFlow's" for name in (row.attributes | row.ignored) - every]
    for name in row.attributes & set(attrs):
        default = parameters[name].default
        if "default" in attrs[name]:
            wanted = attrs[name]["default"]
            if default is not inspect.Parameter.empty or name not in implied:
                if default is inspect.Parameter.empty:
                    found.append(f"{name} needs TensorFlow's default {wanted!r}")
                elif not same(default, wanted):
                    found.append(f"{name}={default!r}, TensorFlow's default is {wanted!r}")
        elif default is not inspect.Parameter.empty and name not in implied:
            found.append(f"{name}={default!r}, TensorFlow has no default")
    return found


def test_every_op_is_recorded():
    assert sorted(set(LOWERINGS) - set(OP_DEFS)) == [], "run tools/make_op_defs.py"


def test_op_that_tensorflow_lacks_is_named():
    lacking = {op for op, definition in OP_DEFS.items() if definition is None and not op.startswith("Thaw")}
    assert sorted(lacking - set(NOT_TENSORFLOWS)) == []


@pytest.mark.parametrize("op", sorted(set(LOWERINGS) & {op for op, d in OP_DEFS.items() if d}))
def test_signature_is_the_schema(op):
    assert problems(op) == []
