"""What a month of nightly loads sends: the stage of the ledger itself, with the days passed in."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from benchmarks.inputs import SEED
from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.delivery.scheduler import DeliveryScheduler
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.ledger.file import Destination
from target_segment_objects.ledger.opening import open_ledger

if TYPE_CHECKING:
    from benchmarks.runs import Bench

DAYS: Final = 30
_ROWS: Final = 20_000
_RESEND_DAYS: Final = 45  # the default
_FIRST_DAY: Final = date(2026, 1, 1)


class _AcceptingApi:
    """Accepts everything."""

    def start(self) -> str:
        """Start a session."""
        return "session"

    def upload(self, sync_id: str, file: Path, **_: object) -> str:
        """Do nothing."""
        del file
        return sync_id

    def keep_alive(self, sync_id: str) -> None:
        """Do nothing."""

    def finish(self, sync_id: str, error: str = "", **_: object) -> None:
        """Do nothing."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """Do nothing."""


def simulate_month(bench: Bench, churn: float) -> list[float]:
    """Return the objects sent for each row of a table, with a ledger and without.

    A share of the rows, `churn`, changes each night.
    """
    rows = bench.scale_count(_ROWS)
    rng = random.Random(SEED)  # noqa: S311 - not for security
    versions = [0] * rows
    sent = 0
    with TemporaryDirectory() as folder:
        for day in range(DAYS):
            sent += _load_table(Path(folder), versions, _FIRST_DAY + timedelta(day))
            for row in rng.sample(range(rows), round(rows * churn)):
                versions[row] += 1
    return [sent / rows, float(DAYS)]


def _load_table(folder: Path, versions: list[int], today: date) -> int:
    """Load all rows once; return the number of objects that were sent."""
    sent: list[int] = []
    spool = Spool(str(folder))

    ledger = open_ledger(
        folder / "ledger.sqlite",
        Destination("month", None),
        resend_after_days=_RESEND_DAYS,
        today=today,
    )
    delivery = DeliveryScheduler(
        _AcceptingApi(),
        spool,
        write_state=lambda _: None,
        journal=ledger.objects,
        on_session_finished=lambda report: sent.append(report.objects),
    )
    stage, _ = ledger.open_stage(
        delivery,
        on_unchanged=lambda *_: None,
        on_missing=lambda *_: None,
        on_cleared=lambda *_: None,
        log_warning=lambda *_: None,
    )
    add_objects = stage.open_stream(StreamInfo("rows", "rows", ("id",), ()))
    for row, version in enumerate(versions):
        add_objects([b'{"id":"%d","collection":"rows","properties":{"n":%d}}' % (row, version)])
    stage.drain()
    ledger.objects.close()
    spool.close()
    return sum(sent)
