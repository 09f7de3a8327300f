"""Lets a server run until the user stops it."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def catch_stop_signals() -> Iterator[Callable[[], None]]:
    """Catch SIGINT (Ctrl-C) and SIGTERM, and restore their handlers afterwards.

    Only for the main thread.

    Yields:
        A function that waits until one of them has come.
    """
    stopped = threading.Event()

    def request_stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    def wait_until_stopped() -> None:
        while not stopped.wait(1):  # with a timeout: on Windows a plain wait blocks signals
            pass

    handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    try:
        for number in _STOP_SIGNALS:
            signal.signal(number, request_stop)
        yield wait_until_stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
