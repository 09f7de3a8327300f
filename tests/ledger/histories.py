"""Random histories of a table and of the runs that load it, for tests of what is marked.

A tap reads a table of at most six rows, in the order of their ids, and says so in the style of one
of the real taps. Between two runs, rows vanish and return. A run may be cut off, as when the tap
dies; another may filter rows, have another schema, or fail in another way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from hypothesis import strategies as st

from tests.support import schema_line

Style: TypeAlias = Literal["closing", "opening", "listed", "incremental", "partitioned"]
Kind: TypeAlias = Literal["complete", "dies", "filtered", "changed", "failed", "refused", "reset"]

STREAM: Final = "users"
IDS: Final = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Step:
    """A run, and what the table is before it.

    Attributes:
        kind: What happens in the run.
        rows: The ids of the table's rows.
        cut: Where the input is cut off, for a tap that dies: messages that are left out.
    """

    kind: Kind
    rows: frozenset[int]
    cut: int = 1


@dataclass(frozen=True)
class History:
    """The runs of a tap.

    Attributes:
        style: How the tap says what it reads.
        steps: The runs.
    """

    style: Style
    steps: tuple[Step, ...]


RESUMED_TWICE: Final = History(
    "closing",
    (
        *[Step("complete", frozenset({1, 2, 3, 4}))] * 2,
        *[
            Step("dies", frozenset({1, 2, 3, 4}), 4),
            Step("complete", frozenset({1, 2, 3, 4})),
        ]
        * 2,
    ),
)
"""A tap that resumes an interrupted table, twice."""


@dataclass
class Run:
    """The input of a run.

    Attributes:
        kind: What happens in it.
        rows: The ids of the table's rows.
        lines: The messages.
        config: Settings for this run.
        is_clean: Whether it shows, by the documentation, that all rows of the table came.
        is_refused: Whether Segment refuses everything.
    """

    kind: Kind
    rows: frozenset[int]
    lines: list[str]
    config: dict[str, Any] = field(default_factory=dict)
    is_clean: bool = False
    is_refused: bool = False


class Tap:
    """Writes the messages of one run after the other."""

    def __init__(self, style: Style) -> None:
        """Begin without a bookmark."""
        self.style = style
        self._clock = 1000
        self._version: int | None = None  # of an incremental stream, or of an interrupted table
        self._is_first = True
        self._resume_after = 0  # the id up to which an interrupted table was read
        self._mapping = 0
        self._previous_mapping: tuple[int, bool] | None = None

    def build_run(self, step: Step) -> Run:
        """Return the input of a run."""
        if step.kind == "reset":
            self._version, self._is_first, self._resume_after = None, True, 0
        if step.kind == "changed":
            self._mapping += 1
        is_resumed = self._resume_after > 0
        has_repeats = self._is_first and self.style == "closing"
        messages = getattr(self, f"_read_{self.style}")(sorted(step.rows))
        if step.kind == "dies":
            messages = messages[: max(1, len(messages) - step.cut)]
        lines = [json.dumps(message) for message in messages]
        run = Run(step.kind, step.rows, [self._build_schema(), *lines])
        if step.kind == "filtered":
            run.config["stream_maps"] = {STREAM: {"__filter__": "record['id'] != 2"}}
        if step.kind == "failed":
            run.lines.insert(len(run.lines) // 2, "{broken")
        run.is_refused = step.kind == "refused"
        mapping = (self._mapping, step.kind == "filtered")
        run.is_clean = (
            step.kind in {"complete", "refused", "reset"}
            and self._previous_mapping == mapping
            and self.style in {"closing", "opening", "listed"}
            and not is_resumed
            and not (self.style == "closing" and has_repeats)
            and bool(step.rows)  # an empty table is marked when the user accepts it
        )
        self._previous_mapping = mapping
        self._keep_bookmark(step, messages)
        return run

    def _keep_bookmark(self, step: Step, messages: list[dict[str, Any]]) -> None:
        """Resume an interrupted table where its last STATE was."""
        self._is_first = False
        if self.style != "closing":
            return
        states = [message["value"] for message in messages if message["type"] == "STATE"]
        self._resume_after = states[-1].get("after", 0) if step.kind == "dies" and states else 0
        if not self._resume_after:
            self._version = None

    def _build_schema(self) -> str:
        names = {f"column_{number}": {"type": "integer"} for number in range(self._mapping)}
        return schema_line(STREAM, {"id": {"type": "integer"}, **names})

    def _next_version(self) -> int:
        self._clock += 1
        return self._clock

    def _read_closing(self, rows: list[int]) -> list[dict[str, Any]]:
        """As singer-io and PipelineWise do: the version after the records, a STATE between."""
        if self._version is None:
            self._version = self._next_version()
        version = self._version
        messages: list[dict[str, Any]] = [state({"version": version})]
        if self._is_first:
            messages.append(activation(version))
        for count, row in enumerate((r for r in rows if r > self._resume_after), start=1):
            messages.append(record(row, version))
            if count % 2 == 0:
                messages.append(state({"version": version, "after": row}))
        return [*messages, activation(version), state({"version": version, "done": version})]

    def _read_opening(self, rows: list[int]) -> list[dict[str, Any]]:
        """As the SDK does: the version before the records, a STATE at the end alone."""
        version = self._next_version()
        records = [record(row, version) for row in rows]
        return [activation(version), *records, state({"run": version})]

    def _read_listed(self, rows: list[int]) -> list[dict[str, Any]]:
        """Without a version."""
        return [*(record(row) for row in rows), state({"run": self._next_version()})]

    def _read_incremental(self, rows: list[int]) -> list[dict[str, Any]]:
        """The stored version, and the newest rows."""
        if self._version is None:
            self._version = self._next_version()
        newest = rows if self._is_first else rows[-2:]
        records = [record(row, self._version) for row in newest]
        return [activation(self._version), *records, state({"run": self._next_version()})]

    def _read_partitioned(self, rows: list[int]) -> list[dict[str, Any]]:
        """As the SDK does for the children of an incremental stream: some of them, in parts."""
        version = self._next_version()
        parts = [rows[:2], rows[2:4], rows[4:]]
        changed = parts if self._is_first else [parts[version % 3]]
        messages = []
        for part in changed:
            messages += [activation(version), *(record(row, version) for row in part)]
            messages.append(state({"bookmarks": {STREAM: {"partitions": [{}]}}, "run": version}))
        return messages


def record(row: int, version: int | None = None) -> dict[str, Any]:
    """Return a RECORD message."""
    versions = {} if version is None else {"version": version}
    return {"type": "RECORD", "stream": STREAM, "record": {"id": row}, **versions}


def activation(version: int) -> dict[str, Any]:
    """Return an ACTIVATE_VERSION message."""
    return {"type": "ACTIVATE_VERSION", "stream": STREAM, "version": version}


def state(value: dict[str, Any]) -> dict[str, Any]:
    """Return a STATE message."""
    return {"type": "STATE", "value": value}


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw a history; its first run is the tap's and the ledger's first, and is complete."""
    style: Style = draw(
        st.sampled_from(("closing", "closing", "opening", "listed", "incremental", "partitioned"))
    )
    kinds: list[Kind] = ["complete", "complete", "complete", "dies", "filtered", "changed"]
    kinds += ["failed", "refused"]
    if style == "closing":
        kinds.append("reset")
    steps = [Step("complete", frozenset(IDS))]
    rows = frozenset(IDS)
    for _ in range(draw(st.integers(2, 8))):
        rows = rows.symmetric_difference(draw(st.frozensets(st.sampled_from(IDS), max_size=2)))
        steps.append(Step(draw(st.sampled_from(kinds)), rows, draw(st.integers(1, 8))))
    return History(style, tuple(steps))


def find_due(runs: list[Run], after_runs: int) -> set[int]:
    """Return the rows that, by the documentation, are marked when the last run has ended."""
    recent = runs[-after_runs:]
    if len(recent) < after_runs or not all(run.is_clean for run in recent):
        return set()
    known = {row for run in runs[:-after_runs] for row in run.rows}
    return known - frozenset().union(*(run.rows for run in recent))
