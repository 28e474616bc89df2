"""Protobuf messages as text: SavedModels as `saved_model.pbtxt`, GraphDefs as `.pbtxt` (or, as often, as text named `.pb`).

TensorFlow's own loader takes `saved_model.pbtxt` where there is no `saved_model.pb`. Text is turned into bytes at the door, so
that nothing behind it knows of two forms. Imports protos, dtypes, files and errors.
"""

import re
from collections.abc import Mapping

from google.protobuf import text_format

from thaw.errors import CorruptFileError
from thaw.formats.files import Files, checked
from thaw.wire.dtypes import NUMBERS
from thaw.wire.protos import MESSAGES

__all__ = ["OverlaidFiles", "bytes_of_text", "is_graph_text", "with_binary_graph"]

BINARY, TEXT = "saved_model.pb", "saved_model.pbtxt"

_GRAPH_BEGINS = re.compile(rb"\s*(?:#[^\n]*\n\s*)*(?:node|library|versions|version)\s*[:{]")
_IRREGULAR = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}
_DTYPES = {f"DT_{_IRREGULAR.get(name, name.upper())}": number for name, number in NUMBERS.items()}
_ENUMS = {**_DTYPES, "LEGACY": 0, "V1": 1, "V2": 2}
"""Every enum's words for the numbers that the message table holds: dtypes, and the formats of checkpoints (SaverDef)."""
_QUOTED_OR_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|(?<=[:\[,])\s*[A-Z][A-Z0-9_]*\b(?!\s*[:{])')
_BINARY_BEGINS = (b"\x08", b"\x12")
"""How a SavedModel in bytes begins: with its version, or with a metagraph. Text begins with neither."""
BEGINNING = 4096
"""Bytes in which the text of a GraphDef must have said what it is: comments may stand before."""
_REFERENCE = 100
"""What is added to the number of a dtype for a reference to a variable of it."""


class OverlaidFiles:
    """Files of which some are replaced or added."""

    def __init__(self, files: Files, extra: Mapping[str, bytes]) -> None:
        self.under = files
        self.extra = {checked(name): data for name, data in extra.items()}
        self.origin = files.origin

    def list(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted({*self.under.list(), *self.extra}))

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return name in self.extra or self.under.exists(name)

    def read(self, name: str) -> bytes:
        """The whole file."""
        return self.extra[name] if name in self.extra else self.under.read(name)

    def map(self, name: str) -> memoryview:
        """The whole file."""
        return memoryview(self.extra[name]) if name in self.extra else self.under.map(name)


def is_graph_text(beginning: bytes) -> bool:
    """Whether a file that begins so is a GraphDef as text."""
    return _GRAPH_BEGINS.match(beginning) is not None


def bytes_of_text(kind: str, text: bytes, origin: str) -> bytes:
    """The message of that kind, written as text, in protobuf's binary form; fields that thaw does not know are left out.

    Raises:
        CorruptFileError: the text is not such a message, or nests too deep.
    """
    message = MESSAGES[kind]()
    try:
        named = _QUOTED_OR_WORD.sub(_number, text.decode("utf-8", "surrogateescape"))
        text_format.Parse(named, message, allow_unknown_field=True)
        return bytes(message.SerializeToString())
    except (text_format.ParseError, RuntimeError, ValueError) as error:
        raise CorruptFileError(origin, f"its {len(text)} bytes do not parse as the text of a {kind} protobuf message") from error


def _number(token: re.Match[str]) -> str:
    """The number of a word of an enum, which the message table holds as a plain integer; strings stay."""
    word = token[0].lstrip()
    name = word.removesuffix("_REF")
    if name not in _ENUMS:
        return token[0]
    return f" {_ENUMS[name] + (_REFERENCE if word.endswith('_REF') else 0)}"


def with_binary_graph(files: Files) -> Files:
    """`files`, with `saved_model.pb` among them where only its text was, or what was only named so.

    Raises:
        CorruptFileError: the text is damaged.
    """
    if files.exists(BINARY) or not files.exists(TEXT):
        return files
    data = files.read(TEXT)
    if data[:1] not in _BINARY_BEGINS:
        kind = "GraphDef" if is_graph_text(data[:BEGINNING]) else "SavedModel"
        data = bytes_of_text(kind, data, f"{files.origin}/{TEXT}")
    return OverlaidFiles(files, {BINARY: data})
