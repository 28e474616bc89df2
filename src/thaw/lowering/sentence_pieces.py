"""SentencePiece: subwords by a trained model that travels in the graph, computed by Google's own library. On the host.

The library (the package sentencepiece) is imported when a model is first made; its answers are asked for as serialized messages,
which hold the offsets in bytes. Imports errors, numpy and protobuf.
"""

import functools
import importlib
import itertools
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from thaw.errors import MissingLibraryError, UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.strings import Strings, row_splits, strings
from thaw.lowering.values import numpy_dtype

MOST_BYTES = 64 << 20
"""Of a model; those that are published have a quarter to five million bytes."""

Row = list[tuple[bytes, int, int, int]]
"""The pieces of a text: piece, number, begin, end (bytes)."""


@functools.cache
def _text_class() -> Any:
    """The message class SentencePieceText, of which only the pieces are declared."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="thaw/sentencepiece.proto", package="thaw.sentencepiece", syntax="proto2")
    text = file.message_type.add(name="Text")
    piece = text.nested_type.add(name="Piece")
    piece.field.add(name="piece", number=1, type=kinds.TYPE_BYTES, label=kinds.LABEL_OPTIONAL)
    for number, name in ((2, "id"), (4, "begin"), (5, "end")):
        piece.field.add(name=name, number=number, type=kinds.TYPE_UINT32, label=kinds.LABEL_OPTIONAL)
    text.field.add(
        name="pieces", number=2, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_REPEATED, type_name=".thaw.sentencepiece.Text.Piece"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("thaw.sentencepiece.Text"))


class Pieces:
    """A model, ready to take texts apart.

    Attributes:
        processor: the library's object.
    """

    def __init__(self, model: bytes) -> None:
        try:
            library = importlib.import_module("sentencepiece")
        except ImportError as error:
            raise MissingLibraryError("sentencepiece", "A SentencePiece tokenizer", "text") from error
        if not 0 < len(model) <= MOST_BYTES:
            raise UnhandledValueError("SentencepieceOp", "model", f"{len(model)} bytes", (f"1 to {MOST_BYTES} bytes",))
        self.processor = library.SentencePieceProcessor()
        try:
            loaded = self.processor.LoadFromSerializedProto(model)
        except (RuntimeError, OSError) as error:
            raise UnhandledValueError("SentencepieceOp", "model", str(error)[:200], ("a SentencePiece model",)) from None
        if not loaded:
            raise UnhandledValueError("SentencepieceOp", "model", model[:40], ("a SentencePiece model",))

    def special(self, number: int) -> Row:
        """The beginning or the end of a text; nothing where the model has none."""
        return [(self.processor.id_to_piece(number).encode(), number, 0, 0)] if number >= 0 else []

    def take_apart(self, text: bytes, bos: bool, eos: bool, reverse: bool) -> Row:
        """The pieces of a text, perhaps with its beginning and end, perhaps all in reverse."""
        message = _text_class().FromString(self.processor.encode(text, out_type="serialized_proto"))
        row: Row = [(p.piece, p.id, p.begin, p.end) for p in message.pieces]
        if bos:
            row = self.special(self.processor.bos_id()) + row
        if eos:
            row += self.special(self.processor.eos_id())
        return row[::-1] if reverse else row


@lowering("SentencepieceOp", context=True, stateful=True, gradient="none", ignored=("container", "use_node_name_sharing"))
def sentencepiece_op(context: Context, *, model: str | bytes = "", shared_name: str = "") -> Pieces:
    """A model, made once."""
    key = shared_name or context.node.name
    found = context.resources.objects.get(key)
    if not isinstance(found, Pieces):
        found = Pieces(model if isinstance(model, bytes) else model.encode("utf-8", "surrogateescape"))
        context.resources.objects[key] = found
    return found


def _rows(op: str, model: Pieces, input: Strings, nbest_size: np.ndarray, flags: tuple[np.ndarray, ...]) -> list[Row]:
    wrong = [int(n) for n in np.unique(nbest_size) if n not in {0, 1}]
    if wrong:
        raise UnhandledValueError(op, "nbest_size", wrong[0], (0, 1))
    columns = [np.broadcast_to(f.reshape(-1), (input.size,)).tolist() for f in flags]
    return [model.take_apart(text, *row) for text, *row in zip(input.ravel().tolist(), *columns, strict=True)]


def _pieces(rows: list[Row], out_type: str) -> np.ndarray:
    if out_type == "string":
        return strings([p[0] for row in rows for p in row])
    return np.array([p[1] for row in rows for p in row], numpy_dtype(out_type))


def _without_nbest(op: str, return_nbest: bool) -> None:
    if return_nbest:
        raise UnhandledValueError(op, "return_nbest", True, (False,))


@lowering("SentencepieceTokenizeOp", host=True, stateful=True, gradient="none")
def sentencepiece_tokenize(
    sp_handle: Pieces,
    input: Strings,
    nbest_size: np.ndarray,
    alpha: np.ndarray,
    add_bos: np.ndarray,
    add_eos: np.ndarray,
    reverse: np.ndarray,
    *,
    out_type: str = "int32",
    Tsplits: str = "int64",
    return_nbest: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of texts, or their numbers: values and row splits."""
    _without_nbest("SentencepieceTokenizeOp", return_nbest)
    rows = _rows("SentencepieceTokenizeOp", sp_handle, input, nbest_size, (add_bos, add_eos, reverse))
    return _pieces(rows, out_type), row_splits([len(r) for r in rows], Tsplits)


@lowering("SentencepieceTokenizeWithOffsetsOp", host=True, stateful=True, gradient="none")
def sentencepiece_tokenize_with_offsets(
    sp_handle: Pieces,
    input: Strings,
    nbest_size: np.ndarray,
    alpha: np.ndarray,
    add_bos: np.ndarray,
    add_eos: np.ndarray,
    reverse: np.ndarray,
    *,
    out_type: str = "int32",
    Tsplits: str = "int64",
    return_nbest: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As SentencepieceTokenizeOp, and at which bytes each piece begins and ends."""
    _without_nbest("SentencepieceTokenizeWithOffsetsOp", return_nbest)
    rows = _rows("SentencepieceTokenizeWithOffsetsOp", sp_handle, input, nbest_size, (add_bos, add_eos, reverse))
    begins, ends = (np.array([p[i] for row in rows for p in row], np.int64) for i in (2, 3))
    return _pieces(rows, out_type), row_splits([len(r) for r in rows], Tsplits), begins, ends


@lowering("SentencepieceDetokenizeOp", host=True, stateful=True, gradient="none", ignored=("Tsplits",))
def sentencepiece_detokenize(
    sp_handle: Pieces,
    input_values: np.ndarray,
    input_splits: np.ndarray,
    add_bos: np.ndarray,
    add_eos: np.ndarray,
    reverse: np.ndarray,
) -> Strings:
    """The texts of rows of pieces or of numbers; beginnings and ends are no text, so that adding them changes nothing.

    Raises:
        ValueError: a number is none of the vocabulary.
    """
    size = sp_handle.processor.vocab_size()
    items: list[Any] = input_values.tolist()
    if input_values.dtype.kind == "O":
        items = [p.decode("utf-8", "replace") for p in items]
    elif any(not 0 <= i < size for i in items):
        raise ValueError(f"SentencepieceDetokenizeOp of {items[:8]}: expected numbers of a vocabulary of {size}")
    texts = []
    for begin, end in itertools.pairwise(input_splits.tolist()):
        row = items[begin:end]
        texts.append(sp_handle.processor.decode(row[::-1] if reverse.all() else row).encode() if row else b"")
    return strings(texts)


@lowering("SentencepieceVocabSizeOp", host=True, stateful=True, gradient="none")
def sentencepiece_vocab_size(sp_handle: Pieces) -> np.ndarray:
    """How many pieces a model knows."""
    return np.array(sp_handle.processor.vocab_size(), np.int32)


@lowering("SentencepieceIdToStringOp", host=True, stateful=True, gradient="none")
def sentencepiece_id_to_string(sp_handle: Pieces, input: np.ndarray) -> Strings:
    """The pieces with those numbers."""
    size = sp_handle.processor.vocab_size()
    if any(not 0 <= i < size for i in input.ravel().tolist()):
        raise ValueError(f"SentencepieceIdToStringOp of {input.ravel()[:8]}: expected numbers of a vocabulary of {size}")
    return strings([sp_handle.processor.id_to_piece(i).encode() for i in input.ravel().tolist()], input.shape)


@lowering("SentencepieceStringToIdOp", host=True, stateful=True, gradient="none")
def sentencepiece_string_to_id(sp_handle: Pieces, input: Strings) -> np.ndarray:
    """The numbers of those pieces."""
    numbers = [sp_handle.processor.piece_to_id(p.decode("utf-8", "replace")) for p in input.ravel().tolist()]
    return np.array(numbers, np.int32).reshape(input.shape)
