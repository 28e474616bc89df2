"""Code points: decoding, encoding, transcoding and normalizing of text. All on the host.

Malformed input follows ICU, as TensorFlow does: one error for each maximal part that could have begun a character, which is
what Python's decoders report too. Imports numpy.
"""

import functools
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import numpy as np

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, each, row_splits, strings

ENCODINGS = {
    "UTF-8": "utf-8", "UTF8": "utf-8", "UTF-16-BE": "utf-16-be", "UTF-16-LE": "utf-16-le", "UTF-32-BE": "utf-32-be",
    "UTF-32-LE": "utf-32-le", "US-ASCII": "ascii", "ISO-8859-1": "latin-1", "LATIN1": "latin-1", "WINDOWS-1252": "cp1252",
    "SHIFT-JIS": "shift_jis", "SHIFT_JIS": "shift_jis", "GB18030": "gb18030", "EUC-JP": "euc_jp", "BIG5": "big5",
    "EUC-KR": "euc_kr", "KOI8-R": "koi8_r",
}  # fmt: skip
"""Names that ICU knows, and Python's."""

Point = tuple[int, int]
"""A code point and the offset of its first byte; code point -1 for what is malformed."""


def codec(op: str, attribute: str, encoding: str) -> str:
    """Python's name of an encoding."""
    found = ENCODINGS.get(encoding.upper())
    if found is None:
        raise UnhandledValueError(op, attribute, encoding, ENCODINGS)
    return found


def points(text: bytes, encoding: str) -> Iterator[Point]:
    """The code points of `text`, and where each begins."""
    position = 0
    while position < len(text):
        try:
            good, end, after = text[position:].decode(encoding), len(text), len(text)
        except UnicodeDecodeError as error:
            end, after = position + error.start, position + error.end
            good = text[position:end].decode(encoding)
        offset = position
        for character in good:
            yield ord(character), offset
            offset += len(character.encode(encoding))
        if end < len(text):
            yield -1, end
        position = after


class Policy:
    """What becomes of malformed input (and, if so chosen, of control characters).

    Attributes:
        op: for messages.
        errors: "replace", "ignore" or "strict".
        replacement: the code point that stands for it.
        controls: whether control characters are treated the same.
    """

    def __init__(self, op: str, errors: str, replacement: int, controls: bool) -> None:
        if errors not in {"replace", "ignore", "strict"}:
            raise UnhandledValueError(op, "errors", errors, ("replace", "ignore", "strict"))
        self.op, self.errors, self.replacement, self.controls = op, errors, replacement, controls

    def apply(self, text: bytes, encoding: str) -> list[Point]:
        """The code points of `text` under this policy.

        Raises:
            ValueError: it is malformed, and the policy is "strict".
        """
        if not self.controls:
            try:  # nearly all text is well-formed
                good = text.decode(encoding)
            except UnicodeDecodeError:
                pass
            else:
                return list(_located(good, encoding))
        result = []
        for code, offset in points(text, encoding):
            if code >= 0 and not (self.controls and code <= 0x1F):
                result.append((code, offset))
            elif self.errors == "strict":
                raise ValueError(f"Invalid formatting on input string: {text[:60]!r}")
            elif self.errors == "replace":
                result.append((self.replacement, offset))
        return result


def _located(text: str, encoding: str) -> Iterator[Point]:
    offset = 0
    for character in text:
        yield ord(character), offset
        offset += len(character.encode(encoding))


def _decoded(op: str, input: Strings, encoding: str, policy: Policy, splits: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    name = codec(op, "input_encoding", encoding)
    rows = [policy.apply(text, name) for text in input.ravel().tolist()]
    flat = np.array([point for row in rows for point in row], dtype=np.int64).reshape(-1, 2)
    return row_splits([len(r) for r in rows], splits), flat[:, 0].astype(np.int32), flat[:, 1]


@lowering("UnicodeDecode", host=True, gradient="none")
def unicode_decode(
    input: Strings,
    *,
    input_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
    replace_control_characters: bool = False,
    Tsplits: str = "int64",
) -> tuple[np.ndarray, np.ndarray]:
    """The code points of each string: row splits and values."""
    policy = Policy("UnicodeDecode", errors, replacement_char, replace_control_characters)
    return _decoded("UnicodeDecode", input, input_encoding, policy, Tsplits)[:2]


@lowering("UnicodeDecodeWithOffsets", host=True, gradient="none")
def unicode_decode_with_offsets(
    input: Strings,
    *,
    input_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
    replace_control_characters: bool = False,
    Tsplits: str = "int64",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As UnicodeDecode, and at which byte each code point begins."""
    policy = Policy("UnicodeDecodeWithOffsets", errors, replacement_char, replace_control_characters)
    return _decoded("UnicodeDecodeWithOffsets", input, input_encoding, policy, Tsplits)


def _encoded(op: str, codes: list[int], encoding: str, policy: Policy) -> bytes:
    kept = []
    for code in codes:
        if 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
            kept.append(chr(code))
        elif policy.errors == "strict":
            raise ValueError(f"{op}: the code point {code} is out of range for Unicode")
        elif policy.errors == "replace":
            kept.append(chr(policy.replacement))
    return "".join(kept).encode(encoding)


@lowering("TFText>Utf8Binarize", host=True, gradient="none")
def utf8_binarize(input_tokens: Strings, *, word_length: int, bits_per_char: int, replacement_char: int) -> np.ndarray:
    """The lowest bits of the first code points of each text, from the lowest on, as 0 and 1: (texts, word length x bits)."""
    codes = np.zeros((len(input_tokens), word_length), np.int64)
    for row, text in zip(codes, input_tokens.tolist(), strict=True):
        first = [code for code, _ in itertools.islice(points(text, "utf-8"), word_length)]
        row[: len(first)] = [replacement_char if code < 0 else code for code in first]
    bits = codes[..., None] >> np.arange(bits_per_char) & 1
    return bits.reshape(len(codes), word_length * bits_per_char).astype(np.float32)


@lowering("UnicodeEncode", host=True, gradient="none", ignored=("Tsplits",))
def unicode_encode(
    input_values: np.ndarray,
    input_splits: np.ndarray,
    *,
    output_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
) -> Strings:
    """The strings of rows of code points."""
    policy = Policy("UnicodeEncode", errors, replacement_char, False)
    name = codec("UnicodeEncode", "output_encoding", output_encoding)
    codes, bounds = input_values.tolist(), input_splits.tolist()
    rows = [codes[b:e] for b, e in itertools.pairwise(bounds)]
    return strings([_encoded("UnicodeEncode", row, name, policy) for row in rows])


@lowering("UnicodeTranscode", host=True, gradient="none")
def unicode_transcode(
    input: Strings,
    *,
    input_encoding: str,
    output_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
    replace_control_characters: bool = False,
) -> Strings:
    """Strings in another encoding, or in the same with what is malformed mended."""
    policy = Policy("UnicodeTranscode", errors, replacement_char, replace_control_characters)
    source = codec("UnicodeTranscode", "input_encoding", input_encoding)
    target = codec("UnicodeTranscode", "output_encoding", output_encoding)

    def transcode(text: bytes) -> bytes:
        return "".join(chr(code) for code, _ in policy.apply(text, source)).encode(target)

    return each(transcode, input)


def _each_text(function: Callable[[str], str], array: Strings) -> Strings:
    """`function` of every text; bytes that are malformed stay as they are."""
    return each(lambda data: function(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"), array)


@lowering("NormalizeUTF8", host=True, gradient="none")
def normalize_utf8(input: Strings, *, normalization_form: str) -> Strings:
    """Strings in a Unicode normal form.

    Source: TensorFlow Text.
    """
    form: Any = normalization_form.upper()
    if form not in {"NFC", "NFD", "NFKC", "NFKD"}:
        raise UnhandledValueError("NormalizeUTF8", "normalization_form", normalization_form, ("NFC", "NFD", "NFKC", "NFKD"))
    return _each_text(lambda text: unicodedata.normalize(form, text), input)


IGNORABLE = frozenset(
    itertools.chain(
        (0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
        *map(range, (0x180B, 0x200B, 0x202A, 0x2060, 0xFE00, 0xFFF0), (0x1810, 0x2010, 0x202F, 0x2070, 0xFE10, 0xFFF9)),
        *map(range, (0x1BCA0, 0x1D173, 0xE0000), (0x1BCA4, 0x1D17B, 0xE1000)),
    )
)
"""Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties: case folding under NFKC drops them."""


def casefold(text: str) -> str:
    """`text` under Unicode's NFKC_Casefold."""
    folded = text
    for _ in range(2):  # folding can make characters that normalize to something that folds again
        kept = "".join(c for c in unicodedata.normalize("NFKC", folded) if ord(c) not in IGNORABLE)
        folded = kept.casefold()
    return unicodedata.normalize("NFKC", folded)


@lowering("CaseFoldUTF8", host=True, gradient="none")
def case_fold_utf8(input: Strings) -> Strings:
    """Strings without differences of case, in NFKC.

    Source: TensorFlow Text (ICU's nfkc_cf normalizer).
    """
    return _each_text(casefold, input)


@functools.cache
def _scripts() -> tuple[np.ndarray, np.ndarray]:
    """Where each run of code points of one script begins, and ICU's number of it."""
    runs = json.loads(resources.files("thaw.lowering").joinpath("unicode_scripts.json").read_text())
    starts = np.cumsum(np.array(runs["lengths"], np.int64))
    return np.concatenate([np.zeros(1, np.int64), starts[:-1]]), np.array(runs["scripts"], np.int32)


def script_of(codes: np.ndarray) -> np.ndarray:
    """ICU's number of the script of each code point; -1 for what is none."""
    starts, scripts = _scripts()
    inside = (codes >= 0) & (codes <= 0x10FFFF)
    places = np.searchsorted(starts, np.where(inside, codes, 0), side="right") - 1
    return np.where(inside, scripts[places], -1).astype(np.int32)


@lowering("UnicodeScript", host=True, gradient="none")
def unicode_script(input: np.ndarray) -> np.ndarray:
    """ICU's number of the script of each code point, as TensorFlow 2.21 has them (tools/make_unicode_scripts.py)."""
    return script_of(input)
