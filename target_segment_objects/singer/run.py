"""One run over the input: its signals, what went wrong, and its exit code.

The first SIGINT, SIGTERM or SIGHUP stops reading; what was read is then delivered. Another one
aborts if it comes a second later or more: what sends the first often sends it twice, such as a
terminal to the process group and Meltano to its child, or systemd to the whole control group.
A signal handler runs between any two steps of the main thread, so it raises only where that is
harmless: while the reader waits for the tap, or when nothing more is to be delivered.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec
from singer_sdk.exceptions import SingerSDKError

from target_segment_objects import exit_codes
from target_segment_objects.exceptions import SegmentObjectsError
from target_segment_objects.plurals import format_count
from target_segment_objects.singer.reader import ReadingStopped

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from target_segment_objects.singer.reader import MessageReader

_STOP_SIGNALS: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []),
)
_SAME_SIGNAL_SECONDS: Final = 1.0
"""Signals that come within this time after the first one are the same request to stop."""


class RunOutcome(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        problems: What went wrong, the first problem first.
        stop_signal: The signal that stopped it; None when it read to the end.
        was_aborted: Whether another signal ended it before delivery was complete.
    """

    problems: tuple[Exception, ...] = ()
    stop_signal: int | None = None
    was_aborted: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the input was read to its end and everything was delivered."""
        return not self.problems and self.stop_signal is None

    @property
    def exit_code(self) -> int:
        """The exit code of the process."""
        if self.stop_signal is not None:
            return exit_codes.SIGNAL_BASE + self.stop_signal
        return 1 if self.problems else 0


class RunAborted(BaseException):
    """The user asked a second time: open sessions are ended, not delivered."""


class Interrupts:
    """What stops the reader: a signal, or another thread when delivery has failed.

    Attributes:
        stop_signal: The first signal that came; None before.
    """

    def __init__(self, reader: MessageReader) -> None:
        """Prepare; the process's signal handlers stay as they are.

        Args:
            reader: The reader to stop.
        """
        self.stop_signal: int | None = None
        self._stopped_at = 0.0
        self._reader = reader
        self._is_waking = False

    @property
    def lines_read(self) -> int:
        """Lines that the reader has taken."""
        return self._reader.line_number

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP; restore the handlers afterwards."""
        handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        if hasattr(signal, "SIGHUP") and handlers[signal.SIGHUP] is signal.SIG_IGN:
            del handlers[signal.SIGHUP]  # the process was started by nohup
        try:
            for number in handlers:
                signal.signal(number, self._handle_signal)
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def wake_reader(self) -> None:
        """Stop reading because delivery has failed; called by the thread that met the failure."""
        self._reader.stop_requested = True
        is_handled = signal.getsignal(signal.SIGTERM) == self._handle_signal
        if self._reader.is_waiting and is_handled and hasattr(signal, "pthread_kill"):
            main = threading.main_thread().ident
            if main is not None and threading.get_ident() != main:
                self._is_waking = True
                signal.pthread_kill(main, signal.SIGTERM)

    def _handle_signal(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._is_waking:
            self._is_waking = False
        elif self.stop_signal is None:
            self.stop_signal, self._stopped_at = signum, time.monotonic()
        elif time.monotonic() - self._stopped_at < _SAME_SIGNAL_SECONDS:
            return
        else:
            raise RunAborted
        self._reader.stop_requested = True
        if self._reader.is_waiting:
            raise ReadingStopped


def run_steps(
    steps: Sequence[Callable[[], object]],
    interrupts: Interrupts,
    *,
    abort: Callable[[str], None],
    rest: str,
    logger: logging.Logger,
) -> RunOutcome:
    """Carry out the steps of a run, the next one also after a problem in the one before.

    Args:
        steps: Reading, then delivering what was read.
        interrupts: What may stop them.
        rest: What is done after a signal with what was read, such as "Delivering".
        abort: Ends open sessions and closes what is open; takes the reason.
        logger: Says that a signal stopped the reading.

    Returns:
        How the run ended. What is neither ours nor the SDK's is raised, after `abort`.
    """
    problems: list[Exception] = []
    try:
        with interrupts.handle_signals():
            for step in steps:
                try:
                    step()
                except ReadingStopped:
                    _log_stop(interrupts, rest, logger)
                except (SegmentObjectsError, SingerSDKError) as problem:
                    if str(problem) not in map(str, problems):  # each step meets a full disk
                        problems.append(problem)
    except RunAborted:
        abort("aborted by the user")
        return RunOutcome(tuple(problems), interrupts.stop_signal, was_aborted=True)
    except BaseException:
        abort("the target failed")
        raise
    return RunOutcome(tuple(problems), interrupts.stop_signal)


def _log_stop(interrupts: Interrupts, rest: str, logger: logging.Logger) -> None:
    if interrupts.stop_signal is not None:
        logger.warning(
            "Stopped reading after %s. %s what was read; press Ctrl-C again to abort now.",
            format_count(interrupts.lines_read, "line"),
            rest,
        )
