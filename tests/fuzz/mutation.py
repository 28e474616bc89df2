"""Damage with an eye for structure: each function takes a random source and something whole, and gives it back a little broken.

Bytes are flipped, cut and spliced anywhere; messages, JSON, tables and graphs are changed by their own rules, so that
lengths and checksums are right again and the damage gets past the first check. Nothing here knows what a reader does.
"""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from thaw.formats.table import FOOTER, MAGIC, TRAILER, crc32c, masked, read_table, write_table
from thaw.wire.protos import Message
from thaw.wire.varint import encoded, varint

NUMBERS = [0, 1, -1, 2, 3, 4, 7, 8, 9, 16, 31, 64, 100, 127, 128, 255, 256, 1000, 65535, 65536, 2**20, 2**28, 2**30, 2**31 - 1,
           2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, -2, -(2**31), -(2**40), -(2**63)]  # fmt: skip
TEXTS = ["", "x", "^x", "^", ":0", "x:-1", "x:99999999999", "9" * 5000, "x:" + "9" * 5000,
         "../../etc/passwd", "/abs", "a:b", "NoOp:0", "x:y:0",
         "a:output:99", "\u0663", "x:\u0663", "x:\u00b2", "\0", "a" * 5000, "__call__", "signatures", "loc:@x",
         "10 20 0,5:0,20", "-1 -1 -,-"]  # fmt: skip
OPS = ["Enter", "Exit", "Merge", "Switch", "NextIteration", "LoopCond", "While", "StatelessWhile", "If", "Case", "Identity",
       "PartitionedCall", "StatefulPartitionedCall", "Placeholder", "Const", "NoOp", "VarHandleOp", "VariableV2", "Assign",
       "AssignVariableOp", "ReadVariableOp", "RestoreV2", "HashTableV2", "LookupTableImportV2", "Split", "Pack", "IdentityN",
       "RefEnter", "RefSwitch", "Less", "Add", "TensorListReserve", "FusedBatchNormV3", "ResourceGather",
       "_Arg", "_Retval"]  # fmt: skip


def number(rng: Random, old: int, bits: int, signed: bool) -> int:
    """Another number of that width."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    new = rng.choice([rng.choice(NUMBERS), old + rng.choice([-1, 1]), rng.getrandbits(rng.randrange(1, bits)), -old, old * 2])
    return min(max(new, low), high)


def damaged(rng: Random, data: bytes, near: list[int] | None = None, other: bytes = b"") -> bytes:
    """`data` with one to six changes.

    Args:
        rng: the random source.
        data: what to damage.
        near: places where damage tells most; half of the changes fall just behind one of them.
        other: bytes of the same kind, for splices.
    """
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        at = rng.randrange(len(out) + 1)
        if near and rng.random() < 0.5:
            at = min(rng.choice(near) + rng.randrange(64), len(out))
        kind = rng.randrange(10)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + 1] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])])
        elif kind in (2, 3):
            width = rng.choice([1, 2, 4, 8])
            value = rng.choice([*NUMBERS, len(out), at, rng.randrange(len(out) + 1)]) % (1 << 8 * width)
            out[at : at + width] = value.to_bytes(width, rng.choice(["little", "little", "big"]))
        elif kind == 4:
            del out[at : at + rng.choice([1, 2, 8, 40, 1000])]
        elif kind == 5:
            out[at:at] = out[at : at + rng.choice([1, 8, 60, 500])] * rng.choice([1, 1, 2, 50])
        elif kind == 6:
            out[at:at] = encoded(rng.choice(NUMBERS) % 2**64)
        elif kind == 7:
            source = other or bytes(out)
            start = rng.randrange(len(source) + 1)
            size = rng.choice([4, 16, 100, 2000])
            out[at : at + rng.choice([0, size])] = source[start : start + size]
        elif kind == 8 and rng.random() < 0.3:
            del out[at:]
        else:
            size = rng.choice([1, 4, 8, 64])
            out[at : at + size] = bytes([rng.choice([0, 0xFF])]) * min(size, len(out) - at)
    return bytes(out)


def texts(message: Message) -> list[str]:
    """The short texts anywhere in a message: names to be confused with one another."""
    found: dict[str, None] = {}
    stack = [message]
    while stack and len(found) < 5000:
        for field, value in stack.pop().ListFields():
            values = list(value) if field.is_repeated else [value]
            if field.message_type is None:
                found |= dict.fromkeys(v for v in values if isinstance(v, str) and len(v) < 200)
            elif field.message_type.GetOptions().map_entry:
                found |= dict.fromkeys(v for v in values if isinstance(v, str))
                stack += [value[k] for k in value if field.message_type.fields_by_name["value"].message_type is not None]
            else:
                stack += values
    return list(found)


_BITS = {"TYPE_INT32": (32, True), "TYPE_ENUM": (32, True), "TYPE_INT64": (64, True), "TYPE_SINT64": (64, True),
         "TYPE_UINT32": (32, False), "TYPE_FIXED32": (32, False), "TYPE_UINT64": (64, False), "TYPE_FIXED64": (64, False),
         "TYPE_SINT32": (32, True), "TYPE_SFIXED32": (32, True), "TYPE_SFIXED64": (64, True)}  # fmt: skip


_EMPTY = {9: "", 7: False}
"""By the number of a C++ type (CPPTYPE_STRING, CPPTYPE_BOOL) what a value begins as; numbers begin as 0."""


def scalar(rng: Random, field: Any, old: Any, names: list[str]) -> Any:
    """Another value for a field that is no message."""
    if field.type == field.TYPE_STRING:
        return rng.choice([rng.choice(TEXTS), rng.choice(names or [""]), rng.choice(names or [""]), old + "x", old[:-1]])
    if field.type == field.TYPE_BYTES:
        return damaged(rng, old or b"") if rng.random() < 0.8 else rng.choice([b"", b"\xff\xfe", b"a\0b"])
    if field.type == field.TYPE_BOOL:
        return not old
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf"), old + 1])
    return number(rng, old, *next(bits for kind, bits in _BITS.items() if getattr(field, kind) == field.type))


def change(rng: Random, message: Message, names: list[str]) -> None:
    """Changes one thing somewhere in `message`: a value, an element more, less or moved, a field gone or filled."""
    while True:
        if rng.random() < 0.05:  # a field that may not be there yet
            field = rng.choice(list(message.DESCRIPTOR.fields))
        else:
            filled = message.ListFields()
            if not filled:
                return
            field = rng.choice(filled)[0]
        value = getattr(message, field.name)
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            entry = inner.fields_by_name["value"]
            key = rng.choice(sorted(value)) if len(value) else None
            if key is None or rng.random() < 0.1:
                if key is not None and rng.random() < 0.5:
                    del value[key]
                return
            if entry.message_type is None:
                value[key] = scalar(rng, entry, value[key], names)
                return
            if rng.random() < 0.1:
                value[rng.choice(sorted(value))].CopyFrom(value[key])
                return
            message = value[key]
        elif field.is_repeated:
            if not len(value):
                if inner is not None:
                    value.add()
                else:
                    value.append(scalar(rng, field, _EMPTY.get(field.cpp_type, 0), names))
                return
            at, roll = rng.randrange(len(value)), rng.random()
            if roll < 0.06:
                del value[at]
                return
            if roll < 0.12:
                for _ in range(rng.choice([1, 1, 3, 300])):
                    value.append(value[at])
                return
            if inner is None:
                value[at] = scalar(rng, field, value[at], names)
                return
            if roll < 0.16:
                value[at].CopyFrom(value[rng.randrange(len(value))])
                return
            message = value[at]
        elif inner is not None:
            if rng.random() < 0.04:
                message.ClearField(field.name)
                return
            message = value
        else:
            if rng.random() < 0.1:
                message.ClearField(field.name)
            else:
                setattr(message, field.name, scalar(rng, field, value, names))
            return


def change_graph(rng: Random, nodes: Any, functions: list[str], in_function: bool) -> None:
    """Changes one thing in a list of NodeDefs that only graphs have: wires, ops, what is called, circles, frames."""
    if not len(nodes):
        return
    node, other = rng.choice(nodes), rng.choice(nodes)
    ending = rng.choice(["", ":0", ":1", ":7"]) if not in_function else rng.choice([":output:0", ":y:0", "", ":z:3"])
    kind = rng.randrange(9)
    if kind in (0, 1) and len(node.input):
        node.input[rng.randrange(len(node.input))] = other.name + ending
    elif kind == 2 and len(node.input):
        del node.input[rng.randrange(len(node.input))]
    elif kind == 3:
        node.input.insert(rng.randrange(len(node.input) + 1), rng.choice([other.name + ending, f"^{other.name}"]))
    elif kind == 4:
        node.op = rng.choice([rng.choice(OPS), other.op, rng.choice(functions) if functions else "NoOp"])
    elif kind == 5 and len(node.attr):
        key = rng.choice(sorted(node.attr))
        if len(other.attr) and rng.random() < 0.5:
            node.attr[key].CopyFrom(other.attr[rng.choice(sorted(other.attr))])
        elif node.attr[key].WhichOneof("value") == "func" and functions:
            node.attr[key].func.name = rng.choice(functions)
        else:
            del node.attr[key]
    elif kind == 6 and functions:
        node.op = rng.choice(["PartitionedCall", "StatefulPartitionedCall", "While", "If"])
        for key in ("f", "cond", "body", "then_branch", "else_branch"):
            node.attr[key].func.name = rng.choice(functions)
    elif kind == 7:
        copy = type(node)()
        copy.CopyFrom(other)
        copy.name = rng.choice([node.name, f"{node.name}/copy", f"{other.name}_1"])
        nodes.append(copy)
    else:
        names = [i for n in rng.sample(list(nodes), min(8, len(nodes))) for i in n.input]
        for n in rng.sample(list(nodes), min(4, len(nodes))):
            for at in range(len(n.input)):
                if names and rng.random() < 0.3:
                    n.input[at] = rng.choice(names)


def change_table(rng: Random, index: bytes, entry: Callable[[bytes, bytes], bytes]) -> bytes:
    """A checkpoint's index with damage behind its checksums: in an entry (by `entry(key, value)`), a key, or a raw block."""
    if rng.random() < 0.7:
        rows = read_table(index, "a seed")
        for _ in range(rng.choice([1, 1, 2, 4])):
            key = rng.choice(sorted(rows))
            roll = rng.random()
            if roll < 0.75:
                rows[key] = entry(key, rows[key])
            elif roll < 0.85:
                rows[damaged(rng, key)] = rows[key]
            elif roll < 0.95:
                rows[rng.choice(sorted(rows))] = rows[key]
            elif len(rows) > 1:
                del rows[key]
        return write_table(rows)
    blocks = []
    for offset, size in _blocks(index):
        block = index[offset : offset + size]
        block = damaged(rng, block) if rng.random() < 0.5 else block
        packed = rng.random() < 0.3
        blocks.append((_snappy(rng, block) if packed else block, b"\1" if packed else b"\0"))
    out, handles = b"", []
    for block, kind in blocks:
        handles.append(encoded(len(out)) + encoded(len(block)))
        out += block + kind + masked(crc32c(block + kind)).to_bytes(4, "little")
    handles = [damaged(rng, h) if rng.random() < 0.1 else h for h in handles]
    rows = b"".join(encoded(0) + encoded(1) + encoded(len(h)) + b"k" + h for h in handles)
    body = rows + bytes(4) + (1).to_bytes(4, "little")
    at = encoded(len(out)) + encoded(len(body))
    footer = (encoded(0) + encoded(4) + at).ljust(FOOTER - 8, b"\0")
    return out + body + b"\0" + masked(crc32c(body + b"\0")).to_bytes(4, "little") + footer[: FOOTER - 8] + MAGIC


def _blocks(index: bytes) -> Iterator[tuple[int, int]]:
    """Offset and size of the blocks of entries of a good table."""
    footer, at, handle = index[-FOOTER:-8], 0, []
    for _ in range(4):
        value, at = varint(footer, at, "")
        handle.append(value)
    end = min(handle[0], handle[2])
    start = 0
    while start < end:  # write_table puts them one after the other, each closed by its trailer
        size = next(
            (
                s
                for s in range(4, end - start - TRAILER + 1)
                if masked(crc32c(index[start : start + s + 1])) == int.from_bytes(index[start + s + 1 : start + s + 5], "little")
            ),
            end - start - TRAILER,
        )
        yield start, size
        start += size + TRAILER


def _snappy(rng: Random, block: bytes) -> bytes:
    """`block` as snappy literals and copies, damaged every second time."""
    out = bytearray(encoded(len(block)))
    for start in range(0, len(block), 60):
        piece = block[start : start + 60]
        out += bytes([len(piece) - 1 << 2]) + piece
    if rng.random() < 0.5:
        out += bytes([rng.choice([1, 2, 3, 0xF0, 0xFC, 0xFE])]) + bytes([rng.randrange(256), 0, 0, 0])[: rng.randrange(5)]
    return damaged(rng, bytes(out)) if rng.random() < 0.5 else bytes(out)


WORDS = ["", "Dense", "Lambda", "Sequential", "Functional", "Model", "InputLayer", "LSTM", "TimeDistributed", "Bidirectional",
         "RNN", "TFOpLambda", "relu", "__lambda__", "__tuple__", "float32", "bfloat16", "string", "same", "channels_first",
         "keras.layers", "builtins", "os", "system", "\0", "name/with/slash", "x" * 3000]  # fmt: skip


def change_json(rng: Random, value: Any) -> Any:
    """A JSON value with one to three parts replaced, moved, deleted, repeated, renamed or nested."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places: list[tuple[Any, Any]] = []
        stack = [value]
        while stack:
            item = stack.pop()
            keys = item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
            for key in keys:
                places.append((item, key))
                stack.append(item[key])
        if not places:
            return rng.choice([None, [], {}, 1, "x", [value]])
        holder, key = rng.choice(places)
        source, source_key = rng.choice(places)
        kind = rng.randrange(8)
        if kind in (0, 1):
            holder[key] = rng.choice([None, True, False, 0.5, -1.5, [], {}, rng.choice(NUMBERS), rng.choice(WORDS)])
        elif kind in (2, 3):
            holder[key] = json.loads(json.dumps(source[source_key]))
        elif kind == 4:
            del holder[key]
        elif kind == 5 and isinstance(holder, list):
            holder += json.loads(json.dumps([holder[key]])) * rng.choice([1, 2, 50])
        elif kind == 6 and isinstance(holder, dict):
            holder[rng.choice([*WORDS, str(source_key)])] = holder.pop(key)
        elif isinstance(holder[key], int) and not isinstance(holder[key], bool):
            holder[key] = number(rng, holder[key], 64, signed=True)
        else:
            for _ in range(rng.choice([1, 1, 5, 150])):
                holder[key] = rng.choice([[holder[key]], {"config": holder[key], "class_name": rng.choice(WORDS)}])
    return value
