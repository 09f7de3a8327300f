"""The columns of one stream's records, with all that is compiled for them.

A layout is made for the properties as they are sent at a time. Both decoders give their values in
its columns: first the declared properties in the order in which they are sent, then those that the
schema does not declare and that records are known to have, sorted by their paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from target_segment_objects import limits
from target_segment_objects.mapping.column_conversion import ColumnConversion, compile_conversion
from target_segment_objects.mapping.columns import ObjectColumns
from target_segment_objects.mapping.object_encoding import ObjectEncoder
from target_segment_objects.mapping.property_tree import DeclaredObject
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping

MAX_UNDECLARED: Final = 200
"""A stream with more undeclared properties has other ones in each record: they get no columns."""


class Layout(msgspec.Struct, frozen=True):
    """The columns of records, and what is compiled for them.

    Attributes:
        properties: The property of each column.
        undeclared: The paths of those that the schema does not declare.
        root: Which columns hold the members of a record.
        conversions: What converts each column of values that were decoded untyped.
        checked_types: The columns whose values may have another type than the property was sent
            with, because no schema declares it.
        keys: The columns of the key properties; None if one has none, or if there is none.
        encoder: Encodes the objects.
        positions: The column of each property by its path.
    """

    properties: Sequence[PropertyMapping]
    undeclared: frozenset[PropertyPath]
    root: ObjectColumns
    conversions: Sequence[ColumnConversion]
    checked_types: Mapping[int, PropertyType]
    keys: Sequence[int] | None
    encoder: ObjectEncoder
    positions: Mapping[PropertyPath, int]

    def select_unsent(self, unsent: Collection[PropertyPath]) -> dict[PropertyPath, int]:
        """Return the columns of properties that have had no value yet."""
        return {path: self.positions[path] for path in unsent if path in self.positions}


def compile_layout(
    collection: str,
    declared: Sequence[PropertyMapping],
    undeclared: Mapping[PropertyPath, PropertyMapping],
    tree: DeclaredObject,
    *,
    key_properties: Sequence[str],
    send_nulls: bool,
    warned_long_paths: Collection[PropertyPath],
    unsent: Collection[PropertyPath],
) -> Layout:
    """Return the layout of a stream's records.

    Args:
        collection: The collection of its objects.
        declared: The declared properties, in the order in which they are sent.
        undeclared: The others that are known.
        tree: The record with its declared properties.
        key_properties: The names of the properties that make the id.
        send_nulls: Whether nulls are sent.
        warned_long_paths: The properties whose long strings were already warned of.
        unsent: The properties that have had no value yet.
    """
    paths = {prop.path for prop in declared}
    others = [
        prop for prop in _select_undeclared(undeclared, tree, unsent) if prop.path not in paths
    ]
    properties = [*declared, *others]
    positions = {prop.path: position for position, prop in enumerate(properties)}
    keys = [positions.get((key,)) for key in key_properties]
    return Layout(
        properties,
        frozenset(prop.path for prop in others),
        _plan_columns(tree, positions, others),
        [
            compile_conversion(
                prop.type,
                send_nulls=send_nulls,
                max_length=(
                    None if prop.path in warned_long_paths else limits.WAREHOUSE_STRING_CHARACTERS
                ),
            )
            for prop in properties
        ],
        {
            positions[prop.path]: prop.type
            for prop in others
            if prop.type is not PropertyType.STRING
        },
        None if None in keys or not keys else [key for key in keys if key is not None],
        ObjectEncoder(
            collection,
            properties,
            declared_count=len(declared),
            send_nulls=send_nulls,
            is_keyed=bool(key_properties),
        ),
        positions,
    )


def _select_undeclared(
    undeclared: Mapping[PropertyPath, PropertyMapping],
    tree: DeclaredObject,
    unsent: Collection[PropertyPath],
) -> list[PropertyMapping]:
    """Return the undeclared properties that get columns, sorted by their paths.

    One inside an undeclared object gets none, and neither does a value in place of a declared
    object, or one whose first value is to decide its type.
    """
    if len(undeclared) > MAX_UNDECLARED:
        return []
    objects = {(), *_list_objects(tree)}
    return [
        prop
        for path, prop in sorted(undeclared.items())
        if path[:-1] in objects
        and path not in objects
        and (prop.type is PropertyType.STRING or path not in unsent)
    ]


def _list_objects(tree: DeclaredObject) -> Iterable[PropertyPath]:
    for child in tree.children.values():
        if isinstance(child, DeclaredObject):
            yield child.path
            yield from _list_objects(child)


def _plan_columns(
    tree: DeclaredObject,
    positions: Mapping[PropertyPath, int],
    undeclared: Sequence[PropertyMapping],
) -> ObjectColumns:
    """Return which columns hold the members of an object."""
    objects = {
        name: _plan_columns(child, positions, undeclared)
        for name, child in tree.children.items()
        if isinstance(child, DeclaredObject)
    }
    declared = {
        name: positions[child.path]
        for name, child in tree.children.items()
        if not isinstance(child, DeclaredObject)
    }
    others = {
        prop.path[-1]: positions[prop.path] for prop in undeclared if prop.path[:-1] == tree.path
    }
    null = dict.fromkeys((*declared, *objects))
    return ObjectColumns(tree.path, {**declared, **others}, objects, null)
