"""Handles that are addresses: https://, with the `?tf-hub-format=compressed` convention of tfhub.dev.

An address that ends like an archive or a model file is fetched as it is; any other gets the convention's query, as in
tensorflow_hub. Redirects are followed by the rules of the first address: https stays https, and credentials go to no
other host. http:// is opened on this machine's loopback only. Uses urllib; no library beyond Python's own.
"""

import base64
import ipaddress
import re
import string
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from thaw.errors import UnsafeAddressError
from thaw.handles import kaggle
from thaw.handles.local import ARCHIVE_SUFFIXES
from thaw.handles.progress import Meter
from thaw.handles.scheme import MODEL_SUFFIXES, scheme

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without any byte before a server counts as gone."""
MOST_REDIRECTS = 10
MOST_BYTES = 64 << 30


def without_credentials(address: str) -> str:
    """The address without user name, password and fragment: how it is shown, stored and keyed."""
    parts = _split(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


@scheme("https", example="https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/feature_vector/5 or https://.../m.tar.gz")
@scheme("http", example="http://localhost:8080/module.tar.gz (this machine's own servers only)")
def fetch(handle: str, folder: Path, meter: Meter, /) -> Path:
    """Downloads the archive or model file at an address."""
    page = kaggle.from_page(handle)
    if page is not None:
        return kaggle.fetch(page, folder, meter)
    with _open(_with_format(handle)) as response:
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise HTTPException("the server answered with a web page, not with a model")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        target = folder / _file_name(handle)
        meter.begin(f"Downloading {target.name}", total)
        received = 0
        with target.open("xb") as out:
            while chunk := response.read(CHUNK):
                received += len(chunk)
                if received > MOST_BYTES:
                    raise HTTPException(f"it is larger than {MOST_BYTES} bytes")
                out.write(chunk)
                meter.advance(len(chunk))
        if total is not None and received != total:
            raise HTTPException(f"the connection ended after {received} of {total} bytes")
    return target


def _split(address: str) -> SplitResult:
    """The parts of an address.

    Raises:
        UnsafeAddressError: it is not an address.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port  # parsed, and checked, on access
    except ValueError as error:
        shown = re.sub(r"//[^/]*@", "//", address)  # it may hold a password, and cannot be taken apart
        raise UnsafeAddressError(repr(shown), str(error)) from error
    return parts


def _file_name(handle: str) -> str:
    """A plain name for the file, with the ending that tells its kind."""
    last = PurePosixPath(unquote(_split(handle).path)).name
    plain = re.sub(r"[^\w.-]", "_", last, flags=re.ASCII).lstrip(".")[-100:]
    return plain or "download"


def _with_format(address: str) -> str:
    """The address, with the query of tfhub.dev's convention where it does not name a file itself."""
    parts = _split(address)
    named_file = parts.path.endswith((*ARCHIVE_SUFFIXES, *MODEL_SUFFIXES))
    if named_file or any(name == "tf-hub-format" for name, _ in parse_qsl(parts.query)):
        return address
    query = f"{parts.query}&tf-hub-format=compressed" if parts.query else "tf-hub-format=compressed"
    return urlunsplit(parts._replace(query=query))


class _NoRedirects(HTTPRedirectHandler):
    """Leaves redirects to `_open`, which checks where they lead."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str) -> None:
        return None


def _open(address: str) -> HTTPResponse:
    """Opens an address, following its redirects.

    Raises:
        UnsafeAddressError: the address, or one that it leads to, is not allowed.
        HTTPError: the server answered with an error.
    """
    authorization = _authorization(_split(address))
    before: SplitResult | None = None
    for _ in range(MOST_REDIRECTS + 1):
        parts = _split(address)
        _check(parts, before)
        if before is not None and _origin(parts) != _origin(before):
            authorization = None  # for good: a later redirect back does not bring it back either
        address = without_credentials(address)
        # Non-ASCII characters are allowed in what users type and in what servers redirect to.
        request = Request(quote(address, safe=string.punctuation), headers={"Accept-Encoding": "identity"})
        request.add_header("User-Agent", "thaw")
        if authorization is not None:
            request.add_unredirected_header("Authorization", authorization)
        proxies = [ProxyHandler({})] if _is_loopback(parts.hostname) else []
        try:
            opened = build_opener(_NoRedirects, *proxies).open(request, timeout=TIMEOUT)
            assert isinstance(opened, HTTPResponse)
            return opened
        except HTTPError as error:
            target = error.headers.get("Location")
            if error.code not in (301, 302, 303, 307, 308) or not target:
                raise
            error.close()
            before, address = parts, urljoin(address, target)
    raise UnsafeAddressError(without_credentials(address), f"more than {MOST_REDIRECTS} redirects led to it")


def _check(parts: SplitResult, before: SplitResult | None) -> None:
    """Refuses an address that is not https, or http on loopback; and https that leads to http."""
    shown = without_credentials(urlunsplit(parts))
    led = "" if before is None else f", to which {without_credentials(urlunsplit(before))} redirects,"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise UnsafeAddressError(shown, f"the address{led} is not one of https://")
    if parts.scheme == "http" and before is not None and before.scheme == "https":
        raise UnsafeAddressError(shown, f"the address{led} is not encrypted, and the first one was")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise UnsafeAddressError(shown, f"the address{led} is not encrypted, so that anyone on the way may change the model")


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """What credentials belong to: scheme, host and port."""
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _authorization(parts: SplitResult) -> str | None:
    """The Basic header for `user:password@` in an address."""
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
