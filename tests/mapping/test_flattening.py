"""How deep objects are flattened: the levels are those of the SDK."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from singer_sdk.helpers._flattening import flatten_schema

from target_segment_objects.mapping.mapping_options import MappingOptions
from target_segment_objects.mapping.naming import to_path_name, to_property_name
from target_segment_objects.mapping.schema import read_json_types, read_property_types
from tests.mapping.test_decoders import Stream, map_both

LEAVES = st.sampled_from(
    [{"type": "integer"}, {"type": ["string", "null"]}, {"type": "array"}, {"type": "object"}]
)
# No name is the beginning of another, so that no two paths have the same name.
NAMES = st.sampled_from(["city", "geo", "homeAddress", "HTTPStatus"])
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda types, properties: {"type": types, "properties": properties},
        st.sampled_from(["object", ["object", "null"], ["null", "object"]]),
        st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)
SCHEMAS = st.dictionaries(NAMES, OBJECTS, min_size=1, max_size=3).map(
    lambda properties: {"type": "object", "properties": properties}
)
NESTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "a": {
            "type": ["object", "null"],
            "properties": {
                "n": {"type": "integer"},
                "b": {
                    "type": ["object", "null"],
                    "properties": {
                        "n": {"type": "number"},
                        "c": {"type": ["object", "null"], "properties": {"n": {"type": "string"}}},
                    },
                },
            },
        },
    },
}


@given(schema=SCHEMAS, depth=st.integers(0, 3))
def test_depth_means_what_it_means_in_the_sdk(schema: dict[str, Any], depth: int) -> None:
    """The properties are those that the SDK's flattening makes, in its order."""
    expected = flatten_schema(copy.deepcopy(schema), depth)["properties"]
    found = read_property_types(schema, max_depth=depth)
    assert [to_path_name(path) for path in found] == [*map(to_property_name, expected)]
    assert [*read_json_types(schema, max_depth=depth)] == [*found]


@pytest.mark.parametrize(
    ("depth", "sent"),
    [
        (0, {"a": '{"n":1,"b":{"n":1.50,"c":{"n":"x"}}}'}),
        (1, {"a_n": 1, "a_b": '{"n":1.50,"c":{"n":"x"}}'}),
        (2, {"a_n": 1, "a_b_n": "1.50", "a_b_c": '{"n":"x"}'}),
        (3, {"a_n": 1, "a_b_n": "1.50", "a_b_c_n": "x"}),
        (None, {"a_n": 1, "a_b_n": "1.50", "a_b_c_n": "x"}),
    ],
)
def test_objects_below_the_depth_are_json_text(depth: int | None, sent: dict[str, Any]) -> None:
    """With the digits of the tap; a null is one for all that is in the object."""
    records = ['{"id":7,"a":{"n":1,"b":{"n":1.50,"c":{"n":"x"}}}}', '{"id":7,"a":null}']
    mapped = map_both(NESTED, *records, options=MappingOptions(max_depth=depth))
    value, null = (json.loads(line, parse_float=str)["properties"] for line in mapped.objects)
    assert value == {"id": 7, **sent}
    assert null == {"id": 7, **dict.fromkeys(sent)}
    assert (mapped.untyped, mapped.warnings) == (0, [])


@pytest.mark.parametrize(("depth", "harmless"), [(None, False), (3, False), (2, True), (0, True)])
def test_violation_below_the_depth_does_no_harm(depth: int | None, harmless: bool) -> None:  # noqa: FBT001 - a parameter
    """What is sent as JSON text need not match its schema; what is flattened has to."""
    stream = Stream(NESTED, options=MappingOptions(max_depth=depth))
    mapped = stream.map_groups(['{"id":7,"a":{"b":{"c":5}}}'])
    assert mapped.untyped == 1
    assert isinstance(mapped.objects[0], bytes) is harmless
    assert len(mapped.warnings) == harmless
