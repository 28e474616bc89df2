"""Spectrograms, cepstral coefficients, WAV files."""

import struct

import numpy as np

from lowering.case import Case

R = np.random.default_rng(24)


def f(*shape):
    return R.standard_normal(shape).astype("float32")


def text(data):
    return np.array(data, dtype=object)


def wav(channels, samples, extra=b""):
    body = R.integers(-32768, 32767, samples * channels).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, channels, 8000, 16000 * channels, 2 * channels, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + extra + b"data" + struct.pack("<I", len(body)) + body
    return text(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)


LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"

CASES = [
    Case("AudioSpectrogram", "two-channels", (f(200, 2),), {"window_size": 64, "stride": 25}, gradient=False),
    Case(
        "AudioSpectrogram",
        "squared-odd-window",
        (f(500, 1),),
        {"window_size": 100, "stride": 50, "magnitude_squared": True},
        gradient=False,
    ),
    Case("AudioSpectrogram", "too-short", (f(20, 1),), {"window_size": 32, "stride": 8}, gradient=False),
    Case("Mfcc", "default", (np.abs(f(1, 5, 257)), np.array(16000, "int32")), gradient=False),
    Case(
        "Mfcc",
        "narrow-band",
        (np.abs(f(2, 3, 129)), np.array(8000, "int32")),
        {
            "upper_frequency_limit": 3000.0,
            "lower_frequency_limit": 120.0,
            "filterbank_channel_count": 20,
            "dct_coefficient_count": 8,
        },
        gradient=False,
    ),
    Case("DecodeWav", "mono", (wav(1, 50),), gradient=False),
    Case("DecodeWav", "stereo-with-other-chunks", (wav(2, 50, LIST),), gradient=False),
    Case("DecodeWav", "longer-and-wider", (wav(1, 50),), {"desired_channels": 2, "desired_samples": 60}, gradient=False),
    Case("DecodeWav", "shorter-and-narrower", (wav(2, 50),), {"desired_channels": 1, "desired_samples": 20}, gradient=False),
    Case("EncodeWav", "clipped", (f(40, 2), np.array(8000, "int32")), gradient=False),
]
