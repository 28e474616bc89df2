"""Archives, damaged, on the road to an unpacked folder."""

import gzip
import io
import tarfile
import tempfile
from pathlib import Path
from random import Random

from fuzz.mutation import damaged
from fuzz.seeds import SCRATCH, Sample
from thaw.handles import archive
from thaw.handles.progress import Meter


def tar_seeds() -> dict[str, Sample]:
    """A small archive in each of tar's formats, packed and not."""
    found: dict[str, Sample] = {}
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
            for name, data in {
                "saved_model.pb": b"x" * 900,
                "variables/variables.index": b"y" * 300,
                "assets/" + "n" * 90: b"",
            }.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            if kind != tarfile.USTAR_FORMAT:
                tar.addfile(tarfile.TarInfo("long/" + "é" * 120 + "/name"))
        found[f"tar-{kind}"] = {"m.tar.gz": out.getvalue()}
    return found


def mutate_tar(rng: Random, sample: Sample, other: Sample) -> Sample:
    """Damage to an archive: in a header whose checksum is made right again, in the tar, or in the gzip around it."""
    data = sample["m.tar.gz"]
    packed = data[:2] == b"\x1f\x8b"
    if packed:
        return {"m.tar.gz": damaged(rng, data)}
    out = bytearray(data)
    roll = rng.random()
    if roll < 0.75 and len(out) >= 512:
        for _ in range(rng.choice([1, 1, 2])):
            at = 512 * rng.randrange(len(out) // 512)
            start, size = rng.choice([
                (0, 100),
                (100, 8),
                (124, 12),
                (124, 12),
                (156, 1),
                (156, 1),
                (157, 100),
                (257, 8),
                (345, 155),
            ])
            field = {124: b"%011o\0" % (abs(rng.choice([0, 1, 511, 512, 513, 2**20, 2**33 - 1])) % 2**33), 156: rng.choice(
                [b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S", b"X", b"\0"])}.get(start)  # fmt: skip
            if field is None or rng.random() < 0.4:
                field = damaged(rng, bytes(out[at + start : at + start + size]))
            out[at + start : at + start + size] = field[:size].ljust(size, b"\0")
            if rng.random() < 0.1:
                out[at + 124] = 0x80 | rng.randrange(2) * 0x7F
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    if roll > 0.6:
        out = bytearray(damaged(rng, bytes(out)))
    whole = bytes(out)
    if rng.random() < 0.5:
        whole = gzip.compress(whole, 1)
        whole = damaged(rng, whole) if rng.random() < 0.2 else whole
    return {"m.tar.gz": whole}


def archive_road(files: Sample) -> None:
    """Unpacks an archive into a fresh folder, and looks that nothing came out beside it."""
    with tempfile.TemporaryDirectory(prefix="thaw-fuzz-", dir=SCRATCH) as name:
        file, inner = Path(name) / "m.tar.gz", Path(name) / "inner"
        inner.mkdir()
        file.write_bytes(files["m.tar.gz"])
        try:
            if archive.is_archive(file):
                archive.unpack(file, inner, Meter(show=False))
        finally:
            beside = sorted(p.name for p in Path(name).iterdir())
            if beside != ["inner", "m.tar.gz"]:
                raise AssertionError(f"an archive wrote outside its folder: {beside}")
