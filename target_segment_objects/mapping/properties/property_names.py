"""The names of a stream's properties, and the objects that they are in.

A property keeps its name, and no other gets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping import naming

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from target_segment_objects.mapping.naming import PropertyPath


class PropertyNames:
    """The names of one stream's properties.

    Args:
        max_length: The most characters of a new name; None for no limit.
    """

    def __init__(self, max_length: int | None = None) -> None:
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
        """Give names to paths that have none, in the given order, but no reserved ones."""
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


class ObjectTree:
    """The objects that properties with names are in."""

    def __init__(self) -> None:
        self._children: dict[PropertyPath, dict[PropertyPath, None]] = {}

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._children)

    def add_property(self, path: PropertyPath) -> None:
        """Add the objects that a property is in."""
        for depth in range(1, len(path)):
            self._children.setdefault(path[:depth], {})[path[: depth + 1]] = None

    def list_children(self, path: PropertyPath) -> Sequence[PropertyPath]:
        """Return what is directly in an object; nothing if it is none."""
        return list(self._children.get(path, ()))

    def list_properties(self, path: PropertyPath) -> Iterator[PropertyPath]:
        """Yield the properties in an object, at any depth."""
        for child in self._children.get(path, ()):
            if child in self._children:
                yield from self.list_properties(child)
            else:
                yield child
