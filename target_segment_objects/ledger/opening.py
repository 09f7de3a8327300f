"""How a run's ledger is put together: the file, its objects, and the stage before delivery."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from target_segment_objects.ledger.deletion_check import IGNORE, DeletionOptions, RunDeletions
from target_segment_objects.ledger.file import Destination, LedgerFile
from target_segment_objects.ledger.missing_objects import MissingObjects
from target_segment_objects.ledger.object_table import ObjectTable
from target_segment_objects.ledger.reading import copy_ledger
from target_segment_objects.ledger.stage import LedgerStage
from target_segment_objects.ledger.stream_memory import StreamMemory

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from target_segment_objects.delivery.scheduler import DeliveryScheduler
    from target_segment_objects.delivery.uploader import SessionReport


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """The user's settings for the ledger.

    Attributes:
        path: The file.
        destination: Where the objects go: the base URL of the API, or a sandbox's warehouse.
        write_key: The write key; None to accept a ledger of any key.
        resend_after_days: Days after which an unchanged object is sent again; 0 for never.
        ignored_properties: The names, as they are sent, of properties that do not count.
        deletions: What to do about rows that are gone.
        adopt_command: As in `Destination`.
        copy: Where to copy the file, and to use the copy; None to use the file itself.
        today: The day of the run (UTC); None for the clock's.
    """

    path: Path
    destination: str
    write_key: str | None = field(repr=False)
    resend_after_days: int
    ignored_properties: tuple[str, ...]
    deletions: DeletionOptions = field(default_factory=DeletionOptions)
    adopt_command: str = ""
    copy: Path | None = None
    today: date | None = None


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """An open ledger, as a run uses it.

    Attributes:
        stage: The stage before delivery.
        memory: What earlier runs have sent of each stream's properties.
        deletions: What finds rows that are gone at the source.
    """

    stage: LedgerStage
    memory: StreamMemory
    deletions: RunDeletions


def open_ledger_stage(
    options: LedgerOptions,
    create_delivery: Callable[..., DeliveryScheduler],
    *,
    on_session_finished: Callable[[SessionReport], None],
    on_unchanged: Callable[[str, int], None],
    on_missing: Callable[[str, int, int | None], None],
    on_cleared: Callable[[str, int], None],
    log_warning: Callable[[str, str], None],
) -> OpenLedger:
    """Open the ledger, and return what a run needs of it.

    Args:
        options: The user's settings.
        create_delivery: Returns the scheduler, given what it has to call.
        on_session_finished: Called with each session that Segment accepted.
        on_unchanged: Takes a collection and the number of objects that were skipped.
        on_missing: Takes a collection, and how many of its objects are missing and marked.
        on_cleared: Takes a collection, and of how many rejected rows the mark is cleared.
        log_warning: Logs a warning about a stream.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    destination = Destination(options.destination, options.write_key, options.adopt_command)
    if options.copy is not None:
        copy_ledger(options.path, options.copy, destination)
    file = LedgerFile.open(options.copy or options.path, destination)
    file.path = options.path  # what messages name, also while a copy is used
    today = options.today or datetime.now(timezone.utc).date()
    objects = ObjectTable(file, resend_after_days=options.resend_after_days, today=today)
    try:
        objects.start()
        missing = MissingObjects(
            file,
            first_new_number=objects.next_number,
            after_runs=options.deletions.after_runs,
            hours_between_runs=options.deletions.hours_between_runs,
        )
    except BaseException:
        file.close()
        raise

    def finish_session(report: SessionReport) -> None:
        on_session_finished(report)
        objects.mark_accepted(report.collection, report.objects)

    delivery = create_delivery(before_session=objects.commit, on_session_finished=finish_session)
    if options.deletions.deleted_records != IGNORE:
        objects.watch_found(missing.add_seen)
    stage = LedgerStage(
        delivery,
        objects,
        missing,
        ignored_properties=options.ignored_properties,
        on_unchanged=on_unchanged,
        log_warning=log_warning,
    )
    deletions = RunDeletions(
        missing,
        options.deletions,
        now=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        stage=stage,
        on_missing=on_missing,
        on_cleared=on_cleared,
    )
    return OpenLedger(stage, StreamMemory(file), deletions)
