"""What Segment was sent of a stream's properties: their names and types, remembered across runs.

A warehouse creates a column at the first value that is not null, and the column keeps the type of
that value. So a property keeps the type that it had when its first value was sent. A changed type
that this one can hold is converted; for any other, `type_changes` decides. The declared types
count, not the values, so that a run stops at a SCHEMA, before its records.

Only a run with a ledger has a memory. What keeps it is passed in: this module does no I/O.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from target_segment_objects.exceptions import UnmappableStreamError
from target_segment_objects.mapping.naming import format_path
from target_segment_objects.mapping.properties.mapping import PropertyMapping
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import is_finite, to_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.names import PropertyNames

TypeChanges: TypeAlias = Literal["fail", "warn", "new_property"]

_SUFFIXES: Final = {PropertyType.NUMBER: "float"}  # else the type's own name: `created_timestamp`
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:?\d\d.*)?", re.ASCII)
_MAX_LISTED: Final = 5  # changes in one message


class SentProperty(msgspec.Struct, frozen=True):
    """A property under one of its names.

    Attributes:
        path: The names from the record down to the property.
        name: Its name in Segment.
        type: The type of its values; None if every value so far was null, so that a warehouse has
            no column.
    """

    path: PropertyPath
    name: str
    type: PropertyType | None


class PropertyMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger remembers of a stream's properties, and what it is used for.

    Attributes:
        known: The properties. If a path has several, the first is the one that was sent first.
        save: Stores a property, or its type, before it is sent.
        type_changes: What happens when a property's type cannot hold its new type.
        log_info: Takes a message about a value that is converted.
        advice: Ends the message of a changed type: how to forget the old one.
    """

    known: Sequence[SentProperty]
    save: Callable[[SentProperty], None]
    type_changes: TypeChanges
    log_info: Callable[[str], object]
    advice: str


class SentProperties:
    """The names and types under which a stream's properties are sent.

    Attributes:
        unsent: The paths of the properties of which no value has been sent.
    """

    def __init__(
        self,
        stream: str,
        memory: PropertyMemory,
        names: PropertyNames,
        log_warning: Callable[[str], object],
    ) -> None:
        """Start with what is remembered.

        Args:
            stream: The stream's name, for messages.
            memory: What the ledger remembers.
            names: The names of the stream's properties, which get those of the memory.
            log_warning: Takes a warning.
        """
        self._stream = stream
        self._memory = memory
        self._names = names
        self._log_warning = log_warning
        self._by_path: dict[PropertyPath, list[SentProperty]] = {}
        self._logged: set[tuple[PropertyPath, PropertyType]] = set()
        for prop in memory.known:
            self._by_path.setdefault(prop.path, []).append(prop)
            names.restore_name(prop.path, prop.name)
        self.unsent = frozenset(
            path for path, (first, *_) in self._by_path.items() if first.type is None
        )

    def select(
        self, names: Mapping[PropertyPath, str], types: Mapping[PropertyPath, PropertyType]
    ) -> dict[PropertyPath, PropertyMapping]:
        """Return how properties are sent from now on.

        Args:
            names: The name of each property, by which it was first sent.
            types: The type of each now.

        Raises:
            UnmappableStreamError: A type has changed, and `type_changes` is `fail`.
        """
        selected = {}
        changed: list[tuple[SentProperty, PropertyType]] = []
        for path, new_type in types.items():
            fitting = self._find_fitting(path, names[path], new_type)
            if fitting is None:
                changed.append((self._by_path[path][0], new_type))
            else:
                selected[path] = fitting
        if changed and self._memory.type_changes == "fail":
            raise UnmappableStreamError(self._describe_failure(changed))
        for prop, new_type in changed:
            selected[prop.path] = self._change_type(prop, new_type)
        return selected

    def select_first(self, path: PropertyPath, name: str) -> PropertyMapping:
        """Return how an undeclared property was sent first; as a string if it was not."""
        first = self._add_new(path, name)[0]
        return PropertyMapping(path, first.name, first.type or PropertyType.STRING)

    def select_undeclared(self, first: PropertyMapping, value: object) -> PropertyMapping:
        """Return how a value of an undeclared property is sent.

        Args:
            first: How the property was sent first.
            value: The value, which has no declared type.

        Raises:
            UnmappableStreamError: It does not have that type, and `type_changes` is `fail`.
        """
        if _has_type(value, first.type):
            return first
        path = first.path
        return self.select({path: first.name}, {path: PropertyType.STRING})[path]

    def store_types(self, sent: Iterable[PropertyMapping]) -> None:
        """Store the types of properties whose first value that is not null is about to be sent."""
        for prop in sent:
            stored = SentProperty(prop.path, prop.name, prop.type)
            self._by_path[prop.path][0] = stored
            self._memory.save(stored)
            self.unsent -= {prop.path}

    def _add_new(self, path: PropertyPath, name: str) -> list[SentProperty]:
        """Return what is known of a property, which is added if nothing is."""
        if path not in self._by_path:
            new = SentProperty(path, name, None)
            self._by_path[path] = [new]
            self._memory.save(new)
            self.unsent |= {path}
        return self._by_path[path]

    def _find_fitting(
        self, path: PropertyPath, name: str, new_type: PropertyType
    ) -> PropertyMapping | None:
        """Return how values of a type are sent without a loss; None if they cannot be."""
        known = self._add_new(path, name)
        if known[0].type is None:
            return PropertyMapping(path, known[0].name, new_type)
        for prop in known:
            if prop.type is new_type:
                return PropertyMapping(path, prop.name, new_type)
        for prop in known:
            if prop.type is not None and _holds_type(prop.type, new_type):
                self._log_converted(prop, new_type)
                return PropertyMapping(path, prop.name, prop.type)
        return None

    def _change_type(self, prop: SentProperty, new_type: PropertyType) -> PropertyMapping:
        """Send a property by its new type, which its first type does not hold."""
        change = f"Stream '{self._stream}': {_describe_change(prop, new_type)}"
        if self._memory.type_changes == "warn":
            self._log_warning(
                f"{change}. A warehouse's column keeps its first type, so values of {prop.name} "
                "may be lost."
            )
            return PropertyMapping(prop.path, prop.name, new_type)
        name = self._names.add_name(_build_new_name(prop, new_type))
        new = SentProperty(prop.path, name, new_type)
        self._by_path[prop.path].append(new)
        self._memory.save(new)
        self._log_warning(
            f"{change}. From now on it is sent as {name}, and {prop.name} keeps its last values."
        )
        return PropertyMapping(prop.path, name, new_type)

    def _log_converted(self, prop: SentProperty, new_type: PropertyType) -> None:
        if (prop.path, new_type) in self._logged:
            return
        self._logged.add((prop.path, new_type))
        self._memory.log_info(
            f"Stream '{self._stream}': {_describe_change(prop, new_type)}. It is still sent as the "
            "first, because a warehouse's column keeps its type."
        )

    def _describe_failure(self, changed: Sequence[tuple[SentProperty, PropertyType]]) -> str:
        changes = [_describe_change(prop, new_type) for prop, new_type in changed[:_MAX_LISTED]]
        if len(changed) > _MAX_LISTED:
            changes.append(f"and {len(changed) - _MAX_LISTED} more")
        return (
            f"Stream '{self._stream}': {'; '.join(changes)}. A warehouse's column keeps its first "
            "type, so values would be lost. Set type_changes to new_property to send such values "
            f"as another property ({_build_new_name(*changed[0])}), or to warn to send them "
            f"nevertheless. Or convert them in stream_maps. {self._memory.advice}"
        )


def _holds_type(first: PropertyType, new: PropertyType) -> bool:
    """Return whether a column of the first type holds every value of the new type."""
    return first is PropertyType.STRING or (
        first is PropertyType.NUMBER and new is PropertyType.INTEGER
    )


def _has_type(value: object, expected: PropertyType) -> bool:
    """Return whether a value is written as one of a type."""
    if value is None or expected is PropertyType.STRING:
        return True
    if expected is PropertyType.BOOLEAN:
        return isinstance(value, bool)
    if expected is PropertyType.TIMESTAMP:
        return isinstance(value, str) and bool(_TIMESTAMP.fullmatch(value))
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return False
    if expected is PropertyType.INTEGER and is_finite(value):
        return isinstance(to_integer(value), int)
    return True


def _describe_change(prop: SentProperty, new_type: PropertyType) -> str:
    first = "" if prop.type is None else prop.type.value
    return (
        f"the type of the property '{format_path(prop.path)}' has changed from {first} to "
        f"{new_type.value}"
    )


def _build_new_name(prop: SentProperty, new_type: PropertyType) -> str:
    return f"{prop.name}_{_SUFFIXES.get(new_type, new_type.value)}"
