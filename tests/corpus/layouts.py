"""Where the models of a folder lie, and laying out those that come packed. Reads names only, never what is in a model."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

KERAS_FILES = {".h5", ".hdf5", ".keras"}
PACKED = (".tar.gz", ".tgz", ".tar")
ARCHIVE = "model.tar.gz"
BESIDE = ("card.json", "golden.npz")


def artifact_of(path: Path) -> Path | None:
    """The file or folder to open: a SavedModel's folder where there is one, else the first model file; None: there is none."""
    if path.is_file():
        return path if path.suffix == ".pb" or path.suffix in KERAS_FILES else None
    files = [p for p in sorted(path.rglob("*")) if p.suffix in {".pb", ".pbtxt", *KERAS_FILES} and p.is_file()]
    folders = [p.parent for p in files if p.stem == "saved_model"]
    if folders:
        return min(folders, key=lambda p: len(p.parts))
    models = [p for p in files if p.suffix == ".pb" or p.suffix in KERAS_FILES]
    return models[0] if models else None


def is_packed(path: Path) -> bool:
    return path.is_file() and path.name.endswith(PACKED)


def models_in(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Models by name (each a folder, a file or an archive), and the names of what is none.

    `folder` may be one model itself.
    """
    if folder.is_file() or (folder / ARCHIVE).exists() or any((folder / f"saved_model{s}").exists() for s in (".pb", ".pbtxt")):
        return {folder.name: folder}, []
    found, others = {}, []
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        if is_packed(path) or artifact_of(path) or (path.is_dir() and (path / ARCHIVE).exists()):
            found[path.name] = path
        else:
            others.append(path.name)
    return found, others


@contextmanager
def laid_out(path: Path) -> Iterator[Path]:
    """`path`, or the temporary folder into which its archive was unpacked, goldens beside it.

    Raises:
        OSError, tarfile.TarError: the archive is damaged, or would write elsewhere.
    """
    archive = path / ARCHIVE if path.is_dir() else path
    if not is_packed(archive):
        yield path
        return
    with TemporaryDirectory(prefix="thaw-corpus-") as scratch:
        target = Path(scratch) / path.name.split(".")[0]
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
        for name in BESIDE:
            if (archive.parent / name).exists() and path.is_dir():
                (target / name).write_bytes((archive.parent / name).read_bytes())
        yield target
