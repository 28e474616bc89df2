"""The allocator's setting: applied where glibc is, refused politely elsewhere, never by importing thaw."""

import platform
import subprocess
import sys

import pytest

from thaw import allocator

TAKES_AGAIN = """
import resource, sys
from thaw.allocator import tune_allocator
if sys.argv[1] == "tuned":
    assert tune_allocator()
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


def faults(mode: str) -> int:
    return int(subprocess.run([sys.executable, "-c", TAKES_AGAIN, mode], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_kept_memory_is_not_faulted_in_again():
    assert faults("plain") > 10 * (faults("tuned") + 10)


def test_elsewhere_it_says_no(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert allocator._tune() is False


def test_second_call_repeats_the_answer(monkeypatch):
    monkeypatch.setattr(allocator, "_TUNED", [])
    calls = []
    monkeypatch.setattr(allocator, "_tune", lambda: calls.append(1) or True)
    assert allocator.tune_allocator() and allocator.tune_allocator()
    assert len(calls) == 1
