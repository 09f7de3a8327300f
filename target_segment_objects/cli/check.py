"""`--check`: whether a run would find its folders, Segment and an open door, told in plain words.

It does what a run does, on a small scale: it writes a batch file into the spool folder, and starts
a bulk session that it finishes at once, empty. A few tries and some seconds are all that it gives.
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

MOST_RETRIES: Final = 2
"""Further tries of a call; a run has many more."""

MOST_WAIT_SECONDS: Final = 3.0
"""Between two tries, though Segment may ask for more."""

MOST_TIMEOUT_SECONDS: Final = 15.0
"""For one answer."""


def check(settings: Settings, say: Callable[[str], object], *, user_agent: str) -> bool:
    """Check all that a run needs, and say of each whether it is there.

    Args:
        settings: The run's.
        say: Takes each finding.
        user_agent: How to present ourselves to Segment.

    Returns:
        Whether all is there.
    """
    is_well = True
    for step in (_check_spool, _check_dead_letters, lambda run: _check_api(run, user_agent)):
        try:
            found = step(settings)
        except SegmentObjectsError as problem:
            is_well = False
            say(f"Not well: {problem}")
        else:
            if found:
                say(f"Well: {found}")
    return is_well


def _check_spool(settings: Settings) -> str:
    folder = settings.spool_dir or tempfile.gettempdir()
    spool = Spool(settings.spool_dir)
    try:
        batch = Batch("check", spool, max_file_bytes=settings.delivery.max_file_bytes)
        batch.add(b"{}")
        batch.close()
    finally:
        spool.close()
    free = shutil.disk_usage(folder).free / 1e9
    return f"batch files can be written to {folder}, where {free:,.1f} GB are free."


def _check_dead_letters(settings: Settings) -> str | None:
    path = settings.dead_letter_file
    if path is None:
        return None
    try:
        _require_writable(path)
    except OSError as cause:
        raise SpoolError("write", path, cause, instead="dead_letter_path to another file") from None
    return f"rejected records can be appended to {path}."


def _require_writable(path: Path) -> None:
    """Find out whether a file can be appended to, without making or changing it."""
    if not path.exists():
        with tempfile.TemporaryFile(dir=path.parent):
            return
    if path.is_file():
        with path.open("ab"):
            return
    if not os.access(path, os.W_OK):  # a pipe, which would wait for its reader
        raise PermissionError("Permission denied")


def _check_api(settings: Settings, user_agent: str) -> str:
    client = Client(
        settings.write_key,
        api_url=settings.api_url,
        timeout_seconds=min(settings.request_timeout_seconds, MOST_TIMEOUT_SECONDS),
        max_retries=min(settings.max_retries, MOST_RETRIES),
        max_wait_seconds=MOST_WAIT_SECONDS,
        user_agent=user_agent,
    )
    with client:
        session = Session(client)
        try:
            with session:
                pass
        except AuthenticationError as problem:
            msg = f"{settings.api_url} answers, but: {problem}"
            raise AuthenticationError(msg, status=problem.status) from problem
        except ApiError as problem:
            if not session.sync_id:
                raise
            msg = (
                f"the write key is accepted, and session {session.sync_id} was started at "
                f"{settings.api_url}, but not finished: {problem}"
            )
            raise ApiError(msg, status=problem.status) from problem
    return (
        f"{settings.api_url} accepts the write key: session {session.sync_id} was started, and "
        "finished at once, empty."
    )
