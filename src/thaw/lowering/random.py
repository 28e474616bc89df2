"""Random numbers. Stateful ops draw from the layer's seed generator: equal to TensorFlow's in distribution.

Stateless ops whose seed is known give TensorFlow's own numbers where philox.py has the distribution, else numbers that
depend on the seed only; a seed that is data of a traced step counts as a draw from the generator.
"""

from typing import Any

import keras
import numpy
from keras import ops

from thaw.lowering import philox
from thaw.lowering.array import lengths
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Handle, NotKnownError, Value, cast, is_host, known, numpy_dtype, on_device, static_shape


@lowering("RandomUniform", context=True, stateful=True, static=("shape",), ignored=("seed", "seed2"), gradient="none")
def random_uniform(context: Context, shape: Value, *, dtype: str) -> Value:
    """Uniform in [0, 1)."""
    return keras.random.uniform(lengths(shape), dtype=dtype, seed=context.next_seed())


@lowering("RandomStandardNormal", context=True, stateful=True, static=("shape",), ignored=("seed", "seed2"), gradient="none")
def random_normal(context: Context, shape: Value, *, dtype: str) -> Value:
    """Standard normal."""
    return keras.random.normal(lengths(shape), dtype=dtype, seed=context.next_seed())


@lowering("TruncatedNormal", context=True, stateful=True, static=("shape",), ignored=("seed", "seed2"), gradient="none")
def truncated_normal(context: Context, shape: Value, *, dtype: str) -> Value:
    """Standard normal, what lies beyond two drawn again."""
    return keras.random.truncated_normal(lengths(shape), dtype=dtype, seed=context.next_seed())


@lowering(
    "RandomUniformInt",
    context=True,
    stateful=True,
    static=("shape", "minval", "maxval"),
    ignored=("seed", "seed2", "Tout"),
    gradient="none",
)
def random_integer(context: Context, shape: Value, minval: Value, maxval: Value) -> Value:
    """Integers from minval, below maxval."""
    return _integers(context.next_seed(), lengths(shape), minval, maxval)


def _integers(seed: Any, shape: Any, low: Value, high: Value) -> Value:
    return keras.random.randint(shape, int(low), int(high), dtype=str(low.dtype), seed=seed)


@lowering("RandomShuffle", context=True, stateful=True, ignored=("seed", "seed2"), gradient="none")
def random_shuffle(context: Context, value: Value) -> Value:
    """Rows in random order."""
    order = ops.argsort(keras.random.uniform((static_shape(value)[0],), seed=context.next_seed()))
    return numpy.take(value, known(order, "order"), axis=0) if is_host(value) else ops.take(value, order, axis=0)


@lowering("Multinomial", context=True, stateful=True, static=("num_samples",), ignored=("seed", "seed2"), gradient="none")
def multinomial(context: Context, logits: Value, num_samples: Value, *, output_dtype: str = "int64") -> Value:
    """Classes drawn by the softmax of each row, (batch, num_samples)."""
    drawn = keras.random.categorical(on_device(logits), int(num_samples), seed=context.next_seed())
    return cast(drawn, output_dtype)


@lowering("RandomGamma", context=True, stateful=True, static=("shape",), ignored=("seed", "seed2", "S"), gradient="none")
def random_gamma(context: Context, shape: Value, alpha: Value) -> Value:
    """Gamma distributed, `shape` numbers for each alpha."""
    return _gamma(context.next_seed(), shape, alpha)


def _gamma(seed: Any, shape: Value, alpha: Value) -> Value:
    full = (*lengths(shape), *static_shape(alpha))
    return keras.random.gamma(full, on_device(alpha), dtype=str(keras.backend.standardize_dtype(alpha.dtype)), seed=seed)


def _poisson(seed: Any, shape: Value, rate: Value, dtype: str) -> Value:
    """How many steps, each exponentially distributed, fit before `rate`."""
    most = float(numpy.max(rate, initial=0))
    steps = int(most + 10 * numpy.sqrt(most) + 20)
    full = (steps, *lengths(shape), *static_shape(rate))
    gaps = -ops.log1p(-keras.random.uniform(full, dtype="float32", seed=seed))
    return ops.cast(ops.sum(ops.cast(ops.cumsum(gaps, axis=0) < on_device(rate.astype("float32")), "int32"), axis=0), dtype)


@lowering(
    "RandomPoisson",
    context=True,
    stateful=True,
    static=("shape", "rate"),
    ignored=("seed", "seed2", "S", "dtype"),
    gradient="none",
)
def random_poisson_of_rate_dtype(context: Context, shape: Value, rate: Value) -> Value:
    """Poisson distributed, `shape` numbers for each rate."""
    return _poisson(context.next_seed(), shape, rate, str(rate.dtype))


@lowering(
    "RandomPoissonV2", context=True, stateful=True, static=("shape", "rate"), ignored=("seed", "seed2", "S", "R"), gradient="none"
)
def random_poisson(context: Context, shape: Value, rate: Value, *, dtype: str = "int64") -> Value:
    """Poisson distributed, `shape` numbers for each rate."""
    return _poisson(context.next_seed(), shape, rate, dtype)


def _binomial(seed: Any, shape: Value, counts: Value, probabilities: Value, dtype: str) -> Value:
    """How often of `counts` times what has a probability comes about."""
    chances, times = (ops.cast(on_device(v), "float32") for v in (probabilities, counts))
    return ops.cast(keras.random.binomial(lengths(shape), times, chances, dtype="float32", seed=seed), dtype)


def _between(seed: Any, shape: Value, means: Value, deviations: Value, low: Value, high: Value, dtype: str) -> Value:
    """Normal numbers of a given mean and deviation between two bounds, by the quantile of a uniform one.

    Far out in a tail the shares of its two ends are one number in this arithmetic; what comes out is kept between the bounds.
    """
    full = lengths(shape)
    mean, deviation, low, high = (
        ops.reshape(ops.cast(on_device(v), dtype), (-1, *[1] * (len(full) - 1)) if len(static_shape(v)) and full else ())
        for v in (means, deviations, low, high)
    )
    root = numpy.sqrt(2.0).astype(dtype)
    first, last = (ops.erf((v - mean) / deviation / root) for v in (low, high))
    share = keras.random.uniform(full, dtype=dtype, seed=seed)
    quantile = ops.erfinv(ops.clip(first + share * (last - first), -1 + 1e-6, 1 - 1e-6))
    return ops.clip(mean + deviation * root * quantile, low, high)


@lowering(
    "ParameterizedTruncatedNormal",
    context=True,
    stateful=True,
    static=("shape",),
    ignored=("seed", "seed2"),
    gradient="none",
)
def random_normal_between(
    context: Context, shape: Value, means: Value, stdevs: Value, minvals: Value, maxvals: Value, *, dtype: str
) -> Value:
    """Normal with parameters for each row, between two bounds."""
    return _between(context.next_seed(), shape, means, stdevs, minvals, maxvals, dtype)


@lowering("NonDeterministicInts", context=True, stateful=True, static=("shape",), ignored=("shape_dtype",), gradient="none")
def random_bits(context: Context, shape: Value, *, dtype: str = "int64") -> Value:
    """Random bits."""
    return _draw_bits(context, None, shape, dtype)


# Stateless ops. A stream is known (`philox.State`) or not (None): then the generator of the layer is asked.


def seed_stream(seed: Value) -> philox.State | None:
    """The stream of a seed of two integers, if it is known."""
    try:
        seed = known(seed, "seed")
    except NotKnownError:
        return None
    return philox.state_of(seed) if is_host(seed) else None


def _stream(key: Value, counter: Value) -> philox.State | None:
    try:
        key, counter = known(key, "key"), known(counter, "counter")
    except NotKnownError:
        return None
    if not is_host(key) or key.dtype != numpy.uint64:
        return None
    return philox.State(int(key[0]), (int(counter[0]), int(counter[1])))


def number_of(context: Context, state: philox.State | None) -> Any:
    """A seed for `keras.random` that depends on the stream only, or the layer's generator."""
    return context.next_seed() if state is None else int(philox.words(state, 1)[0] >> 1)


def _draw(context: Context, state: philox.State | None, shape: Value, dtype: str, kind: str) -> Value:
    """Numbers of a distribution that philox.py has, as TensorFlow's where the stream is known."""
    if state is None or not is_host(shape) or dtype not in {"float32", "float64"}:
        sampler = keras.random.uniform if kind == "uniform" else keras.random.normal
        return sampler(lengths(shape), dtype=dtype, seed=number_of(context, state))
    function = philox.uniform if kind == "uniform" else philox.normal
    count = int(numpy.prod(lengths(shape), dtype="int64"))
    return function(state, count, wide=dtype == "float64").reshape(lengths(shape)).astype(numpy_dtype(dtype))


def _draw_integers(context: Context, state: philox.State | None, shape: Value, low: Value, high: Value) -> Value:
    if state is None or not is_host(shape):
        return _integers(context.next_seed(), lengths(shape), low, high)
    wide = low.dtype.itemsize == 8
    words = philox.words(state, int(numpy.prod(lengths(shape), dtype="int64")), wide)
    span = words.dtype.type((int(high) - int(low)) % 2 ** (64 if wide else 32))
    with numpy.errstate(over="ignore"):
        return (low + (words % span).astype(low.dtype)).reshape(lengths(shape)).astype(low.dtype)


def _draw_bits(context: Context, state: philox.State | None, shape: Value, dtype: str) -> Value:
    if state is None or not is_host(shape):
        return cast(keras.random.randint(lengths(shape), -(2**31), 2**31 - 1, dtype="int32", seed=context.next_seed()), dtype)
    words = philox.words(state, int(numpy.prod(lengths(shape), dtype="int64")), numpy_dtype(dtype).itemsize == 8)
    return words.reshape(lengths(shape)).astype(numpy_dtype(dtype))


def _register(name: str, line: str, draw: Any) -> None:
    """Registers both spellings of a stateless op: by seed, and by key, counter and algorithm."""

    def by_seed(context: Context, shape: Value, seed: Value, *, dtype: str = "float32") -> Value:
        return draw(context, seed_stream(seed), shape, dtype)

    def by_stream(context: Context, shape: Value, key: Value, counter: Value, alg: Value, *, dtype: str = "float32") -> Value:
        return draw(context, _stream(key, counter), shape, dtype)

    by_seed.__doc__ = by_stream.__doc__ = line
    options: dict[str, Any] = {"context": True, "stateful": True, "static": ("shape",), "gradient": "none"}
    lowering(name, ignored=("Tseed",), **options)(by_seed)
    lowering(name + "V2", ignored=("Tshape",), **options)(by_stream)


_register("StatelessRandomUniform", "Uniform in [0, 1), by the seed.", lambda c, s, n, d: _draw(c, s, n, d, "uniform"))
_register("StatelessRandomNormal", "Standard normal, by the seed.", lambda c, s, n, d: _draw(c, s, n, d, "normal"))
_register(
    "StatelessTruncatedNormal",
    "Standard normal, what lies beyond two drawn again, by the seed.",
    lambda c, s, n, d: keras.random.truncated_normal(lengths(n), dtype=d, seed=number_of(c, s)),
)


@lowering(
    "StatelessRandomUniformInt",
    context=True,
    stateful=True,
    static=("shape", "minval", "maxval"),
    ignored=("dtype", "Tseed"),
    gradient="none",
)
def stateless_integer(context: Context, shape: Value, seed: Value, minval: Value, maxval: Value) -> Value:
    """Integers from minval, below maxval, by the seed."""
    return _draw_integers(context, seed_stream(seed), shape, minval, maxval)


@lowering(
    "StatelessRandomUniformIntV2",
    context=True,
    stateful=True,
    static=("shape", "minval", "maxval"),
    ignored=("dtype",),
    gradient="none",
)
def stateless_integer_of_stream(
    context: Context, shape: Value, key: Value, counter: Value, alg: Value, minval: Value, maxval: Value
) -> Value:
    """Integers from minval, below maxval, by the stream."""
    return _draw_integers(context, _stream(key, counter), shape, minval, maxval)


@lowering("StatelessRandomUniformFullInt", context=True, stateful=True, static=("shape",), ignored=("Tseed",), gradient="none")
def stateless_bits(context: Context, shape: Value, seed: Value, *, dtype: str = "uint64") -> Value:
    """Random bits, by the seed."""
    return _draw_bits(context, seed_stream(seed), shape, dtype)


@lowering("StatelessRandomUniformFullIntV2", context=True, stateful=True, static=("shape",), gradient="none")
def stateless_bits_of_stream(
    context: Context, shape: Value, key: Value, counter: Value, alg: Value, *, dtype: str = "uint64"
) -> Value:
    """Random bits, by the stream."""
    return _draw_bits(context, _stream(key, counter), shape, dtype)


@lowering("StatelessMultinomial", context=True, stateful=True, static=("num_samples",), ignored=("Tseed",), gradient="none")
def stateless_multinomial(
    context: Context, logits: Value, num_samples: Value, seed: Value, *, output_dtype: str = "int64"
) -> Value:
    """Classes drawn by the softmax of each row, by the seed."""
    drawn = keras.random.categorical(on_device(logits), int(num_samples), seed=number_of(context, seed_stream(seed)))
    return cast(drawn, output_dtype)


@lowering("StatelessRandomGammaV2", context=True, stateful=True, static=("shape",), ignored=("dtype", "Tseed"), gradient="none")
def stateless_gamma(context: Context, shape: Value, seed: Value, alpha: Value) -> Value:
    """Gamma distributed, by the seed; `shape` ends in alpha's."""
    lead = lengths(shape)[: len(lengths(shape)) - len(static_shape(alpha))]
    return _gamma(number_of(context, seed_stream(seed)), numpy.array(lead, dtype="int32"), alpha)


@lowering(
    "StatelessRandomPoisson", context=True, stateful=True, static=("shape", "lam"), ignored=("Rtype", "Tseed"), gradient="none"
)
def stateless_poisson(context: Context, shape: Value, seed: Value, lam: Value, *, dtype: str) -> Value:
    """Poisson distributed, by the seed; `shape` ends in the rate's."""
    lead = lengths(shape)[: len(lengths(shape)) - len(static_shape(lam))]
    return _poisson(number_of(context, seed_stream(seed)), numpy.array(lead, dtype="int32"), lam, dtype)


@lowering("StatelessRandomBinomial", context=True, stateful=True, static=("shape",), ignored=("S", "Tseed"), gradient="none")
def stateless_binomial(
    context: Context, shape: Value, seed: Value, counts: Value, probs: Value, *, dtype: str = "int64"
) -> Value:
    """Binomially distributed, by the seed."""
    return _binomial(number_of(context, seed_stream(seed)), shape, counts, probs, dtype)


@lowering(
    "StatelessParameterizedTruncatedNormal",
    context=True,
    stateful=True,
    static=("shape",),
    ignored=("S", "Tseed"),
    gradient="none",
)
def stateless_normal_between(
    context: Context, shape: Value, seed: Value, means: Value, stddevs: Value, minvals: Value, maxvals: Value, *, dtype: str
) -> Value:
    """Normal with parameters, between two bounds, by the seed."""
    return _between(number_of(context, seed_stream(seed)), shape, means, stddevs, minvals, maxvals, dtype)


@lowering("StatelessRandomGetKeyCounter", gradient="none", ignored=("Tseed",))
def key_and_counter(seed: Value) -> Value:
    """The stream of a seed. A seed that is data stays as it is: who draws from it then asks the layer's generator."""
    state = seed_stream(seed)
    if state is None:
        return seed, seed
    return numpy.array([state.key], dtype="uint64"), numpy.array(state.counter, dtype="uint64")


@lowering("StatelessRandomGetAlg", gradient="none")
def algorithm() -> Value:
    """1: Philox."""
    return numpy.array(1, dtype="int32")


@lowering("StatelessRandomGetKeyCounterAlg", gradient="none", ignored=("Tseed",))
def key_counter_and_algorithm(seed: Value) -> Value:
    """The stream of a seed, and 1 for Philox."""
    key, counter = key_and_counter(seed)
    return key, counter, numpy.array(1, dtype="int32")


@lowering("RngReadAndSkip", context=True, stateful=True, gradient="none")
def rng_state(context: Context, resource: Handle, alg: Value, delta: Value) -> Value:
    """A fresh state of a generator object; the object itself is left as the artifact has it."""
    return cast(keras.random.randint((3,), 0, 2**31 - 1, dtype="int32", seed=context.next_seed()), "int64")


# Ops of a generator object (tf.random.Generator): drawn from the layer's generator; the object stays as it is.


@lowering("StatefulUniform", context=True, stateful=True, static=("shape",), ignored=("shape_dtype",), gradient="none")
def generator_uniform(context: Context, resource: Handle, algorithm: Value, shape: Value, *, dtype: str = "float32") -> Value:
    """Uniform in [0, 1)."""
    return keras.random.uniform(lengths(shape), dtype=dtype, seed=context.next_seed())


@lowering("StatefulStandardNormalV2", context=True, stateful=True, static=("shape",), ignored=("shape_dtype",), gradient="none")
def generator_normal(context: Context, resource: Handle, algorithm: Value, shape: Value, *, dtype: str = "float32") -> Value:
    """Standard normal."""
    return keras.random.normal(lengths(shape), dtype=dtype, seed=context.next_seed())


@lowering("StatefulStandardNormal", context=True, stateful=True, static=("shape",), ignored=("shape_dtype",), gradient="none")
def generator_normal_v1(context: Context, resource: Handle, shape: Value, *, dtype: str = "float32") -> Value:
    """Standard normal."""
    return keras.random.normal(lengths(shape), dtype=dtype, seed=context.next_seed())


@lowering("StatefulUniformFullInt", context=True, stateful=True, static=("shape",), ignored=("shape_dtype",), gradient="none")
def generator_bits(context: Context, resource: Handle, algorithm: Value, shape: Value, *, dtype: str = "uint64") -> Value:
    """Random bits."""
    return _draw_bits(context, None, shape, dtype)


@lowering("StatefulRandomBinomial", context=True, stateful=True, static=("shape",), ignored=("S",), gradient="none")
def generator_binomial(
    context: Context, resource: Handle, algorithm: Value, shape: Value, counts: Value, probs: Value, *, dtype: str = "int64"
) -> Value:
    """Binomially distributed."""
    return _binomial(context.next_seed(), shape, counts, probs, dtype)


@lowering("StatefulTruncatedNormal", context=True, stateful=True, static=("shape",), ignored=("shape_dtype",), gradient="none")
def generator_truncated_normal(
    context: Context, resource: Handle, algorithm: Value, shape: Value, *, dtype: str = "float32"
) -> Value:
    """Standard normal, what lies beyond two drawn again."""
    return keras.random.truncated_normal(lengths(shape), dtype=dtype, seed=context.next_seed())


@lowering(
    "StatefulUniformInt",
    context=True,
    stateful=True,
    static=("shape", "minval", "maxval"),
    ignored=("dtype", "shape_dtype"),
    gradient="none",
)
def generator_integer(context: Context, resource: Handle, algorithm: Value, shape: Value, minval: Value, maxval: Value) -> Value:
    """Integers from minval, below maxval."""
    return _integers(context.next_seed(), lengths(shape), minval, maxval)


@lowering("RngSkip", context=True, stateful=True, gradient="none")
def rng_skip(context: Context, resource: Handle, algorithm: Value, delta: Value) -> Value:
    """Nothing."""
    return ()


@lowering("StatelessShuffle", context=True, stateful=True, gradient="none")
def stateless_shuffle(context: Context, value: Value, key: Value, counter: Value, alg: Value) -> Value:
    """Rows in random order, by the stream."""
    seed = number_of(context, _stream(key, counter))
    order = ops.argsort(keras.random.uniform((static_shape(value)[0],), seed=seed))
    return numpy.take(value, known(order, "order"), axis=0) if is_host(value) else ops.take(value, order, axis=0)


@lowering(
    "StatelessRandomGammaV3", context=True, stateful=True, static=("shape",), ignored=("dtype", "shape_dtype"), gradient="none"
)
def stateless_gamma_of_stream(context: Context, shape: Value, key: Value, counter: Value, alg: Value, alpha: Value) -> Value:
    """Gamma distributed, by the stream; `shape` ends in alpha's."""
    lead = lengths(shape)[: len(lengths(shape)) - len(static_shape(alpha))]
    return _gamma(number_of(context, _stream(key, counter)), numpy.array(lead, dtype="int32"), alpha)
