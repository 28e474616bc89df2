"""The entry point of the command `thaw`: chooses Keras' backend, which must happen before `thaw` (and so Keras) is imported.

`--backend` on the command line counts first, then KERAS_BACKEND, then whatever is installed.
"""

import os
import sys
from importlib.util import find_spec

BACKENDS = ("jax", "torch", "tensorflow")


def chosen_backend(arguments: list[str]) -> str | None:
    """The backend that the command line asks for, or the first installed where the environment names none."""
    for position, argument in enumerate(arguments):
        if argument == "--backend" and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--backend="):
            return argument.partition("=")[2]
    if "KERAS_BACKEND" in os.environ:
        return None
    return next((b for b in BACKENDS if find_spec(b) is not None), None)


def main() -> None:
    """Runs the command."""
    backend = chosen_backend(sys.argv[1:])
    if backend is not None and backend not in BACKENDS:
        sys.exit(f"thaw: there is no backend {backend!r}. Expected one of {', '.join(BACKENDS)}.")
    if backend is not None:
        if find_spec(backend) is None:
            sys.exit(f"thaw: the backend {backend!r} is not installed. Run: pip install 'keras-thaw[{backend}]'")
        os.environ["KERAS_BACKEND"] = backend
    elif "KERAS_BACKEND" not in os.environ:
        sys.exit("thaw: no backend is installed. Expected JAX, PyTorch or TensorFlow. Run: pip install 'keras-thaw[jax]'")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from thaw.cli import main as run

    run()
