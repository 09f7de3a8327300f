"""The progress of a run: one line at the bottom of a terminal, or a log line each minute.

On a terminal, log lines are printed above the progress line. Whoever writes to standard output does
it inside `paused`. In a log, a line is written only if something has changed since the last.
Progress has the level INFO, so a higher log level turns it off.

The thread starts and ends with the context manager. It holds no lock of the run while it prints.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import deque
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Final, TextIO, cast

import msgspec
from msgspec.structs import replace

from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.log_handlers import find_log_handlers, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from rich.console import Console
    from rich.live import Live
    from typing_extensions import Self

TERMINAL_INTERVAL_SECONDS: Final = 0.25

LOG_INTERVAL_SECONDS: Final = 60.0
"""As often as the SDK logs its own metrics."""

_RATE_SNAPSHOTS: Final = 20
"""How many snapshots the rate covers."""

_STOP_TIMEOUT_SECONDS: Final = 2.0
"""For the thread to end. It may wait for a lock whose holder is stuck."""


class ProgressSnapshot(msgspec.Struct, frozen=True):
    """How far a run is at one moment.

    Attributes:
        read: Records read.
        sent: Objects accepted by Segment.
        sessions: Open sessions.
        uploaded_bytes: Compressed bytes uploaded.
        oldest_seconds: Age of the oldest batch that is not delivered; None when all are.
        verb: What happens to the objects.
    """

    read: int
    sent: int
    sessions: int
    uploaded_bytes: int
    oldest_seconds: float | None
    verb: str = "sent"


class Progress:
    """Shows the progress of a run while it is used as a context manager.

    Args:
        get_snapshot: Returns how far the run is. It is called by another thread.
        stream: Standard error.
        logger: Logs the progress when the stream is not a terminal.
        terminal_interval_seconds: Between two updates of the line.
        log_interval_seconds: Between two log lines.
    """

    def __init__(
        self,
        get_snapshot: Callable[[], ProgressSnapshot],
        stream: TextIO | None,
        logger: logging.Logger,
        *,
        terminal_interval_seconds: float = TERMINAL_INTERVAL_SECONDS,
        log_interval_seconds: float = LOG_INTERVAL_SECONDS,
    ) -> None:
        self._get_snapshot = get_snapshot
        self._logger = logger
        self._stream = stream
        self._status_line: _StatusLine | None = None
        self._last_logged: ProgressSnapshot | None = None
        self._terminal_interval = terminal_interval_seconds
        self._log_interval = log_interval_seconds
        self._stopped = threading.Event()
        self._started = time.monotonic()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the thread that shows the progress."""
        if not self._logger.isEnabledFor(logging.INFO):
            return self
        show: Callable[[ProgressSnapshot, float], None] = self._log_snapshot
        interval = self._log_interval
        if self._stream is not None and is_terminal(self._stream):
            self._status_line = _StatusLine(self._stream)
            self._status_line.start()
            interval, show = self._terminal_interval, self._status_line.update
        self._thread = threading.Thread(
            target=self._show_snapshots, args=(interval, show), name="progress", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread and remove the line."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_SECONDS)
        if self._status_line is not None:
            self._status_line.stop()

    def paused(self, stream: TextIO) -> AbstractContextManager[None]:
        """Hide the line while something else is written to a stream, if both are a terminal."""
        if self._status_line is None or not is_terminal(stream):
            return nullcontext()
        return self._status_line.hidden()

    def _show_snapshots(
        self, interval: float, show: Callable[[ProgressSnapshot, float], None]
    ) -> None:
        reads: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=_RATE_SNAPSHOTS)
        while not self._stopped.wait(interval):
            snapshot = self._get_snapshot()
            now = time.monotonic()
            then, read_then = reads[0]
            rate = (snapshot.read - read_then) / (now - then) if now > then else 0.0
            reads.append((now, snapshot.read))
            if not self._stopped.is_set():
                show(snapshot, rate)

    def _log_snapshot(self, snapshot: ProgressSnapshot, rate: float) -> None:
        if self._has_changed(snapshot):
            elapsed = time.monotonic() - self._started
            self._logger.info("Progress: %s.", format_snapshot(snapshot, rate, elapsed))

    def _has_changed(self, snapshot: ProgressSnapshot) -> bool:
        """Return whether something besides time has changed since the last call."""
        before, self._last_logged = self._last_logged, replace(snapshot, oldest_seconds=None)
        return self._last_logged != before


def format_snapshot(
    snapshot: ProgressSnapshot, rate: float, elapsed_seconds: float, *, width: int | None = None
) -> str:
    """Return how far a run is, in words.

    Args:
        snapshot: How far the run is.
        rate: Records read per second.
        elapsed_seconds: How long the run has taken.
        width: Longest line; the last parts are left out. None for a line of any length.
    """
    parts = [
        f"{snapshot.read:,} read",
        f"{snapshot.sent:,} {snapshot.verb}",
        _describe_activity(snapshot, rate),
        _format_duration(elapsed_seconds),
        f"{rate:,.0f} records/s",
    ]
    if snapshot.oldest_seconds is not None:
        parts.append(f"oldest batch {snapshot.oldest_seconds:,.0f} s")
    while width is not None and len(parts) > 1 and len(", ".join(parts)) > width:
        parts.pop()
    return ", ".join(parts)


def _describe_activity(snapshot: ProgressSnapshot, rate: float) -> str:
    if snapshot.sessions:
        megabytes = snapshot.uploaded_bytes / 1e6
        return (
            f"{format_count(snapshot.sessions, 'session')} uploading ({megabytes:,.1f} MB so far)"
        )
    return "reading" if rate else "waiting for the tap"


def _format_duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class _StatusLine:
    """The line at the bottom of a terminal. Log lines are printed above it."""

    def __init__(self, stream: TextIO) -> None:
        # Importing rich takes a tenth of a second, so only runs on a terminal do it.
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        self._stream = stream
        self._console: Console = Console(file=stream, highlight=False)
        self._live: Live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._handlers: list[logging.StreamHandler[TextIO]] = []
        self._lock = threading.RLock()
        self._is_shown = False
        self._started = time.monotonic()

    def start(self) -> None:
        """Show the line, and print log lines above it from now on."""
        writer = cast("TextIO", _LogWriter(self._console))
        for handler in find_log_handlers():
            if isinstance(handler, logging.StreamHandler) and handler.stream is self._stream:
                handler.setStream(writer)
                self._handlers.append(handler)
        self._show()

    def stop(self) -> None:
        """Remove the line, and let log lines go to the stream again."""
        with self._lock:
            self._hide()
            for handler in self._handlers:
                handler.setStream(self._stream)
            self._handlers.clear()

    def update(self, snapshot: ProgressSnapshot, rate: float) -> None:
        """Show a snapshot, unless the line is hidden."""
        from rich.text import Text  # noqa: PLC0415 - only on a terminal

        elapsed = time.monotonic() - self._started
        line = format_snapshot(snapshot, rate, elapsed, width=self._console.width - 1)
        text = Text(line, style="cyan", no_wrap=True, overflow="ellipsis")
        with self._lock, _ignore_closed_terminal():
            if self._is_shown:
                self._live.update(text, refresh=True)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the line for a while."""
        with self._lock:
            self._hide()
            try:
                yield
            finally:
                self._show()

    def _show(self) -> None:
        with _ignore_closed_terminal():
            self._live.start()
            self._console.show_cursor()  # otherwise a killed process leaves none
            self._is_shown = True

    def _hide(self) -> None:
        if self._is_shown:
            self._is_shown = False
            with _ignore_closed_terminal():
                self._live.stop()


def _ignore_closed_terminal() -> AbstractContextManager[None]:
    """A run goes on when its terminal is closed."""
    return suppress(OSError)


class _LogWriter(io.TextIOBase):
    """A stream that prints complete lines above the status line, without wrapping them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._incomplete = ""

    def write(self, text: str) -> int:
        *lines, self._incomplete = (self._incomplete + text).split("\n")
        for line in lines:
            self._console.out(line, highlight=False)
        return len(text)
