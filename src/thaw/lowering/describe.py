"""Tensors as text for people: what messages and logs are made of. On the host.

Imports numpy.
"""

from typing import Any

import numpy as np

from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, strings

ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}


def quoted(text: bytes) -> str:
    """A string in double quotes, what is not printed escaped as in C; UTF-8 stays."""
    parts = []
    for byte in text:
        plain = 32 <= byte < 127 or byte >= 128
        parts.append(ESCAPES.get(byte) or (chr(byte) if plain else f"\\{byte:03o}"))
    return '"' + "".join(parts).encode("latin-1").decode("utf-8", "surrogateescape") + '"'


def number(value: float, dtype: np.dtype[Any]) -> str:
    """A number with few digits where it is the same number, else with all that tell it from its neighbours."""
    held = np.float64 if dtype == np.float64 else np.float32  # narrower ones are printed as these
    few, all_digits = (15, 17) if held is np.float64 else (6, 9)
    text = f"{value:.{few}g}"
    if held(text) != value and value == value:
        text = f"{value:.{all_digits}g}"
    return "-" + text if value != value and np.signbit(value) else text


def element(value: Any, dtype: np.dtype[Any]) -> str:
    """One element."""
    if isinstance(value, bytes):
        return quoted(value)
    if isinstance(value, float):
        return number(value, dtype)
    return str(int(value))


def summary(array: np.ndarray, ends: int, level: int = 0) -> str:
    """A tensor in brackets: of each axis the first and last `ends` entries."""
    if array.ndim == 0:
        return element(array.item(), array.dtype)
    space = " " if array.ndim == 1 else "\n" * (array.ndim - 1) + " " * (level + 1)
    count = len(array)
    first = [summary(array[i, ...], ends, level + 1) for i in range(min(ends, count))]
    last = [summary(array[i, ...], ends, level + 1) for i in range(max(ends, count - ends), count)]
    gap = ["..."] if count > 2 * ends else []
    start = space if gap and not first else ""
    return "[" + start + space.join([*first, *gap, *last]) + "]"


@lowering("StringFormat", host=True, gradient="none")
def string_format(*inputs: np.ndarray, template: str = "%s", placeholder: str = "%s", summarize: int = 3) -> Strings:
    """A template with the tensors in place of its placeholders.

    Raises:
        ValueError: it has another number of placeholders.
    """
    parts = template.split(placeholder)
    if len(parts) != len(inputs) + 1:
        raise ValueError(f"num placeholders in template and num inputs must match: {len(parts) - 1} vs. {len(inputs)}")
    text = parts[0]
    for array, part in zip(inputs, parts[1:], strict=True):
        text += summary(array, min(summarize, array.size) if summarize >= 0 else array.size) + part
    return strings([text.encode("utf-8", "surrogateescape")], ())
