"""Read rows as records, and the schema from their first values.

A warehouse gives a column the type of the first value that is not null, and so does a property
here. What does not fit this type later makes its record invalid, as with a schema: see
`mapping.violations`. A dict is an object that is flattened. What has had no value yet is in no
schema: its nulls are sent, and an empty dict is nothing.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects import limits
from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.conversion import can_convert
from target_segment_objects.mapping.naming import format_path, to_path_name
from target_segment_objects.mapping.properties.type_changes import is_timestamp
from target_segment_objects.mapping.property_tree import DeclaredObject
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import NonFinite
from target_segment_objects.rows.python_values import (
    ARRAY,
    OBJECT,
    PLAIN_TYPES,
    TIMESTAMP,
    UnsupportedValueError,
    check_name,
    convert_item,
    convert_value,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.mapping.json_lines import Record
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.violations import ValidityCheck

    Types = dict[str, Any]
    """By name: the type of a property, or the types in an object."""

    Faults = list[tuple[PropertyPath, str]]
    """What cannot be sent, and why."""

_MAX_DEPTH: Final = 100
"""Levels of dicts that are flattened; what reads a schema takes some three times as many."""

_TOO_DEEP: Final = "it is nested too deeply"
_TEXTS: Final = frozenset({"string", ARRAY})
"""The types of properties that hold any value: what is not a string is sent as JSON text."""

_NULLS: Final[frozenset[type]] = frozenset({type(None), NonFinite})
_WORDS: Final[dict[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    Decimal: "a number with a fraction",
    list: "a list",
    dict: "a dict",
}
_TYPE_WORDS: Final = {
    PropertyType.BOOLEAN: "a boolean",
    PropertyType.INTEGER: "an integer",
    PropertyType.NUMBER: "a number",
    PropertyType.TIMESTAMP: "a date or a time",
}
_HINT: Final = (
    "The first value that is not None decides the type. Convert the values, or pass a schema."
)


class RowReader:
    """Reads the rows of one collection.

    It is also the check of the records that it has read: what it has found wrong with the last
    ones, it says when the mapper asks.

    Args:
        stream: The name of their stream, for errors.
        check: Finds the records that their schema does not accept; None if there is no schema, so
            that the first values decide.

    Attributes:
        has_new_types: Whether a property has got a type since the schema was last built.
    """

    def __init__(self, stream: str, check: ValidityCheck | None) -> None:
        self._stream = stream
        self._check = check
        self._types: Types | None = {} if check is None else None
        self._property_count = 0
        self._faults: dict[int, tuple[PropertyPath, str]] = {}  # by the id of the record
        self._suspects: set[int] = set()  # ids, too
        self._is_suspect = False
        self.has_new_types = False

    def read_row(self, row: Mapping[str, object]) -> Record:
        """Return the record of a row. It must be mapped before `forget_records`."""
        self._is_suspect = False
        faults: Faults = []
        try:
            record = self._read_members(row, self._types, (), faults)
        except RecursionError:
            record, faults = {}, [((), _TOO_DEEP)]
        if faults:
            self._faults[id(record)] = faults[0]
        if faults or self._is_suspect:
            self._suspects.add(id(record))
        return record

    def forget_records(self) -> None:
        """Forget what was wrong with the records: all of them are mapped."""
        self._faults.clear()
        self._suspects.clear()

    def build_schema(self) -> dict[str, Any]:
        """Return the JSON schema of the types so far."""
        self.has_new_types = False
        return _build_object_schema(self._types or {})

    # Reading

    def _read_members(
        self, members: Mapping[str, object], types: Types | None, path: PropertyPath, faults: Faults
    ) -> Record:
        """Return the members of a dict, without those that cannot be sent."""
        record: Record = {}
        known = types or {}
        for key, member in members.items():
            if PLAIN_TYPES.get(type(member), "") == known.get(key):
                record[key] = member  # most values
                continue
            try:
                name = key if type(key) is str else check_name(key)
                json_type, value = convert_value(member)
                if types is None:
                    record[name] = convert_item(value) if json_type == OBJECT else value
                elif json_type == OBJECT:
                    self._read_object(record, name, value, types, path, faults)
                else:
                    record[name] = self._check_type(name, json_type, value, types, path)
            except UnsupportedValueError as error:
                faults.append(((*path, str(key)), error.reason))
        return record

    def _check_type(
        self, name: str, json_type: str | None, value: object, types: Types, path: PropertyPath
    ) -> object:
        """Return a value that is no dict, and note whether its type is new or another one."""
        first = types.get(name)
        if json_type is None:
            return None if isinstance(first, dict) else value
        if first is None:
            self._add_type(name, json_type, types, path)
        elif isinstance(first, dict) or not _holds_type(first, json_type):
            self._is_suspect = True
        return value

    def _read_object(
        self,
        record: Record,
        name: str,
        members: Mapping[str, object],
        types: Types,
        path: PropertyPath,
        faults: Faults,
    ) -> None:
        """Add a dict to a record: flattened, unless the property had another value before."""
        first = types.get(name)
        if isinstance(first, str):
            record[name] = convert_item(members)
            self._is_suspect = self._is_suspect or first not in _TEXTS
            return
        if len(path) >= _MAX_DEPTH:
            raise UnsupportedValueError(_TOO_DEEP)
        inner = {} if first is None else first
        read = self._read_members(members, inner, (*path, name), faults)
        if first is None and inner:
            types[name] = inner
        if inner or any(type(value) not in _NULLS for value in read.values()):
            record[name] = read
        elif members:
            record[name] = None  # it has only nulls so far, and so no properties

    def _add_type(self, name: str, json_type: str, types: Types, path: PropertyPath) -> None:
        """Note the type of a property's first value, unless there are too many properties."""
        if not to_path_name((*path, name)):
            msg = "its name has no letter or digit"
            raise UnsupportedValueError(msg)
        if self._property_count < limits.MAX_COLLECTION_PROPERTIES:
            types[name] = json_type
            self._property_count += 1
            self.has_new_types = True

    # The check of the mapper

    def find_suspects(self, records: Sequence[Record]) -> list[int]:
        """Return the positions of records that may be invalid; the others are not."""
        suspects = [] if self._check is None else self._check.find_suspects(records)
        if self._suspects:
            own = {row for row, record in enumerate(records) if id(record) in self._suspects}
            suspects = sorted(own.union(suspects))
        return suspects

    def find_harmless(self, record: Record, tree: DeclaredObject) -> dict[str, str]:
        """Return the harmless violations of a schema; without one, there are none.

        Args:
            record: The record.
            tree: The record with its properties, as they are sent.

        Raises:
            InvalidRecordError: A value does not fit the first one, or cannot be sent.
        """
        if id(record) in self._faults:
            path, reason = self._faults[id(record)]
            raise InvalidRecordError(self._stream, reason, field=format_path(path) or None)
        if self._check is not None:
            return self._check.find_harmless(record, tree)
        misfit = _find_misfit(tree, record)
        if misfit is not None:
            path, value, first = misfit
            word = _WORDS.get(type(value), "something else")
            reason = f"this value is {word}, and the first one was {first}"
            raise InvalidRecordError(
                self._stream, reason, field=format_path(path) or None, hint=_HINT
            )
        return {}


def _holds_type(first: str, json_type: str) -> bool:
    """Return whether a property of a type holds every value of another one."""
    return first in {json_type, *_TEXTS} or (first == "number" and json_type == "integer")


def _find_misfit(tree: DeclaredObject, members: Record) -> tuple[PropertyPath, object, str] | None:
    """Return the path of a value that its property cannot hold, the value, and what it can."""
    for name, declared in tree.children.items():
        value = members.get(name)
        if value is None or isinstance(value, NonFinite):
            continue
        if not isinstance(declared, DeclaredObject):
            if not _is_sendable(value, declared):
                return declared.path, value, _TYPE_WORDS.get(declared.type, "a string")
        elif not isinstance(value, dict):
            return declared.path, value, "a dict"
        elif misfit := _find_misfit(declared, value):
            return misfit
    return None


def _is_sendable(value: object, prop: PropertyMapping) -> bool:
    if prop.type is PropertyType.TIMESTAMP and isinstance(value, str):
        return is_timestamp(value)
    return can_convert(value, prop.type)


def _build_object_schema(types: Types) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, json_type in types.items():
        if isinstance(json_type, dict):
            properties[name] = _build_object_schema(json_type)
        elif json_type == TIMESTAMP:
            properties[name] = {"type": ["string", "null"], "format": "date-time"}
        else:
            properties[name] = {"type": [json_type, "null"]}
    return {"type": ["object", "null"], "properties": properties}
