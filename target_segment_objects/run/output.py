"""Where the results of a run go: API calls, STATE, invalid records, and reports of sessions.

The target knows only `RunOutput`. `SegmentOutput` is that of a real run; a dry run has its own.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import msgspec

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


class LedgerBinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's ledger has to be bound to, and how the run uses it.

    Attributes:
        destination: What the ledger is bound to; None for the base URL of the API.
        checks_key: Whether it has to be of the write key.
        is_read_only: Whether the run works with a copy of it.
        accept_deletes: Whether the run may mark more objects as deleted than the settings allow.
        adopt_command: What the user can run to have a ledger adopt the key, for messages; {path} is
            its file.
    """

    destination: str | None = None
    checks_key: bool = True
    is_read_only: bool = False
    accept_deletes: bool = False
    adopt_command: str = ""


class RunOutput:
    """Where the results of a run go. The base drops them, and ends the run at an invalid record.

    Attributes:
        api: Carries out the API calls.
        ledger: How the run uses a ledger, if the settings have one.
        stops_at_reject_limit: Whether a run stops reading at `max_invalid_records`, or only fails
            at the end.
    """

    stops_at_reject_limit: ClassVar[bool] = True

    def __init__(self, api: BulkApi, ledger: LedgerBinding | None = None) -> None:
        self.api = api
        self.ledger = ledger or LedgerBinding()

    def write_state(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Write a STATE's value; called in order, by one thread at a time."""

    def reject_record(self, rejected: RejectedRecord) -> None:
        """Take a record that cannot be sent, or raise to end the run."""
        _raise_invalid_record(rejected.error)

    def log_session(self, report: SessionReport) -> None:
        """Take the report of each finished session, in the thread that ran it."""

    def log_stream(self, mapped: MappedStream) -> None:
        """Take each stream with its mapping, at each SCHEMA."""

    def close(self) -> None:
        """Close what is open; may be called more than once."""


class SegmentOutput(RunOutput):
    """The output of a real run; nothing is sent or written at first.

    Attributes:
        hidden_states: How many STATEs were counted and not written.

    Args:
        settings: The run's settings.
        user_agent: The User-Agent header of the API calls.
        api: Carries out the API calls; None for Segment's own API.
        ledger: How the run uses a ledger, if the settings have one.
        log_session: Takes the report of each finished session.
        pause_display: Hides what is displayed on a terminal while a stream is written to.
        hides_state: Whether STATE is counted instead of written.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        user_agent: str,
        api: BulkApi | None = None,
        ledger: LedgerBinding | None = None,
        log_session: Callable[[SessionReport], None] | None = None,
        pause_display: Callable[[TextIO], AbstractContextManager[object]] = nullcontext,
        hides_state: bool = False,
    ) -> None:
        self._client: Client | None = None
        if api is None:
            api = self._client = Client(
                settings.write_key,
                api_url=settings.api_url,
                timeout_seconds=settings.request_timeout_seconds,
                max_retries=settings.max_retries,
                user_agent=user_agent,
            )
        super().__init__(api, ledger)
        self._rejects = open_dead_letters(settings)
        self._log_session = log_session
        self._pause_display = pause_display
        self._hides_state = hides_state
        self.hidden_states = 0

    def write_state(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Write it to standard output, or count it.

        Raises:
            OutputError: Standard output cannot be written to.
        """
        if self._rejects is not None:
            self._rejects.flush()  # a STATE covers the rejected records before it, too
        if self._hides_state:
            self.hidden_states += 1
            return
        with self._pause_display(sys.stdout):
            _write_state_line(state, sys.stdout)

    def reject_record(self, rejected: RejectedRecord) -> None:
        """Write it to the dead-letter file; without one, end the run."""
        if self._rejects is None:
            _raise_invalid_record(rejected.error)
        self._rejects.append_record(rejected.schema_line, rejected.record_line, rejected.error)

    def log_session(self, report: SessionReport) -> None:
        """Pass the report on."""
        if self._log_session is not None:
            self._log_session(report)

    def close(self) -> None:
        """Close the connections and the dead-letter file."""
        if self._client is not None:
            self._client.close()
        if self._rejects is not None:
            self._rejects.close()


def open_dead_letters(settings: Settings) -> DeadLetterFile | None:
    """Return the dead-letter file; None where an invalid record ends the run."""
    path = settings.dead_letter_file
    return None if path is None else DeadLetterFile(path)


def _write_state_line(state: Any, stream: IO[str]) -> None:  # noqa: ANN401 - STATE is any JSON
    # Not at the start: rows from Python are loaded without the SDK, and have no STATE.
    from singer_sdk.singerlib.json import serialize_json  # noqa: PLC0415

    try:
        stream.write(f"{serialize_json(state)}\n")
        stream.flush()
    except OSError as cause:
        # Python flushes standard output once more at exit, and would print a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        msg = f"Cannot write STATE to standard output: {cause.strerror or cause}."
        raise OutputError(msg) from cause


def _raise_invalid_record(error: InvalidRecordError) -> NoReturn:
    """End the run at a record that cannot be sent."""
    if isinstance(error, MissingKeyError):
        from target_segment_objects.run.key_error import (  # noqa: PLC0415 - imports the SDK
            KeyPropertyMissingError,
        )

        raise KeyPropertyMissingError(error.stream, error.reason, field=error.field) from error
    raise error
