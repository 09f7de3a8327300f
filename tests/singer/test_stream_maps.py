"""Expressions in stream maps: syntax errors before a run, and failures for single records."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.singer.stream_maps import (
    StreamMapper,
    find_invalid_expressions,
    transform_record,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "address": {"type": "object", "properties": {"zip": {"type": "string"}}},
    },
}
RECORD = {"id": 1, "name": "Ada Lovelace", "address": {"zip": "x"}}


def transform(stream_map: dict[str, Any], record: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Apply a stream map to a record of the stream `users`."""
    mapper = StreamMapper({"stream_maps": {"users": stream_map}}, logging.getLogger())
    mapper.register_raw_stream_schema("users", SCHEMA, ["id"])
    (registered,) = mapper.stream_maps["users"]
    return transform_record(registered, record)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("int(", "'(' was never closed at character 4"),
        ("", "it is empty"),
        ("# comment", "it is empty"),
        ("x = 1", "it is a statement"),
        (" id", "unexpected indent at character"),
        ("id\0", "null bytes"),
        ("(" * 5000, "too many nested parentheses"),
    ],
    ids=["unclosed", "empty", "comment", "statement", "indent", "NUL", "nested"],
)
@pytest.mark.parametrize("name", ["price", "__filter__"])
def test_syntax_error_names_stream_and_property(expression: str, reason: str, name: str) -> None:
    """An expression that cannot be parsed is found with its stream, its property and a reason."""
    ((stream, found, message),) = find_invalid_expressions({"users": {name: expression}})
    assert (stream, found) == ("users", name)
    assert reason in message


@pytest.mark.parametrize(
    "stream_map",
    [
        None,
        "__NULL__",
        {"a": None, "b": "__NULL__", "c": "int(a)", "__filter__": "a > 1"},
        {"__alias__": "not an expression", "__source__": "a b", "__else__": None},
        {"__key_properties__": ["a b"]},
    ],
    ids=["null", "null word", "expressions", "options", "key properties"],
)
def test_valid_stream_maps(stream_map: object) -> None:
    """Removed streams and properties, valid expressions and other options are accepted."""
    assert list(find_invalid_expressions({"users": stream_map})) == []


def test_transform_returns_the_new_record() -> None:
    """A record is renamed, computed and filtered by the SDK, and the original is not changed."""
    record = dict(RECORD)
    assert transform({"upper": "name.upper()"}, record)["upper"] == "ADA LOVELACE"
    assert transform({"__filter__": "id > 1"}, record) is None
    assert record == RECORD


@pytest.mark.parametrize(
    ("stream_map", "field", "reason"),
    [
        ({"name": "int(name)"}, "name", "ValueError"),
        ({"double": "name / 2"}, "double", "TypeError"),
        ({"inverse": "1 / (id - 1)"}, "inverse", "ZeroDivisionError"),
        ({"mail": "email"}, "mail", "'email' is not defined"),
        ({"mail": "record['Ada Lovelace']"}, "mail", "KeyError"),
        ({"mail": "nope(name)"}, "mail", "FunctionNotDefined"),
        ({"__filter__": "int(name) > 1"}, "__filter__", "ValueError"),
    ],
    ids=["value", "type", "zero", "name", "key", "function", "filter"],
)
def test_failing_expression_makes_the_record_invalid(
    stream_map: dict[str, Any], field: str, reason: str
) -> None:
    """The error names stream, property and exception; neither it nor its causes hold a value."""
    with pytest.raises(InvalidRecordError) as raised:
        transform(stream_map, RECORD)
    error = raised.value
    assert (error.stream, error.field) == ("users", field)
    assert reason in error.reason
    assert "Ada" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None
