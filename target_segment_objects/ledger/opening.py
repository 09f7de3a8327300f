"""How a run's ledger is put together: file, objects, then, once there is delivery, the stage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from target_segment_objects.ledger.deletion_check import DeletionCheck
from target_segment_objects.ledger.deletion_evidence import InputEvidence
from target_segment_objects.ledger.deletion_rules import IGNORE, DeletionOptions
from target_segment_objects.ledger.file import LedgerFile
from target_segment_objects.ledger.missing_objects import MissingObjectTable
from target_segment_objects.ledger.object_table import ObjectTable
from target_segment_objects.ledger.property_table import PropertyTable
from target_segment_objects.ledger.read_only import copy_ledger
from target_segment_objects.ledger.reading_table import ReadingTable
from target_segment_objects.ledger.stage import LedgerStage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from target_segment_objects.delivery.scheduler import DeliveryScheduler
    from target_segment_objects.ledger.file import Destination


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """An open ledger, as a run uses it.

    Attributes:
        objects: What Segment has: the journal of delivery.
        missing: What complete runs did not see again.
        memory: What earlier runs have sent of each stream's properties.
        evidence: Collects how this run reads its streams.
        ignored_properties: The names, as they are sent, of properties that do not count.
        deletions: What to do about rows that are gone.
    """

    objects: ObjectTable
    missing: MissingObjectTable
    memory: PropertyTable
    evidence: InputEvidence
    ignored_properties: tuple[str, ...]
    deletions: DeletionOptions

    def open_stage(
        self,
        delivery: DeliveryScheduler,
        *,
        on_unchanged: Callable[[str, int], None],
        on_missing: Callable[[str, int, int | None], None],
        on_cleared: Callable[[str, int], None],
        log_warning: Callable[[str, str], None],
    ) -> tuple[LedgerStage, DeletionCheck]:
        """Return the stage before delivery, whose journal is `objects`, and what uses it last.

        The arguments are those of the two.
        """
        stage = LedgerStage(
            delivery,
            self.objects,
            self.missing,
            ignored_properties=self.ignored_properties,
            on_unchanged=on_unchanged,
            log_warning=log_warning,
        )
        check = DeletionCheck(
            self.missing, self.deletions, stage, on_missing=on_missing, on_cleared=on_cleared
        )
        return stage, check


def open_ledger(
    path: Path,
    destination: Destination,
    *,
    resend_after_days: int,
    ignored_properties: tuple[str, ...] = (),
    deletions: DeletionOptions | None = None,
    copy: Path | None = None,
    today: date | None = None,
) -> OpenLedger:
    """Open the ledger for a run.

    Args:
        path: The file.
        destination: Where the objects go.
        resend_after_days: Days after which an unchanged object is sent again; 0 for never.
        ignored_properties: The names, as they are sent, of properties that do not count.
        deletions: What to do about rows that are gone.
        copy: Where to copy the file, and to use the copy; None to use the file itself.
        today: The day of the run (UTC); None for the clock's.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    deletions = deletions or DeletionOptions()
    if copy is not None:
        copy_ledger(path, copy, destination)
    file = LedgerFile.open(copy or path, destination)
    file.path = path  # what messages name, also while a copy is used
    readings = ReadingTable(file)
    objects = ObjectTable(
        file,
        resend_after_days=resend_after_days,
        today=today or datetime.now(timezone.utc).date(),
        notes_seen=deletions.deleted_records != IGNORE,
    )
    try:
        objects.start()
        readings.start()
        missing = MissingObjectTable(file, readings, objects.seen, deletions)
        missing.start()
    except BaseException:
        file.close()
        raise
    evidence = InputEvidence(deletions.full_table_streams)
    return OpenLedger(
        objects, missing, PropertyTable(file), evidence, ignored_properties, deletions
    )
