"""A web server on loopback that answers what a test tells it to, and remembers what it was asked."""

import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import thaw

FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"index", "assets/vocab.txt": b"a\nb\n"}


def tar_of(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar archive of files by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = tar_of(FILES)

# Another process that resolves one handle and prints where it lies. It imports this room alone: the package's own
# `__init__` would import Keras, which costs seconds and which handles do without.
RESOLVE = f"""
import sys, types
sys.modules["thaw"] = types.ModuleType("thaw")
sys.modules["thaw"].__path__ = {list(thaw.__path__)!r}
from thaw.handles import resolve
print(resolve(sys.argv[1]))
assert "keras" not in sys.modules
"""


@dataclass
class Reply:
    """What one path answers."""

    body: bytes = ARCHIVE
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """The declared length, where it shall differ from the body's."""
    before: Callable[[], object] | None = None
    """Called before answering."""
    halfway: Callable[[], object] | None = None
    """Called after half of the body."""


@dataclass
class Server:
    """A running server: its address, its replies by path, and the requests that it got."""

    url: str
    port: int
    replies: dict[str, Reply]
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The paths with queries, in the order of the requests."""
        return [path for path, _ in self.asked]


@contextmanager
def serving(replies: dict[str, Reply] | None = None) -> Iterator[Server]:
    """A server on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, dict(self.headers)))
            reply = server.replies.get(self.path.partition("?")[0], Reply(b"no such thing", 404))
            if reply.before is not None:
                reply.before()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            self.end_headers()
            half = len(reply.body) // 2
            try:
                self.wfile.write(reply.body[:half])
                if reply.halfway is not None:
                    self.wfile.flush()
                    reply.halfway()
                self.wfile.write(reply.body[half:])
            except (BrokenPipeError, ConnectionResetError):
                pass  # the asking process was killed, as a test wanted

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    port = httpd.server_address[1]
    server = Server(f"http://127.0.0.1:{port}", port, replies or {})
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
