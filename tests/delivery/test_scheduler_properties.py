"""The four laws of delivery, for random input and whatever a network and a service can do."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from target_segment_objects.cli.load import load
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment import client
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, schema_line, state_line
from tests.support.faulty_proxy import FAULTS, FaultyProxy, ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Streams that share a collection at the user's word, beside one that does not.
COLLECTIONS = {"orders": "orders", "orders_eu": "orders", "users": "users"}
VERSIONS = (
    {"id": {"type": "integer"}, "a": {"type": ["integer", "null"]}},
    {
        "id": {"type": "integer"},
        "a": {"type": ["integer", "null"]},
        "b": {"type": ["integer", "null"]},
    },
)
HANG_SECONDS = 0.3


@dataclass
class Tap:
    """What a tap would say, and what a warehouse holds once it has landed."""

    messages: list[tuple[str, Any]]
    """Pairs of what it is and what it says: `("state", 3)`, `("schema", ("users", 1))`, …"""

    def lines(self, after: int | None) -> Iterator[str]:
        """Yield the messages behind a STATE as a tap says them that begins there."""
        begun = after is None
        versions: dict[str, int] = dict.fromkeys(COLLECTIONS, 0)
        if begun:
            yield from (schema_line(stream, VERSIONS[0]) for stream in COLLECTIONS)
        for kind, said in self.messages:
            if kind == "schema":
                versions[said[0]] = said[1]
            if begun:
                yield _line(kind, said)
            elif (kind, said) == ("state", after):
                begun = True
                for stream, version in versions.items():
                    yield schema_line(stream, VERSIONS[version])

    def objects(self, collection: str, until: int | None = None) -> list[dict[str, Any]]:
        """Return a collection's records in order, those before a STATE or all."""
        records = []
        for kind, said in self.messages:
            if (kind, said) == ("state", until):
                break
            if kind == "record" and COLLECTIONS[said[0]] == collection:
                records.append(said[1])
        return records


def _line(kind: str, said: Any) -> str:  # noqa: ANN401 - each kind says something else
    if kind == "state":
        return state_line({"at": said})
    if kind == "schema":
        return schema_line(said[0], VERSIONS[said[1]])
    return record_line(*said)


def merged(records: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return what Segment makes of a collection's records: the last word on each property."""
    rows: dict[int, dict[str, Any]] = {}
    for record in records:
        rows.setdefault(record["id"], {}).update(record)
    return rows


@st.composite
def taps(draw: st.DrawFn) -> Tap:
    """Records of few ids, so that order matters, among STATEs and changed SCHEMAs."""
    versions: dict[str, int] = dict.fromkeys(COLLECTIONS, 0)
    messages: list[tuple[str, Any]] = []
    kinds = st.sampled_from(("record",) * 6 + ("state",) * 3 + ("schema",))
    for number, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=40))):
        stream = draw(st.sampled_from(sorted(COLLECTIONS)))
        if kind == "state":
            messages.append(("state", number))
        elif kind == "schema":
            versions[stream] = 1 - versions[stream]
            messages.append(("schema", (stream, versions[stream])))
        else:
            record: dict[str, int | None] = {"id": draw(st.integers(1, 3)), "a": number}
            if versions[stream]:
                record["b"] = draw(st.sampled_from((None, -number)))
            messages.append(("record", (stream, record)))
    return Tap(messages)


@st.composite
def scripts(draw: st.DrawFn) -> list[str | None]:
    """Requests that go well, among faults that pass and faults that last longer than retries do."""
    spells = draw(
        st.lists(
            st.tuples(st.none() | st.sampled_from(FAULTS), st.sampled_from((1, 1, 2, 3, 9))),
            max_size=8,
        )
    )
    return [step for step, length in spells for _ in range(length)]


@dataclass
class Outcome:
    """How a run went."""

    code: int
    states: list[int] = field(default_factory=list)


def run(lines: Iterator[str], config: dict[str, Any]) -> Outcome:
    """Run the target to its end in this process."""
    told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    target = TargetSegmentObjects(config=config)
    with redirect_stdout(told):
        code = load(target, io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    told.seek(0)
    return Outcome(code, [json.loads(line)["at"] for line in told])


def landed(sandbox: Sandbox, collection: str) -> dict[int, dict[str, Any]]:
    """Return a collection's rows by id, without the columns that hold nothing."""
    if collection not in sandbox.warehouse.collections():
        return {}
    return {
        int(row["id"]): {name: value for name, value in row.items() if value is not None}
        for row in sandbox.warehouse.rows(collection)
    }


def without_nulls(rows: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return a model's rows as `landed` returns them: the id as the warehouse has it."""
    return {
        number: {
            **{name: value for name, value in row.items() if value is not None},
            "id": str(number),
        }
        for number, row in rows.items()
    }


def check_promise(tap: Tap, sandbox: Sandbox, state: int | None) -> None:
    """Check that each collection is as after its first so many objects, those before STATE all."""
    for collection in set(COLLECTIONS.values()):
        objects = tap.objects(collection)
        promised = 0 if state is None else len(tap.objects(collection, until=state))
        possible = [
            without_nulls(merged(objects[:count])) for count in range(promised, len(objects) + 1)
        ]
        assert landed(sandbox, collection) in possible


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client wait milliseconds between tries."""
    monkeypatch.setattr(client, "MAX_BACKOFF_SECONDS", 0.005)


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    tap=taps(),
    script=scripts(),
    batch_size=st.sampled_from((1, 1, 2, 3, 8)),
    parallel=st.integers(1, 3),
    retries=st.integers(0, 2),
)
def test_whatever_happens_state_keeps_its_promise_and_a_second_run_completes(
    tap: Tap, script: list[str | None], batch_size: int, parallel: int, retries: int
) -> None:
    """After a run, good or not, the warehouse is never behind STATE; from there the rest lands."""
    clock = ManualClock()
    config = {
        "write_key": "k",
        "collection_map": COLLECTIONS,
        "batch_size_rows": batch_size,
        "max_parallel_sessions": parallel,
        "max_retries": retries,
        "request_timeout_seconds": HANG_SECONDS / 2,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox(Path(folder) / "w.duckdb", clock=clock) as sandbox,
        FaultyProxy(sandbox.url, script, clock=clock, hang_seconds=HANG_SECONDS) as proxy,
    ):
        first = run(tap.lines(None), {**config, "api_url": proxy.url})
        event(f"exit code {first.code}, {'some' if first.states else 'no'} STATE")
        told = [said for kind, said in tap.messages if kind == "state"]
        assert first.states == sorted(set(first.states))
        assert set(first.states) <= set(told)
        last = first.states[-1] if first.states else None
        check_promise(tap, sandbox, last)
        if first.code == 0 and told:
            assert last == told[-1]
        second = run(
            tap.lines(last),
            {**config, "api_url": sandbox.url, "request_timeout_seconds": 30},
        )
        assert second.code == 0
        for collection in set(COLLECTIONS.values()):
            assert landed(sandbox, collection) == without_nulls(merged(tap.objects(collection)))
