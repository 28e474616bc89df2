"""How to provoke the errors of handles."""

from pathlib import Path
from unittest import mock

from handles.server import Reply, serving, tar_of
from provoke import Row
from thaw.errors import (
    CacheError,
    CorruptArchiveError,
    DownloadError,
    MissingLibraryError,
    OfflineError,
    UnknownHandleError,
    UnsafeAddressError,
    UnsafeArchiveError,
)
from thaw.handles import cache, resolve


def missing_path(tmp_path: Path) -> None:
    resolve(tmp_path / "elmo")


def unknown_scheme(_: Path) -> None:
    resolve("ftp://host/elmo")


def missing_library(_: Path) -> None:
    with mock.patch.dict("sys.modules", kagglehub=None):
        resolve("kaggle://google/elmo/tensorFlow1/elmo")


def unencrypted(_: Path) -> None:
    resolve("http://models.example/elmo.tar.gz")


def redirected_to_unencrypted(_: Path) -> None:
    with serving({"/elmo": Reply(status=302, headers={"Location": "http://models.example/elmo"})}) as server:
        resolve(f"{server.url}/elmo")


def not_found(_: Path) -> None:
    with serving() as server:
        resolve(f"{server.url}/elmo")


def offline(_: Path) -> None:
    resolve("https://tfhub.example/google/elmo/3")


def archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "elmo.tar.gz").write_bytes(content)
    resolve(tmp_path / "elmo.tar.gz")


def cache_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    cache.obtain("elmo", lambda folder, meter: folder, folder=tmp_path / "cache")


ROWS = [
    Row(
        UnknownHandleError,
        missing_path,
        what="which does not exist",
        expected="Expected one of these forms:\n  file      ./module_folder",
        do="Check the spelling",
        name="missing-path",
    ),
    Row(
        UnknownHandleError,
        unknown_scheme,
        what="the scheme 'ftp://', which is not one that thaw knows",
        expected="https     https://tfhub.dev/",
        do="Check the spelling",
        name="unknown-scheme",
    ),
    Row(
        MissingLibraryError,
        missing_library,
        what="kaggle://google/elmo/tensorFlow1/elmo needs the library 'kagglehub', which is not installed",
        expected="Expected keras-thaw with its extra 'kaggle'",
        do="pip install 'keras-thaw[kaggle]'",
    ),
    Row(
        UnsafeAddressError,
        unencrypted,
        what="http://models.example/elmo.tar.gz is not opened",
        expected="Expected an https:// address",
        do="download the file and give its local path",
        name="typed",
    ),
    Row(
        UnsafeAddressError,
        redirected_to_unencrypted,
        what="to which http://127.0.0.1",
        expected="Expected an https:// address",
        do="Use the https:// address of the publisher",
        name="redirected",
    ),
    Row(
        DownloadError,
        not_found,
        what="HTTP 404 Not Found",
        expected="Expected the module as a .tar.gz archive",
        do="Check the handle, its version and your access rights",
    ),
    Row(
        OfflineError,
        offline,
        what="https://tfhub.example/google/elmo/3 is not in the cache, and its server cannot be reached",
        expected="Expected a network",
        do="put it at",
    ),
    Row(
        CorruptArchiveError,
        lambda tmp_path: archive(tmp_path, tar_of({"a": b"x"})[:-9]),
        what="elmo.tar.gz' cannot be unpacked",
        expected="Expected a complete .tar.gz",
        do="Download or pack it again",
    ),
    Row(
        UnsafeArchiveError,
        lambda tmp_path: archive(tmp_path, tar_of({"../a": b"x"})),
        what="is refused at its member '../a': its name climbs out",
        expected="Expected plain files and folders",
        do="unpack it yourself and give the folder",
    ),
    Row(
        CacheError,
        cache_is_a_file,
        what="cannot be used: File exists",
        expected="Expected a folder that can be written",
        do="THAW_CACHE_DIR",
    ),
]
