"""The inputs of the benchmarks are what docs/benchmark-results.md says of them."""

from __future__ import annotations

import json

import pytest

from benchmarks import inputs
from target_segment_objects.mapping.naming import to_collection_name
from target_segment_objects.mapping.schema import read_property_types


@pytest.mark.parametrize(
    ("shape", "fields"), [(inputs.A, 12), (inputs.B, 40), (inputs.C, 6)], ids="ABC"
)
def test_input_has_the_documented_fields(shape: inputs.Shape, fields: int) -> None:
    """Each record has the properties of its schema, and as many leaves as documented."""
    lines = [json.loads(line) for line in inputs.generate_lines(shape, 100)]
    records = [line["record"] for line in lines if line["type"] == "RECORD"]
    assert len(records) == 100
    assert len(read_property_types(shape.schema)) == fields
    assert all(record.keys() == shape.properties.keys() for record in records)


def test_api_input_has_what_the_schema_does_not_declare() -> None:
    """Every other stream of D has no key, and its records have undeclared properties."""
    lines = [json.loads(line) for line in inputs.generate_lines(inputs.D, 100, streams=8)]
    keys = [line["key_properties"] for line in lines if line["type"] == "SCHEMA"]
    records = [line["record"] for line in lines if line["type"] == "RECORD"]
    assert keys == [["ticketNumber"], []] * 4
    assert all(record.keys() - inputs.D.properties.keys() for record in records)


def test_same_seed_generates_the_same_input() -> None:
    """The same seed generates the same lines, another seed other lines."""
    generated = [list(inputs.generate_lines(inputs.B, 50, seed=seed)) for seed in (1, 1, 2)]
    assert generated[0] == generated[1] != generated[2]


def test_long_input_has_texts_of_10_kb() -> None:
    """Each record of C has a different text of about 10,000 characters."""
    lines = [json.loads(line) for line in inputs.generate_lines(inputs.C, 20)]
    texts = [line["record"]["bodyText"] for line in lines if line["type"] == "RECORD"]
    assert all(8_000 < len(text) <= 10_000 for text in texts)
    assert len(set(texts)) == 20


def test_records_of_streams_alternate() -> None:
    """With several streams, each has its SCHEMA, and their records alternate."""
    lines = [json.loads(line) for line in inputs.generate_lines(inputs.A, 9, streams=3)]
    schemas = [line["stream"] for line in lines if line["type"] == "SCHEMA"]
    records = [line["stream"] for line in lines if line["type"] == "RECORD"]
    assert len(set(schemas)) == 3
    assert records == schemas * 3
    assert lines[-1]["type"] == "STATE"


@pytest.mark.parametrize("count", [676, 677, 1000])
def test_streams_have_collections_of_their_own(count: int) -> None:
    """Their names differ in Segment, too, whatever their number."""
    lines = map(json.loads, inputs.generate_lines(inputs.A, 1, streams=count))
    streams = [line["stream"] for line in lines if line["type"] == "SCHEMA"]
    assert len({to_collection_name(stream) for stream in streams}) == count
