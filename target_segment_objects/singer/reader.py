"""Read the lines of the input as Singer messages.

This is the only module that reads the tap's output. RECORD lines are passed on as they are, in
blocks; all other messages are decoded. A line that is not a Singer message ends the run, because
its meaning is unknown.

Exceptions that a callback raises pass through unchanged. Error messages never contain the content
of a line.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, cast

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerReader

from target_segment_objects.exceptions import InputError, InvalidMessageError
from target_segment_objects.gzip_reading import GZIP_ERRORS
from target_segment_objects.mapping.json_lines import UnreadableLineError, decode_object
from target_segment_objects.mapping.values import DECODING_ERRORS, ENCODER
from target_segment_objects.singer.raw_input import (
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    LineTooLongError,
    explain_read_error,
    open_input,
    read_blocks,
)
from target_segment_objects.singer.record_blocks import MessageHeader, RecordBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READ_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, UnicodeDecodeError, *GZIP_ERRORS)
_NO_PREFIX: Final = b"\n\n"  # no line starts with it
_RECORD_KEY: Final = b'"record"'
"""Ends the record prefix: the part of a RECORD line that a tap repeats for all of a stream."""

_decode: Final = msgspec.json.Decoder(MessageHeader, float_hook=Decimal).decode


class Message(NamedTuple):
    """A message that is no RECORD of a known stream.

    Attributes:
        type: Its type.
        content: The decoded message.
    """

    type: str
    content: dict[str, Any]


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
        streams: The collections of each stream whose RECORD lines are passed on as they are.
        current_schemas: By stream, the SCHEMA line that would change nothing if it came again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.line = b""
        self.line_number = 0
        self.is_waiting = False
        self.stop_requested = False
        self.has_reached_end = False
        self.streams: dict[str, frozenset[str]] = {}
        self.current_schemas: dict[str, bytes] = {}
        self._headers: dict[bytes, MessageHeader] = {}  # of RECORD lines, by their prefix
        self._prefix_of: dict[str, bytes] = {}  # the last one of each stream

    @property
    def default_input(self) -> IO[bytes]:
        """Standard input, in bytes."""
        if sys.stdin is None:
            raise InputError("Standard input is closed. Pipe a tap into it, or use --input.")
        return sys.stdin.buffer

    def process_lines(
        self,
        file_input: IO[bytes] | IO[str] | None,
        callbacks: dict[str, Callable[[Any], None]],
    ) -> Counter[str]:
        """Read to the end and pass each message to the callback of its type.

        Args:
            file_input: Lines as bytes or as strings; None for standard input.
            callbacks: Message type to callback. That of RECORD takes a `RecordBlock`, which may
                have other messages in it, or the message of a stream that is not in `streams`.

        Returns:
            The number of messages of each type.

        Raises:
            InvalidMessageError: A line is not a Singer message.
            ReadingStopped: `stop_requested` was set.
        """
        counts: Counter[str] = Counter()
        for lines in self._read_blocks(self.default_input if file_input is None else file_input):
            last_number = self.line_number + len(lines)
            for item in self._split_block(lines):
                if self.stop_requested:
                    raise ReadingStopped
                if isinstance(item, RecordBlock):
                    counts.update(item.count_messages())
                    callbacks["RECORD"](item)
                else:
                    self._dispatch_message(item, callbacks)
                    counts[item.type] += 1
            self.line_number = last_number
        self.has_reached_end = not self.stop_requested  # a signal may have ended the tap, too
        return counts

    def _split_block(self, lines: list[bytes]) -> Iterator[RecordBlock | Message]:
        """Yield the records and the other messages of lines that were read at the same time.

        Any message that is not held in a block comes after what was before it and before what is
        after it, and so does an error.
        """
        block = RecordBlock()
        prefix = _NO_PREFIX
        current: list[bytes] = []  # the lines of the group of that prefix
        for number, line in enumerate(lines, self.line_number + 1):
            if line.startswith(prefix):  # the stream is the same
                current.append(line)
                continue
            prefix = _NO_PREFIX  # the next line's number may not follow the last one's
            record_prefix = line[: line.find(_RECORD_KEY) + len(_RECORD_KEY)]
            header = self._headers.get(record_prefix)
            if header is None:
                if line.isspace():
                    continue
                header = self._read_header(line, record_prefix)
                if block.hold(number, line, header, self.current_schemas):
                    continue
            # A RECORD without a SCHEMA is passed on by itself, as any other message.
            collections = self.streams.get(header.stream) if header.is_record else None
            if collections is None or not block.can_add(header.stream, collections):
                if block.has_messages:
                    yield block
                    block = RecordBlock()
                if collections is None:
                    self.line_number, self.line = number, line
                    yield self._decode_message(line)
                    continue
            current = block.start_span(header, collections, number)
            current.append(line)
            prefix = self._prefix_of.get(header.stream, _NO_PREFIX)
        if block.has_messages:
            yield block

    def _read_header(self, line: bytes, prefix: bytes) -> MessageHeader:
        """Return the header of a line; an empty one if it is no JSON object."""
        header = _decode_header(line)
        if header.is_record:
            self._learn_prefix(prefix, header)
        return header

    def _learn_prefix(self, prefix: bytes, header: MessageHeader) -> None:
        """Keep the prefix of a stream's RECORD lines, if it says all that the header does."""
        before = self._prefix_of.pop(header.stream, None)
        if before is not None:
            del self._headers[before]
        if _decode_header(prefix + b":0}") == header:
            self._headers[prefix] = header
            self._prefix_of[header.stream] = prefix

    def _decode_message(self, line: bytes) -> Message:
        """Decode the current line."""
        content = self.deserialize_json(line)
        self.assert_line_requires(content, {"type"})
        if not isinstance(content["type"], str):
            self.raise_invalid("its type is not a Singer message type")
        return Message(content["type"], content)

    def _dispatch_message(
        self, message: Message, callbacks: dict[str, Callable[[Any], None]]
    ) -> None:
        callback = callbacks.get(message.type)
        if callback is None:
            self.raise_invalid("its type is not a Singer message type")
        callback(message.content)

    def deserialize_json(self, line: bytes) -> dict[str, Any]:
        """Decode a line into a message.

        Raises:
            InvalidMessageError: The line is not a JSON object.
        """
        try:
            return decode_object(line)
        except UnreadableLineError as error:
            self.raise_invalid(error.reason)

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


def _decode_header(line: bytes) -> MessageHeader:
    """Return the header of a line; an empty one if it is no JSON object."""
    try:
        return _decode(line)
    except DECODING_ERRORS:
        pass
    try:
        members = decode_object(line)
    except UnreadableLineError:
        return MessageHeader()
    read = {name: members[name] for name in MessageHeader.__struct_fields__ if name in members}
    if "value" in read:
        read["value"] = msgspec.Raw(ENCODER.encode(read["value"]))
    return MessageHeader(**read)
