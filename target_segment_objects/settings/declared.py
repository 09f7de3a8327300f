"""What each setting accepts and means: a type with its bounds, a title and a description.

The modules of settings do not import `annotations` from `__future__`: msgspec would have to compile
and evaluate the annotations as strings at each start.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from target_segment_objects import limits
from target_segment_objects.mapping import violations
from target_segment_objects.singer import reject_limit

_MAX_SECONDS: Final = 1_000_000
"""About eleven days. Operating systems limit how long threads and sockets may wait."""

_MIN_SECONDS_BEFORE_TIMEOUT: Final = 60

_MIN_KEY_LENGTH: Final = 20
"""Room for the names of the metadata, of which `sdc_sync_started_at` is the longest."""

_MAX_RESEND_DAYS: Final = 3650
_MAX_RUNS: Final = 1000
_MAX_HOURS: Final = 8760

ALWAYS_IGNORED_PROPERTIES: Final = (
    "_sdc_batched_at",
    "_sdc_extracted_at",
    "_sdc_last_modified",
    "_sdc_received_at",
    "_sdc_sequence",
    "_sdc_source_file",
    "_sdc_source_lineno",
    "_sdc_sync_started_at",
    "_sdc_table_version",
)
"""What the SDK and taps add to a record that says how, when and where it was read.

`_sdc_last_modified`, `_sdc_source_file` and `_sdc_source_lineno` are those of taps that read files:
they change with the file, and not with the row.
"""

WriteKey: TypeAlias = Annotated[
    str,
    Meta(
        title="Write key",
        description=(
            "Write key of the Segment source that receives the objects. Required, except with "
            "`--sandbox` and `--dry-run`. Never logged."
        ),
        pattern=r"^[!-~]+$",
        extra_json_schema={"secret": True, "writeOnly": True},
    ),
]
ApiUrl: TypeAlias = Annotated[
    str,
    Meta(
        title="API URL",
        description=(
            "Base URL of the Objects Bulk API. Plain `http://` is accepted for this machine only, "
            "because it would send the write key unencrypted."
        ),
    ),
]
CollectionMap: TypeAlias = Annotated[
    dict[str, str],
    Meta(
        title="Collection map",
        description=(
            "Stream names and the collection names to use for them: lowercase letters and "
            "underscores, at most 100 characters. Streams with the same collection are merged."
        ),
    ),
]
PluralizeCollections: TypeAlias = Annotated[
    bool,
    Meta(
        title="Pluralize collections",
        description=(
            "Use the English plural for collection names, as Segment recommends (`order` becomes "
            "`orders`). Names from `collection_map` are not changed."
        ),
    ),
]
NullProperties: TypeAlias = Annotated[
    Literal["send", "omit"],
    Meta(
        title="Null properties",
        description=(
            "`send` sends a null. Segment does not document its effect; our reading is that it "
            "clears the property. `omit` leaves it out, so the property keeps its value."
        ),
    ),
]
OversizedValues: TypeAlias = Annotated[
    Literal["reject", "truncate"],
    Meta(
        title="Oversized values",
        description=(
            "What to do with a value of 32 KB or more, which Segment refuses: `reject` rejects the "
            "record, `truncate` cuts the value at a character boundary."
        ),
    ),
]
TypeChanges: TypeAlias = Annotated[
    Literal["fail", "warn", "new_property"],
    Meta(
        title="Type changes",
        description=(
            "What to do when a property's new type does not fit its first one, which a warehouse's "
            "column keeps: `fail` stops at the SCHEMA, `warn` sends it anyway, `new_property` "
            "sends it as another property (`amount_float`). The first type is that of this run or, "
            "with `ledger_path`, of all runs."
        ),
    ),
]
InvalidRecords: TypeAlias = Annotated[
    Literal["fail", "dead_letter"],
    Meta(
        title="Invalid records",
        description=(
            "What to do with a record that cannot be sent: `fail` delivers what was read before it "
            "and ends the run, `dead_letter` writes it to `dead_letter_path` and continues."
        ),
    ),
]
DeadLetterPath: TypeAlias = Annotated[
    str,
    Meta(
        title="Dead-letter path",
        description=(
            "File to which rejected records are appended with `invalid_records: dead_letter`. It "
            "is Singer input: fix the cause, then load it."
        ),
        min_length=1,
    ),
]
MaxInvalidRecords: TypeAlias = Annotated[
    Annotated[int, Meta(ge=0)]
    | Annotated[str, Meta(pattern=reject_limit.PATTERN, examples=["5%"])]
    | None,
    Meta(
        title="Maximum invalid records",
        description=(
            "With `invalid_records: dead_letter`, fail when more records are rejected: a number, "
            "or a percentage of the records read, such as `5%`. A percentage applies from the "
            "1,000th record on and at the end of the run. No limit by default."
        ),
    ),
]
SchemaViolations: TypeAlias = Annotated[
    violations.SchemaViolations,
    Meta(
        title="Schema violations",
        description=(
            "What to do with a record that does not match its schema, though every value can be "
            "sent in its property's type without loss: `warn` sends it, with one warning for each "
            "property, `reject` rejects it. Needs `validate_records`."
        ),
    ),
]
BatchSizeRows: TypeAlias = Annotated[
    int,
    Meta(
        title="Batch size",
        description="Maximum number of objects in a batch. Each batch is one bulk session.",
        ge=1,
    ),
]
BatchMaxAgeSeconds: TypeAlias = Annotated[
    float,
    Meta(
        title="Maximum batch age",
        description=(
            "Deliver a batch when its first record is this old, even if the batch is not full or "
            "the tap is silent."
        ),
        gt=0,
        le=_MAX_SECONDS,
    ),
]
MaxFileBytes: TypeAlias = Annotated[
    int,
    Meta(
        title="Maximum file size",
        description=(
            "Uncompressed size at which a batch continues in a new file. A failed upload sends the "
            "whole file again, so choose smaller files for an unreliable network."
        ),
        ge=limits.MAX_OBJECT_BYTES + 1,
        le=limits.MAX_FILE_BYTES,
    ),
]
KeepAliveIntervalSeconds: TypeAlias = Annotated[
    float,
    Meta(
        title="Keep Alive interval",
        description=(
            "Send Keep Alive when a session has been silent for this long. Segment drops a session "
            "after ten minutes without a call."
        ),
        gt=0,
        le=limits.SESSION_TIMEOUT_SECONDS - _MIN_SECONDS_BEFORE_TIMEOUT,
    ),
]
RequestTimeoutSeconds: TypeAlias = Annotated[
    float,
    Meta(
        title="Request timeout",
        description="How long to wait for a response before the call is retried.",
        gt=0,
        le=_MAX_SECONDS,
    ),
]
MaxRetries: TypeAlias = Annotated[
    int,
    Meta(
        title="Maximum retries",
        description=(
            "Retries of a call after the first attempt. The wait grows up to a minute, or is as "
            "long as Segment asks for. As long as nothing was received from `api_url` in a run, a "
            "connection is retried twice at most: the address may be wrong."
        ),
        ge=0,
    ),
]
MaxParallelSessions: TypeAlias = Annotated[
    int,
    Meta(
        title="Maximum parallel sessions",
        description=(
            "Sessions of different collections at the same time. Objects of one collection are "
            "always sent in order. Segment allows 20 concurrent requests per write key, over all "
            "machines."
        ),
        ge=1,
        le=limits.MAX_CONCURRENT_REQUESTS,
    ),
]
SpoolDir: TypeAlias = Annotated[
    str,
    Meta(
        title="Spool folder",
        description=(
            "Folder for batch files that wait to be sent. The default is the system's temporary "
            "folder. Each run creates a private folder in it and removes it at the end."
        ),
        min_length=1,
    ),
]
LoadMethod: TypeAlias = Annotated[
    Literal["upsert"],
    Meta(
        title="Load method",
        description="Segment merges objects by id, so `upsert` is the only method.",
    ),
]
FlatteningEnabled: TypeAlias = Annotated[
    bool,
    Meta(
        title="Flattening options",
        description=(
            "Apply `flattening_max_depth` and `flattening_max_key_length`. Objects whose "
            "properties are declared are flattened in any case: Segment accepts no objects."
        ),
    ),
]
FlatteningMaxDepth: TypeAlias = Annotated[
    int,
    Meta(
        title="Maximum flattening depth",
        description=(
            "With `flattening_enabled`, how many levels of objects are flattened. Objects below "
            "are sent as JSON text; with 0, all are. No limit by default."
        ),
        ge=0,
    ),
]
FlatteningMaxKeyLength: TypeAlias = Annotated[
    int,
    Meta(
        title="Maximum key length",
        description=(
            "With `flattening_enabled`, the most characters of a property's name. The end of a "
            "longer one is replaced by ten letters of a digest. No limit by default."
        ),
        ge=_MIN_KEY_LENGTH,
    ),
]
FlatteningSeparator: TypeAlias = Annotated[
    str,
    Meta(
        title="Flattening separator",
        description=(
            "Has no effect: Segment's snake case joins the levels of a name by one underscore."
        ),
    ),
]
LedgerPath: TypeAlias = Annotated[
    str,
    Meta(
        title="Ledger path",
        description=(
            "SQLite file that remembers a digest of each object that Segment has accepted. With "
            "it, a run sends only new and changed objects. One run at a time can use it. Keep it "
            "between runs; without it, everything is sent."
        ),
        min_length=1,
    ),
]
ResendAfterDays: TypeAlias = Annotated[
    int,
    Meta(
        title="Re-send after days",
        description=(
            "With `ledger_path`, send an unchanged object again after at most this many days; 0 "
            "means never. Segment deletes objects that were not updated within 60, 90 or 180 days, "
            "depending on the plan."
        ),
        ge=0,
        le=_MAX_RESEND_DAYS,
    ),
]
LedgerIgnoredProperties: TypeAlias = Annotated[
    tuple[str, ...],
    Meta(
        title="Properties that the ledger ignores",
        description=(
            "With `ledger_path`, an object is not sent when only these properties have "
            "changed. They are added to the metadata that never counts: "
            f"{', '.join(f'`{name}`' for name in ALWAYS_IGNORED_PROPERTIES)}."
        ),
    ),
]
DeletedRecords: TypeAlias = Annotated[
    Literal["report", "mark", "ignore"],
    Meta(
        title="Deleted records",
        description=(
            "With `ledger_path`, what to do about rows that are gone at the source: `report` "
            "counts them, `mark` also sends `sdc_deleted_at` for them, `ignore` does nothing. The "
            "API has no delete."
        ),
    ),
]
FullTableStreams: TypeAlias = Annotated[
    tuple[str, ...],
    Meta(
        title="Full-table streams",
        description=(
            "With `ledger_path`, streams of which every run reads the whole table, though the tap "
            "does not say so with ACTIVATE_VERSION."
        ),
    ),
]
DeletedAfterRuns: TypeAlias = Annotated[
    int,
    Meta(
        title="Deleted after runs",
        description=(
            "With `deleted_records: mark`, mark a row when this many complete runs in a row did "
            "not have it."
        ),
        ge=1,
        le=_MAX_RUNS,
    ),
]
DeletedHoursBetweenRuns: TypeAlias = Annotated[
    float,
    Meta(
        title="Deleted hours between runs",
        description=(
            "With `deleted_records: mark`, two runs that did not have a row count as two only if "
            "so many hours lie between their starts: the retry of a scheduler is no second run."
        ),
        ge=0,
        le=_MAX_HOURS,
    ),
]
DeletedLimitPercent: TypeAlias = Annotated[
    float,
    Meta(
        title="Deleted limit",
        description=(
            "With `deleted_records: mark`, mark nothing and fail when more than this percentage of "
            "a collection's objects, and more than 100 objects, would be marked. "
            "`--accept-deletes` lets one run mark them."
        ),
        ge=0,
        le=100,
    ),
]
