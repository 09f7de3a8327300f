"""Stream maps without expressions: the lines say what the SDK would make of the records."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.mapper import PluginMapper, StreamMap

from target_segment_objects.singer.projection import LineProjector, Projection, find_projection

DECLARED = ("id", "a", "b", "record")
SCHEMA = {"type": "object", "properties": {name: {} for name in DECLARED}}


def make_stream_map(
    stream_maps: dict[str, Any], keys: tuple[str, ...] = ("id",)
) -> tuple[StreamMap, Projection | None]:
    """Return the SDK's stream map of the stream `s`, and the projection that is found for it."""
    mapper = PluginMapper({"stream_maps": stream_maps}, logging.getLogger("test"))
    mapper.register_raw_stream_schema("s", SCHEMA, keys)
    (stream_map,) = mapper.stream_maps["s"]
    return stream_map, find_projection(mapper.stream_maps_dict, "s", stream_map)


@pytest.mark.parametrize(
    ("definition", "line", "changed"),
    [
        ({}, b'{"id":1,"x":NULL}', None),
        ({}, b'{"id":1, "x":[1.50]}', b'{"id":1, "x":[1.50]}'),
        ({"a": None}, b'{"id":1,"a":2,"b":3.0}', b'{"id":1,"b":3.0}'),
        ({"a": "__NULL__"}, b'{"id":1,"a":NULL}', None),
        ({"a": None}, b'{"id":1,"x":2}', None),
        ({"new": "a", "a": None}, b'{"a":{"z": 1e5},"id":1}', b'{"id":1,"new":{"z": 1e5}}'),
        ({"new": "a"}, b'{"id":1}', None),
        ({"a": "b", "b": "a"}, b'{"id":1,"a":2,"b":3}', b'{"id":1,"a":3,"b":2}'),
        (
            {"new": "a", "other": "a"},
            b'{"a":1,"id":2}',
            b'{"id":2,"a":1,"new":1,"other":1}',
        ),
        ({"new": "a"}, b'{"a":1}', None),  # without its key, a record may have nothing left
        ({}, b'{"a":1}', b'{"a":1}'),
        ({}, b"{ }", None),
        ({"id": "id", "__else__": None}, b'{"id":1,"a":2}', b'{"id":1}'),
        ({"x": "x"}, b'{"id":1,"x":2}', b'{"id":1,"x":2}'),
    ],
)
def test_record_is_changed_or_left_to_the_sdk(
    definition: dict[str, Any], line: bytes, changed: bytes | None
) -> None:
    """What is kept has the tap's own bytes."""
    _, projection = make_stream_map({"s": definition})
    assert projection is not None
    assert LineProjector("s", "s", projection).project_records([line]) == [changed]


@pytest.mark.parametrize(
    "definition",
    [
        {"a": "b + 1"},
        {"a": "'b'"},
        {"a": "self"},
        {"a": "record"},
        {"a": "_"},
        {"a": "None"},
        {"__filter__": "a"},
        {"__key_properties__": None},
        {"a": "x"},
        {'"': None},
    ],
)
def test_other_stream_maps_are_left_to_the_sdk(definition: dict[str, Any]) -> None:
    """Expressions, filters, streams without a key, undeclared sources, and escaped names."""
    assert make_stream_map({"s": definition})[1] is None


def test_alias_that_json_cannot_write_is_left_to_the_sdk() -> None:
    """An unpaired surrogate, for example."""
    assert make_stream_map({"s": {"__alias__": "'\\ud800'"}})[1] is None


def test_last_definition_of_a_stream_counts() -> None:
    """As in the SDK, where the names of streams may be patterns."""
    _, projection = make_stream_map({"*": {"a": None}, "s": {"b": None}, "t": {}})
    assert projection is not None
    assert projection.removed == {"b"}


def test_messages_get_the_new_name_of_the_stream() -> None:
    """They keep the members that become metadata; another message is left to the SDK."""
    for definition in ({"__alias__": "t"}, {"__alias__": "t", "a": None}):
        stream_map, projection = make_stream_map({"s": definition})
        assert projection is not None
        lines = [
            b'{"type":"RECORD","stream":"s","version":7,"record":{"id":1},"more":2}\n',
            b'{"type":"RECORD","stream":"x","record":{"id":2}}\n',
            b'{"type":"RECORD","stream":"s","record":{"id":3},"time_extracted":"2024"}\n',
        ]
        assert LineProjector("s", stream_map.stream_alias, projection).project_messages(lines) == [
            b'{"type":"RECORD","stream":"t","record":{"id":1},"version":7}',
            None,
            b'{"type":"RECORD","stream":"t","record":{"id":3},"time_extracted":"2024"}',
        ]


names = st.sampled_from([*DECLARED, "x"])
definitions = st.dictionaries(names, st.sampled_from([None, "__NULL__", *DECLARED, "x", "self"]))
options = st.fixed_dictionaries(
    {}, optional={"__else__": st.none(), "__key_properties__": st.sampled_from([["id"], ["a"]])}
)
values = st.none() | st.integers() | st.lists(st.text(max_size=2), max_size=2)


@settings(max_examples=300)
@given(definitions, options, st.lists(st.dictionaries(names, values), max_size=4))
@example({"id": "x"}, {}, [{"id": 1, "x": 2}])
@example({"id": "x"}, {"__else__": None}, [{"id": 1, "x": 2}])
def test_projection_does_what_the_sdk_does(
    definition: dict[str, Any], chosen: dict[str, Any], records: list[dict[str, Any]]
) -> None:
    """For every stream map of this kind, and every record that is not left to the SDK."""
    try:
        stream_map, projection = make_stream_map({"s": {**definition, **chosen}})
    except StreamMapConfigError:
        assume(False)  # noqa: FBT003 - hypothesis has no other form
    assume(projection is not None)
    assert projection is not None
    lines = [json.dumps(record).encode() for record in records]
    for record, line in zip(
        records, LineProjector("s", "s", projection).project_records(lines), strict=True
    ):
        if line is not None:
            # The SDK leaves out an empty record; without its key, so does the sink.
            assert (json.loads(line) or None) == stream_map.transform(record)
