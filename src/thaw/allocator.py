"""One setting of the C library that makes training on a CPU faster; applied when asked for, never on import.

A training step of a convolutional net frees and takes gigabytes; glibc hands them back to the system each time, and taking them
anew costs a page fault for each 4 KB. The price of keeping them: the process holds its peak memory until it ends. Measured on
one loaded core, MobileNetV2 96/0.35, batch 32, on JAX: 53 000 faults a step and 136 images per second without; none and 249 with
`TUNABLES` in the environment; 136 where `tune_allocator` came after JAX had been imported. Imports the standard library only.
"""

import ctypes
import os
import platform
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # glibc's malloc.h
TUNABLES = ":".join((
    "glibc.malloc.arena_max=1",
    "glibc.malloc.mmap_max=0",
    f"glibc.malloc.trim_threshold={2**64 - 1}",
    f"glibc.malloc.top_pad={64 << 20}",
))
"""The setting as a value of the environment variable GLIBC_TUNABLES, which holds from the first allocation on."""

_TUNED: list[bool] = []


def tune_allocator() -> bool:
    """Makes glibc keep freed memory, as far as that can be told a process that runs already; a second call does nothing.

    JAX allocates in threads of its own, whose arenas do not change any more once they exist: for it, start Python with
    `GLIBC_TUNABLES` set to `thaw.allocator.TUNABLES` instead (as `restart_tuned` does), which serves PyTorch too.

    Returns:
        Whether the setting holds: False where the C library is not glibc (macOS, Windows, musl), or JAX came first.
    """
    if "malloc.arena_max=1" in os.environ.get("GLIBC_TUNABLES", ""):
        return True
    if not _TUNED:
        _TUNED.append(_tune())
    return _TUNED[0]


def restart_tuned() -> None:
    """Starts this very command anew in its place, with `TUNABLES`; does nothing where they hold, or do not apply.

    For the first line of a command's `main`: what the process did before is lost.
    """
    if not _is_glibc() or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return
    others = os.environ.get("GLIBC_TUNABLES", "")
    os.environ["GLIBC_TUNABLES"] = f"{others}:{TUNABLES}" if others else TUNABLES
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def _tune() -> bool:
    if not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    # One arena: JAX allocates in worker threads, whose own arenas cannot grow like the main one.
    settings = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20))
    answers = [mallopt(name, value) for name, value in settings]
    return answers == [1] * len(settings) and "jax" not in sys.modules
