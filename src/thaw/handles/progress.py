"""A progress bar for bytes: on stderr, where stderr is a terminal, and nowhere else.

Nothing is ever written to stdout, so that output of commands can be piped while a module downloads. Imports rich only.
"""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Meter:
    """Counts bytes of one stage after the other; shows them while open.

    ```python
    with Meter(show=True) as meter:
        meter.begin("Downloading elmo/3", total=None)
        meter.advance(1024)
    ```
    """

    def __init__(self, *, show: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (show and self._console.is_terminal),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def begin(self, label: str, total: int | None) -> None:
        """Starts the next stage; `total` in bytes, None where it is not known."""
        self._task = self._bar.add_task(label, total=total)

    def advance(self, count: int) -> None:
        """Counts `count` more bytes of the present stage."""
        if self._task is not None:
            self._bar.advance(self._task, count)
