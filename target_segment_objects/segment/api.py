"""What a bulk session needs at its other end: the interface that `Client` implements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class BulkApi(Protocol):
    """The calls of the Objects Bulk API: `Client`, or a substitute for it.

    `on_lost_response` is called when the response to an attempt was lost, so that Segment may carry
    it out later, after the call has returned.
    """

    def start(self) -> str:
        """Start a bulk session and return its `sync_id`."""

    def upload(
        self, sync_id: str, file: Path, *, on_lost_response: Callable[[], object] = ...
    ) -> str:
        """Upload a file to a session and return its `part_id`."""

    def keep_alive(self, sync_id: str) -> None:
        """Tell Segment that a session is still in use."""

    def finish(
        self, sync_id: str, error: str = "", *, on_lost_response: Callable[[], object] = ...
    ) -> None:
        """Finish a session: with a blank error on success, else with what failed."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """Finish a failed session with one short attempt, while the process is stopping."""
