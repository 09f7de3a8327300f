"""What the mapping of a stream remembers for the whole run, across changed SCHEMAs.

Each stream has a state of its own, also if several streams share a collection. So its names depend
on its own schemas and records, and not on the order in which the streams arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping import naming
from target_segment_objects.mapping.data_warnings import DataWarnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_segment_objects.mapping.naming import PropertyPath


class PropertyNames:
    """The names of a stream's properties. A property keeps its name, and no other gets it."""

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


class StreamState:
    """The memory of one stream's mapping.

    Attributes:
        names: The names of its properties.
        warnings: The warnings that were given.
    """

    def __init__(self, stream: str, log: Callable[[str], object]) -> None:
        """Start without a name or a warning.

        Args:
            stream: The stream's name, for messages.
            log: Takes a warning; gets each at most once.
        """
        self.names = PropertyNames()
        self.warnings = DataWarnings(stream, log)
