"""What a file is that stands where a model was expected: pointers, web pages and pickles are what people download by mistake.

Imports nothing of thaw.
"""

__all__ = ["nature_of"]

_STARTS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "It is a Git LFS pointer, which says where the file lies, not the file: fetch it with `git lfs pull`.",
    ),
    (b"\x89HDF\r\n\x1a\n", "It is an HDF5 file: `thaw.load_model` opens it if Keras wrote it."),
    (b"\x80", "It looks like a Python pickle, which thaw never opens, since reading it would run what it says."),
    (b"\x1f\x8b", "It is packed with gzip: unpack it first."),
    (b"PK\x03\x04", "It is a zip without Keras' config.json: unpack it first, if the model is in it."),
)
_PAGE = "It is a web page, as a site gives where the file needs a login or another address: download the raw file."


def nature_of(start: bytes) -> str:
    """What a file is by its first bytes, and what to do: a sentence for messages, empty where they say nothing."""
    if not start:
        return "It is empty: fetch it again."
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return _PAGE
    return next((sentence for begins, sentence in _STARTS if start.startswith(begins)), "")
