"""`make fuzz`: sends damaged files of every format along their roads, and counts what comes out.

A child process works, sample after sample, and puts each into shared memory before it begins; where a bound ends the child,
the parent knows the sample, writes it down and starts another child. New places from which errors come are worth more damage:
their samples join the seeds. Figures and findings go to a folder; the result is failure if there was any finding.
"""

import argparse
import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [p for p in [str(Path(__file__).parents[1])] if p not in sys.path]

from fuzz.execution import MEMORY, SECONDS, arm, bounded, execute, keep, pack, resident, stack_of, unpack  # noqa: E402
from fuzz.seeds import Sample, Target  # noqa: E402
from fuzz.targets import TARGETS  # noqa: E402

SHARED = 64 << 20
"""Bytes of the memory between parent and child: counters, then the sample at work."""

COUNTERS = struct.Struct("<8Q")
GROWTH = 300 << 20
"""Bytes that a child may keep (Keras remembers much) before the next one takes over."""

MOST_PLACES = 5000
LARGEST_SAMPLE = 200_000
NEXT_CHILD, DONE = 3, 0
M_ARENA_MAX = -8
"""Of the C library's mallopt."""

FEWEST = 20
"""Executions of a child, however little time is left when its seeds are read."""

ROUND, LONG_ROUND = 120.0, 600.0
"""Seconds in which every format has its turn; the longer ones, where executions are counted, spare starts of Keras."""


@dataclass
class Tally:
    """The figures of one format."""

    executions: int = 0
    read: int = 0
    refused: int = 0
    places: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    findings: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """As JSON's own types."""
        rate = self.executions / self.seconds if self.seconds else 0
        return {
            "executions": self.executions,
            "per_second": round(rate, 1),
            "read": self.read,
            "refused": self.refused,
            "places": self.places,
            "slowest_seconds": round(self.slowest, 3),
            "findings": dict(self.findings),
        }


class Shared:
    """Memory between parent and child: what was done, and the sample at work."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, SHARED)
        self.memory[: COUNTERS.size] = bytes(COUNTERS.size)

    def begin(self, sample: Sample) -> None:
        data = pack(sample)[: SHARED - COUNTERS.size - 8]
        at = COUNTERS.size
        self.memory[at : at + 8] = len(data).to_bytes(8, "little")
        self.memory[at + 8 : at + 8 + len(data)] = data

    def sample(self) -> Sample:
        at = COUNTERS.size
        size = int.from_bytes(self.memory[at : at + 8], "little")
        return unpack(self.memory[at + 8 : at + 8 + size])

    def store(self, *numbers: int) -> None:
        self.memory[: COUNTERS.size] = COUNTERS.pack(*numbers, *[0] * (8 - len(numbers)))

    def load(self) -> tuple[int, ...]:
        return COUNTERS.unpack(self.memory[: COUNTERS.size])


class Corpus:
    """Samples from each of which another error came, in a folder of small files that outlive the child."""

    def __init__(self, folder: Path, seeds: list[Sample]) -> None:
        self.folder = folder
        self.seeds = seeds
        self.found: list[Sample] = []
        self.places: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            self.places.add(file.name)
            if data := file.read_bytes():
                self.found.append(unpack(data))

    def choose(self, rng: Random) -> Sample:
        """A whole seed, or every second time one of those found."""
        return rng.choice(self.found) if self.found and rng.random() < 0.5 else rng.choice(self.seeds)

    def add(self, place: tuple[str, ...], sample: Sample) -> None:
        """Keeps the sample where nothing came from that place before."""
        name = hashlib.sha256(repr(place).encode()).hexdigest()[:16]
        if name in self.places or len(self.places) > MOST_PLACES:
            return
        small = sum(map(len, sample.values())) < LARGEST_SAMPLE
        self.places.add(name)
        (self.folder / name).write_bytes(pack(sample) if small else b"")
        if small:
            self.found.append(sample)


def work(target: Target, seed: int, shared: Shared, out: Path, stack_path: Path, executions: int, seconds: float) -> int:
    """The child: samples without end, until it has done enough or grown too much."""
    rng = Random(seed)
    end = time.monotonic() + seconds
    seeds = list(target.seeds().values())
    for sample in seeds:  # what is made once for all is not put down to the first damaged sample
        shared.begin(sample)
        outcome = execute(target, sample)
        if outcome.problem and outcome.seconds <= SECONDS:
            keep(out, target.name, sample, f"a whole seed {outcome.problem}", outcome.place, stack_of(outcome.error))
    if target.computes:
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(2) + 1)
    corpus = Corpus(out / "corpus" / target.name, seeds)
    base = resident()
    done = read = refused = slowest = bad = 0
    with stack_path.open("w") as stack_file, bounded(stack_file, MEMORY):
        while done < executions and (time.monotonic() < end or done < FEWEST):
            try:
                changed = target.mutate(rng, corpus.choose(rng), rng.choice(seeds))
            except Exception:  # the one that was found is too damaged to be opened and damaged further
                changed = target.mutate(rng, rng.choice(seeds), rng.choice(seeds))
            shared.begin(changed)
            arm(SECONDS)
            outcome = execute(target, changed)
            arm(0)
            done += 1
            slowest = max(slowest, int(outcome.seconds * 1e6))
            if problem := outcome.problem:
                bad += 1
                keep(out, target.name, changed, problem, outcome.place, stack_of(outcome.error))
            read, refused = read + (outcome.error is None), refused + (outcome.error is not None)
            corpus.add(outcome.place, changed)
            shared.store(done, read, refused, len(corpus.places), slowest, bad)
            if done % 200 == 0 and resident() - base > GROWTH:
                return NEXT_CHILD
    return DONE


class Fuzzer:
    """The parent.

    Args:
        out: the folder for findings and figures.
        seed: of all randomness.
    """

    def __init__(self, out: Path, seed: int) -> None:
        self.out = out
        self.seed = seed
        self.tallies: dict[str, Tally] = {}
        self.shown = 0.0
        self.earlier: dict[str, Any] | None = None

    @property
    def done(self) -> int:
        """Executions of all formats."""
        return sum(t.executions for t in self.tallies.values())

    def run(self, target: Target, executions: int, seconds: float) -> None:
        """Fuzzes one format for so many executions or seconds, whichever is over first."""
        tally = self.tallies.setdefault(target.name, Tally())
        end, enough = time.monotonic() + seconds, tally.executions + executions
        while tally.executions < enough and time.monotonic() < end:
            self._child(target, tally, enough - tally.executions, end - time.monotonic())
        self.show(target, tally, last=True)

    def _child(self, target: Target, tally: Tally, executions: int, seconds: float) -> None:
        shared = Shared()
        self.seed += 1
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="thaw-fuzz-") as name:
            stack = Path(name) / "stack.txt"
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                code = 1
                try:
                    code = work(target, self.seed, shared, self.out, stack, executions, seconds)
                except BaseException as error:  # of the harness, not of the target
                    print(stack_of(error), file=sys.stderr)
                finally:
                    os._exit(code)
            while True:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    break
                time.sleep(0.05)
                self.show(target, tally, shared)
            done, read, refused, places, slowest, bad = shared.load()[:6]
            tally.executions += done
            tally.read += read
            tally.refused += refused
            tally.places = max(tally.places, places)
            tally.slowest = max(tally.slowest, slowest / 1e6)
            tally.seconds += time.monotonic() - begun
            if bad:
                tally.findings["wrong error"] += bad
            self._judge(target, tally, shared, status, stack)

    def led(self, target: Target, seconds: float) -> None:
        """Fuzzes one format by Atheris for so many seconds."""
        tally = self.tallies.setdefault(target.name, Tally())
        end, script = time.monotonic() + seconds, Path(__file__).with_name("coverage_led.py")
        while (left := end - time.monotonic()) > 1:
            self.seed += 1
            command = [sys.executable, str(script), target.name, str(left), str(self.out), str(self.seed)]
            status = subprocess.run(command, check=False).returncode
            figures = self.out / f"atheris-{target.name}.json"
            counts = json.loads(figures.read_text()) if figures.exists() else {}
            tally.executions += counts.get("executions", 0)
            tally.read += counts.get("read", 0)
            tally.refused += counts.get("refused", 0)
            if counts.get("findings"):
                tally.findings["wrong error"] += counts["findings"]
            figures.unlink(missing_ok=True)
            tally.seconds = seconds
            if status > 0:
                raise RuntimeError(f"the harness failed on {target.name}; its error stands above")
            if status < 0:
                sample = unpack((self.out / f"atheris-{target.name}.sample").read_bytes())
                self._ended(target, tally, sample, -status, self.out / f"atheris-{target.name}.stack")

    def _judge(self, target: Target, tally: Tally, shared: Shared, status: int, stack: Path) -> None:
        """Notes why a child ended, where that is a finding."""
        if not os.WIFEXITED(status):
            self._ended(target, tally, shared.sample(), os.WTERMSIG(status), stack)
        elif os.WEXITSTATUS(status) not in (DONE, NEXT_CHILD):
            raise RuntimeError(f"the harness failed on {target.name}; its error stands above")

    def _ended(self, target: Target, tally: Tally, sample: Sample, number: int, stack: Path) -> None:
        """Notes that a signal ended a child at work on that sample."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        text = stack.read_text() if stack.exists() else ""
        if number == signal.SIGPROF:
            problem = f"took more than {SECONDS} s of processor time"
            tally.slowest = max(tally.slowest, SECONDS)
        else:
            problem = f"ended the process: {signal.Signals(number).name}"
        tally.executions += 1
        tally.findings["hang" if number == signal.SIGPROF else "crash"] += 1
        where = tuple(line.strip() for line in text.splitlines() if line.startswith("  File "))[:3]
        keep(self.out, target.name, sample, problem, where, text)

    def show(self, target: Target, tally: Tally, shared: Shared | None = None, *, last: bool = False) -> None:
        """The line of progress, every two seconds."""
        if not last and time.monotonic() - self.shown < 2:
            return
        self.shown = time.monotonic()
        done, read, *_ = shared.load() if shared else (0, 0)
        total = tally.executions + done
        every = self.done + done
        share = (tally.read + read) / max(total, 1)
        line = f"{target.name:16} {total:>9,} executions, {share:4.0%} read, {tally.places:4} places, "
        line += f"slowest {tally.slowest:.2f} s, findings {dict(tally.findings) or 0}; {every:,} in all"
        print(line, end="\n" if last or not sys.stdout.isatty() else "\r", flush=True)

    def write(self) -> None:
        """Puts the figures into the folder, added to what runs before this one left there."""
        path = self.out / "figures.json"
        if self.earlier is None:
            self.earlier = json.loads(path.read_text())["formats"] if path.exists() else {}
        before = self.earlier
        formats = {name: tally.to_json() for name, tally in self.tallies.items()}
        for name, row in before.items():
            mine = formats.setdefault(name, {**row, "executions": 0, "read": 0, "refused": 0, "findings": {}})
            for key in ("executions", "read", "refused"):
                mine[key] += row[key]
            for key in ("places", "slowest_seconds"):
                mine[key] = max(mine[key], row[key])
            mine["findings"] = dict(Counter(mine["findings"]) + Counter(row["findings"]))
        total = sum(row["executions"] for row in formats.values())
        path.write_text(json.dumps({"executions": total, "formats": dict(sorted(formats.items()))}, indent=2) + "\n")


def main() -> int:
    """The command; see `make fuzz`."""
    with contextlib.suppress(AttributeError, OSError):  # else each thread of the backend asks for 64 MB of address space
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    parser = argparse.ArgumentParser(description="Damaged files of every format, until a bound is broken or time is over.")
    parser.add_argument("--seconds", type=float, help="of all formats together (60)")
    parser.add_argument("--executions", type=int, help="of all formats together, instead of seconds")
    parser.add_argument("--format", nargs="*", choices=sorted(TARGETS), default=sorted(TARGETS), help="only these")
    parser.add_argument("--engine", choices=["own", "atheris"], default="own", help="what leads: new errors, or coverage")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random source")
    parser.add_argument("--out", type=Path, default=Path("fuzz-output"), help="folder for findings and figures")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    targets = [TARGETS[name] for name in given.format or sorted(TARGETS)]
    weights = sum(t.weight for t in targets)
    most, end = given.executions or sys.maxsize, time.monotonic() + (given.seconds or (sys.maxsize if given.executions else 60))
    print(f"seed {given.seed}, findings and figures in {given.out}")
    fuzzer = Fuzzer(given.out, given.seed)
    try:
        while (left := end - time.monotonic()) > 1 and fuzzer.done < most:
            for target in targets:
                share = min(left, LONG_ROUND if given.executions else ROUND) * target.weight / weights
                fuzzer.led(target, share) if given.engine == "atheris" else fuzzer.run(target, most - fuzzer.done, share)
            fuzzer.write()
    finally:
        fuzzer.write()
    found = sum((t.findings for t in fuzzer.tallies.values()), Counter[str]())
    total = sum(t.executions for t in fuzzer.tallies.values())
    print(
        f"{total:,} executions; "
        + (f"findings: {dict(found)}, see {given.out}" if found else "only errors of ours, within all bounds")
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
