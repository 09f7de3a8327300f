"""Map a record to the JSON line of its object, with names and types compiled from one schema.

Pure, except for the warnings: records in, lines or errors out. A name is decided once, a value is
converted by its property's type, and every limit is checked before a line is returned, so that no
object can spoil a batch file. The rules for names are in `naming`, for values in `values`, for ids
in `object_ids`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from target_segment_objects import limits
from target_segment_objects.exceptions import InvalidRecordError, UnmappableStreamError
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.object_ids import build_object_id
from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
from target_segment_objects.mapping.schema import (
    SchemaTooLargeError,
    find_untyped_properties,
    read_property_types,
)
from target_segment_objects.mapping.values import (
    ENCODER,
    ENCODING_ERRORS,
    can_encode,
    explain_encoding_error,
    has_non_finite,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.schema import PropertyType
    from target_segment_objects.mapping.stream_state import StreamState
    from target_segment_objects.mapping.values import Scalar

    Record = dict[str, Any]

_MAX_UTF8_BYTES: Final = 4  # of one character


class MappingOptions(msgspec.Struct, frozen=True):
    """The user's choices for the mapping.

    Attributes:
        null_properties: Whether nulls are sent or left out. That of a deletion time is always sent.
        oversized_values: What happens to a string of 32 KB or more.
        max_depth: How many levels of objects are flattened; None for all.
        max_name_length: The most characters of a property's name; None for no limit.
        sorts_properties: Whether properties are sent sorted by their paths, not in the order of
            the schema.
    """

    null_properties: Literal["send", "omit"] = "send"
    oversized_values: Literal["reject", "truncate"] = "reject"
    max_depth: int | None = None
    max_name_length: int | None = None
    sorts_properties: bool = False


class DeclaredObject(msgspec.Struct, frozen=True):
    """An object that is flattened; the record itself is the outermost."""

    path: PropertyPath
    children: dict[str, PropertyMapping | DeclaredObject] = {}

    def iterate_properties(self) -> Iterator[PropertyMapping]:
        """Yield the properties in it, at any depth."""
        for child in self.children.values():
            if isinstance(child, DeclaredObject):
                yield from child.iterate_properties()
            else:
                yield child


class RecordMapper:
    """Maps the records of one stream by one schema.

    Attributes:
        stream: The stream's name.
        collection: The collection of its objects.
        properties: The declared properties in the order in which they are sent.
        root: The record as the schema declares it.
    """

    def __init__(
        self,
        stream: str,
        collection: str,
        schema: dict[str, Any],
        key_properties: Sequence[str],
        *,
        options: MappingOptions,
        state: StreamState,
    ) -> None:
        """Compile the schema.

        Args:
            stream: The stream's name, for messages.
            collection: The collection of its objects.
            schema: The stream's JSON schema.
            key_properties: The names of the properties that make the id; none for a digest.
            options: The user's choices.
            state: What the stream's mapping remembers across SCHEMAs.

        Raises:
            UnmappableStreamError: A declared property cannot have a name in Segment.
        """
        self.stream = stream
        self.collection = collection
        self._key_properties = tuple(key_properties)
        self._send_nulls = options.null_properties == "send"
        self._truncate = options.oversized_values == "truncate"
        self._sent = state.properties
        self._warnings = state.warnings
        self._sorts_properties = options.sorts_properties
        self._version = 0
        self._undeclared: dict[PropertyPath, PropertyMapping] = {}
        types = _read_types(stream, schema, options.max_depth)
        self._insert_properties(self._sent.map_declared(types, find_untyped_properties(schema)))
        self._warn_names(self.properties)
        self._warnings.warn_collection(collection)

    @property
    def warned_long_paths(self) -> frozenset[PropertyPath]:
        """The properties that were warned of because a warehouse truncates their strings."""
        return self._warnings.long_paths

    @property
    def unsent_paths(self) -> Collection[PropertyPath]:
        """The properties whose type is stored with their first value."""
        return self._sent.valueless

    @property
    def version(self) -> int:
        """Grows when a property is sent in another way than before."""
        return self._version + self._sent.version

    @property
    def undeclared(self) -> Mapping[PropertyPath, PropertyMapping]:
        """The properties that records had though the schema does not declare them.

        One of another type than a string may be sent in another way, depending on its value.
        """
        return self._sent.undeclared

    def renew_properties(self) -> None:
        """Map the properties again if another stream of the collection has changed how.

        Raises:
            UnmappableStreamError: A type does not fit what the other stream has sent.
        """
        if self._sent.is_outdated:
            properties = self._sent.renew()
            if properties != self._unsorted:
                self._insert_properties(properties)
                self._version += 1

    def store_types(self, paths: Iterable[PropertyPath]) -> None:
        """Store the types of properties whose first value is about to be sent."""
        self._sent.store_types(paths)

    def map_record(self, record: Record) -> bytes:
        """Return the JSON of a record's object, without an end of line.

        Raises:
            InvalidRecordError: The record cannot be sent; the reason says why.
            UnmappableStreamError: A value does not fit the type that its property was sent with.
        """
        self.renew_properties()
        object_id = build_object_id(self.stream, self._key_properties, record)
        try:
            properties = self._map_properties(record)
            encoded = self._encode_object(object_id, properties)
        except InvalidRecordError as error:
            error.object_id = object_id
            raise
        if self.unsent_paths:
            self._sent.store_first_values(properties)
        return encoded

    def find_object_id(self, record: Record) -> str | None:
        """Return the id that a record's object would have; None if it has none."""
        try:
            return build_object_id(self.stream, self._key_properties, record)
        except InvalidRecordError:
            return None

    def _invalid_record(self, reason: str, field: str | None = None) -> InvalidRecordError:
        return InvalidRecordError(self.stream, reason, field=field)

    # Names

    def _insert_properties(self, properties: list[PropertyMapping]) -> None:
        """Insert the declared properties below their objects."""
        self._unsorted = properties
        self.properties = properties
        if self._sorts_properties:
            self.properties = sorted(properties, key=lambda prop: prop.path)
        self._sent_names = [
            name for prop in self.properties for name in (prop.name, *prop.older_names)
        ]
        self.root = _build_tree(properties)

    def _map_undeclared(self, values: dict[PropertyPath, object]) -> Iterable[PropertyMapping]:
        """Return how the properties that the schema does not declare are sent."""
        for path in values.keys() - self._undeclared.keys():
            if not naming.to_path_name(path):
                label = naming.format_path(path)
                raise self._invalid_record("its name has no letter or digit", label)
        mapped = self._sent.map_undeclared(values)
        new = [prop for prop in mapped if prop.path not in self._undeclared]
        self._undeclared.update((prop.path, prop) for prop in new)
        self._warn_names(new)
        return mapped

    def _warn_names(self, properties: Iterable[PropertyMapping]) -> None:
        names = self._sent.get_names(prop.path for prop in properties)
        self._warnings.warn_names(names, self._key_properties)

    # Properties

    def _map_properties(self, record: Record) -> dict[str, Scalar]:
        """Return the properties to send, in an order that the record's keys do not affect."""
        collected: dict[str, Scalar] = {}
        undeclared: dict[PropertyPath, object] = {}
        self._collect_properties(self.root, record, collected, undeclared)
        properties = {name: collected[name] for name in self._sent_names if name in collected}
        if undeclared:
            # All at once, so that no name depends on the order of the record's keys.
            for prop in self._map_undeclared(undeclared):
                self._add_property(prop, undeclared[prop.path], properties)
        return properties

    def _collect_properties(
        self,
        declared: DeclaredObject,
        record: Record,
        properties: dict[str, Scalar],
        undeclared: dict[PropertyPath, object],
    ) -> None:
        """Add the declared properties of an object, and set the others aside."""
        for key, value in record.items():
            child = declared.children.get(key)
            if isinstance(child, PropertyMapping):
                self._add_property(child, value, properties)
            elif child is None or not (value is None or isinstance(value, dict)):
                undeclared.update(self._sent.expand_object((*declared.path, key), value))
            elif value is None:
                for prop in child.iterate_properties():
                    self._add_property(prop, None, properties)
            else:
                self._collect_properties(child, value, properties, undeclared)

    def _add_property(
        self, prop: PropertyMapping, value: object, properties: dict[str, Scalar]
    ) -> None:
        if value is None:
            self._add_null(prop, properties)
            return
        try:
            converted = prop.convert(value)
            if converted is not value and _lost_non_finite(value, converted):
                self._warnings.warn_non_finite(prop.label)
        except ENCODING_ERRORS as error:
            raise self._invalid_record(explain_encoding_error(error), prop.label) from None
        if isinstance(converted, str):
            converted = self._limit_string(prop, converted)
        elif isinstance(converted, msgspec.Raw) and len(converted) >= limits.VALUE_BYTES_LIMIT:
            # A truncated number would be another number.
            raise self._invalid_record(_explain_size(len(converted)), prop.label)
        if converted is None:
            self._add_null(prop, properties)
        else:
            properties[prop.name] = converted

    def _add_null(self, prop: PropertyMapping, properties: dict[str, Scalar]) -> None:
        if self._send_nulls:
            properties.update(dict.fromkeys((prop.name, *prop.older_names)))
        elif prop.always_sends_null:
            properties[prop.name] = None

    def _limit_string(self, prop: PropertyMapping, text: str) -> str:
        """Return a string that Segment accepts as a value."""
        if len(text) <= limits.WAREHOUSE_STRING_CHARACTERS:
            return text
        if len(text) * _MAX_UTF8_BYTES >= limits.VALUE_BYTES_LIMIT:
            try:
                encoded = text.encode()
            except ENCODING_ERRORS as error:
                raise self._invalid_record(explain_encoding_error(error), prop.label) from None
            if len(encoded) >= limits.VALUE_BYTES_LIMIT:
                return self._truncate_string(prop, encoded)
        self._warnings.warn_long(prop.path)
        return text

    def _truncate_string(self, prop: PropertyMapping, encoded: bytes) -> str:
        """Return as much of a string as Segment accepts, if the user wants that."""
        if not self._truncate:
            raise self._invalid_record(_explain_size(len(encoded)), prop.label)
        self._warnings.warn_truncated(prop.label)
        return encoded[: limits.VALUE_BYTES_LIMIT - 1].decode(errors="ignore")

    # The object

    def _encode_object(self, object_id: str, properties: dict[str, Scalar]) -> bytes:
        if not properties:
            raise self._invalid_record("it has no property to send")
        line = {"id": object_id, "collection": self.collection, "properties": properties}
        try:
            encoded = ENCODER.encode(line)
        except UnicodeEncodeError as error:
            culprit = self._find_unencodable(properties)
            raise self._invalid_record(explain_encoding_error(error), culprit) from None
        if len(encoded) > limits.MAX_OBJECT_BYTES:
            reason = (
                f"an object of {len(encoded)} bytes of JSON; Segment accepts at most "
                f"{limits.MAX_OBJECT_BYTES}"
            )
            raise self._invalid_record(reason)
        return encoded

    def _find_unencodable(self, properties: dict[str, Scalar]) -> str | None:
        """Return the label of the first property that cannot be encoded."""
        for prop in (*self.properties, *self._undeclared.values()):
            if not can_encode(properties.get(prop.name)):
                return prop.label
        return None


def _read_types(
    stream: str, schema: dict[str, Any], max_depth: int | None
) -> dict[PropertyPath, PropertyType]:
    """Return the types of the declared properties, of which each can have a name."""
    try:
        types = read_property_types(schema, max_depth=max_depth)
    except SchemaTooLargeError as error:
        label = None if error.property is None else naming.format_path((error.property,))
        subject = "its SCHEMA" if label is None else f"the property '{label}'"
        msg = (
            f"Stream '{stream}': {subject} {error.reason}. Drop or simplify it with stream_maps, "
            "or correct the tap's schema."
        )
        raise UnmappableStreamError(msg) from None
    for path in types:
        if not naming.to_path_name(path):
            msg = (
                f"Stream '{stream}': the property '{naming.format_path(path)}' has no letter or "
                "digit in its name, so Segment has no name for it. Rename or drop it with "
                "stream_maps."
            )
            raise UnmappableStreamError(msg)
    return types


def _build_tree(properties: Iterable[PropertyMapping]) -> DeclaredObject:
    """Return the record with its declared properties, each below its object."""
    root = DeclaredObject(())
    objects: dict[PropertyPath, DeclaredObject] = {(): root}
    for prop in properties:
        parent = root
        for depth in range(1, len(prop.path)):
            path = prop.path[:depth]
            if path not in objects:
                objects[path] = parent.children[path[-1]] = DeclaredObject(path)
            parent = objects[path]
        parent.children[prop.path[-1]] = prop
    return root


def _lost_non_finite(value: object, converted: Scalar) -> bool:
    """Return whether NaN or an infinity became null, by itself or inside a JSON text."""
    if converted is None:
        return True
    is_json_text = isinstance(converted, str) and not isinstance(value, str)
    return is_json_text and "null" in str(converted) and has_non_finite(value)


def _explain_size(size: int) -> str:
    return f"a value of {size} bytes; Segment accepts less than {limits.VALUE_BYTES_LIMIT}"
