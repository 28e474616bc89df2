"""Strings: case, splitting, joining, slicing, regular expressions, hashes, numbers."""

import numpy as np

from lowering.case import Case


def s(*items, shape=None):
    array = np.empty(len(items), dtype=object)
    array[:] = [x if isinstance(x, bytes) else x.encode() for x in items]
    return array if shape is None else array.reshape(shape)


def one(text):
    return s(text, shape=())


def i(*items, dtype="int32"):
    return np.array(items, dtype=dtype)


WORDS = ["", " ", "Hello World", "ÄÖÜ straße İstanbul ΣΑΣ", "  a  b\t\nc  ", "日本語 テキスト 😀"]
WORDS += [b"\xff\xfe bad \xc3", b"nul\x00inside", "x" * 300]
TEXT = s(*WORDS)


def bulk(count=300, seed=7):
    """Random strings of random alphabets, some not UTF-8: the same on every machine."""
    rng = np.random.default_rng(seed)
    alphabets = [
        "ab ",
        "abcdefghijklmnopqrstuvwxyzABC  .,;!?'\"-",
        "aäßÀÿŁø éñ\t\n\r\x0b\x0c",
        "日本語テ キ、。한글",
        "😀🎉 \u0301\u200d\u00a0\u3000x",
        "\u0130\u0131\u03a3\u03c3\u03c2 \u1e9e\ufb03\u01c5",
    ]
    items = []
    for number in range(count):
        alphabet = alphabets[number % len(alphabets)]
        length = int(rng.integers(0, 90 if number % 10 else 400))
        data = "".join(alphabet[k] for k in rng.integers(0, len(alphabet), length)).encode()
        if number % 9 == 0 and data:  # cut in the middle of a character, or spoiled
            data = data[: int(rng.integers(0, len(data)))] + (b"\xff" if number % 2 else b"")
        items.append(data)
    return s(*items)


BULK = bulk()


def case(op, id, *inputs, **attrs):
    return Case(op, id, inputs, attrs, gradient=False)


CASES = [
    case("StringLower", "ascii", TEXT, encoding=""),
    case("StringLower", "utf8", TEXT, encoding="utf-8"),
    case("StringLower", "bulk-ascii", BULK, encoding=""),
    case("StringLower", "bulk-utf8", BULK, encoding="utf-8"),
    case("StringLower", "scalar", one("ABC")),
    case("StringLower", "empty", s()),
    case("StringUpper", "ascii", TEXT, encoding=""),
    case("StringUpper", "utf8", TEXT, encoding="utf-8"),
    case("StringUpper", "bulk-utf8", BULK, encoding="utf-8"),
    case("StringStrip", "bulk", BULK),
    case("StringStrip", "matrix", s(" a", "b ", " \t\n\v\f\r", "", shape=(2, 2))),
    case("StringSplit", "space", TEXT, one(" ")),
    case("StringSplit", "bulk-space", BULK, one(" ")),
    case("StringSplit", "bulk-space-keep-empty", BULK, one(" "), skip_empty=False),
    case("StringSplit", "several-delimiters", TEXT, one(" ,\t\n")),
    case("StringSplit", "several-delimiters-keep-empty", BULK, one(" ,.;]^-"), skip_empty=False),
    case("StringSplit", "each-byte", s("abc", "", "é"), one("")),
    case("StringSplit", "each-byte-keep-empty", s("abc", "", "é"), one(""), skip_empty=False),
    case("StringSplit", "all-empty", s("", "   "), one(" ")),
    case("StringSplit", "no-strings", s(), one(" ")),
    case("StringSplitV2", "whitespace", TEXT, one("")),
    case("StringSplitV2", "bulk-whitespace", BULK, one("")),
    case("StringSplitV2", "bulk-whitespace-twice", BULK, one(""), maxsplit=2),
    case("StringSplitV2", "whitespace-rest-empty", s("a b", "a b ", "a", "", " a  b  c "), one(""), maxsplit=1),
    case("StringSplitV2", "word", s("a--b----c", "--", "", "a-b"), one("--")),
    case("StringSplitV2", "word-once", s("a--b----c", "--", "", "a-b"), one("--"), maxsplit=1),
    case("StringSplitV2", "bulk-space", BULK, one(" ")),
    case("StringSplitV2", "never", TEXT, one(" "), maxsplit=0),
    case("StringJoin", "vectors", s("a", "b"), s("c", ""), separator="-"),
    case("StringJoin", "scalar-and-matrix", one("é"), s("a", "b", "c", "d", shape=(2, 2))),
    case("StringJoin", "scalars", one("a"), one("b"), one("c"), separator=" "),
    case("ReduceJoin", "last", s("a", "b", "c", "d", shape=(2, 2)), i(-1), separator=" "),
    case("ReduceJoin", "both-reversed", s("a", "b", "c", "d", shape=(2, 2)), i(1, 0), separator=""),
    case("ReduceJoin", "keep-dims", s("a", "b", "c", "d", shape=(2, 2)), i(0), keep_dims=True, separator="é"),
    case("ReduceJoin", "none", s("a", "b"), i()),
    case("ReduceJoin", "no-elements", s(shape=(2, 0)), i(1)),
    case("UnsortedSegmentJoin", "vector", s("a", "b", "c", "d"), i(1, 0, 1, 1), i(3).reshape(()), separator=","),
    case("UnsortedSegmentJoin", "matrix", s("a", "b", "c", "d", shape=(2, 2)), i(1, 1), i(2).reshape(()), separator=","),
    case("StringLength", "bytes", TEXT),
    case("StringLength", "characters", BULK, unit="UTF8_CHAR"),
    case("Substr", "bytes", s("hello", "world"), i(1, -3), i(2, 9)),
    case("Substr", "characters", s("日本語テ", "éa"), i(1, -2), i(2, 1), unit="UTF8_CHAR"),
    case("Substr", "scalar-position", s("hello", "world", "abc", "xyz", shape=(2, 2)), i(1).reshape(()), i(2).reshape(())),
    case("Substr", "at-end", s("ab", ""), i(2, 0), i(3, 3)),
    case("AsString", "integers", i(0, -5, 123456, dtype="int64")),
    case("AsString", "integers-filled", i(0, -5, 123), width=5, fill="0"),
    case("AsString", "integers-left", i(0, -5, 123), width=5, fill="-"),
    case("AsString", "unsigned-bytes", i(0, 255, dtype="uint8")),
    case("AsString", "floats", np.array([0, -1.5, 3.14159274, 1e20, 1e-8, np.inf, -np.inf], "float32")),
    case("AsString", "floats-precise", np.array([0.1, 1e10, 2 / 3], "float64"), precision=3),
    case("AsString", "floats-scientific", np.array([0.1, 1e10, 2 / 3], "float32"), scientific=True, precision=2),
    case("AsString", "floats-shortest", np.array([0.1, 1e10, 2 / 3, 1e-7], "float32"), shortest=True),
    case("AsString", "floats-wide", np.array([0.1, 22.5], "float32"), width=10, precision=1, fill=" "),
    case("AsString", "booleans", np.array([True, False])),
    case("AsString", "complex", np.array([1 + 2j, -0.5j], "complex64"), precision=2),
    case("AsString", "strings", s("a", "b")),
    case(
        "StringToNumber", "floats", s("1", " -2.5e3 ", "inf", "-INF", "nan", "+.5", "7.", "1e-50", "1e50", "0.1", "3.4028235e38")
    ),
    case("StringToNumber", "doubles", s("0.1", "123456789.123456789", "1e-320", "2.5"), out_type="float64"),
    case("StringToNumber", "int32", s("0", "-7", "+12", "2147483647", " 5 ", "007"), out_type="int32"),
    case("StringToNumber", "int64", s("9223372036854775807", "-9223372036854775808"), out_type="int64"),
    case("DecodeRaw", "uint8", s("abc", "xyz", b"\x00\xff\x01"), out_type="uint8"),
    case("DecodeRaw", "int16-big-endian", s("abcd", b"\x00\x01\x00\x02"), out_type="int16", little_endian=False),
    case("DecodeRaw", "float32", s(np.array([1.5, -2], "float32").tobytes(), shape=(1, 1)), out_type="float32"),
    case("DecodeRaw", "empty", s(""), out_type="int32"),
    case("DecodePaddedRaw", "bulk", BULK, i(50).reshape(()), out_type="uint8"),
    case("DecodePaddedRaw", "int16", s("abcdef", "a", ""), i(4).reshape(()), out_type="int16"),
    case("DecodePaddedRaw", "int16-big-endian", s("abcdef", "a", ""), i(4).reshape(()), out_type="int16", little_endian=False),
    case("EncodeBase64", "bulk", BULK),
    case("EncodeBase64", "padded", TEXT, pad=True),
    case("DecodeBase64", "padded-or-not", s("", "YQ", "YQ==", "YWI", "YWJj", "-_-_")),
    case("StringToHashBucketFast", "bulk", BULK, num_buckets=1_000_003),
    case("StringToHashBucketFast", "one-bucket", BULK, num_buckets=1),
    case("StringToHashBucketFast", "all-lengths", s(*[("0123456789abcdefXYZ" * 15)[:n] for n in range(270)]), num_buckets=2**62),
    *[
        case("Fingerprint", id, data, one("farmhash64"))
        for id, data in (
            ("strings", TEXT),
            ("rows-of-strings", TEXT.reshape(3, 3)),
            ("no-strings", s()),
            ("numbers", np.arange(40, dtype="float32").reshape(2, 5, 4)),
            ("longs", np.arange(3)),
            ("no-rows", np.zeros((0, 3), "int32")),
        )
    ],
    case("StringToHashBucketStrong", "bulk", BULK, num_buckets=2**61, key=(123, -456)),
    case("StringToHashBucket", "bulk", BULK, num_buckets=2**61),
    case(
        "StringNGrams",
        "pairs",
        s("a", "b", "c", "d", "e"),
        i(0, 3, 3, 5),
        separator=" ",
        ngram_widths=(2,),
        left_pad="<",
        right_pad=">",
        pad_width=-1,
        preserve_short_sequences=False,
    ),
    case(
        "StringNGrams",
        "unpadded-short",
        s("a", "b", "c", "d", "e"),
        i(0, 3, 3, 4, 5, dtype="int64"),
        separator="-",
        ngram_widths=(1, 3),
        left_pad="",
        right_pad="",
        pad_width=0,
        preserve_short_sequences=False,
    ),
    case(
        "StringNGrams",
        "preserved",
        s("a", "b", "c", "d", "e"),
        i(0, 3, 3, 4, 5, dtype="int64"),
        separator="-",
        ngram_widths=(3,),
        left_pad="",
        right_pad="",
        pad_width=0,
        preserve_short_sequences=True,
    ),
    case(
        "StringNGrams",
        "padded-one",
        s("a", "b", "c"),
        i(0, 1, 3),
        separator="",
        ngram_widths=(3, 2),
        left_pad="L",
        right_pad="R",
        pad_width=1,
        preserve_short_sequences=True,
    ),
]
