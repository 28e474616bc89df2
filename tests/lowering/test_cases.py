"""Every row of the op table against TensorFlow's recorded answers: device, host, gradient, tracing."""

import os

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from devices import on_gpu
from gradients import vjp
from lowering import goldens
from lowering.case import Case
from thaw.errors import StaticInputError
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Plan, Resources

BACKEND = keras.backend.backend()
EVERY_ROW = os.environ.get("THAW_MATRIX") == "all"
"""Each backend runs a share of the generated rows of cases/matrix.py, unless the environment asks for all of them."""

SHARE = {"jax": (12, 0), "torch": (4, 1), "tensorflow": (4, 2)}
"""Every how many rows, and from which on: JAX compiles for each of them."""

ROWS = [
    (name, case)
    for name in goldens.families()
    for number, case in enumerate(goldens.family(name).CASES)
    if name != "matrix" or EVERY_ROW or number % SHARE[BACKEND][0] == SHARE[BACKEND][1]
]
GOLDENS = {name: goldens.load(name) for name in goldens.families()}
NARROW = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}


def rows(choose=lambda case: True):
    return pytest.mark.parametrize(
        ("family", "case"), [pytest.param(f, c, id=f"{f}/{c.name}") for f, c in ROWS if choose(c) and c.op in LOWERINGS]
    )


def recorded(family: str, case: Case) -> dict[str, np.ndarray]:
    prefix = f"{case.name}|"
    found = {k.removeprefix(prefix): v for k, v in GOLDENS[family].items() if k.startswith(prefix)}
    assert str(found.get("case")) == goldens.digest(case), (
        f"{case.name} changed since TensorFlow's answer was recorded: run tools/make_golden.py lowering {family}"
    )
    return found


def outputs_of(entries) -> list[np.ndarray]:
    return [entries[f"out{i}"] for i in range(sum(k.startswith("out") for k in entries))]


def plan_of(case: Case, outputs: int) -> Plan:
    places = tuple(Tensor(f"in{i}") for i in range(len(case.inputs)))
    node = Node("case", case.op, places, attrs=case.attrs)
    return Plan(Graph(case.name, {"case": node}, places, tuple(Tensor("case", i) for i in range(outputs))), {})


def is_static(case: Case, position: int) -> bool:
    lowering = LOWERINGS[case.op]
    named = position < len(lowering.inputs) and lowering.inputs[position] in lowering.static
    return lowering.host or named or case.inputs[position].dtype in (object, np.uint64)  # what no device holds everywhere


def to_device(case: Case) -> list:
    return [x if is_static(case, i) else keras.ops.convert_to_tensor(x) for i, x in enumerate(case.inputs)]


def to_numpy(value) -> np.ndarray:
    if BACKEND == "tensorflow" and hasattr(value, "numpy"):  # Keras fails on a scalar of bfloat16
        return np.asarray(value.numpy())
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else keras.ops.convert_to_numpy(value)


def assert_close(found, expected: np.ndarray, rtol: float, what: str) -> None:
    """Equal to `rtol` of the largest finite magnitude; NaN and infinities in the same places."""
    found = to_numpy(found)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, TensorFlow has {expected.shape}"
    if expected.dtype.kind in "OSU":
        assert found.tolist() == expected.tolist(), what
        return
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(found, expected.astype(found.dtype), err_msg=what)
        return
    if expected.dtype.itemsize // (2 if expected.dtype.kind == "c" else 1) < 4:
        import ml_dtypes

        rtol = max(rtol, 4 * float(ml_dtypes.finfo(expected.dtype).eps))
    wide = "complex128" if expected.dtype.kind == "c" else "float64"
    found, expected = found.astype(wide), expected.astype(wide)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), err_msg=f"{what}: NaN")
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(found[infinite], expected[infinite], err_msg=f"{what}: infinities")
    finite = np.isfinite(expected)
    assert np.isfinite(found[finite]).all(), f"{what}: infinite where TensorFlow is finite"
    if finite.any():
        scale = np.abs(expected[finite]).max()
        worst = np.abs(found[finite] - expected[finite]).max()
        assert worst <= rtol * scale + 1e-30, f"{what}: off by {worst / (scale or 1):.2e} of {scale:.3g}"


def assert_answers(results, expected, case: Case) -> None:
    for i, (found, wanted) in enumerate(zip(results, expected, strict=True)):
        dtype = to_numpy(found).dtype.name
        name = wanted.dtype.name
        allowed = {name, NARROW.get(name, name)} if BACKEND == "jax" else {name}
        assert dtype in allowed, f"output {i}: dtype {dtype}, TensorFlow has {name}"
        assert_close(found, wanted, case.rtol, f"output {i}")


def skip_elsewhere(case: Case) -> None:
    if BACKEND not in case.backends:
        pytest.skip(case.why)
    if case.id == "nan-of-same-stride-beyond-window" and BACKEND == "torch" and on_gpu():
        pytest.skip("cuDNN multiplies the zeros between strides with what is NaN")


# JAX compiles for each row; one with gradients has its outputs checked beside them, compiled once for both.
@rows(lambda case: BACKEND != "jax" or not case.gradient)
def test_outputs(family, case):
    skip_elsewhere(case)
    expected = outputs_of(recorded(family, case))
    results = plan_of(case, len(expected)).run(Context(Resources(), seed_generator=5), to_device(case))
    assert_answers(results, expected, case)


@rows(lambda case: not LOWERINGS[case.op].host if case.op in LOWERINGS else False)
def test_known_inputs_give_the_same(family, case):
    if BACKEND != "torch":
        pytest.skip("what is known is numpy on every backend: once is enough")
    skip_elsewhere(case)
    expected = outputs_of(recorded(family, case))
    results = plan_of(case, len(expected)).run(Context(Resources(), seed_generator=5), list(case.inputs))
    assert_answers(results, expected, case)


@rows(lambda case: case.gradient)
def test_gradients(family, case):
    skip_elsewhere(case)
    entries = recorded(family, case)
    expected = outputs_of(entries)
    plan = plan_of(case, len(expected))
    loose = [i for i in range(len(case.inputs)) if not is_static(case, i)]

    def function(*values):
        inputs = list(case.inputs)
        for i, v in zip(loose, values, strict=True):
            inputs[i] = v
        return plan.run(Context(Resources(), seed_generator=5), inputs)

    cotangents = [goldens.cotangent(case, i, o.shape, o.dtype.name) for i, o in enumerate(expected)]
    answers, found = vjp(function, [case.inputs[i] for i in loose], cotangents, jit=True)
    assert_answers(answers, expected, case)
    for position, gradient in zip(loose, found, strict=True):
        if gradient is None and case.inputs[position].dtype.kind not in "fcV":
            continue
        wanted = entries.get(f"grad{position}", np.zeros_like(case.inputs[position]))
        if gradient is None:
            gradient = np.zeros_like(wanted)
        assert_close(gradient, wanted, case.rtol, f"gradient of input {position}")


@pytest.mark.skipif(BACKEND != "jax", reason="tracing with abstract values is JAX's")
@rows(lambda case: not case.gradient and case.op in LOWERINGS and not LOWERINGS[case.op].host)
def test_traces_or_says_what_must_be_known(family, case):
    skip_elsewhere(case)
    import jax

    expected = outputs_of(recorded(family, case))
    plan = plan_of(case, len(expected))
    loose = [i for i in range(len(case.inputs)) if not is_static(case, i)]

    def function(*values):
        inputs = list(case.inputs)
        for i, v in zip(loose, values, strict=True):
            inputs[i] = v
        return [r for r in plan.run(Context(Resources(), seed_generator=5), inputs) if not isinstance(r, np.ndarray)]

    try:
        jax.eval_shape(function, *[keras.ops.convert_to_tensor(case.inputs[i]) for i in loose])
    except StaticInputError as error:
        assert case.op in str(error)


def test_every_op_has_a_case():
    """Or its family says where it is tested instead (`ELSEWHERE`)."""
    tested = {case.op for _, case in ROWS}
    elsewhere = set().union(*(getattr(goldens.family(name), "ELSEWHERE", {}) for name in goldens.families()))
    assert sorted(set(LOWERINGS) - tested - elsewhere) == []
    assert sorted(elsewhere - set(LOWERINGS)) == [], "ELSEWHERE names ops that are not in the table"


def test_every_case_is_of_a_registered_op():
    assert sorted({case.op for _, case in ROWS} - set(LOWERINGS)) == []


def test_no_golden_outlives_its_case():
    for name, entries in GOLDENS.items():
        cases = {case.name for case in goldens.family(name).CASES}
        assert sorted({key.split("|")[0] for key in entries} - cases) == []
    assert sorted({p.stem for p in goldens.FOLDER.glob("*.npz")} - set(goldens.families())) == []


def test_cases_left_out_of_a_backend_say_why():
    assert [c.name for _, c in ROWS if set(c.backends) != {"jax", "torch", "tensorflow"} and not c.why] == []
