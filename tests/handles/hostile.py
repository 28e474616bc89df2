"""Archives that must not be unpacked, as a table: what is wrong with each, and the words that say so."""

import gzip
import io
import tarfile
from dataclasses import dataclass, field

from handles.server import tar_of
from thaw.handles.archive import Limits


def tar_with(*members: tarfile.TarInfo, content: bytes = b"x", mode: str = "w:gz", pax: bool = False) -> bytes:
    """An archive of these members; those that are plain files get `content`."""
    buffer = io.BytesIO()
    kind = tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=buffer, mode=mode, format=kind) as tar:  # type: ignore[call-overload]
        for member in members:
            if member.isreg():
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                tar.addfile(member)
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One 512-byte header that claims a size."""
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made.tobuf(tarfile.GNU_FORMAT)


def sparse() -> bytes:
    """A file that would be a terabyte of zeros."""
    made = member("holes", tarfile.GNUTYPE_SPARSE)
    block = bytearray(made.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"777777777777"  # the real size
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return gzip.compress(bytes(block) + bytes(1024))


@dataclass(frozen=True)
class Hostile:
    id: str
    archive: bytes
    words: str
    limits: Limits = field(default_factory=Limits)


UNSAFE = [
    Hostile("R7-dot-dot", tar_of({"../evil": b"x"}), "climbs out of the folder with '..'"),
    Hostile("R7-dot-dot-inside", tar_of({"a/../../evil": b"x"}), "climbs out of the folder with '..'"),
    Hostile("R7-dot-dot-backslash", tar_of({"..\\evil": b"x"}), "climbs out of the folder with '..'"),
    Hostile("R7-absolute", tar_with(member("/tmp/evil")), "its name is absolute"),
    Hostile("R7-drive", tar_of({"C:evil": b"x"}), "its name is absolute"),
    Hostile("R7-network-share", tar_of({"\\\\host\\share\\evil": b"x"}), "its name is absolute"),
    Hostile("R7-backslash", tar_of({"a\\b": b"x"}), "backslash"),
    Hostile("R7-symbolic-link", tar_with(member("a", tarfile.SYMTYPE, "/etc/passwd")), "it is a link"),
    Hostile("R7-hard-link", tar_with(member("a", tarfile.LNKTYPE, "/etc/passwd")), "it is a link"),
    Hostile("R7-link-then-file-through-it", tar_with(member("a", tarfile.SYMTYPE, "/tmp"), member("a/evil")), "it is a link"),
    Hostile("R7-character-device", tar_with(member("null", tarfile.CHRTYPE)), "device"),
    Hostile("R7-block-device", tar_with(member("disk", tarfile.BLKTYPE)), "device"),
    Hostile("R7-pipe", tar_with(member("pipe", tarfile.FIFOTYPE)), "pipe"),
    Hostile("R7-sparse", sparse(), "sparse"),
    Hostile("R7-unknown-kind", gzip.compress(header("a", 0, b"Z") + bytes(1024)), "it is a link"),
    Hostile("R7-same-name-twice", tar_with(member("a"), member("./a")), "used before"),
    Hostile("R7-file-then-folder", tar_with(member("a"), member("a/b")), "used before"),
    Hostile("R7-folder-then-file", tar_with(member("a", tarfile.DIRTYPE), member("a")), "used before"),
    Hostile("R7-file-over-the-folder-itself", tar_with(member(".")), "used before"),
    Hostile("R7-bomb-by-ratio", tar_of({"a": bytes(1 << 21)}), "times as many", Limits(grace=1 << 20)),
    Hostile("R7-bomb-by-size", tar_of({"a": b"x" * 600, "b": b"x" * 600}), "more than 1000 bytes", Limits(total=1000)),
    Hostile("R7-bomb-by-claim", gzip.compress(header("a", 1 << 40)), "more than 68719476736 bytes"),
    Hostile("R7-bomb-by-count", tar_of({str(i): b"" for i in range(11)}), "first 10 members", Limits(members=10)),
    Hostile("R7-bomb-by-extended-header", gzip.compress(header("x", 1 << 30, b"x") + bytes(1024)), "a header of"),
    Hostile("R7-bomb-by-long-name-header", gzip.compress(header("x", 1 << 30, b"L") + bytes(1024)), "a header of"),
    Hostile("R7-long-name", tar_of({"/".join(["a" * 200] * 6): b"x"}), "longer than 1024 bytes"),
    Hostile("R7-long-part", tar_of({"a" * 256: b"x"}), "longer than 1024 bytes (255 a part)"),
]
# tarfile reads a long name's header inside the one before it.
NESTED_HEADERS = header("x", 3, b"L") + (b"ab\0" + bytes(509) + header("x", 3, b"L")) * 3000
BLANK = header("a", 0)

PLAIN = tar_of({"a": b"x" * 700, "b": b"y" * 700}, "w:")
ZIPPED = gzip.compress(PLAIN)

CORRUPT = [
    Hostile("R6-cut-in-a-header", PLAIN[:100], ""),
    Hostile("R6-cut-in-a-file", PLAIN[:900], "too early"),
    Hostile("R6-cut-between-members", PLAIN[:1536], "without an end marker"),
    Hostile("R6-cut-in-the-second-header", PLAIN[:1600], "damaged header"),
    Hostile("R6-damaged-second-header", PLAIN[:1540] + b"\xff" + PLAIN[1541:], "damaged header follows the member 'a'"),
    Hostile("R6-gzip-cut-in-its-head", ZIPPED[:5], ""),
    Hostile("R6-gzip-cut-in-its-checksum", ZIPPED[:-6], "end-of-stream"),
    Hostile("R6-gzip-wrong-checksum", ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "CRC"),
    Hostile("R6-gzip-wrong-length", ZIPPED[:-4] + bytes(4), "ncorrect length"),
    Hostile("R6-gzip-damaged", ZIPPED[:30] + b"\xff" * 10 + ZIPPED[40:], ""),
    Hostile("R6-gzip-of-something-else", gzip.compress(b"a photograph" * 100), ""),
    Hostile("R6-gzip-of-nothing", gzip.compress(b""), ""),
    Hostile("R6-only-folders", tar_with(member("a", tarfile.DIRTYPE)), "holds no files"),
    Hostile(
        "R6-headers-without-end",
        gzip.compress(NESTED_HEADERS),
        "",
    ),
    Hostile("R6-negative-size", gzip.compress(BLANK[:124] + b"\xff" * 12 + BLANK[136:] + bytes(1024)), ""),
]
