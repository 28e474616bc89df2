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


ON_TENSORFLOW = """
import resource, sys
import thaw
import tensorflow as tf
sums = tf.function(lambda x: tf.reduce_sum(tf.sin(x) + 1))
if sys.argv[2] == "late":
    sums(tf.ones(4))
if sys.argv[2] != "plain":
    print(thaw.tune_allocator())
x = tf.ones((16 << 20,))
sums(x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    sums(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
VARIABLES = {"GLIBC_TUNABLES", "TF_CPU_ALLOCATOR_USE_BFC", "TF_CPU_BFC_MEM_LIMIT_IN_MB"}


@pytest.fixture(autouse=True)
def untuned(monkeypatch):
    """Neither the environment of whoever runs the tests counts, nor does what a test sets in it outlive the test."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(allocator, "_TUNED", [])


def printed(program: str, mode: str) -> list[str]:
    command = [sys.executable, "-c", program, str(SOURCE), mode]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def faults(mode: str) -> int:
    return int(printed(TAKES_AGAIN, mode)[-1])


@glibc
@pytest.mark.parametrize("mode", ["tuned", "restarted"])
def test_kept_memory_is_not_faulted_in_again(mode):
    assert faults("plain") > 10 * (faults(mode) + 10)


@pytest.mark.skipif(os.environ["KERAS_BACKEND"] != "tensorflow", reason="TensorFlow has an allocator of its own")
def test_tensorflow_keeps_memory_if_it_has_not_begun():
    (plain,) = printed(ON_TENSORFLOW, "plain")
    said, tuned = printed(ON_TENSORFLOW, "tuned")
    assert said == str(platform.libc_ver()[0] == "glibc")
    assert int(plain) > 10 * (int(tuned) + 10)
    said, late = printed(ON_TENSORFLOW, "late")
    assert said == "False" and int(late) > 10 * (int(tuned) + 10)


def test_the_environment_is_told_what_it_does_not_say(monkeypatch):
    monkeypatch.setattr(allocator, "_is_glibc", lambda: True)
    found = allocator.tuned_environment("tensorflow")
    assert found.keys() == VARIABLES and int(found["TF_CPU_BFC_MEM_LIMIT_IN_MB"]) > 100
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.x=1")
    assert allocator.tuned_environment("jax") == {"GLIBC_TUNABLES": f"glibc.cpu.x=1:{allocator.TUNABLES}"}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_max=7")
    monkeypatch.setenv("TF_CPU_ALLOCATOR_USE_BFC", "false")
    assert allocator.tuned_environment("tensorflow") == {}


def test_elsewhere_it_says_no(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert allocator._tune() is False
    assert allocator.restart_tuned() is None


@glibc
def test_too_late_for_jax_it_says_no(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", allocator)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: type("C", (), {"mallopt": lambda name, value: 1}))
    assert allocator._tune() is False


def test_second_call_repeats_the_answer(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    calls = []
    monkeypatch.setattr(allocator, "_tune", lambda: calls.append(1) or True)
    assert allocator.tune_allocator() and allocator.tune_allocator()
    assert len(calls) == 1
