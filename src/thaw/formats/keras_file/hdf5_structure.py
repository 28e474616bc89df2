"""Walks the structures of an HDF5 file before the HDF5 library does: damaged ones make it crash, or loop without end.

Knows what Keras' files are made of (the format that the library writes unless told otherwise) and nothing more: `check`
refuses what is damaged, and says of a file with other structures that it does not know them. Reads bytes only.
Source: HDF5 File Format Specification 3.0, parts II (superblock), III (B-trees, heaps, symbol tables) and IV (headers).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from struct import Struct

from thaw.errors import CorruptFileError

__all__ = ["UnknownStructureError", "check"]

_NOWHERE = 2**64 - 1
_MOST_OBJECTS = 200_000
_MOST_DEPTH = 64
_MOST_AXES = 32
_MOST_LEVELS = 12
_LONGEST_NAME = 65_536
_LARGEST = 2**62
# Deflate cannot do better than 1032:1.
_MOST_INFLATION, _SLACK = 1100, 65_536

_Q, _I, _H = Struct("<Q"), Struct("<I"), Struct("<H")
_MESSAGE = Struct("<HHB3x")
_ENTRY = Struct("<QQIIQQ")
_NODE = Struct("<4sBBHQQ")

# Known numbers: bits of the class, then offset and precision in bits, and for floats where exponent and mantissa lie.
_FLOATS = {2: (16, 10, 5, 10, 15), 4: (32, 23, 8, 23, 127), 8: (64, 52, 11, 52, 1023)}
_FILTERS = {1: 1, 2: 1, 3: 0}
"""Deflate, shuffle and Fletcher's checksum, each with the number of its parameters."""


class UnknownStructureError(Exception):
    """The file has structures that Keras does not write; whether they are whole cannot be told here."""


@dataclass(frozen=True, slots=True)
class _Type:
    """A datatype: bytes of one element, and whether it is text of any length, which lies in a global heap."""

    size: int
    in_heap: bool = False


class _Damage(Exception):
    """What is wrong, in words; becomes a CorruptFileError that names the file."""


def check(data: mmap | bytes, shown: object) -> None:
    """Looks at every structure that can be reached from the root of the HDF5 file in `data`.

    Args:
        data: the whole file.
        shown: names it in errors.

    Raises:
        CorruptFileError: a structure is damaged, or leads out of the file or around in a circle.
        UnknownStructureError: it has structures that are not known here.
    """
    try:
        _Walk(data).run()
    except _Damage as damage:
        raise CorruptFileError(shown, str(damage)) from None


class _Walk:
    def __init__(self, data: mmap | bytes) -> None:
        self.data = data
        self.end = len(data)
        self.leaf = self.internal = 0
        self.seen: set[int] = set()
        self.heaps: dict[int, dict[int, int]] = {}
        self.links = self.stored = 0

    def run(self) -> None:
        """From the superblock on."""
        head = self.read(0, 96, "superblock")
        if head[8] in (2, 3):
            raise UnknownStructureError(f"superblock version {head[8]}")
        if head[8] > 1 or head[9] or head[10] or head[12]:
            raise _Damage(f"its superblock has the version {head[8]}, which does not exist")
        at = 24 if head[8] == 0 else 28
        if head[8] == 1 or head[13:15] != b"\x08\x08":
            raise UnknownStructureError("numbers of another size")
        self.leaf, self.internal = _H.unpack_from(head, 16)[0], _H.unpack_from(head, 18)[0]
        base, free, end, driver = (_Q.unpack_from(head, at + 8 * i)[0] for i in range(4))
        if base or free != _NOWHERE or driver != _NOWHERE:
            raise UnknownStructureError("a base address, a free space or a driver")
        if not 96 <= end <= self.end or not 0 < self.leaf < 4096 or not 0 < self.internal < 4096:
            raise _Damage(f"its superblock says that it ends at byte {end}, and it has {self.end}")
        self.end = end
        groups: set[int] = set()
        pending = [(self.entry(head, 56), 0)]
        while pending:
            (address, cached), depth = pending.pop()
            if depth > _MOST_DEPTH:
                raise _Damage(f"groups are nested deeper than {_MOST_DEPTH}")
            if len(self.seen) > _MOST_OBJECTS:
                raise _Damage(f"it holds more than {_MOST_OBJECTS} objects")
            if address in groups or (address in self.seen and cached is not None):
                raise _Damage(f"the group at byte {address} occurs twice")
            if address in self.seen:
                continue
            self.seen.add(address)
            table = self.object(address)
            if cached is not None and cached != table:
                raise _Damage(f"the object at byte {address} is not the group as which it is listed")
            if table is not None:
                groups.add(address)
                pending += [(child, depth + 1) for child in self.group(*table)]

    # ---- bytes ----

    def read(self, at: int, size: int, what: str) -> bytes:
        """A piece of the file, all of which must be there."""
        if at < 0 or size < 0 or at + size > self.end:
            raise _Damage(f"a {what} lies at bytes {at}..{at + size}, and the file ends at {self.end}")
        return self.data[at : at + size]

    def entry(self, data: bytes, at: int) -> tuple[int, tuple[int, int] | None]:
        """A symbol table entry: the address of the object, and what is cached there of a group."""
        _, address, cached, _, first, second = _ENTRY.unpack_from(data, at)
        if cached > 2:
            raise _Damage(f"a member of a group is of the unknown kind {cached}")
        return address, (first, second) if cached == 1 else None

    # ---- groups ----

    def group(self, tree: int, heap: int) -> Iterator[tuple[int, tuple[int, int] | None]]:
        """The members of a group, links left out (they are refused where names are known)."""
        size, segment = self.local_heap(heap)
        for _, leaf in self.tree(tree, 0, 8, self.internal):
            head = self.read(leaf, 8, "list of a group's members")
            count = _H.unpack_from(head, 6)[0]
            if head[:5] != b"SNOD\x01" or count > 2 * self.leaf:
                raise _Damage(f"the list of a group's members at byte {leaf} is none, or has {count} of them")
            self.links += count
            if self.links > _MOST_OBJECTS:
                raise _Damage(f"its groups have more than {_MOST_OBJECTS} members")
            rows = self.read(leaf + 8, 40 * count, "list of a group's members")
            for at in range(0, 40 * count, 40):
                name, cached = _Q.unpack_from(rows, at)[0], _I.unpack_from(rows, at + 16)[0]
                self.name(segment, size, name)
                if cached == 2:
                    self.name(segment, size, _I.unpack_from(rows, at + 24)[0])
                else:
                    yield self.entry(rows, at)

    def local_heap(self, at: int) -> tuple[int, int]:
        """Size and address of a heap of names; its free places must not lead around in a circle."""
        head = self.read(at, 32, "heap of names")
        size, free, segment = (_Q.unpack_from(head, 8 + 8 * i)[0] for i in range(3))
        if head[:5] != b"HEAP\0":
            raise _Damage(f"there is no heap of names at byte {at}")
        self.read(segment, size, "heap of names")
        seen: set[int] = set()
        while free != 1:
            if free in seen or free + 16 > size or free % 8:
                raise _Damage(f"the free places of the heap of names at byte {at} lead nowhere")
            seen.add(free)
            after, length = Struct("<QQ").unpack_from(self.data, segment + free)
            if not 16 <= length <= size - free:
                raise _Damage(f"a free place of the heap of names at byte {at} has {length} bytes")
            free = after
        return size, segment

    def name(self, segment: int, size: int, offset: int) -> None:
        """A name in a heap must begin and end inside it."""
        if offset >= size or self.data.find(b"\0", segment + offset, segment + min(size, offset + _LONGEST_NAME)) < 0:
            raise _Damage(f"a name lies at byte {offset} of a heap of {size}")

    def tree(self, root: int, kind: int, key: int, most: int) -> Iterator[tuple[bytes, int]]:
        """What the leaves of a B-tree lead to, each behind its key. Each node is met once, beside its neighbours."""
        level, nodes = None, [root]
        for _ in range(_MOST_LEVELS):
            below: list[tuple[bytes, int]] = []
            for index, at in enumerate(nodes):
                signature, node_kind, depth, count, left, right = _NODE.unpack(self.read(at, 24, "B-tree"))
                if signature != b"TREE" or node_kind != kind or count > 2 * most or (level not in (None, depth)):
                    raise _Damage(f"there is no B-tree of the right kind at byte {at}")
                level = depth
                beside = (nodes[index - 1] if index else _NOWHERE, nodes[index + 1] if index + 1 < len(nodes) else _NOWHERE)
                if (left, right) != beside:
                    raise _Damage(f"the B-tree at byte {at} has other neighbours than its parent says")
                body = self.read(at + 24, count * (key + 8) + key, "B-tree")
                below += [(body[i : i + key], _Q.unpack_from(body, i + key)[0]) for i in range(0, count * (key + 8), key + 8)]
            if len({at for _, at in below}) != len(below) or len(below) > _MOST_OBJECTS:
                raise _Damage(f"the B-tree at byte {root} leads twice to the same place")
            if not level:
                yield from below
                return
            nodes, level = [at for _, at in below], level - 1
        raise _Damage(f"the B-tree at byte {root} is deeper than {_MOST_LEVELS}")

    # ---- objects ----

    def object(self, address: int) -> tuple[int, int] | None:
        """Looks at an object's header; B-tree and heap of its members where it is a group."""
        head = self.read(address, 16, "header")
        if head[:4] == b"OHDR":
            raise UnknownStructureError("headers of version 2")
        count, size = _H.unpack_from(head, 2)[0], _I.unpack_from(head, 8)[0]
        if head[0] != 1:
            raise _Damage(f"there is no header at byte {address}")
        found: dict[int, bytes] = {}
        total = 0
        blocks, block_at = [(address + 16, size)], 0
        while block_at < len(blocks):
            start, length = blocks[block_at]
            block_at += 1
            block = self.read(start, length, "header")
            at = 0
            while at < length:
                if at + 8 > length:
                    raise _Damage(f"the header at byte {address} has a torn message")
                kind, size, flags = _MESSAGE.unpack_from(block, at)
                if size % 8 or at + 8 + size > length:
                    raise _Damage(f"a message of the header at byte {address} runs over its end")
                message = block[at + 8 : at + 8 + size]
                at, total = at + 8 + size, total + 1
                if flags & ~5:
                    raise UnknownStructureError("a shared message")
                if kind == 16:
                    blocks.append((_Q.unpack_from(message)[0], _Q.unpack_from(message, 8)[0]) if size >= 16 else (0, 0))
                    if len(blocks) > 10_000 or blocks[-1] in blocks[:-1] or blocks[-1][1] < 8:
                        raise _Damage(f"the header at byte {address} goes on where it began, or nowhere")
                elif kind == 12:
                    self.attribute(message)
                elif kind:
                    if kind in found or kind not in (1, 3, 4, 5, 8, 11, 17, 18):
                        raise UnknownStructureError(f"a message of the kind {kind}")
                    found[kind] = message
        if total != count:
            raise _Damage(f"the header at byte {address} has {total} messages, not {count}")
        return self.parts(address, found)

    def parts(self, address: int, found: dict[int, bytes]) -> tuple[int, int] | None:
        """What an object's messages make it: an array, whose parts must fit, or a group."""
        if 17 in found:
            if len(found[17]) < 16 or 8 in found:
                raise _Damage(f"the header at byte {address} is that of no group")
            return _Q.unpack_from(found[17])[0], _Q.unpack_from(found[17], 8)[0]
        if not {1, 3, 8} <= found.keys():
            if 3 in found:
                raise UnknownStructureError("a type of its own")
            raise _Damage(f"the header at byte {address} is neither that of a group nor of an array")
        shape, _ = self.shape(found[1])
        kind, _ = self.type(found[3])
        for number in (4, 5):
            if number in found:
                self.fill(number, found[number], kind)
        filters = self.filters(found[11], kind) if 11 in found else []
        self.layout(found[8], shape, kind, filters)
        return None

    def shape(self, message: bytes) -> tuple[tuple[int, ...] | None, int]:
        """The shape that a dataspace says (None: no values at all), and where it ends."""
        version, rank, flags = (_piece(message, 0, 4))[:3]
        if version not in (1, 2) or rank > _MOST_AXES or flags & ~1:
            raise _Damage(f"an array has a shape of version {version} with {rank} axes")
        start = 8 if version == 1 else 4
        count = rank * (2 if flags & 1 else 1)
        sizes = [_Q.unpack_from(_piece(message, start, 8 * count), 8 * i)[0] for i in range(count)]
        dims, largest = tuple(sizes[:rank]), sizes[rank:]
        if math.prod(max(n, 1) for n in dims) > _LARGEST or any(b < a for a, b in zip(dims, largest, strict=False)):
            raise _Damage(f"an array has the shape {list(dims)}")
        kind = message[3] if version == 2 else 1
        if kind > 2 or (kind != 1 and rank):
            raise _Damage(f"an array has a shape of the unknown kind {kind}")
        return None if kind == 2 else dims, start + 8 * count

    def type(self, message: bytes) -> tuple[_Type, int]:
        """The datatype that a message begins with, and where it ends."""
        head = _piece(message, 0, 8)
        version, kind, size = head[0] >> 4, head[0] & 15, _I.unpack_from(head, 4)[0]
        bits = head[1:4]
        if not 1 <= version <= 4 or kind > 12 or not size:
            raise _Damage(f"an array has a type of version {version}, class {kind} and {size} bytes")
        if version > 3:
            raise UnknownStructureError("a type of version 4")
        if kind == 0:
            offset, precision = Struct("<HH").unpack(_piece(message, 8, 4))
            if size not in (1, 2, 4, 8) or offset or precision != 8 * size or bits[0] & ~9 or bits[1] or bits[2]:
                raise UnknownStructureError("an integer of another width")
            return _Type(size), 12
        if kind == 1:
            precision, exponent_at, exponent, mantissa, bias = _FLOATS.get(size, (0, 0, 0, 0, 0))
            stored = Struct("<HHBBBBI").unpack(_piece(message, 8, 12))
            known = stored == (0, precision, exponent_at, exponent, 0, mantissa, bias)
            if not precision or not known or bits[0] & ~1 != 32 or bits[1] != precision - 1 or bits[2]:
                raise UnknownStructureError("a float of another kind")
            return _Type(size), 20
        if kind == 3:
            if bits[0] & 15 > 2 or bits[0] >> 4 > 1 or bits[1] or bits[2]:
                raise UnknownStructureError("text of another kind")
            return _Type(size), 8
        if kind == 9:
            if bits[0] & 15 != 1 or bits[0] >> 4 > 2 or bits[1] > 1 or bits[2] or size != 16:
                raise UnknownStructureError("lists of any length")
            inner, end = self.type(message[8:])
            if inner != _Type(1):
                raise UnknownStructureError("text of wide characters")
            return _Type(16, in_heap=True), 8 + end
        raise UnknownStructureError(f"a type of class {kind}")

    def fill(self, number: int, message: bytes, kind: _Type) -> None:
        """What stands where nothing was written."""
        if number == 5:
            version, when, how, known = _piece(message, 0, 4)
            if version == 3:
                raise UnknownStructureError("a fill value of version 3")
            if version not in (1, 2) or when > 3 or how > 2 or known > 1:
                raise _Damage("an array has a damaged fill value")
            if version == 2 and not known:
                return
            message = message[4:]
        size = _I.unpack(_piece(message, 0, 4))[0]
        if size not in (0, kind.size, 2**32 - 1) or (kind.in_heap and size == kind.size and any(_piece(message, 4, size))):
            raise _Damage(f"an array of elements of {kind.size} bytes has a fill value of {size}")
        if size == kind.size:
            _piece(message, 4, size)

    def filters(self, message: bytes, kind: _Type) -> list[int]:
        """How the pieces of an array are packed: the numbers of the filters."""
        version, count = _piece(message, 0, 2)
        if version == 2:
            raise UnknownStructureError("filters of version 2")
        if version != 1 or not 0 < count <= 32:
            raise _Damage(f"an array is packed by {count} filters")
        at, found = 8, list[int]()
        for _ in range(count):
            number, name, flags, values = Struct("<HHHH").unpack(_piece(message, at, 8))
            if _FILTERS.get(number) != values or flags > 1 or name % 8:
                raise UnknownStructureError(f"the filter {number}")
            parameters = _piece(message, at + 8 + name, 4 * values)
            if (number == 1 and _I.unpack(parameters)[0] > 9) or (number == 2 and _I.unpack(parameters)[0] != kind.size):
                raise _Damage(f"an array is packed by the filter {number} in an unknown way")
            at += 8 + name + 4 * values + 4 * (values % 2)
            found.append(number)
        return found

    def layout(self, message: bytes, shape: tuple[int, ...] | None, kind: _Type, filters: list[int]) -> None:
        """Where the values of an array lie."""
        version, how = _piece(message, 0, 2)
        if version != 3:
            if version in (1, 2, 4):
                raise UnknownStructureError(f"a layout of version {version}")
            raise _Damage(f"an array has a layout of version {version}")
        if kind.in_heap:
            raise UnknownStructureError("an array of texts")
        claimed = math.prod(shape) * kind.size if shape is not None else 0
        if how == 0:
            size = _H.unpack(_piece(message, 2, 2))[0]
            _piece(message, 4, size)
            if size != claimed or filters:
                raise _Damage(f"an array of {claimed} bytes has {size} in its header")
        elif how == 1:
            address, size = Struct("<QQ").unpack(_piece(message, 2, 16))
            if address != _NOWHERE:
                self.values(address, size, "array")
            if (size != claimed and not (address == _NOWHERE and size == 0)) or filters:
                raise _Damage(f"an array of {claimed} bytes has {size} of them stored")
        elif how == 2 and shape is not None:
            axes = _piece(message, 2, 1)[0]
            address = _Q.unpack(_piece(message, 3, 8))[0]
            sizes = [_I.unpack(_piece(message, 11 + 4 * i, 4))[0] for i in range(axes)]
            if axes != len(shape) + 1 or sizes[-1] != kind.size or not all(sizes) or math.prod(sizes) >= 2**32:
                raise _Damage(f"an array of the shape {list(shape)} lies in pieces of {sizes[:-1]}")
            if address != _NOWHERE:
                for key, at in self.tree(address, 1, 8 + 8 * axes, 32):
                    offsets = [_Q.unpack_from(key, 8 + 8 * i)[0] for i in range(axes)]
                    fits = all(o % n == 0 and o < most for o, n, most in zip(offsets, sizes, (*shape, 1), strict=True))
                    if not fits or _I.unpack_from(key, 4)[0]:
                        raise _Damage(f"a piece of an array of the shape {list(shape)} begins at {offsets[:-1]}")
                    self.piece(at, _I.unpack_from(key)[0], math.prod(sizes), filters)
        else:
            raise _Damage(f"an array is laid out in the unknown way {how}")

    def piece(self, at: int, size: int, whole: int, filters: list[int]) -> None:
        """A stored piece must unpack to exactly as many bytes as it stands for: the library does not look."""
        self.values(at, size, "piece of an array")
        stored = self.data[at : at + size] if filters else b""
        if whole > size * _MOST_INFLATION + _SLACK:
            raise _Damage(f"a piece of an array claims {whole} bytes, and {size} are stored")
        for number in reversed(filters):
            if number == 3:
                stored = stored[:-4]
            elif number == 1:
                try:
                    stored = zlib.decompressobj().decompress(stored, whole + 4 * len(filters) + 1)
                except zlib.error as error:
                    raise _Damage(f"a piece of an array does not unpack ({error})") from None
        found = len(stored) if filters else size
        if found != whole:
            raise _Damage(f"a piece of an array gives {found} bytes, not {whole}")

    def values(self, at: int, size: int, what: str) -> None:
        """Values must lie inside the file, and no two arrays share theirs: so the whole is never more than the file."""
        if at + size > self.end:
            raise _Damage(f"a {what} lies at bytes {at}..{at + size}, and the file ends at {self.end}")
        self.stored += size
        if self.stored > self.end:
            raise _Damage(f"its arrays claim {self.stored} bytes, and it has {self.end}")

    # ---- attributes ----

    def attribute(self, message: bytes) -> None:
        """An attribute: name, type, shape and values, all in its message; long texts in a global heap."""
        version, flags, *sizes = Struct("<BBHHH").unpack(_piece(message, 0, 8))
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise UnknownStructureError(f"an attribute of version {version}")
        step = 8 if version == 1 else 1
        at = 9 if version == 3 else 8
        name, kind_bytes, shape_bytes = (_Pieces(message, at, sizes, step)).pieces
        if not name.endswith(b"\0") or b"\0" in name[:-1].rstrip(b"\0"):
            raise _Damage("an attribute has no whole name")
        kind, end = self.type(kind_bytes)
        shape, shape_end = self.shape(shape_bytes)
        if end > len(kind_bytes) or shape_end > len(shape_bytes):
            raise _Damage("an attribute's parts run into one another")
        start = at + sum(-(-s // step) * step for s in sizes)
        count = math.prod(shape) if shape is not None else 0
        values = _piece(message, start, count * kind.size)
        if kind.in_heap:
            for i in range(count):
                length, heap, index = Struct("<IQI").unpack_from(values, 16 * i)
                if length and self.heap(heap).get(index, -1) < length:
                    raise _Damage(f"an attribute's text of {length} bytes is not in the heap at byte {heap}")

    def heap(self, start: int) -> dict[int, int]:
        """The sizes of the texts in a global heap, by index.

        A heap ends with its free space, an object with index 0 whose size leads to the end.
        """
        if start in self.heaps:
            return self.heaps[start]
        head = self.read(start, 16, "heap of strings")
        size = _Q.unpack_from(head, 8)[0]
        if head[:5] != b"GCOL\x01" or size < 4096:
            raise _Damage(f"there is no heap of strings at byte {start}")
        self.read(start, size, "heap of strings")
        sizes: dict[int, int] = {}
        at, end = start + 16, start + size
        while at + 16 <= end:
            index, length = _H.unpack_from(self.data, at)[0], _Q.unpack_from(self.data, at + 8)[0]
            # Free space counts its own header; other objects do not, and are padded to eight bytes.
            step = length if index == 0 else 16 + -(-length // 8) * 8
            if step < 16 or at + step > end or (index and index in sizes):
                raise _Damage(f"object {index} of the heap of strings at byte {start} has the size {length}")
            sizes[index] = length
            at += step
        self.heaps[start] = sizes
        return sizes


class _Pieces:
    """Consecutive parts of a message, each padded to a multiple of `step`."""

    def __init__(self, message: bytes, at: int, sizes: list[int], step: int) -> None:
        self.pieces = []
        for size in sizes:
            self.pieces.append(_piece(message, at, size))
            at += -(-size // step) * step


def _piece(message: bytes, at: int, size: int) -> bytes:
    if at + size > len(message):
        raise _Damage(f"a message of {len(message)} bytes is cut off at {at + size}")
    return message[at : at + size]
