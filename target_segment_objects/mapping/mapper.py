"""A record → the JSON line of a Segment object, compiled once for each schema of a stream.

Pure but for what it tells `warn`: records in, lines and reasons out. Names are decided here, once;
values are converted by kind; and every limit is checked before a line leaves, so that no object can
spoil a file. The rules for names are in `naming`, those for values in `values`.

The rules for ids:

1. One key property: its value as text. Several: their texts joined by `_` in the order of the key
   properties, with `%` and `_` inside a string part percent-encoded.
2. No key properties: the SHA-256 of the record's canonical JSON, without the `_sdc_` metadata, so
   that the same row is the same object on every run.
3. An id of more than 100 characters: its SHA-256. The key columns are among the properties anyway.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    InvalidRecordError,
    MissingKeyError,
    UnmappableStreamError,
)
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.schema import PropertyType, read_property_types
from target_segment_objects.mapping.values import (
    CONVERTERS,
    ENCODER,
    has_non_finite,
    is_finite,
    to_canonical_json,
    to_id_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.values import Scalar

    Record = dict[str, Any]

_MAY_NOT_FIT: Final = (
    limits.VALUE_BYTES_LIMIT // 4
)  # characters: UTF-8 takes at most four bytes each
_METADATA_PREFIX: Final = "_sdc_"


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """What the user may choose of the mapping.

    Attributes:
        null_properties: Whether a null is sent, which clears the property in Segment, or left out.
        oversized_values: What becomes of a text of 32 KB or more.
    """

    null_properties: Literal["send", "omit"] = "send"
    oversized_values: Literal["reject", "truncate"] = "reject"


@dataclass(frozen=True, slots=True)
class PropertyMapping:
    """A declared property as it is sent.

    Attributes:
        path: The names from the record down to it.
        name: The property's name.
        type: How its values are written.
    """

    path: PropertyPath
    name: str
    type: PropertyType


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A property as it is sent, with what writes its values."""

    name: str
    path: PropertyPath
    convert: Callable[[Any], Scalar]

    @property
    def label(self) -> str:
        """The property as the tap's user knows it."""
        return naming.format_path(self.path)


@dataclass(frozen=True, slots=True)
class _Branch:
    """An object with declared properties; the record itself is the first."""

    path: PropertyPath
    children: dict[str, _Leaf | _Branch]

    def leaves(self) -> Iterator[_Leaf]:
        for child in self.children.values():
            if isinstance(child, _Branch):
                yield from child.leaves()
            else:
                yield child


class RecordMapper:
    """One schema of one stream, compiled.

    Attributes:
        stream: The stream's name.
        collection: The collection of its objects.
        properties: The declared properties, in the order in which they are sent: the schema's.
        warned_long_paths: Paths of texts that were told to be longer than a warehouse keeps.
    """

    def __init__(
        self,
        stream: str,
        collection: str,
        schema: dict[str, Any],
        key_properties: Sequence[str],
        *,
        options: MappingOptions,
        warn: Callable[[str], object],
    ) -> None:
        """Decide every name that the schema knows.

        Args:
            stream: The stream's name, for messages.
            collection: The collection of its objects.
            schema: The stream's JSON schema.
            key_properties: The names of the properties that make the id; none for a digest.
            options: What the user chose.
            warn: Takes a message, each at most once for this mapping.

        Raises:
            UnmappableStreamError: A property's name leaves nothing that Segment could take.
        """
        self.stream = stream
        self.collection = collection
        self._key_properties = tuple(key_properties)
        self._send_nulls = options.null_properties == "send"
        self._truncate = options.oversized_values == "truncate"
        self._warn = warn
        self._warned: set[tuple[str, str]] = set()
        self._taken: set[str] = set()
        self.properties: list[PropertyMapping] = []
        self.warned_long_paths: frozenset[PropertyPath] = frozenset()
        self._root = _Branch((), {})
        self._branches: dict[PropertyPath, _Branch] = {}
        self._undeclared: dict[PropertyPath, _Leaf] = {}
        self._compile(schema)

    def map_record(self, record: Record) -> bytes:
        """Return a record as the JSON of its object, without an end of line.

        Raises:
            InvalidRecordError: It cannot be sent; the reason says why.
        """
        object_id = None
        try:
            object_id = self._object_id(record)
            return self._encode(object_id, self._properties(record))
        except _ValueRefused as refused:
            raise InvalidRecordError(
                self.stream, refused.reason, field=refused.field, object_id=object_id
            ) from None

    def find_object_id(self, record: Record) -> str | None:
        """Return the id that a record's object would have; None when it has none."""
        try:
            return self._object_id(record)
        except (InvalidRecordError, _ValueRefused):
            return None

    # Names

    def _compile(self, schema: dict[str, Any]) -> None:
        types = read_property_types(schema)
        for path in types:
            if not naming.to_path_name(path):
                msg = (
                    f"Stream '{self.stream}': the property '{naming.format_path(path)}' has no "
                    "letter or digit in its name, so Segment has no name for it. Rename or drop it "
                    "with stream_maps."
                )
                raise UnmappableStreamError(msg)
        names = naming.assign_unique_names(types)
        for path, property_type in types.items():
            self._plant(_Leaf(names[path], path, CONVERTERS[property_type]))
            self.properties.append(PropertyMapping(path, names[path], property_type))
        self._tell_renamed(names)
        self._tell_shadowed(names)

    def _plant(self, leaf: _Leaf) -> None:
        """Put a declared leaf below its branch, which comes into being on the way."""
        branch = self._root
        for depth in range(1, len(leaf.path)):
            below = self._branches.get(leaf.path[:depth])
            if below is None:
                below = self._branches[leaf.path[:depth]] = _Branch(leaf.path[:depth], {})
                branch.children[leaf.path[depth - 1]] = below
            branch = below
        branch.children[leaf.path[-1]] = leaf
        self._taken.add(leaf.name)

    def _tell_renamed(self, names: dict[PropertyPath, str]) -> None:
        renamed = [
            f"'{naming.format_path(path)}' is sent as {name}"
            for path, name in names.items()
            if name != naming.to_path_name(path)
        ]
        if renamed:
            self._tell(
                "renamed",
                ", ".join(renamed),
                f"Stream '{self.stream}': some properties share a name in Segment, so "
                f"{', '.join(renamed)}.",
            )

    def _tell_shadowed(self, names: dict[PropertyPath, str]) -> None:
        for path, name in names.items():
            if name == "id" and (path,) != tuple((key,) for key in self._key_properties):
                label = naming.format_path(path)
                self._tell(
                    "shadowed",
                    "",
                    f"Stream '{self.stream}': the property '{label}' is sent as id, but it is "
                    "not the stream's only key: a warehouse's id column holds the object's "
                    "id instead. Rename the property with stream_maps to see it there.",
                )

    def _tell(self, topic: str, label: str, message: str) -> None:
        if (topic, label) not in self._warned:
            self._warned.add((topic, label))
            self._warn(message)

    # Properties

    def _properties(self, record: Record) -> dict[str, Scalar]:
        """Return what is sent of a record, in an order that is not that of the record's keys."""
        collected: dict[str, Scalar] = {}
        undeclared: dict[PropertyPath, object] = {}
        self._collect(self._root, record, collected, undeclared)
        properties = {
            one.name: collected[one.name] for one in self.properties if one.name in collected
        }
        if undeclared:
            # Only when all are known, so that no name hangs on the order of the record's keys.
            self._name_undeclared(undeclared)
            for path in sorted(undeclared):
                self._put(self._undeclared[path], undeclared[path], properties)
        return properties

    def _collect(
        self,
        branch: _Branch,
        record: Record,
        properties: dict[str, Scalar],
        undeclared: dict[PropertyPath, object],
    ) -> None:
        """Put a record's declared leaves into its properties, and set the rest aside."""
        for key, value in record.items():
            child = branch.children.get(key)
            if isinstance(child, _Leaf):
                self._put(child, value, properties)
            elif child is None or not (value is None or isinstance(value, dict)):
                path = (*branch.path, key)
                undeclared[path] = value
            elif value is None:
                for leaf in child.leaves():
                    self._put(leaf, None, properties)
            else:
                self._collect(child, value, properties, undeclared)

    def _name_undeclared(self, paths: Iterable[PropertyPath]) -> None:
        """Name what the schema does not declare, each path once for the rest of the run."""
        unnamed = [path for path in paths if path not in self._undeclared]
        for path in unnamed:
            if not naming.to_path_name(path):
                raise _ValueRefused(naming.format_path(path), "its name has no letter or digit")
        names = naming.assign_unique_names(sorted(unnamed), self._taken)
        for path, name in names.items():
            self._undeclared[path] = _Leaf(name, path, CONVERTERS[PropertyType.STRING])
            self._taken.add(name)
        self._tell_renamed(names)
        self._tell_shadowed(names)

    def _put(self, leaf: _Leaf, value: object, properties: dict[str, Scalar]) -> None:
        if value is None:
            if self._send_nulls:
                properties[leaf.name] = None
            return
        try:
            converted = leaf.convert(value)
            has_nan = (
                isinstance(converted, str)
                and not isinstance(value, str)
                and "null" in converted
                and has_non_finite(value)
            )
        except _UNWRITABLE as error:
            raise _refusal(leaf.label, error) from None
        if has_nan or converted is None:
            self._tell_non_finite(leaf)
        if isinstance(converted, str):
            converted = self._fitting(leaf, converted)
        elif converted is None:
            if not self._send_nulls:
                return
        elif isinstance(converted, msgspec.Raw) and len(converted) >= limits.VALUE_BYTES_LIMIT:
            raise _ValueRefused(leaf.label, _too_large(len(converted)))  # half a number is none
        properties[leaf.name] = converted

    def _tell_non_finite(self, leaf: _Leaf) -> None:
        self._tell(
            "non-finite",
            leaf.label,
            f"Stream '{self.stream}': the property '{leaf.label}' has a NaN or an infinity, which "
            "JSON does not have: null is sent.",
        )

    def _fitting(self, leaf: _Leaf, text: str) -> str:
        """Return a text that Segment takes as a value."""
        if len(text) <= limits.WAREHOUSE_STRING_CHARACTERS:
            return text
        if len(text) >= _MAY_NOT_FIT:
            try:
                utf8 = text.encode()
            except _UNWRITABLE as error:
                raise _refusal(leaf.label, error) from None
            if len(utf8) >= limits.VALUE_BYTES_LIMIT:
                return self._truncated(leaf, utf8)
        if leaf.path not in self.warned_long_paths:
            self.warned_long_paths |= {leaf.path}
        self._tell(
            "long",
            leaf.label,
            f"Stream '{self.stream}': the property '{leaf.label}' has texts of more than "
            f"{limits.WAREHOUSE_STRING_CHARACTERS} characters. They are sent whole; Segment's "
            "warehouses cut them.",
        )
        return text

    def _truncated(self, leaf: _Leaf, utf8: bytes) -> str:
        """Return as much of a text as Segment takes, if the user wants that."""
        if not self._truncate:
            raise _ValueRefused(leaf.label, _too_large(len(utf8)))
        self._tell(
            "truncated",
            leaf.label,
            f"Stream '{self.stream}': the property '{leaf.label}' has texts of "
            f"{limits.VALUE_BYTES_LIMIT} bytes or more: they are cut.",
        )
        return utf8[: limits.VALUE_BYTES_LIMIT - 1].decode(errors="ignore")

    # The object

    def _object_id(self, record: Record) -> str:
        if not self._key_properties:
            return self._digest_id(record)
        parts = [self._key_text(record, key) for key in self._key_properties]
        if len(parts) == 1:
            object_id = parts[0]
        else:
            object_id = "_".join(part.replace("%", "%25").replace("_", "%5F") for part in parts)
        if len(object_id) > limits.MAX_ID_CHARACTERS:
            return hashlib.sha256(object_id.encode()).hexdigest()
        return object_id

    def _key_text(self, record: Record, key: str) -> str:
        value = record.get(key)
        if value is None:
            what = "null" if key in record else "missing"
        elif value == "":
            what = "empty"
        elif isinstance(value, (float, Decimal)) and not is_finite(value):
            what = "not a number"
        else:
            return self._id_text(key, value)
        raise MissingKeyError(
            self.stream, f"the key property is {what}", field=naming.format_path((key,))
        )

    def _id_text(self, key: str, value: object) -> str:
        try:
            text = to_id_string(value)
            if not text.isascii():
                text.encode()
        except _UNWRITABLE as error:
            raise _refusal(naming.format_path((key,)), error) from None
        return text

    def _digest_id(self, record: Record) -> str:
        row = {key: value for key, value in record.items() if not key.startswith(_METADATA_PREFIX)}
        try:
            return hashlib.sha256(to_canonical_json(row)).hexdigest()
        except _UNWRITABLE as error:
            at_fault = [key for key, value in row.items() if not _can_be_written({key: value})]
            raise _refusal(naming.format_path(at_fault[:1]) or None, error) from None

    def _encode(self, object_id: str, properties: dict[str, Scalar]) -> bytes:
        if not properties:
            raise _ValueRefused(None, "it has no property to send")
        line = {"id": object_id, "collection": self.collection, "properties": properties}
        try:
            encoded = ENCODER.encode(line)
        except UnicodeEncodeError:
            raise _ValueRefused(self._label_at_fault(properties), _SURROGATE) from None
        if len(encoded) > limits.MAX_OBJECT_BYTES:
            reason = (
                f"an object of {len(encoded)} bytes of JSON; "
                f"Segment takes {limits.MAX_OBJECT_BYTES}"
            )
            raise _ValueRefused(None, reason)
        return encoded

    def _label_at_fault(self, properties: dict[str, Scalar]) -> str | None:
        """Return the label of the first property that cannot be written."""
        for leaf in (*self._root.leaves(), *self._undeclared.values()):
            if not _can_be_written(properties.get(leaf.name)):
                return leaf.label
        return None


class _ValueRefused(Exception):  # noqa: N818 - never leaves this module
    """A value cannot be sent; `map_record` adds which record it was."""

    def __init__(self, field: str | None, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(reason)


_SURROGATE: Final = "half a surrogate pair, which UTF-8 cannot carry"
_UNWRITABLE: Final = (ValueError, RecursionError)
"""What is raised for a value that cannot be written; a `UnicodeEncodeError` is a `ValueError`."""


def _refusal(field: str | None, error: Exception) -> _ValueRefused:
    if isinstance(error, UnicodeEncodeError):
        return _ValueRefused(field, _SURROGATE)
    if isinstance(error, RecursionError):
        return _ValueRefused(field, "it is nested too deeply")
    return _ValueRefused(field, str(error))


def _can_be_written(value: object) -> bool:
    try:
        ENCODER.encode(value)
    except _UNWRITABLE:
        return False
    return True


def _too_large(size: int) -> str:
    return f"a value of {size} bytes; Segment takes less than {limits.VALUE_BYTES_LIMIT}"
