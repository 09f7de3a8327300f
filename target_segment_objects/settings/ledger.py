"""The settings of the ledger: what it skips, and for how long."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from target_segment_objects.mapping.mapper import MappingOptions
from target_segment_objects.settings.flattening import FlatteningSettings

DEFAULT_RESEND_DAYS: Final = 45
"""Half a month below 60 days, the shortest retention period of Segment's plans."""

_MAX_RESEND_DAYS: Final = 3650

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


class LedgerSettings(FlatteningSettings, frozen=True, kw_only=True):
    """The settings of a load and of the ledger, complete with their defaults."""

    ledger_path: (
        Annotated[
            str,
            Meta(
                title="Ledger path",
                description=(
                    "SQLite file that remembers a digest of each object that Segment has accepted. "
                    "With it, a run sends only new and changed objects. One run at a time can use "
                    "it. Keep it between runs; without it, everything is sent."
                ),
                min_length=1,
            ),
        ]
        | None
    ) = None
    resend_after_days: Annotated[
        int,
        Meta(
            title="Re-send after days",
            description=(
                "With `ledger_path`, send an unchanged object again after at most this many days; "
                "0 means never. Segment deletes objects that were not updated within 60, 90 or "
                "180 days, depending on the plan."
            ),
            ge=0,
            le=_MAX_RESEND_DAYS,
        ),
    ] = DEFAULT_RESEND_DAYS
    ledger_ignored_properties: Annotated[
        tuple[str, ...],
        Meta(
            title="Properties that the ledger ignores",
            description=(
                "With `ledger_path`, an object is not sent when only these properties have "
                "changed. They are added to the metadata that never counts: "
                f"{', '.join(f'`{name}`' for name in ALWAYS_IGNORED_PROPERTIES)}."
            ),
        ),
    ] = ()

    @property
    def ignored_properties(self) -> tuple[str, ...]:
        """All properties whose change alone does not make an object a changed one."""
        return (*ALWAYS_IGNORED_PROPERTIES, *self.ledger_ignored_properties)

    @property
    def mapping(self) -> MappingOptions:
        """The settings of the mapping."""
        # Else an object would be new to the ledger when the SCHEMA has another order.
        sorts_properties = self.ledger_path is not None
        return msgspec.structs.replace(super().mapping, sorts_properties=sorts_properties)
