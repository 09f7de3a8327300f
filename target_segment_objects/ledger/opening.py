"""How a run's ledger is put together: the file, its objects, and the stage before delivery."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from target_segment_objects.ledger.file import Destination, LedgerFile
from target_segment_objects.ledger.objects import ObjectTable
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
        today: The day of the run (UTC); None for the clock's.
    """

    path: Path
    destination: str
    write_key: str | None = field(repr=False)
    resend_after_days: int
    ignored_properties: tuple[str, ...]
    today: date | None = None


def open_ledger_stage(
    options: LedgerOptions,
    create_delivery: Callable[..., DeliveryScheduler],
    *,
    on_session_finished: Callable[[SessionReport], None],
    on_unchanged: Callable[[str, int], None],
) -> tuple[LedgerStage, StreamMemory]:
    """Open the ledger, and return the stage that uses it, before its delivery, and its memory.

    Args:
        options: The user's settings.
        create_delivery: Returns the scheduler, given what it has to call.
        on_session_finished: Called with each session that Segment accepted.
        on_unchanged: Takes a collection and the number of objects that were skipped.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    file = LedgerFile.open(options.path, Destination(options.destination, options.write_key))
    today = options.today or datetime.now(timezone.utc).date()
    objects = ObjectTable(file, resend_after_days=options.resend_after_days, today=today)
    try:
        objects.start()
    except BaseException:
        file.close()
        raise

    def finish_session(report: SessionReport) -> None:
        on_session_finished(report)
        objects.mark_accepted(report.collection, report.objects)

    delivery = create_delivery(before_session=objects.commit, on_session_finished=finish_session)
    stage = LedgerStage(
        delivery,
        objects,
        ignored_properties=options.ignored_properties,
        on_unchanged=on_unchanged,
    )
    return stage, StreamMemory(file)
