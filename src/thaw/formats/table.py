"""The LevelDB table that a TensorBundle's index is: sorted keys to values in checksummed blocks. Reads and writes.

Only what TensorFlow writes there: plain blocks (old ones by snappy), no filters. Every offset and length is checked against
the buffer before it is used. Imports google_crc32c and errors only.
Source: tensorflow/core/lib/io/{format,block,table_builder}.cc.
"""

from collections.abc import Iterator, Mapping

import google_crc32c

from thaw.errors import CorruptFileError
from thaw.formats.snappy import decompress
from thaw.wire.varint import encoded, varint

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER = 48
"""Bytes: two block handles padded to 40, and the magic number."""

TRAILER = 5
"""Bytes behind each block: its compression and its masked crc32c."""

_MASK = 0xA282EAD8
_PIECE = 1 << 22


def crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    """The crc32c of `data`, going on from `crc`; a view is copied a few MB at a time."""
    if isinstance(data, bytes):
        return int(google_crc32c.extend(crc, data))
    for start in range(0, len(data), _PIECE):
        crc = google_crc32c.extend(crc, bytes(data[start : start + _PIECE]))
    return int(crc)


def masked(crc: int) -> int:
    """A crc as LevelDB stores it, so that a checksum over checksums stays strong."""
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def _block(data: bytes, offset: int, size: int, origin: str) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block there."""
    end = offset + size
    if end + TRAILER > len(data):
        raise CorruptFileError(origin, f"a block at byte {offset} of {size} bytes runs over its end at {len(data)}")
    if data[end] > 1:
        raise CorruptFileError(origin, f"the block at byte {offset} is compressed in the unknown way {data[end]}")
    stored = int.from_bytes(data[end + 1 : end + TRAILER], "little")
    if masked(crc32c(data[offset : end + 1])) != stored:
        raise CorruptFileError(origin, f"the checksum of the block at byte {offset} does not fit its bytes")
    block = decompress(data[offset:end], origin) if data[end] else data[offset:end]
    restarts = int.from_bytes(block[-4:], "little")
    limit = len(block) - 4 * (restarts + 1)
    if limit < 0:
        raise CorruptFileError(origin, f"the block at byte {offset} claims {restarts} restart points in {len(block)} bytes")
    at, key = 0, b""
    while at < limit:
        shared, at = varint(block, at, origin)
        fresh, at = varint(block, at, origin)
        length, at = varint(block, at, origin)
        if shared > len(key) or at + fresh + length > limit:
            raise CorruptFileError(origin, f"an entry at byte {offset + at} runs over its block")
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


def read_table(data: bytes, origin: str) -> dict[bytes, bytes]:
    """All entries of a table, in its order.

    Raises:
        CorruptFileError: it is no table, is truncated, or a checksum is wrong.
    """
    if len(data) < FOOTER or data[-8:] != MAGIC:
        raise CorruptFileError(origin, f"its {len(data)} bytes do not end like a TensorBundle index")
    footer = data[-FOOTER:-8]
    at = 0
    handle = []
    for _ in range(4):  # of the metaindex, then of the index
        number, at = varint(footer, at, origin)
        handle.append(number)
    entries: dict[bytes, bytes] = {}
    seen: set[int] = set()
    for _, value in _block(data, handle[2], handle[3], origin):
        offset, at = varint(value, 0, origin)
        size, _ = varint(value, at, origin)
        if offset in seen:  # a small file could name one block a million times
            raise CorruptFileError(origin, f"two entries of its index lead to the block at byte {offset}")
        seen.add(offset)
        entries.update(_block(data, offset, size, origin))
    return entries


def write_table(entries: Mapping[bytes, bytes]) -> bytes:
    """A table of `entries`, in one block a few thousand bytes, as LevelDB would."""
    out = bytearray()
    index: list[tuple[bytes, bytes]] = []

    def put(rows: list[tuple[bytes, bytes]]) -> bytes:
        body = b"".join(encoded(0) + encoded(len(k)) + encoded(len(v)) + k + v for k, v in rows)
        restarts, at = [], 0
        for key, value in rows:  # every entry is a restart point: nothing is shared
            restarts.append(at)
            at += 1 + len(encoded(len(key))) + len(encoded(len(value))) + len(key) + len(value)
        body += b"".join(r.to_bytes(4, "little") for r in restarts or [0]) + len(restarts or [0]).to_bytes(4, "little")
        handle = encoded(len(out)) + encoded(len(body))
        out.extend(body + b"\0" + masked(crc32c(body + b"\0")).to_bytes(4, "little"))
        return handle

    rows: list[tuple[bytes, bytes]] = []
    size = 0
    for key in sorted(entries):
        rows.append((key, entries[key]))
        size += len(key) + len(entries[key])
        if size > 4096:
            index.append((key, put(rows)))
            rows, size = [], 0
    if rows:
        index.append((rows[-1][0], put(rows)))
    meta = put([])
    footer = meta + put(index)
    return bytes(out) + footer.ljust(FOOTER - 8, b"\0") + MAGIC
