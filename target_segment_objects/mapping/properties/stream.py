"""How the properties of one stream are sent, for all its SCHEMAs of a run.

A property has the type that its SCHEMA declares, until its first value is sent. From then on it
keeps that type, and an object that is flattened stays flattened; see `collection`. A property that
no SCHEMA of the run declares is a string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping.naming import format_path, to_path_name
from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
from target_segment_objects.mapping.properties.type_changes import OBJECT, has_type
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.collection import CollectionProperties
    from target_segment_objects.mapping.properties.memory import SentProperty


class StreamProperties:
    """The properties of one stream.

    Attributes:
        version: Grows when a property is sent in another way than before.
    """

    def __init__(
        self,
        stream: str,
        collection: CollectionProperties,
        log_warning: Callable[[str], object],
    ) -> None:
        self.version = 0
        self._stream = stream
        self._collection = collection
        self._log_warning = log_warning
        self._revision = collection.revision
        self._declared: Mapping[PropertyPath, PropertyType] = {}
        self._declared_objects: frozenset[PropertyPath] = frozenset()
        self._valueless: dict[PropertyPath, PropertyMapping] = {}
        self._undeclared: dict[PropertyPath, PropertyMapping] = {}

    @property
    def valueless(self) -> Collection[PropertyPath]:
        """The properties that have had no value yet. Their types are stored with the first."""
        return self._valueless.keys()

    @property
    def undeclared(self) -> Mapping[PropertyPath, PropertyMapping]:
        """How the properties that the SCHEMA does not declare are sent."""
        return self._undeclared

    @property
    def is_outdated(self) -> bool:
        """Whether something has changed since the properties were mapped."""
        return self._revision != self._collection.revision

    def get_names(self, paths: Iterable[PropertyPath]) -> dict[PropertyPath, str]:
        """Return the names that properties were given first."""
        return {path: self._collection.get_name(self._stream, path) for path in paths}

    def map_declared(
        self,
        types: Mapping[PropertyPath, PropertyType],
        untyped: Collection[PropertyPath] = (),
    ) -> list[PropertyMapping]:
        """Return how the properties of a SCHEMA are sent, in its order.

        Args:
            types: Their declared types.
            untyped: Those without a type of their own. One that was sent with another type than a
                string counts as undeclared, so that its values decide.

        Raises:
            UnmappableStreamError: A type has changed, and `type_changes` is `fail`.
        """
        self._undeclared.clear()  # they may be declared now
        self._declared = types
        if kept := {path for path in untyped if self._has_kept_type(path)}:
            self._declared = {path: types[path] for path in types if path not in kept}
        self._declared_objects = frozenset(
            path[:depth] for path in types for depth in range(1, len(path))
        )
        return self._map_declared()

    def renew(self) -> list[PropertyMapping]:
        """Map the properties of the SCHEMA again, and those that it does not declare.

        Raises:
            UnmappableStreamError: A type has changed, and `type_changes` is `fail`.
        """
        properties = self._map_declared()
        undeclared = {
            path: self._map_first(path)
            for path in self._undeclared
            if self._collection.find_object(path) is None
        }
        if undeclared != self._undeclared:
            self._undeclared = undeclared
            self.version += 1
        return properties

    def map_undeclared(self, values: Mapping[PropertyPath, object]) -> list[PropertyMapping]:
        """Return how a record's undeclared properties are sent, sorted by their paths.

        Raises:
            UnmappableStreamError: A value does not have the type that was first sent, and
                `type_changes` is `fail`.
        """
        paths = sorted(values)  # so that no name depends on the order of the record's keys
        new = [path for path in paths if path not in self._undeclared]
        self._collection.assign_names(self._stream, new)
        return [self._map_undeclared(path, values[path]) for path in paths]

    def expand_object(
        self, path: PropertyPath, value: object
    ) -> Iterator[tuple[PropertyPath, object]]:
        """Yield the properties of an undeclared value: several, if it is flattened."""
        children = self._collection.find_object(path)
        if children is None or not (value is None or isinstance(value, dict)):
            yield path, value
            return
        if value is None:
            value = dict.fromkeys(children)
            if self._collection.has_value(path):
                yield path, None
        for name, child in value.items():
            yield from self.expand_object((*path, name), child)

    def store_before(
        self,
        end: int,
        first_values: Iterable[tuple[int, PropertyPath]],
        unsaved: list[tuple[int, SentProperty]],
    ) -> list[tuple[int, PropertyPath]]:
        """Store the types of properties with a first value before a row; return the others.

        Args:
            end: The row.
            first_values: The properties that had no value before, each with its first row.
            unsaved: Takes what later runs have to know, with the row.
        """
        remaining = []
        for row, path in first_values:
            if row < end:
                self.store_types([path])
                unsaved += [(row, prop) for prop in self.take_unsaved()]
            else:
                remaining.append((row, path))
        return remaining

    def take_unsaved(self) -> list[SentProperty]:
        """Return what later runs have to know, once; it is saved when it is delivered."""
        return self._collection.take_unsaved()

    def save(self, properties: Iterable[SentProperty]) -> None:
        """Save properties, just before their first values are sent.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        self._collection.save(properties)

    def store_types(self, paths: Iterable[PropertyPath]) -> None:
        """Store the types of properties with their first values."""
        was_outdated = self.is_outdated
        for path in paths:
            prop = self._valueless.pop(path, None)
            if prop is not None:
                self._collection.store_type(self._stream, prop)
        if not was_outdated:
            self._revision = self._collection.revision

    def _map_declared(self) -> list[PropertyMapping]:
        types = self._fit_shapes()
        self._collection.assign_names(self._stream, types)
        selected = self._collection.select(self._stream, types)
        self._valueless = {
            path: prop
            for path, prop in {**self._valueless, **selected}.items()
            if self._is_valueless(prop)
        }
        self._revision = self._collection.revision
        return [selected[path] for path in types]

    def _has_kept_type(self, path: PropertyPath) -> bool:
        return self._collection.find_type(path) not in {None, PropertyType.STRING}

    def _is_valueless(self, prop: PropertyMapping) -> bool:
        return self._collection.get_type(prop.name) is None

    # Undeclared properties

    def _map_first(self, path: PropertyPath) -> PropertyMapping:
        """Return how an undeclared property was sent; as a string if it was not."""
        default = self._declared.get(path) or self._get_valueless_type(path)
        prop = self._collection.map_property(self._stream, path, default)
        if self._is_valueless(prop):
            self._valueless[path] = prop
        return prop

    def _map_undeclared(self, path: PropertyPath, value: object) -> PropertyMapping:
        """Return how a value of an undeclared property is sent."""
        prop = self._undeclared.get(path) or self._map_first(path)
        if self._collection.find_object(path) is None:  # else it depends on the value
            self._undeclared[path] = prop
        if value is not None and self._is_flattened(path) and path not in self._declared_objects:
            new = "array" if isinstance(value, list) else prop.type.value
            self._collection.change_shape(self._stream, path, new, [prop.name])
        if has_type(value, prop.type):
            return prop
        if path in self._valueless:
            selected = PropertyMapping(path, prop.name, PropertyType.STRING, prop.older_names)
            self._valueless[path] = selected
        else:
            types = {path: PropertyType.STRING}
            selected = self._collection.select(self._stream, types)[path]
            if selected.name == prop.name:
                return selected  # the next value may have its type again
        if path in self._undeclared:
            self._undeclared[path] = selected
            self.version += 1
        return selected

    # Shapes

    def _is_flattened(self, path: PropertyPath) -> bool:
        """Return whether only the properties in an object have had values, and not itself."""
        return self._collection.has_values_in(path) and not self._collection.has_value(path)

    def _fit_shapes(self) -> Mapping[PropertyPath, PropertyType]:
        """Return the types of the declared properties, in the shape in which they were sent."""
        if not (self._declared_objects or self._collection.has_objects):
            return self._declared
        fitted: dict[PropertyPath, PropertyType] = {}
        for path, declared in self._declared.items():
            outer = self._find_outer(path)
            if outer is not None:
                fitted[outer] = PropertyType.STRING
            elif self._is_flattened(path):
                for child in self._collection.list_properties_in(path):
                    sent = self._collection.find_type(child)
                    fitted.setdefault(child, sent or self._get_valueless_type(child))
            else:
                fitted[path] = declared
        return fitted

    def _get_valueless_type(self, path: PropertyPath) -> PropertyType:
        """Return the type that an earlier SCHEMA declared of a property without a value."""
        return self._valueless[path].type if path in self._valueless else PropertyType.STRING

    def _find_outer(self, path: PropertyPath) -> PropertyPath | None:
        """Return the object around a declared property if it was sent as JSON text.

        Raises:
            UnmappableStreamError: It was sent with another type, and `type_changes` is `fail`.
        """
        for depth in range(1, len(path)):
            outer = path[:depth]
            sent = self._collection.find_type(outer)
            if sent is None or self._collection.has_values_in(outer):
                continue
            if sent is PropertyType.STRING:
                self._log_warning(
                    f"Stream '{self._stream}': the property '{format_path(outer)}' was sent as a "
                    "string before its SCHEMA declared the properties in it. It is still sent as "
                    "JSON text, because a warehouse's column keeps its type."
                )
                return outer
            names = _list_names(self._declared, outer)
            self._collection.change_shape(self._stream, outer, OBJECT, names)
        return None


def _list_names(paths: Iterable[PropertyPath], outer: PropertyPath) -> Sequence[str]:
    """Return the names that the properties in an object have if there is no collision."""
    return [to_path_name(path) for path in paths if path[: len(outer)] == outer]
