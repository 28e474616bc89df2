"""What a target of the fuzzer is, and where its seeds come from: the small artifacts of tests/models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

MODELS = Path(__file__).parents[1] / "models"
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files go that a library wants on disk: memory, where the system has that."""

INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"
LARGEST_SEED, LARGEST = 20_000, 45_000
"""Bytes of a graph, and of a file of another kind; larger seeds would only be slower to read."""

Sample = Mapping[str, bytes]
"""One input: the files of an artifact by relative name."""


@dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        name: for FORMAT=.
        weight: its share of a run, relative to the others; slow roads get less.
        seeds: whole samples by name.
        mutate: a damaged copy of a sample; `other` is a second one, to splice from.
        road: reads it as far as that goes.
        computes: whether the backend may have to: its threads are started before memory is bounded.
    """

    name: str
    weight: float
    seeds: Callable[[], dict[str, Sample]]
    mutate: Callable[[Random, Sample, Sample], Sample]
    road: Callable[[Sample], None]
    computes: bool = False


def folder(path: Path) -> dict[str, bytes]:
    """The files below a folder, by relative name."""
    files = (p for p in sorted(path.rglob("*")) if p.is_file() and p.name != "expected.json")
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in files}


def folders(*patterns: str, having: str = "", most: int = LARGEST_SEED) -> dict[str, Sample]:
    """The artifacts of tests/models that fit: small ones that hold a file of that name."""
    found = {f"{p.parent.name}-{p.name}": folder(p) for pattern in patterns for p in sorted(MODELS.glob(pattern)) if p.is_dir()}
    return {
        name: files
        for name, files in found.items()
        if (not having or having in files) and len(files.get("saved_model.pb", b"")) <= most
    }


def single(pattern: str, name: str, most: int = LARGEST) -> dict[str, Sample]:
    """Files of tests/models, each under the name `name`."""
    return {p.name: {name: p.read_bytes()} for p in sorted(MODELS.glob(pattern)) if p.stat().st_size <= most}
