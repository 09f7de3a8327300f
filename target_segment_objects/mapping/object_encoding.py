"""Encode objects from their ids and the columns of their properties."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec
from msgspec import UNSET

from target_segment_objects import limits
from target_segment_objects.mapping.columns import select_nulls
from target_segment_objects.mapping.values import ENCODER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.mapping.columns import Column
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.values import Scalar


_EMPTY_END: Final = b'"properties":{}}'
"""Ends an object without properties, and no other: inside a string, quotes are escaped."""


class _Object(msgspec.Struct, gc=False):
    """An object; its properties are a struct of the stream's own, or a dict."""

    id: str
    collection: str
    properties: Any


class _SentName(NamedTuple):
    """A name under which a column is sent.

    Attributes:
        name: The name.
        position: The column.
        is_older: Whether only the nulls of the column are sent under it.
        default: The value that is not sent.
    """

    name: str
    position: int
    is_older: bool
    default: object


class ObjectEncoder:
    """Encodes the objects of one stream.

    Args:
        collection: Their collection.
        properties: The property of each column, in the order in which they are sent.
        declared_count: How many of them the schema declares: the first ones. The others are sorted
            by their paths.
        send_nulls: Whether nulls are sent. That of a deletion time always is.
        is_keyed: Whether the ids are made of key properties, so that no object is without any.
    """

    def __init__(
        self,
        collection: str,
        properties: Sequence[PropertyMapping],
        *,
        declared_count: int,
        send_nulls: bool,
        is_keyed: bool,
    ) -> None:
        self._collection = collection
        self._send_nulls = send_nulls
        self._names = [
            _SentName(name, position, name != prop.name, self._get_default(prop))
            for position, prop in enumerate(properties)
            for name in self._list_names(prop)
        ]
        self._has_one_name_each = len(self._names) == len(properties)
        self._undeclared = properties[declared_count:]
        self._declared_names = {name.name for name in self._names if name.position < declared_count}
        self._make_properties = _define_properties(self._names, omit_defaults=not send_nulls)
        empty = _Object(hashlib.sha256().hexdigest(), collection, {})
        self._largest_empty = 0 if is_keyed else len(ENCODER.encode(empty))

    def select_columns(self, columns: Sequence[Column]) -> Sequence[Column]:
        """Return the column that is sent under each name."""
        if self._has_one_name_each:
            return columns
        return [
            select_nulls(columns[name.position]) if name.is_older else columns[name.position]
            for name in self._names
        ]

    def encode_objects(self, ids: Sequence[str], selected: Sequence[Column]) -> list[bytes | None]:
        """Return the JSON of objects; None where a string has an unpaired surrogate.

        Args:
            ids: Their ids.
            selected: What `select_columns` returns.
        """
        properties = map(self._make_properties, *selected) if selected else ({} for _ in ids)
        objects = [*map(_Object, ids, itertools.repeat(self._collection), properties)]
        try:
            return [*map(ENCODER.encode, objects)]
        except UnicodeEncodeError:
            return [*map(_encode_or_none, objects)]

    def encode_object(
        self,
        object_id: str,
        selected: Sequence[Column],
        row: int,
        extras: Sequence[tuple[PropertyMapping, Scalar]],
    ) -> bytes | None:
        """Return the JSON of an object; None where a string has an unpaired surrogate.

        Args:
            object_id: Its id.
            selected: What `select_columns` returns.
            row: Its row.
            extras: Its properties without a column, none of them declared.
        """
        sent = {
            name.name: column[row]
            for name, column in zip(self._names, selected, strict=True)
            if column[row] is not UNSET and column[row] is not name.default
        }
        declared = self._declared_names
        values = {name: value for name, value in sent.items() if name in declared}
        undeclared = [(prop.path, self._pick(prop, sent)) for prop in self._undeclared]
        undeclared += [(prop.path, self._name_value(prop, value)) for prop, value in extras]
        undeclared.sort(key=lambda item: item[0])
        for _, named in undeclared:
            values.update(named)
        return _encode_or_none(_Object(object_id, self._collection, values))

    def find_unsendable(self, objects: Sequence[bytes | None]) -> list[int]:
        """Return the positions of objects that are None, have no property, or are too large."""
        try:
            sizes = [*map(len, cast("Sequence[bytes]", objects))]
        except TypeError:  # one is None
            sizes = [0]
        if min(sizes) > self._largest_empty and max(sizes) <= limits.MAX_OBJECT_BYTES:
            return []
        return [
            row
            for row, line in enumerate(objects)
            if line is None or len(line) > limits.MAX_OBJECT_BYTES or line.endswith(_EMPTY_END)
        ]

    def _pick(self, prop: PropertyMapping, sent: Mapping[str, Any]) -> dict[str, Any]:
        return {name: sent[name] for name in self._list_names(prop) if name in sent}

    def _name_value(self, prop: PropertyMapping, value: Scalar) -> dict[str, Any]:
        if value is None:
            is_sent = self._get_default(prop) is not None
            return dict.fromkeys(self._list_names(prop)) if is_sent else {}
        return {prop.name: value}

    def _list_names(self, prop: PropertyMapping) -> tuple[str, ...]:
        return (prop.name, *prop.older_names) if self._send_nulls else (prop.name,)

    def _get_default(self, prop: PropertyMapping) -> object:
        return UNSET if self._send_nulls or prop.always_sends_null else None


def _encode_or_none(value: _Object) -> bytes | None:
    try:
        return ENCODER.encode(value)
    except UnicodeEncodeError:
        return None


def _define_properties(names: Sequence[_SentName], *, omit_defaults: bool) -> type[msgspec.Struct]:
    """Return a struct of the values that are sent."""
    return msgspec.defstruct(
        "Properties",
        [(f"f{position}", Any, name.default) for position, name in enumerate(names)],
        rename={f"f{position}": name.name for position, name in enumerate(names)},
        omit_defaults=omit_defaults,
        gc=False,
    )
