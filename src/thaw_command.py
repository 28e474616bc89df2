"""The entry point of the command `thaw`: chooses Keras' backend, which must happen before `thaw` (and so Keras) is imported.

`--backend` on the command line counts first, then KERAS_BACKEND, then whatever is installed.
"""

import os
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NoReturn

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


def _refuse(message: str) -> NoReturn:
    """Ends the command as an error of thaw does, before thaw can be imported."""
    print(f"thaw: {message}", file=sys.stderr)
    sys.exit(2)


def _tune_allocator() -> None:
    """Starts the command anew with the allocator's setting, by `thaw.allocator` alone: importing `thaw` would start Keras."""
    package = find_spec("thaw")
    if package is None or package.origin is None:
        return
    spec = spec_from_file_location("thaw_allocator", Path(package.origin).with_name("allocator.py"))
    if spec is not None and spec.loader is not None:
        allocator = module_from_spec(spec)
        spec.loader.exec_module(allocator)
        allocator.restart_tuned()


def main() -> None:
    """Runs the command."""
    backend = chosen_backend(sys.argv[1:])
    if backend is not None and backend not in BACKENDS:
        _refuse(f"there is no backend {backend!r}. Expected one of {', '.join(BACKENDS)}. Check the spelling.")
    if backend is not None:
        if find_spec(backend) is None:
            _refuse(f"the backend {backend!r} is not installed. Run: pip install 'keras-thaw[{backend}]'")
        os.environ["KERAS_BACKEND"] = backend
    elif "KERAS_BACKEND" not in os.environ:
        _refuse("no backend is installed. Expected JAX, PyTorch or TensorFlow. Run: pip install 'keras-thaw[jax]'")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if sys.argv[1:2] == ["finetune"]:
        _tune_allocator()
    from thaw.cli import main as run

    run()


if __name__ == "__main__":
    main()
