"""How to provoke the errors of tables, and of what strings need."""

import sys
from pathlib import Path

import numpy as np

import thaw.lowering.table  # noqa: F401  (fills the registry)
from lowering import text_graphs
from provoke import Row
from thaw.errors import HostPaddingError, MissingLibraryError, TableError, TextsGoneError
from thaw.lowering.host import TextProgram
from thaw.lowering.lookup import Table
from thaw.lowering.packing import Kept, unpack
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


def ask_about_texts_where_numbers_are_needed_too(_: Path) -> None:
    TextProgram(text_graphs.columns(), text_graphs.resources(), (0, 1))._host_on_texts([b"a"])


def use_rows_after_their_call(_: Path) -> None:
    kept = Kept()
    rows = kept.pack(["a", "b"])
    kept.release()
    unpack(rows)


ROWS = [
    Row(
        TextsGoneError,
        use_rows_after_their_call,
        what="2 rows stand for strings that are not kept any more",
        expected="Expected numbers that `fit` and its like made of strings",
        do="make numbers that last by `layer.preprocess`",
    ),
    Row(
        HostPaddingError,
        ask_about_texts_where_numbers_are_needed_too,
        what="A batch of strings cannot be given the shapes that the compiled step was traced for",
        expected="Expected texts of at most the number of tokens",
        do="map `layer.preprocess` over the data",
    ),
    Row(
        TableError,
        read_an_empty_table,
        what="The lookup table 'hash_table' is read before it was initialised",
        expected="Expected every table to be filled once",
        do="get it again from its publisher",
    ),
    Row(
        MissingLibraryError,
        match_without_re2,
        what="(StaticRegexReplace) needs the library 'google-re2', which is not installed",
        expected="Expected keras-thaw with its extra 'text'",
        do="pip install 'keras-thaw[text]'",
    ),
]
