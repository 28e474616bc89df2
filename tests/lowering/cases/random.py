"""Random numbers by a known seed: TensorFlow's own. The others are tested by their statistics in test_random.py."""

import numpy as np

from lowering.case import Case

SEED = np.array([7, 11], dtype="int64")
KEY, COUNTER = np.array([2**63 + 5], dtype="uint64"), np.array([2**64 - 2, 9], dtype="uint64")
STATISTICS = "tests/lowering/test_random.py, by its statistics"
ELSEWHERE = dict.fromkeys(
    (
        "RandomUniform",
        "RandomStandardNormal",
        "TruncatedNormal",
        "RandomUniformInt",
        "RandomShuffle",
        "Multinomial",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "StatelessTruncatedNormal",
        "StatelessTruncatedNormalV2",
        "StatelessMultinomial",
        "StatelessRandomGammaV2",
        "RngReadAndSkip",
        "RngSkip",
        "StatefulUniform",
        "StatefulStandardNormalV2",
        "StatefulTruncatedNormal",
        "StatefulUniformInt",
        "StatelessShuffle",
        "StatelessRandomGammaV3",
        "StatelessRandomBinomial",
        "StatelessRandomPoisson",
        "StatelessParameterizedTruncatedNormal",
        "ParameterizedTruncatedNormal",
        "StatefulStandardNormal",
        "StatefulUniformFullInt",
        "StatefulRandomBinomial",
        "NonDeterministicInts",
    ),
    STATISTICS,
) | dict.fromkeys(
    ("RandomCrop", "SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2", "StatelessSampleDistortedBoundingBox"),
    "tests/lowering/test_random_crop.py, by their statistics",
)


def shape(*lengths):
    return np.array(lengths, dtype="int32")


def stateless(op, id, *inputs, **attrs):
    return Case(op, id, inputs, attrs, gradient=False)


ALG = np.int32(1)

CASES = [
    stateless("StatelessRandomUniform", "float32", shape(3, 5), SEED),
    stateless("StatelessRandomUniform", "float64-negative-seed", shape(7), -SEED.astype("int32"), dtype="float64"),
    stateless("StatelessRandomNormal", "float32", shape(3, 5), SEED),
    stateless("StatelessRandomNormal", "float64", shape(4), SEED, dtype="float64"),
    stateless("StatelessRandomUniformV2", "counter-overflows", shape(3, 5), KEY, COUNTER, ALG),
    stateless("StatelessRandomNormalV2", "counter-overflows", shape(3, 5), KEY, COUNTER, ALG),
    stateless("StatelessRandomUniformInt", "int32", shape(9), SEED, np.int32(-5), np.int32(17), dtype="int32"),
    stateless("StatelessRandomUniformInt", "int64", shape(9), SEED, np.int64(-5), np.int64(17), dtype="int64"),
    stateless("StatelessRandomUniformIntV2", "int32", shape(9), KEY, COUNTER, ALG, np.int32(-5), np.int32(17)),
    stateless("StatelessRandomUniformFullInt", "int32", shape(9), SEED, dtype="int32"),
    stateless("StatelessRandomUniformFullIntV2", "int32", shape(9), KEY, COUNTER, ALG, dtype="int32"),
    stateless("StatelessRandomGetKeyCounter", "int64-seed", SEED),
    stateless("StatelessRandomGetKeyCounterAlg", "int64-seed", SEED),
    stateless("StatelessRandomGetAlg", "philox"),
]
