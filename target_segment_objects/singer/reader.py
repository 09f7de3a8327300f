"""Decode the lines of the input into Singer messages.

This is the only module that reads the tap's output. Numbers with a fraction become `Decimal`, which
keeps the digits that the tap wrote. A line that is not a Singer message ends the run, because its
meaning is unknown.

Exceptions that a callback raises pass through unchanged. Error messages never contain the content
of a line.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn, cast

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerReader

from target_segment_objects.exceptions import InputError, InvalidMessageError
from target_segment_objects.mapping.values import NonFinite
from target_segment_objects.singer.line_groups import LineGroups
from target_segment_objects.singer.raw_input import (
    BYTE_ORDER_MARK,
    GZIP_ERRORS,
    MAX_LINE_BYTES,
    LineTooLongError,
    explain_read_error,
    open_input,
    read_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_segment_objects.singer.line_groups import LineLoader

    Callbacks = dict[str, Callable[[dict[str, Any]], None]]

_READ_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, UnicodeDecodeError, *GZIP_ERRORS)
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_TRUNCATED: Final = "the input ends in the middle of it, so the tap has probably crashed"
_NO_PREFIX: Final = b"\n\n"  # no line starts with it
_MAX_EXPONENT: Final = 999_999  # far beyond any 64-bit float, and valid in a Decimal


RECORD_KEY: Final = b'"record"'
"""Ends the record prefix: the part of a RECORD line that a tap repeats for all of a stream."""


class ReadingStopped(BaseException):
    """Reading was stopped on request. No message is partly handled."""


def is_string_list(value: object) -> bool:
    """Return whether a decoded JSON value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


class MessageReader(GenericSingerReader[bytes]):
    """Reads Singer messages from bytes.

    Attributes:
        line: The line of the current message.
        line_number: The number of the current line, from 1.
        is_waiting: Whether the reader waits for input. Only then may a signal handler raise,
            because no message is partly handled.
        stop_requested: Set to True to stop before the next line.
        has_reached_end: Whether the input was read to its end, without a stop or an error.
        fast_loaders: Record prefix (a line up to `RECORD_KEY`) to what loads the lines that begin
            with it, many at a time, before they are decoded. They wait for no other line than
            those that were read at the same time.
    """

    def __init__(self) -> None:
        """Start before the first line."""
        super().__init__()
        self.line = b""
        self.line_number = 0
        self.is_waiting = False
        self.stop_requested = False
        self.has_reached_end = False
        self.fast_loaders: dict[bytes, LineLoader] = {}

    @property
    def default_input(self) -> IO[bytes]:
        """Standard input, in bytes."""
        if sys.stdin is None:
            raise InputError("Standard input is closed. Pipe a tap into it, or use --input.")
        return sys.stdin.buffer

    def process_lines(
        self,
        file_input: IO[bytes] | IO[str] | None,
        callbacks: dict[str, Callable[[dict[str, Any]], None]],
    ) -> Counter[str]:
        """Read to the end and pass each message to the callback of its type.

        Args:
            file_input: Lines as bytes or as strings; None for standard input.
            callbacks: Message type to callback.

        Returns:
            The number of messages of each type.

        Raises:
            InvalidMessageError: A line is not a Singer message.
            ReadingStopped: `stop_requested` was set.
        """
        counts: Counter[str] = Counter()
        for lines in self._read_blocks(self.default_input if file_input is None else file_input):
            if self.stop_requested:
                raise ReadingStopped
            self._process_block(lines, callbacks, counts)
        self.has_reached_end = not self.stop_requested  # a signal may have ended the tap, too
        return counts

    def _process_block(
        self, lines: list[bytes], callbacks: Callbacks, counts: Counter[str]
    ) -> None:
        """Process lines that were read at the same time.

        Those of one stream are loaded together, also if lines of other streams are between them.
        Any other message comes after what was before it and before what is after it.
        """
        groups = LineGroups()
        prefix = _NO_PREFIX
        current: list[bytes] = []  # the lines of the group of that prefix
        last_number = self.line_number + len(lines)
        for number, line in enumerate(lines, self.line_number + 1):
            if line.startswith(prefix):  # the stream is the same
                current.append(line)
                continue
            if line.isspace():
                prefix = _NO_PREFIX  # the next line's number does not follow the last one's
                continue
            prefix = line[: line.find(RECORD_KEY)]
            group = groups.get(prefix)
            loader = self.fast_loaders.get(prefix) if group is None else None
            if loader is not None:
                if groups.has_collection(loader.collection):  # its objects keep their order
                    self._load_groups(groups, callbacks, counts)
                group = groups.add(prefix, loader)
            if group is not None:
                current = group.start_run(number)
                current.append(line)
                continue
            self._load_groups(groups, callbacks, counts)
            if self.stop_requested:
                raise ReadingStopped
            self.line_number = number
            counts[self._dispatch_message(line, callbacks)] += 1
            prefix = _NO_PREFIX  # the callback may have changed the loaders
        self._load_groups(groups, callbacks, counts)
        self.line_number = last_number

    def _load_groups(self, groups: LineGroups, callbacks: Callbacks, counts: Counter[str]) -> None:
        """Load the lines of all groups."""

        def load_slowly(line: bytes, number: int) -> None:
            self.line_number = number
            self._dispatch_message(line, callbacks)

        if groups.has_lines:
            counts["RECORD"] += groups.load(load_slowly)

    def _dispatch_message(self, line: bytes, callbacks: Callbacks) -> str:
        """Decode a line, call the callback of its type, and return the type."""
        self.line = line
        message = self.deserialize_json(line)
        self.assert_line_requires(message, {"type"})
        message_type = message["type"]
        callback = callbacks.get(message_type) if isinstance(message_type, str) else None
        if callback is None:
            self.raise_invalid("its type is not a Singer message type")
        callback(message)
        return cast("str", message_type)

    def deserialize_json(self, line: bytes) -> dict[str, Any]:
        """Decode a line into a message.

        Raises:
            InvalidMessageError: The line is not a JSON object.
        """
        try:
            message = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation, RecursionError):
            message = self._deserialize_leniently(line)
        if not isinstance(message, dict):
            self.raise_invalid("it is JSON, but not an object")
        return message

    def assert_line_requires(  # type: ignore[override]  # static in the SDK; here it needs the line
        self, line_dict: dict[str, Any], requires: set[str]
    ) -> None:
        """Check that a message has the required members.

        Raises:
            InvalidMessageError: A member of `requires` is missing.
        """
        missing = sorted(requires - line_dict.keys())
        if missing:
            self.raise_invalid(f"it has no {' and no '.join(missing)}")

    def require_stream(self, message: dict[str, Any], *members: str) -> str:
        """Return the stream of a message that must have a stream and other members.

        Raises:
            InvalidMessageError: A member is missing, or the stream is not a string.
        """
        self.assert_line_requires(message, {"stream", *members})
        stream = message["stream"]
        if not isinstance(stream, str):
            self.raise_invalid("its stream is not a string")
        return stream

    def _read_blocks(self, file: IO[bytes] | IO[str]) -> Iterator[list[bytes]]:
        """Yield the lines of the input, those together that are available at the same time.

        Raises:
            InputError: The input cannot be read.
            ReadingStopped: `stop_requested` was set.
        """
        if isinstance(file, io.TextIOBase):
            blocks = self._encode_lines(file)
        else:
            blocks = read_blocks(open_input(cast("IO[bytes]", file), self._wait_for_input))
        try:
            yield from blocks
        except LineTooLongError as cause:
            raise self._read_error(cause) from cause

    def _encode_lines(self, file: IO[str]) -> Iterator[list[bytes]]:
        for number in itertools.count(1):
            with self._wait_for_input():
                line = file.readline(MAX_LINE_BYTES + 1)
            if len(line) > MAX_LINE_BYTES and not line.endswith("\n"):
                raise LineTooLongError(number)
            if not line:
                return
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK.decode())
            yield [line.encode(errors="surrogatepass")]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark the reader as waiting for a file while the block runs.

        Raises:
            ReadingStopped: `stop_requested` was set.
        """
        self.is_waiting = True
        try:
            if self.stop_requested:
                raise ReadingStopped
            yield
        finally:
            self.is_waiting = False

    @contextmanager
    def _wait_for_input(self) -> Iterator[None]:
        """Wait for the input, and translate its errors.

        Raises:
            InputError: The input cannot be read.
            ReadingStopped: `stop_requested` was set.
        """
        try:
            with self.waiting():
                yield
        except _READ_ERRORS as cause:
            raise self._read_error(cause) from cause

    def _read_error(self, cause: Exception) -> InputError:
        reason = explain_read_error(cause)
        if self.line_number == 0:
            return InputError(f"The input cannot be read: {reason}.")
        return InputError(
            f"The input cannot be read beyond line {self.line_number}: {reason}. Everything up to "
            "that line is delivered."
        )

    def _deserialize_leniently(self, line: bytes) -> Any:  # noqa: ANN401 - JSON is anything
        """Decode what msgspec rejects but taps write: NaN, infinities, lone surrogates."""
        try:
            return json.loads(
                line.decode(),
                parse_float=_parse_decimal,
                parse_int=_parse_integer,
                parse_constant=NonFinite,
            )
        except UnicodeDecodeError as cause:
            if cause.end == len(line) and cause.reason == "unexpected end of data":
                self.raise_invalid(_TRUNCATED)
            self.raise_invalid(f"invalid UTF-8 at byte {cause.start + 1}")
        except RecursionError:
            self.raise_invalid("it is nested too deeply")
        except ValueError as cause:
            if not line.endswith(b"\n"):
                self.raise_invalid(_TRUNCATED)
            position = f" at character {cause.pos + 1}" if hasattr(cause, "pos") else ""
            self.raise_invalid(f"invalid JSON{position}")

    def raise_invalid(self, reason: str) -> NoReturn:
        """Refuse the current line.

        Raises:
            InvalidMessageError: Always.
        """
        msg = (
            f"Line {self.line_number} of the input is not a Singer message: {reason}. Everything "
            "before it is delivered. Check what the tap printed there."
        )
        raise InvalidMessageError(msg) from None  # the cause may contain the line


def _parse_integer(digits: str) -> int | Decimal:
    """Parse an integer, even one with more digits than Python's limit of 4300."""
    try:
        return int(digits)
    except ValueError:
        return Decimal(digits)


def _parse_decimal(digits: str) -> Decimal:
    """Parse a number with a fraction or an exponent, even an exponent that Decimal rejects."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        mantissa, _, exponent = digits.lower().partition("e")
        sign = "-" if exponent.startswith("-") else ""
        return Decimal(f"{mantissa}e{sign}{_MAX_EXPONENT}")
