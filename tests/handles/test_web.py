"""Addresses: tfhub.dev's convention, redirects, credentials, and servers that answer badly."""

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from handles.server import ARCHIVE, FILES, RESOLVE, Reply, Server, serving
from thaw.errors import DownloadError, HandleError, OfflineError, UnsafeAddressError
from thaw.handles import resolve, web
from thaw.handles.cache import key_of
from thaw.handles.progress import Meter


@pytest.fixture
def other() -> Iterator[Server]:
    """A second server: another port is another host for credentials."""
    with serving({"/module": Reply(), "/module.tar.gz": Reply()}) as running:
        yield running


def redirect(target: str, status: int = 302) -> Reply:
    return Reply(b"", status, {"Location": target})


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        pytest.param("/module", "/module?tf-hub-format=compressed", id="convention-appended"),
        pytest.param("/module?v=2", "/module?v=2&tf-hub-format=compressed", id="convention-joins-a-query"),
        pytest.param("/module?tf-hub-format=compressed", "/module?tf-hub-format=compressed", id="convention-not-doubled"),
        pytest.param("/module.tar.gz", "/module.tar.gz", id="archive-as-it-is"),
        pytest.param("/module.tgz?token=1", "/module.tgz?token=1", id="archive-with-a-query"),
        pytest.param("/module#part", "/module?tf-hub-format=compressed", id="fragment-dropped"),
        pytest.param("/m%C3%BC", "/m%C3%BC?tf-hub-format=compressed", id="quoted-once"),
        pytest.param("/mü", "/m%C3%BC?tf-hub-format=compressed", id="non-ascii-quoted"),
    ],
)
def test_address_is_asked_for(asked: str, sent: str, server: Server, cache: Path) -> None:
    for path in ("/module.tar.gz", "/module.tgz", "/m%C3%BC"):
        server.replies[path] = Reply()
    folder = resolve(server.url + asked)
    assert server.paths == [sent]
    assert (folder / "saved_model.pb").read_bytes() == FILES["saved_model.pb"]


@pytest.mark.parametrize("name", ["net.h5", "net.keras", "frozen.pb"])
def test_single_model_file_keeps_its_name(name: str, server: Server, cache: Path) -> None:
    server.replies[f"/{name}"] = Reply(b"weights")
    found = resolve(f"{server.url}/{name}")
    assert (found.name, found.read_bytes()) == (name, b"weights")
    assert server.paths == [f"/{name}"]


def test_file_name_from_an_address_stays_in_the_folder(server: Server, cache: Path) -> None:
    server.replies["/..%2f..%2fevil.h5"] = Reply(b"weights")
    found = resolve(f"{server.url}/..%2f..%2fevil.h5")
    assert found.is_relative_to(cache) and ".." not in found.parts


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_R10_redirect_is_followed(status: int, server: Server, other: Server, cache: Path) -> None:
    server.replies["/module"] = redirect(f"{other.url}/module?signed=1", status)
    assert (resolve(f"{server.url}/module") / "saved_model.pb").exists()
    assert other.paths == ["/module?signed=1"]


def test_R10_relative_redirect_is_followed(server: Server, cache: Path) -> None:
    server.replies["/a/b"] = redirect("../module")
    assert (resolve(f"{server.url}/a/b") / "saved_model.pb").exists()


def test_R10_credentials_reach_the_first_host_only(server: Server, other: Server, cache: Path) -> None:
    with_user = server.url.replace("http://", "http://me:se%20cret@")
    server.replies["/module"] = redirect("/again")
    server.replies["/again"] = redirect(f"{other.url}/module")
    resolve(f"{with_user}/module")
    expected = "Basic " + base64.b64encode(b"me:se cret").decode()
    assert [headers.get("Authorization") for _, headers in server.asked] == [expected, expected]
    assert [headers.get("Authorization") for _, headers in other.asked] == [None]


def test_R10_credentials_do_not_come_back_by_a_detour(server: Server, other: Server, cache: Path) -> None:
    with_user = server.url.replace("http://", "http://me:secret@")
    server.replies["/first"] = redirect(f"{other.url}/back")
    other.replies["/back"] = redirect(f"{server.url}/module")
    resolve(f"{with_user}/first")
    assert [headers.get("Authorization") is None for _, headers in server.asked] == [False, True]


def test_R10_credentials_of_a_redirect_are_not_used(server: Server, other: Server, cache: Path) -> None:
    server.replies["/module"] = redirect(other.url.replace("http://", "http://a:b@") + "/module")
    resolve(f"{server.url}/module")
    assert [headers.get("Authorization") for _, headers in other.asked] == [None]


def test_R10_credentials_are_neither_stored_nor_shown(server: Server, cache: Path) -> None:
    with_user = server.url.replace("http://", "http://me:secret@")
    resolve(f"{with_user}/module")
    assert resolve(f"{server.url}/module").is_relative_to(cache / key_of(f"{server.url}/module"))
    assert not any(b"secret" in p.read_bytes() for p in cache.rglob("*") if p.is_file())
    with pytest.raises(HandleError) as caught:
        resolve(f"{with_user}/absent")
    assert "secret" not in str(caught.value)
    for refused in ("http://me:secret@models.example/module", "https://me:secret@models.example:99999/module"):
        with pytest.raises(UnsafeAddressError) as unsafe:
            resolve(refused)
        assert "secret" not in str(unsafe.value)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("http://models.example/m.tar.gz", id="R10-to-unencrypted"),
        pytest.param("file:///etc/passwd", id="R10-to-a-file"),
        pytest.param("ftp://127.0.0.1/m.tar.gz", id="R10-to-ftp"),
        pytest.param("https://", id="R10-to-no-host"),
        pytest.param("http://127.0.0.1:99999/", id="R10-to-an-impossible-port"),
    ],
)
def test_redirect_is_refused(target: str, server: Server, cache: Path) -> None:
    server.replies["/module"] = redirect(target)
    with pytest.raises(UnsafeAddressError, match="Expected an https:// address"):
        resolve(f"{server.url}/module")


def test_R10_https_is_never_led_down_to_http() -> None:
    """Not even to loopback, where a first address may be http."""
    with pytest.raises(UnsafeAddressError, match="not encrypted, and the first one was"):
        web._check(web._split("http://127.0.0.1/x"), before=web._split("https://tfhub.example/x"))


def test_R10_endless_redirects_end(server: Server, cache: Path) -> None:
    server.replies["/module"] = redirect("/module")
    with pytest.raises(UnsafeAddressError, match="more than 10 redirects"):
        resolve(f"{server.url}/module")
    assert len(server.asked) == 11


@pytest.mark.parametrize("address", ["http://models.example/m", "http://10.0.0.1/m.tar.gz", "http://localhost.example/m"])
def test_unencrypted_address_is_refused(address: str, cache: Path) -> None:
    with pytest.raises(UnsafeAddressError, match="not encrypted"):
        resolve(address)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(Reply(b"", 404), "HTTP 404", id="not-found"),
        pytest.param(Reply(b"", 403), "HTTP 403", id="forbidden"),
        pytest.param(Reply(b"", 500), "HTTP 500", id="server-error"),
        pytest.param(Reply(b"", 302), "HTTP 302", id="redirect-to-nowhere"),
        pytest.param(Reply(b"<html>", headers={"Content-Type": "text/html; charset=utf-8"}), "a web page", id="web-page"),
        pytest.param(Reply(ARCHIVE[:100], length=len(ARCHIVE)), f"after 100 of {len(ARCHIVE)} bytes", id="cut-short"),
    ],
)
def test_bad_answer_is_a_download_error(reply: Reply, words: str, server: Server, cache: Path) -> None:
    server.replies["/module"] = reply
    with pytest.raises(DownloadError, match=words) as caught:
        resolve(f"{server.url}/module")
    assert type(caught.value) is DownloadError
    assert not [p for p in cache.iterdir() if p.is_dir()]


def test_server_that_is_not_there_is_offline(server: Server, cache: Path) -> None:
    with serving() as gone:
        pass
    with pytest.raises(OfflineError):
        resolve(f"{gone.url}/module")


def test_endless_download_ends(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_BYTES", 100)
    with pytest.raises(DownloadError, match="larger than 100 bytes"):
        resolve(f"{server.url}/module")


def test_R8_progress_is_shown_on_a_terminal() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with Meter(show=True, console=console) as meter:
        meter.begin("Downloading elmo", 2048)
        meter.advance(2048)
    assert "Downloading elmo" in screen.getvalue() and "2.0/2.0 kB" in screen.getvalue()


def test_R8_progress_goes_to_the_terminal_and_the_answer_to_stdout(server: Server, cache: Path) -> None:
    terminal, end = os.openpty()
    process = subprocess.run(
        [sys.executable, "-c", RESOLVE, f"{server.url}/module"],
        stdout=subprocess.PIPE,
        stderr=end,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        check=True,
    )
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "Downloading module" in shown and "Unpacking module" in shown
    assert process.stdout.decode().splitlines() == [str(resolve(f"{server.url}/module"))]


@pytest.mark.parametrize(("show", "terminal"), [(False, True), (True, False)])
def test_R8_progress_is_not_shown(show: bool, terminal: bool) -> None:
    screen = io.StringIO()
    with Meter(show=show, console=Console(file=screen, force_terminal=terminal)) as meter:
        meter.begin("Downloading elmo", 10)
        meter.advance(10)
    assert screen.getvalue() == ""


def test_R8_downloading_writes_no_word_where_output_is_piped(
    server: Server, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    resolve(f"{server.url}/module")
    assert capfd.readouterr() == ("", "")


def test_R8_every_byte_is_counted(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[str, int | None]] = []
    sums: list[int] = []
    monkeypatch.setattr(Meter, "begin", lambda self, label, total: (counted.append((label, total)), sums.append(0)))
    monkeypatch.setattr(Meter, "advance", lambda self, count: sums.append(sums.pop() + count))
    resolve(f"{server.url}/module")
    assert counted == [("Downloading module", len(ARCHIVE)), ("Unpacking module", len(ARCHIVE))]
    assert sums == [len(ARCHIVE), len(ARCHIVE)]
