"""What holds for every test: one backend, no TensorFlow where it is not the backend, no network but loopback.

KERAS_BACKEND names the backend (jax when unset). Under jax and torch an import of TensorFlow or tf_keras raises, as it
would on a machine without them, so that the suite itself shows that thaw does not need them.
"""

import importlib.abc
import importlib.machinery
import ipaddress
import os
import random
import socket
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BACKEND = os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# What JAX compiles is kept: the same small nets are compiled over and over, in the second processes of tests too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# What XLA makes of a graph is as users have it; how fast its kernels are is not, which is most of what compiling costs: the
# passes of LLVM a third, the newer emitters two fifths of the rest (an extra option, which a later XLA may drop without a
# word). XLA_FLAGS= (empty) tests what users have.
EMITTERS = "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
os.environ.setdefault("XLA_FLAGS", f"--xla_backend_optimization_level=0 {EMITTERS}")

import hypothesis  # noqa: E402  (the backend is settled first)
import numpy as np  # noqa: E402
import pytest  # noqa: E402

BLOCKED_PACKAGES = () if BACKEND == "tensorflow" else ("tensorflow", "tf_keras", "tensorflow_hub")


class BlockedImports(importlib.abc.MetaPathFinder):
    """Stands in front of `finder` and hides the blocked packages: they are as if not installed, also for `find_spec`."""

    def __init__(self, finder: Any) -> None:
        self.finder = finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] in BLOCKED_PACKAGES:
            return None
        return self.finder.find_spec(fullname, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


if BLOCKED_PACKAGES:
    loaded = sorted(name for name in BLOCKED_PACKAGES if name in sys.modules)
    if loaded:
        raise RuntimeError(f"{loaded} were imported before the tests of the {BACKEND} backend began")
    sys.meta_path[:] = [BlockedImports(finder) for finder in sys.meta_path]

_real_connect = socket.socket.connect
_real_getaddrinfo = socket.getaddrinfo


def is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if not isinstance(host, str):
        return host is None  # the wildcard, for servers
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _connect(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
        raise OSError(f"tests may reach loopback only, not {address[0]!r}")
    _real_connect(self, address)


def _getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    if not is_loopback(host):
        raise socket.gaierror(f"tests may look up loopback only, not {host!r}")
    return _real_getaddrinfo(host, *args, **kwargs)


socket.socket.connect = _connect  # type: ignore[method-assign]
socket.getaddrinfo = _getaddrinfo

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=5000)
hypothesis.settings.load_profile("suite")


def exact_matmul() -> None:
    """Products of float32 matrices in float32, on every device."""
    if BACKEND == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    elif BACKEND == "torch":
        import torch

        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    else:
        import tensorflow

        tensorflow.config.experimental.enable_tensor_float_32_execution(False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", r"error:::thaw(\..*)?")
    exact_matmul()


def pytest_report_header() -> str:
    blocked = ", ".join(BLOCKED_PACKAGES) or "none"
    return f"keras backend: {BACKEND}; imports blocked: {blocked}"


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test begins from the same random state, whichever ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(20)
    else:
        random.seed(20)
        np.random.seed(20)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the cache of whoever runs it."""
    monkeypatch.setenv("THAW_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "thaw-cache"))
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
