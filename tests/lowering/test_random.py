"""Random ops whose numbers are not TensorFlow's: right shape and dtype, right moments, fresh at each draw, by the seed."""

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.run import Context, Plan, Resources
from thaw.lowering.values import Handle

N = np.array([4000], dtype="int32")
SEED = np.array([3, 4], dtype="int64")
OBJECT, ALG = Handle("state"), np.int64(1)
KEY = (np.array([3], "uint64"), np.array([4, 5], "uint64"), np.int32(1))


def draw_all(op, inputs, attrs, generator, outputs):
    """The outputs of an op, in numpy."""
    places = tuple(Tensor(f"in{i}") for i in range(len(inputs)))
    wanted = tuple(Tensor("op", i) for i in range(outputs))
    plan = Plan(Graph(op, {"op": Node("op", op, places, attrs=attrs)}, places, wanted), {})
    values = plan.run(Context(Resources(), seed_generator=generator), inputs)
    return [v if isinstance(v, np.ndarray) else keras.ops.convert_to_numpy(v) for v in values]


def draw(op, inputs, attrs, generator):
    """The one output of an op, in numpy."""
    return draw_all(op, inputs, attrs, generator, 1)[0]


HALF_HALF = np.log(np.array([[0.5, 0.25, 0.25]], "float32"))
# Mean 1, deviation 2, between 0 and 4: what scipy.stats.truncnorm(-0.5, 1.5, 1, 2) says of it.
BOUNDS, BOUNDED = (np.float32(1), np.float32(2), np.float32(0), np.float32(4)), (1.712546, 1.058769)
MOMENTS = [  # op, inputs, attributes, dtype, mean, standard deviation
    ("RandomUniform", (N,), {"dtype": "float32"}, "float32", 0.5, 12**-0.5),
    ("RandomUniform", (N,), {"dtype": "float16", "seed": 5}, "float16", 0.5, 12**-0.5),
    ("RandomStandardNormal", (N,), {"dtype": "float32"}, "float32", 0, 1),
    ("TruncatedNormal", (N,), {"dtype": "float32"}, "float32", 0, 0.8796),
    ("StatelessTruncatedNormal", (N, SEED), {}, "float32", 0, 0.8796),
    ("StatelessTruncatedNormalV2", (N, *KEY), {}, "float32", 0, 0.8796),
    ("RandomUniformInt", (N, np.int32(0), np.int32(11)), {}, "int32", 5, 10**0.5),
    ("Multinomial", (HALF_HALF, np.int32(4000)), {}, "int64", 0.75, 0.829),
    ("StatelessMultinomial", (HALF_HALF, np.int32(4000), SEED), {"output_dtype": "int32"}, "int32", 0.75, 0.829),
    ("RandomGamma", (N, np.float32(3)), {}, "float32", 3, 3**0.5),
    ("StatelessRandomGammaV2", (N, SEED, np.float32(3)), {}, "float32", 3, 3**0.5),
    ("StatelessRandomGammaV3", (N, *KEY, np.float32(3)), {}, "float32", 3, 3**0.5),
    ("StatefulUniform", (OBJECT, ALG, N), {}, "float32", 0.5, 12**-0.5),
    ("StatefulStandardNormalV2", (OBJECT, ALG, N), {}, "float32", 0, 1),
    ("StatefulTruncatedNormal", (OBJECT, ALG, N), {}, "float32", 0, 0.8796),
    ("StatefulUniformInt", (OBJECT, ALG, N, np.int32(0), np.int32(11)), {}, "int32", 5, 10**0.5),
    ("RandomPoisson", (N, np.float32(3)), {}, "float32", 3, 3**0.5),
    ("RandomPoissonV2", (N, np.float32(3)), {}, "int64", 3, 3**0.5),
    ("StatelessRandomPoisson", (N, SEED, np.float32(3)), {"dtype": "float32"}, "float32", 3, 3**0.5),
    ("StatelessRandomBinomial", (N, SEED, np.float32(9), np.float32(0.3)), {}, "int64", 2.7, 1.89**0.5),
    ("StatefulRandomBinomial", (OBJECT, ALG, N, np.float32(9), np.float32(0.3)), {"dtype": "int32"}, "int32", 2.7, 1.89**0.5),
    ("ParameterizedTruncatedNormal", (N, *BOUNDS), {"dtype": "float32"}, "float32", *BOUNDED),
    ("StatelessParameterizedTruncatedNormal", (N, SEED, *BOUNDS), {"dtype": "float32"}, "float32", *BOUNDED),
    ("StatefulStandardNormal", (OBJECT, N), {}, "float32", 0, 1),
    ("StatefulUniformFullInt", (OBJECT, ALG, N), {"dtype": "int32"}, "int32", 0, 2**32 / 12**0.5),
    ("NonDeterministicInts", (N,), {"dtype": "int32"}, "int32", 0, 2**32 / 12**0.5),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "dtype", "mean", "deviation"), MOMENTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_distribution(op, inputs, attrs, dtype, mean, deviation):
    generator = keras.random.SeedGenerator(7)
    value = draw(op, inputs, attrs, generator)
    assert value.dtype.name in {dtype, {"int64": "int32"}.get(dtype, dtype)}
    assert value.size == 4000
    assert value.mean(dtype="float64") == pytest.approx(mean, abs=5 * deviation / 4000**0.5)  # five standard errors
    assert value.std(dtype="float64") == pytest.approx(deviation, rel=0.08)
    again = draw(op, inputs, attrs, generator)
    assert np.array_equal(value, again) == op.startswith("Stateless")


def test_seeded_runs_repeat():
    one, two = (draw("RandomUniform", (N,), {"dtype": "float32"}, keras.random.SeedGenerator(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("op", "rest"), [("RandomShuffle", ()), ("StatelessShuffle", KEY)])
def test_shuffle_moves_whole_rows(op, rest):
    rows = np.arange(60, dtype="float32").reshape(20, 3)
    shuffled = draw(op, (keras.ops.convert_to_tensor(rows), *rest), {}, keras.random.SeedGenerator(7))
    assert not np.array_equal(shuffled, rows)
    np.testing.assert_array_equal(shuffled[np.argsort(shuffled[:, 0])], rows)


def test_generator_object_gives_fresh_states():
    generator = keras.random.SeedGenerator(7)
    inputs = (Handle("state"), np.int32(1), np.uint64(256))
    one, two = (draw("RngReadAndSkip", inputs, {}, generator) for _ in range(2))
    assert one.shape == (3,)
    assert not np.array_equal(one, two)


def test_S4_a_generator_object_seeds_stateless_ops_as_keras_random_layers_do():
    state = draw("RngReadAndSkip", (Handle("state"), np.int32(1), np.uint64(256)), {}, keras.random.SeedGenerator(7))
    state = keras.ops.convert_to_tensor(state)
    counter, key = (draw("Bitcast", (part,), {"type": "uint64"}, None) for part in (state[:2], state[2:]))
    assert (counter.shape, key.shape) == ((2,), (1,))
    stream = (np.array([1], "int32"), keras.ops.convert_to_tensor(key), keras.ops.convert_to_tensor(counter), np.int32(1))
    for dtype in ("int64", "uint64", "int32"):
        drawn = draw("StatelessRandomUniformFullIntV2", stream, {"dtype": dtype}, keras.random.SeedGenerator(7))
        assert drawn.shape == (1,)
