"""Unpacking: what comes out of good archives, and that bad ones leave nothing outside and take nothing without bound."""

import gzip
import io
import tarfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from handles.hostile import CORRUPT, UNSAFE, Hostile, member, tar_with
from handles.server import FILES, tar_of
from thaw.errors import CorruptArchiveError, HandleError, UnsafeArchiveError
from thaw.handles import archive, resolve
from thaw.handles.progress import Meter


def unpacked(content: bytes, tmp_path: Path, limits: archive.Limits = archive.LIMITS) -> dict[str, bytes]:
    file, folder = tmp_path / "module.tar.gz", tmp_path / "inner" / "content"
    folder.mkdir(parents=True)
    file.write_bytes(content)
    archive.unpack(file, folder, Meter(show=False), limits=limits)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("mode", ["w:gz", "w:"])
def test_files_come_out_as_they_went_in(mode: str, tmp_path: Path) -> None:
    files = FILES | {"exactly-one-block": b"x" * 512, "empty": b"", "many-chunks": bytes(range(256)) * 12_289}
    assert unpacked(tar_of(files, mode), tmp_path) == files


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tar_with(member(".", tarfile.DIRTYPE), member("./a")), id="leading-dot-and-the-folder-itself"),
        pytest.param(tar_with(member("a"), pax=True), id="pax-format"),
        pytest.param(gzip.compress(tar_of({"a": b"x"}, "w:")[:1024]), id="gzip-without-tar-end-marker"),
        pytest.param(tar_of({"a": b"x"}) + gzip.compress(bytes(512)), id="two-gzip-streams"),
    ],
)
def test_unusual_but_harmless_archives_are_unpacked(content: bytes, tmp_path: Path) -> None:
    assert unpacked(content, tmp_path) == {"a": b"x"}


def test_long_and_unicode_names_are_kept(tmp_path: Path) -> None:
    name = "/".join(["größe" * 8] * 5) + "/end"
    assert unpacked(tar_of({name: b"x"}), tmp_path) == {name: b"x"}


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in UNSAFE])
def test_unsafe_archive_is_refused(row: Hostile, tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchiveError) as caught:
        unpacked(row.archive, tmp_path, row.limits)
    assert row.words in str(caught.value)
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(tmp_path / "inner" / "content")]
    assert outside == [tmp_path / "module.tar.gz"]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in CORRUPT])
def test_corrupt_archive_is_refused(row: Hostile, tmp_path: Path) -> None:
    with pytest.raises(CorruptArchiveError) as caught:
        unpacked(row.archive, tmp_path)
    assert row.words in str(caught.value)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in UNSAFE if row.limits == archive.LIMITS])
def test_unsafe_archive_leaves_nothing_in_the_cache(row: Hostile, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "module.tar.gz"
    file.write_bytes(row.archive)
    with pytest.raises(UnsafeArchiveError, match=r"module\.tar\.gz"):
        resolve(file)
    assert [p.name for p in cache.iterdir() if p.is_dir()] == []


def test_R7_what_comes_out_is_bounded_behind_the_last_member_too(tmp_path: Path) -> None:
    """Zeros behind the end of the tar are read to check gzip's sum; they must not be read for ever."""
    content = tar_of({"a": b"x"}) + gzip.compress(bytes(4 << 20))
    with pytest.raises(UnsafeArchiveError, match="times as many"):
        unpacked(content, tmp_path, archive.Limits(grace=1 << 20))


GOOD = tar_of(FILES)
GOOD_TAR = tar_of(FILES, "w:")


@given(data=st.data())
def test_damaged_bytes_give_our_error_or_the_whole_content(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = data.draw(st.sampled_from([GOOD, GOOD_TAR]))
    place = data.draw(st.integers(0, len(whole) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=8))
    cut = data.draw(st.booleans())
    damaged = whole[:place] if cut else whole[:place] + patch + whole[place + len(patch) :]
    tmp_path = tmp_path_factory.mktemp("damaged")
    try:
        found = unpacked(damaged, tmp_path)
    except HandleError:
        return
    # A bare tar has no checksum over contents or over what fills a block: only names and headers are covered.
    assert len(found) == len(FILES)


@given(st.binary(max_size=2048))
def test_random_bytes_give_our_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    with pytest.raises(CorruptArchiveError):
        unpacked(content, tmp_path_factory.mktemp("random"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(GOOD, True, id="gzip"),
        pytest.param(GOOD_TAR, True, id="tar"),
        pytest.param(b"PK\3\4", False, id="zip"),
        pytest.param(b"", False, id="empty"),
        pytest.param(io.BytesIO(b"\x89HDF").getvalue(), False, id="hdf5"),
    ],
)
def test_archives_are_known_by_their_first_bytes(content: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert archive.is_archive(tmp_path / "file") is expected
