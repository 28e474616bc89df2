"""Loops and conditions against TensorFlow's recorded values and gradients; see tools/make_control_flow_golden.py."""

import functools

import keras
import numpy as np
import pytest

from lowering import control_flow_case as case

UNBOUNDED = {"loop_counted_by_data": 4, "loop_until_value": 16}
"""Loops whose length only the data say, and a bound for them."""

FIXED = {"v2_nested": "n", "case_of_three": "n"}


def parameters(names):
    return [pytest.param(n, id=f"N4-{n}") for n in names]


@pytest.mark.parametrize("name", parameters(case.names()))
def test_values_and_gradients_eager(name):
    recorded = case.load(name)
    kept = case.resources(recorded)
    function = functools.partial(lambda *values: case.run(recorded, values, kept))
    if recorded.before:
        results = [keras.ops.convert_to_numpy(r) for r in function(*recorded.inputs.values())]
        case.check(recorded, results, [None] * len(recorded.inputs))
        for key, value in recorded.after.items():
            np.testing.assert_allclose(keras.ops.convert_to_numpy(kept.variables[key]), value, rtol=1e-5)
        return
    case.check(recorded, *case.vjp(function, list(recorded.inputs.values()), recorded.cotangents))


@pytest.mark.parametrize("name", parameters(n for n in case.names() if not case.load(n).before))
def test_values_and_gradients_traced(name):
    recorded = case.load(name)
    function = functools.partial(lambda *values: case.run(recorded, values, max_iterations=UNBOUNDED.get(name)))
    case.check(recorded, *case.traced(function, list(recorded.inputs.values()), recorded.cotangents))


@pytest.mark.parametrize("name", case.programs())
def test_N4_recorded_random_programs(name):
    recorded = case.load(name)
    function = functools.partial(lambda *values: case.run(recorded, values))
    case.check(recorded, *case.traced(function, list(recorded.inputs.values()), recorded.cotangents))
