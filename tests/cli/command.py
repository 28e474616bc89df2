"""The command `thaw`, run within this process or as one of its own."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from thaw import cli

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All that it printed."""
        return self.stdout + self.stderr


def thaw(*arguments: object) -> Done:
    """Runs `thaw` with these arguments in this process, from the function that turns errors into exit codes."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["thaw", *map(str, arguments)]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def command(*arguments: object) -> list[str]:
    """The words that run `thaw` as a process of its own."""
    return [sys.executable, str(ROOT / "src" / "thaw_command.py"), *map(str, arguments)]


def environment() -> dict[str, str]:
    """The environment of such a process: this run's backend, and no user's settings."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"}
