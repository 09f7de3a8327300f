"""The names of a stream's properties. A property keeps its name, and no other gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping import naming

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    def assign_names(self, paths: Iterable[PropertyPath]) -> dict[PropertyPath, str]:
        """Return the name of each path; new ones in the given order."""
        paths = list(paths)
        unnamed = [path for path in paths if path not in self._names]
        if not unnamed:  # as for nearly every record with undeclared properties
            return {path: self._names[path] for path in paths}
        assigned = naming.assign_unique_names(unnamed, self._used, max_length=self._max_length)
        self._names.update(assigned)
        self._used.update(assigned.values())
        return {path: self._names[path] for path in paths}

    def restore_name(self, path: PropertyPath, name: str) -> None:
        """Take a name of an earlier run. If a path has several, the first is its own."""
        self._names.setdefault(path, name)
        self._used.add(name)

    def add_name(self, wanted: str) -> str:
        """Return a name, with a number if it is in use, for a property that has one already."""
        shortened = naming.shorten_name(wanted, self._max_length)
        name = naming.find_free_name(shortened, self._used, self._max_length)
        self._used.add(name)
        return name
