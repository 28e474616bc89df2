"""Loops and conditions against TensorFlow's recorded values and gradients; see tools/make_control_flow_golden.py."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowering import control_flow_case as case
from lowering import control_flow_programs as programs

UNBOUNDED = {"loop_counted_by_data": 4, "loop_until_value": 16}
"""Loops whose length only the data say, and a bound for them."""


def parameters(names):
    return [pytest.param(n, id=f"N4-{n}") for n in names]


@pytest.mark.parametrize("name", parameters(case.names()))
def test_values_and_gradients_eager(name):
    recorded = case.load(name)
    kept = case.resources(recorded)
    function = functools.partial(lambda *values: case.run(recorded, values, kept))
    if recorded.before:
        results = [keras.ops.convert_to_numpy(r) for r in function(*recorded.inputs.values())]
        case.check(recorded, results)
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
    # TensorFlow takes seconds to differentiate a traced nest: only some are.
    run = case.traced if keras.backend.backend() == "jax" or name.endswith(("5", "10")) else case.vjp
    case.check(recorded, *run(function, list(recorded.inputs.values()), recorded.cotangents))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow itself gives the answer; others replay recorded programs"
)
@settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_N4_random_programs_equal_tensorflow(data):
    import tensorflow as tf

    program = programs.statements(lambda options: data.draw(st.sampled_from(list(options))), depth=2)
    tf.compat.v1.disable_control_flow_v2()
    try:
        recorded = case.live(lambda fed: programs.build(program, fed, tf))
    finally:
        tf.compat.v1.enable_control_flow_v2()
    function = functools.partial(lambda *values: case.run(recorded, values))
    case.check(recorded, *case.vjp(function, list(recorded.inputs.values()), recorded.cotangents))
