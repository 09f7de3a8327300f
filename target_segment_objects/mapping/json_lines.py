"""Decode lines of JSON exactly: no digit of a number is lost, and what taps write is accepted.

Numbers with a fraction become `Decimal`. msgspec decodes almost every line; the rest is decoded by
the standard library: NaN, infinities, unpaired surrogates, and numbers beyond the limits of
`Decimal` and `int`. Pure; a reason never contains the content of a line.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

import msgspec

from target_segment_objects.mapping.values import DECODING_ERRORS, NonFinite

Record: TypeAlias = "dict[str, Any]"

_MAX_EXPONENT: Final = 999_999  # far beyond any 64-bit float, and valid in a Decimal
_TRUNCATED: Final = "the input ends in the middle of it, so the tap has probably crashed"

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class UnreadableLineError(Exception):
    """A line is not what it must be.

    Attributes:
        reason: Why, without the end of a sentence.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class RecordMessage(msgspec.Struct, tag_field="type", tag="RECORD"):
    """A RECORD message with the members that the mapping needs.

    Attributes:
        stream: The stream's name.
        record: The record.
        time_extracted: When the tap extracted it; metadata.
        version: The version of its table; metadata.
    """

    stream: str
    record: Record
    time_extracted: Any = None
    version: Any = None


_decode_message: Final = msgspec.json.Decoder(RecordMessage, float_hook=Decimal).decode


def decode_json(line: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """Decode a line.

    Raises:
        UnreadableLineError: It is not JSON.
    """
    try:
        return _decode(line)
    except DECODING_ERRORS:
        return _decode_leniently(line)


def decode_object(line: bytes) -> Record:
    """Decode a line that must be a JSON object.

    Raises:
        UnreadableLineError: It is not.
    """
    value = decode_json(line)
    if not isinstance(value, dict):
        raise UnreadableLineError("it is JSON, but not an object")
    return value


def decode_record_message(line: bytes, stream: str) -> RecordMessage:
    """Decode a RECORD message.

    Args:
        line: The message.
        stream: The stream that the message must name.

    Raises:
        UnreadableLineError: It is no RECORD message of this stream.
    """
    try:
        message = _decode_message(line)
    except DECODING_ERRORS:
        message = _convert_message(decode_object(line))
    if message.stream != stream:
        raise UnreadableLineError("it names more than one stream")
    return message


def decode_record(line: bytes, stream: str) -> RecordMessage:
    """Decode a record without a message around it.

    Raises:
        UnreadableLineError: It is not a JSON object.
    """
    return RecordMessage(stream, decode_object(line))


def _convert_message(members: Record) -> RecordMessage:
    if members.get("type") != "RECORD":
        raise UnreadableLineError("it has more than one type")
    missing = sorted({"record", "stream"} - members.keys())
    if missing:
        reason = f"it has no {' and no '.join(missing)}"
        raise UnreadableLineError(reason)
    if not isinstance(members["stream"], str):
        raise UnreadableLineError("its stream is not a string")
    if not isinstance(members["record"], dict):
        raise UnreadableLineError("its record is not an object")
    return RecordMessage(
        members["stream"],
        members["record"],
        members.get("time_extracted"),
        members.get("version"),
    )


def _decode_leniently(line: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """Decode what msgspec rejects but taps write.

    Raises:
        UnreadableLineError: It is not JSON.
    """
    try:
        return json.loads(
            line.decode(),
            parse_float=_parse_decimal,
            parse_int=_parse_integer,
            parse_constant=NonFinite,
        )
    except UnicodeDecodeError as cause:
        if cause.end == len(line) and cause.reason == "unexpected end of data":
            reason = _TRUNCATED
        else:
            reason = f"invalid UTF-8 at byte {cause.start + 1}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as cause:
        position = f" at character {cause.pos + 1}" if hasattr(cause, "pos") else ""
        reason = f"invalid JSON{position}" if line.endswith(b"\n") else _TRUNCATED
    raise UnreadableLineError(reason)  # outside of the handlers: the cause may contain the line


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
