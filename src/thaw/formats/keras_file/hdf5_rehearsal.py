"""Opens an HDF5 file in a process of its own first, where its structures are unusual: damage there makes the library crash.

The process has bounds of processor time and memory that grow with the file. It runs this file as a script, so nothing here
imports thaw; h5py and the standard library only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["rehearse"]

_BASE_SECONDS, _BYTES_A_SECOND = 2, 50 << 20
_BASE_MEMORY = 2 << 30
_MOST_INFLATION = 1100
_SLACK = 65_536


def rehearse(path: Path) -> str:
    """What happens to a process that opens the file and reads everything in it, in words; empty where nothing does."""
    if not sys.executable:
        return ""
    seconds = _BASE_SECONDS + path.stat().st_size // _BYTES_A_SECOND
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), str(path), str(seconds)],
            capture_output=True,
            timeout=60 + 10 * seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "the HDF5 library finds no end in it"
    except OSError:  # no process to be had: as if there were no such check
        return ""
    if done.returncode == 0:
        return ""
    if done.returncode == 1:
        return done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
    return f"the HDF5 library does not survive it (status {done.returncode})"


def _bounded(seconds: int, size: int) -> None:
    """Sets the bounds of this process, where the system has such."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_BASE_MEMORY + 4 * size, _BASE_MEMORY + 4 * size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_all(path: str) -> None:
    import h5py

    def look(_: str, item: object) -> None:
        for name in item.attrs:  # type: ignore[attr-defined]
            item.attrs[name]  # type: ignore[attr-defined]
        if not isinstance(item, h5py.Dataset) or item.is_virtual or item.id.get_create_plist().get_external_count():
            return
        if item.nbytes <= item.id.get_storage_size() * _MOST_INFLATION + _SLACK:
            item[()]

    with h5py.File(path, "r") as file:
        look("", file)
        file.visititems(look)


if __name__ == "__main__":
    _bounded(int(sys.argv[2]), Path(sys.argv[1]).stat().st_size)
    _read_all(sys.argv[1])
