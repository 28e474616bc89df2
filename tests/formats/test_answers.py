"""What was read computes what TensorFlow answered: the artifacts of tests/models, from their files to their outputs.

It goes on through the graph passes and the op table, since only that shows that captures, orders and tables were read right.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (registers the ops)
from formats.sample import FOLDERS, expected
from thaw.formats import read
from thaw.graph.artifact import Artifact, Function, MetaGraph, Trace
from thaw.graph.inline_functions import inline_functions
from thaw.graph.ir import CompositeSpec, Structure, TensorSpec
from thaw.graph.program import ready
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Resources

ROWS = [(name, i) for name, folder in FOLDERS.items() for i in range(len(expected(folder)))]
NEEDS = {("tf2-structures", 3): "UnsortedSegmentSum"}


def fed(value: Any, spec: TensorSpec | CompositeSpec) -> Iterator[np.ndarray]:
    """The tensors of one input, from JSON."""
    if isinstance(spec, TensorSpec):
        array = np.array(value, object if spec.dtype == "string" else spec.dtype)
        yield np.frompyfunc(str.encode, 1, 1)(array) if spec.dtype == "string" else array
    elif spec.kind == "sparse":
        for key, part in zip(("indices", "values", "dense_shape"), spec.components, strict=True):
            yield from fed(value[key], part)
    else:
        yield from fed([x for row in value for x in row], spec.components[0])
        yield np.cumsum([0, *(len(row) for row in value)])


def flat(value: Any, structure: Structure) -> Iterator[np.ndarray]:
    if isinstance(structure, (TensorSpec, CompositeSpec)):
        yield from fed(value, structure)
    elif isinstance(structure, dict):
        for key in sorted(structure):
            yield from flat(value[key], structure[key])
    elif isinstance(structure, (list, tuple)):
        for part, inner in zip(value, structure, strict=True):
            yield from flat(part, inner)


def packed(outputs: Iterator[Any], structure: Structure) -> Any:
    """The flat outputs in their structure, as JSON holds it."""
    if isinstance(structure, TensorSpec):
        value = next(outputs)
        array = value if isinstance(value, np.ndarray) else keras.ops.convert_to_numpy(value)
        if array.dtype.kind == "c":
            array = np.stack([array.real, array.imag], -1)
        return [s.decode() for s in array.ravel()] if array.dtype == object else array.astype(np.float64)
    if isinstance(structure, CompositeSpec):
        parts = [packed(outputs, part) for part in structure.components]
        if structure.kind == "sparse":
            return dict(zip(("indices", "values", "dense_shape"), parts, strict=True))
        splits = parts[1].astype(int)
        return [parts[0][i:j] for i, j in pairwise(splits)]
    if isinstance(structure, dict):
        return {key: packed(outputs, structure[key]) for key in sorted(structure)}
    if isinstance(structure, (list, tuple)):
        return [packed(outputs, part) for part in structure]
    return structure


def same(got: Any, answer: Any, where: str = "") -> None:
    if isinstance(got, dict):
        assert sorted(got) == sorted(answer), where
        for key, value in got.items():
            same(value, answer[key], f"{where}/{key}")
    elif isinstance(got, list) and got and not isinstance(got[0], str):
        assert len(got) == len(answer), where
        for i, (a, b) in enumerate(zip(got, answer, strict=True)):
            same(a, b, f"{where}/{i}")
    elif isinstance(got, np.ndarray):
        np.testing.assert_allclose(got, np.array(answer, np.float64).reshape(got.shape), rtol=1e-5, atol=1e-6, err_msg=where)
    else:
        assert got == answer, where


def chosen(artifact: Artifact, row: dict[str, Any]) -> tuple[MetaGraph, Trace]:
    """The trace that a row of expected.json was answered by."""
    if "signature" in row:
        metagraph = next(m for m in artifact.metagraphs if m.tags == frozenset(row.get("tags", ())))
        return metagraph, metagraph.signatures[row["signature"]].traces[0]
    metagraph = artifact.metagraphs[0]
    function = metagraph.callables[row.get("name", "__call__")]
    return metagraph, next(t for t in function.traces if fits(function, t, row))


def fits(function: Function, trace: Trace, row: dict[str, Any]) -> bool:
    """Whether a trace was made with the row's keyword arguments, and the defaults of the others."""
    made_with = dict(zip([p.name for p in function.parameters], trace.args, strict=False)) | dict(trace.kwargs)
    constants = {p.name: p.default for p in function.parameters if p.has_default} | row.get("kwargs", {})
    return all(made_with[name] == value for name, value in constants.items())


@pytest.mark.parametrize(("name", "number"), ROWS, ids=[f"{n}-{i}" for n, i in ROWS])
def test_what_was_read_answers_as_TensorFlow_did(name: str, number: int) -> None:
    if (name, number) in NEEDS and NEEDS[name, number] not in LOWERINGS:
        pytest.skip(f"{NEEDS[name, number]} has no lowering")
    artifact = read(FOLDERS[name])
    row = expected(FOLDERS[name])[number]
    metagraph, trace = chosen(artifact, row)
    numbers = {k: v for k, v in artifact.variables.items() if v.dtype != "string"}
    variables = {k: keras.Variable(v.read(), dtype=v.dtype, trainable=False) for k, v in numbers.items()}
    resources = Resources(variables, metagraph.library, artifact.files)
    resources.texts = {k: v.read for k, v in artifact.variables.items() if k not in numbers}
    context = Context(resources)
    for graph in metagraph.initializers:
        resources.plan(inline_functions(graph, metagraph.library), "float32").run(context, [])
    if "signature" in row:
        inputs = [x for key in sorted(trace.kwargs) for x in flat(row["inputs"][key], trace.kwargs[key])]
    else:
        inputs = [x for value, spec in zip(row["args"], trace.args, strict=False) for x in flat(value, spec)]
    outputs = resources.plan(ready(trace.graph, metagraph.library, updates=False), "float32").run(context, inputs)
    same(packed(iter(outputs), trace.outputs), row["outputs"])
