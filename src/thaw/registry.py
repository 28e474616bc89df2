"""A registry: things of one kind by name, put in by a decorator or a call, doubles refused.

The three extension points (handle schemes, format readers, op lowerings) each hold one. Imports errors only.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from thaw.errors import DuplicateRegistrationError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind, by name, in the order of registration.

    Args:
        kind: what the entries are, for messages.
        fill: imports what registers the entries; called before the registry is first read.
    """

    def __init__(self, kind: str, fill: Callable[[], object] | None = None) -> None:
        self.kind = kind
        self._fill = fill
        self._known: dict[str, T] = {}

    @property
    def _entries(self) -> dict[str, T]:
        if self._fill is not None:
            self._fill()  # another thread that comes here meanwhile waits for the import
            self._fill = None
        return self._known

    def add(self, name: str, entry: T) -> None:
        """Registers `entry` under `name`.

        Raises:
            DuplicateRegistrationError: something is registered under that name already.
        """
        if name in self._known:
            raise DuplicateRegistrationError(self.kind, name)
        self._known[name] = entry

    def get(self, name: str) -> T | None:
        """The entry of that name, or None."""
        return self._entries.get(name)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> tuple[T, ...]:
        """Every entry, in the order of registration."""
        return tuple(self._entries.values())
