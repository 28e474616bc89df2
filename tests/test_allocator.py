"""The allocator's setting: applied where glibc is, refused politely elsewhere, never by importing thaw."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from thaw import allocator

SOURCE = Path(allocator.__file__)
TAKES_AGAIN = """
import importlib.util, resource, sys
spec = importlib.util.spec_from_file_location("allocator", sys.argv[1])
allocator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(allocator)
if sys.argv[2] == "tuned":
    assert allocator.tune_allocator()
if sys.argv[2] == "restarted":
    allocator.restart_tuned()
    assert allocator.tune_allocator()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def fill():
    bytearray(64 << 20)
fill()
before = faults()
for _ in range(4):
    fill()
print(faults() - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")


def faults(mode: str) -> int:
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", TAKES_AGAIN, str(SOURCE), mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@glibc
@pytest.mark.parametrize("mode", ["tuned", "restarted"])
def test_kept_memory_is_not_faulted_in_again(mode):
    assert faults("plain") > 10 * (faults(mode) + 10)


def test_elsewhere_it_says_no(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert allocator._tune() is False
    assert allocator.restart_tuned() is None


@glibc
def test_too_late_for_jax_it_says_no(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", allocator)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: type("C", (), {"mallopt": lambda name, value: 1}))
    assert allocator._tune() is False


def test_second_call_repeats_the_answer(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(allocator, "_TUNED", [])
    calls = []
    monkeypatch.setattr(allocator, "_tune", lambda: calls.append(1) or True)
    assert allocator.tune_allocator() and allocator.tune_allocator()
    assert len(calls) == 1
