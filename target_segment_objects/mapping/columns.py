"""The values of many records as columns: one for each property.

What is done for a whole column at once takes a fraction of the time of doing it record by record,
because the loop runs inside Python's built-in functions.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import astuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from target_segment_objects.mapping.naming import PropertyPath

Column: TypeAlias = "Sequence[Any]"
"""The values of one property, one for each record: UNSET where the record does not have it."""


class NestedObject(NamedTuple):
    """A property that is an object with declared properties.

    Attributes:
        position: Its position in the struct around it.
        null: What stands for it where it, or an object around it, is null.
        absent: What stands for it where it, or an object around it, is absent.
        nested: The objects in it, the last first.
    """

    position: int
    null: msgspec.Struct
    absent: msgspec.Struct
    nested: list[NestedObject]


def build_struct_columns(
    records: Sequence[msgspec.Struct], nested: Sequence[NestedObject]
) -> list[Column]:
    """Return the columns of at least one struct, with those of the objects in it in their place.

    Args:
        records: The records, all of one type.
        nested: The objects in it, the last first, so that positions stay correct.
    """
    columns: list[Column] = [*zip(*map(astuple, records), strict=True)]
    for position, null, absent, inner in nested:
        objects = [
            null if value is None else absent if value is UNSET else value
            for value in columns[position]
        ]
        columns[position : position + 1] = build_struct_columns(objects, inner)
    return columns


class ObjectColumns(msgspec.Struct, frozen=True):
    """Which columns hold the members of an object that is flattened; the record is the outermost.

    Attributes:
        path: The names from the record down to the object.
        positions: The column of each member that is a property.
        objects: The members that are objects.
        null: What stands for the object where it is null: only declared members are null, too.
    """

    path: PropertyPath
    positions: dict[str, int]
    objects: dict[str, ObjectColumns]
    null: dict[str, None]


ExtraValues: TypeAlias = "dict[int, dict[PropertyPath, object]]"
"""By row, the values that have no column, by their paths."""


def build_dict_columns(
    records: Sequence[dict[str, Any]], root: ObjectColumns, count: int
) -> tuple[list[Column], ExtraValues]:
    """Return the columns of decoded records, and the values that have none.

    Args:
        records: The records.
        root: Which columns hold their members.
        count: The number of columns.
    """
    columns: list[Column] = [()] * count
    extras: ExtraValues = {}
    _add_members(records, root, columns, extras)
    return columns, extras


def _add_members(
    objects: Sequence[dict[str, Any]],
    plan: ObjectColumns,
    columns: list[Column],
    extras: ExtraValues,
) -> None:
    """Fill the columns of the members of an object, one of which each record has."""
    names = plan.positions.keys() | plan.objects.keys()
    for row, members in enumerate(objects):
        if not members.keys() <= names:
            values = extras.setdefault(row, {})
            values.update({(*plan.path, name): members[name] for name in members.keys() - names})
    by_name = _transpose(objects)
    for name, position in plan.positions.items():
        columns[position] = (
            [members.get(name, UNSET) for members in objects]
            if by_name is None
            else by_name.get(name) or [UNSET] * len(objects)
        )
    for name, inner in plan.objects.items():
        found: list[dict[str, Any]] = []
        for row, members in enumerate(objects):
            value = members.get(name, UNSET)
            if type(value) is dict:
                found.append(value)
                continue
            found.append(inner.null if value is None else {})
            if value is not None and value is not UNSET:
                extras.setdefault(row, {})[inner.path] = value
        _add_members(found, inner, columns, extras)


def _transpose(objects: Sequence[dict[str, Any]]) -> dict[str, Column] | None:
    """Return the columns of objects that have the same members in the same order; else None."""
    names = [*objects[0]]
    if any([*members] != names for members in objects):
        return None
    values = zip(*[members.values() for members in objects], strict=True)
    return dict(zip(names, values, strict=True))


def drop_rows(column: Column, rows: Collection[int]) -> list[Any]:
    """Return a column without some rows.

    Args:
        column: The column.
        rows: The positions of the rows to drop.
    """
    return [*itertools.compress(column, (row not in rows for row in range(len(column))))]


def select_present(column: Column) -> list[Any]:
    """Return the values of a column that are neither null nor absent."""
    return [value for value in column if value is not None and value is not UNSET]


def _has_value(column: Column) -> bool:
    """Return whether a converted column has a value that is neither null nor absent."""
    try:
        # Numbers are not decoded. Joining them takes a fraction of the time of comparing each.
        return b"".join(column) != b"null" * len(column)
    except TypeError:  # not numbers, or some are absent
        pass
    empty = column.count(None)
    if empty < len(column):
        empty += column.count(UNSET)
    return empty < len(column) and not all(map(_is_empty, column))


def find_first_values(
    columns: Sequence[Column],
    positions: Mapping[PropertyPath, int],
    rows: Sequence[int],
    excluded: Collection[int],
) -> list[tuple[int, PropertyPath]]:
    """Return the first row with a value of some properties, sorted by the rows.

    Args:
        columns: Converted columns.
        positions: Those of the properties.
        rows: What to call each row.
        excluded: The rows that do not count.
    """
    found: list[tuple[int, PropertyPath]] = []
    for path, position in positions.items():
        column = columns[position]
        if _has_value(column):
            first = next(
                (
                    row
                    for row, value in enumerate(column)
                    if row not in excluded and not _is_empty(value)
                ),
                None,
            )
            if first is not None:
                found.append((rows[first], path))
    return sorted(found)


def select_nulls(column: Column) -> list[Any]:
    """Return a converted column with nulls only; what has a value is absent."""
    return [None if _is_empty(value) and value is not UNSET else UNSET for value in column]


def _is_empty(value: object) -> bool:
    return value is None or value is UNSET or (type(value) is Raw and bytes(value) == b"null")
