"""The names of a stream's properties. A property keeps its name, and no other gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping import naming

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.mapping.naming import PropertyPath


class PropertyNames:
    """The names of one stream's properties."""

    def __init__(self) -> None:
        """Start without a name."""
        self._names: dict[PropertyPath, str] = {}
        self._used: set[str] = set()

    def assign_names(self, paths: Iterable[PropertyPath]) -> dict[PropertyPath, str]:
        """Return the name of each path; new ones in the given order."""
        paths = list(paths)
        unnamed = [path for path in paths if path not in self._names]
        assigned = naming.assign_unique_names(unnamed, self._used)
        self._names.update(assigned)
        self._used.update(assigned.values())
        return {path: self._names[path] for path in paths}

    def restore_name(self, path: PropertyPath, name: str) -> None:
        """Take a name of an earlier run. If a path has several, the first is its own."""
        self._names.setdefault(path, name)
        self._used.add(name)

    def add_name(self, wanted: str) -> str:
        """Return a name, with a number if it is in use, for a property that has one already."""
        name, number = wanted, 2
        while name in self._used:
            name = f"{wanted}_{number}"
            number += 1
        self._used.add(name)
        return name
