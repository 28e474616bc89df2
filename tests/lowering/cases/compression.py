"""Compressed strings."""

import gzip
import zlib

from lowering.cases.text import case, one, s

PLAIN = [b"", b"a", bytes(range(256)) * 5, "straße".encode()]

CASES = [
    case("DecodeCompressed", "none", s(*PLAIN)),
    case("DecodeCompressed", "zlib", s(*map(zlib.compress, PLAIN)), compression_type="ZLIB"),
    case("DecodeCompressed", "gzip", s(*(gzip.compress(p, mtime=0) for p in PLAIN), shape=(2, 2)), compression_type="GZIP"),
    case("DecodeCompressed", "nothing", s(), compression_type="ZLIB"),
    case("DecodeCompressed", "scalar", one(zlib.compress(b"0" * 999)), compression_type="ZLIB"),
]
