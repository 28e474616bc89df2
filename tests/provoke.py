"""Rows of test_errors.py: how to provoke one exception, and what its message must say.

Each room keeps its rows in tests/errors/<room>.py, in a list named ROWS; test_errors.py collects them all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thaw.errors import ThawError


@dataclass(frozen=True)
class Row:
    """`provoke(tmp_path)` must raise `error`, with all three parts in its message, word for word."""

    error: type[ThawError]
    provoke: Callable[[Path], object]
    what: str
    """What happened, with the values."""
    expected: str
    """What was expected instead."""
    do: str
    """What the user can do."""
    name: str = ""
    """Tells rows of one error apart."""

    @property
    def id(self) -> str:
        """The name of this row's test."""
        return f"{self.error.__name__}-{self.name}" if self.name else self.error.__name__
