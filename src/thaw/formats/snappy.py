"""Decompression of a raw snappy block, as old TensorFlow compressed the index of a checkpoint. Imports errors and varint.

Source: github.com/google/snappy, format_description.txt.
"""

from thaw.errors import CorruptFileError
from thaw.wire.varint import varint

LARGEST = 1 << 26
"""Bytes that a block may grow to; LevelDB's blocks are of a few KB to a few MB."""


def decompress(data: bytes, origin: str) -> bytes:
    """What was compressed into `data`.

    Raises:
        CorruptFileError: it refers to what is not there, or does not give as many bytes as it announces.
    """
    size, at = varint(data, 0, origin)
    if size > LARGEST:
        raise CorruptFileError(origin, f"a compressed block announces {size} bytes, more than {LARGEST}")
    out = bytearray()
    while at < len(data) and len(out) <= size:
        tag = data[at]
        at += 1
        if tag & 3 == 0:  # a literal: up to 60 bytes by the tag, more by the one to four bytes behind it
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[at : at + extra], "little") + 1
                at += extra
            out += data[at : at + length]
            at += length
            continue
        if tag & 3 == 1:
            length, distance = (tag >> 2 & 7) + 4, tag >> 5 << 8 | int.from_bytes(data[at : at + 1], "little")
            at += 1
        else:
            width = 2 if tag & 3 == 2 else 4
            length, distance = (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little")
            at += width
        if not 0 < distance <= len(out):
            raise CorruptFileError(origin, f"a compressed block refers {distance} bytes back from byte {len(out)}")
        piece = out[-distance:][:length]
        out += (piece * (length // len(piece) + 1))[:length]  # a copy may overlap what it writes
    if len(out) != size or at != len(data):
        raise CorruptFileError(origin, f"a compressed block gives {len(out)} bytes, not the {size} that it announces")
    return bytes(out)
