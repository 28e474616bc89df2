"""One execution of a target, watched: which error came out, how much processor time went, how much memory.

The bounds are the system's own, so that they also hold inside C libraries: a timer of the process's processor time (user
and system, so a busy machine does not lie) whose signal writes the Python stack and ends the process, and a limit on the
address space that makes allocations fail. POSIX only; the parent that survives such an end is `fuzz.run`.
"""

import contextlib
import faulthandler
import gc
import hashlib
import marshal
import re
import resource
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from fuzz.seeds import Sample, Target
from thaw.errors import CorruptFileError, ThawError

SECONDS = 1.0
"""Of processor time that one execution may take."""

MEMORY = 512 << 20
"""Bytes of address space that one execution may take beyond what the process has."""

KEPT = 3
"""Samples that are kept for each different finding."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one execution came to.

    Attributes:
        error: None where the sample was read.
        place: where the error was raised, as far as that tells errors apart: type and innermost lines.
        seconds: of processor time.
    """

    error: BaseException | None
    place: tuple[str, ...]
    seconds: float

    @property
    def problem(self) -> str:
        """What is wrong with that, in one line; empty where nothing is."""
        if self.seconds > SECONDS:
            return f"took {self.seconds:.1f} s of processor time"
        if self.error is None or isinstance(self.error, ThawError):
            return ""
        return f"raised {type(self.error).__name__}: {str(self.error)[:200]}"


def execute(target: Target, sample: Sample) -> Outcome:
    """Sends a sample along its road; whatever it raises is in the outcome."""
    error: BaseException | None = None
    start = time.process_time()
    try:
        target.road(sample)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as raised:  # also what is no Exception: pybind's and h5py's
        error = raised
    seconds = time.process_time() - start
    return Outcome(error, place(error), seconds)


def place(error: BaseException | None) -> tuple[str, ...]:
    """The kind of an error and the three innermost lines of Python that it came from."""
    if error is None:
        return ("read",)
    lines: list[str] = []
    at: TracebackType | None = error.__traceback__
    while at is not None:
        lines.append(f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}")
        at = at.tb_next
    words = re.sub(r"[\d\W]+|b?'.*'", " ", str(error))[-60:] if isinstance(error, CorruptFileError) else ""
    return (type(error).__name__, *lines[-3:], words) if isinstance(error, ThawError) else (type(error).__name__, *lines[-3:])


@contextmanager
def bounded(stack_file: IO[str], memory: int) -> Iterator[None]:
    """Memory is bounded meanwhile, and `arm` ends the process where time runs out, its stack written to the file."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    faulthandler.register(signal.SIGPROF, file=stack_file, all_threads=False, chain=True)
    faulthandler.enable(file=stack_file, all_threads=False)
    gc.collect()
    gc.freeze()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):  # systems without such a limit
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + memory, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        faulthandler.unregister(signal.SIGPROF)


def arm(seconds: float) -> None:
    """Ends the process when it has used that much processor time from now; 0 takes it back."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def address_space() -> int:
    """Bytes that the process has mapped now; where the system does not say, the most that it had resident."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
    """Bytes that the process has in memory now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pack(sample: Sample) -> bytes:
    """A sample as bytes."""
    return marshal.dumps(dict(sample))


def unpack(data: bytes) -> Sample:
    """The sample that `pack` made into bytes; only of our own making."""
    sample: dict[str, bytes] = marshal.loads(data)
    return sample


def keep(folder: Path, target: str, sample: Sample, problem: str, where: tuple[str, ...], stack: str = "") -> None:
    """Writes a finding: its files as a folder, and beside it what is wrong; a few for each place, then none."""
    kind = hashlib.sha256(repr((target, problem.partition(":")[0].split(" ")[:2], where)).encode()).hexdigest()[:8]
    for number in range(KEPT):
        at = folder / target / f"{kind}-{number}"
        if not at.exists():
            for name, data in sample.items():
                file = at / "files" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            at.mkdir(parents=True, exist_ok=True)
            (at / "problem.txt").write_text(f"{problem}\n{' '.join(where)}\n\n{stack}", "utf-8", "replace")
            return


def stack_of(error: BaseException | None) -> str:
    """The traceback of an error as text."""
    return "" if error is None else "".join(traceback.format_exception(error))[-6000:]
