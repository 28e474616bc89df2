"""The cache: where it is, what counts as present, who downloads when several ask, and what a killed one leaves."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

import thaw.handles
from handles.server import ARCHIVE, FILES, RESOLVE, Reply, Server, tar_of
from thaw.errors import CacheError, CorruptArchiveError, DownloadError, OfflineError
from thaw.handles import cache as cache_module
from thaw.handles import lock, resolve


def holds_the_module(folder: Path) -> bool:
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return found == FILES


def leftovers(cache: Path) -> list[str]:
    return [p.name for p in cache.iterdir() if ".partial-" in p.name]


@pytest.mark.parametrize(
    ("environment", "argument", "expected"),
    [
        pytest.param({"THAW_CACHE_DIR": "a", "TFHUB_CACHE_DIR": "b"}, "c", "a", id="R1-THAW_CACHE_DIR-first"),
        pytest.param({"TFHUB_CACHE_DIR": "b"}, "c", "b", id="R1-TFHUB_CACHE_DIR-before-argument"),
        pytest.param({"THAW_CACHE_DIR": ""}, "c", "c", id="R1-empty-variable-counts-as-unset"),
        pytest.param({}, "c", "c", id="R1-argument-before-default"),
    ],
)
def test_cache_folder_is_chosen(
    environment: dict[str, str], argument: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THAW_CACHE_DIR")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_module.root(argument) == tmp_path / expected


def test_R1_default_is_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("THAW_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_module.root().name == "thaw"


def test_R1_argument_of_resolve_is_used(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("THAW_CACHE_DIR")
    assert resolve(f"{server.url}/module", cache_dir=tmp_path / "mine").is_relative_to(tmp_path / "mine")


@pytest.mark.parametrize("state", ["R2-empty-folder", "R2-without-note", "R2-file-missing", "R2-file-cut", "R2-note-cut"])
def test_half_written_entry_is_not_present(state: str, server: Server, cache: Path) -> None:
    handle = f"{server.url}/module"
    entry = cache / cache_module.key_of(handle)
    if state == "R2-empty-folder":
        entry.mkdir(parents=True)
    else:
        resolve(handle)
        server.asked.clear()
        note, weights = entry / "provenance.json", entry / "content" / "variables" / "variables.index"
        if state == "R2-without-note":
            note.unlink()
        elif state == "R2-note-cut":
            note.write_text(note.read_text()[:40])
        elif state == "R2-file-missing":
            weights.unlink()
        else:
            weights.chmod(0o644)
            weights.write_bytes(b"in")
    assert cache_module.present(cache, cache_module.key_of(handle)) is None
    assert holds_the_module(resolve(handle))
    assert len(server.asked) == 1
    assert not leftovers(cache)


def test_R3_threads_download_once(server: Server, cache: Path) -> None:
    waiting = threading.Event()
    server.replies["/module"].before = lambda: waiting.wait(0.3)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: resolve(f"{server.url}/module"), range(8)))
    assert len(server.asked) == 1
    assert len(found) == 1 and holds_the_module(found.pop())


def test_R3_processes_download_once(server: Server, cache: Path) -> None:
    server.replies["/module"].before = lambda: threading.Event().wait(0.5)
    running = [
        subprocess.Popen([sys.executable, "-c", RESOLVE, f"{server.url}/module"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(server.asked) == 1
    assert len(found) == 1 and holds_the_module(Path(found.pop()))


def test_R4_killed_download_leaves_nothing_that_counts(server: Server, cache: Path) -> None:
    handle = f"{server.url}/module"
    halfway, go_on = threading.Event(), threading.Event()

    def stop_halfway() -> None:
        halfway.set()
        go_on.wait(300)

    server.replies["/module"].halfway = stop_halfway
    process = subprocess.Popen([sys.executable, "-c", RESOLVE, handle])
    assert halfway.wait(300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go_on.set()
    assert leftovers(cache), "it was killed before it began to write"
    assert cache_module.present(cache, cache_module.key_of(handle)) is None
    server.replies["/module"] = Reply()
    assert holds_the_module(resolve(handle))
    assert not leftovers(cache), "what the killed one left was not cleared away"


def test_R4_interrupted_download_leaves_nothing(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(meter: object, count: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("thaw.handles.progress.Meter.advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resolve(f"{server.url}/module")
    assert not leftovers(cache)
    assert holds_the_module(resolve(f"{server.url}/module"))


def test_R5_lock_file_of_a_dead_process_is_taken_over(server: Server, cache: Path) -> None:
    handle = f"{server.url}/module"
    cache.mkdir()
    path = cache / f"{cache_module.key_of(handle)}.lock"
    hold = "import sys, os, signal; from filelock import FileLock; FileLock(sys.argv[1]).acquire(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", hold, str(path)], check=False)
    assert path.exists(), "nothing was abandoned"
    assert holds_the_module(resolve(handle))


def test_R5_lock_of_a_hanging_process_is_given_up(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = f"{server.url}/module"
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    cache.mkdir()
    hanging = cache / f"{cache_module.key_of(handle)}.partial-of-another"
    hanging.mkdir()
    with FileLock(cache / f"{cache_module.key_of(handle)}.lock"):
        assert holds_the_module(resolve(handle))
    assert hanging.exists(), "the folder of someone who may still be at work was taken away"


def test_R5_lock_is_waited_for_while_its_holder_makes_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    holder = FileLock(tmp_path / "a.lock")
    holder.acquire()
    written = iter(range(100))

    def watch() -> int:
        count = next(written)
        if count == 5:
            holder.release(force=True)
        return count

    with lock.held(tmp_path / "a.lock", watch=watch) as alone:
        assert alone
    assert next(written) > 5


def test_two_that_finish_at_once_agree_on_the_first(tmp_path: Path) -> None:
    """What a given-up lock leads to: both make the entry, and the second finds it in place."""

    def fetch_after_another_did(folder: Path, meter: object) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lock, "PATIENCE", 0.0)
            cache_module.obtain("x", fetch, folder=tmp_path, progress=False)
        return fetch(folder, meter)

    def fetch(folder: Path, meter: object) -> Path:
        (folder / "model.h5").write_bytes(b"weights")
        return folder / "model.h5"

    found = cache_module.obtain("x", fetch_after_another_did, folder=tmp_path, progress=False)
    assert found.read_bytes() == b"weights"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ARCHIVE[:-20], id="R6-truncated"),
        pytest.param(ARCHIVE[:60] + bytes([ARCHIVE[60] ^ 255]) + ARCHIVE[61:], id="R6-flipped-byte"),
        pytest.param(b"not an archive at all", id="R6-no-archive"),
        pytest.param(b"", id="R6-nothing"),
        pytest.param(tar_of({}), id="R6-no-files"),
    ],
)
def test_corrupt_archive_is_an_error_and_the_cache_stays_usable(body: bytes, server: Server, cache: Path) -> None:
    handle = f"{server.url}/module"
    server.replies["/module"] = Reply(body)
    with pytest.raises(CorruptArchiveError, match="Expected a complete"):
        resolve(handle)
    assert not leftovers(cache) and cache_module.present(cache, cache_module.key_of(handle)) is None
    server.replies["/module"] = Reply()
    assert holds_the_module(resolve(handle))


def test_R9_provenance_is_written(server: Server, cache: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    handle = f"{server.url}/module"
    resolve(handle)
    note = json.loads((cache / cache_module.key_of(handle) / "provenance.json").read_text())
    assert note["source"] == handle
    assert note["sha256"] == hashlib.sha256(ARCHIVE).hexdigest()
    assert note["bytes"] == len(ARCHIVE)
    assert before <= datetime.fromisoformat(note["time"]) <= datetime.now(UTC)


def test_R9_provenance_of_a_folder_depends_on_every_file(tmp_path: Path) -> None:
    def sum_of(files: dict[str, bytes]) -> str:
        def fetch(folder: Path, meter: object) -> Path:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            return folder

        cache_module.obtain(repr(files), fetch, folder=tmp_path, progress=False)
        note = cache_module.provenance(tmp_path / cache_module.key_of(repr(files)))
        assert note is not None
        return note.sha256

    sums = {sum_of({"a": b"1", "b": b"2"}), sum_of({"a": b"1", "b": b"3"}), sum_of({"a": b"1", "c": b"2"})}
    assert len(sums) == 3


def test_R12_offline_with_the_module_in_the_cache(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = f"{server.url}/module"
    first = resolve(handle)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    monkeypatch.setattr("thaw.handles.cache.held", lambda *_, **__: pytest.fail("a lock was taken"))
    assert resolve(handle) == first


def test_R12_offline_in_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    handle = f"{server.url}/module"
    first = resolve(handle)
    before = sorted(cache.rglob("*"))
    assert resolve(handle) == first
    assert sorted(cache.rglob("*")) == before


def test_R12_offline_without_it_says_how_to_put_it_there_by_hand(server: Server, cache: Path) -> None:
    handle = "https://tfhub.example/google/elmo/3"  # the tests' sockets reach loopback only
    with pytest.raises(OfflineError, match="not in the cache, and its server cannot be reached") as caught:
        resolve(handle)
    place = Path(str(caught.value).partition("put it at '")[2].partition("'")[0])
    assert place.parent == cache
    place.write_bytes(ARCHIVE)
    assert holds_the_module(resolve(handle))
    place.unlink()
    assert holds_the_module(resolve(handle))


def test_R12_by_hand_for_a_single_file(cache: Path) -> None:
    handle = "https://models.example/net.h5"
    with pytest.raises(OfflineError) as caught:
        resolve(handle)
    place = Path(str(caught.value).partition("put it at '")[2].partition("'")[0])
    assert place.suffix == ".h5"
    place.write_bytes(b"weights")
    assert resolve(handle).read_bytes() == b"weights"


def test_R12_what_tensorflow_hub_downloaded_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = "https://tfhub.example/google/elmo/3"
    name = hashlib.sha1(handle.encode()).hexdigest()
    (tmp_path / name).mkdir()
    (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
    monkeypatch.delenv("THAW_CACHE_DIR")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    with pytest.raises(OfflineError):  # without its note the download was not complete
        resolve(handle)
    (tmp_path / f"{name}.descriptor.txt").write_text("Module: ...")
    assert resolve(handle) == tmp_path / name


def test_content_is_read_only(server: Server, cache: Path) -> None:
    for file in resolve(f"{server.url}/module").rglob("*"):
        assert file.is_dir() or not file.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


@pytest.mark.parametrize(
    ("files", "result"),
    [
        pytest.param({"saved_model.pb": b"g"}, "", id="module-at-the-top"),
        pytest.param({"mobilenet/1/saved_model.pb": b"g", "mobilenet/1/assets/a": b"i"}, "mobilenet/1", id="wrapped"),
        pytest.param({"nets/frozen.pb": b"g"}, "nets/frozen.pb", id="one-file"),
        pytest.param({"a/saved_model.pb": b"g", "b/saved_model.pb": b"g"}, "", id="two-modules"),
    ],
)
def test_module_is_found_below_wrapping_folders(files: dict[str, bytes], result: str, tmp_path: Path, cache: Path) -> None:
    archive = tmp_path / "module.tar.gz"
    archive.write_bytes(tar_of(files))
    found = resolve(archive)
    content = cache / hashlib.sha256(archive.read_bytes()).hexdigest() / "content"
    assert found == (content / result if result else content)


def test_cache_folder_that_is_a_file_is_an_error(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THAW_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="THAW_CACHE_DIR"):
        resolve(f"{server.url}/module")


def test_full_disk_is_an_error_of_the_cache_not_of_the_network(tmp_path: Path) -> None:
    def fetch(folder: Path, meter: object) -> Path:
        raise OSError(28, os.strerror(28))

    with pytest.raises(CacheError, match="No space left"):
        cache_module.obtain("x", fetch, folder=tmp_path, progress=False)
    assert not leftovers(tmp_path)


def test_error_of_an_optional_library_is_a_download_error(tmp_path: Path) -> None:
    def fetch(folder: Path, meter: object) -> Path:
        raise RuntimeError("this revision does not exist")

    with pytest.raises(DownloadError, match="RuntimeError: this revision does not exist"):
        cache_module.obtain("x", fetch, folder=tmp_path, progress=False)


def test_resolve_is_the_room_s_only_public_name() -> None:
    assert thaw.handles.__all__ == ["resolve"]
