"""The report of a run: METRIC lines for programs, a summary for people."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from target_segment_objects.delivery.uploader import SessionReport
from target_segment_objects.reporting.stats import RunStats
from target_segment_objects.reporting.summary import print_summary
from target_segment_objects.sandbox.server import Sandbox
from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line

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


def parse_metrics(log: str) -> list[dict[str, Any]]:
    """Return the metrics in a log."""
    return [json.loads(metric) for metric in re.findall(r"METRIC: (\{.*\})$", log, re.MULTILINE)]


def test_each_session_has_a_metric_with_its_ids(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path
) -> None:
    """The METRIC has the sync_id, the part_ids, the size and the duration of the session."""
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
    metrics = {
        metric["tags"]["sync_id"]: metric
        for metric in parse_metrics(done.stderr)
        if metric["metric"] == "batch_processing_time"
    }
    rows = {row.sync_id: row for row in sandbox.warehouse.sessions()}
    assert metrics.keys() == rows.keys()
    assert len(rows) == 3
    for sync_id, row in rows.items():
        tags = metrics[sync_id]["tags"]
        assert (tags["objects"], tags["raw_bytes"]) == (row.objects, row.raw_bytes)
        assert (tags["gzip_bytes"], len(tags["part_ids"])) == (row.gzip_bytes, row.parts)
        assert [tags["collection"]] == list(row.collections)
        assert tags["status"] == "succeeded"
        assert metrics[sync_id]["value"] > 0


def test_the_end_of_a_run_reports_each_collection_and_the_total(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path
) -> None:
    """METRIC lines and log lines have the same counts of what was read, sent and rejected."""
    done = run_target(
        lines=LINES,
        config={
            "write_key": "k",
            "api_url": sandbox.url,
            "invalid_records": "dead_letter",
            "dead_letter_path": str(tmp_path / "rejects.singer"),
        },
    )
    metrics = parse_metrics(done.stderr)
    figures = {
        metric["tags"]["collection"]: metric["tags"]
        for metric in metrics
        if metric["metric"] == "batch_count"
    }
    assert figures.keys() == {"users", "orders"}
    names = ("objects_read", "objects_sent", "objects_rejected", "sessions")
    assert [figures["users"][name] for name in names] == [5, 5, 0, 1]
    assert [figures["orders"][name] for name in names] == [2, 1, 1, 1]
    (job,) = (metric for metric in metrics if metric["metric"] == "job_duration")
    assert [job["tags"][name] for name in names] == [7, 6, 1, 2]
    assert (job["tags"]["records"], job["tags"]["status"]) == (7, "succeeded")
    assert job["tags"]["records_untyped"] == 1, "the invalid one"
    by_stream = {
        metric["tags"]["stream"]: (metric["tags"]["records"], metric["value"])
        for metric in metrics
        if metric["metric"] == "records_untyped"
    }
    assert by_stream == {"Users": (5, 0), "orders": (2, 1)}
    sizes = [(row.raw_bytes, row.gzip_bytes) for row in sandbox.warehouse.sessions()]
    raw, packed = map(sum, zip(*sizes, strict=True))
    assert (job["tags"]["raw_bytes"], job["tags"]["gzip_bytes"]) == (raw, packed)
    assert "Collection orders: 2 read, 1 sent, 1 rejected, 0 not delivered, " in done.stderr
    assert (
        f"7 records read, 6 objects sent in 2 sessions, 1 rejected, 0 not delivered: {raw} bytes "
        f"({packed} gzipped) in " in done.stderr
    )


def test_undelivered_objects_are_reported_before_the_error(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """A failed run logs how much was not delivered; the last line says why."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        done = run_target(
            lines=LINES[:6], config={"write_key": "wrong-key", "api_url": sandbox.url}
        )
    assert done.returncode == 1
    assert "5 records read, 0 objects sent in 0 sessions, 0 rejected, 5 not delivered" in (
        done.stderr
    )
    assert "Check write_key" in done.stderr.splitlines()[-1]
    metrics = parse_metrics(done.stderr)
    (job,) = (metric for metric in metrics if metric["metric"] == "job_duration")
    assert job["tags"]["status"] == "failed"


@pytest.mark.skipif(os.name != "posix", reason="needs a limit for the size of files")
def test_records_are_counted_once_when_a_write_fails(tmp_path: Path) -> None:
    """What was read for a collection is not delivered, as many in the total as in its own line."""
    numbers = random.Random(1)  # noqa: S311 - not for security
    rows = (record_line("Users", {"id": n, "v": numbers.randbytes(50).hex()}) for n in range(9_000))
    config = tmp_path / "config.json"
    config.write_text('{"write_key": "k", "api_url": "http://127.0.0.1:9"}')
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 300; exec "$@"', "sh", *TARGET, "--config", str(config)],
        input="".join(f"{line}\n" for line in (USERS, *rows)),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr.splitlines()[-1]
    metrics = parse_metrics(done.stderr)
    (collection,) = (m["tags"] for m in metrics if m["metric"] == "batch_count")
    (job,) = (m["tags"] for m in metrics if m["metric"] == "job_duration")
    assert 0 < job["records"] < 9_000
    assert collection["objects_read"] == collection["objects_undelivered"] == job["records"]


def test_an_empty_run_is_reported(sandbox: Sandbox, run_target: RunTarget) -> None:
    """All counts are 0, and so is the exit code."""
    done = run_target(config={"write_key": "k", "api_url": sandbox.url})
    assert done.returncode == 0
    assert "0 records read, 0 objects sent in 0 sessions" in done.stderr


def test_the_log_level_turns_the_report_off(
    sandbox: Sandbox, run_target: RunTarget, environment: dict[str, str]
) -> None:
    """Nothing is logged at WARNING, set by the target's variable or by the SDK's."""
    for name in ("TARGET_SEGMENT_OBJECTS_LOGLEVEL", "LOGLEVEL"):
        done = run_target(
            lines=LINES[:3],
            config={"write_key": "k", "api_url": sandbox.url},
            environment={**environment, name: "warning"},
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_structured_logs_have_metrics_as_objects(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path, environment: dict[str, str]
) -> None:
    """With SINGER_SDK_LOG_CONFIG, each line can be JSON, and a METRIC is an object in it."""
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
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    (job,) = (
        entry["metric_info"]
        for entry in entries
        if entry.get("metric_info", {}).get("metric") == "job_duration"
    )
    assert job["tags"]["objects_sent"] == 2


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("columns", [80, 40])
def test_a_terminal_ends_with_the_totals(sandbox: Sandbox, tmp_path: Path, columns: int) -> None:
    """The sentence comes after the table, which may be longer than the screen, without a time."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    environment = {
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k",
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
    }
    arguments = [*TARGET, "--config=ENV"]
    size = (columns, 24)
    with Terminal(arguments, folder=tmp_path, environment=environment, size=size) as terminal:
        for number in range(30):
            stream = f"t_{chr(97 + number)}" if number < 26 else f"u_{chr(71 + number)}"
            terminal.write_lines(
                schema_line(stream, {"id": {"type": "integer"}}), record_line(stream, {"id": 1})
            )
        assert terminal.close_input() == 0
    total = next(n for n, line in enumerate(terminal.lines) if line.startswith("Total"))
    sentence = " ".join(terminal.lines[total + 1 :])
    assert sentence.startswith("30 records read, 30 objects sent in 30 sessions, 0 rejected,")
    assert re.search(r"\(\S+ gzipped\) in \d+\.\d s\.$", sentence)


def print_table(width: int, *, name: str = "public_playlist_track") -> list[str]:
    """Return the lines of a table of two collections on a terminal of this width."""
    stats = RunStats()
    stats.add_session(SessionReport(name, "s", ("p",), 1500, 2_000_000, 3000, 0.5))
    stats.add_session(SessionReport("users", "t", ("q",), 1, 100, 10, 0.5))
    console = Console(file=io.StringIO(), width=width)
    print_summary(stats.get_collections({name: 7}), console, seconds=0.5)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_has_a_row_for_each_collection_and_a_total() -> None:
    """Figures are aligned with their headings; the total has the seconds of the run."""
    lines = print_table(120)
    assert {len(line) for line in lines} == {len(lines[0])}
    assert [" ".join(line.split()) for line in lines] == [
        "collection read sent rejected not delivered bytes gzipped sessions seconds objects/s",
        "public_playlist_track 1,507 1,500 0 7 2.0 MB 3.0 kB 1 0.50 3,000",
        "users 1 1 0 0 100 bytes 10 bytes 1 0.50 2",
        "Total 1,508 1,501 0 7 2.0 MB 3.0 kB 2 0.50 3,002",
    ]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        pytest.param(100, "read sent rejected not delivered bytes sessions objects/s", id="100"),
        pytest.param(80, "read sent rejected not delivered bytes", id="80"),
        pytest.param(50, "read sent not delivered", id="50"),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns(width: int, headings: str) -> None:
    """The table stays a table: one line for each row, and no line is too long."""
    lines = print_table(width)
    assert len(lines) == 4
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines[0]) <= width
    assert lines[0].split() == ["collection", *headings.split()]


@pytest.mark.parametrize("width", [40, 30])
def test_names_have_their_own_lines_when_nothing_else_fits(width: int) -> None:
    """No line is longer than the terminal, and no word is broken."""
    lines = print_table(width, name="public_playlist_of_tracks")
    assert [line.strip() for line in lines[::2]] == [
        "collection",
        "public_playlist_of_tracks",
        "users",
        "Total",
    ]
    assert max(map(len, lines)) <= width
    assert [line.split()[:2] for line in lines[1::2]] == [
        ["read", "sent"],
        ["1,507", "1,500"],
        ["1", "1"],
        ["1,508", "1,501"],
    ]


def test_a_name_longer_than_the_terminal_is_shortened() -> None:
    """The ellipsis says so; the log has the whole name."""
    assert print_table(40, name="a" * 100)[2] == f"{'a' * 39}…"


def test_undelivered_objects_count_as_read() -> None:
    """Read records were sent, rejected, or are not delivered."""
    stats = RunStats()
    stats.add_session(SessionReport("a", "s", ("p",), 3, 300, 30, 0.5))
    stats.add_session(SessionReport("a", "t", ("q",), 1, 100, 10, 0.5))
    stats.count_rejected("B", "b")
    totals = stats.get_collections({"a": 2, "c": 4})
    assert {name: stats.read for name, stats in totals.items()} == {"a": 6, "b": 1, "c": 4}
    assert (totals["a"].sent, totals["a"].sessions, totals["a"].objects_per_second) == (4, 2, 4)
    assert (totals["c"].sent, totals["c"].objects_per_second) == (0, 0)
    assert (stats.objects_sent, stats.records_rejected, stats.records_read) == (4, 1, 0)
