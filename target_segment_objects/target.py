"""The target: what a message of each kind does, and the end of a run."""

from __future__ import annotations

import copy
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, cast

import click
from dotenv import find_dotenv, load_dotenv
from singer_sdk import Target
from singer_sdk.exceptions import (
    ConfigValidationError,
    MissingKeyPropertiesError,
    RecordsWithoutSchemaException,
    SingerSDKError,
)
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.plugin_base import _ConfigInput  # the type that the SDK's own `invoke` takes
from singer_sdk.singerlib.json import serialize_json

from target_segment_objects import config_validation
from target_segment_objects.cli import command as cli
from target_segment_objects.delivery.scheduler import DeliveryScheduler
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import (
    InputError,
    InvalidMessageError,
    InvalidRecordError,
    MissingKeyError,
    OutputError,
    SegmentObjectsError,
)
from target_segment_objects.mapping.naming import CollectionResolver
from target_segment_objects.reporting import summary
from target_segment_objects.reporting.progress import Progress, ProgressSnapshot, is_terminal
from target_segment_objects.reporting.summary import RunStats, StreamStats
from target_segment_objects.segment.client import Client
from target_segment_objects.settings import SETTINGS, Settings
from target_segment_objects.singer import batch_files
from target_segment_objects.singer.dead_letters import DeadLetterFile
from target_segment_objects.singer.reader import RECORD_KEY, MessageReader, ReadingStopped
from target_segment_objects.sinks import SegmentObjectsSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum
    from singer_sdk.mapper import StreamMap

    from target_segment_objects.delivery.uploader import SessionReport

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SIGNALLED: Final = 128  # and the signal's number: what a shell makes of a process so ended


class KeyPropertyMissingError(MissingKeyError, MissingKeyPropertiesError):
    """A key property has no value: ours, for those who know it by the SDK's name."""


class _StopNow(BaseException):
    """The user asked a second time: what is open is ended, not delivered."""


class TargetSegmentObjects(Target):
    """Loads any tap's records into Segment's Objects Bulk API."""

    name = "target-segment-objects"
    config_jsonschema: ClassVar[dict[str, Any]] = copy.deepcopy(SETTINGS)  # the SDK adds its own
    default_sink_class = SegmentObjectsSink
    message_reader_class = MessageReader
    message_reader: MessageReader
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.BATCH,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
        TargetCapabilities.VALIDATE_RECORDS,
    ]

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the SDK's own arguments
        """Check the settings; nothing is sent or written yet.

        Args:
            **kwargs: As the SDK's `Target` takes them.
        """
        super().__init__(**kwargs)
        self.max_parallelism = 1  # the SDK's sinks have nothing to drain: delivery has threads
        self._schema_lines: dict[str, bytes] = {}
        self._heads: dict[str, bytes] = {}  # of RECORD lines, stream by stream
        self.stats = RunStats()
        self._versions_told: set[str] = set()
        self._signal: int | None = None
        self._waking = False

    # What a run is made of

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked and complete."""
        return Settings.from_config(self.config)

    @cached_property
    def collections(self) -> CollectionResolver:
        """Which stream goes to which collection."""
        return CollectionResolver(
            self.settings.collection_map,
            pluralize=self.settings.pluralize_collections,
            log=self.logger.info,
        )

    @cached_property
    def delivery(self) -> DeliveryScheduler:
        """What delivers the objects."""
        return DeliveryScheduler(
            self._client,
            self._spool,
            write_state=self._write_state_message,
            on_session_finished=self._session_finished,
            on_failure=self._stop_reading,
            options=self.settings.delivery,
        )

    @property
    def counts(self) -> Mapping[str, StreamStats]:
        """Stream to its counts, which whoever reads one of its records adds to."""
        return self.stats.streams

    @property
    def user_agent(self) -> str:
        """How we present ourselves to Segment."""
        return f"{self.name}/{metadata.version(self.name)}"

    @cached_property
    def _client(self) -> Client:
        return Client(
            self.settings.write_key,
            api_url=self.settings.api_url,
            timeout_seconds=self.settings.request_timeout_seconds,
            max_retries=self.settings.max_retries,
            user_agent=self.user_agent,
        )

    @cached_property
    def _spool(self) -> Spool:
        return Spool(self.settings.spool_dir)

    @cached_property
    def _dead_letters(self) -> DeadLetterFile | None:
        path = self.settings.dead_letter_file
        return None if path is None else DeadLetterFile(path)

    @cached_property
    def _progress(self) -> Progress:
        return Progress(self._look, sys.stderr, self.logger)

    # Settings

    @property
    def _env_var_config(self) -> dict[str, Any]:
        return self._environment()

    @classmethod
    def _environment(cls) -> dict[str, Any]:
        """Read the settings from the environment and from the `.env` of the current folder.

        The SDK's own way stops with a traceback at a number that is none.
        """
        load_dotenv(find_dotenv(usecwd=True))
        schema = cls.config_jsonschema
        cls.append_builtin_config(schema)
        return config_validation.read_environment(os.environ, "TARGET_SEGMENT_OBJECTS_", schema)

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Say in our words what is wrong with the settings, before the SDK does in its own."""
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        self._config = {name: value for name, value in self._config.items() if value is not None}
        for warning in config_validation.unknown_setting_warnings(self._config, schema):
            self.logger.warning(warning)
        found = config_validation.validation_errors(self._config, schema)
        if found and raise_errors:
            msg = "The settings are not usable"
            raise ConfigValidationError(msg, errors=found, schema=schema)
        return found or super()._validate_config(raise_errors=raise_errors)

    # Messages

    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        stream = self._stream_of(message_dict, "schema")
        schema = message_dict["schema"]
        if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
            self.message_reader.raise_invalid("its schema has no properties")
        if not _is_list_of_texts(message_dict.get("key_properties") or []):
            self.message_reader.raise_invalid("its key_properties are no list of names")
        self._schema_lines[stream] = self.message_reader.line
        self.message_reader.fast_handlers.pop(self._heads.pop(stream, b""), None)
        super()._process_schema_message(message_dict)

    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        self._stream_of(message_dict, "record")
        if not isinstance(message_dict["record"], dict):
            self.message_reader.raise_invalid("its record is no object")
        self._load(message_dict, self.message_reader.line)
        if message_dict["stream"] not in self._heads:
            self._take_fast_way(message_dict["stream"])

    def _take_fast_way(self, stream: str) -> None:
        """Let further RECORDs of a stream that begin as this one be loaded the fast way."""
        line = self.message_reader.line
        head = self._heads[stream] = line[: line.find(RECORD_KEY)]
        shortcut = self._shortcut(stream)
        if shortcut is not None:
            self.message_reader.fast_handlers[head] = shortcut

    def _shortcut(self, stream: str) -> Callable[[bytes], bool] | None:
        """Return what may load a RECORD's line, where the SDK does nothing to a record.

        That is so without stream maps, flattening and metadata: the record is loaded as it is.
        """
        stream_maps = self.mapper.stream_maps[stream]
        sink = self._sinks_active.get(stream)
        if (
            isinstance(sink, SegmentObjectsSink)
            and not sink.include_sdc_metadata_properties
            and len(stream_maps) == 1
            and type(stream_maps[0]) is SameRecordTransform
            and stream_maps[0].stream_alias == stream
            and not stream_maps[0].flattening_enabled
        ):
            return sink.load_line
        return None

    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        stream = self._stream_of(message_dict, "encoding", "manifest")
        storage = (self.config.get("batch_config") or {}).get("storage")
        as_text = serialize_json(stream).encode()
        shortcut = None
        for number, line in enumerate(
            batch_files.read_record_lines(message_dict, storage), start=1
        ):
            message_line = b'{"type":"RECORD","stream":%b,"record":%b}' % (as_text, line.strip())
            if shortcut is not None and batch_files.is_json(line) and shortcut(message_line):
                continue
            try:
                record = self.message_reader.deserialize_json(line)
            except InvalidMessageError as cause:
                msg = (
                    f"Record {number} of the BATCH files of stream '{stream}' (line "
                    f"{self.message_reader.line_number} of the input) is no JSON object. What came "
                    "before it is delivered."
                )
                raise InputError(msg) from cause
            self._load({"type": "RECORD", "stream": stream, "record": record}, message_line)
            shortcut = self._shortcut(stream)

    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        stream = self._stream_of(message_dict, "version")
        if stream not in self._versions_told:
            self._versions_told.add(stream)
            self.warn(
                stream,
                f"Stream '{stream}': the tap replaces all its rows by a new version, but Segment "
                "has no delete: rows that are gone at the source stay.",
            )

    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"value"})
        self.delivery.add_state(message_dict["value"])

    def _stream_of(self, message: dict[str, Any], *required: str) -> str:
        """Return a message's stream; refuse one that lacks it, or something else that it needs."""
        self._assert_line_requires(message, requires={"stream", *required})
        stream = message["stream"]
        if not isinstance(stream, str):
            self.message_reader.raise_invalid("its stream is no text")
        return stream

    def _load(self, message: dict[str, Any], line: bytes) -> None:
        """Give a record to each of its stream's sinks."""
        self.counts[message["stream"]].read += 1
        stream_maps = self.mapper.stream_maps.get(message["stream"])
        if stream_maps is None:
            msg = (
                f"Stream '{message['stream']}' has a record before its SCHEMA (line "
                f"{self.message_reader.line_number} of the input). What came before is delivered; "
                "the tap is at fault."
            )
            raise RecordsWithoutSchemaException(msg)
        refused = None
        for stream_map in stream_maps:
            try:
                self._load_mapped(stream_map, message)
            except InvalidRecordError as error:
                refused = error
        if refused is not None:
            self._reject(refused, message["stream"], line)

    def _load_mapped(self, stream_map: StreamMap, message: dict[str, Any]) -> None:
        record = stream_map.transform(copy.copy(message["record"]))
        if record is None:  # filtered out
            return
        sink = self.get_sink(stream_map.stream_alias, record=record)
        if sink.include_sdc_metadata_properties:
            sink._add_sdc_metadata_to_record(record, message, {})  # noqa: SLF001 - as the SDK does
        else:
            sink._remove_sdc_metadata_from_record(record)  # noqa: SLF001 - as the SDK does
        sink.process_record(record, {})
        sink.record_counter_metric.increment()

    def _reject(self, error: InvalidRecordError, stream: str, line: bytes) -> None:
        self._count_reject(error)
        if self._dead_letters is not None:
            self._dead_letters.append_record(self._schema_lines[stream], line, error)
            return
        if isinstance(error, MissingKeyError):
            raise KeyPropertyMissingError(error.stream, error.reason, field=error.field) from error
        raise error

    def _count_reject(self, error: InvalidRecordError) -> None:
        self.stats.count_rejected(error.stream, self.collections.resolve(error.stream))

    def warn(self, stream: str, message: str) -> None:
        """Warn of something in a stream, and keep it with the stream's counts."""
        self.counts[stream].warnings.append(message)
        self.logger.getChild(stream).warning("%s", message)

    def _write_state_message(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Write a STATE, after the records that it passes over."""
        if self._dead_letters is not None:
            self._dead_letters.flush()
        try:
            with self._progress.paused(sys.stdout):
                sys.stdout.write(f"{serialize_json(state)}\n")
                sys.stdout.flush()
        except OSError as cause:
            # Or Python would try again, and complain, when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            msg = f"STATE cannot be written to standard output: {cause.strerror or cause}."
            raise OutputError(msg) from cause

    # The end of a run

    def process_endofpipe(self) -> None:
        """Deliver what was read, and leave nothing behind.

        Raises:
            SegmentObjectsError: Something could not be delivered.
        """
        try:
            super().process_endofpipe()
            self.delivery.drain()
        finally:
            self.close()

    def close(self) -> None:
        """Close what is open, and remove the batch files."""
        self._client.close()
        self._spool.close()
        if self._dead_letters is not None:
            self._dead_letters.close()

    def run(self, file_input: IO[bytes] | None) -> int:
        """Read to the end or to the first signal, deliver what was read, and say how it went.

        Args:
            file_input: Where messages come from; None for standard input.

        Returns:
            The exit code of the process.
        """
        source = self.message_reader.default_input if file_input is None else file_input
        if self._dead_letters is not None and self._dead_letters.is_same_file(source):
            self.logger.error(
                "dead_letter_path is the file that is read. Give replayed records another file."
            )
            return 1
        began = time.monotonic()
        _ = self.delivery  # made here, and not by the thread that looks at it
        with self._progress:
            problems = self._read_and_deliver(file_input)
            if problems is not None:  # else whoever has delivery's lock may be stuck
                is_complete = not problems and self._signal is None
                seconds = time.monotonic() - began
                self._measure_end(seconds, is_complete=is_complete)
        if problems is None:
            self.logger.error("Stopped at once: what was not finished is not in Segment.")
        else:
            self._tell_end(seconds)
        for problem in problems or ():
            self.logger.error("%s", problem)
        if self._dead_letters is not None and self.stats.records_rejected:
            self.logger.warning(
                "%d invalid record(s) are in %s.",
                self.stats.records_rejected,
                self.settings.dead_letter_file,
            )
        if self._signal is not None:
            return _SIGNALLED + self._signal
        return 1 if problems else 0

    def _read_and_deliver(self, file_input: IO[bytes] | None) -> list[Exception] | None:
        """Return what went wrong; None when the user would not wait for the end."""
        problems: list[Exception] = []
        before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        try:
            for number in _STOP_SIGNALS:
                signal.signal(number, self._handle_termination)
            # The SDK's annotation says text; what it does is to hand the lines to our reader.
            lines = cast("IO[str] | None", file_input)
            for step in (lambda: self.process_lines(lines), self.process_endofpipe):
                self._attempt(step, problems)
        except _StopNow:
            self.delivery.abort("stopped by the user")
            self.close()
            return None
        except BaseException:
            self.delivery.abort("the target failed")
            self.close()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return problems

    def _attempt(self, step: Callable[[], object], problems: list[Exception]) -> None:
        try:
            step()
        except ReadingStopped:
            if self._signal is not None:
                self.logger.warning(
                    "Stopped after %d lines. What was read is being delivered; to end at once, "
                    "ask again.",
                    self.message_reader.line_number,
                )
        except (SegmentObjectsError, SingerSDKError) as problem:
            if problem not in problems:
                problems.append(problem)

    # What is shown of a run

    def _look(self) -> ProgressSnapshot:
        status = self.delivery.get_status()
        return ProgressSnapshot(
            self.stats.records_read, self.stats.objects_sent, status.sessions, status.oldest_seconds
        )

    def _session_finished(self, report: SessionReport) -> None:
        self.stats.add_session(report)
        summary.log_session(report, self.logger, self.metrics_logger)

    def _measure_end(self, seconds: float, *, is_complete: bool) -> None:
        """Tell programs what the run did."""
        summary.emit_metrics(
            self.stats,
            self.delivery.get_status().outstanding,
            seconds=seconds,
            is_complete=is_complete,
            logger=self.logger,
            meter=self.metrics_logger,
        )

    def _tell_end(self, seconds: float) -> None:
        """Tell people what the run did."""
        totals = self.stats.get_collections(self.delivery.get_status().outstanding)
        if not is_terminal(sys.stderr):
            summary.log_collections(totals, self.logger)
        elif self.logger.isEnabledFor(logging.INFO):
            from rich.console import Console  # noqa: PLC0415 - only on a terminal

            with suppress(OSError):  # the terminal is gone
                console = Console(stderr=True, highlight=False)
                summary.print_summary(totals, console, seconds=seconds)

    def _setup_signal_handlers(self) -> None:
        """Leave the process's signals alone until `run`, which only the command line calls."""

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop reading; the second time, stop everything.

        A handler runs between any two steps of the main thread, so it raises only where that is
        harmless: while the reader waits for the tap, or when nothing more is to be delivered.
        """
        if self._waking:
            self._waking = False
        elif self._signal is not None:
            raise _StopNow
        else:
            self._signal = signum
        self.message_reader.stop_requested = True
        if self.message_reader.is_waiting:
            raise ReadingStopped

    def _stop_reading(self) -> None:
        """Wake the main thread from waiting for the tap: delivery has failed."""
        self.message_reader.stop_requested = True
        handled = signal.getsignal(signal.SIGTERM) == self._handle_termination
        if self.message_reader.is_waiting and handled and hasattr(signal, "pthread_kill"):
            main = threading.main_thread().ident
            if main is not None and threading.get_ident() != main:
                self._waking = True
                signal.pthread_kill(main, signal.SIGTERM)

    # The command line

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Add to the SDK's command what is our own."""
        return cli.extended(super().get_singer_command())

    @classmethod
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        """Read the configuration files, and say which cannot be read."""
        for path in value:
            try:
                _ConfigInput.from_cli_args(path)
            except (OSError, TypeError, ValueError) as cause:
                there = "it is no JSON object" if Path(path).is_file() else "there is none"
                msg = f"{path} is no usable configuration file: {there}."
                raise click.BadParameter(msg, ctx=ctx, param=param) from cause
        return super().cb_config(ctx, param, value)

    @classmethod
    def invoke(  # type: ignore[override]  # the SDK's has fewer options
        cls,
        *,
        about: bool = False,
        about_format: str = "text",
        config: _ConfigInput | None = None,
        **options: Any,  # noqa: ANN401 - as `cli.invoke` has them
    ) -> None:
        """Run from the command line, and exit with the code that says how it went.

        Args:
            about: Show what the target is, and do nothing.
            about_format: How to show it.
            config: What the configuration files hold, and whether to read the environment.
            **options: As `cli.invoke` takes them.
        """
        if not about:
            cls.print_version(print_fn=cls.logger.info)
        given = config or _ConfigInput()
        sys.exit(cli.invoke(cls, given, about_format=about_format if about else None, **options))


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
