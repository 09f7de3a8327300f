"""Streams that stream maps change or drop, and metadata: both decoders give the same objects."""

from __future__ import annotations

import gzip
import json
import logging
import re
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from singer_sdk.mapper import PluginMapper

from tests.support import schema_line, state_line
from tests.support.two_decoders import DECODERS, run_and_collect

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.two_decoders import Outcome

PROPERTIES: dict[str, Any] = {
    "id": {"type": "integer"},
    "name": {"type": ["string", "null"]},
    "price": {"type": ["number", "null"]},
    "paidAt": {"type": ["string", "null"], "format": "date-time"},
    "home": {
        "type": ["object", "null"],
        "properties": {
            "city": {"type": ["string", "null"]},
            "geo": {"type": "object", "properties": {"lat": {"type": "number"}}},
        },
    },
    "tags": {"type": ["array", "null"], "items": {"type": "string"}},
    "extra": {"type": ["object", "null"]},
    "any": {},
}
RECORD = (
    '{"id":%d,"name":"Ada","price":12.50,"paidAt":"2024-01-31 10:00:00","home":{"city":"Bonn",'
    '"geo":{"lat":50.70}},"tags":["a"],"extra":{"x":1.0},"any":"z"}'
)
OTHERS = ("id", "name", "price", "paidAt", "home", "tags", "extra", "any")

SETTINGS: dict[str, dict[str, Any]] = {
    "metadata": {"add_record_metadata": True},
    "removed property": {"stream_maps": {"s": {"price": None, "tags": "__NULL__"}}},
    "alias": {"stream_maps": {"s": {"__alias__": "people"}}},
    "alias of all streams": {"stream_maps": {"*": {"__alias__": "__stream_name__ + '_x'"}}},
    "chosen properties": {"stream_maps": {"s": {"id": "id", "home": "home", "__else__": None}}},
    "renamed property": {"stream_maps": {"s": {"title": "name", "name": None}}},
    "copied object": {"stream_maps": {"s": {"copy": "home", "more": "extra"}}},
    "other keys": {"stream_maps": {"s": {"__key_properties__": ["id", "name"]}}},
    "no keys": {"stream_maps": {"s": {"__key_properties__": None, "any": None}}},
    "string expressions": {"stream_maps": {"s": {"name": "name.upper()", "new": "md5('x')"}}},
    "number expressions": {
        "stream_maps": {"s": {"price": "float(price) / 3", "id": "id * 10", "n": "int(price)"}}
    },
    "many kinds of values": {
        "stream_maps": {
            "s": {
                "any": "[1e300, 1e-7, 5.0, 1e16, 0.1, -0.0, float('nan')][id % 7]",
                "price": "[1e300, 1e-7, 5.0, 1e16, 0.1, -0.0, float('nan')][id % 7]",
                "name": "[name, datetime.date(2024, 1, 31), '\\ud800', 7, (1, 2), None][id % 6]",
            }
        }
    },
    "decoded JSON": {"stream_maps": {"s": {"extra": "json.loads('{\"x\": 1.50}')"}}},
    "filter": {"stream_maps": {"s": {"__filter__": "id % 3"}}},
    "filter and metadata": {
        "stream_maps": {"s": {"__filter__": "id % 3"}},
        "add_record_metadata": True,
    },
    "flattening": {"flattening_enabled": True, "flattening_max_depth": 3},
    "flattening of one level, and a stream map": {
        "flattening_enabled": True,
        "flattening_max_depth": 1,
        "stream_maps": {"s": {"name": None}},
    },
    "duplicated stream": {"stream_maps": {"s": {}, "t": {"__source__": "s", "name": None}}},
    "removed stream": {"stream_maps": {"s": None}},
    "streams that are not chosen": {"stream_maps": {"t": {}, "__else__": None}},
}
WITH_EXPRESSIONS = {
    *("string expressions", "number expressions", "many kinds of values", "decoded JSON"),
    *("filter", "filter and metadata", "duplicated stream"),
    "no keys",  # a record may have nothing left, which the SDK drops
}
"""The settings that make the SDK change the records, which are decoded untyped."""

_TIMES = re.compile(rb'("sdc_(?:received_at|batched_at|sequence|sync_started_at)":)[^,}]+')


def build_lines(
    records: Iterable[str], *, keys: tuple[str, ...] = ("id",), message: str = ""
) -> list[bytes]:
    """Return the messages of a stream; `message` adds members to those of its records."""
    return [
        f"{schema_line('s', PROPERTIES, keys)}\n".encode(),
        *(
            f'{{"type":"RECORD","stream":"s","record":{record}{message}}}\n'.encode()
            for record in records
        ),
        f"{state_line(1)}\n".encode(),
    ]


def hide_times(outcome: Outcome) -> list[bytes]:
    """Return the files of a run without the metadata that differs in each run."""
    return [_TIMES.sub(rb"\1null", file) for file in outcome.files]


def run_both(
    lines: list[bytes],
    folder: str | Path,
    **config: Any,  # noqa: ANN401 - settings of any type
) -> tuple[Outcome, Outcome]:
    """Return what a run does with types and without, but for the time of the run."""
    typed, untyped = (
        replace(outcome, files=hide_times(outcome))
        for outcome in (run_and_collect(lines, decoder, folder, **config) for decoder in DECODERS)
    )
    return typed, untyped


@pytest.mark.parametrize("name", SETTINGS)
def test_changed_records_are_decoded_with_types(name: str, tmp_path: Path) -> None:
    """Unless an expression needs their values; the objects are those of the other decoder."""
    lines = build_lines([RECORD % number for number in range(1, 30)])
    typed, untyped = run_both(lines, tmp_path, **SETTINGS[name])
    assert typed == untyped
    assert typed.records["s"] == 29
    if name in WITH_EXPRESSIONS:
        assert typed.untyped_records["s"] == 29
    else:
        assert typed.untyped_records["s"] == 0


def test_records_of_batch_files_are_changed(tmp_path: Path) -> None:
    """Also with metadata, for which their messages have no time."""
    file = tmp_path / "1.jsonl.gz"
    file.write_bytes(gzip.compress("".join(f"{RECORD}\n" % n for n in range(1, 30)).encode()))
    batch = {
        "type": "BATCH",
        "stream": "s",
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "manifest": [file.as_uri()],
    }
    lines = [build_lines([])[0], json.dumps(batch).encode() + b"\n"]
    for config in SETTINGS.values():
        outcome = run_and_collect(lines, DECODERS[0], tmp_path, **config)
        expected = run_and_collect(
            build_lines([RECORD % n for n in range(1, 30)]), DECODERS[1], tmp_path, **config
        )
        assert hide_times(outcome) == hide_times(expected)


@pytest.mark.parametrize(
    "name", ["filter", "string expressions", "metadata", "alias", "renamed property"]
)
def test_invalid_records_are_rejected_in_their_place(name: str, tmp_path: Path) -> None:
    """With the tap's own record, and the same reason."""
    records = [RECORD % number for number in range(1, 30)]
    records[5] = '{"id":"six","name":"x"}'
    records[10] = '{"id":11,"name":5}'
    records[15] = '{"name":"no key"}'
    records[20] = '{"id":21,"name":"x","price":NaN}'
    typed, untyped = run_both(build_lines(records), tmp_path, **SETTINGS[name])
    assert typed == untyped
    assert typed.rejected


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"RECORD","stream":"s","record":5}',
        b'{"type":"RECORD","stream":"s","record":{}',
        b'{"type":"RECORD","stream":"s","record":{"a":NaN}}',
        b'{"type":"RECORD","stream":"s","record":{},"stream":"unknown"}',
    ],
)
def test_lines_of_removed_streams_are_checked(line: bytes, tmp_path: Path) -> None:
    """A line that is not a RECORD message of the stream means what it means anywhere else."""
    lines = build_lines([RECORD % number for number in range(1, 5)])
    lines.insert(4, line + b"\n")
    typed, untyped = run_both(lines, tmp_path, stream_maps={"s": None})
    assert typed == untyped


@pytest.mark.parametrize("definition", [{"a": None}, {}, {"__alias__": "x"}, {"a": "upper(a)"}])
@pytest.mark.parametrize("record", ["{}", "{ }", '{"a":"x"}', '{"id":1}', '{"id":1,"a":"x"}'])
def test_record_that_has_nothing_left_is_dropped(
    definition: dict[str, Any], record: str, tmp_path: Path
) -> None:
    """So it is in the SDK, whether a stream map has expressions or not."""
    properties = {"id": {"type": "integer"}, "a": {"type": "string"}}
    message = b'{"type":"RECORD","stream":"s","record":%b}\n'
    lines = [schema_line("s", properties).encode() + b"\n", message % record.encode()]
    config: dict[str, Any] = {"stream_maps": {"s": definition}, "validate_records": False}
    outcomes = run_both(lines, tmp_path, **config)
    expected = [PluginMapper(config, logging.getLogger())]
    expected[0].register_raw_stream_schema("s", json.loads(lines[0])["schema"], ["id"])
    (stream_map,) = expected[0].stream_maps["s"]
    try:
        is_dropped = not stream_map.transform(json.loads(record))
    except Exception:  # noqa: BLE001 - the expression fails for this record
        is_dropped = False
    for outcome in outcomes:
        sent = sum(len(file.splitlines()) for file in outcome.files)
        assert (sent + len(outcome.rejected) == 0) is is_dropped


def test_many_records_that_cannot_be_projected_keep_their_order(tmp_path: Path) -> None:
    """Every second one has an undeclared property, which the SDK handles."""
    records = [
        f'{{"id":{number},"name":"x"{f",{chr(34)}q{chr(34)}:1" if number % 2 else ""}}}'
        for number in range(1, 200)
    ]
    config = {"stream_maps": {"s": {"title": "name", "name": None}}, "batch_size_rows": 1000}
    typed, untyped = run_both(build_lines(records), tmp_path, **config)
    assert typed == untyped
    sent = [json.loads(line)["id"] for file in typed.files for line in file.splitlines()]
    assert sent == [f"{number}" for number in range(1, 200)]
    assert typed.untyped_records["s"] <= 100


def test_sinks_of_two_streams_with_one_alias_are_found(tmp_path: Path) -> None:
    """The records of both go to the sink of the later SCHEMA."""
    maps = {"s": {"__alias__": "both"}, "t": {"__alias__": "both"}}
    lines = build_lines([RECORD % number for number in range(1, 10)])
    records = lines[1:-1]
    other = json.loads(lines[0])
    other["stream"] = "t"
    other["schema"]["properties"]["name"]["type"] = "string"
    others = [line.replace(b'"s"', b'"t"').replace(b'"Ada"', b"null") for line in records]
    merged = [*lines[:5], json.dumps(other).encode() + b"\n", *others, *records, lines[-1]]
    typed, untyped = run_both(merged, tmp_path, stream_maps=maps, schema_violations="reject")
    assert typed == untyped
    assert len(typed.rejected) == len(others)


def test_time_and_version_of_a_message_are_sent(tmp_path: Path) -> None:
    """The metadata of each record is that of its own message."""
    lines = build_lines(
        [RECORD % number for number in range(1, 6)],
        message=',"time_extracted":"2024-05-01T10:00:00Z","version":7',
    )
    lines[3] = lines[3].replace(b"10:00:00Z", b"11:00:00Z")
    lines[4] = lines[4].replace(b',"version":7', b"")
    typed, untyped = run_both(lines, tmp_path, add_record_metadata=True)
    assert typed == untyped
    assert typed.untyped_records == {"s": 0}
    objects = [
        json.loads(line)["properties"] for file in untyped.files for line in file.splitlines()
    ]
    assert [each["sdc_extracted_at"][11:13] for each in objects] == ["10", "10", "11", "10", "10"]
    assert [each["sdc_table_version"] for each in objects] == [7, 7, 7, None, 7]


def test_metadata_is_decoded_with_types_and_a_ledger(tmp_path: Path) -> None:
    """Whether the properties have their types in the ledger or not."""
    lines = build_lines(
        [RECORD % number for number in range(1, 30)],
        message=',"time_extracted":"2024-05-01T10:00:00Z"',
    )
    runs = []
    for decoder in DECODERS:
        ledger = str(tmp_path / decoder.__name__)
        config: dict[str, Any] = {"add_record_metadata": True, "ledger_path": ledger}
        runs.append(run_and_collect(lines, decoder, tmp_path, **config))
        changed = [line.replace(b'"Ada"', b'"Eve"') for line in lines]
        runs.append(run_and_collect(changed, decoder, tmp_path, **config))
    for typed, untyped in zip(runs[:2], runs[2:], strict=True):
        expected = replace(untyped, files=hide_times(untyped))
        assert replace(typed, files=hide_times(typed)) == expected
        assert typed.untyped_records == {"s": 0}
        assert typed.files


def test_deletion_time_that_was_sent_as_a_string_stays_one(tmp_path: Path) -> None:
    """The ledger's type counts, and the record's own time is sent."""
    deleted = '{"id":%d,"_sdc_deleted_at":"2024-05-01 10:00:00"}'
    declared = {"id": {"type": "integer"}, "_sdc_deleted_at": {"type": ["string", "null"]}}
    message = b'{"type":"RECORD","stream":"s","record":%b}\n'
    records = [message % (deleted % number).encode() for number in range(1, 10)]
    lines = [schema_line("s", declared).encode() + b"\n", *records, message % b'{"id":10}']
    later = [line.replace(b"05-01", b"06-01") for line in lines]
    outcomes = []
    for decoder in DECODERS:
        ledger = str(tmp_path / decoder.__name__)
        run_and_collect(lines, decoder, tmp_path, ledger_path=ledger)
        outcome = run_and_collect(
            later, decoder, tmp_path, ledger_path=ledger, add_record_metadata=True
        )
        outcomes.append(replace(outcome, files=hide_times(outcome)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].untyped_records == {"s": 0}
    assert b"".join(outcomes[0].files).count(b'"sdc_deleted_at":"2024-06-01 10:00:00"') == 9


def test_metadata_of_the_tap_is_left_out(tmp_path: Path) -> None:
    """With a warning for each property, at the first record that has it."""
    first, second = '"_sdc_extracted_at":"2024-05-01T10:00:00Z"', '"_sdc_sequence":5'
    metadata = [first, first, f"{first},{second}", second, *[f"{first},{second}"] * 9]
    records = [f"{(RECORD % number)[:-1]},{names}}}" for number, names in enumerate(metadata)]
    typed, untyped = run_both(build_lines(records), tmp_path)
    assert typed == untyped
    omitted = [message for message in typed.warnings if "the tap's metadata" in message]
    assert ["_sdc_extracted_at" in message for message in omitted] == [True, False]
    assert ["_sdc_sequence" in message for message in omitted] == [False, True]
    assert not any(b"sdc_" in file for file in typed.files)


numbers = st.integers(-(2**70), 2**70) | st.decimals(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.text(max_size=5) | numbers
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def dump_json(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return JSON with the digits of its decimals."""
    if isinstance(value, dict):
        items = (f"{json.dumps(name)}:{dump_json(item)}" for name, item in value.items())
        return f"{{{','.join(items)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(dump_json, value))}]"
    return json.dumps(value) if value is None or isinstance(value, (str, bool)) else str(value)


records = st.fixed_dictionaries(
    {"id": st.integers(1, 9) | any_json},
    optional={
        "name": st.text(max_size=5) | st.none() | any_json,
        "price": st.decimals(-1000, 1000, places=2) | any_json,
        "paidAt": st.sampled_from(["2024-01-31 10:00:00", "2024-01-31T10:00:00Z"]) | any_json,
        "home": st.fixed_dictionaries({}, optional={"city": st.text(max_size=3), "x": any_json})
        | any_json,
        "tags": st.lists(st.text(max_size=3), max_size=2) | any_json,
        "extra": any_json,
        "any": any_json,
        "undeclared": st.text(max_size=3) | any_json,
        "_sdc_deleted_at": st.sampled_from(["2024-01-31T10:00:00Z", None]) | any_json,
        "_sdc_sequence": st.integers(0, 9) | any_json,
        "_sdc_extracted_at": any_json,
    },
).map(dump_json)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    config=st.sampled_from([*SETTINGS.values()]),
    lines=st.lists(records, min_size=2, max_size=6),
    keys=st.sampled_from([("id",), (), ("name", "id")]),
    message=st.sampled_from(["", ',"time_extracted":5', ',"version":3,"time_extracted":"2024"']),
)
def test_any_record_is_the_same_with_both_decoders(
    config: dict[str, Any], lines: list[str], keys: tuple[str, ...], message: str
) -> None:
    """The same bytes, STATE, warnings and rejects, in the same order."""
    with tempfile.TemporaryDirectory() as folder:
        typed, untyped = run_both(
            build_lines(lines * 2, keys=keys, message=message), folder, **config
        )
    assert typed == untyped
