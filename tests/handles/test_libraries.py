"""Schemes that an optional library fetches: what they ask of it, with a stand-in for the library."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from handles.server import ARCHIVE, FILES
from thaw.errors import DownloadError, MissingLibraryError, OfflineError, UnsafeArchiveError
from thaw.handles import resolve
from thaw.handles.kaggle import from_page
from thaw.handles.scheme import SCHEMES, library


def write_module(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    made = types.ModuleType(name)
    vars(made).update(functions)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.mark.parametrize(
    ("handle", "absent", "line"),
    [
        ("kaggle://google/mobilenet-v2/tensorFlow2/x/2", "kagglehub", "pip install 'keras-thaw[kaggle]'"),
        ("https://www.kaggle.com/models/google/m/tensorFlow2/x/2", "kagglehub", "pip install 'keras-thaw[kaggle]'"),
        ("hf://owner/name", "huggingface_hub", "pip install 'keras-thaw[huggingface]'"),
        ("gs://bucket/module", "fsspec", "pip install 'keras-thaw[gs]'"),
        ("s3://bucket/module", "fsspec", "pip install 'keras-thaw[s3]'"),
        ("az://container/module", "fsspec", "pip install 'keras-thaw[az]'"),
    ],
)
def test_missing_library_prints_the_install_line(
    handle: str, absent: str, line: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingLibraryError) as caught:
        resolve(handle)
    assert line in str(caught.value)
    assert not [p for p in cache.iterdir() if p.is_dir()]


def test_every_extra_named_in_a_message_exists() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {"kaggle", "huggingface", "gs", "s3", "az"} <= set(project["optional-dependencies"])


def test_kaggle_is_asked_once_and_copied(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def model_download(handle: str) -> str:
        asked.append(handle)
        write_module(tmp_path / "kagglehub")
        return str(tmp_path / "kagglehub")

    stand_in(monkeypatch, "kagglehub", model_download=model_download)
    folder = resolve("kaggle://google/mobilenet-v2/tensorFlow2/x/2")
    assert resolve("kaggle://google/mobilenet-v2/tensorFlow2/x/2") == folder
    assert asked == ["google/mobilenet-v2/tensorFlow2/x/2"]
    assert folder.is_relative_to(cache) and (folder / "saved_model.pb").exists()
    assert (tmp_path / "kagglehub" / "saved_model.pb").exists(), "its own cache was emptied"


@pytest.mark.parametrize(
    ("page", "handle"),
    [
        ("https://www.kaggle.com/models/google/m-v2/tensorFlow2/x-y/2", "kaggle://google/m-v2/tensorFlow2/x-y/2"),
        (
            "https://kaggle.com/models/google/m/frameworks/tensorFlow2/variations/x/versions/2",
            "kaggle://google/m/tensorFlow2/x/2",
        ),
        ("https://www.kaggle.com/models/google/m/tensorFlow2/x", "kaggle://google/m/tensorFlow2/x"),
        ("https://www.kaggle.com/datasets/google/m/tensorFlow2/x", None),
        ("https://tfhub.dev/google/elmo/3", None),
    ],
)
def test_pages_of_kaggle_are_handles_too(page: str, handle: str | None) -> None:
    assert from_page(page) == handle


@pytest.mark.parametrize(
    ("handle", "repository", "revision", "patterns", "result"),
    [
        ("hf://owner/name", "owner/name", None, None, ""),
        ("hf://owner/name@v1", "owner/name", "v1", None, ""),
        ("hf://owner/name@v1/tf/1", "owner/name", "v1", ["tf/1", "tf/1/*"], "tf/1"),
    ],
)
def test_huggingface_is_asked_for_the_repository(
    handle: str,
    repository: str,
    revision: str | None,
    patterns: list[str] | None,
    result: str,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str | None, list[str] | None]] = []

    def snapshot_download(repo_id: str, *, revision: str | None, local_dir: Path, allow_patterns: list[str] | None) -> None:
        asked.append((repo_id, revision, allow_patterns))
        write_module(local_dir / result)
        (local_dir / ".cache").mkdir()

    stand_in(monkeypatch, "huggingface_hub", snapshot_download=snapshot_download)
    folder = resolve(handle)
    assert asked == [(repository, revision, patterns)]
    assert sorted(p.name for p in folder.iterdir()) == ["assets", "saved_model.pb", "variables"]


class Bucket:
    """A file system of fsspec's kind."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def find(self, root: str, detail: bool) -> dict[str, dict[str, int]]:
        return {n: {"size": len(c)} for n, c in self.files.items() if n == root or n.startswith(root + "/")}

    def open(self, name: str, mode: str) -> Any:
        import io

        return io.BytesIO(self.files[name])


def bucket_of(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    core = types.SimpleNamespace(url_to_fs=lambda handle: (Bucket(files), handle.partition("://")[2].rstrip("/")))
    stand_in(monkeypatch, "fsspec", core=core)


@pytest.mark.parametrize("protocol", ["gs", "s3", "az"])
def test_bucket_folder_archive_and_file(protocol: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"b/module/{name}": content for name, content in FILES.items()}
    bucket_of(monkeypatch, files | {"b/module.tar.gz": ARCHIVE, "b/net.h5": b"weights", "b/module2/x": b""})
    for handle in (f"{protocol}://b/module", f"{protocol}://b/module.tar.gz", f"{protocol}://b/module/"):
        folder = resolve(handle)
        assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == FILES
    assert resolve(f"{protocol}://b/net.h5").read_bytes() == b"weights"


def test_bucket_without_the_module(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket_of(monkeypatch, {})
    with pytest.raises(DownloadError, match="nothing lies at gs://b/absent"):
        resolve("gs://b/absent")


def test_R7_bucket_name_that_climbs_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket_of(monkeypatch, {"b/module/../../evil": b"x"})
    with pytest.raises(UnsafeArchiveError, match=r"climbs out"):
        resolve("gs://b/module")


def test_driver_of_a_bucket_that_is_missing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def url_to_fs(handle: str) -> None:
        raise ImportError("Please install gcsfs")

    stand_in(monkeypatch, "fsspec", core=types.SimpleNamespace(url_to_fs=url_to_fs))
    with pytest.raises(MissingLibraryError, match=r"'gcsfs'.*keras-thaw\[gs\]"):
        resolve("gs://b/module")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        pytest.param(ConnectionError("name not known"), OfflineError, id="R12-no-network"),
        pytest.param(ValueError("bad handle"), DownloadError, id="its-own-error"),
        pytest.param(type("HTTPError", (OSError,), {"response": "404"})("404 Client Error"), DownloadError, id="it-answered"),
        pytest.param(PermissionError("login first"), DownloadError, id="not-allowed"),
    ],
)
def test_what_a_library_raises_becomes_ours(
    raised: Exception, expected: type, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model_download(handle: str) -> str:
        raise raised

    stand_in(monkeypatch, "kagglehub", model_download=model_download)
    with pytest.raises(DownloadError) as caught:
        resolve("kaggle://a/b/c/d")
    assert type(caught.value) is expected and str(raised) in str(caught.value)
    assert f"put it at '{cache}" in str(caught.value)


def test_library_that_is_there_is_given() -> None:
    assert library("json", extra="x", handle="y").loads("1") == 1


def test_every_example_begins_with_its_scheme() -> None:
    for scheme in SCHEMES.values():
        assert scheme.example.startswith("./" if scheme.name == "file" else f"{scheme.name}://")
