"""The settings of conftest.py do what they claim: no TensorFlow beside JAX and PyTorch, and no network but loopback."""

import importlib
import importlib.util
import pkgutil
import socket
import subprocess
import sys

import pytest

import thaw
from conftest import BACKEND, BLOCKED_PACKAGES

WITHOUT_TENSORFLOW = pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow is the backend of this run")


@WITHOUT_TENSORFLOW
@pytest.mark.parametrize("package", BLOCKED_PACKAGES)
def test_tensorflow_cannot_be_imported(package: str) -> None:
    assert package not in sys.modules
    assert importlib.util.find_spec(package) is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(package)


@WITHOUT_TENSORFLOW
def test_every_module_of_thaw_imports_without_tensorflow() -> None:
    for module in pkgutil.walk_packages(thaw.__path__, "thaw."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert not set(BLOCKED_PACKAGES) & set(sys.modules)


@WITHOUT_TENSORFLOW
def test_importing_thaw_does_not_reach_for_tensorflow() -> None:
    """In a process of its own, where TensorFlow could be imported if it is installed."""
    script = "import sys, thaw; print(*{'tensorflow', 'tf_keras', 'tensorflow_hub'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_the_network_is_out_of_reach(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made, pytest.raises(OSError, match="tests may reach loopback only"):
        made.connect((address, 80))


def test_names_of_other_hosts_are_not_looked_up() -> None:
    with pytest.raises(socket.gaierror, match="loopback only"):
        socket.create_connection(("tfhub.example", 443))
