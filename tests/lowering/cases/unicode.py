"""Code points."""

import numpy as np

from lowering.cases.text import BULK, TEXT, case, i, s

HOST_ENCODED = s(*["aé日😀".encode("utf-16-be"), b"\xd8\x00\x00A", b"\x00", b""])
WIDE = s("aé日😀".encode("utf-32-be"), b"\x00\x11\x00\x00\x00\x00\x00A", b"\x00\x00")
CODES = i(97, 233, 0x65E5, 0x1F600, 0xD800, 0x110000, 65)
UTF8 = {"input_encoding": "UTF-8"}

CASES = [
    case("UnicodeDecode", "bulk", BULK, **UTF8),
    case("UnicodeDecode", "bulk-ignore", BULK, **UTF8, errors="ignore"),
    case("UnicodeDecode", "other-replacement", TEXT, **UTF8, replacement_char=63),
    case("UnicodeDecode", "controls", BULK, **UTF8, replace_control_characters=True),
    case("UnicodeDecode", "controls-ignored", BULK, **UTF8, replace_control_characters=True, errors="ignore"),
    case("UnicodeDecode", "utf16", HOST_ENCODED, input_encoding="UTF-16-BE"),
    case("UnicodeDecode", "utf32", WIDE, input_encoding="UTF-32-BE"),
    case("UnicodeDecode", "latin1", s(b"a\xe9\xff"), input_encoding="ISO-8859-1"),
    case("UnicodeDecode", "int32-splits", TEXT, **UTF8, Tsplits="int32"),
    case(
        "UnicodeDecode",
        "malformed",
        s(b"\xe3\x81", b"\xf0\x9f\x98", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80", b"a\x80b"),
        **UTF8,
    ),
    case("UnicodeDecodeWithOffsets", "bulk", BULK, **UTF8),
    case("UnicodeDecodeWithOffsets", "utf16", HOST_ENCODED, input_encoding="UTF-16-BE"),
    case("UnicodeEncode", "utf8", CODES, i(0, 2, 2, 7, dtype="int64"), output_encoding="UTF-8"),
    case("UnicodeEncode", "ignore", CODES, i(0, 7, dtype="int64"), output_encoding="UTF-8", errors="ignore"),
    case("UnicodeEncode", "utf16", CODES, i(0, 3, 7, dtype="int32"), output_encoding="UTF-16-BE", replacement_char=63),
    case("UnicodeEncode", "utf32", CODES, i(0, 3, 7, dtype="int32"), output_encoding="UTF-32-BE"),
    case("UnicodeTranscode", "mended", BULK, **UTF8, output_encoding="UTF-8"),
    case("UnicodeTranscode", "to-utf16", TEXT, **UTF8, output_encoding="UTF-16-BE"),
    case("UnicodeTranscode", "matrix-ignore", BULK.reshape(30, 10), **UTF8, output_encoding="UTF-8", errors="ignore"),
    case("UnicodeScript", "every-hundredth", np.arange(-3, 0x110000, 97, dtype=np.int32).reshape(-1, 1)),
    case("UnicodeScript", "out-of-range", i(-1, 0x10FFFF, 0x110000, 2**31 - 1)),
]
