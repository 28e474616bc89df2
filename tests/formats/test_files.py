"""Files by relative name: in a folder, alone, in memory; none outside."""

import os
from pathlib import Path

import pytest

from thaw.errors import CorruptFileError, MissingFileError, ThawError, UnsafePathError
from thaw.formats import DirectoryFiles, Files, MemoryFiles
from thaw.formats import files as files_module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "artifact"
    (place / "assets").mkdir(parents=True)
    (place / "a.txt").write_bytes(b"one")
    (place / "assets" / "b.txt").write_bytes(b"two")
    (place / "empty").write_bytes(b"")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return place


@pytest.fixture(params=["folder", "memory"])
def files(request: pytest.FixtureRequest, folder: Path) -> Files:
    if request.param == "folder":
        return DirectoryFiles(folder)
    return MemoryFiles({"a.txt": b"one", "assets/b.txt": b"two", "empty": b""})


def test_files_are_listed_read_and_mapped(files: Files) -> None:
    assert files.list() == ("a.txt", "assets/b.txt", "empty")
    assert [files.read(n) for n in files.list()] == [b"one", b"two", b""]
    assert [bytes(files.map(n)) for n in files.list()] == [b"one", b"two", b""]
    assert [files.exists(n) for n in ("a.txt", "assets", "assets/b.txt", "c")] == [True, False, True, False]


def test_a_missing_file_is_named(files: Files) -> None:
    for act in (files.read, files.map):
        with pytest.raises(MissingFileError, match=r"lacks the file 'assets/c\.txt'"):
            act("assets/c.txt")


@pytest.mark.parametrize("name", ["../secret.txt", "assets/../../secret.txt", "/etc/passwd", "", "a\0b", "..\\secret.txt", "c:x"])
def test_names_that_leave_the_folder_are_refused(files: Files, name: str) -> None:
    for act in (files.read, files.map):
        with pytest.raises(UnsafePathError, match="leaves its folder"):
            act(name)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_links_are_followed_inside_only(folder: Path) -> None:
    (folder / "inside").symlink_to(folder / "a.txt")
    (folder / "outside").symlink_to(folder.parent / "secret.txt")
    (folder / "far").symlink_to(folder.parent)
    files = DirectoryFiles(folder)
    assert files.read("inside") == b"one"
    for name in ("outside", "far/secret.txt"):
        with pytest.raises(UnsafePathError, match="a link to"):
            files.read(name)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_the_cache_of_hugging_face_keeps_its_files_behind_links(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "ff").write_bytes(b"weights")
    (snapshot / "saved_model.pb").symlink_to(blobs / "ff")
    assert DirectoryFiles(snapshot).read("saved_model.pb") == b"weights"


def test_a_single_file_is_alone(folder: Path) -> None:
    files = DirectoryFiles(folder / "a.txt")
    assert files.list() == ("a.txt",)
    assert files.read("a.txt") == b"one"
    assert not files.exists("empty")


def test_a_folder_of_too_many_files_is_no_artifact(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MOST_FILES", 2)
    with pytest.raises(CorruptFileError, match="holds more than 2 files"):
        DirectoryFiles(folder).list()


def test_a_file_too_large_to_be_read_whole_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "LARGEST_READ", 2)
    with pytest.raises(CorruptFileError, match="it has 3 bytes, and at most 2"):
        DirectoryFiles(folder).read("a.txt")
    assert bytes(DirectoryFiles(folder).map("a.txt")) == b"one"


def test_hidden_folders_are_not_looked_into(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_bytes(b"")
    assert DirectoryFiles(folder).list() == ("a.txt", "assets/b.txt", "empty")


def test_a_view_outlives_its_files(folder: Path) -> None:
    view = DirectoryFiles(folder).map("a.txt")
    (folder / "a.txt").unlink()
    assert bytes(view) == b"one"


def test_errors_are_ours() -> None:
    assert issubclass(UnsafePathError, ThawError)
