"""How to provoke the errors of registries."""

from pathlib import Path

from provoke import Row
from thaw.errors import DuplicateRegistrationError
from thaw.registry import Registry


def register_twice(_: Path) -> None:
    registry: Registry[int] = Registry("scheme")
    registry.add("https", 1)
    registry.add("https", 2)


ROWS = [
    Row(
        DuplicateRegistrationError,
        register_twice,
        what="A scheme named 'https' is registered already",
        expected="another name",
        do="remove one of the two",
    )
]
