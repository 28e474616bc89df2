"""What JAX compiles is found again by the next process, where that is asked for."""

import os
import subprocess
import sys

import keras
import pytest

import thaw

CODE = """
import sys, jax, thaw
print(thaw.keep_compiled(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: jax.numpy.sin(x) * 3)(1.0)))
"""


def test_what_was_compiled_lies_in_the_folder(tmp_path):
    if keras.backend.backend() != "jax":
        assert thaw.keep_compiled(tmp_path) is None
        pytest.skip("other backends keep nothing")
    run = [sys.executable, "-c", CODE, str(tmp_path / "kept")]
    first = subprocess.run(run, env=dict(os.environ), capture_output=True, text=True, check=True).stdout
    kept = sorted(p.name for p in (tmp_path / "kept").iterdir() if p.name.endswith("-cache"))
    second = subprocess.run(run, env=dict(os.environ), capture_output=True, text=True, check=True).stdout
    assert kept
    assert kept == sorted(p.name for p in (tmp_path / "kept").iterdir() if p.name.endswith("-cache"))
    assert first == second
