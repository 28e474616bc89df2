"""Numbers of variable length, seven bits a byte, as protobuf, LevelDB and snappy write them. Imports errors only."""

from thaw.errors import CorruptFileError


def varint(data: bytes | memoryview, at: int, origin: str) -> tuple[int, int]:
    """The number encoded at `at`, and where the next thing begins.

    Raises:
        CorruptFileError: it runs over the end or over 64 bits.
    """
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise CorruptFileError(origin, f"a number at byte {at} runs over its end")


def encoded(number: int) -> bytes:
    """`number` as a varint."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
