"""The target: what a message of each kind does, the command line, and the end of a run."""

from __future__ import annotations

import copy
import gzip
import os
import signal
import sys
import threading
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
from singer_sdk.plugin_base import _ConfigInput  # the type that the SDK's own `invoke` takes
from singer_sdk.singerlib.json import serialize_json

from target_segment_objects import manifest, sandbox, settings
from target_segment_objects.batch import Spool
from target_segment_objects.client import Client
from target_segment_objects.delivery import Delivery
from target_segment_objects.exceptions import (
    BrokenLineError,
    InputError,
    InvalidRecordError,
    MissingKeyError,
    OutputError,
    SegmentObjectsError,
)
from target_segment_objects.naming import Collections
from target_segment_objects.reader import MessageReader, ReadingStopped
from target_segment_objects.rejects import DeadLetters
from target_segment_objects.settings import SETTINGS, Settings
from target_segment_objects.sinks import SegmentObjectsSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum
    from singer_sdk.mapper import StreamMap

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SIGNALLED: Final = 128  # and the signal's number: what a shell makes of a process so ended
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SANDBOX_KEY: Final = "sandbox"


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
        self._rejected = 0
        self._versions_told: set[str] = set()
        self._signal: int | None = None
        self._waking = False

    # What a run is made of

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked and complete."""
        return Settings.of(settings.with_defaults(self.config))

    @cached_property
    def collections(self) -> Collections:
        """Which stream goes to which collection."""
        return Collections(
            self.settings.collection_map,
            pluralize=self.settings.pluralize_collections,
            tell=self.logger.info,
        )

    @cached_property
    def delivery(self) -> Delivery:
        """What delivers the objects."""
        return Delivery(
            self._client,
            self._spool,
            write_state=self._write_state_message,
            on_failure=self._stop_reading,
            options=self.settings.delivery,
        )

    @cached_property
    def _client(self) -> Client:
        return Client(
            self.settings.write_key,
            api_url=self.settings.api_url,
            timeout_seconds=self.settings.request_timeout_seconds,
            max_retries=self.settings.max_retries,
            user_agent=f"{self.name}/{metadata.version(self.name)}",
        )

    @cached_property
    def _spool(self) -> Spool:
        return Spool(self.settings.spool_dir)

    @cached_property
    def _dead_letters(self) -> DeadLetters | None:
        path = self.settings.dead_letter_path
        return None if path is None or self.settings.fail_on_invalid else DeadLetters(path)

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
        return settings.from_environment(os.environ, "TARGET_SEGMENT_OBJECTS_", schema)

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Say in our words what is wrong with the settings, before the SDK does in its own."""
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        self._config = {name: value for name, value in self._config.items() if value is not None}
        for warning in settings.unknown(self._config, schema):
            self.logger.warning(warning)
        found = settings.problems(self._config, schema)
        if found and raise_errors:
            msg = "The settings are not usable"
            raise ConfigValidationError(msg, errors=found, schema=schema)
        return found or super()._validate_config(raise_errors=raise_errors)

    # Messages

    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        stream = self._stream_of(message_dict, "schema")
        schema = message_dict["schema"]
        if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
            self.message_reader.refuse("its schema has no properties")
        if not _is_list_of_texts(message_dict.get("key_properties") or []):
            self.message_reader.refuse("its key_properties are no list of names")
        self._schema_lines[stream] = self.message_reader.line
        super()._process_schema_message(message_dict)

    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        self._stream_of(message_dict, "record")
        if not isinstance(message_dict["record"], dict):
            self.message_reader.refuse("its record is no object")
        self._load(message_dict, self.message_reader.line)

    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        stream = self._stream_of(message_dict, "encoding", "manifest")
        storage = (self.config.get("batch_config") or {}).get("storage")
        as_text = serialize_json(stream).encode()
        for number, line in enumerate(manifest.record_lines(message_dict, storage), start=1):
            try:
                record = self.message_reader.deserialize_json(line)
            except BrokenLineError as cause:
                msg = (
                    f"Record {number} of the BATCH files of stream '{stream}' (line "
                    f"{self.message_reader.line_number} of the input) is no JSON object. What came "
                    "before it is delivered."
                )
                raise InputError(msg) from cause
            message = {"type": "RECORD", "stream": stream, "record": record}
            self._load(
                message, b'{"type":"RECORD","stream":%b,"record":%b}' % (as_text, line.strip())
            )

    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        stream = self._stream_of(message_dict, "version")
        if stream not in self._versions_told:
            self._versions_told.add(stream)
            self.logger.warning(
                "Stream '%s': the tap replaces all its rows by a new version, but Segment has no "
                "delete: rows that are gone at the source stay.",
                stream,
            )

    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"value"})
        self.delivery.checkpoint(message_dict["value"])

    def _stream_of(self, message: dict[str, Any], *required: str) -> str:
        """Return a message's stream; refuse one that lacks it, or something else that it needs."""
        self._assert_line_requires(message, requires={"stream", *required})
        stream = message["stream"]
        if not isinstance(stream, str):
            self.message_reader.refuse("its stream is no text")
        return stream

    def _load(self, message: dict[str, Any], line: bytes) -> None:
        """Give a record to each of its stream's sinks."""
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
        if self._dead_letters is not None:
            self._dead_letters.write(self._schema_lines[stream], line, error)
            self._rejected += 1
            return
        if isinstance(error, MissingKeyError):
            raise KeyPropertyMissingError(error.stream, error.reason, field=error.field) from error
        raise error

    def _write_state_message(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Write a STATE, after the records that it passes over."""
        if self._dead_letters is not None:
            self._dead_letters.flush()
        try:
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
        if self._dead_letters is not None and self._dead_letters.is_input(source):
            self.logger.error(
                "dead_letter_path is the file that is read. Give replayed records another file."
            )
            return 1
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
            self.logger.error("Stopped at once: what was not finished is not in Segment.")
        except BaseException:
            self.delivery.abort("the target failed")
            self.close()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for problem in problems:
            self.logger.error("%s", problem)
        if self._rejected:
            self.logger.warning(
                "%d invalid record(s) are in %s.", self._rejected, self.settings.dead_letter_path
            )
        if self._signal is not None:
            return _SIGNALLED + self._signal
        return 1 if problems else 0

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
        command = super().get_singer_command()
        command.help = (
            "Load the Singer messages on standard input into Segment. STATE goes to standard "
            "output, once what it vouches for has landed."
        )
        command.params = [param for param in command.params if param.name != "file_input"]
        command.params += [
            click.Option(
                ["--input", "file_input"],
                type=click.File("rb"),
                help="Read messages from this file, gzipped or not, instead of standard input.",
            ),
            click.Option(
                ["--sandbox", "sandbox_warehouse"],
                type=click.Path(dir_okay=False, path_type=Path),
                help="Load into a local stand-in for Segment, whose warehouse is this DuckDB file, "
                "and show what landed. Needs no account.",
            ),
        ]
        return command

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
    def invoke(  # type: ignore[override]  # the SDK's has no sandbox, either
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: _ConfigInput | None = None,
        file_input: IO[bytes] | None = None,
        sandbox_warehouse: Path | None = None,
    ) -> None:
        """Run from the command line, and exit with the code that says how it went.

        Args:
            about: Show what the target is, and do nothing.
            about_format: How to show it.
            config: What the configuration files hold, and whether to read the environment.
            file_input: Where messages come from; None for standard input.
            sandbox_warehouse: The file to load into, instead of Segment.
        """
        if about:
            cls.print_about(about_format)
            return
        cls.print_version(print_fn=cls.logger.info)
        given = config or _ConfigInput()
        lines = _unzipped(file_input)
        if sandbox_warehouse is None:
            target = cls(config=given.config, parse_env_config=given.parse_env)
            sys.exit(target.run(lines))
        sys.exit(cls._run_in_sandbox(given, lines, sandbox_warehouse))

    @classmethod
    def _run_in_sandbox(cls, given: _ConfigInput, lines: IO[bytes] | None, warehouse: Path) -> int:
        """Run against a local stand-in for Segment, and show what landed."""
        # Whatever is configured, these win: the sandbox's rows must not go to Segment.
        config = {**given.config, **(cls._environment() if given.parse_env else {})}
        try:
            sandbox_class = sandbox.load()
            # What comes with the extra, too.
            from rich.console import Console  # noqa: PLC0415

            from target_segment_objects.sandbox.report import print_report  # noqa: PLC0415

            with sandbox_class(warehouse) as running:
                config |= {"api_url": running.url, "write_key": _SANDBOX_KEY}
                code = cls(config=config).run(lines)
                print_report(running.warehouse, Console(stderr=True))
        except (sandbox.SandboxNotInstalledError, sandbox.WarehouseError) as problem:
            cls.logger.error("%s", problem)
            return 1
        return code


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _unzipped(file: IO[bytes] | None) -> IO[bytes] | None:
    """Unzip a file that is gzipped, whatever its name."""
    peek = getattr(file, "peek", None)
    if file is None or peek is None or peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] != _GZIP_MAGIC:
        return file
    return cast("IO[bytes]", gzip.open(file))


if __name__ == "__main__":
    TargetSegmentObjects.cli()
