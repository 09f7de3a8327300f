"""`--check`: tests whether a run could use its folders and its write key.

It writes a batch file to the spool folder, and starts a bulk session and finishes it empty. It
makes fewer attempts than a run, and waits for seconds only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Final

from target_segment_objects.delivery.spool import Batch, Spool
from target_segment_objects.exceptions import (
    ApiError,
    AuthenticationError,
    SegmentObjectsError,
    SpoolError,
)
from target_segment_objects.segment.client import Client
from target_segment_objects.segment.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.settings import Settings

MAX_RETRIES: Final = 2
MAX_WAIT_SECONDS: Final = 3.0
"""Between two attempts, even if Segment asks for more."""
MAX_TIMEOUT_SECONDS: Final = 15.0
"""For one response."""


def run_checks(settings: Settings, write_line: Callable[[str], object], *, user_agent: str) -> bool:
    """Check what a run needs, and report each result.

    Args:
        settings: The settings of the run.
        write_line: Receives the results.
        user_agent: The User-Agent header for Segment.

    Returns:
        Whether every check passed.
    """
    passed = True
    for check in (
        _check_spool_folder,
        _check_dead_letter_file,
        lambda settings: _check_write_key(settings, user_agent),
    ):
        try:
            result = check(settings)
        except SegmentObjectsError as error:
            passed = False
            write_line(f"FAILED: {error}")
        else:
            if result:
                write_line(f"OK: {result}")
    write_line("Check passed." if passed else "Check failed.")
    return passed


def _check_spool_folder(settings: Settings) -> str:
    folder = settings.spool_dir or tempfile.gettempdir()
    spool = Spool(settings.spool_dir)
    try:
        batch = Batch("check", spool, max_file_bytes=settings.delivery.max_file_bytes)
        batch.add(b"{}")
        batch.close()
    finally:
        spool.close()
    free_gigabytes = shutil.disk_usage(folder).free / 1e9
    return f"Batch files can be written to {folder} ({free_gigabytes:,.1f} GB free)."


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


def _check_write_key(settings: Settings, user_agent: str) -> str:
    with _create_client(settings, user_agent) as client:
        session = Session(client)
        try:
            with session:
                pass
        except AuthenticationError as error:
            msg = f"{settings.api_url} is reachable. {error}"
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
