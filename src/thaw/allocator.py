"""Settings of allocators that make training on a CPU faster; applied when asked for, never on import.

A training step of a convolutional net frees and takes gigabytes; glibc hands them back to the system each time, and taking them
anew costs a page fault for each 4 KB. The price of keeping them: the process holds its peak memory until it ends. Measured on
one loaded core, MobileNetV2 96/0.35, batch 32, on JAX: 53 000 faults a step and 136 images per second without; none and 249 with
`TUNABLES` in the environment; 136 where `tune_allocator` came after JAX had been imported. TensorFlow asks glibc for aligned
memory, which the settings do not keep; it has an allocator of its own that does (`TF_CPU_ALLOCATOR_USE_BFC`): MobileNetV2 224
predicts in 0.66 s in place of 1.12, a step takes 3.5 in place of 4.3. Imports the standard library only.
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


def tuned_environment(backend: str) -> dict[str, str]:
    """The variables of the environment, beside what is there, under which a process on that backend keeps freed memory."""
    found = _for_tensorflow() if backend == "tensorflow" else {}
    given = os.environ.get("GLIBC_TUNABLES", "")
    if _is_glibc() and "glibc.malloc." not in given:
        found["GLIBC_TUNABLES"] = f"{given}:{TUNABLES}" if given else TUNABLES
    return found


def _for_tensorflow() -> dict[str, str]:
    """The variables that choose TensorFlow's own allocator: held to 64 GiB unless told otherwise, it is told what there is."""
    if "TF_CPU_ALLOCATOR_USE_BFC" in os.environ:
        return {}
    found = {"TF_CPU_ALLOCATOR_USE_BFC": "true"}
    if "TF_CPU_BFC_MEM_LIMIT_IN_MB" not in os.environ and hasattr(os, "sysconf"):
        found["TF_CPU_BFC_MEM_LIMIT_IN_MB"] = str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20)
    return found


def tune_allocator() -> bool:
    """Makes this process keep freed memory, as far as that can be told one that runs already; a second call does nothing.

    Call it as early as possible. JAX allocates in threads of its own, whose arenas do not change any more once they exist: for
    it, start Python with `thaw.allocator.tuned_environment("jax")` in the environment instead (as `restart_tuned` does).
    TensorFlow settles on its allocator with the first operation; PyTorch is served at any time.

    Returns:
        Whether the setting holds: False where the C library is not glibc (macOS, Windows, musl), JAX was imported before, or
        TensorFlow is the backend and has computed something before.
    """
    if os.environ.get("TF_CPU_ALLOCATOR_USE_BFC") != "true":
        late = _tensorflow_has_begun()
        if late and os.environ.get("KERAS_BACKEND") == "tensorflow":
            return False
        if not late:
            os.environ.update(_for_tensorflow())
    if "malloc.arena_max=1" in os.environ.get("GLIBC_TUNABLES", ""):
        return True
    if not _TUNED:
        _TUNED.append(_tune())
    return _TUNED[0]


def _tensorflow_has_begun() -> bool:
    """Whether TensorFlow, if it is imported, has computed something: then it lets nobody change how many threads it has."""
    if "tensorflow" not in sys.modules:
        return False
    threading = sys.modules["tensorflow"].config.threading
    count = threading.get_inter_op_parallelism_threads()
    try:
        threading.set_inter_op_parallelism_threads(count + 1)
        threading.set_inter_op_parallelism_threads(count)
    except RuntimeError:
        return True
    return False


def restart_tuned() -> None:
    """Starts this very command anew in its place, in the tuned environment of `KERAS_BACKEND`; does nothing where that holds.

    For the first line of a command's `main`: what the process did before is lost.
    """
    more = tuned_environment(os.environ.get("KERAS_BACKEND", ""))
    if not more:
        return
    os.environ.update(more)
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
    late = "jax" in sys.modules and os.environ.get("KERAS_BACKEND", "jax") == "jax"  # TensorFlow imports it too
    return answers == [1] * len(settings) and not late
