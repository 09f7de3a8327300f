"""The target: what a Singer message of each kind does.

A record goes the fast path from its line to its object where `record_loaders` has a loader for its
stream, else the slow path: decoded, mapped by the stream maps, validated, mapped to an object. Both
end in `delivery`. What becomes of API calls, STATE and invalid records is up to the `Outlets` of a
run.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, cast

from singer_sdk import Target
from singer_sdk.exceptions import ConfigValidationError, RecordsWithoutSchemaException
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities

from target_segment_objects.context import RunContext
from target_segment_objects.exceptions import (
    InvalidRecordError,
    UnmappableStreamError,
)
from target_segment_objects.mapping.naming import format_path
from target_segment_objects.mapping.schema import find_deepest_property
from target_segment_objects.mapping.schema_normalization import declares_anything, normalize_schema
from target_segment_objects.outlets import MappedStream, Outlets, RejectedRecord, open_outlets
from target_segment_objects.record_loaders import find_loader
from target_segment_objects.reporting.stats import RunStats
from target_segment_objects.settings import SETTINGS, Settings, config_validation
from target_segment_objects.settings.environment import PREFIX, Environment, load_environment
from target_segment_objects.singer import batch_files
from target_segment_objects.singer.reader import (
    RECORD_KEY,
    MessageReader,
    is_string_list,
)
from target_segment_objects.singer.replay import ReplayLog
from target_segment_objects.singer.run import Interrupts, RunOutcome, run_steps
from target_segment_objects.singer.stream_maps import StreamMapper, transform_record
from target_segment_objects.sinks import SegmentObjectsSink
from target_segment_objects.versions import find_version

if TYPE_CHECKING:
    from collections.abc import Collection

    from singer_sdk.helpers.capabilities import CapabilitiesEnum
    from singer_sdk.mapper import StreamMap

    from target_segment_objects.record_loaders import RecordLoader


_CAPABILITIES: Final = [
    PluginCapabilities.ABOUT,
    PluginCapabilities.BATCH,
    PluginCapabilities.STREAM_MAPS,
    PluginCapabilities.FLATTENING,
    PluginCapabilities.STRUCTURED_LOGGING,
    TargetCapabilities.VALIDATE_RECORDS,
    TargetCapabilities.SOFT_DELETE,
]


class TargetSegmentObjects(Target):
    """Loads any tap's records into Segment's Objects Bulk API."""

    name = "target-segment-objects"
    config_jsonschema: ClassVar[dict[str, Any]] = copy.deepcopy(SETTINGS)  # the SDK adds its own
    default_sink_class = SegmentObjectsSink
    message_reader_class = MessageReader
    message_reader: MessageReader
    capabilities: ClassVar[list[CapabilitiesEnum]] = _CAPABILITIES

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the SDK's own arguments
        """Check the settings; nothing is sent or written yet.

        Args:
            **kwargs: As the SDK's `Target` takes them.
        """
        super().__init__(**kwargs)
        self.max_parallelism = 1  # the SDK's sinks have nothing to drain: delivery has threads
        self.stats = RunStats()
        self._outlets: Outlets | None = None
        self._interrupts = Interrupts(self.message_reader)
        self._schema_lines: dict[str, bytes] = {}
        self._record_prefixes: dict[str, bytes] = {}
        self._replay_log = ReplayLog()
        self.accepts_deletes = False
        self.adopt_command = ""

    def setup_mapper(self) -> None:
        """Set up the SDK's stream maps, without its flattening."""
        self._mapper = StreamMapper(self.config, self.logger)

    # The parts of a run

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked and complete."""
        return Settings.from_config(self.config)

    @property
    def user_agent(self) -> str:
        """The User-Agent header of the API calls."""
        return f"{self.name}/{self.plugin_version}"

    @property
    def outlets(self) -> Outlets:
        """Where the results go; a real run's unless others were passed."""
        if self._outlets is None:
            self._outlets = open_outlets(self.settings, user_agent=self.user_agent)
        return self._outlets

    @cached_property
    def context(self) -> RunContext:
        """The parts of the run, which the sinks share."""
        return RunContext(
            self.settings,
            self.outlets,
            self.stats,
            on_failure=self._interrupts.wake_reader,
            logger=self.logger,
            accepts_deletes=self.accepts_deletes,
            adopt_command=self.adopt_command,
        )

    # A run

    def prepare_run(self, outlets: Outlets) -> RunContext:
        """Have the results of the run go elsewhere; called once, before `run`."""
        self._outlets = outlets
        return self.context

    def run(self, file_input: IO[bytes] | None, *, rest: str = "Delivering") -> RunOutcome:
        """Read to the end or to the first signal, and deliver what was read.

        Args:
            file_input: The Singer messages; None for standard input.
            rest: What the log says is done with what was read, after a signal.

        Returns:
            How it ended.
        """
        # The SDK's annotation says text; what it does is to hand the lines to our reader.
        lines = cast("IO[str] | None", file_input)
        return run_steps(
            (lambda: self.process_lines(lines), self.process_endofpipe),
            self._interrupts,
            abort=self.context.abort,
            rest=rest,
            logger=self.logger,
        )

    def process_endofpipe(self) -> None:
        """Deliver what was read, and leave nothing behind.

        Raises:
            SegmentObjectsError: Something could not be delivered.
        """
        try:
            self._replay_log.log_streams(self.context.log_warning)
            super().process_endofpipe()
            self.context.deliver_rest(ended_well=self.message_reader.has_reached_end)
        finally:
            self.context.close()

    def _setup_signal_handlers(self) -> None:
        """Leave the process's signal handlers alone: `run` sets its own while it runs."""

    # Versions, which each run logs

    @classmethod
    def get_plugin_version(cls) -> str:
        """Return the version of this package."""
        return find_version(cls.name)

    @classmethod
    def get_sdk_version(cls) -> str:
        """Return the version of the SDK."""
        return find_version("singer-sdk")

    # Settings

    @property
    def _env_var_config(self) -> dict[str, Any]:
        environment = load_environment()
        if file_use := environment.describe_file_use(with_settings=True):
            self.logger.info("%s", file_use)
        return self.read_environment(environment)

    @classmethod
    def read_environment(cls, environment: Environment) -> dict[str, Any]:
        """Read the settings from variables.

        The SDK's own reader ends with a traceback at a malformed number.
        """
        schema = cls.config_jsonschema
        cls.append_builtin_config(schema)
        variables = environment.variables
        for warning in config_validation.unknown_variable_warnings(variables, PREFIX, schema):
            cls.logger.warning("%s", warning)
        return config_validation.read_environment(variables, PREFIX, schema)

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Report invalid settings in our words, before the SDK does in its own."""
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        self._config = config_validation.normalize_config(self._config)
        for warning in (
            *config_validation.unknown_setting_warnings(self._config, schema),
            *config_validation.unused_setting_warnings(self._config),
        ):
            self.logger.warning("%s", warning)
        found = config_validation.validation_errors(self._config, schema)
        if found and raise_errors:
            msg = "The settings are not valid"
            raise ConfigValidationError(msg, errors=found, schema=schema)
        return found or super()._validate_config(raise_errors=raise_errors)

    # Messages

    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        stream = self.message_reader.require_stream(message_dict, "schema")
        _check_schema_message(self.message_reader, message_dict)
        self._schema_lines[stream] = self.message_reader.line
        self.message_reader.fast_loaders.pop(self._record_prefixes.pop(stream, b""), None)
        try:
            warning = _normalize_schema_message(message_dict)
            super()._process_schema_message(message_dict)
        except RecursionError:  # where the SDK copies the schema
            raise _deep_schema_error(stream, message_dict["schema"]) from None
        # The SDK keeps the sinks of earlier SCHEMAs to drain them at the end. Ours hold nothing.
        self._sinks_to_clear.clear()
        for stream_map in self.mapper.stream_maps[stream]:
            sink = self._sinks_active.get(stream_map.stream_alias)
            if isinstance(sink, SegmentObjectsSink):
                _share_schema(stream_map, sink)
                if warning:
                    self.context.log_warning(sink.stream_name, warning)
                keys = tuple(sink.key_properties)
                mapped = MappedStream(stream, sink.stream_name, keys, sink.mapper)
                self.outlets.log_stream(mapped)
                self.context.deleted_rows.add_schema(mapped, self.config)

    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        stream = self.message_reader.require_stream(message_dict, "record")
        if not isinstance(message_dict["record"], dict):
            self.message_reader.raise_invalid("its record is not an object")
        self.context.deleted_rows.add_record_version(stream, message_dict)
        is_replay = self._replay_log.add_record(message_dict)
        self._load_record(message_dict, self.message_reader.line)
        if not is_replay and stream not in self._record_prefixes:
            self._register_fast_path(stream)

    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        stream = self.message_reader.require_stream(message_dict, "encoding", "manifest")
        batch_files.load_records(
            message_dict,
            (self.config.get("batch_config") or {}).get("storage"),
            self.message_reader,
            declared=self._find_declared(stream),
            find_loader=lambda: self._find_loader(stream),
            load_record=self._load_record,
        )

    def _find_declared(self, stream: str) -> Collection[str]:
        """Return the names of the properties that a stream's SCHEMA declares."""
        stream_maps = self.mapper.stream_maps.get(stream)
        return stream_maps[0].raw_schema.get("properties", ()) if stream_maps else ()

    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        stream = self.message_reader.require_stream(message_dict, "version")
        self.context.deleted_rows.add_activation(stream, message_dict["version"])

    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"value"})
        self.context.deleted_rows.add_state(message_dict["value"])
        self.context.delivery.add_state(message_dict["value"])

    # Records

    def _load_record(self, message: dict[str, Any], line: bytes) -> None:
        """Load a record into each of its stream's sinks."""
        stream = message["stream"]
        stats = self.stats.streams[stream]
        stats.read += 1
        stats.slow += 1
        stream_maps = self.mapper.stream_maps.get(stream)
        if stream_maps is None:
            raise _missing_schema_error(stream, self.message_reader.line_number)
        invalid = None
        for stream_map in stream_maps:
            try:
                self._load_mapped_record(stream_map, message)
            except InvalidRecordError as error:
                self.context.deleted_rows.add_reject(error)
                invalid = error
        if invalid is not None:
            # The traceback has this frame, which has the error: a circle that would keep the record
            # until the next garbage collection.
            invalid = invalid.with_traceback(None)
            self.context.reject_record(RejectedRecord(invalid, self._schema_lines[stream], line))

    def _load_mapped_record(self, stream_map: StreamMap, message: dict[str, Any]) -> None:
        record = transform_record(stream_map, message["record"])
        if record is not None:  # else it is filtered out
            sink = self.get_sink(stream_map.stream_alias, record=record)
            cast("SegmentObjectsSink", sink).load_record(record, message)

    # The fast path

    def _register_fast_path(self, stream: str) -> None:
        """Have the reader hand further RECORD lines that begin as this one to the fast path."""
        line = self.message_reader.line
        prefix = self._record_prefixes[stream] = line[: line.find(RECORD_KEY)]
        loader = self._find_loader(stream)
        if loader is not None:
            self.message_reader.fast_loaders[prefix] = loader

    def _find_loader(self, stream: str) -> RecordLoader | None:
        """Return what may load a stream's lines before they are decoded, if anything may."""
        return find_loader(
            stream,
            self.mapper.stream_maps.get(stream, ()),
            self.mapper.stream_maps_dict,
            self._sinks_active,
            self.stats.streams[stream],
        )


def _check_schema_message(reader: MessageReader, message: dict[str, Any]) -> None:
    schema, keys = message["schema"], message.get("key_properties") or []
    if not isinstance(schema, dict):
        reader.raise_invalid("its schema is not an object")
    if not is_string_list(keys):
        reader.raise_invalid("its key_properties are not a list of names")
    # A tap that does not know the properties still knows the key.
    if not (keys or declares_anything(schema)):
        reader.raise_invalid("its schema has no properties, and it has no key_properties")


def _normalize_schema_message(message: dict[str, Any]) -> str:
    """Replace the schema by one of JSON Schema 2020-12, and return what to warn of."""
    normalized = normalize_schema(message["schema"])
    message["schema"] = normalized.schema
    return normalized.describe_ignored(message["stream"])


def _missing_schema_error(stream: str, line_number: int) -> RecordsWithoutSchemaException:
    return RecordsWithoutSchemaException(
        f"Stream '{stream}' has a record before its SCHEMA (line {line_number} of the input). This "
        "is an error of the tap. Everything before the record is delivered."
    )


def _deep_schema_error(stream: str, schema: dict[str, Any]) -> UnmappableStreamError:
    label = format_path((find_deepest_property(schema),))
    return UnmappableStreamError(
        f"Stream '{stream}': the property '{label}' is nested too deeply in the SCHEMA. Exclude or "
        "simplify it in the tap."
    )


def _share_schema(stream_map: StreamMap, sink: SegmentObjectsSink) -> None:
    """Drop the SDK's copies of a schema that equal it: they take 8 KB or more a stream."""
    if sink.original_schema == sink.schema:
        sink.original_schema = sink.schema
    if stream_map.raw_schema == sink.schema:
        stream_map.raw_schema = sink.schema
