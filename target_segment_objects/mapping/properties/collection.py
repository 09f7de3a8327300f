"""The names and types under which a collection's properties are sent.

A warehouse creates a column at the first value that is not null, and the column keeps the type of
that value. So a property keeps the name, the type and the shape that it had when its first value
was sent: for the whole run, also if a later SCHEMA declares something else or nothing, and in later
runs where a ledger remembers it. Streams that share a collection share its columns.

A new type that the first one can hold is converted; for any other, `type_changes` decides. The
declared types count, not the values, so that a run stops at a SCHEMA, before its records.

What remembers them across runs is passed in: this module does no I/O.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING

from target_segment_objects.exceptions import UnmappableStreamError
from target_segment_objects.mapping.naming import find_free_name, shorten_name
from target_segment_objects.mapping.properties.memory import PropertyMemory, SentProperty
from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
from target_segment_objects.mapping.properties.property_names import ObjectTree, PropertyNames
from target_segment_objects.mapping.properties.type_changes import (
    OBJECT,
    TypeChange,
    TypeChanges,
    build_new_name,
    explain_failure,
    holds_type,
)
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from target_segment_objects.mapping.naming import PropertyPath


class CollectionProperties:
    """The columns of one collection.

    Attributes:
        revision: Grows with what may change how properties are sent that were mapped before.

    Args:
        collection: The name of the collection.
        memory: What earlier runs have sent, and what is to be remembered of this one.
        type_changes: What happens when a property's type cannot hold its new type.
        log_info: Takes a stream and a message about values that are converted.
        log_warning: Takes a stream and a warning.
        max_name_length: The most characters of a new name; None for no limit.
    """

    def __init__(
        self,
        collection: str,
        memory: PropertyMemory,
        *,
        type_changes: TypeChanges,
        log_info: Callable[[str, str], object],
        log_warning: Callable[[str, str], object],
        max_name_length: int | None = None,
    ) -> None:
        self.revision = 0
        self._unsaved: list[SentProperty] = []
        self._collection = collection
        self._memory = memory
        self._type_changes = type_changes
        self._log_info = log_info
        self._log_warning = log_warning
        self._names = defaultdict[str, PropertyNames](  # by stream
            functools.partial(PropertyNames, max_name_length)
        )
        self._max_name_length = max_name_length
        self._types: dict[str, PropertyType | None] = {}  # by name
        self._newer_names: dict[str, list[str]] = {}  # by the first name; the newest is the last
        self._reserved: set[str] = set()  # the newer names of all properties
        self._objects = ObjectTree()
        self._logged: set[tuple[str, PropertyPath, PropertyType]] = set()
        for prop in memory.read_properties(collection):
            self._restore(prop)

    # What is remembered for later runs

    def take_unsaved(self) -> list[SentProperty]:
        """Return what later runs have to know, once; it is saved when it is delivered."""
        unsaved, self._unsaved = self._unsaved, []
        return unsaved

    def save(self, properties: Iterable[SentProperty]) -> None:
        """Save properties, just before their first values are sent.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        for prop in properties:
            self._memory.save_property(self._collection, prop)

    # Names

    def assign_names(self, stream: str, paths: Iterable[PropertyPath]) -> None:
        """Give names to a stream's properties that have none, in the given order.

        A property has the name that it has in another stream. Otherwise, names depend on the
        stream's own properties only, so that they are the same in whatever order streams arrive.
        """
        names = self._names[stream]
        unnamed = names.find_unnamed(paths)
        if not unnamed:
            return
        shared = _list_names(self._names.values(), unnamed) if len(self._names) > 1 else ()
        added = {path: name for path, name in shared if names.restore_name(path, name)}
        added |= names.assign_names(names.find_unnamed(unnamed), self._reserved)
        for path, name in added.items():
            self._objects.add_property(path)
            self._save(SentProperty(stream, path, name, self._types.setdefault(name, None)))

    def get_name(self, stream: str, path: PropertyPath) -> str:
        """Return the name that a stream's property got first."""
        name = self._names[stream].find_name(path)
        assert name is not None  # noqa: S101 - it was assigned before
        return name

    # Types

    def get_type(self, name: str) -> PropertyType | None:
        """Return the type of a column; None if it has had no value."""
        return self._types[name]

    def map_property(
        self, stream: str, path: PropertyPath, default: PropertyType
    ) -> PropertyMapping:
        """Return how a property is sent, with a default type if it has had no value."""
        name = self.get_name(stream, path)
        older: tuple[str, ...] = ()
        if name in self._newer_names:
            *rest, newest = self._newer_names[name]
            older, name = (name, *rest), newest
        return PropertyMapping(path, name, self._types[name] or default, older)

    def select(
        self, stream: str, types: Mapping[PropertyPath, PropertyType]
    ) -> dict[PropertyPath, PropertyMapping]:
        """Return how properties with names are sent from now on.

        Raises:
            UnmappableStreamError: A type has changed, and `type_changes` is `fail`.
        """
        selected = {path: self.map_property(stream, path, types[path]) for path in types}
        changes: list[TypeChange] = []
        for path, new_type in types.items():
            fitting = selected[path]
            if fitting.type is new_type:
                continue
            if not holds_type(fitting.type, new_type):
                new_name = build_new_name(self.get_name(stream, path), new_type)
                changes.append(TypeChange(path, fitting.type.value, new_type.value, new_name))
            else:
                self._log_converted(stream, fitting, new_type)
        self._refuse_changes(stream, changes)
        for change in changes:
            path = change.path
            selected[path] = self._change_type(stream, change, selected[path], types[path])
        return selected

    def store_type(self, stream: str, prop: PropertyMapping) -> None:
        """Store the type of a property with its first value."""
        self._types[prop.name] = prop.type
        self._save(SentProperty(stream, prop.path, prop.name, prop.type))
        if len(self._names) > 1:
            self.revision += 1

    # Shapes

    @property
    def has_objects(self) -> bool:
        """Whether any property is in an object that is flattened."""
        return bool(self._objects)

    def find_object(self, path: PropertyPath) -> Sequence[str] | None:
        """Return the names in an object that is flattened; None if it is not."""
        children = self._objects.list_children(path)
        if children and (
            self.has_values_in(path)
            or not any(names.find_name(path) for names in self._names.values())
        ):
            return [child[-1] for child in children]
        return None

    def has_values_in(self, path: PropertyPath) -> bool:
        """Return whether a property in an object has had a value."""
        return any(
            self.has_value(child) or self.has_values_in(child)
            for child in self._objects.list_children(path)
        )

    def has_value(self, path: PropertyPath) -> bool:
        """Return whether a property has had a value of its own."""
        return self.find_type(path) is not None

    def find_type(self, path: PropertyPath) -> PropertyType | None:
        """Return the type of a property in any stream; None if it has had no value."""
        for stream, names in self._names.items():
            if names.find_name(path) is not None:
                first = self.get_name(stream, path)
                found = self._types[self._newer_names.get(first, [first])[-1]]
                if found is not None:
                    return found
        return None

    def list_properties_in(self, path: PropertyPath) -> Iterator[PropertyPath]:
        """Yield the properties in an object, at any depth."""
        return self._objects.list_properties(path)

    def change_shape(self, stream: str, path: PropertyPath, new: str, names: Sequence[str]) -> None:
        """Begin to send an object's properties, or what was an object, under other names.

        Raises:
            UnmappableStreamError: `type_changes` is `fail`.
        """
        first = self.find_type(path)
        change = TypeChange(path, OBJECT if first is None else first.value, new, ", ".join(names))
        self._refuse_changes(stream, [change])
        self.revision += 1
        old = "the properties of the object keep" if first is None else "its column keeps"
        self._log_warning(
            stream,
            f"Stream '{stream}': {change}. From now on it is sent as {change.new_name}, and {old} "
            "the last values.",
        )

    # Inside

    def _restore(self, prop: SentProperty) -> None:
        """Take a property of an earlier run."""
        names = self._names[prop.stream]
        first = names.find_name(prop.path)
        if first is None:
            names.restore_name(prop.path, prop.name)
            self._objects.add_property(prop.path)
        elif prop.name not in (newer := self._newer_names.setdefault(first, [])):
            newer.append(prop.name)
            self._reserved.add(prop.name)
        self._types[prop.name] = self._types.get(prop.name) or prop.type

    def _save(self, prop: SentProperty) -> None:
        self._unsaved.append(prop)

    def _refuse_changes(self, stream: str, changes: Sequence[TypeChange]) -> None:
        if not changes or self._type_changes != "fail":
            return
        advice = self._memory.describe_reset(self._collection)
        if len(self._names) > 1:
            advice = f"Streams of the collection {self._collection} share its columns. {advice}"
        raise UnmappableStreamError(explain_failure(stream, changes, advice.rstrip()))

    def _change_type(
        self, stream: str, change: TypeChange, prop: PropertyMapping, new_type: PropertyType
    ) -> PropertyMapping:
        """Send a property by a new type, which its type does not hold."""
        if self._type_changes == "warn":
            self._log_warning(
                stream,
                f"Stream '{stream}': {change}. A warehouse's column keeps its first type, so "
                f"values of {prop.name} may be lost.",
            )
            return PropertyMapping(prop.path, prop.name, new_type, prop.older_names)
        older = (*prop.older_names, prop.name)
        if new_type in {self._types[name] for name in older}:
            new_type = PropertyType.STRING  # it holds all that comes, so this does not go on
        wanted = shorten_name(build_new_name(older[0], new_type), self._max_name_length)
        name = find_free_name(wanted, self._types, self._max_name_length)
        self._reserved.add(name)
        self._newer_names.setdefault(older[0], []).append(name)
        self._types[name] = new_type
        self._save(SentProperty(stream, prop.path, name, new_type))
        self.revision += 1
        self._log_warning(
            stream,
            f"Stream '{stream}': {change}. From now on it is sent as {name}, and {prop.name} keeps "
            "its last values.",
        )
        return PropertyMapping(prop.path, name, new_type, older)

    def _log_converted(self, stream: str, prop: PropertyMapping, new_type: PropertyType) -> None:
        if (stream, prop.path, new_type) in self._logged:
            return
        self._logged.add((stream, prop.path, new_type))
        change = TypeChange(prop.path, prop.type.value, new_type.value, prop.name)
        self._log_info(
            stream,
            f"Stream '{stream}': {change}. It is still sent as the first, because a warehouse's "
            "column keeps its type.",
        )


def _list_names(
    streams: Iterable[PropertyNames], paths: Iterable[PropertyPath]
) -> Iterator[tuple[PropertyPath, str]]:
    """Yield the names that properties have in the first of some streams that has them."""
    for path in paths:
        name = next(filter(None, (names.find_name(path) for names in streams)), None)
        if name is not None:
            yield path, name
