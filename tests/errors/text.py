"""How to provoke the errors of tables, and of what strings need."""

import sys
from pathlib import Path

import numpy as np

from provoke import Row
from thaw.errors import MissingPackageError, TableError
from thaw.lowering.lookup import Table
from thaw.lowering.regex import compiled


def read_an_empty_table(_: Path) -> None:
    Table("hash_table", "int64", "int64").find(np.arange(2), np.array(-1))


def match_without_re2(_: Path) -> None:
    there = sys.modules.get("re2")
    sys.modules["re2"] = None  # type: ignore[assignment]
    try:
        compiled("StaticRegexReplace", b"never compiled before")
    finally:
        del sys.modules["re2"]
        if there is not None:
            sys.modules["re2"] = there


ROWS = [
    Row(
        TableError,
        read_an_empty_table,
        what="The lookup table 'hash_table' is read before it was initialised",
        expected="Expected every table to be filled once",
        do="get it again from its publisher",
    ),
    Row(
        MissingPackageError,
        match_without_re2,
        what="The library 'google-re2' is not installed",
        expected="Expected it beside thaw",
        do="pip install google-re2",
    ),
]
