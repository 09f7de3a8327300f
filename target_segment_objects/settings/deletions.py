"""The settings for rows that are gone at the source."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from target_segment_objects.settings.ledger import LedgerSettings

_MAX_RUNS: Final = 1000
_MAX_HOURS: Final = 8760


class DeletionSettings(LedgerSettings, frozen=True, kw_only=True):
    """The settings of a load, of the ledger and for deleted rows, complete with their defaults."""

    deleted_records: Annotated[
        Literal["report", "mark", "ignore"],
        Meta(
            title="Deleted records",
            description=(
                "With `ledger_path`, what to do about rows that are gone at the source: `report` "
                "counts them, `mark` also sends `sdc_deleted_at` for them, `ignore` does nothing. "
                "The API has no delete."
            ),
        ),
    ] = "report"
    full_table_streams: Annotated[
        tuple[str, ...],
        Meta(
            title="Full-table streams",
            description=(
                "With `ledger_path`, streams of which every run reads the whole table, though "
                "the tap does not say so with ACTIVATE_VERSION."
            ),
        ),
    ] = ()
    deleted_after_runs: Annotated[
        int,
        Meta(
            title="Deleted after runs",
            description=(
                "With `deleted_records: mark`, mark a row when this many complete runs in a row "
                "did not have it."
            ),
            ge=1,
            le=_MAX_RUNS,
        ),
    ] = 2
    deleted_hours_between_runs: Annotated[
        float,
        Meta(
            title="Deleted hours between runs",
            description=(
                "With `deleted_records: mark`, two runs that did not have a row count as two only "
                "if so many hours lie between their starts: the retry of a scheduler is no second "
                "run."
            ),
            ge=0,
            le=_MAX_HOURS,
        ),
    ] = 4
    deleted_limit_percent: Annotated[
        float,
        Meta(
            title="Deleted limit",
            description=(
                "With `deleted_records: mark`, mark nothing and fail when more than this "
                "percentage of a collection's objects, and more than 100 objects, would be marked. "
                "`--accept-deletes` lets one run mark them."
            ),
            ge=0,
            le=100,
        ),
    ] = 10
