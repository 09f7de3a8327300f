"""Where the results of a run go: API calls, STATE, invalid records, and reports of sessions.

The target knows only `Outlets`. `open_outlets` makes those of a real run; a dry run and the
benchmarks pass their own.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from singer_sdk.exceptions import MissingKeyPropertiesError
from singer_sdk.singerlib.json import serialize_json

from target_segment_objects.exceptions import MissingKeyError, OutputError
from target_segment_objects.segment.client import Client
from target_segment_objects.singer.dead_letters import DeadLetterFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import IO, TextIO

    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.exceptions import InvalidRecordError
    from target_segment_objects.mapping.mapper import RecordMapper
    from target_segment_objects.segment.api import BulkApi
    from target_segment_objects.settings import Settings


class KeyPropertyMissingError(MissingKeyError, MissingKeyPropertiesError):
    """A key property has no value; also the SDK's own error for it, for those who catch that."""


class RejectedRecord(msgspec.Struct, frozen=True):
    """A record that cannot be sent.

    Attributes:
        error: Why.
        schema_line: The SCHEMA message of its stream, as the tap wrote it.
        record_line: The RECORD message, as the tap wrote it.
    """

    error: InvalidRecordError
    schema_line: bytes
    record_line: bytes


class MappedStream(msgspec.Struct, frozen=True):
    """A stream with the mapping that was made from its SCHEMA.

    Attributes:
        source: The stream's name as the tap has it.
        name: Its name after stream maps.
        key_properties: The names of the properties that make the id.
        mapper: How its records become objects.
    """

    source: str
    name: str
    key_properties: tuple[str, ...]
    mapper: RecordMapper


class LedgerUse(msgspec.Struct, frozen=True):
    """How a run uses a ledger.

    Attributes:
        destination: What the ledger is bound to; None for the base URL of the API.
        checks_key: Whether it has to be of the write key.
        is_read_only: Whether the run works with a copy of it.
    """

    destination: str | None = None
    checks_key: bool = True
    is_read_only: bool = False


def _ignore(*_: object) -> None:
    """Do nothing."""


class Outlets(msgspec.Struct, frozen=True, kw_only=True):
    """Where the results of a run go.

    Attributes:
        api: Carries out the API calls.
        write_state: Writes a STATE's value; called in order, by one thread at a time.
        reject_record: Takes a record that cannot be sent, or raises to end the run.
        log_session: Takes the report of each finished session, in the thread that ran it.
        log_stream: Takes each stream with its mapping, at each SCHEMA.
        ledger: How a run uses a ledger, if the settings have one.
        stops_at_reject_limit: Whether a run stops reading at `max_invalid_records`, or only fails
            at the end.
        close: Closes what is open; may be called more than once.
    """

    api: BulkApi
    write_state: Callable[[Any], None]
    reject_record: Callable[[RejectedRecord], None]
    log_session: Callable[[SessionReport], None] = _ignore
    log_stream: Callable[[MappedStream], None] = _ignore
    ledger: LedgerUse = LedgerUse()
    stops_at_reject_limit: bool = True
    close: Callable[[], None] = _ignore


def open_outlets(
    settings: Settings,
    *,
    user_agent: str,
    api: BulkApi | None = None,
    destination: str | None = None,
    log_session: Callable[[SessionReport], None] = _ignore,
    pause_display: Callable[[TextIO], AbstractContextManager[object]] = nullcontext,
) -> Outlets:
    """Return the outlets of a real run; nothing is sent or written yet.

    Args:
        settings: The run's settings.
        user_agent: The User-Agent header of the API calls.
        api: Carries out the API calls; None for Segment's own API.
        destination: What a ledger is bound to; None for the base URL of the API.
        log_session: Takes the report of each finished session.
        pause_display: Hides what is displayed on a terminal while a stream is written to.
    """
    client = None
    if api is None:
        api = client = Client(
            settings.write_key,
            api_url=settings.api_url,
            timeout_seconds=settings.request_timeout_seconds,
            max_retries=settings.max_retries,
            user_agent=user_agent,
        )
    rejects = open_dead_letters(settings)

    def write_state(state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        if rejects is not None:
            rejects.flush()  # a STATE covers the rejected records before it, too
        with pause_display(sys.stdout):
            write_state_line(state, sys.stdout)

    def reject_record(record: RejectedRecord) -> None:
        if rejects is None:
            raise_invalid_record(record.error)
        rejects.append_record(record.schema_line, record.record_line, record.error)

    def close() -> None:
        if client is not None:
            client.close()
        if rejects is not None:
            rejects.close()

    return Outlets(
        api=api,
        write_state=write_state,
        reject_record=reject_record,
        log_session=log_session,
        ledger=LedgerUse(destination),
        close=close,
    )


def open_dead_letters(settings: Settings) -> DeadLetterFile | None:
    """Return the dead-letter file; None where an invalid record ends the run."""
    path = settings.dead_letter_file
    return None if path is None else DeadLetterFile(path)


def write_state_line(state: Any, stream: IO[str]) -> None:  # noqa: ANN401 - STATE is any JSON
    """Write a STATE's value as a line.

    Raises:
        OutputError: The stream cannot be written to.
    """
    try:
        stream.write(f"{serialize_json(state)}\n")
        stream.flush()
    except OSError as cause:
        # Python flushes standard output once more at exit, and would print a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        msg = f"Cannot write STATE to standard output: {cause.strerror or cause}."
        raise OutputError(msg) from cause


def raise_invalid_record(error: InvalidRecordError) -> NoReturn:
    """End the run at a record that cannot be sent.

    Raises:
        KeyPropertyMissingError: A key property has no value.
        InvalidRecordError: It cannot be sent for another reason.
    """
    if isinstance(error, MissingKeyError):
        raise KeyPropertyMissingError(error.stream, error.reason, field=error.field) from error
    raise error
