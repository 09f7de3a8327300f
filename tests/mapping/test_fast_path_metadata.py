"""The columns of the SDK's metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec import UNSET

from target_segment_objects.mapping.fast_path.metadata import MetadataColumns
from target_segment_objects.mapping.fast_path.schemas import UnsupportedSchemaError
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from target_segment_objects.mapping.fast_path.columns import Column
    from target_segment_objects.mapping.naming import PropertyPath

PATHS: list[PropertyPath] = [
    ("_sdc_sequence",),
    ("id",),
    ("_sdc_deleted_at",),
    ("_sdc_table_version",),
]
TYPES = dict.fromkeys(PATHS, PropertyType.INTEGER)


def make_metadata() -> dict[str, object]:
    """Return the metadata of a record whose message says nothing."""
    return {"_sdc_sequence": 5, "_sdc_deleted_at": None, "_sdc_table_version": None}


class Message(msgspec.Struct):
    """A message with a version."""

    version: int | None


def test_columns_are_filled_from_messages_and_the_clock() -> None:
    """Only the deletion time is the record's own; null stands for what is absent."""
    columns: list[Column] = [[UNSET, 1], [7, 8], [UNSET, "2024-01-31"], [UNSET, UNSET]]
    metadata = MetadataColumns(make_metadata, TYPES, PATHS)
    metadata.fill(columns, [Message(3), Message(None)])
    assert columns == [[5, 5], [7, 8], [None, "2024-01-31"], [3, None]]
    metadata.fill(columns, [])
    assert columns[3] == [None, None]


def test_metadata_that_has_another_type_is_not_supported() -> None:
    """A number is written in another way than an integer."""
    types = {**TYPES, ("_sdc_sequence",): PropertyType.NUMBER}
    with pytest.raises(UnsupportedSchemaError, match="_sdc_sequence"):
        MetadataColumns(make_metadata, types, PATHS)
