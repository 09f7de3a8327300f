"""The columns that objects need, and the limits of their number. Pure.

The first value of a column that is not null determines its type. The columns of a session are
collected while its parts are checked, so that loading begins with all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from target_segment_objects.reserved_names import SEGMENT_COLUMNS
from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.objects import MAX_PROPERTIES
from target_segment_objects.sandbox.warehouse.column_types import ColumnType, infer_type

if TYPE_CHECKING:
    from target_segment_objects.sandbox.objects import Object, Shape

Columns = Mapping[str, Mapping[str, ColumnType]]
"""Types of columns, by collection and column, without the columns of Segment's own."""

MAX_SESSION_COLUMNS: Final = 4_800
"""Columns of all tables that a session writes to: a column takes some 40 KB until the commit."""

ID_COLUMN: Final = "id"

_MAX_COMPLETE_SHAPES: Final = 256  # a shape may have 1,600 names


class ColumnCollector:
    """Collects the columns of objects.

    Attributes:
        columns: The columns so far.
    """

    def __init__(self) -> None:
        self.columns: defaultdict[str, dict[str, ColumnType]] = defaultdict(dict)
        self._complete: set[tuple[str, Shape]] = set()

    def add_object(self, item: Object) -> None:
        """Add the columns that an object creates: one for each value that is not null.

        Raises:
            RejectedRequestError: There are too many.
        """
        key = (item.collection, item.shape)
        if key in self._complete:  # nearly always
            return
        types = self.columns[item.collection]
        count = len(types)
        for column, value in zip(item.shape.columns, item.values, strict=True):
            if value is not None and column not in types and column not in SEGMENT_COLUMNS:
                types[column] = infer_type(value)
        if len(types) > count:
            check_limits(self.columns)
        if types.keys() >= set(item.shape.columns) - SEGMENT_COLUMNS:
            if len(self._complete) >= _MAX_COMPLETE_SHAPES:
                self._complete.clear()
            self._complete.add(key)


def merge_columns(parts: Iterable[Columns]) -> Columns:
    """Return the columns of several parts; the first type of a column counts."""
    merged: defaultdict[str, dict[str, ColumnType]] = defaultdict(dict)
    for part in parts:
        for collection, types in part.items():
            for column, column_type in types.items():
                merged[collection].setdefault(column, column_type)
    return merged


def check_limits(columns: Columns) -> None:
    """Check the number of columns of a session's collections.

    Raises:
        RejectedRequestError: A collection or the session has too many.
    """
    for collection, types in columns.items():
        if len(types) > MAX_PROPERTIES:
            reason = f"the collection {collection} has more than {MAX_PROPERTIES} properties"
            raise RejectedRequestError(reason)
    if sum(map(len, columns.values())) > MAX_SESSION_COLUMNS:
        reason = (
            f"the collections of the session have more than {MAX_SESSION_COLUMNS} properties "
            "in all: send them in several sessions"
        )
        raise RejectedRequestError(reason)
