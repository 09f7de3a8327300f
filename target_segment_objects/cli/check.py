"""`--check`: tests whether a run could use its folders and its write key.

It writes a batch file to the spool folder, compares its free space with what a batch may need, and
starts a bulk session and finishes it empty. It makes fewer attempts than a run, and waits for
seconds only.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from target_segment_objects import limits
from target_segment_objects.cli.load import describe_problem
from target_segment_objects.delivery.batch import Batch
from target_segment_objects.delivery.batch_queue import QUEUED_BATCHES_PER_SESSION
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import (
    ApiError,
    AuthenticationError,
    SegmentObjectsError,
    SpoolError,
)
from target_segment_objects.run.output import LedgerBinding
from target_segment_objects.segment.client import Client
from target_segment_objects.segment.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.settings import Settings

MAX_RETRIES: Final = 2
MAX_WAIT_SECONDS: Final = 3.0
"""Between two attempts, even if Segment asks for more."""
MAX_TIMEOUT_SECONDS: Final = 15.0
"""For one response."""

TYPICAL_OBJECT_BYTES: Final = 256
"""Of one object on disk: about 1 KB of JSON, gzipped. Our estimate."""

_MEGABYTE: Final = 1_000_000
_GIGABYTE: Final = 1_000_000_000


def _measure_free_bytes(folder: str) -> int:
    return shutil.disk_usage(folder).free


def run_checks(
    settings: Settings,
    write_line: Callable[[str], object],
    *,
    user_agent: str,
    ledger: LedgerBinding | None = None,
    measure_free_bytes: Callable[[str], int] = _measure_free_bytes,
) -> bool:
    """Check what a run needs, and report each result.

    Args:
        settings: The settings of the run.
        write_line: Receives the results.
        user_agent: The User-Agent header for Segment.
        ledger: How a run would use a ledger, if the settings have one.
        measure_free_bytes: Returns the free space of a folder.

    Returns:
        Whether every check passed.
    """
    passed = True
    for check in (
        lambda settings: _check_spool_folder(settings, measure_free_bytes),
        _check_dead_letter_file,
        lambda settings: _check_ledger(settings, ledger or LedgerBinding()),
        lambda settings: _check_write_key(settings, user_agent),
    ):
        try:
            result = check(settings)
        except SegmentObjectsError as error:
            passed = False
            write_line(f"FAILED: {describe_problem(error)}")
        else:
            if result:
                write_line(f"OK: {result}")
    write_line("Check passed." if passed else "Check failed.")
    return passed


def _check_spool_folder(settings: Settings, measure_free_bytes: Callable[[str], int]) -> str:
    folder = settings.spool_dir or tempfile.gettempdir()
    spool = Spool(settings.spool_dir)
    try:
        batch = Batch("check", spool, max_file_bytes=settings.delivery.max_file_bytes)
        batch.add_lines([b"{}"])
        batch.close()
    finally:
        spool.close()
    free = measure_free_bytes(folder)
    needed = estimate_batch_bytes(settings)
    if free < needed:
        reason = f"only {_format_size(free)} free, and one batch may need {_format_size(needed)}"
        raise SpoolError("write batch files to", folder, OSError(errno.ENOSPC, reason))
    batches = QUEUED_BATCHES_PER_SESSION * settings.max_parallel_sessions + 1
    advice = ""
    if free < batches * needed:
        advice = f"; {batches} batches at the same time may need {_format_size(batches * needed)}"
    return f"Batch files can be written to {folder} ({_format_size(free)} free{advice})."


def estimate_batch_bytes(settings: Settings) -> int:
    """Return the disk space to expect of one batch, in bytes.

    It is an estimate, and our choice: all objects of a batch at their typical size, and at least
    one batch file that cannot be compressed, unless the batch cannot fill it.
    """
    typical = settings.batch_size_rows * TYPICAL_OBJECT_BYTES
    largest = settings.batch_size_rows * limits.MAX_OBJECT_BYTES
    return max(typical, min(settings.max_file_bytes, largest))


def _format_size(size: int) -> str:
    if size < _MEGABYTE:
        return f"{size / 1000:,.0f} KB"
    return f"{size / 1e6:,.0f} MB" if size < _GIGABYTE else f"{size / 1e9:,.1f} GB"


def _check_dead_letter_file(settings: Settings) -> str | None:
    path = settings.dead_letter_file
    if path is None:
        return None
    try:
        _require_writable_file(path)
    except OSError as cause:
        raise SpoolError("write", path, cause, instead="dead_letter_path to another file") from None
    return f"Rejected records can be written to {path}."


def _require_writable_file(path: Path) -> None:
    """Raise OSError if a file cannot be appended to. The file is not created or changed."""
    if not path.exists():
        with tempfile.TemporaryFile(dir=path.parent):
            return
    if path.is_file():
        with path.open("ab"):
            return
    if not os.access(path, os.W_OK):  # opening a pipe would wait for its reader
        raise PermissionError("Permission denied")


def _check_ledger(settings: Settings, ledger: LedgerBinding) -> str | None:
    if settings.ledger_path is None:
        return None
    from target_segment_objects.ledger.file import Destination  # noqa: PLC0415 - most have none
    from target_segment_objects.ledger.read_only import check_ledger  # noqa: PLC0415

    bound_to = Destination(
        ledger.destination or settings.api_url, settings.write_key, ledger.adopt_command
    )
    return check_ledger(Path(settings.ledger_path), bound_to)


def _check_write_key(settings: Settings, user_agent: str) -> str:
    with _create_client(settings, user_agent) as client:
        session = Session(client)
        try:
            with session:
                pass
        except AuthenticationError as error:
            msg = f"{settings.api_url} is reachable, but it refuses the write key. {error}"
            raise AuthenticationError(msg, status=error.status) from error
        except ApiError as error:
            if not session.sync_id:
                raise
            msg = (
                f"{settings.api_url} accepts the write key and started session "
                f"{session.sync_id}, but could not finish it: {error}"
            )
            raise ApiError(msg, status=error.status) from error
    return (
        f"{settings.api_url} accepts the write key{_describe_form(client)}: session "
        f"{session.sync_id} was started and finished empty."
    )


def _describe_form(client: Client) -> str:
    form = client.auth_form
    return "" if form is None else f" (sent as base64 of '{form.value}')"


def _create_client(settings: Settings, user_agent: str) -> Client:
    return Client(
        settings.write_key,
        api_url=settings.api_url,
        timeout_seconds=min(settings.request_timeout_seconds, MAX_TIMEOUT_SECONDS),
        max_retries=min(settings.max_retries, MAX_RETRIES),
        max_wait_seconds=MAX_WAIT_SECONDS,
        user_agent=user_agent,
    )
