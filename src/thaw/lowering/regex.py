"""Regular expressions on strings: TensorFlow's are RE2's, so RE2 itself matches (the package google-re2).

RE2 runs in time linear in the text, whatever the pattern: a hostile model cannot hang a session. Imports re2 when first used.
"""

import functools
import importlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from thaw.errors import MissingLibraryError, UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, each, row_splits, strings

MAX_PATTERN = 100_000
"""Bytes of a pattern; what models publish stays under a thousand."""


@functools.lru_cache(maxsize=256)
def compiled(op: str, pattern: bytes) -> Any:
    """The pattern, ready to match.

    Raises:
        UnhandledValueError: RE2 does not take it.
        MissingLibraryError: google-re2 is not installed.
    """
    try:
        re2 = importlib.import_module("re2")
    except ImportError as error:
        raise MissingLibraryError("google-re2", f"A regular expression ({op})", "text") from error
    if len(pattern) > MAX_PATTERN:
        raise UnhandledValueError(op, "pattern", pattern[:60], (f"patterns of at most {MAX_PATTERN} bytes",))
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise UnhandledValueError(op, "pattern", pattern[:200], (f"RE2's syntax ({error.args[0]})",)) from None


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


REWRITE = re.compile(rb"\\(.?)", re.DOTALL)


def rewriter(rewrite: bytes, groups: int) -> Callable[[Any], bytes] | bytes | None:
    r"""What a match is replaced by: a function of it, plain bytes, or None where RE2 refuses `rewrite` and replaces nothing.

    Source: RE2::Rewrite: \0 ... \9 stand for groups, \\ for a backslash; nothing else may follow one.
    """
    parts: list[bytes | int] = []
    end = 0
    for found in REWRITE.finditer(rewrite):
        parts.append(rewrite[end : found.start()])
        code = found.group(1)
        if code.isdigit() and int(code) <= groups:
            parts.append(int(code))
        elif code == b"\\":
            parts.append(b"\\")
        else:
            return None
        end = found.end()
    parts.append(rewrite[end:])
    if not any(isinstance(p, int) for p in parts):
        return b"".join(p for p in parts if isinstance(p, bytes))
    return lambda match: b"".join(p if isinstance(p, bytes) else match.group(p) or b"" for p in parts)


def replace(expression: Any, rewrite: Callable[[Any], bytes] | bytes | None, text: bytes, everywhere: bool) -> bytes:
    """`text` with the first match, or every one, replaced.

    Source: RE2::GlobalReplace: an empty match right after a match does not count; the next character is copied.
    """
    if rewrite is None:
        return text
    parts: list[bytes] = []
    position, last_end = 0, -1
    while position <= len(text):
        match = expression.search(text, position)
        if match is None:
            break
        begin, end = match.span()
        parts.append(text[position:begin])
        if begin == end == last_end:
            width = _character(text, position)
            parts.append(text[position : position + width])
            position += width
            continue
        parts.append(rewrite if isinstance(rewrite, bytes) else rewrite(match))
        position = last_end = end
        if not everywhere:
            break
    parts.append(text[position:])
    return b"".join(parts)


def _character(text: bytes, at: int) -> int:
    """How many bytes the UTF-8 character at `at` takes; 1 where there is none."""
    for width in (1, 2, 3, 4):
        try:
            text[at : at + width].decode()
            return max(width, 1)
        except UnicodeDecodeError:
            continue
    return 1


def _replaced(op: str, input: Strings, pattern: bytes, rewrite: bytes, everywhere: bool) -> Strings:
    expression = compiled(op, pattern)
    by = rewriter(rewrite, expression.groups)
    return each(lambda text: replace(expression, by, text, everywhere), input)


@lowering("RegexReplace", host=True, gradient="none")
def regex_replace(input: Strings, pattern: Strings, rewrite: Strings, *, replace_global: bool = True) -> Strings:
    """Matches of a pattern replaced: all, or the first of each string."""
    return _replaced("RegexReplace", input, pattern.item(), rewrite.item(), replace_global)


@lowering("StaticRegexReplace", host=True, gradient="none")
def static_regex_replace(input: Strings, *, pattern: str, rewrite: str, replace_global: bool = True) -> Strings:
    """Matches of a pattern replaced: all, or the first of each string."""
    return _replaced("StaticRegexReplace", input, _encoded(pattern), _encoded(rewrite), replace_global)


def _full_match(op: str, input: Strings, pattern: bytes) -> np.ndarray:
    expression = compiled(op, pattern)
    found = [expression.fullmatch(text) is not None for text in input.ravel().tolist()]
    return np.array(found, dtype=bool).reshape(input.shape)


@lowering("RegexFullMatch", host=True, gradient="none")
def regex_full_match(input: Strings, pattern: Strings) -> np.ndarray:
    """Whether the pattern matches the whole string."""
    return _full_match("RegexFullMatch", input, pattern.item())


@lowering("StaticRegexFullMatch", host=True, gradient="none")
def static_regex_full_match(input: Strings, *, pattern: str) -> np.ndarray:
    """Whether the pattern matches the whole string."""
    return _full_match("StaticRegexFullMatch", input, _encoded(pattern))


@lowering("RegexSplitWithOffsets", host=True, gradient="none")
def regex_split_with_offsets(
    input: Strings, delim_regex_pattern: Strings, keep_delim_regex_pattern: Strings
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """The pieces between delimiters (and the delimiters that match the second pattern): values, begins, ends, row splits.

    Source: TensorFlow Text, regex_split.cc: empty pieces are dropped; a text ends at its first zero byte; a pattern without a
    group never matches.
    """
    delimiter = compiled("RegexSplitWithOffsets", delim_regex_pattern.item())
    kept = compiled("RegexSplitWithOffsets", keep_delim_regex_pattern.item())
    keeps = bool(keep_delim_regex_pattern.item())
    pieces: list[bytes] = []
    begins: list[int] = []
    ends: list[int] = []
    counts = []
    for whole in input.ravel().tolist():
        text = whole.partition(b"\0")[0]
        spans: list[tuple[int, int]] = []
        last = 0
        for match in delimiter.finditer(text) if delimiter.groups else ():
            begin, end = match.span(1)
            if begin == end:
                continue
            if last < begin:
                spans.append((last, begin))
            if keeps and kept.fullmatch(text[begin:end]) is not None:
                spans.append((begin, end))
            last = match.end()
        if last < len(text):
            spans.append((last, len(text)))
        pieces.extend(text[b:e] for b, e in spans)
        begins.extend(b for b, _ in spans)
        ends.extend(e for _, e in spans)
        counts.append(len(spans))
    return strings(pieces), np.array(begins, np.int64), np.array(ends, np.int64), row_splits(counts)
