"""The scoreboard: for every model of a folder and every backend, what works, held against TensorFlow's recorded answers.

    python tests/corpus/score.py FOLDER [--backend jax ...] [--model GLOB ...] [--json FILE] [--markdown FILE] [--resume]
                                        [--timeout SECONDS] [--jobs N]

FOLDER holds models: SavedModels, TF1 Hub modules, `.pb`, `.h5` or `.keras` files, or archives of them, beside `card.json` and
`golden.npz` where TensorFlow's answers are known (as in shared/models); it may be one model itself. Each runs in a process of
its own, so that a crash or a hang is one cell of the table. Without goldens a model runs on made-up inputs, its gradient is held
against finite differences, and it is trained one step, saved and loaded.

Columns: reads, runs, output (equal), gradient (equal), trains (one step moves what has a gradient and nothing else), saved (and
loaded: the same weights and outputs), seconds, peak memory in MiB. The files are written anew after each model: what was scored
is kept when the run is interrupted, and `--resume` goes on from it.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[0] = str(HERE.parents[1])  # the tests, so that this file's siblings are `corpus.…`

from corpus import board, layouts  # noqa: E402  (found by the line above)

BACKENDS = ("jax", "torch", "tensorflow")
BLOCKED = ("tensorflow", "tf_keras", "tensorflow_hub")


def score_here(path: Path, to: Path) -> None:
    """Scores one model in this process, a line of JSON a stage into `to`; the last one is the row."""
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        sys.modules.update(dict.fromkeys(BLOCKED))  # as on a machine without TensorFlow
    from corpus.stages import score

    started = time.perf_counter()
    with to.open("a") as file:

        def report(row: board.Row, stage: str | None) -> None:
            seconds = round(time.perf_counter() - started, 1)
            file.write(json.dumps({**row, "seconds": seconds, "memory": peak_memory(), "stage": stage}) + "\n")
            file.flush()

        report(score(path, report=report), None)


def peak_memory() -> int:
    """The most memory that this process held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it forked
        return next(int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)


class Running:
    """A model being scored in a process of its own."""

    def __init__(self, name: str, backend: str, path: Path, scratch: Path, timeout: float) -> None:
        self.name, self.backend, self.timeout = name, backend, timeout
        self.to, self.said = scratch / f"{name}-{backend}.jsonl", scratch / f"{name}-{backend}.log"
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment.setdefault("OMP_NUM_THREADS", "1")
        self.started = time.monotonic()
        with self.said.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE), "--one", str(path), "--to", str(self.to)],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def over(self) -> bool:
        """Whether it has ended, or taken too long (then it is ended)."""
        if self.process.poll() is None and time.monotonic() - self.started > self.timeout:
            self.kill()
            return True
        return self.process.poll() is not None

    def kill(self) -> None:
        """Ends it and what it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process.returncode = None

    def row(self) -> board.Row:
        """What it found; where it ended early, the stage that it was at says how."""
        lines = self.to.read_text().splitlines() if self.to.exists() else []
        found: board.Row = dict.fromkeys(board.STAGES, "-") | {"memory": 0, "stage": "reads"}
        for line in lines:
            if line.endswith("}"):
                found |= json.loads(line)
        stage = found.pop("stage")
        if stage is not None:
            found["seconds"] = round(time.monotonic() - self.started, 1)
            code = self.process.returncode
            last = " ".join(self.said.read_text(errors="replace").split())[-300:]
            if code is None:
                found[stage] = f"no: took more than {self.timeout:g} s"
            elif code < 0:
                found[stage] = f"no: crashed by {signal.Signals(-code).name}: {last}"
            else:
                found[stage] = f"no: ended with status {code}: {last}"
        return {"model": self.name, "backend": self.backend, **found}


def rows_of(
    models: dict[str, Path], backends: list[str], done: set[tuple[str, str]], options: argparse.Namespace
) -> Iterator[board.Row]:
    """The rows, as they come; when this ends, for whatever reason, nothing that it started runs on."""
    waiting = [(name, b) for name in models for b in backends if (name, b) not in done]
    with tempfile.TemporaryDirectory(prefix="thaw-corpus-") as scratch:
        running: list[tuple[Running, ExitStack]] = []
        try:
            while waiting or running:
                while waiting and len(running) < options.jobs:
                    name, backend = waiting.pop(0)
                    stack = ExitStack()
                    try:
                        path = stack.enter_context(layouts.laid_out(models[name]))
                    except (OSError, EOFError, tarfile.TarError) as error:
                        empty: dict[str, Any] = {**dict.fromkeys(board.STAGES, "-"), "seconds": 0.0, "memory": 0}
                        yield {"model": name, "backend": backend, **empty, "reads": f"no: {type(error).__name__}: {error}"}
                        continue
                    running.append((Running(name, backend, path, Path(scratch), options.timeout), stack))
                for one in [pair for pair in running if pair[0].over()]:
                    running.remove(one)
                    one[1].close()
                    yield one[0].row()
                time.sleep(0.05)
        finally:
            for process, stack in running:
                process.kill()
                stack.close()


def main() -> int:
    """Prints the scoreboard of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="a folder of models, or one model")
    parser.add_argument("--backend", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--model", nargs="+", default=["*"], metavar="GLOB", help="only models of such a name")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="keep the rows that --json FILE holds already")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="for one model on one backend (300)")
    parser.add_argument("--jobs", type=int, default=1, help="models at once (1; more make the times longer)")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        score_here(options.one, options.to)
        return 0
    if options.folder is None or not options.folder.exists():
        parser.error(
            f"{options.folder} does not exist; expected a folder of models" if options.folder else "name a folder of models"
        )
    found, others = layouts.models_in(options.folder)
    models = {name: path for name, path in found.items() if any(fnmatchcase(name, glob) for glob in options.model)}
    if others:
        print(f"not models: {', '.join(others[:12])}{' …' if len(others) > 12 else ''}", file=sys.stderr)
    if not models:
        among = f" that {' or '.join(options.model)} names, among {len(found)}" if found else ""
        print(
            f"{options.folder} holds no model{among} (SavedModel, TF1 Hub module, .pb, .h5, .keras, or .tar.gz of one).",
            file=sys.stderr,
        )
        return 2
    backends = [b for b in options.backend if importlib.util.find_spec(b)]
    for backend in sorted(set(options.backend) - set(backends)):
        print(f"{backend} is not installed: left out", file=sys.stderr)
    rows: list[board.Row] = []
    if options.resume and options.json and options.json.exists():
        rows = [row for row in json.loads(options.json.read_text()) if row["model"] in models and row["backend"] in backends]
    total, started, interrupted = len(models) * len(backends), time.monotonic(), False
    kept = len(rows)
    try:
        for row in rows_of(models, backends, {(r["model"], r["backend"]) for r in rows}, options):
            rows.append(row)
            board.write(rows, options.json, options.markdown)
            left = (time.monotonic() - started) / (len(rows) - kept) * (total - len(rows))
            progress = f"[{len(rows)}/{total}, {left / 60:.0f} min left]"
            print(f"{progress} {row['model']} {row['backend']}: {board.one_line(row)}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        interrupted = True
    print(board.markdown(rows), end="", flush=True)
    if interrupted:
        print(f"interrupted: {len(rows)} of {total} are scored{'; --resume goes on' if options.json else ''}", file=sys.stderr)
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
