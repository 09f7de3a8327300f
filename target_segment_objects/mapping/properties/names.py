"""The names of a stream's properties. A property keeps its name, and no other gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping import naming

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from target_segment_objects.mapping.naming import PropertyPath


class PropertyNames:
    """The names of one stream's properties."""

    def __init__(self, max_length: int | None = None) -> None:
        """Start without a name.

        Args:
            max_length: The most characters of a new name; None for no limit.
        """
        self._max_length = max_length
        self._names: dict[PropertyPath, str] = {}
        self._used: set[str] = set()

    def find_name(self, path: PropertyPath) -> str | None:
        """Return the name of a path; None if it has none yet."""
        return self._names.get(path)

    def find_unnamed(self, paths: Iterable[PropertyPath]) -> list[PropertyPath]:
        """Return the paths that have no name yet."""
        return [path for path in paths if path not in self._names]

    def assign_names(
        self, unnamed: Iterable[PropertyPath], reserved: Collection[str]
    ) -> dict[PropertyPath, str]:
        """Give names to paths that have none, in the given order.

        Args:
            unnamed: The paths.
            reserved: Names that none of them gets.
        """
        taken = self._used.union(reserved) if reserved else self._used
        assigned = naming.assign_unique_names(unnamed, taken, max_length=self._max_length)
        self._names.update(assigned)
        self._used.update(assigned.values())
        return assigned

    def restore_name(self, path: PropertyPath, name: str) -> bool:
        """Give a path the name that it had elsewhere, unless another one has it here."""
        if name in self._used:
            return False
        self._names[path] = name
        self._used.add(name)
        return True
