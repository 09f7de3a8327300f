"""Serving in the foreground: until the user stops it, and with a page in the browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from target_segment_objects import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_SECOND_SIGNAL_SECONDS: Final = 1
"""A second signal counts after this. Service managers and shells send one to the whole group, and
some commands forward theirs, so that two arrive at once."""


@contextmanager
def catch_stop_signals() -> Iterator[Callable[[], None]]:
    """Catch SIGINT (Ctrl-C), SIGTERM and SIGHUP, and restore their handlers afterwards.

    The second one ends the process at once, as a kill would. Only for the main thread, and for what
    survives a kill.

    Yields:
        A function that waits until one of them has come.
    """
    stopped = threading.Event()
    first_times: list[float] = []

    def request_stop(signum: int, _: FrameType | None) -> None:
        first_times.append(now := time.monotonic())
        if now >= first_times[0] + _SECOND_SIGNAL_SECONDS:
            os._exit(exit_codes.SIGNAL_BASE + signum)
        stopped.set()

    def wait_until_stopped() -> None:
        while not stopped.wait(1):  # with a timeout: on Windows a plain wait blocks signals
            pass

    handlers = {
        number: handler
        for number in _STOP_SIGNALS
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN  # as `nohup` asks for
    }
    try:
        for number in handlers:
            signal.signal(number, request_stop)
        yield wait_until_stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def open_browser(url: str) -> None:
    """Open an address in the default browser, or in that of the variable `BROWSER`.

    In a process of its own, without our standard streams: a browser may print lines to standard
    output, where STATE is written, and a browser for terminals would wait for the user. Where there
    is no browser, nothing happens.
    """
    with suppress(OSError):
        subprocess.Popen(  # noqa: S603 - our own interpreter; the address is the sandbox's
            [sys.executable, "-m", "webbrowser", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
