"""The target: what a Singer message of each kind does.

A SCHEMA makes the mapping of a stream; `record_loading` loads the records. What becomes of API
calls, STATE and invalid records is up to the `RunOutput` of a run.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, cast

from singer_sdk import Target
from singer_sdk.exceptions import ConfigValidationError, RecordsWithoutSchemaException
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform

from target_segment_objects.exceptions import UnmappableStreamError
from target_segment_objects.mapping.naming import format_path
from target_segment_objects.mapping.schema import find_deepest_property
from target_segment_objects.mapping.schema_normalization import declares_anything, normalize_schema
from target_segment_objects.record_loading import RecordLoader, StreamOutput, TapStream
from target_segment_objects.reporting.stats import RunStats
from target_segment_objects.run.context import RunContext
from target_segment_objects.run.output import MappedStream, RunOutput, SegmentOutput
from target_segment_objects.settings import SETTINGS, Settings, config_validation
from target_segment_objects.settings.environment import PREFIX, Environment, load_environment
from target_segment_objects.singer.reader import MessageReader, is_string_list
from target_segment_objects.singer.record_blocks import RecordBlock
from target_segment_objects.singer.replay import ReplayLog
from target_segment_objects.singer.run import Interrupts, RunOutcome, run_steps
from target_segment_objects.singer.stream_maps import StreamMapper
from target_segment_objects.sinks import SegmentObjectsSink
from target_segment_objects.versions import find_version

if TYPE_CHECKING:
    from singer_sdk.helpers.capabilities import CapabilitiesEnum
    from singer_sdk.mapper import PluginMapper, StreamMap

    from target_segment_objects.record_loading import LineMapper


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
    """Loads any tap's records into Segment's Objects Bulk API.

    Creating it checks the settings; nothing is sent or written yet.

    Args:
        **kwargs: As the SDK's `Target` takes them.
    """

    name = "target-segment-objects"
    config_jsonschema: ClassVar[dict[str, Any]] = copy.deepcopy(SETTINGS)  # the SDK adds its own
    default_sink_class = SegmentObjectsSink
    message_reader_class = MessageReader
    message_reader: MessageReader
    capabilities: ClassVar[list[CapabilitiesEnum]] = _CAPABILITIES

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the SDK's own arguments
        super().__init__(**kwargs)
        self.max_parallelism = 1  # the SDK's sinks have nothing to drain: delivery has threads
        self.stats = RunStats()
        self._output: RunOutput | None = None
        self._interrupts = Interrupts(self.message_reader)
        self._replay_log = ReplayLog()

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
    def output(self) -> RunOutput:
        """Where the results go; a real run's unless others were passed."""
        if self._output is None:
            self._output = SegmentOutput(self.settings, user_agent=self.user_agent)
        return self._output

    @cached_property
    def context(self) -> RunContext:
        """The parts of the run, which the sinks share."""
        return RunContext(
            self.settings,
            self.output,
            self.stats,
            on_failure=self._interrupts.wake_reader,
            logger=self.logger,
        )

    @cached_property
    def loader(self) -> RecordLoader:
        """Loads the records of the run."""
        return RecordLoader(self.context, self.message_reader, self._replay_log, self.config)

    # A run

    def prepare_run(self, output: RunOutput) -> RunContext:
        """Have the results of the run go elsewhere; called once, before `run`."""
        self._output = output
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
        reader, loader = self.message_reader, self.loader
        stream = reader.require_stream(message_dict, "schema")
        _check_schema_message(reader, message_dict)
        reader.current_schemas.pop(stream, None)
        try:
            warning = _normalize_schema_message(message_dict)
            super()._process_schema_message(message_dict)
        except RecursionError:  # where the SDK copies the schema
            raise _deep_schema_error(stream, message_dict["schema"]) from None
        # The SDK keeps the sinks of earlier SCHEMAs to drain them at the end. Ours hold nothing.
        self._sinks_to_clear.clear()
        self._add_stream(stream, reader.line)
        self._replace_sinks()
        reader.current_schemas[stream] = reader.line
        loader.note_schema(stream)
        for mapped in loader.streams[stream].mapped:
            if warning:
                self.context.log_warning(mapped.name, warning)
            self.output.log_stream(mapped)

    def _add_stream(self, stream: str, schema_line: bytes) -> None:
        """Have the records of a stream loaded by its current SCHEMA."""
        outputs: list[StreamOutput] = []
        mapped: list[MappedStream] = []
        for stream_map in self.mapper.stream_maps[stream]:
            sink = self._sinks_active.get(stream_map.stream_alias)
            if isinstance(stream_map, RemoveRecordTransform) or not isinstance(
                sink, SegmentObjectsSink
            ):
                sink = None
            else:
                _share_schema(stream_map, sink)
                keys = tuple(sink.key_properties)
                mapped.append(MappedStream(stream, sink.stream_name, keys, sink.mapper))
            outputs.append(
                StreamOutput(_create_mapper(self.mapper, stream, stream_map, sink), sink)
            )
        collections = {sink.collection for _, sink in outputs if sink is not None}
        shares_collection = len(collections) < len(mapped)
        self.loader.add_stream(TapStream(stream, schema_line, outputs, mapped, shares_collection))

    def _replace_sinks(self) -> None:
        """Have streams use the current sinks: stream maps can give several streams one name."""
        if not self.mapper.stream_maps_dict:
            return
        for stream in [*self.loader.streams.values()]:
            if any(
                each.sink is not None and each.sink is not self._sinks_active[each.sink.stream_name]
                for each in stream.outputs
            ):
                self.message_reader.current_schemas.pop(stream.name, None)
                self._add_stream(stream.name, stream.schema_line)

    def _process_record_message(self, message_dict: dict[str, Any] | RecordBlock) -> None:
        """Load the records of a block; our reader passes no others of streams with a SCHEMA."""
        if isinstance(message_dict, RecordBlock):
            self.loader.load_block(message_dict)
            return
        stream = self.message_reader.require_stream(message_dict, "record")
        if not isinstance(message_dict["record"], dict):
            self.message_reader.raise_invalid("its record is not an object")
        raise _missing_schema_error(stream, self.message_reader.line_number)

    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        stream = self.message_reader.require_stream(message_dict, "encoding", "manifest")
        if stream not in self.loader.streams:
            raise _missing_schema_error(stream, self.message_reader.line_number)
        declared = self.mapper.stream_maps[stream][0].raw_schema.get("properties", ())
        self.loader.load_batch(message_dict, declared)

    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        stream = self.message_reader.require_stream(message_dict, "version")
        self.context.deletion_notes.add_activation(stream, message_dict["version"])

    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"value"})
        self.loader.add_state(message_dict["value"])


def _create_mapper(
    mapper: PluginMapper, stream: str, stream_map: StreamMap, sink: SegmentObjectsSink | None
) -> LineMapper:
    """Return what maps the lines of a stream to the objects of a sink."""
    is_same = type(stream_map) is SameRecordTransform and stream_map.stream_alias == stream
    if sink is not None and is_same:
        return sink.mapper
    # Not at the start: most runs have no stream maps.
    from target_segment_objects.singer import transformed_streams  # noqa: PLC0415
    from target_segment_objects.singer.projection import find_projection  # noqa: PLC0415

    if sink is None:
        return transformed_streams.DroppedStream(stream)
    projection = None
    if len(mapper.stream_maps[stream]) == 1:
        projection = find_projection(mapper.stream_maps_dict, stream, stream_map)
    return transformed_streams.TransformedStream(stream, stream_map, projection, sink.mapper)


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
