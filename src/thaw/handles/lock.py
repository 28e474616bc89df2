"""A lock between threads and processes whose holder may die or hang.

The operating system frees the lock of a process that died. One whose holder is alive but makes no progress is no longer
waited for after PATIENCE seconds: the waiter then goes on without it. That is safe because what the lock guards is
written in a folder of its own and moved into place in one step: the lock only saves doing the same work twice.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE = 600.0
"""Seconds without any progress of its holder after which a lock counts as abandoned."""


@contextmanager
def held(path: Path, *, watch: Callable[[], int]) -> Iterator[bool]:
    """Waits for the lock file at `path`; gives True when it is held, False when it was given up as abandoned.

    `watch` measures the work of whoever holds it (bytes written): as long as that changes, the wait goes on.
    """
    lock = FileLock(path)
    seen, since = watch(), time.monotonic()
    while True:
        try:
            lock.acquire(timeout=min(1.0, PATIENCE))
            break
        except Timeout:
            now = watch()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since >= PATIENCE:
                yield False
                return
    try:
        yield True
    finally:
        lock.release()
