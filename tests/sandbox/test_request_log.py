"""The record of requests: what is kept of each, how many are kept, and the load each second."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.request_log import (
    MAX_REJECTIONS,
    MAX_REQUESTS,
    SHOWN_SECONDS,
    LoadSample,
    RequestLog,
    RequestRecord,
    format_request,
)
from target_segment_objects.sandbox.server import Sandbox
from tests.support.bare_http import BareClient, object_line
from tests.support.frozen_clock import FrozenClock

if TYPE_CHECKING:
    from pathlib import Path


def build_record(status: int = 200, **changes: object) -> RequestRecord:
    """Return the record of a request."""
    fields: dict[str, object] = {
        "started": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        "method": "POST",
        "path": "/v0/start",
        "status": status,
        "seconds": 0.0342,
        "body_bytes": 0,
    }
    return RequestRecord(**{**fields, **changes})  # type: ignore[arg-type]  # fields of any type


def test_load_of_each_second() -> None:
    """Requests count in the second of their arrival; they run until they are answered."""
    clock = FrozenClock()
    log = RequestLog(clock=clock)
    log.begin_request()
    log.begin_request()
    clock.now += 2
    log.end_request(build_record())
    snapshot = log.take_snapshot()
    assert snapshot.seconds[-3:] == (LoadSample(2, 2), LoadSample(0, 2), LoadSample(0, 2))
    assert (snapshot.running, snapshot.peak, snapshot.count) == (1, 2, 2)
    clock.now += 10 * SHOWN_SECONDS
    assert log.take_snapshot().seconds == (LoadSample(0, 1),) * SHOWN_SECONDS


def test_newest_requests_are_kept() -> None:
    """Of more requests than the limits, the newest are kept and all are counted."""
    log = RequestLog()
    for number in range(MAX_REQUESTS + 1):
        log.begin_request()
        log.end_request(build_record(400, body_bytes=number))
    snapshot = log.take_snapshot()
    assert [len(snapshot.requests), len(snapshot.rejections)] == [MAX_REQUESTS, MAX_REJECTIONS]
    assert snapshot.requests[0].body_bytes == snapshot.rejections[0].body_bytes == MAX_REQUESTS
    assert snapshot.count == snapshot.rejected_count == MAX_REQUESTS + 1


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(build_record(201), "POST /v0/start 201 34 ms", id="accepted"),
        pytest.param(
            build_record(400, reason="no id", line=17),
            "POST /v0/start 400 34 ms: line 17: no id",
            id="rejected",
        ),
        pytest.param(
            build_record(400, reason="a\x1b[2J\nb"),
            "POST /v0/start 400 34 ms: a\\x1b[2J\\nb",
            id="control characters",
        ),
    ],
)
def test_line_of_a_request(record: RequestRecord, expected: str) -> None:
    """A line has the local time, method, path, status, milliseconds and reason, escaped."""
    time, _, rest = format_request(record).partition(" ")
    assert len(time) == len("03:04:05")
    assert rest == expected


def test_requests_of_the_api(tmp_path: Path) -> None:
    """Each request to the API is kept with its size and, if it was rejected, line and reason."""
    records: list[RequestRecord] = []
    answered = threading.Semaphore(0)

    def keep(record: RequestRecord) -> None:
        records.append(record)
        answered.release()

    with Sandbox(tmp_path / "w.duckdb", on_request=keep) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        client.upload_lines(sync_id, object_line() + b"{}\n")
        client.send_request("/other")
        client.send_request("/v0/start", method="GET")
        client.send_request("/v0/start", headers={"Authorization": "Basic !"})
        for _ in range(5):
            assert answered.acquire(timeout=10)
    assert [(record.method, record.status) for record in records] == [
        ("POST", 201),
        ("POST", 400),
        ("POST", 404),
        ("GET", 405),
        ("POST", 401),
    ]
    upload = records[1]
    assert upload.path == f"/v0/upload/{sync_id}"
    assert upload.line == 2
    assert upload.body_bytes > 0
    assert all(record.reason for record in records[1:])
