"""How far a run is, while it runs: one line on a terminal, or now and then a line in a log.

On a terminal the line is rich's, and is kept at the bottom: log lines are printed above it, and so
is what goes to standard output, inside `paused`. METRIC lines are for programs, so they are left
out there, unless the user has set up logging. Anywhere else, a line is logged each minute, unless
nothing has happened since. Both are INFO: a higher level silences them.

rich takes a tenth of a second to import, so it is imported for a terminal only. The thread starts
and ends with the context manager, and holds no lock of the run's while it prints.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections import deque
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TextIO, cast

from singer_sdk.metrics import METRICS_LOGGER_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from rich.console import Console
    from rich.live import Live
    from typing_extensions import Self

LINE_SECONDS: Final = 0.25
"""Between two looks for the line on a terminal."""

LOG_SECONDS: Final = 60.0
"""Between two lines in a log: as often as the SDK logs its own metrics."""

_LOOKS: Final = 20  # that the rate is over
_STOP_SECONDS: Final = 2.0  # for the thread to end; whoever holds what it waits for is stuck


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """How far a run is at a moment.

    Attributes:
        read: Records that were read.
        sent: Objects that Segment has accepted.
        sessions: Sessions that are open.
        oldest_seconds: Age of the oldest batch that is not delivered; None when all are.
        verb: What becomes of the objects.
    """

    read: int
    sent: int
    sessions: int
    oldest_seconds: float | None
    verb: str = "sent"


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal on which a line can be written anew."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class Progress:
    """Shows how far a run is, as long as it is used as a context manager."""

    def __init__(
        self,
        look: Callable[[], ProgressSnapshot],
        stream: TextIO | None,
        logger: logging.Logger,
        *,
        line_seconds: float = LINE_SECONDS,
        log_seconds: float = LOG_SECONDS,
    ) -> None:
        """Decide how to show it; nothing is shown yet.

        Args:
            look: Returns how far the run is; called by a thread of its own.
            stream: Standard error.
            logger: Takes the lines when the stream is no terminal.
            line_seconds: Between two looks on a terminal.
            log_seconds: Between two lines in a log.
        """
        self._look = look
        self._logger = logger
        self._stream = stream
        self._line: _Line | None = None
        self._told: ProgressSnapshot | None = None
        self._seconds = (line_seconds, log_seconds)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if not self._logger.isEnabledFor(logging.INFO):
            return self
        show: Callable[[ProgressSnapshot, float], None]
        seconds, show = self._seconds[1], self._log
        if self._stream is not None and is_terminal(self._stream):
            self._line = _Line(self._stream)
            self._line.start()
            seconds, show = self._seconds[0], self._line.show
        self._thread = threading.Thread(
            target=self._run, args=(seconds, show), name="progress", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, and leave nothing of the line."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        if self._line is not None:
            self._line.stop()

    def paused(self, stream: TextIO) -> AbstractContextManager[None]:
        """Take the line away while something else is written to the same terminal."""
        if self._line is None or not is_terminal(stream):
            return nullcontext()
        return self._line.away()

    def _run(self, seconds: float, show: Callable[[ProgressSnapshot, float], None]) -> None:
        looks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=_LOOKS)
        while not self._over.wait(seconds):
            look = self._look()
            now = time.monotonic()
            (before, read), rate = looks[0], 0.0
            if now > before:
                rate = (look.read - read) / (now - before)
            looks.append((now, look.read))
            if not self._over.is_set():
                show(look, rate)

    def _log(self, look: ProgressSnapshot, rate: float) -> None:
        if self._is_news(look):
            self._logger.info("So far: %s.", describe(look, rate))

    def _is_news(self, look: ProgressSnapshot) -> bool:
        before, self._told = self._told, replace(look, oldest_seconds=None)
        return self._told != before


def describe(look: ProgressSnapshot, rate: float) -> str:
    """Say how far a run is."""
    parts = [
        f"{look.read:,} records read",
        f"{look.sent:,} objects {look.verb}",
        f"{look.sessions} session{'' if look.sessions == 1 else 's'} open",
        f"{rate:,.0f} records/s",
    ]
    if look.oldest_seconds is not None:
        parts.append(f"oldest batch {look.oldest_seconds:,.0f} s")
    return ", ".join(parts)


class _Line:
    """The line at the bottom of a terminal, and what is printed above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - only on a terminal
        from rich.live import Live  # noqa: PLC0415 - only on a terminal

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

    def start(self) -> None:
        """Have log lines printed above, and show the line from now on."""
        above = cast("TextIO", _Above(self._console))
        for handler in _handlers_of(self._stream):
            handler.setStream(above)
            if "SINGER_SDK_LOG_CONFIG" not in os.environ:
                handler.addFilter(_is_for_people)
            self._handlers.append(handler)
        self._show()

    def stop(self) -> None:
        """Take the line away, and let log lines go where they went before."""
        with self._lock:
            self._hide()
            for handler in self._handlers:
                handler.setStream(self._stream)
                handler.removeFilter(_is_for_people)
            self._handlers.clear()

    def show(self, look: ProgressSnapshot, rate: float) -> None:
        from rich.text import Text  # noqa: PLC0415 - only on a terminal

        text = Text(describe(look, rate), style="cyan", no_wrap=True, overflow="ellipsis")
        with self._lock, _maybe_gone():
            if self._is_shown:
                self._live.update(text, refresh=True)

    @contextmanager
    def away(self) -> Iterator[None]:
        with self._lock:
            self._hide()
            try:
                yield
            finally:
                self._show()

    def _show(self) -> None:
        with _maybe_gone():
            self._live.start()
            self._console.show_cursor()  # or a process that is killed would leave none
            self._is_shown = True

    def _hide(self) -> None:
        if self._is_shown:
            self._is_shown = False
            with _maybe_gone():
                self._live.stop()


def _maybe_gone() -> AbstractContextManager[None]:
    """Let a terminal be closed: it is no reason for a run to fail."""
    return suppress(OSError)


class _Above(io.TextIOBase):
    """What is written here is printed above the line, each line whole and as long as it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._console.out(line, highlight=False)
        return len(text)


def _is_for_people(record: logging.LogRecord) -> bool:
    return record.name != METRICS_LOGGER_NAME


def _handlers_of(stream: TextIO) -> Iterator[logging.StreamHandler[TextIO]]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                yield handler
