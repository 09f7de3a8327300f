"""What a run says that it did: for programs as METRIC lines, for people in plain lines."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

from rich.console import Console

from target_segment_objects.delivery.uploader import SessionReport
from target_segment_objects.reporting.summary import RunStats, print_summary
from target_segment_objects.sandbox.server import Sandbox
from tests.support import record_line, schema_line, state_line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import RunTarget

USERS = schema_line("Users", {"id": {"type": "integer"}})
ORDERS = schema_line("orders", {"id": {"type": "integer"}, "n": {"type": "integer"}})
LINES = [
    USERS,
    *(record_line("Users", {"id": number}) for number in range(5)),
    ORDERS,
    record_line("orders", {"id": 1, "n": 1}),
    record_line("orders", {"id": "no number"}),
    state_line({"at": 1}),
]


def metrics_of(printed: str) -> list[dict[str, Any]]:
    """Return what the METRIC lines of a log say."""
    return [json.loads(found) for found in re.findall(r"METRIC: (\{.*\})$", printed, re.MULTILINE)]


def test_each_session_has_a_metric_with_what_support_asks_for(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path
) -> None:
    """Its sync_id, its part_ids, how much it held, and how long it took."""
    done = run_target(
        lines=LINES,
        config={
            "write_key": "k",
            "api_url": sandbox.url,
            "batch_size_rows": 3,
            "invalid_records": "dead_letter",
            "dead_letter_path": str(tmp_path / "rejects.singer"),
        },
    )
    assert done.returncode == 0, done.stderr
    told = {
        one["tags"]["sync_id"]: one
        for one in metrics_of(done.stderr)
        if one["metric"] == "batch_processing_time"
    }
    rows = {row.sync_id: row for row in sandbox.warehouse.sessions()}
    assert told.keys() == rows.keys()
    assert len(rows) == 3
    for sync_id, row in rows.items():
        tags = told[sync_id]["tags"]
        assert (tags["objects"], tags["raw_bytes"]) == (row.objects, row.raw_bytes)
        assert (tags["gzip_bytes"], len(tags["part_ids"])) == (row.gzip_bytes, row.parts)
        assert [tags["collection"]] == list(row.collections)
        assert tags["status"] == "succeeded"
        assert told[sync_id]["value"] > 0


def test_the_end_of_a_run_has_figures_of_each_collection_and_of_the_whole(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path
) -> None:
    """What was read, sent and rejected, as METRIC lines and as plain ones, and equal in both."""
    done = run_target(
        lines=LINES,
        config={
            "write_key": "k",
            "api_url": sandbox.url,
            "invalid_records": "dead_letter",
            "dead_letter_path": str(tmp_path / "rejects.singer"),
        },
    )
    metrics = metrics_of(done.stderr)
    figures = {
        one["tags"]["collection"]: one["tags"] for one in metrics if one["metric"] == "batch_count"
    }
    assert figures.keys() == {"users", "orders"}
    names = ("objects_read", "objects_sent", "objects_rejected", "sessions")
    assert [figures["users"][name] for name in names] == [5, 5, 0, 1]
    assert [figures["orders"][name] for name in names] == [2, 1, 1, 1]
    (job,) = (one for one in metrics if one["metric"] == "job_duration")
    assert [job["tags"][name] for name in names] == [7, 6, 1, 2]
    assert (job["tags"]["records"], job["tags"]["status"]) == (7, "succeeded")
    sizes = [(row.raw_bytes, row.gzip_bytes) for row in sandbox.warehouse.sessions()]
    raw, packed = map(sum, zip(*sizes, strict=True))
    assert (job["tags"]["raw_bytes"], job["tags"]["gzip_bytes"]) == (raw, packed)
    assert "Collection orders: 2 read, 1 sent, 1 rejected, " in done.stderr
    assert (
        f"7 records read, 6 objects sent in 2 session(s), 1 rejected, 0 not delivered: {raw} bytes "
        f"({packed} gzipped) in " in done.stderr
    )


def test_what_was_not_delivered_is_told_before_the_problem(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """A run that fails says how much did not land; the last line is why."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        done = run_target(
            lines=LINES[:6], config={"write_key": "wrong-key", "api_url": sandbox.url}
        )
    assert done.returncode == 1
    assert "5 records read, 0 objects sent in 0 session(s), 0 rejected, 5 not delivered" in (
        done.stderr
    )
    assert "Check write_key" in done.stderr.splitlines()[-1]
    (job,) = (one for one in metrics_of(done.stderr) if one["metric"] == "job_duration")
    assert job["tags"]["status"] == "failed"


def test_a_run_of_nothing_says_so(sandbox: Sandbox, run_target: RunTarget) -> None:
    """Zero of all, and exit code 0."""
    done = run_target(config={"write_key": "k", "api_url": sandbox.url})
    assert done.returncode == 0
    assert "0 records read, 0 objects sent in 0 session(s)" in done.stderr


def test_the_log_level_silences_it(
    sandbox: Sandbox, run_target: RunTarget, environment: dict[str, str]
) -> None:
    """WARNING is quiet, by the target's own variable or by the SDK's general one."""
    for name in ("TARGET_SEGMENT_OBJECTS_LOGLEVEL", "LOGLEVEL"):
        done = run_target(
            lines=LINES[:3],
            config={"write_key": "k", "api_url": sandbox.url},
            environment={**environment, name: "warning"},
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_the_sdk_s_structured_log_has_the_metrics_as_objects(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path, environment: dict[str, str]
) -> None:
    """With SINGER_SDK_LOG_CONFIG each line is JSON, and a METRIC's figures need no parsing."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "singer_sdk.logging.StructuredFormatter"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": "INFO", "handlers": ["console"]},
    }
    file = tmp_path / "logging.yml"
    file.write_text(json.dumps(config), encoding="utf-8")  # which is YAML, too
    done = run_target(
        lines=LINES[:3],
        config={"write_key": "k", "api_url": sandbox.url},
        environment={**environment, "SINGER_SDK_LOG_CONFIG": str(file)},
    )
    said = [json.loads(line) for line in done.stderr.splitlines()]
    (job,) = (
        one["metric_info"]
        for one in said
        if one.get("metric_info", {}).get("metric") == "job_duration"
    )
    assert job["tags"]["objects_sent"] == 2


def shown(width: int) -> list[str]:
    """Return the table of two collections on a terminal of this width."""
    stats = RunStats()
    stats.add_session(
        SessionReport("public_playlist_track", "s", ("p",), 1500, 2_000_000, 3000, 0.5)
    )
    stats.add_session(SessionReport("users", "t", ("q",), 1, 100, 10, 0.5))
    console = Console(file=io.StringIO(), width=width)
    print_summary(stats.get_collections({}), console, seconds=0.5)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_has_a_row_for_each_collection_and_one_for_all() -> None:
    """Figures stand below their headings; the whole has the seconds of the run."""
    lines = shown(100)
    assert {len(line) for line in lines} == {len(lines[0])}
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "public_playlist_track 1,500 1,500 0 2.0 MB 3.0 kB 1 0.50 3,000",
        "users 1 1 0 100 bytes 10 bytes 1 0.50 2",
        "together 1,501 1,501 0 2.0 MB 3.0 kB 2 0.50 3,002",
    ]


def test_the_table_stays_readable_on_a_terminal_of_80_columns() -> None:
    """Each name has a line of its own then, and no figure is cut or broken."""
    lines = shown(80)
    assert lines[::2] == ["collection", "public_playlist_track", "users", "together"]
    assert [line.split() for line in lines[1::2]] == [line.split()[1:] for line in shown(100)]
    assert max(map(len, lines)) <= 80


def test_what_is_outstanding_was_read() -> None:
    """Read is what was sent, rejected, or is not delivered; a collection may have one alone."""
    stats = RunStats()
    stats.add_session(SessionReport("a", "s", ("p",), 3, 300, 30, 0.5))
    stats.add_session(SessionReport("a", "t", ("q",), 1, 100, 10, 0.5))
    stats.count_rejected("B", "b")
    totals = stats.get_collections({"a": 2, "c": 4})
    assert {name: total.read for name, total in totals.items()} == {"a": 6, "b": 1, "c": 4}
    assert (totals["a"].sent, totals["a"].sessions, totals["a"].rate) == (4, 2, 4)
    assert (totals["c"].sent, totals["c"].rate) == (0, 0)
    assert (stats.objects_sent, stats.records_rejected, stats.records_read) == (4, 1, 0)
