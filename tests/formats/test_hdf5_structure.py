"""The walk through an HDF5 file before the library opens it: good files pass, damaged ones are refused by what is wrong."""

import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from formats.keras_cases import FILES
from thaw.errors import CorruptFileError
from thaw.formats.keras_file import hdf5, hdf5_rehearsal
from thaw.formats.keras_file.hdf5 import open_hdf5
from thaw.formats.keras_file.hdf5_structure import UnknownStructureError, check

pytestmark = pytest.mark.skipif(
    os.environ["KERAS_BACKEND"] != "jax", reason="reading needs no backend: it is shown once, beside jax"
)


def made(libver: str = "earliest", **options: object) -> bytes:
    """A file of two groups, two arrays and texts, as the library writes it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        file.attrs["text"] = "of any length"
        file.attrs["names"] = ["a", "b"]
        group = file.create_group("group")
        group.attrs["fixed"] = np.bytes_("text")
        group.create_dataset("array", data=np.arange(12, dtype="float32").reshape(4, 3), **options)
        file["scalar"] = np.int64(3)
    return buffer.getvalue()


GOOD = made()
PACKED = made(chunks=(2, 3), compression="gzip", shuffle=True, fletcher32=True)


@pytest.mark.parametrize("path", [pytest.param(p, id=p.name) for p in sorted(FILES.glob("*")) if p.suffix in (".h5", ".keras")])
def test_every_keras_file_of_the_suite_is_known(path: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            data = archive.read("model.weights.h5")
    check(data, path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (2, 2)},
        {"chunks": (2, 2), "maxshape": (None, None)},
        {"chunks": True, "compression": 9},
        {"fletcher32": True},
    ],
    ids=["plain", "chunks", "growing", "deflate", "checksum"],
)
def test_arrays_of_every_usual_layout_are_known(options: dict[str, object]) -> None:
    check(made(**options), "test")


def at(data: bytes, mark: bytes, offset: int, new: bytes, *, nth: int = 0) -> bytes:
    """The file with other bytes behind the nth place where `mark` stands."""
    place = -1
    for _ in range(nth + 1):
        place = data.index(mark, place + 1)
    return data[: place + offset] + new + data[place + offset + len(new) :]


def word(number: int) -> bytes:
    return struct.pack("<Q", number)


def root(data: bytes) -> int:
    """Where the root group's header is."""
    return int(struct.unpack_from("<Q", data, 64)[0])


HEAP = GOOD.index(b"HEAP")
TREE = GOOD.index(b"TREE")
CHUNKS = PACKED.index(b"TREE\x01")

DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut-off": (GOOD[: len(GOOD) // 2], "it ends at byte"),
    "superblock-of-no-version": (at(GOOD, b"\x89HDF", 8, b"\x09"), "has the version 9"),
    "root-outside": (GOOD[:64] + word(1 << 40) + GOOD[72:], "a header lies at bytes"),
    "root-is-no-header": (GOOD[:64] + word(HEAP) + GOOD[72:], "there is no header"),
    "header-of-more-messages": (GOOD[: root(GOOD) + 2] + b"\x63" + GOOD[root(GOOD) + 3 :], "messages, not 99"),
    "tree-of-another-kind": (at(GOOD, b"TREE", 4, b"\x01"), "no B-tree of the right kind"),
    "tree-of-too-many": (at(GOOD, b"TREE", 6, b"\xff\xff"), "no B-tree of the right kind"),
    "tree-with-a-neighbour": (at(GOOD, b"TREE", 8, word(TREE)), "has other neighbours"),
    "tree-of-itself": (at(at(GOOD, b"TREE", 5, b"\x01"), b"TREE", 32, word(TREE)), "no B-tree of the right kind"),
    "members-missing": (at(GOOD, b"SNOD", 0, b"SNOT"), "list of a group's members"),
    "too-many-members": (at(GOOD, b"SNOD", 6, b"\xff\x00"), "has 255 of them"),
    "name-outside-its-heap": (at(GOOD, b"SNOD", 8, word(4000)), "a name lies at byte 4000"),
    "heap-that-is-none": (at(GOOD, b"HEAP", 0, b"HEAD"), "no heap of names"),
    "heap-with-a-circle": (
        at(GOOD, b"HEAP", 16, word(40))[: HEAP + 32 + 40] + word(40) + word(16) + GOOD[HEAP + 32 + 56 :],
        "lead nowhere",
    ),
    "heap-of-strings-without-step": (at(GOOD, b"GCOL", 16, bytes(16)), "object 0 of the heap of strings"),
    "heap-of-strings-outside": (at(GOOD, b"GCOL", 8, word(1 << 30)), "a heap of strings lies at bytes"),
    "no-heap-of-strings": (at(GOOD, b"GCOL", 0, b"GOAL"), "no heap of strings"),
    "piece-outside": (PACKED[: CHUNKS + 24 + 32] + word(1 << 40) + PACKED[CHUNKS + 24 + 40 :], "piece of an array"),
    "piece-of-nothing": (PACKED[: CHUNKS + 24] + bytes(4) + PACKED[CHUNKS + 28 :], "gives 0 bytes, not 24"),
    "piece-elsewhere": (PACKED[: CHUNKS + 32] + word(1) + PACKED[CHUNKS + 40 :], "begins at"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused_by_what_it_is(name: str, tmp_path: Path) -> None:
    data, words = DAMAGED[name]
    path = tmp_path / "m.h5"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError) as caught, open_hdf5(path):
        pass
    assert words in str(caught.value)


def edited(change: Callable[[h5py.File], None]) -> bytes:
    buffer = io.BytesIO(GOOD)
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


UNUSUAL = {
    "latest": made("latest"),
    "v110": made("v110", chunks=(2, 2)),
    "compound": edited(lambda f: f.create_dataset("c", data=np.zeros(2, [("a", "f4"), ("b", "i4")]))),
    "texts": edited(lambda f: f.create_dataset("t", data=["a", "bc"])),
    "flags": edited(lambda f: f.create_dataset("b", data=np.array([True, False]))),
    "lzf": edited(lambda f: f.create_dataset("z", data=np.zeros((4, 4)), compression="lzf")),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_files_are_opened_after_a_trial(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownStructureError):
        check(UNUSUAL[name], "test")
    path = tmp_path / "m.h5"
    path.write_bytes(UNUSUAL[name])
    with open_hdf5(path) as file:
        assert file["group/array"][3, 2] == 11


def test_usual_files_need_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "rehearse", lambda path: pytest.fail("a trial"))
    path = tmp_path / "m.h5"
    path.write_bytes(GOOD)
    with open_hdf5(path) as file:
        assert file["scalar"][()] == 3


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import os; os.abort()", "does not survive it"),
        ("raise ValueError('a bad heap')", "ValueError: a bad heap"),
        ("", ""),
    ],
    ids=["crash", "error", "fine"],
)
def test_a_trial_tells_what_became_of_it(script: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trial.py").write_text(script)
    (tmp_path / "m.h5").write_bytes(UNUSUAL["latest"])
    monkeypatch.setattr(hdf5_rehearsal, "__file__", str(tmp_path / "trial.py"))
    problem = hdf5_rehearsal.rehearse(tmp_path / "m.h5")
    assert words in problem and bool(words) == bool(problem)


@pytest.mark.skipif(sys.platform == "win32", reason="a process has no bound of processor time there")
def test_a_trial_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = "import runpy, sys; runpy.run_path(sys.argv[3] if len(sys.argv) > 3 else REAL)['_bounded'](1, 0)\nwhile True: pass"
    (tmp_path / "trial.py").write_text(bounds.replace("REAL", repr(hdf5_rehearsal.__file__)))
    (tmp_path / "m.h5").write_bytes(UNUSUAL["latest"])
    monkeypatch.setattr(hdf5_rehearsal, "__file__", str(tmp_path / "trial.py"))
    assert "does not survive it" in hdf5_rehearsal.rehearse(tmp_path / "m.h5")


def test_arrays_that_share_their_values_are_refused() -> None:
    """Else a small file could ask for the reading of the same megabyte a million times."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["whole"] = np.zeros(100_000, "uint8")
        place = file["whole"].id.get_offset()
        file.create_dataset("empty", (100_000,), "uint8")  # never written: it lies nowhere yet
    data = buffer.getvalue()
    check(data, "test")
    with pytest.raises(CorruptFileError, match="its arrays claim 200000 bytes"):
        check(data.replace(struct.pack("<QQ", 2**64 - 1, 100_000), struct.pack("<QQ", place, 100_000)), "test")


def test_an_array_under_two_names_is_read_once() -> None:
    def link(file: h5py.File) -> None:
        file["again"] = file["group/array"]

    check(edited(link), "test")
