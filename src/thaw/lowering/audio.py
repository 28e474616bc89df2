"""Audio: WAV files on the host; spectrograms and cepstral coefficients on the device, so that gradients flow to the signal.

Imports the registry and the values.
"""

import io
import struct
from typing import Any

import numpy as np
from keras import ops

from thaw.errors import MediaError
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, dtype_of, static_shape


@lowering("AudioSpectrogram", context=True, gradient="none")
def audio_spectrogram(context: Context, input: Value, *, window_size: int, stride: int, magnitude_squared: bool = False) -> Value:
    """The magnitudes of each frame's spectrum: (channels, frames, bins), from a signal (samples, channels).

    Source: tensorflow/core/kernels/spectrogram.cc: a periodic Hann window, the length of the transform a power of two.
    """
    samples = int(static_shape(input)[0] or 0)
    frames = 1 + (samples - window_size) // stride if samples >= window_size else 0
    length = 1 << (window_size - 1).bit_length() if window_size > 1 else 1
    if not frames:
        return np.zeros((int(static_shape(input)[1] or 0), 0, length // 2 + 1), context.compute_dtype)
    at = np.arange(frames)[:, None] * stride + np.arange(window_size)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_size) / window_size)
    signal = ops.transpose(ops.convert_to_tensor(input))
    cut = ops.take(signal, at.astype("int32"), axis=1) * ops.convert_to_tensor(window, dtype=dtype_of(signal))
    cut = ops.pad(cut, ((0, 0), (0, 0), (0, length - window_size)))
    real, imaginary = ops.rfft(ops.cast(cut, "float32"))
    power = ops.square(real) + ops.square(imaginary)
    return ops.cast(power if magnitude_squared else ops.sqrt(power), context.compute_dtype)


def mel(frequency: Any) -> Any:
    """The pitch of a frequency (Hz) on the mel scale."""
    return 1127.0 * np.log1p(frequency / 700.0)


def mel_bank(bins: int, rate: float, channels: int, lower: float, upper: float) -> np.ndarray:
    """Triangular weights (bins, channels) equally wide in mel. Source: tensorflow/core/kernels/mfcc_mel_filterbank.cc."""
    low = mel(lower)
    centers = low + (mel(upper) - low) / (channels + 1) * np.arange(1, channels + 2)
    width = 0.5 * rate / (bins - 1)
    start, end = int(1.5 + lower / width), int(upper / width)
    bank = np.zeros((bins, channels))
    for i in range(start, min(end, bins - 1) + 1):
        pitch = mel(i * width)
        channel = int(np.searchsorted(centers[:channels], pitch)) - 1  # the last center below, -1 before the first
        left = centers[channel] if channel >= 0 else low
        share = (centers[channel + 1] - pitch) / (centers[channel + 1] - left)
        if channel >= 0:
            bank[i, channel] += share
        if channel + 1 < channels:
            bank[i, channel + 1] += 1 - share
    return bank


@lowering("Mfcc", static=("sample_rate",), context=True, gradient="none")
def mfcc(
    context: Context,
    spectrogram: Value,
    sample_rate: Value,
    *,
    upper_frequency_limit: float = 4000.0,
    lower_frequency_limit: float = 20.0,
    filterbank_channel_count: int = 40,
    dct_coefficient_count: int = 13,
) -> Value:
    """Mel-frequency cepstral coefficients of squared magnitudes: (channels, frames, coefficients)."""
    bins, count = int(static_shape(spectrogram)[-1] or 0), filterbank_channel_count
    bank = mel_bank(bins, float(sample_rate), count, lower_frequency_limit, upper_frequency_limit)
    angles = np.arange(dct_coefficient_count)[None, :] * (np.arange(count)[:, None] + 0.5)
    transform = np.sqrt(2.0 / count) * np.cos(np.pi / count * angles)
    x = ops.sqrt(ops.cast(spectrogram, "float32"))
    energy = ops.matmul(x, ops.convert_to_tensor(bank, dtype="float32"))
    y = ops.matmul(ops.log(ops.maximum(energy, 1e-12)), ops.convert_to_tensor(transform, dtype="float32"))
    return ops.cast(y, context.compute_dtype)


@lowering("DecodeWav", host=True, gradient="none")
def decode_wav(contents: Value, *, desired_channels: int = -1, desired_samples: int = -1) -> tuple[Value, Value]:
    """Samples between -1 and 1 (samples, channels) of a 16-bit WAV file, cut or filled up as desired; and its rate (Hz)."""
    data = bytes(contents.item())
    channels, rate, samples = wav_samples(data)
    audio = (np.frombuffer(samples, "<i2").astype("float32") / np.float32(32768)).reshape(-1, channels)
    if desired_channels > channels:
        audio = (
            np.repeat(audio[:, :1], desired_channels, axis=1)
            if channels == 1
            else np.pad(audio, ((0, 0), (0, desired_channels - channels)))
        )
    elif desired_channels > 0:
        audio = audio[:, :desired_channels]
    if desired_samples >= 0:
        audio = np.pad(audio[:desired_samples], ((0, max(desired_samples - len(audio), 0)), (0, 0)))
    return audio, np.asarray(rate, "int32")


def wav_samples(data: bytes) -> tuple[int, int, bytes]:
    """Channels, samples a second, and the raw 16-bit samples of a WAV file.

    Raises:
        MediaError: it is not one, or not of 16-bit integers.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise MediaError("DecodeWav", f"got {len(data)} bytes that begin with {data[:4]!r}", "a RIFF WAVE file")
    form = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            form = struct.unpack("<HHIIHH", body[:16])
        elif name == b"data" and form is not None:
            kind, channels, rate, _, _, bits = form
            if bits != 16 or kind not in {1, 0xFFFE} or not channels:
                raise MediaError("DecodeWav", f"got format {kind} with {bits} bits", "16-bit integer samples")
            return channels, rate, body[: len(body) // (2 * channels) * 2 * channels]
        at += 8 + size + size % 2
    raise MediaError("DecodeWav", f"got {len(data)} bytes without samples", "a `fmt ` and a `data` chunk")


@lowering("EncodeWav", host=True, gradient="none")
def encode_wav(audio: Value, sample_rate: Value) -> Value:
    """A 16-bit WAV file of samples between -1 and 1 (samples, channels)."""
    channels, rate = audio.shape[1], int(sample_rate)
    wide = np.clip(audio * np.float32(32768), -32768, 32767)
    body = (np.sign(wide) * np.floor(np.abs(wide) + 0.5)).astype("<i2").tobytes()  # C's round
    out = io.BytesIO()
    out.write(b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVE")
    out.write(b"fmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16))
    out.write(b"data" + struct.pack("<I", len(body)) + body)
    return np.array(out.getvalue(), dtype=object)
