"""String ops on bytes: case, splitting, joining, slicing, and strings to numbers and back. All on the host.

Regular expressions are in regex.py, code points in unicode.py, hashes in hashing.py. Imports numpy.
"""

import base64
import binascii
import itertools
import re
from typing import Any

import numpy as np

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, each, row_splits, sparse_rows, strings, utf8_starts
from thaw.lowering.values import numpy_dtype


def _check_encoding(op: str, encoding: str) -> None:
    if encoding not in {"", "utf-8"}:
        raise UnhandledValueError(op, "encoding", encoding, ("", "utf-8"))


@lowering("StringLower", host=True, gradient="none")
def string_lower(input: Strings, *, encoding: str = "") -> Strings:
    """Lower case: of ASCII letters only, or of all characters under "utf-8"."""
    _check_encoding("StringLower", encoding)
    if not encoding:
        return each(bytes.lower, input)
    return each(lambda s: _characters(s).lower().encode(), input)


def _characters(text: bytes) -> str:
    """The characters of UTF-8 bytes, up to a zero byte: TensorFlow hands them to ICU as a C string."""
    return text.partition(b"\0")[0].decode("utf-8", "replace")


@lowering("StringUpper", host=True, gradient="none")
def string_upper(input: Strings, *, encoding: str = "") -> Strings:
    """Upper case: of ASCII letters only, or of all characters under "utf-8"."""
    _check_encoding("StringUpper", encoding)
    if not encoding:
        return each(bytes.upper, input)
    return each(lambda s: _characters(s).upper().encode(), input)


@lowering("StringStrip", host=True, gradient="none")
def string_strip(input: Strings) -> Strings:
    """Without the ASCII white space at both ends."""
    return each(bytes.strip, input)


@lowering("StringSplit", host=True, gradient="none")
def string_split(input: Strings, delimiter: Strings, *, skip_empty: bool = True) -> tuple[np.ndarray, Strings, np.ndarray]:
    """Pieces between any of the delimiter's bytes, as a sparse matrix; every byte by itself where there is no delimiter."""
    delimiters = delimiter.ravel().tolist()
    if delimiter.ndim and delimiter.size not in {1, input.size}:
        raise ValueError(f"StringSplit has {delimiter.size} delimiters for {input.size} strings; expected one, or one each")
    splitters = {d: _splitter(d) for d in set(delimiters)}
    rows = []
    for text, d in zip(input.ravel().tolist(), itertools.cycle(delimiters)):
        pieces = splitters[d](text) if text else []
        rows.append([p for p in pieces if p] if skip_empty else pieces)
    return sparse_rows(rows)


def _splitter(delimiter: bytes) -> Any:
    if not delimiter:
        return lambda text: [text[i : i + 1] for i in range(len(text))]
    if len(delimiter) == 1:
        return lambda text: text.split(delimiter)
    return re.compile(b"[" + re.escape(delimiter) + b"]").split


@lowering("StringSplitV2", host=True, gradient="none")
def string_split_v2(input: Strings, sep: Strings, *, maxsplit: int = -1) -> tuple[np.ndarray, Strings, np.ndarray]:
    """Pieces between occurrences of `sep` (of runs of ASCII white space where it is empty), as a sparse matrix."""
    separator: bytes = sep.item()
    texts: list[bytes] = input.ravel().tolist()
    if maxsplit == 0:
        rows = [[text] for text in texts]
    elif separator:
        rows = [text.split(separator, maxsplit) for text in texts]
    elif maxsplit < 0:
        rows = [text.split() for text in texts]
    else:
        rows = [text.split(None, maxsplit) for text in texts]
        for row in rows:  # TensorFlow gives the rest even where nothing is left, Python does not
            if len(row) == maxsplit:
                row.append(b"")
    return sparse_rows(rows)


@lowering("StringJoin", host=True, gradient="none")
def string_join(*inputs: Strings, separator: str = "") -> Strings:
    """The inputs joined element by element; scalars stand for every element."""
    between = _bytes(separator)
    shape = next((x.shape for x in inputs if x.ndim), ())
    columns = [x.ravel().tolist() if x.ndim else itertools.repeat(x.item(), int(np.prod(shape, dtype=int))) for x in inputs]
    if any(x.ndim and x.shape != shape for x in inputs):
        raise ValueError(f"StringJoin of shapes {[x.shape for x in inputs]}; expected equal shapes, or scalars")
    return strings([between.join(parts) for parts in zip(*columns, strict=True)], shape)


@lowering("ReduceJoin", host=True, gradient="none")
def reduce_join(inputs: Strings, reduction_indices: np.ndarray, *, keep_dims: bool = False, separator: str = "") -> Strings:
    """Strings joined along axes, the first of `reduction_indices` fastest."""
    if inputs.ndim == 0:
        return inputs
    axes = [int(a) % inputs.ndim for a in np.atleast_1d(reduction_indices)]
    if not axes:
        return inputs
    kept = [a for a in range(inputs.ndim) if a not in axes]
    shape = [inputs.shape[a] for a in kept]
    count = int(np.prod([inputs.shape[a] for a in axes], dtype=int))
    rows = inputs.transpose(kept + axes[::-1]).reshape(int(np.prod(shape, dtype=int)), count)
    between = _bytes(separator)
    joined = strings([between.join(row) for row in rows.tolist()], tuple(shape))
    return joined.reshape([1 if a in axes else n for a, n in enumerate(inputs.shape)]) if keep_dims else joined


@lowering("UnsortedSegmentJoin", host=True, gradient="none", ignored=("Tindices", "Tnumsegments"))
def unsorted_segment_join(inputs: Strings, segment_ids: np.ndarray, num_segments: np.ndarray, *, separator: str = "") -> Strings:
    """The strings of each segment joined, in order; negative segments are dropped."""
    inner = inputs.shape[segment_ids.ndim :]
    width = int(np.prod(inner, dtype=int))
    parts: list[list[list[bytes]]] = [[[] for _ in range(width)] for _ in range(int(num_segments))]
    for segment, row in zip(segment_ids.ravel().tolist(), inputs.reshape(segment_ids.size, width).tolist(), strict=True):
        if segment >= 0:
            for column, item in enumerate(row):
                parts[segment][column].append(item)
    between = _bytes(separator)
    return strings([between.join(cell) for row in parts for cell in row], (int(num_segments), *inner))


@lowering("StringLength", host=True, gradient="none")
def string_length(input: Strings, *, unit: str = "BYTE") -> np.ndarray:
    """How many bytes, or UTF-8 characters."""
    _check_unit("StringLength", unit)
    count = len if unit == "BYTE" else lambda s: len(utf8_starts(s))
    return np.array([count(s) for s in input.ravel().tolist()], dtype=np.int32).reshape(input.shape)


def _check_unit(op: str, unit: str) -> None:
    if unit not in {"BYTE", "UTF8_CHAR"}:
        raise UnhandledValueError(op, "unit", unit, ("BYTE", "UTF8_CHAR"))


@lowering("Substr", host=True, gradient="none")
def substr(input: Strings, pos: np.ndarray, len: np.ndarray, *, unit: str = "BYTE") -> Strings:
    """`len` bytes or characters from `pos` (negative: from the end), broadcast.

    Raises:
        ValueError: a position lies outside of its string.
    """
    _check_unit("Substr", unit)
    shape = np.broadcast_shapes(input.shape, pos.shape, len.shape)
    columns = [np.broadcast_to(x, shape).ravel().tolist() for x in (input, pos, len)]
    return strings([_part(s, p, n, unit) for s, p, n in zip(*columns, strict=True)], shape)


def _part(text: bytes, position: int, length: int, unit: str) -> bytes:
    starts = range(len(text)) if unit == "BYTE" else utf8_starts(text).tolist()
    count = len(starts)
    if not -count <= position <= count:
        raise ValueError(f"pos {position} out of range for string b'{text.decode('utf-8', 'replace')}' of {count} {unit}")
    begin = position + count if position < 0 else position
    end = min(begin + max(length, 0), count)
    bounds = [*starts, len(text)]
    return text[bounds[begin] : bounds[end]]


@lowering("AsString", host=True, gradient="none")
def as_string(
    input: np.ndarray,
    *,
    precision: int = -1,
    scientific: bool = False,
    shortest: bool = False,
    width: int = -1,
    fill: str = "",
) -> Strings:
    """Numbers as text, as C's printf writes them."""
    kind = input.dtype.kind
    if kind == "O":
        return input
    if kind == "b":
        return strings([b"true" if x else b"false" for x in input.ravel().tolist()], input.shape)
    layout = "%" + fill + (str(width) if width > -1 else "") + (f".{precision}" if precision > -1 else "")
    if kind in "iu":
        return strings([(layout + "d").encode() % x for x in input.ravel().tolist()], input.shape)
    layout += "e" if scientific else "g" if shortest else "f"
    if kind == "c":
        pair = f"({layout},{layout})".encode()
        return strings([pair % (x.real, x.imag) for x in input.ravel().tolist()], input.shape)
    number = layout.encode()
    return strings([number % x for x in input.astype(np.float64).ravel().tolist()], input.shape)


NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.IGNORECASE)
INTEGER = re.compile(rb"[+-]?\d+")


@lowering("StringToNumber", host=True, gradient="none")
def string_to_number(string_tensor: Strings, *, out_type: str = "float32") -> np.ndarray:
    """Strings read as decimal numbers, ASCII white space around them allowed.

    Raises:
        ValueError: a string is not a number of that dtype.
    """
    dtype = numpy_dtype(out_type)
    pattern = INTEGER if dtype.kind in "iu" else NUMBER
    numbers = []
    for text in string_tensor.ravel().tolist():
        if not pattern.fullmatch(text.strip()):
            raise ValueError(f"StringToNumberOp could not correctly convert string: {text.decode('utf-8', 'replace')}")
        numbers.append(int(text) if pattern is INTEGER else float(text))
    if pattern is INTEGER and numbers:
        bounds = np.iinfo(dtype)
        wrong = [n for n in numbers if not bounds.min <= n <= bounds.max]
        if wrong:
            raise ValueError(f"StringToNumberOp could not correctly convert string: {wrong[0]} (outside of {out_type})")
    with np.errstate(over="ignore"):
        return np.array(numbers, dtype=np.float64 if pattern is NUMBER else dtype).astype(dtype).reshape(string_tensor.shape)


@lowering("DecodeRaw", host=True, gradient="none")
def decode_raw(bytes: Strings, *, out_type: str, little_endian: bool = True) -> np.ndarray:
    """The bytes of each string, all of one length, as numbers: (..., length / itemsize)."""
    dtype = numpy_dtype(out_type)
    lengths = {len(s) for s in bytes.ravel().tolist()}
    if len(lengths) > 1 or any(n % dtype.itemsize for n in lengths):
        raise ValueError(f"DecodeRaw of strings of {sorted(lengths)} bytes; expected one length, a multiple of {dtype.itemsize}")
    each_length = lengths.pop() if lengths else 0
    return _numbers(bytes, each_length, dtype, little_endian)


@lowering("DecodePaddedRaw", host=True, gradient="none")
def decode_padded_raw(input_bytes: Strings, fixed_length: np.ndarray, *, out_type: str, little_endian: bool = True) -> np.ndarray:
    """The bytes of each string, cut or filled with zeros to `fixed_length`, as numbers: (..., fixed_length / itemsize)."""
    dtype = numpy_dtype(out_type)
    length = int(fixed_length)
    if length <= 0 or length % dtype.itemsize:
        raise ValueError(f"DecodePaddedRaw to {length} bytes; expected a positive multiple of {dtype.itemsize}")
    return _numbers(input_bytes, length, dtype, little_endian)


def _numbers(texts: Strings, length: int, dtype: np.dtype[Any], little_endian: bool) -> np.ndarray:
    shape = (*texts.shape, length // dtype.itemsize)
    if not length or not texts.size:
        return np.zeros(shape, dtype)
    packed = np.ascontiguousarray(texts.ravel().astype(f"S{length}"))  # cuts and fills with zeros
    numbers = packed.view(np.uint8).view(dtype)
    if not little_endian and dtype.itemsize > 1:
        numbers = numbers.byteswap()
    return numbers.reshape(shape)


@lowering("EncodeBase64", host=True, gradient="none")
def encode_base64(input: Strings, *, pad: bool = False) -> Strings:
    """Web-safe base64, without the closing "=" unless `pad`."""
    return each(lambda s: base64.urlsafe_b64encode(s) if pad else base64.urlsafe_b64encode(s).rstrip(b"="), input)


@lowering("DecodeBase64", host=True, gradient="none")
def decode_base64(input: Strings) -> Strings:
    """What web-safe base64 stands for, with or without the closing "="."""
    return each(_decode_base64, input)


def _decode_base64(text: bytes) -> bytes:
    body = text.rstrip(b"=")
    try:
        return binascii.a2b_base64(body.translate(WEB_SAFE) + b"=" * (-len(body) % 4), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"DecodeBase64 of {text[:40]!r}: {error}; expected web-safe base64") from None


WEB_SAFE = bytes.maketrans(b"-_+/", b"+/!!")
"""The web-safe alphabet to the ordinary one, whose own two letters are then wrong."""


@lowering("StringNGrams", host=True, gradient="none", ignored=("Tsplits",))
def string_ngrams(
    data: Strings,
    data_splits: np.ndarray,
    *,
    separator: str,
    ngram_widths: tuple[int, ...],
    left_pad: str,
    right_pad: str,
    pad_width: int,
    preserve_short_sequences: bool,
) -> tuple[Strings, np.ndarray]:
    """The n-grams of each row of a ragged matrix, width by width: values and row splits."""
    between, left, right = _bytes(separator), _bytes(left_pad), _bytes(right_pad)
    tokens = data.tolist()
    bounds = data_splits.tolist()
    grams: list[bytes] = []
    counts = []
    for begin, end in itertools.pairwise(bounds):
        row = tokens[begin:end]
        before = len(grams)
        for width in ngram_widths:
            padding = width - 1 if pad_width < 0 else min(pad_width, width - 1)
            padded = [left] * padding + row + [right] * padding
            grams.extend(between.join(padded[i : i + width]) for i in range(len(padded) - width + 1))
        if preserve_short_sequences and len(grams) == before and row:
            padding = 0 if pad_width < 0 else pad_width
            grams.append(between.join([left] * padding + row + [right] * padding))
        counts.append(len(grams) - before)
    return strings(grams), row_splits(counts, data_splits.dtype.name)


@lowering("TFText>NgramsStringJoin", host=True, gradient="none", ignored=("Tsplits",))
def ngrams_string_join(
    *inputs: np.ndarray, width: int, axis: int, string_separator: str, RAGGED_RANK: int
) -> tuple[np.ndarray, ...]:
    """The n-grams along the last axis, which is ragged where a vector comes with row splits: values and the splits."""
    values, splits = inputs[0], inputs[1:]
    if axis not in {-1, values.ndim - 1 + RAGGED_RANK}:
        raise UnhandledValueError("TFText>NgramsStringJoin", "axis", axis, (-1,))
    between = _bytes(string_separator)
    if splits and values.ndim == 1:
        *outer, inner = splits
        grams, ends = string_ngrams(
            values,
            inner,
            separator=string_separator,
            ngram_widths=(width,),
            left_pad="",
            right_pad="",
            pad_width=0,
            preserve_short_sequences=False,
        )
        return grams, *outer, ends
    count = max(values.shape[-1] - width + 1, 0)
    rows = values.reshape(-1, values.shape[-1]).tolist()
    grams = strings([between.join(row[i : i + width]) for row in rows for i in range(count)])
    return grams.reshape(*values.shape[:-1], count), *splits


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
