"""A violation of the schema makes a record invalid exactly where it does harm."""

from __future__ import annotations

from typing import Any

import pytest

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.mapper import MappingOptions, RecordMapper
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.mapping.violations import RecordCheck, SchemaViolations
from tests.mapping.test_mapper import Row, expand_schema, read_digits, read_rows
from tests.support.remembered_properties import create_state


def build_check(schema: dict[str, Any], mode: SchemaViolations) -> tuple[RecordCheck, RecordMapper]:
    """Return what checks the records of a stream, and what maps them."""
    state = create_state("s", print)
    mapper = RecordMapper("s", "s", schema, (), options=MappingOptions(), state=state)
    validator = RecordValidator("s", schema, warnings=DataWarnings("s", print))
    return RecordCheck(validator, mapper, (), mode), mapper


@pytest.mark.parametrize("row", read_rows("Declared", "Record", "`warn`", "`reject`"))
def test_documented_violations(row: Row) -> None:
    """Each mode does what the documentation says, digit by digit."""
    properties = {name: expand_schema(schema) for name, schema in row.read_cell("Declared").items()}
    check, mapper = build_check({"properties": properties}, "warn")
    if row["`warn`"] == "invalid":
        with pytest.raises(InvalidRecordError):
            check.find_harmless(row.read_cell("Record"))
    else:
        assert len(check.find_harmless(row.read_cell("Record"))) == 1
        line = mapper.map_record(row.read_cell("Record"))
        assert read_digits(line)["properties"] == read_digits(row["`warn`"])
    strict, _ = build_check({"properties": properties}, "reject")
    if row["`reject`"] == "accepts":
        assert strict.find_harmless(row.read_cell("Record"))
    else:
        with pytest.raises(InvalidRecordError):
            strict.find_harmless(row.read_cell("Record"))


def test_violation_of_the_whole_record_looks_at_each_value() -> None:
    """A variant of the record that no value fits is harmless if nothing else would be lost."""
    schema = {
        "properties": {"a": {"type": "integer"}, "b": {"properties": {"c": {"type": "boolean"}}}},
        "maxProperties": 1,
    }
    check, _ = build_check(schema, "warn")
    assert check.find_harmless({"a": 1, "b": {"c": True}}) == {"": "requires maxProperties 1"}
    with pytest.raises(InvalidRecordError, match=r"property 'a'.*requires type"):
        check.find_harmless({"a": "x"})


def test_violation_at_an_undeclared_property_is_harmless() -> None:
    """It is sent as a string whatever it is."""
    schema = {"properties": {}, "additionalProperties": {"type": "integer", "required": ["x"]}}
    check, _ = build_check(schema, "warn")
    assert check.find_harmless({"a": "x", "b": {"c": 1}}).keys() == {"a", "b"}
