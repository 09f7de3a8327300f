"""Load rows from Python into Segment: `load` for one collection, `Loader` for several.

A load is a run of the command with another input and another output: `RunContext` has its parts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence  # noqa: TC003 - `help` shows them
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from target_segment_objects.exceptions import (
    ConfigurationError,
    InvalidWriteKeyError,
    SegmentObjectsError,
    SessionStateError,
)
from target_segment_objects.reporting.stats import RunStats
from target_segment_objects.rows.load_result import LoadResult
from target_segment_objects.rows.row_stream import RowStream
from target_segment_objects.run.context import RunContext
from target_segment_objects.run.output import LedgerBinding, SegmentOutput
from target_segment_objects.segment.client import DEFAULT_API_URL
from target_segment_objects.settings import SETTINGS, Settings
from target_segment_objects.versions import find_version

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.run.output import RejectedRecord

OTHER_SETTINGS: Final = frozenset(
    {
        *("pluralize_collections", "null_properties", "oversized_values", "type_changes"),
        *("schema_violations", "max_invalid_records", "spool_dir"),
        *("batch_size_rows", "batch_max_age_seconds", "max_file_bytes", "max_parallel_sessions"),
        *("keep_alive_interval_seconds", "request_timeout_seconds", "max_retries"),
        *("flattening_enabled", "flattening_max_depth", "flattening_max_key_length"),
        *("resend_after_days", "ledger_ignored_properties"),
    }
)
"""The settings of the command that a load takes by their names."""

_PATHS: Final = ("ledger_path", "spool_dir")
_ABORT_REASON: Final = "the load was aborted"
_ADOPT_COMMAND: Final = "segment-objects-ledger adopt-key {path}"

logger = logging.getLogger("target_segment_objects")


def load(
    collection: str,
    rows: Iterable[Mapping[str, Any]],
    *,
    key: str | Sequence[str] = (),
    write_key: str,
    schema: Mapping[str, Any] | None = None,
    ledger: str | os.PathLike[str] | None = None,
    invalid_records: Literal["fail", "return"] = "fail",
    api_url: str = DEFAULT_API_URL,
    **settings: Any,  # noqa: ANN401 - of any setting
) -> LoadResult:
    """Load rows into one collection of Segment, and wait until Segment has accepted them.

        from target_segment_objects import load

        rows = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Alan"}]
        result = load("users", rows, key="id", write_key="…")
        print(result.sent, result.sync_ids)

    The types of the values decide those of the properties: str, int, float, Decimal, bool,
    datetime, date, time, UUID and Enum (by its value). A dict becomes one property for each of its
    members, such as address_street. A list or a tuple becomes JSON text. None and NaN are sent as
    null. The first value of a property that is not None decides its type. A row is invalid if it
    has a value that this type cannot hold without loss, or one of a type that is not listed here.

    If `rows` raises an error, the rows before it are loaded, and the error is raised again. After
    Ctrl-C, sessions under way are ended with an error, so that Segment drops their data.

    Args:
        collection: The collection, such as "users". What Segment does not accept in a name is
            changed: upper case, digits and special characters.
        rows: The rows, each a dict from names to values, from a list, a generator or any other
            iterable. They are read once, and not all at the same time.
        key: The name of the property that is the object's id; several names for an id of several
            parts. Without one, the id is a digest of the row: a changed row is another object.
        write_key: The write key of the Segment source.
        schema: A JSON schema of the rows, which decides the types instead of the first values.
        ledger: A file that keeps what Segment has accepted, so that the next load sends only new
            and changed rows. It is created by the first load.
        invalid_records: What to do with a row that cannot be sent: "fail" loads the rows before it
            and raises InvalidRecordError, "return" goes on and returns it in `rejects`.
        api_url: The base address of the API. A sandbox has one, too: it needs no account.
        **settings: Any of these settings of the command, with the same meanings and defaults:
            pluralize_collections, null_properties, oversized_values, type_changes,
            schema_violations, max_invalid_records, spool_dir, batch_size_rows,
            batch_max_age_seconds, max_file_bytes, max_parallel_sessions,
            keep_alive_interval_seconds, request_timeout_seconds, max_retries, flattening_enabled,
            flattening_max_depth, flattening_max_key_length, resend_after_days,
            ledger_ignored_properties. docs/configuration.md explains them.

    Returns:
        How many rows were read, sent and rejected, and the `sync_id`s of the sessions.

    Raises:
        InvalidRecordError: A row cannot be sent. The rows before it are loaded.
        SegmentObjectsError: The base class of this and all other errors, such as a wrong setting
            (ConfigurationError) or a call to Segment that failed (ApiError).
    """
    with Loader(
        write_key, ledger=ledger, invalid_records=invalid_records, api_url=api_url, **settings
    ) as loader:
        loader.load(collection, rows, key=key, schema=schema)
    (result,) = loader.results.values()
    return result


class Loader:
    """Loads rows into several collections of Segment, side by side.

        with Loader(write_key, ledger="segment.sqlite") as loader:
            loader.load("users", users, key="id")
            loader.load("orders", orders, key=["shop", "number"])
        for result in loader.results.values():
            print(result.collection, result.sent, result.sync_ids)

    Leaving the block waits until Segment has accepted all rows. If the block ends with an error,
    what was loaded before it is still delivered, and then the error is raised again. After Ctrl-C
    it is not: sessions under way are ended with an error, so that Segment drops their data.

    A loader is for one block and one thread.

    Args:
        write_key: The write key of the Segment source.
        ledger: A file that keeps what Segment has accepted: see `load`.
        invalid_records: What to do with a row that cannot be sent, "fail" or "return": see `load`.
        api_url: The base address of the API.
        **settings: Settings of the command: see `load`.

    Raises:
        ConfigurationError: A setting is not valid.
        InvalidWriteKeyError: `write_key` cannot be one.
        InvalidUrlError: `api_url` is not usable. Entering the block raises this, and LedgerError.
    """

    def __init__(
        self,
        write_key: str,
        *,
        ledger: str | os.PathLike[str] | None = None,
        invalid_records: Literal["fail", "return"] = "fail",
        api_url: str = DEFAULT_API_URL,
        **settings: Any,  # noqa: ANN401 - of any setting
    ) -> None:
        if invalid_records not in {"fail", "return"}:
            msg = f'invalid_records cannot be {invalid_records!r}: it must be "fail" or "return".'
            raise ConfigurationError(msg)
        for name in settings.keys() - OTHER_SETTINGS:
            msg = f"'{name}' is not a setting of a load: see help(load)."
            raise ConfigurationError(msg)
        self._settings = _convert_settings(
            {
                **settings,
                "write_key": write_key,
                "api_url": api_url,
                "ledger_path": ledger,
                # Rows that are gone are found by messages of a tap, which there are none of.
                "deleted_records": "ignore",
                "invalid_records": "fail" if invalid_records == "fail" else "dead_letter",
            }
        )
        self._stats = RunStats()
        self._streams: dict[str, tuple[object, RowStream]] = {}
        self._sync_ids: dict[str, list[str]] = {}
        self._context: RunContext | None = None
        self._has_ended = False

    def __enter__(self) -> Self:
        """Open the ledger and what else the load needs. Nothing is sent yet.

        Raises:
            LedgerError: The ledger cannot be used.
            InvalidUrlError: `api_url` is malformed, or plain `http://` to another machine.
        """
        if self._context is not None or self._has_ended:
            msg = "A loader is for one block. Create another one."
            raise SessionStateError(msg)
        output = _RowOutput(
            self._settings,
            user_agent=f"target-segment-objects/{find_version('target-segment-objects')}",
            ledger=LedgerBinding(adopt_command=_ADOPT_COMMAND),
            log_session=self._add_session,
        )
        try:
            self._context = RunContext(
                self._settings, output, self._stats, on_failure=lambda: None, logger=logger
            )
        except BaseException:
            output.close()
            raise
        return self

    def load(
        self,
        collection: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        key: str | Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        """Load rows into a collection. They are on their way when it returns; it does not wait.

        It may be called several times for a collection: the rows that come last count.

        Args:
            collection: The collection: see `load`.
            rows: The rows, each a dict from names to values.
            key: The name or the names of the properties that make the id: see `load`.
            schema: A JSON schema of the rows: see `load`.

        Raises:
            InvalidRecordError: A row cannot be sent. The rows before it are delivered.
            SegmentObjectsError: Delivery has failed, or a name cannot be used.
            SessionStateError: The loader is not used in its `with` block.
        """
        if self._context is None:
            msg = "The loader is not open: call it in its `with` block."
            raise SessionStateError(msg)
        keys = (key,) if isinstance(key, str) else tuple(key)
        definition, stream = self._streams.get(collection, (None, None))
        if stream is None or definition != (keys, schema):
            rejects = [] if stream is None else stream.rejects
            stream = RowStream(
                self._context, collection, keys, None if schema is None else dict(schema), rejects
            )
            self._streams[collection] = (keys, schema), stream
        stream.add_rows(rows)

    @property
    def results(self) -> dict[str, LoadResult]:
        """What became of the rows so far, by the name that a collection has in Segment."""
        outstanding = (
            {} if self._context is None else self._context.delivery.get_status().outstanding
        )
        counts = self._stats.get_collections(outstanding)
        results = {}
        for name, (_, stream) in self._streams.items():
            count, read = counts.get(stream.collection), self._stats.streams[name]
            results[stream.collection] = LoadResult(
                stream.collection,
                read.read,
                0 if count is None else count.sent - count.cleared,
                0 if count is None else count.unchanged or 0,
                tuple(self._sync_ids.get(stream.collection, ())),
                tuple(stream.rejects),
                tuple(read.warnings),
            )
        return results

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Deliver what was loaded, and close what is open.

        Raises:
            SegmentObjectsError: Something could not be delivered.
        """
        context, self._context, self._has_ended = self._context, None, True
        if context is None:
            return
        if error is not None and not isinstance(error, Exception):
            context.abort(_ABORT_REASON)
            return
        try:
            context.deliver_rest(ended_well=error is None)
        except SegmentObjectsError as failure:
            context.close()
            if failure is not error:  # else it is raised anyway
                raise
        except BaseException:
            context.abort(_ABORT_REASON)
            raise
        else:
            context.close()

    def _add_session(self, report: SessionReport) -> None:
        self._sync_ids.setdefault(report.collection, []).append(report.sync_id)


class _RowOutput(SegmentOutput):
    """The output of a load from Python, which has no dead-letter file: rejects are returned."""

    def __init__(self, settings: Settings, **options: Any) -> None:  # noqa: ANN401 - of the base
        super().__init__(settings, **options)
        self._fails = settings.invalid_records == "fail"

    def reject_record(self, rejected: RejectedRecord) -> None:
        """End the load at a row that cannot be sent, or go on: its stream keeps it."""
        if self._fails:
            raise rejected.error


def _convert_settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings, complete with their defaults.

    Raises:
        ConfigurationError: One is not valid.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if "write_key" not in given:
        raise InvalidWriteKeyError(None)
    for name in _PATHS:
        if isinstance(given.get(name), (str, os.PathLike)):
            # Path's own fails for an unknown user.
            given[name] = os.path.expanduser(os.fspath(given[name]))  # noqa: PTH111
    if isinstance(given.get("api_url"), str):
        given["api_url"] = given["api_url"].rstrip("/")
    try:
        return msgspec.convert(given, Settings)
    except msgspec.ValidationError as error:
        if str(error).endswith("`$.write_key`"):
            raise InvalidWriteKeyError(given["write_key"]) from None
        raise ConfigurationError(_describe_invalid(given) or str(error)) from None


def _describe_invalid(given: Mapping[str, Any]) -> str:
    """Return what is wrong with settings, in the words of the command."""
    # Not at the start: it imports the SDK.
    from target_segment_objects.settings.config_validation import (  # noqa: PLC0415
        validation_errors,
    )

    own = {name: value for name, value in given.items() if name != "invalid_records"}
    return " ".join(validation_errors(own, SETTINGS))
