"""Reading, uploading and the sessions of different collections overlap.

Each test makes the tap wait for an event of the delivery, so it can only end if the two overlap. No
test measures time: docs/benchmark-results.md has the figures.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from target_segment_objects.cli.load import load_input
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, schema_line, wait_for
from tests.support.faulty_proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_segment_objects.sandbox.server import Sandbox

PROPERTIES = {"id": {"type": "integer"}}


class WaitingTap(io.RawIOBase):
    """A tap's output: lines, and conditions to wait for before the next line is written."""

    def __init__(self, *steps: str | Callable[[], object]) -> None:
        super().__init__()
        self._lines = self._run_steps(steps)
        self.has_ended = False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer of any kind
        """Read the next line, after the conditions before it."""
        line = next(self._lines, b"")
        buffer[: len(line)] = line
        return len(line)

    def _run_steps(self, steps: tuple[str | Callable[[], object], ...]) -> Iterator[bytes]:
        for step in steps:
            if isinstance(step, str):
                yield step.encode() + b"\n"
            else:
                wait_for(step)
        self.has_ended = True


def run_target(url: str, tap: WaitingTap, **config: Any) -> int:  # noqa: ANN401 - settings
    """Run the target in this process, one record a batch, and return its exit code."""
    settings = {"write_key": "k", "api_url": url, "batch_size_rows": 1, **config}
    target = TargetSegmentObjects(config=settings)
    with redirect_stdout(io.StringIO()):
        return load_input(target, tap)  # type: ignore[arg-type]  # it only reads


def test_session_is_finished_while_the_tap_is_still_writing(sandbox: Sandbox) -> None:
    """A full batch is delivered before the tap writes its next record."""
    tap = WaitingTap(
        schema_line("users", PROPERTIES),
        record_line("users", {"id": 1}),
        lambda: [session.outcome for session in sandbox.warehouse.sessions()] == ["loaded"],
        record_line("users", {"id": 2}),
    )
    assert run_target(sandbox.url, tap) == 0
    assert tap.has_ended
    assert sandbox.warehouse.count("users") == 2


def test_tap_is_read_during_an_upload(sandbox: Sandbox) -> None:
    """An upload that is not answered yet does not stop the reading of the same collection."""
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:

        def release_upload() -> bool:
            proxy.released.set()
            return True

        tap = WaitingTap(
            schema_line("users", PROPERTIES),
            record_line("users", {"id": 1}),
            proxy.held.is_set,
            record_line("users", {"id": 2}),
            record_line("users", {"id": 3}),
            release_upload,
        )
        assert run_target(proxy.url, tap) == 0
    assert sandbox.warehouse.count("users") == 3


def test_another_collection_is_loaded_during_an_upload(sandbox: Sandbox) -> None:
    """An upload that is not answered yet does not stop the sessions of other collections."""
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:

        def release_upload() -> bool:
            proxy.released.set()
            return True

        tap = WaitingTap(
            schema_line("users", PROPERTIES),
            schema_line("orders", PROPERTIES),
            record_line("users", {"id": 1}),
            proxy.held.is_set,
            record_line("orders", {"id": 1}),
            lambda: sandbox.warehouse.collections() == ["orders"],
            release_upload,
        )
        assert run_target(proxy.url, tap, max_parallel_sessions=2) == 0
    assert sandbox.warehouse.collections() == ["orders", "users"]
