"""The invariants of delivery, for random input and random failures of network and service."""

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

from target_segment_objects.cli.load import load_input
from target_segment_objects.delivery.scheduler import DeliveryOptions, DeliveryScheduler
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import SegmentObjectsError
from target_segment_objects.run.output import LedgerBinding
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment import client
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, schema_line, state_line
from tests.support.faulty_proxy import FAULTS, FaultyProxy, ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Two streams that share a collection, and one that does not.
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
    """The messages of a tap, and what a warehouse holds once they have landed."""

    messages: list[tuple[str, Any]]
    """Pairs of kind and content: `("state", 3)`, `("schema", ("users", 1))`, …"""

    def lines(self, after: int | None) -> Iterator[str]:
        """Yield the messages of a tap that resumes from a STATE."""
        has_started = after is None
        versions: dict[str, int] = dict.fromkeys(COLLECTIONS, 0)
        if has_started:
            yield from (schema_line(stream, VERSIONS[0]) for stream in COLLECTIONS)
        for kind, content in self.messages:
            if kind == "schema":
                versions[content[0]] = content[1]
            if has_started:
                yield _format_message(kind, content)
            elif (kind, content) == ("state", after):
                has_started = True
                for stream, version in versions.items():
                    yield schema_line(stream, VERSIONS[version])

    def objects(self, collection: str, until: int | None = None) -> list[dict[str, Any]]:
        """Return a collection's records in order, those before a STATE or all."""
        records = []
        for kind, content in self.messages:
            if (kind, content) == ("state", until):
                break
            if kind == "record" and COLLECTIONS[content[0]] == collection:
                records.append(content[1])
        return records


def _format_message(kind: str, content: Any) -> str:  # noqa: ANN401 - it depends on the kind
    if kind == "state":
        return state_line({"at": content})
    if kind == "schema":
        return schema_line(content[0], VERSIONS[content[1]])
    return record_line(*content)


def merge_records(records: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return a collection's rows as Segment merges them: the last value of each property."""
    rows: dict[int, dict[str, Any]] = {}
    for record in records:
        rows.setdefault(record["id"], {}).update(record)
    return rows


@st.composite
def taps(draw: st.DrawFn) -> Tap:
    """Generate records of few ids, so that order matters, with STATEs and changed SCHEMAs."""
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
    """Generate faults of random length, some of which outlast the retries."""
    faults = draw(
        st.lists(
            st.tuples(st.none() | st.sampled_from(FAULTS), st.sampled_from((1, 1, 2, 3, 9))),
            max_size=8,
        )
    )
    return [step for step, length in faults for _ in range(length)]


@dataclass
class Outcome:
    """The result of a run."""

    code: int
    states: list[int] = field(default_factory=list)


def run_target(lines: Iterator[str], config: dict[str, Any]) -> Outcome:
    """Run the target in this process."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    target = TargetSegmentObjects(config=config)
    with redirect_stdout(output):
        code = load_input(
            target,
            io.BytesIO("".join(f"{line}\n" for line in lines).encode()),
            ledger=LedgerBinding(destination="the sandbox of the test"),  # also behind a proxy
        )
    output.seek(0)
    return Outcome(code, [json.loads(line)["at"] for line in output])


def read_rows(sandbox: Sandbox, collection: str) -> dict[int, dict[str, Any]]:
    """Return a collection's rows by id, without null columns."""
    if collection not in sandbox.warehouse.collections():
        return {}
    return {
        int(row["id"]): {name: value for name, value in row.items() if value is not None}
        for row in sandbox.warehouse.rows(collection)
    }


def drop_nulls(rows: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return expected rows in the form of `read_rows`."""
    return {
        number: {
            **{name: value for name, value in row.items() if value is not None},
            "id": str(number),
        }
        for number, row in rows.items()
    }


def check_guarantee(tap: Tap, sandbox: Sandbox, state: int | None) -> None:
    """Check that each collection equals a prefix of its objects, with all before the STATE."""
    for collection in set(COLLECTIONS.values()):
        objects = tap.objects(collection)
        covered = 0 if state is None else len(tap.objects(collection, until=state))
        possible = [
            drop_nulls(merge_records(objects[:count])) for count in range(covered, len(objects) + 1)
        ]
        assert read_rows(sandbox, collection) in possible


def check_rows(tap: Tap, sandbox: Sandbox) -> None:
    """Check that each collection equals all of its objects."""
    for collection in set(COLLECTIONS.values()):
        assert read_rows(sandbox, collection) == drop_nulls(merge_records(tap.objects(collection)))


@pytest.fixture(autouse=True)
def _shorten_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client wait milliseconds between attempts."""
    monkeypatch.setattr(client, "MAX_BACKOFF_SECONDS", 0.005)


@pytest.mark.slow
@pytest.mark.parametrize("with_ledger", [False, True], ids=["without ledger", "with ledger"])
@settings(
    max_examples=30,
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
def test_second_run_from_the_last_state_completes_a_failed_one(
    *,
    with_ledger: bool,
    tap: Tap,
    script: list[str | None],
    batch_size: int,
    parallel: int,
    retries: int,
) -> None:
    """After any run, the warehouse holds what its last STATE covers; from there, the rest lands.

    With a ledger, too; and a third run, which reads everything once more, changes nothing.
    """
    clock = ManualClock()
    config: dict[str, Any] = {
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
        if with_ledger:
            config["ledger_path"] = str(Path(folder) / "ledger.sqlite")
        first = run_target(tap.lines(None), {**config, "api_url": proxy.url})
        event(f"exit code {first.code}, {'some' if first.states else 'no'} STATE")
        states = [content for kind, content in tap.messages if kind == "state"]
        assert first.states == sorted(set(first.states))
        assert set(first.states) <= set(states)
        last = first.states[-1] if first.states else None
        check_guarantee(tap, sandbox, last)
        if first.code == 0 and states:
            assert last == states[-1]
        second = run_target(
            tap.lines(last),
            {**config, "api_url": sandbox.url, "request_timeout_seconds": 30},
        )
        assert second.code == 0
        check_rows(tap, sandbox)
        if with_ledger:
            third = run_target(tap.lines(None), {**config, "api_url": sandbox.url})
            assert third.code == 0
            check_rows(tap, sandbox)


@dataclass
class PartedLoad:
    """Objects and STATEs that are delivered without the target, in files of one object each."""

    objects: list[tuple[str, int]] = field(default_factory=list)
    """Pairs of collection and id; the number of the pair is the object's property."""

    states: list[int] = field(default_factory=list)
    """The STATEs that were written: how many objects each of them covers."""

    def deliver(self, url: str, folder: Path, options: DeliveryOptions, retries: int) -> bool:
        """Deliver all objects, with a STATE after each; return whether that succeeded."""
        spool = Spool(str(folder))
        with client.Client(
            "k", api_url=url, max_retries=retries, timeout_seconds=HANG_SECONDS / 2
        ) as api:
            delivery = DeliveryScheduler(
                api, spool, write_state=self.states.append, options=options
            )
            succeeded = True
            try:
                for number, (collection, object_id) in enumerate(self.objects):
                    delivery.add_object(collection, _format_object(collection, object_id, number))
                    delivery.add_state(number + 1)
            except SegmentObjectsError:
                succeeded = False
            try:
                delivery.drain()
            except SegmentObjectsError:
                succeeded = False
        spool.close()
        return succeeded

    def build_rows(self, collection: str, count: int) -> dict[int, dict[str, Any]]:
        """Return a collection's rows after so many of all objects."""
        return {
            object_id: {"id": str(object_id), "n": number}
            for number, (name, object_id) in enumerate(self.objects[:count])
            if name == collection
        }


def _format_object(collection: str, object_id: int, number: int) -> bytes:
    return json.dumps(
        {"id": str(object_id), "collection": collection, "properties": {"n": number}}
    ).encode()


@pytest.mark.slow
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    objects=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2)), min_size=4, max_size=16),
    script=st.lists(st.sampled_from((None, None, None, "late", "reset after", "500")), max_size=30),
    batch_size=st.integers(2, 5),
    parallel=st.integers(1, 2),
    retries=st.integers(1, 2),
)
def test_order_holds_in_sessions_of_many_parts(
    objects: list[tuple[str, int]],
    script: list[str | None],
    batch_size: int,
    parallel: int,
    retries: int,
) -> None:
    """Late uploads included: each collection equals a prefix of its objects, with the STATE's."""
    clock = ManualClock()
    load = PartedLoad(objects)
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox(Path(folder) / "w.duckdb", clock=clock) as sandbox,
        FaultyProxy(sandbox.url, script, clock=clock, hang_seconds=HANG_SECONDS) as proxy,
    ):
        options = DeliveryOptions(
            batch_size_rows=batch_size, max_file_bytes=60, max_parallel_sessions=parallel
        )
        succeeded = load.deliver(proxy.url, Path(folder), options, retries)
        event(f"{'succeeded' if succeeded else 'failed'}, {proxy.requests.count('start')} sessions")
        assert load.states == sorted(set(load.states))
        covered = load.states[-1] if load.states else 0
        if succeeded:
            assert covered == len(objects)
        for collection in "ab":
            possible = [
                load.build_rows(collection, count) for count in range(covered, len(objects) + 1)
            ]
            assert read_rows(sandbox, collection) in possible
