"""Opens a page in the user's browser."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress


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
