"""TensorBundle, TensorFlow's checkpoint format: an index (a LevelDB table) and shards of raw tensors. Reads and writes.

Shards are memory-mapped when a tensor is first read, and its checksum is verified then; when the next one is read, the pages of
the last one are given back. Imports table, tensor protos, files.
Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc, tensorflow/core/util/saved_tensor_slice_util.cc.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from thaw.errors import CorruptFileError, MissingFileError
from thaw.formats.files import Files, give_back
from thaw.formats.table import crc32c, masked, read_table, write_table
from thaw.wire.dtypes import NUMBERS, name_of, numpy_type
from thaw.wire.protos import Message, new, parse
from thaw.wire.tensor_proto import MOST_AXES
from thaw.wire.varint import encoded, varint

MOST_SHARDS = 100_000


class Bundle:
    """A checkpoint: tensors by key.

    Args:
        files: where it lies.
        prefix: "variables/variables": its index is `<prefix>.index`.

    Raises:
        MissingFileError: there is no index.
        CorruptFileError: the index is damaged, or not of this machine's byte order.
    """

    def __init__(self, files: Files, prefix: str) -> None:
        self.files = files
        self.prefix = prefix
        self.origin = f"{files.origin}/{prefix}.index"
        self._table = read_table(files.read(f"{prefix}.index"), self.origin)
        header = parse("BundleHeaderProto", self._table.pop(b"", b""), self.origin)
        if header.endianness != 0:
            raise CorruptFileError(self.origin, "its tensors are big-endian, which is not read")
        if not 0 <= header.num_shards <= MOST_SHARDS:
            raise CorruptFileError(self.origin, f"it claims {header.num_shards} shards")
        self.shards = header.num_shards
        self._entries: dict[bytes, Message] = {}
        self._maps: dict[int, memoryview] = {}
        self._last: tuple[int, int, int] | None = None  # shard, start and stop of what was read last

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.encode() in self._table

    def __iter__(self) -> Iterator[str]:
        """The keys, without those of slices (which begin with a zero byte)."""
        return (key.decode(errors="replace") for key in self._table if not key.startswith(b"\0"))

    def _entry(self, key: bytes) -> Message:
        if key not in self._entries:
            if key not in self._table:
                shown = key.decode(errors="replace")
                raise CorruptFileError(self.origin, f"it has no tensor {shown!r}, to which the graph refers")
            self._entries[key] = parse("BundleEntryProto", self._table[key], self.origin)
        return self._entries[key]

    def _slice(self, key: str, extents: Message) -> Message:
        """The entry of one slice of a tensor."""
        if len(extents.extent) > MOST_AXES:
            raise CorruptFileError(self.origin, f"a slice of {key!r} has {len(extents.extent)} axes")
        return self._entry(slice_key(key, extents))

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of the tensor of that key, the whole one where it lies there in slices."""
        return self._shape(self._entry(key.encode()), key)

    def dtype(self, key: str) -> str:
        """The dtype of the tensor of that key, by TensorFlow's name."""
        return name_of(self._entry(key.encode()).dtype)

    def _shape(self, entry: Message, key: str) -> tuple[int, ...]:
        shape = tuple(d.size for d in entry.shape.dim)
        if entry.shape.unknown_rank or len(shape) > MOST_AXES or any(n < 0 for n in shape):
            raise CorruptFileError(self.origin, f"the tensor {key!r} has the shape {list(shape)}, which no value can have")
        return shape

    def read(self, key: str) -> np.ndarray:
        """The tensor of that key: a read-only view of the file, a fresh array where it lies there in slices.

        Raises:
            CorruptFileError: there is none, its bytes are not there, or its checksum is wrong.
            MissingFileError: its shard is not there.
        """
        entry = self._entry(key.encode())
        if not entry.slices:
            return self._read(entry, key)
        shape = self._shape(entry, key)
        kind = numpy_type(name_of(entry.dtype), self.origin)
        parts = [(s, self._slice(key, s)) for s in entry.slices]
        stored = sum(math.prod(self._shape(part, key)) for _, part in parts)
        if stored != math.prod(shape):
            raise CorruptFileError(
                self.origin, f"the {len(parts)} slices of {key!r} hold {stored} elements, not those of {list(shape)}"
            )
        values = [self._read(part, key) for _, part in parts]  # what is claimed is there, so there is memory for the whole
        whole = np.empty(shape, kind)
        for (extents, _), value in zip(parts, values, strict=True):
            place = _place(extents, shape)
            if len(extents.extent) != len(shape) or whole[place].shape != value.shape:
                raise CorruptFileError(
                    self.origin, f"a slice of {key!r} has the shape {list(value.shape)} and does not fit into {list(shape)}"
                )
            whole[place] = value
        return whole

    def read_slice(self, key: str, start: tuple[int, ...], length: tuple[int, ...]) -> np.ndarray:
        """The part of that tensor which begins at `start` and is `length` long; only it is read where it lies there so.

        Raises:
            CorruptFileError, MissingFileError: as `read`.
        """
        entry = self._entry(key.encode())
        shape = self._shape(entry, key)
        wanted = tuple(slice(s, s + n) for s, n in zip(start, length, strict=True))
        for extents in entry.slices:
            if _place(extents, shape) == wanted:
                part = self._slice(key, extents)
                if self._shape(part, key) == length:
                    return self._read(part, key)
        return self.read(key)[wanted]

    def _read(self, entry: Message, key: str) -> np.ndarray:
        dtype = name_of(entry.dtype)
        shape = self._shape(entry, key)
        kind = numpy_type(dtype, self.origin)
        count = math.prod(shape)
        if dtype != "string" and entry.size != count * kind.itemsize:
            problem = f"the tensor {key!r} ({dtype}{list(shape)}) has {entry.size} bytes, not {count * kind.itemsize}"
            raise CorruptFileError(self.origin, problem)
        data = self._bytes(entry, key)
        if dtype == "string":
            return self._strings(data, count, entry, key).reshape(shape)
        self._verify(crc32c(data), entry, key)
        return np.frombuffer(data, kind, count).reshape(shape) if count else np.zeros(shape, kind)

    def _bytes(self, entry: Message, key: str) -> memoryview:
        number = entry.shard_id
        if not 0 <= number < self.shards:
            raise CorruptFileError(self.origin, f"the tensor {key!r} lies in shard {number} of {self.shards}")
        name = f"{self.prefix}.data-{number:05d}-of-{self.shards:05d}"
        if number not in self._maps:
            if not self.files.exists(name):
                raise MissingFileError(self.files.origin, name, f"the value of {key!r}")
            self._maps[number] = self.files.map(name)
        data = self._maps[number]
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > len(data):
            problem = f"it ends at byte {len(data)}, but the tensor {key!r} lies at {entry.offset}..{entry.offset + entry.size}"
            raise CorruptFileError(f"{self.files.origin}/{name}", problem)
        if self._last is not None:
            shard, start, stop = self._last
            give_back(self._maps[shard], start, stop)
        self._last = (number, entry.offset, entry.offset + entry.size)
        return data[entry.offset : entry.offset + entry.size]

    def _verify(self, crc: int, entry: Message, key: str) -> None:
        if masked(crc) != entry.crc32c:
            name = f"{self.prefix}.data-{entry.shard_id:05d}-of-{self.shards:05d}"
            problem = f"the checksum of the tensor {key!r} does not fit its {entry.size} bytes"
            raise CorruptFileError(f"{self.files.origin}/{name}", problem)

    def _strings(self, data: memoryview, count: int, entry: Message, key: str) -> np.ndarray:
        if count > len(data):
            raise CorruptFileError(self.origin, f"the tensor {key!r} claims {count} strings in {len(data)} bytes")
        at, lengths = 0, []
        for _ in range(count):
            length, at = varint(data, at, self.origin)
            lengths.append(length)
        if at + 4 + sum(lengths) != len(data):
            raise CorruptFileError(self.origin, f"the {count} strings of {key!r} do not fill its {len(data)} bytes")
        crc = crc32c(b"".join(_length_bytes(n) for n in lengths))
        if int.from_bytes(data[at : at + 4], "little") != masked(crc):
            raise CorruptFileError(self.origin, f"the checksum of the lengths of {key!r} is wrong")
        self._verify(crc32c(data[at:], crc), entry, key)
        at += 4
        strings = np.empty(count, object)
        for i, length in enumerate(lengths):
            strings[i] = bytes(data[at : at + length])
            at += length
        return strings


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a variable lies in a checkpoint: the key, and the part of that tensor where it is not the whole."""

    key: str
    start: tuple[int, ...] = ()
    length: tuple[int, ...] = ()

    @property
    def place(self) -> tuple[slice, ...]:
        """The indices of the part in the whole tensor."""
        return tuple(slice(s, s + n) for s, n in zip(self.start, self.length, strict=True))


@dataclass(frozen=True, slots=True)
class Reading:
    """What `VariableSource.read` is for a variable in a bundle: called, it reads; kept, it says where to write."""

    bundle: Bundle
    stored: Stored

    def __call__(self) -> np.ndarray:
        """The variable's value; raises as `Bundle.read`."""
        stored = self.stored
        return self.bundle.read_slice(stored.key, stored.start, stored.length) if stored.length else self.bundle.read(stored.key)


def _length_bytes(length: int) -> bytes:
    return length.to_bytes(4 if length < 2**32 else 8, "little")


def _place(extents: Message, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The indices at which a slice goes into the whole."""
    return tuple(
        slice(e.start, e.start + e.length) if e.WhichOneof("has_length") else slice(0, size)
        for e, size in zip(extents.extent, shape, strict=False)
    )


def slice_key(name: str, extents: Message) -> bytes:
    """The key of one slice of the tensor `name`: LevelDB's ordered code of name, rank, and start and length of each axis."""
    out = bytearray(b"\0")
    out += name.encode().replace(b"\xff", b"\xff\0").replace(b"\0", b"\0\xff") + b"\0\1"
    rank = len(extents.extent)
    out += bytes([1, rank]) if rank else b"\0"
    for extent in extents.extent:
        known = extent.WhichOneof("has_length")
        out += _signed(extent.start if known else 0) + _signed(extent.length if known else -1)
    return bytes(out)


def _signed(number: int) -> bytes:
    """A signed number in LevelDB's order-preserving code."""
    bits = (number if number >= 0 else ~number).bit_length()
    length = bits // 7 + 1
    raw = bytearray(number.to_bytes(10, "big", signed=True)[-length:])
    header = (0xFFFF << (16 - length)) & 0xFFFF
    raw[0] ^= header >> 8
    if length > 1:
        raw[1] ^= header & 0xFF
    return bytes(raw)


def write_bundle(prefix: str, tensors: Mapping[str, tuple[str, np.ndarray]]) -> dict[str, bytes]:
    """The files of a checkpoint of `tensors` (key -> dtype, value), in one shard."""
    data = bytearray()
    header = new("BundleHeaderProto", num_shards=1)
    header.version.producer = 1
    entries = {b"": header.SerializeToString()}
    for key in sorted(tensors):
        dtype, value = tensors[key]
        if dtype == "string":
            strings = [bytes(s) for s in np.asarray(value, object).ravel()]
            crc = crc32c(b"".join(_length_bytes(len(s)) for s in strings))
            rest = masked(crc).to_bytes(4, "little") + b"".join(strings)
            raw, crc = b"".join(encoded(len(s)) for s in strings) + rest, crc32c(rest, crc)
        else:
            raw = np.ascontiguousarray(value).tobytes()
            crc = crc32c(raw)
        entry = new("BundleEntryProto", dtype=NUMBERS[dtype], offset=len(data), size=len(raw), crc32c=masked(crc))
        for size in np.shape(value):
            entry.shape.dim.add(size=size)
        entries[key.encode()] = entry.SerializeToString()
        data += raw
    return {f"{prefix}.index": write_table(entries), f"{prefix}.data-00000-of-00001": bytes(data)}
