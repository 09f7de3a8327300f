"""Runs the command line on a pseudo-terminal (POSIX), and records what it shows."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
from typing import IO, TYPE_CHECKING

import pyte
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

COLUMNS = 400  # no log line is wrapped
LINES = 200
END_TIMEOUT_SECONDS = 30


class Terminal:
    """A process on a terminal: its standard error, and optionally its output and its input.

    Attributes:
        seen: Every line that was ever visible.
        raw: All bytes written.

    Args:
        arguments: The command line.
        folder: Where it runs.
        environment: Additional variables.
        output: Where standard output goes: a file, the terminal (True), or nowhere (False).
        has_input: Whether standard input is the terminal, too, instead of a pipe.
        has_errors: Whether standard error is the terminal, instead of nowhere.
        size: The columns and lines that the process and the screen have.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | bool = False,
        has_input: bool = False,
        has_errors: bool = True,
        size: tuple[int, int] = (COLUMNS, LINES),
    ) -> None:
        self.seen: set[str] = set()
        self.raw = b""
        self._is_closing = threading.Event()
        self._is_closed = False
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        stdout = (slave if output else subprocess.DEVNULL) if isinstance(output, bool) else output
        environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            arguments,
            stdin=slave if has_input else subprocess.PIPE,
            stdout=stdout,
            stderr=slave if has_errors else subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,  # or closing the terminal would end the process
            env={**environ, "TERM": "xterm", **_describe_size(size), **(environment or {})},
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read_screen, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Return the running process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process if it is still running."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.close()

    def close(self) -> None:
        """Close the terminal, even if the process still writes to it."""
        self._is_closing.set()
        self._reader.join(END_TIMEOUT_SECONDS)
        if not self._is_closed:
            self._is_closed = True
            os.close(self._master)

    def write_lines(self, *lines: str) -> None:
        """Write lines to standard input, as a tap does."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def type_keys(self, keys: str) -> None:
        """Type on the terminal, where standard input is the terminal."""
        with contextlib.suppress(OSError):  # the process has ended
            os.write(self._master, keys.encode())

    def close_input(self) -> int:
        """Close standard input, and wait for the process and its output. Return the exit code."""
        if self.process.stdin is None:
            os.write(self._master, b"\x04")  # Ctrl-D
        else:
            self.process.stdin.close()
        code = self.process.wait(END_TIMEOUT_SECONDS)
        self._reader.join(END_TIMEOUT_SECONDS)
        return code

    @property
    def lines(self) -> list[str]:
        """The visible lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def has_cursor(self) -> bool:
        """Whether the cursor is visible."""
        return not self._screen.cursor.hidden

    def _read_screen(self) -> None:
        while not self._is_closing.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                written = os.read(self._master, 65536)
            except OSError:  # on Linux: nobody writes to it any more
                return
            if not written:
                return
            self.raw += written
            self._stream.feed(written)
            self.seen.update(self.lines)


def _describe_size(size: tuple[int, int]) -> dict[str, str]:
    return dict(zip(("COLUMNS", "LINES"), map(str, size), strict=True))
