"""How the properties of one stream are sent, for all its SCHEMAs of a run.

Without a memory of earlier runs, a property has the type that its SCHEMA declares. One that no
SCHEMA declares is a string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from target_segment_objects.mapping.properties.mapping import PropertyMapping
from target_segment_objects.mapping.properties.names import PropertyNames
from target_segment_objects.mapping.properties.sent import SentProperties
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.sent import PropertyMemory
    from target_segment_objects.mapping.values import Scalar

_NO_PATHS: Final[frozenset[PropertyPath]] = frozenset()


class StreamProperties:
    """The properties of one stream."""

    def __init__(
        self,
        stream: str,
        memory: PropertyMemory | None,
        log_warning: Callable[[str], object],
        *,
        max_name_length: int | None = None,
    ) -> None:
        """Start with the names and types of earlier runs.

        Args:
            stream: The stream's name, for messages.
            memory: What a ledger remembers of the stream; None without one.
            log_warning: Takes a warning; gets each at most once.
            max_name_length: The most characters of a new name; None for no limit.
        """
        self._names = PropertyNames(max_name_length)
        self._sent = (
            None if memory is None else SentProperties(stream, memory, self._names, log_warning)
        )
        self._awaited: dict[str, PropertyMapping] = {}
        self._undeclared: dict[PropertyPath, PropertyMapping] = {}

    @property
    def unsent(self) -> frozenset[PropertyPath]:
        """The properties whose type is stored with their first value that is not null."""
        return _NO_PATHS if self._sent is None else self._sent.unsent

    @property
    def undeclared(self) -> Mapping[PropertyPath, PropertyMapping]:
        """How the properties that no SCHEMA declares were sent first."""
        return self._undeclared

    def get_names(self, paths: Iterable[PropertyPath]) -> dict[PropertyPath, str]:
        """Return the names that properties were given first."""
        return self._names.assign_names(paths)

    def map_declared(self, types: Mapping[PropertyPath, PropertyType]) -> list[PropertyMapping]:
        """Return how the properties of a SCHEMA are sent, in its order.

        Args:
            types: Their declared types.

        Raises:
            UnmappableStreamError: A type has changed, and `type_changes` is `fail`.
        """
        self._undeclared.clear()  # they may be declared now
        names = self._names.assign_names(types)
        if self._sent is None:
            return [PropertyMapping(path, names[path], types[path]) for path in types]
        selected = self._sent.select(names, types)
        properties = [selected[path] for path in types]
        self._awaited = {prop.name: prop for prop in properties if prop.path in self._sent.unsent}
        return properties

    def map_undeclared(self, values: Mapping[PropertyPath, object]) -> list[PropertyMapping]:
        """Return how a record's undeclared properties are sent, sorted by their paths.

        Args:
            values: Path to value.

        Raises:
            UnmappableStreamError: A value does not have the type that was first sent, and
                `type_changes` is `fail`.
        """
        # Sorted, so that no name depends on the order of the record's keys.
        names = self._names.assign_names(sorted(values))
        for path in names.keys() - self._undeclared.keys():
            if self._sent is None:
                self._undeclared[path] = PropertyMapping(path, names[path], PropertyType.STRING)
            else:
                prop = self._undeclared[path] = self._sent.select_first(path, names[path])
                if path in self._sent.unsent:
                    self._awaited[prop.name] = prop
        properties = [self._undeclared[path] for path in sorted(values)]
        if self._sent is None:
            return properties
        return [self._sent.select_undeclared(prop, values[prop.path]) for prop in properties]

    def store_first_values(self, properties: Mapping[str, Scalar]) -> None:
        """Store the types of properties with the first value, just before they are sent.

        Args:
            properties: Name to value, as they are sent.
        """
        sent = [prop for name, prop in self._awaited.items() if properties.get(name) is not None]
        if sent and self._sent is not None:
            self._sent.store_types(sent)
            for prop in sent:
                del self._awaited[prop.name]
