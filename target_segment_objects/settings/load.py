"""The settings of mapping and delivery.

The modules of settings do not import `annotations` from `__future__`: msgspec would have to compile
and evaluate the annotations as strings at each start.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from target_segment_objects import limits
from target_segment_objects.delivery.scheduler import DeliveryOptions
from target_segment_objects.mapping.violations import SchemaViolations
from target_segment_objects.segment.client import (
    DEFAULT_API_URL,
    DEFAULT_MAX_RETRIES,
    DEFAULT_REQUEST_TIMEOUT_SECONDS,
)
from target_segment_objects.singer.reject_limit import PATTERN as REJECT_LIMIT_PATTERN
from target_segment_objects.singer.reject_limit import RejectLimit

_DELIVERY_DEFAULTS: Final = DeliveryOptions()

_MAX_SECONDS: Final = 1_000_000
"""About eleven days. Operating systems limit how long threads and sockets may wait."""

_MIN_SECONDS_BEFORE_TIMEOUT: Final = 60


class LoadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a load, complete with their defaults."""

    write_key: Annotated[
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
    api_url: Annotated[
        str,
        Meta(
            title="API URL",
            description=(
                "Base URL of the Objects Bulk API. Plain `http://` is accepted for this machine "
                "only, because it would send the write key unencrypted."
            ),
        ),
    ] = DEFAULT_API_URL
    collection_map: Annotated[
        dict[str, str],
        Meta(
            title="Collection map",
            description=(
                "Stream names and the collection names to use for them: lowercase letters and "
                "underscores, at most 100 characters. Streams with the same collection are merged."
            ),
        ),
    ] = {}
    pluralize_collections: Annotated[
        bool,
        Meta(
            title="Pluralize collections",
            description=(
                "Use the English plural for collection names, as Segment recommends (`order` "
                "becomes `orders`). Names from `collection_map` are not changed."
            ),
        ),
    ] = False
    null_properties: Annotated[
        Literal["send", "omit"],
        Meta(
            title="Null properties",
            description=(
                "`send` sends a null. Segment does not document its effect; our reading is that it "
                "clears the property. `omit` leaves it out, so the property keeps its value."
            ),
        ),
    ] = "send"
    oversized_values: Annotated[
        Literal["reject", "truncate"],
        Meta(
            title="Oversized values",
            description=(
                "What to do with a value of 32 KB or more, which Segment refuses: `reject` rejects "
                "the record, `truncate` cuts the value at a character boundary."
            ),
        ),
    ] = "reject"
    type_changes: Annotated[
        Literal["fail", "warn", "new_property"],
        Meta(
            title="Type changes",
            description=(
                "What to do when a property's new type does not fit its first one, which a "
                "warehouse's column keeps: `fail` stops at the SCHEMA, `warn` sends it anyway, "
                "`new_property` sends it as another property (`amount_float`). The first type is "
                "that of this run or, with `ledger_path`, of all runs."
            ),
        ),
    ] = "fail"
    invalid_records: Annotated[
        Literal["fail", "dead_letter"],
        Meta(
            title="Invalid records",
            description=(
                "What to do with a record that cannot be sent: `fail` delivers what was read "
                "before it and ends the run, `dead_letter` writes it to `dead_letter_path` and "
                "continues."
            ),
        ),
    ] = "fail"
    dead_letter_path: (
        Annotated[
            str,
            Meta(
                title="Dead-letter path",
                description=(
                    "File to which rejected records are appended with `invalid_records: "
                    "dead_letter`. It is Singer input: fix the cause, then load it."
                ),
                min_length=1,
            ),
        ]
        | None
    ) = None
    max_invalid_records: Annotated[
        Annotated[int, Meta(ge=0)]
        | Annotated[str, Meta(pattern=REJECT_LIMIT_PATTERN, examples=["5%"])]
        | None,
        Meta(
            title="Maximum invalid records",
            description=(
                "With `invalid_records: dead_letter`, fail when more records are rejected: a "
                "number, or a percentage of the records read, such as `5%`. A percentage applies "
                "from the 1,000th record on and at the end of the run. No limit by default."
            ),
        ),
    ] = None
    schema_violations: Annotated[
        SchemaViolations,
        Meta(
            title="Schema violations",
            description=(
                "What to do with a record that does not match its schema, though every value can "
                "be sent in its property's type without loss: `warn` sends it, with one warning "
                "for each property, `reject` rejects it. Needs `validate_records`."
            ),
        ),
    ] = "warn"
    batch_size_rows: Annotated[
        int,
        Meta(
            title="Batch size",
            description="Maximum number of objects in a batch. Each batch is one bulk session.",
            ge=1,
        ),
    ] = _DELIVERY_DEFAULTS.batch_size_rows
    batch_max_age_seconds: Annotated[
        float,
        Meta(
            title="Maximum batch age",
            description=(
                "Deliver a batch when its first record is this old, even if the batch is not full "
                "or the tap is silent."
            ),
            gt=0,
            le=_MAX_SECONDS,
        ),
    ] = _DELIVERY_DEFAULTS.batch_max_age_seconds
    max_file_bytes: Annotated[
        int,
        Meta(
            title="Maximum file size",
            description=(
                "Uncompressed size at which a batch continues in a new file. A failed upload sends "
                "the whole file again, so choose smaller files for an unreliable network."
            ),
            ge=limits.MAX_OBJECT_BYTES + 1,
            le=limits.MAX_FILE_BYTES,
        ),
    ] = _DELIVERY_DEFAULTS.max_file_bytes
    keep_alive_interval_seconds: Annotated[
        float,
        Meta(
            title="Keep Alive interval",
            description=(
                "Send Keep Alive when a session has been silent for this long. Segment drops a "
                "session after ten minutes without a call."
            ),
            gt=0,
            le=limits.SESSION_TIMEOUT_SECONDS - _MIN_SECONDS_BEFORE_TIMEOUT,
        ),
    ] = _DELIVERY_DEFAULTS.keep_alive_seconds
    request_timeout_seconds: Annotated[
        float,
        Meta(
            title="Request timeout",
            description="How long to wait for a response before the call is retried.",
            gt=0,
            le=_MAX_SECONDS,
        ),
    ] = DEFAULT_REQUEST_TIMEOUT_SECONDS
    max_retries: Annotated[
        int,
        Meta(
            title="Maximum retries",
            description=(
                "Retries of a call after the first attempt. The wait grows up to a minute, or is "
                "as long as Segment asks for. As long as nothing was received from `api_url` in a "
                "run, a connection is retried twice at most: the address may be wrong."
            ),
            ge=0,
        ),
    ] = DEFAULT_MAX_RETRIES
    max_parallel_sessions: Annotated[
        int,
        Meta(
            title="Maximum parallel sessions",
            description=(
                "Sessions of different collections at the same time. Objects of one collection are "
                "always sent in order. Segment allows 20 concurrent requests per write key, over "
                "all machines."
            ),
            ge=1,
            le=limits.MAX_CONCURRENT_REQUESTS,
        ),
    ] = _DELIVERY_DEFAULTS.max_parallel_sessions
    spool_dir: (
        Annotated[
            str,
            Meta(
                title="Spool folder",
                description=(
                    "Folder for batch files that wait to be sent. The default is the system's "
                    "temporary folder. Each run creates a private folder in it and removes it at "
                    "the end."
                ),
                min_length=1,
            ),
        ]
        | None
    ) = None
    load_method: Annotated[
        Literal["upsert"],
        Meta(
            title="Load method",
            description="Segment merges objects by id, so `upsert` is the only method.",
        ),
    ] = "upsert"

    @property
    def dead_letter_file(self) -> Path | None:
        """Where rejected records go. None when the first one ends the run."""
        path = self.dead_letter_path
        return None if self.invalid_records == "fail" or path is None else Path(path)

    @property
    def reject_limit(self) -> RejectLimit | None:
        """The limit of rejected records. None without one, or when the first ends the run."""
        if self.dead_letter_file is None or self.max_invalid_records is None:
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
