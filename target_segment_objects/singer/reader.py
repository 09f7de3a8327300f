"""Lines of the input → Singer messages; the only place that reads what a tap wrote.

Numbers with a fraction become `Decimal`s, so that their digits stay as the tap wrote them. A line
that is no Singer message ends the run: nobody can say what it was. The rule for others: whatever
is raised while a message is handled passes through here unchanged, and what a line contains is in
no message of ours.
"""

from __future__ import annotations

import io
import json
import sys
import zlib
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn, cast

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerReader

from target_segment_objects.exceptions import InputError, InvalidMessageError
from target_segment_objects.mapping.values import NonFinite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_CUT: Final = "the input ends in the middle of it, so the tap seems to have died"
_BUFFER_BYTES: Final = 128 * 1024  # twice what a pipe holds; lines are cut faster from more
_NO_HEAD: Final = b"\n"  # no line that is JSON begins so
_BEYOND_FLOATS: Final = 999_999  # an exponent: no 64-bit float comes near, and a Decimal takes it


RECORD_KEY: Final = b'"record"'
"""Ends a RECORD line's head, which is the same for all records of a stream, as taps go."""


class ReadingStopped(BaseException):
    """Reading was told to stop, as by KeyboardInterrupt; what was read is whole."""


class MessageReader(GenericSingerReader[bytes]):
    """Reads Singer messages from bytes.

    Attributes:
        line: The line of the message that is being handled.
        line_number: Its number, from 1.
        is_waiting: Whether it waits for the tap. Only then may a signal handler raise: no message
            is half handled.
        stop_requested: Set it to stop before the next line.
        fast_handlers: By the head of a line, up to `RECORD_KEY`, what may handle it without its
            being decoded here; it returns whether it did.
    """

    def __init__(self) -> None:
        """Begin before the first line."""
        super().__init__()
        self.line = b""
        self.line_number = 0
        self.is_waiting = False
        self.stop_requested = False
        self.fast_handlers: dict[bytes, Callable[[bytes], bool]] = {}

    @property
    def default_input(self) -> IO[bytes]:
        """Standard input, as bytes."""
        if sys.stdin is None:
            raise InputError("Standard input is closed, so there is nothing to read.")
        return sys.stdin.buffer

    def process_lines(
        self,
        file_input: IO[bytes] | IO[str] | None,
        callbacks: dict[str, Callable[[dict[str, Any]], None]],
    ) -> Counter[str]:
        """Read to the end, and hand each message to its type's callback.

        Args:
            file_input: Lines of bytes, or of text; None for standard input.
            callbacks: Message type to what handles it.

        Returns:
            The number of messages of each type.

        Raises:
            InvalidMessageError: A line is no Singer message.
            ReadingStopped: `stop_requested` was set.
        """
        count: Counter[str] = Counter()
        fast_handlers = self.fast_handlers
        head, shortcut, taken = _NO_HEAD, None, 0
        for line in self._lines_of(self.default_input if file_input is None else file_input):
            if self.stop_requested:
                raise ReadingStopped
            self.line_number += 1
            if not line.startswith(head):  # it is of another stream than the last one
                head = line[: line.find(RECORD_KEY)]
                shortcut = fast_handlers.get(head)
            if shortcut is not None and shortcut(line):
                taken += 1
                continue
            head, shortcut = _NO_HEAD, None  # what follows may change what there is
            self.line = line
            message = self.deserialize_json(line)
            self.assert_line_requires(message, {"type"})
            kind = message["type"]
            callback = callbacks.get(kind) if isinstance(kind, str) else None
            if callback is None:
                self.raise_invalid("its type is none that Singer has")
            callback(message)
            count[kind] += 1
        if taken:
            count["RECORD"] += taken
        return count

    def deserialize_json(self, line: bytes) -> dict[str, Any]:
        """Return the message that a line holds.

        Raises:
            InvalidMessageError: It holds none.
        """
        try:
            message = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation, RecursionError):
            message = self._deserialize_leniently(line)
        if not isinstance(message, dict):
            self.raise_invalid("it is JSON, but no object")
        return message

    def assert_line_requires(  # type: ignore[override]  # the SDK has a static method, called alike
        self, line_dict: dict[str, Any], requires: set[str]
    ) -> None:
        """Refuse a message that lacks something.

        Raises:
            InvalidMessageError: One of `requires` is missing.
        """
        missing = sorted(requires - line_dict.keys())
        if missing:
            self.raise_invalid(f"it has no {' and no '.join(missing)}")

    def _lines_of(self, file: IO[bytes] | IO[str]) -> Iterable[bytes]:
        if isinstance(file, io.TextIOBase):
            return self._encoded(file)
        return io.BufferedReader(_Tap(cast("IO[bytes]", file), self), _BUFFER_BYTES)

    def _encoded(self, file: IO[str]) -> Iterator[bytes]:
        while True:
            with self.waiting():
                line = file.readline()
            if not line:
                return
            yield line.encode(errors="surrogatepass")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for the tap.

        Raises:
            InputError: It cannot be read.
            ReadingStopped: `stop_requested` was set.
        """
        self.is_waiting = True
        try:
            if self.stop_requested:
                raise ReadingStopped
            yield
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as cause:
            reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            msg = (
                f"The input cannot be read beyond line {self.line_number}: {reason}. What came "
                "before is delivered."
            )
            raise InputError(msg) from cause
        finally:
            self.is_waiting = False

    def _deserialize_leniently(self, line: bytes) -> Any:  # noqa: ANN401 - JSON is anything
        """Read what msgspec refuses but taps do write: NaN, infinities, halves of surrogates."""
        if not line.strip():
            self.raise_invalid("it is blank")
        try:
            return json.loads(
                line.decode(),
                parse_float=_decimal,
                parse_int=_integer,
                parse_constant=NonFinite,
            )
        except UnicodeDecodeError as cause:
            if cause.end == len(line) and cause.reason == "unexpected end of data":
                self.raise_invalid(_CUT)
            self.raise_invalid(f"it is not UTF-8 at byte {cause.start + 1}")
        except RecursionError:
            self.raise_invalid("it is nested too deeply")
        except ValueError as cause:
            if not line.endswith(b"\n"):
                self.raise_invalid(_CUT)
            where = f" at character {cause.pos + 1}" if hasattr(cause, "pos") else ""
            self.raise_invalid(f"it is not JSON{where}")

    def raise_invalid(self, why: str) -> NoReturn:
        """End the run at the current line.

        Raises:
            InvalidMessageError: Always.
        """
        msg = (
            f"Line {self.line_number} of the input is no Singer message: {why}. What came before "
            "it is delivered; see what the tap printed there."
        )
        raise InvalidMessageError(msg) from None  # what is below holds the line


def _integer(digits: str) -> int | Decimal:
    """Read an integer, of more digits than Python takes (4300) too."""
    try:
        return int(digits)
    except ValueError:
        return Decimal(digits)


def _decimal(digits: str) -> Decimal:
    """Read a number with a fraction, with an exponent of more digits than a Decimal takes too."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        mantissa, _, exponent = digits.lower().partition("e")
        sign = "-" if exponent.startswith("-") else ""
        return Decimal(f"{mantissa}e{sign}{_BEYOND_FLOATS}")


class _Tap(io.RawIOBase):
    """Bytes as they come, for a buffer around it: so waiting is noted once for many lines."""

    def __init__(self, file: IO[bytes], reader: MessageReader) -> None:
        super().__init__()
        # As much as there is, and no more: a tap may be slow.
        read = getattr(file, "readinto1", None) or file.readinto  # type: ignore[attr-defined]
        self._read: Callable[[memoryview], int | None] = read
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        with self._reader.waiting():
            return self._read(buffer)
