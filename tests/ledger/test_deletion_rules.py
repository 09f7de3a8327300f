"""The decision which streams were read completely, and the guard, without a file or a target."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from target_segment_objects.ledger import deletion_rules
from target_segment_objects.ledger.deletion_evidence import InputEvidence
from target_segment_objects.ledger.deletion_rules import (
    Activation,
    RunReading,
    StreamHistory,
    StreamReading,
    count_missing_runs,
    exceeds_limit,
    judge_run,
)
from tests.ledger.histories import (
    RESUMED_TWICE,
    STREAM,
    History,
    Run,
    Step,
    Tap,
    find_due,
    histories,
)

if TYPE_CHECKING:
    from collections.abc import Callable

COMPLETE = StreamReading(
    "users", b"a", records=3, versions=frozenset({2}), activations=(Activation(2, 3),)
)
HISTORY = StreamHistory(b"a", versions=(1,))


class Model:
    """What a ledger keeps, in dicts.

    Attributes:
        marked: The rows that are marked as deleted.
    """

    def __init__(self, after_runs: int, *, listed: bool) -> None:
        """Begin without a run."""
        self.marked: set[int] = set()
        self._after_runs = after_runs
        self._listed = [STREAM] if listed else []
        self._history: StreamHistory | None = None
        self._missing: dict[int, int] = {}
        self._known: set[int] = set()

    def load_run(self, run: Run) -> None:
        """Judge a run, and count and mark what is missing."""
        evidence = InputEvidence(self._listed)
        seen: set[int] = set()
        ended_well = True
        for line in run.lines:
            if not line.startswith('{"'):
                ended_well = False
                break
            message = json.loads(line)
            if message["type"] == "SCHEMA":
                mapping = json.dumps([message["schema"], run.config])
                is_filtered = bool(run.config)
                evidence.add_schema(
                    STREAM, STREAM, collection="users", mapping=mapping, is_filtered=is_filtered
                )
            elif message["type"] == "ACTIVATE_VERSION":
                evidence.add_version(STREAM, message["version"])
                evidence.add_activation(STREAM, message["version"], {STREAM: len(seen)})
            elif message["type"] == "STATE":
                evidence.add_state(message["value"], len(seen))
            else:
                evidence.add_version(STREAM, message.get("version"))
                seen.add(message["record"]["id"])
        read = len(seen)
        if run.config:
            seen.discard(2)  # the stream map filters it
        reading = evidence.summarize({STREAM: read}, ended_well=ended_well)
        self._judge(reading, seen, is_partitioned=evidence.is_partitioned(STREAM))

    def _judge(self, reading: RunReading, seen: set[int], *, is_partitioned: bool) -> None:
        history = self._history
        stream = reading.streams[STREAM]
        histories = {} if history is None else {STREAM: history}
        is_complete = judge_run(reading, histories, {"users": [STREAM]})[STREAM] is None
        self.marked -= seen
        for row in seen:
            self._missing.pop(row, None)
        if is_complete and history is not None:
            for row in self._known - seen:
                previous = self._missing.get(row, 0)
                self._missing[row] = count_missing_runs(previous, was_judged=history.was_judged)
                if self._missing[row] >= self._after_runs and stream.records:
                    self.marked.add(row)
        self._known |= seen
        old = history or StreamHistory(b"")
        self._history = StreamHistory(
            stream.fingerprint,
            (*old.versions, *sorted(stream.versions)),
            was_partitioned=old.was_partitioned or is_partitioned,
            was_judged=is_complete,
        )


FILTERED = History(
    "opening",
    (
        *[Step("complete", frozenset({1, 2, 3}))] * 2,
        *[Step("filtered", frozenset({1, 2, 3}))] * 3,
    ),
)


def check_history(history: History, after_runs: int) -> None:
    """Load a history into the model, and check what is marked after each run."""
    tap, model = Tap(history.style), Model(after_runs, listed=history.style == "listed")
    runs: list[Run] = []
    for step in history.steps:
        runs.append(tap.build_run(step))
        before = set(model.marked)
        model.load_run(runs[-1])
        assert not (model.marked - before) & step.rows
        assert find_due(runs, after_runs) <= model.marked


@settings(max_examples=300)
@given(history=histories(), after_runs=st.integers(1, 3))
@example(history=RESUMED_TWICE, after_runs=2)
def test_only_rows_that_are_gone_are_marked(history: History, after_runs: int) -> None:
    """No live row is marked by any run; a row that was gone for enough complete runs is marked."""
    check_history(history, after_runs)


def ignore_old_versions(stream: StreamReading, history: StreamHistory) -> tuple[object, ...]:
    """Trust each version, as if it were new."""
    return stream, replace(history, versions=())


def ignore_partitions(stream: StreamReading, history: StreamHistory) -> tuple[object, ...]:
    """Trust a version that is activated for a part of a stream."""
    return (
        replace(stream, is_partitioned=False, activations=stream.activations[:1]),
        replace(history, was_partitioned=False),
    )


def ignore_filters(stream: StreamReading, history: StreamHistory) -> tuple[object, ...]:
    """Trust what a stream map filters."""
    return replace(stream, is_filtered=False), history


@pytest.mark.parametrize(
    "ignore",
    [ignore_old_versions, ignore_partitions, ignore_filters],
    ids=lambda ignore: ignore.__name__,
)
def test_each_rule_is_needed(
    monkeypatch: pytest.MonkeyPatch, ignore: Callable[..., tuple[object, ...]]
) -> None:
    """Without one of the rules, the test above fails: it marks live rows."""
    find_doubt = deletion_rules._find_stream_doubt  # noqa: SLF001 - the rules, to be weakened

    def find_less_doubt(stream: StreamReading, history: StreamHistory | None) -> str | None:
        if history is None:
            return find_doubt(stream, history)
        return find_doubt(*ignore(stream, history))  # type: ignore[arg-type]

    monkeypatch.setattr(deletion_rules, "_find_stream_doubt", find_less_doubt)

    @settings(max_examples=500, database=None)
    @given(history=histories())
    @example(history=RESUMED_TWICE)
    @example(history=FILTERED)
    def check(history: History) -> None:
        check_history(history, 2)

    with pytest.raises(AssertionError):
        check()


@pytest.mark.parametrize(
    ("stream", "history", "word"),
    [
        (COMPLETE, None, "first run"),
        (replace(COMPLETE, fingerprint=b"b"), HISTORY, "have changed"),
        (replace(COMPLETE, is_filtered=True), HISTORY, "filters"),
        (replace(COMPLETE, is_merged=True), HISTORY, "several streams"),
        (replace(COMPLETE, has_lost_ids=True), HISTORY, "no id"),
        (replace(COMPLETE, versions=frozenset({1, 2})), HISTORY, "earlier run"),
        (replace(COMPLETE, activations=()), HISTORY, "full_table_streams"),
        (replace(COMPLETE, activations=(), records=0, is_listed=True), HISTORY, "no record"),
        (
            replace(COMPLETE, activations=(Activation(2, 0), Activation(2, 3))),
            HISTORY,
            "more than once",
        ),
        (replace(COMPLETE, activations=(Activation(2, 1),)), HISTORY, "between its records"),
        (
            replace(COMPLETE, activations=(Activation(2, 0),), parent="orders"),
            HISTORY,
            "for rows of stream 'orders'",
        ),
        (
            replace(COMPLETE, activations=(Activation(2, 0),), is_partitioned=True),
            HISTORY,
            "partitions",
        ),
        (
            replace(COMPLETE, activations=(Activation(2, 0),)),
            replace(HISTORY, was_partitioned=True),
            "partitions",
        ),
    ],
    ids=[
        "first run",
        "changed mapping",
        "filtered",
        "merged",
        "lost ids",
        "old version",
        "no version",
        "listed, without a record",
        "versions before and after",
        "version between the records",
        "child",
        "partitioned",
        "once partitioned",
    ],
)
def test_stream_that_is_not_judged(
    stream: StreamReading, history: StreamHistory | None, word: str
) -> None:
    """Each doubt is a reason, which says what it is."""
    histories = {} if history is None else {"users": history}
    run = RunReading({"users": stream}, ended_well=True, ends_with_state=True)
    assert word in (judge_run(run, histories, {"users": ["users"]})["users"] or "")


@pytest.mark.parametrize(
    "stream",
    [
        COMPLETE,
        replace(COMPLETE, activations=(Activation(2, 0),)),
        replace(COMPLETE, activations=(), versions=frozenset(), is_listed=True),
        replace(COMPLETE, activations=(Activation(2, 0),), is_partitioned=True, is_listed=True),
        replace(COMPLETE, activations=(Activation(2, 0),), parent="orders", is_listed=True),
        replace(COMPLETE, parent="orders"),
    ],
    ids=["after", "before", "listed", "listed, partitioned", "listed child", "after, in between"],
)
@pytest.mark.parametrize(
    ("ended_well", "ends_with_state"), [(True, True), (False, True), (True, False)]
)
def test_stream_that_is_judged(
    *, stream: StreamReading, ended_well: bool, ends_with_state: bool
) -> None:
    """A stream without a doubt is judged if the run ended well, with a STATE."""
    run = RunReading({"users": stream}, ended_well=ended_well, ends_with_state=ends_with_state)
    doubt = judge_run(run, {"users": HISTORY}, {"users": ["users"]})["users"]
    assert (doubt is None) == (ended_well and ends_with_state)


def test_streams_of_one_collection_are_judged_together() -> None:
    """An object may be another stream's: one that is absent, or not complete, is a doubt."""
    run = RunReading(
        {"a": COMPLETE, "b": replace(COMPLETE, activations=())},
        ended_well=True,
        ends_with_state=True,
    )
    histories = {"a": HISTORY, "b": HISTORY}
    doubts = judge_run(run, histories, {"users": ["a", "b"]})
    assert "stream 'b' of the same collection" in (doubts["a"] or "")
    alone = RunReading({"a": COMPLETE}, ended_well=True, ends_with_state=True)
    assert judge_run(alone, histories, {"users": ["a", "b"]})["a"] is not None
    assert judge_run(alone, histories, {"users": ["a"]})["a"] is None


@pytest.mark.parametrize(
    ("count", "known", "percent", "expected"),
    [
        (100, 100, 10, False),
        (101, 101, 10, True),
        (101, 1010, 10, False),
        (101, 1009, 10, True),
        (101, 101, 100, False),
        (101, 100_000, 0, True),
        (100, 100, 0, False),
        (1, None, 10, True),
        (0, None, 10, False),
    ],
)
def test_guard(count: int, known: int | None, percent: float, *, expected: bool) -> None:
    """100 objects may always be marked, more only up to the limit; what is unknown is too much."""
    assert exceeds_limit(count, known, percent) == expected


def test_guard_of_an_empty_stream() -> None:
    """One object of a stream that had no record is too much."""
    assert exceeds_limit(1, 100_000, 100, of_empty_streams=1)
