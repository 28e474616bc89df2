"""Decompression of strings. On the host.

A few bytes may stand for very many, so what comes out is bounded before it is made.
"""

import zlib

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, strings

MOST_BYTES = 2**28
"""What all the strings of one tensor may decompress to."""

WINDOWS = {"ZLIB": zlib.MAX_WBITS, "GZIP": zlib.MAX_WBITS | 16}


@lowering("DecodeCompressed", host=True, gradient="none")
def decode_compressed(bytes: Strings, *, compression_type: str = "") -> Strings:
    """Strings without their compression.

    Raises:
        UnhandledValueError: a compression other than zlib's.
        ValueError: more comes out than `MOST_BYTES`.
    """
    if not compression_type:
        return bytes
    if compression_type not in WINDOWS:
        raise UnhandledValueError("DecodeCompressed", "compression_type", compression_type, ["", *WINDOWS])
    results, left = [], MOST_BYTES
    for text in bytes.ravel().tolist():
        plain = zlib.decompressobj(WINDOWS[compression_type]).decompress(text, left + 1)
        left -= len(plain)
        if left < 0:
            raise ValueError(f"{len(text)} bytes decompress to more than what {MOST_BYTES} leave for them")
        results.append(plain)
    return strings(results, bytes.shape)
