"""Hashes of strings, bit by bit as TensorFlow's: FarmHash's Fingerprint64, SipHash-2-4, and the older Hash64.

Strings of one length are hashed together, in numpy's wrapping 64-bit arithmetic: a lane each. Imports numpy.
Source: tensorflow/core/platform/{fingerprint,hash,strong_hash}.h, and FarmHash (namespace farmhashna), MIT licence.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings

U = np.uint64
K0, K1, K2 = U(0xC3A5C85C97CB3127), U(0xB492B66FBE98F273), U(0x9AE16A3B2F90404F)
Words = np.ndarray
"""One uint64 for each of the strings that are hashed together."""


def by_length(texts: Strings, hash_rows: Callable[[np.ndarray, int], Words]) -> Words:
    """`hash_rows` of (strings of one length, length) uint8 arrays, put back in the order of `texts` (any shape)."""
    flat = texts.ravel()
    lengths = np.fromiter(map(len, flat.tolist()), dtype=np.int64, count=flat.size)
    result = np.empty(flat.size, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for length in np.unique(lengths).tolist():
            where = np.flatnonzero(lengths == length)
            rows = np.frombuffer(b"".join(flat[where].tolist()), dtype=np.uint8).reshape(len(where), length)
            result[where] = hash_rows(rows, length)
    return result.reshape(texts.shape)


def _fetch(rows: np.ndarray, at: int, size: int = 8) -> Words:
    """The little-endian word of `size` bytes at offset `at` of each row."""
    part = np.ascontiguousarray(rows[:, at : at + size])
    words: Words = part.view(f"<u{size}")[:, 0].astype(np.uint64)
    return words


def _rotate(x: Words, right: int) -> Words:
    rotated: Words = (x >> U(right)) | (x << U(64 - right))
    return rotated


def _mix(x: Words) -> Words:
    mixed: Words = x ^ (x >> U(47))
    return mixed


def _hash16(u: Words, v: Words, mul: Any) -> Words:
    a = _mix((u ^ v) * mul)
    hashed: Words = _mix((v ^ a) * mul) * mul
    return hashed


def fingerprint64(rows: np.ndarray, length: int) -> Words:
    """Fingerprint64 of rows of `length` bytes."""
    if length <= 16:
        return _upto16(rows, length)
    if length <= 32:
        return _upto32(rows, length)
    return _upto64(rows, length) if length <= 64 else _longer(rows, length)


def _upto16(s: np.ndarray, n: int) -> Words:
    if n >= 8:
        mul = K2 + U(n * 2)
        a, b = _fetch(s, 0) + K2, _fetch(s, n - 8)
        c = _rotate(b, 37) * mul + a
        d = (_rotate(a, 25) + b) * mul
        return _hash16(c, d, mul)
    if n >= 4:
        mul = K2 + U(n * 2)
        return _hash16(U(n) + (_fetch(s, 0, 4) << U(3)), _fetch(s, n - 4, 4), mul)
    if n > 0:
        a, b, c = (s[:, i].astype(np.uint64) for i in (0, n >> 1, n - 1))
        return _mix(((a + (b << U(8))) * K2) ^ ((U(n) + (c << U(2))) * K0)) * K2
    return np.full(len(s), K2)


def _upto32(s: np.ndarray, n: int) -> Words:
    mul = K2 + U(n * 2)
    a, b = _fetch(s, 0) * K1, _fetch(s, 8)
    c, d = _fetch(s, n - 8) * mul, _fetch(s, n - 16) * K2
    return _hash16(_rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + K2, 18) + c, mul)


def _upto64(s: np.ndarray, n: int) -> Words:
    mul = K2 + U(n * 2)
    a, b = _fetch(s, 0) * K2, _fetch(s, 8)
    c, d = _fetch(s, n - 8) * mul, _fetch(s, n - 16) * K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _hash16(y, a + _rotate(b + K2, 18) + c, mul)
    e, f = _fetch(s, 16) * mul, _fetch(s, 24)
    g, h = (y + _fetch(s, n - 32)) * mul, (z + _fetch(s, n - 24)) * mul
    return _hash16(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _weak32(s: np.ndarray, at: int, a: Words, b: Words) -> tuple[Words, Words]:
    w, x, y, z = (_fetch(s, at + 8 * i) for i in range(4))
    a = a + w
    b = _rotate(b + a + z, 21)
    c = a
    a = a + x + y
    return a + z, b + _rotate(a, 44) + c


def _longer(s: np.ndarray, n: int) -> Words:
    x = np.full(len(s), U(81))
    y = np.full(len(s), U(81) * K1 + U(113))
    z = _mix(y * K2 + U(113)) * K2
    v = w = (np.zeros(len(s), np.uint64), np.zeros(len(s), np.uint64))
    x = x * K2 + _fetch(s, 0)
    end = (n - 1) // 64 * 64
    for at in range(0, end, 64):
        x = _rotate(x + y + v[0] + _fetch(s, at + 8), 37) * K1
        y = _rotate(y + v[1] + _fetch(s, at + 48), 42) * K1
        x = x ^ w[1]
        y = y + v[0] + _fetch(s, at + 40)
        z = _rotate(z + w[0], 33) * K1
        v = _weak32(s, at, v[1] * K1, x + w[0])
        w = _weak32(s, at + 32, z + w[1], y + _fetch(s, at + 16))
        z, x = x, z
    mul = K1 + ((z & U(0xFF)) << U(1))
    at = n - 64
    w = (w[0] + U((n - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x = _rotate(x + y + v[0] + _fetch(s, at + 8), 37) * mul
    y = _rotate(y + v[1] + _fetch(s, at + 48), 42) * mul
    x = x ^ (w[1] * U(9))
    y = y + v[0] * U(9) + _fetch(s, at + 40)
    z = _rotate(z + w[0], 33) * mul
    v = _weak32(s, at, v[1] * mul, x + w[0])
    w = _weak32(s, at + 32, z + w[1], y + _fetch(s, at + 16))
    z, x = x, z
    return _hash16(_hash16(v[0], w[0], mul) + _mix(y) * K0 + z, _hash16(v[1], w[1], mul) + x, mul)


def concatenated(first: Words, second: Words) -> Words:
    """The fingerprint of two fingerprints (FingerprintCat64)."""
    kmul = U(0xC6A4A7935BD1E995)
    with np.errstate(over="ignore"):
        result: Words = first ^ kmul
        result = result ^ (_mix(second * kmul) * kmul)
        result = result * kmul
        return _mix(_mix(result) * kmul)


def siphash(rows: np.ndarray, length: int, key: tuple[int, int]) -> Words:
    """SipHash-2-4 under a key of two words."""
    k0, k1 = (U(k & 0xFFFFFFFFFFFFFFFF) for k in key)
    start = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    v = [np.full(len(rows), U(c) ^ k) for c, k in zip(start, (k0, k1, k0, k1), strict=True)]
    whole = length // 8 * 8
    tail = np.zeros((len(rows), 8), np.uint8)
    tail[:, : length - whole] = rows[:, whole:]
    tail[:, 7] = length & 0xFF
    for word in [*(_fetch(rows, at) for at in range(0, whole, 8)), _fetch(tail, 0)]:
        v[3] = v[3] ^ word
        v = _sip_round(_sip_round(v))
        v[0] = v[0] ^ word
    v[2] = v[2] ^ U(0xFF)
    for _ in range(4):
        v = _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_round(v: list[Words]) -> list[Words]:
    a, b, c, d = v
    a, c = a + b, c + d
    b, d = _rotate(b, 51) ^ a, _rotate(d, 48) ^ c
    a = _rotate(a, 32)
    c, a = c + b, a + d
    b, d = _rotate(b, 47) ^ c, _rotate(d, 43) ^ a
    return [a, b, _rotate(c, 32), d]


def hash64(rows: np.ndarray, length: int) -> Words:
    """TensorFlow's own Hash64 with its default seed (a MurmurHash2)."""
    m = U(0xC6A4A7935BD1E995)
    h = np.full(len(rows), U(0xDECAFCAFFE) ^ (U(length) * m))
    whole = length // 8 * 8
    for at in range(0, whole, 8):
        k = _fetch(rows, at) * m
        k = (k ^ (k >> U(47))) * m
        h = (h ^ k) * m
    if length > whole:
        tail = np.zeros((len(rows), 8), np.uint8)
        tail[:, : length - whole] = rows[:, whole:]
        h = (h ^ _fetch(tail, 0)) * m
    h = (h ^ (h >> U(47))) * m
    return h ^ (h >> U(47))


def _buckets(hashes: Words, number: int) -> np.ndarray:
    return (hashes % U(number)).astype(np.int64)


@lowering("StringToHashBucketFast", host=True, gradient="none")
def string_to_hash_bucket_fast(input: Strings, *, num_buckets: int) -> np.ndarray:
    """Fingerprint64 modulo the number of buckets."""
    if num_buckets == 1:  # out-of-vocabulary words of one bucket: every text embedding of TF Hub has this
        return np.zeros(input.shape, np.int64)
    return _buckets(by_length(input, fingerprint64), num_buckets)


@lowering("StringToHashBucketStrong", host=True, gradient="none")
def string_to_hash_bucket_strong(input: Strings, *, num_buckets: int, key: tuple[int, int]) -> np.ndarray:
    """SipHash under a key, modulo the number of buckets."""
    return _buckets(by_length(input, lambda rows, length: siphash(rows, length, key)), num_buckets)


@lowering("StringToHashBucket", host=True, gradient="none")
def string_to_hash_bucket(string_tensor: Strings, *, num_buckets: int) -> np.ndarray:
    """Hash64 modulo the number of buckets."""
    return _buckets(by_length(string_tensor, hash64), num_buckets)


@lowering("Fingerprint", host=True, gradient="none")
def fingerprint(data: np.ndarray, method: Strings) -> np.ndarray:
    """Fingerprint64 of the bytes of each row, as 8 bytes; of a row of several strings, of their fingerprints.

    Raises:
        UnhandledValueError: another method, which TensorFlow does not have either.
    """
    if method.item() != b"farmhash64":
        raise UnhandledValueError("Fingerprint", "method", method.item(), ["farmhash64"])
    rows = len(data)
    if data.dtype == object:
        hashed = by_length(data.reshape(rows, -1) if rows else data.ravel(), fingerprint64)
        if hashed.ndim < 2 or hashed.shape[1] == 1:
            return np.ascontiguousarray(hashed.reshape(rows, 1)).view(np.uint8)
        data = hashed
    bytes_of = np.ascontiguousarray(data.reshape(rows, -1) if rows else np.zeros((0, 1), data.dtype)).view(np.uint8)
    with np.errstate(over="ignore"):
        words = fingerprint64(bytes_of, bytes_of.shape[1]) if rows else np.zeros(0, np.uint64)
    return np.ascontiguousarray(words.reshape(rows, 1)).view(np.uint8)
