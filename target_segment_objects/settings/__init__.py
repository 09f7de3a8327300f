"""The settings of a run, declared once.

`Settings` has the name and the default of each setting, and `declared` what it accepts and means.
`SETTINGS` is the same as a JSON schema. The SDK, `--about`, Meltano and the documentation read it.
`config_validation` checks a configuration against it, before `Settings.from_config` takes it. Only
`environment` reads variables and `.env`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from target_segment_objects.delivery.scheduler import DeliveryOptions
from target_segment_objects.mapping.mapping_options import MappingOptions
from target_segment_objects.segment.client import (
    DEFAULT_API_URL,
    DEFAULT_MAX_RETRIES,
    DEFAULT_REQUEST_TIMEOUT_SECONDS,
)
from target_segment_objects.settings import declared
from target_segment_objects.singer.reject_limit import RejectLimit

DEFAULT_RESEND_DAYS: Final = 45
"""Half a month below 60 days, the shortest retention period of Segment's plans."""

_DELIVERY_DEFAULTS: Final = DeliveryOptions()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a run, complete with their defaults."""

    write_key: declared.WriteKey
    api_url: declared.ApiUrl = DEFAULT_API_URL
    collection_map: declared.CollectionMap = {}
    pluralize_collections: declared.PluralizeCollections = False
    null_properties: declared.NullProperties = "send"
    oversized_values: declared.OversizedValues = "reject"
    type_changes: declared.TypeChanges = "fail"
    invalid_records: declared.InvalidRecords = "fail"
    dead_letter_path: declared.DeadLetterPath | None = None
    max_invalid_records: declared.MaxInvalidRecords = None
    schema_violations: declared.SchemaViolations = "warn"
    batch_size_rows: declared.BatchSizeRows = _DELIVERY_DEFAULTS.batch_size_rows
    batch_max_age_seconds: declared.BatchMaxAgeSeconds = _DELIVERY_DEFAULTS.batch_max_age_seconds
    max_file_bytes: declared.MaxFileBytes = _DELIVERY_DEFAULTS.max_file_bytes
    keep_alive_interval_seconds: declared.KeepAliveIntervalSeconds = (
        _DELIVERY_DEFAULTS.keep_alive_seconds
    )
    request_timeout_seconds: declared.RequestTimeoutSeconds = DEFAULT_REQUEST_TIMEOUT_SECONDS
    max_retries: declared.MaxRetries = DEFAULT_MAX_RETRIES
    max_parallel_sessions: declared.MaxParallelSessions = _DELIVERY_DEFAULTS.max_parallel_sessions
    spool_dir: declared.SpoolDir | None = None
    load_method: declared.LoadMethod = "upsert"
    flattening_enabled: declared.FlatteningEnabled = False
    flattening_max_depth: declared.FlatteningMaxDepth | None = None
    flattening_max_key_length: declared.FlatteningMaxKeyLength | None = None
    flattening_separator: declared.FlatteningSeparator | None = None
    ledger_path: declared.LedgerPath | None = None
    resend_after_days: declared.ResendAfterDays = DEFAULT_RESEND_DAYS
    ledger_ignored_properties: declared.LedgerIgnoredProperties = ()
    deleted_records: declared.DeletedRecords = "report"
    full_table_streams: declared.FullTableStreams = ()
    deleted_after_runs: declared.DeletedAfterRuns = 2
    deleted_hours_between_runs: declared.DeletedHoursBetweenRuns = 4
    deleted_limit_percent: declared.DeletedLimitPercent = 10

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Settings":
        """Return the settings of a valid configuration. A null means the default."""
        given = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in config.items()
            if name in cls.__struct_fields__ and value is not None
        }
        return msgspec.convert(given, cls)

    @property
    def dead_letter_file(self) -> Path | None:
        """Where rejected records go. None when the first one ends the run."""
        path = self.dead_letter_path
        return None if self.invalid_records == "fail" or path is None else Path(path)

    @property
    def reject_limit(self) -> RejectLimit | None:
        """The limit of rejected records. None without one, or when the first ends the run."""
        if self.invalid_records == "fail" or self.max_invalid_records is None:
            return None
        return RejectLimit(self.max_invalid_records)

    @property
    def delivery(self) -> DeliveryOptions:
        """The settings of delivery."""
        return DeliveryOptions(
            batch_size_rows=self.batch_size_rows,
            batch_max_age_seconds=self.batch_max_age_seconds,
            max_file_bytes=self.max_file_bytes,
            keep_alive_seconds=self.keep_alive_interval_seconds,
            max_parallel_sessions=self.max_parallel_sessions,
        )

    @property
    def mapping(self) -> MappingOptions:
        """The settings of the mapping."""
        return MappingOptions(
            null_properties=self.null_properties,
            oversized_values=self.oversized_values,
            max_depth=self.flattening_max_depth if self.flattening_enabled else None,
            max_name_length=self.flattening_max_key_length if self.flattening_enabled else None,
            # Else an object would be new to the ledger when the SCHEMA has another order.
            sorts_properties=self.ledger_path is not None,
        )

    @property
    def ignored_properties(self) -> tuple[str, ...]:
        """All properties whose change alone does not make an object a changed one."""
        return (*declared.ALWAYS_IGNORED_PROPERTIES, *self.ledger_ignored_properties)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return the settings without the write key."""
        names = [name for name in self.__struct_fields__ if name != "write_key"]
        return [(name, getattr(self, name)) for name in names]

    def __repr__(self) -> str:
        """Show the settings without the write key."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def _build_json_schema() -> dict[str, Any]:
    """Return the settings as a JSON schema, in which an optional setting may be null."""
    schema: dict[str, Any] = msgspec.json.schema(Settings)["$defs"][Settings.__name__]
    properties: dict[str, Any] = {}
    for name, stated in schema["properties"].items():
        default = stated.pop("default", None)
        setting = _merge_choices(stated)
        if default is not None:
            setting["default"] = list(default) if isinstance(default, tuple) else default
        if "enum" in setting:  # msgspec sorts the choices and leaves out their type
            setting |= {
                "type": "string",
                "enum": sorted(setting["enum"], key=lambda choice: choice != default),
            }
        nullable = [] if name in schema["required"] else ["null"]
        types = setting["type"] if isinstance(setting["type"], list) else [setting["type"]]
        setting["type"] = [*types, *nullable]
        properties[name] = setting
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": schema["required"],
    }


def _merge_choices(stated: dict[str, Any]) -> dict[str, Any]:
    """Return a setting of one or several types as one schema: keywords apply to their type only."""
    choices = [choice for choice in stated.pop("anyOf", []) if choice["type"] != "null"]
    types = [choice["type"] for choice in choices]
    for choice in choices:
        stated |= choice
    return stated | {"type": types} if len(types) > 1 else stated


SETTINGS: Final[dict[str, Any]] = _build_json_schema()
