"""The fuzzer itself: whoever breaks a bound is found, with the sample that did it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.environ["KERAS_BACKEND"] != "jax" or not hasattr(os, "fork"), reason="it is shown once, beside jax, where processes fork"
)

# Targets that break a bound on the one sample "bad"; a process of its own, since a fork of one with JAX's threads may hang.
SCRIPT = """
import ctypes, sys
from pathlib import Path
from fuzz.run import Fuzzer
from fuzz.seeds import Target

def road(breach):
    def run(files):
        if files["f"] == b"bad":
            breach()
    return run

def endless():
    while True:
        pass

BREACHES = {
    "wrong_error": lambda: {}["key"],
    "hang": endless,
    "hang_in_c": lambda: sum(range(10**13)),
    "memory": lambda: bytearray(4 << 30),
    "crash": lambda: ctypes.string_at(0),
    "none": lambda: None,
}
fuzzer = Fuzzer(Path(sys.argv[1]), 1)
for name, breach in BREACHES.items():
    mutate = lambda rng, sample, other: {"f": rng.choice([b"good", b"bad"])}
    fuzzer.run(Target(name, 1, lambda: {"seed": {"f": b"good"}}, mutate, road(breach)), 12, 60)
fuzzer.write()
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, object]]]:
    out = tmp_path_factory.mktemp("fuzz")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    subprocess.run([sys.executable, "-c", SCRIPT, str(out)], check=True, env=environment)
    return out, json.loads((out / "figures.json").read_text())["formats"]


@pytest.mark.parametrize(
    ("breach", "kind", "words"),
    [
        ("wrong_error", "wrong error", "raised KeyError"),
        ("hang", "hang", "took more than 1.0 s of processor time"),
        ("hang_in_c", "hang", "took more than 1.0 s of processor time"),
        ("memory", "wrong error", "raised MemoryError"),
        ("crash", "crash", "SIGSEGV"),
    ],
)
def test_a_breach_is_found_with_its_sample(
    figures: tuple[Path, dict[str, dict[str, object]]], breach: str, kind: str, words: str
) -> None:
    out, formats = figures
    found = formats[breach]["findings"]
    assert isinstance(found, dict) and found[kind] > 0 and formats[breach]["executions"] == 12
    kept = sorted((out / breach).glob("*"))
    assert kept and all((folder / "files" / "f").read_bytes() == b"bad" for folder in kept)
    assert words in (kept[0] / "problem.txt").read_text()


def test_who_keeps_within_all_bounds_is_not_found(figures: tuple[Path, dict[str, dict[str, object]]]) -> None:
    row = figures[1]["none"]
    assert (row["executions"], row["read"], row["findings"]) == (12, 12, {})
