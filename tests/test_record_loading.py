"""Records that are read together are loaded as if they came one after the other."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from target_segment_objects.singer.record_blocks import MessageHeader, RecordBlock
from target_segment_objects.sinks import SegmentObjectsSink
from tests.support import record_line, schema_line, state_line
from tests.support.two_decoders import Outcome, run_and_collect

if TYPE_CHECKING:
    from pathlib import Path

PROPERTIES: dict[str, Any] = {
    "id": {"type": "integer"},
    "name": {"type": ["string", "null"]},
    "n": {"type": ["number", "null"]},
}
# The first two share a collection.
STREAMS = ("users", "Users", "orders", "notes")
BROKEN = b'{"type":"RECORD","stream":"%b","record":{"id":1,]}\n'


def load(lines: list[bytes], folder: Path | str, *, at_once: bool, **config: Any) -> Outcome:  # noqa: ANN401
    """Load lines into one collection for the first two streams, and one for each other."""
    return run_and_collect(
        lines,
        SegmentObjectsSink,
        folder,
        at_once=at_once,
        collection_map={"users": "people", "Users": "people"},
        **config,
    )


def encode(line: str) -> bytes:
    """Return a line of the input."""
    return f"{line}\n".encode()


SCHEMAS = {name: encode(schema_line(name, PROPERTIES)) for name in STREAMS}
CHANGED = {name: line.replace(b'"number"', b'"string"') for name, line in SCHEMAS.items()}
streams = st.sampled_from(STREAMS)
valid_records = st.builds(
    lambda number, name, value: {"id": number, "name": name, "n": value},
    st.integers(1, 5),
    st.sampled_from(["x", "y", None]),
    st.sampled_from([1, 2.5, None]),
)
odd_records = st.sampled_from(
    [
        {"id": "six"},
        {"name": "no key"},
        {"id": 7, "more": {"x": 1}},
        {"id": 8, "name": "x" * 600},
        {"id": 9, "name": 5},
    ]
)
records = st.builds(
    lambda name, record: encode(record_line(name, record)), streams, valid_records | odd_records
)
messages = st.one_of(
    records,
    records,
    records,
    st.integers(1, 99).map(lambda number: encode(state_line(number))),
    streams.map(SCHEMAS.__getitem__),
    streams.map(CHANGED.__getitem__),
    streams.map(
        lambda name: encode(json.dumps({"type": "ACTIVATE_VERSION", "stream": name, "version": 1}))
    ),
    st.sampled_from([b"\n", b"  \n"]),
)
broken_lines = st.sampled_from([BROKEN % b"users", BROKEN % b"orders", b"oops\n"])


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    lines=st.lists(messages, min_size=1, max_size=25),
    broken=st.none() | st.tuples(st.integers(0, 25), broken_lines),
    config=st.sampled_from(
        [
            {},
            {"invalid_records": "fail", "dead_letter_path": None},
            {"max_invalid_records": 1},
            {"max_invalid_records": "20%"},
            {"type_changes": "new_property"},
            {"stream_maps": {"users": {"name": "name and name.upper()"}, "notes": None}},
            {"stream_maps": {"copy": {"__source__": "users", "__alias__": "'orders'"}}},
        ]
    ),
)
@example(
    lines=[
        *(encode(record_line(name, {"id": n})) for n, name in enumerate(STREAMS * 2, 1)),
        encode(state_line(1)),
        encode(record_line("users", {"id": "six"})),
        encode(record_line("orders", {"id": 9})),
    ],
    broken=None,
    config={"invalid_records": "fail", "dead_letter_path": None},
)
def test_lines_that_are_read_together_are_loaded_in_order(
    lines: list[bytes], broken: tuple[int, bytes] | None, config: dict[str, Any]
) -> None:
    """The same objects in the same order, STATE, rejects, counts, warnings and exit code.

    What is before a failing line is delivered, and nothing after it. There may be warnings of what
    was read together with it.
    """
    if broken is not None:
        lines = [*lines[: broken[0]], broken[1], *lines[broken[0] :]]
    lines = [*SCHEMAS.values(), *lines, encode(state_line(100))]
    config = {name: value for name, value in config.items() if value is not None}
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        together = load(lines, first, at_once=True, **config)
        alone = load(lines, second, at_once=False, **config)
    assert {*together.warnings} >= {*alone.warnings}
    if together.code == 0:
        assert together.warnings == alone.warnings
    assert select_counts(together.records) == select_counts(alone.records)
    assert alone == dataclasses.replace(together, warnings=alone.warnings, records=alone.records)


def select_counts(records: dict[str, int]) -> dict[str, int]:
    """Return the counts of streams with records: one with a warning alone has a count, too."""
    return {name: count for name, count in records.items() if count}


def test_state_between_records_of_many_streams_covers_what_is_before_it(tmp_path: Path) -> None:
    """The records after it are loaded, and a failure leaves the last STATE before it."""
    numbers = range(1, 41)
    lines = [SCHEMAS["orders"], SCHEMAS["notes"]]
    for number in numbers:
        lines.append(encode(record_line("orders" if number % 2 else "notes", {"id": number})))
        lines.append(encode(state_line(number)))
    lines[2 + 2 * 29] = encode(record_line("notes", {"id": "thirty"}))
    outcome = run_and_collect(lines, SegmentObjectsSink, tmp_path, invalid_records="fail")
    ids = [json.loads(line)["id"] for file in outcome.files for line in file.splitlines()]
    assert outcome.code == 1
    assert sorted(map(int, ids)) == [*range(1, 30)]
    assert outcome.state == [json.dumps(json.loads(state_line(29))["value"], separators=(",", ":"))]


def test_violations_after_the_last_record_are_not_counted(tmp_path: Path) -> None:
    """What was read together with the record that ends the run is not loaded."""
    schema = SCHEMAS["orders"].replace(b'"null"]', b'"null"], "maxLength": 2', 1)
    long = encode(record_line("orders", {"id": 3, "name": "xxx"}))
    lines = [schema, long, encode(record_line("orders", {"id": "x"})), *[long] * 5]
    outcome = run_and_collect(lines, SegmentObjectsSink, tmp_path, invalid_records="fail")
    assert (outcome.records["orders"], outcome.violating) == (2, 1)


def test_lines_before_a_number_are_counted_without_looking_at_every_stream() -> None:
    """A block of many streams and rejects takes no longer for each."""
    block = RecordBlock()
    numbers = [number for number in range(1, 400) if number % 7]
    for number in numbers:
        name = f"s{number % 100 if number % 3 else 'x'}"
        header = MessageHeader("RECORD", name)
        block.start_span(header, frozenset(), number).append(b"{}")
    for number in range(402):
        expected = sum(each < number for each in numbers)
        assert block.count_before(number) == expected
        each_group = (group.count_before(number) for group in block.groups.values())
        assert sum(each_group) == expected


def test_percentage_of_rejects_is_that_of_what_was_read(tmp_path: Path) -> None:
    """A run ends at the record that is one too many, also within lines that are read together."""
    lines = [*SCHEMAS.values()]
    for number in range(1, 1101):
        name = STREAMS[number % 4]
        lines.append(encode(record_line(name, {"id": "x" if number % 50 == 0 else number})))
    lines += [encode(record_line("notes", {"id": "x"}))] * 9
    outcome = load(lines, tmp_path, at_once=True, max_invalid_records="2%", batch_size_rows=1000)
    assert outcome.code == 1
    # 22 of 1,100 are 2 %, and 23 of 1,101 are more.
    assert len(outcome.rejected) == 23
    assert sum(outcome.records.values()) == 1101
