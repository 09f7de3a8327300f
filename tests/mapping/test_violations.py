"""A violation of the schema makes a record invalid exactly where it does harm."""

from __future__ import annotations

from typing import Any

import pytest

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.mapping.violations import RecordCheck, SchemaViolations
from tests.mapping.test_mapper import (
    Row,
    compile_mapper,
    expand_schema,
    read_digits,
    read_rows,
)
from tests.mapping.test_validation import build_declared_tree


def find_harmless(
    schema: dict[str, Any], record: dict[str, Any], mode: SchemaViolations = "warn"
) -> dict[str, str]:
    """Return the harmless violations of a record."""
    validator = RecordValidator("s", schema, warnings=DataWarnings("s", print))
    return RecordCheck(validator, mode).find_harmless(record, build_declared_tree(schema))


@pytest.mark.parametrize("row", read_rows("Declared", "Record", "`warn`", "`reject`"))
def test_documented_violations(row: Row) -> None:
    """Each mode does what the documentation says, digit by digit."""
    properties = {name: expand_schema(schema) for name, schema in row.read_cell("Declared").items()}
    schema, record = {"properties": properties}, row.read_cell("Record")
    if row["`warn`"] == "invalid":
        with pytest.raises(InvalidRecordError):
            find_harmless(schema, record)
    else:
        assert len(find_harmless(schema, record)) == 1
        line = compile_mapper(properties).map_record(record)
        assert read_digits(line)["properties"] == read_digits(row["`warn`"])
    if row["`reject`"] == "accepts":
        assert find_harmless(schema, record, "reject")
    else:
        with pytest.raises(InvalidRecordError):
            find_harmless(schema, record, "reject")


def test_violation_of_the_whole_record_looks_at_each_value() -> None:
    """A variant of the record that no value fits is harmless if nothing else would be lost."""
    schema = {
        "properties": {"a": {"type": "integer"}, "b": {"properties": {"c": {"type": "boolean"}}}},
        "maxProperties": 1,
    }
    harmless = find_harmless(schema, {"a": 1, "b": {"c": True}})
    assert harmless == {"": "requires maxProperties 1"}
    with pytest.raises(InvalidRecordError, match=r"property 'a'.*requires type"):
        find_harmless(schema, {"a": "x"})


def test_violation_at_an_undeclared_property_is_harmless() -> None:
    """It is sent as a string whatever it is."""
    schema = {"properties": {}, "additionalProperties": {"type": "integer", "required": ["x"]}}
    assert find_harmless(schema, {"a": "x", "b": {"c": 1}}).keys() == {"a", "b"}
