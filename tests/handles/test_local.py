"""Paths: what is used in place, what is unpacked, and what a missing path's message tells."""

import os
from pathlib import Path

import pytest

from handles.server import FILES, tar_of
from thaw.errors import CorruptArchiveError, UnknownHandleError
from thaw.handles import resolve
from thaw.handles.scheme import SCHEMES


def module(folder: Path) -> Path:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("form", ["text", "path", "relative", "home", "file-url", "one-of-its-files"])
def test_folder_is_used_where_it_lies(form: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = module(tmp_path / "my module")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    handle: dict[str, str | os.PathLike[str]] = {
        "text": str(folder),
        "path": folder,
        "relative": "./x/../my module",
        "home": "~/my module",
        "file-url": folder.as_uri(),
        "one-of-its-files": folder / "saved_model.pb",
    }
    assert resolve(handle[form]) == folder
    assert not cache.exists()


@pytest.mark.parametrize("name", ["frozen.pb", "net.h5", "net.keras", "no_suffix"])
def test_model_file_is_used_where_it_lies(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / name).write_bytes(b"weights")
    assert resolve(tmp_path / name) == tmp_path / name
    assert not cache.exists()


@pytest.mark.parametrize("name", ["module.tar.gz", "module.tgz", "module.tar", "named-otherwise"])
def test_archive_is_unpacked_into_the_cache_by_its_content(name: str, tmp_path: Path, cache: Path) -> None:
    content = tar_of(FILES, "w:" if name.endswith(".tar") else "w:gz")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "copy.tgz").write_bytes(content)
    folder = resolve(tmp_path / name)
    assert (folder / "assets/vocab.txt").read_bytes() == FILES["assets/vocab.txt"]
    assert folder.is_relative_to(cache)
    assert resolve(tmp_path / "copy.tgz") == folder
    (tmp_path / name).write_bytes(tar_of(FILES | {"more": b"x"}))
    assert resolve(tmp_path / name) != folder


def test_file_named_as_an_archive_that_is_none(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "module.tar.gz").write_bytes(b"<html>")
    with pytest.raises(CorruptArchiveError, match=r"module\.tar\.gz"):
        resolve(tmp_path / "module.tar.gz")


def test_R11_missing_path_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mobilenet_v2").mkdir()
    (tmp_path / "zebra").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownHandleError) as caught:
        resolve("mobilnet_v2")
    message = str(caught.value)
    assert repr(str(tmp_path / "mobilnet_v2")) in message, "the absolute path that was looked at"
    assert message.index("'mobilenet_v2'") < message.index("'zebra'"), "nearest names first"


def test_R11_missing_folder_of_a_missing_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(UnknownHandleError) as caught:
        resolve(tmp_path / "model" / "elmo" / "3")
    message = str(caught.value)
    assert "which does not exist either" in message
    assert "'models'" in message


@pytest.mark.parametrize("handle", ["", "a\0b", 7, None, "nosuch://module", "https://", "gs://"])
def test_R11_what_is_no_handle_lists_every_form(handle: object) -> None:
    with pytest.raises(UnknownHandleError) as caught:
        resolve(handle)  # type: ignore[arg-type]
    for scheme in SCHEMES.values():
        assert f"{scheme.name} " in str(caught.value) and scheme.example in str(caught.value)


def test_R11_missing_path_is_a_file_not_found_error_too(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        resolve(tmp_path / "absent")


def test_relative_path_is_of_the_folder_at_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    found = resolve("m")
    monkeypatch.chdir("/")
    assert found.is_absolute() and found.exists()
