"""The command: what the shell calls, and `python -m target_segment_objects`.

Until the imports are done, a SIGINT or SIGTERM ends the process at once. There is nothing to clean
up, and an exception in the middle of an import would print a traceback. Afterwards it unwinds to
the end, so that what is open is closed. A run sets handlers of its own.

The garbage collector is off while the SDK is imported, and what was imported is frozen: it would
otherwise look through some hundred modules several times, and once more when the process ends,
which is a good part of the time of a small load.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

from target_segment_objects import exit_codes

TYPE_CHECKING = False  # importing `typing` takes time, in which a signal has no handler yet
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_GC_THRESHOLD = 20_000  # allocations; records become many tuples, which are soon freed


def main(import_command: Callable[[], Callable[[], None]] | None = None) -> None:
    """Run a command, and exit.

    Args:
        import_command: Imports a command and returns it; None for this package's.
    """
    _set_signal_handlers(_exit_at_once)
    gc.disable()
    run_command = (import_command or _import_command)()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    gc.enable()
    _set_signal_handlers(_exit_orderly)
    try:
        run_command()
    finally:
        _drop_unwritable_output()


def main_ledger() -> None:
    """Run `segment-objects-ledger`, and exit."""
    main(_import_ledger_command)


def main_sandbox() -> None:
    """Run `segment-objects-sandbox`, and exit."""
    main(_import_sandbox_command)


def _import_sandbox_command() -> Callable[[], None]:
    from target_segment_objects.sandbox.cli import main as run_command  # noqa: PLC0415 - see above

    return run_command


def _import_ledger_command() -> Callable[[], None]:
    from target_segment_objects.cli.ledger_command import run_ledger_command  # noqa: PLC0415

    return run_ledger_command


def _import_command() -> Callable[[], None]:
    from target_segment_objects.cli.command import run_command  # noqa: PLC0415 - see above

    return run_command


def _set_signal_handlers(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as for a job in the background
            signal.signal(number, handler)


def _drop_unwritable_output() -> None:
    """Drop what a closed terminal or a full disk did not take.

    Python would try to write it once more, and exit with 120 instead of the code of the run.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _exit_at_once(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    os._exit(exit_codes.SIGNAL_BASE + signum)


def _exit_orderly(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    sys.exit(exit_codes.SIGNAL_BASE + signum)


if __name__ == "__main__":
    main()
