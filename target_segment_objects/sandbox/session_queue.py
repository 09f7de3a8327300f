"""Loads accepted sessions into the warehouse after their Finish was answered, as Segment does.

Accepted is not loaded: Finish answers 202 once the session is on disk, and one thread loads the
accepted sessions in the order in which they were finished. Whoever reads the warehouse calls
`wait_until_loaded` first.

An accepted session survives a kill. Its parts and a record of it are in a folder beside the
warehouse's file. They are removed once the transaction that loads the session is committed, and the
next sandbox loads what is left. A session that the warehouse has already recorded is not loaded
again.

If a session cannot be loaded, loading stops, because the next ones must not overtake it: everything
that was accepted stays on disk, and no further session is accepted.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec

from target_segment_objects.sandbox.errors import RejectedRequestError, WarehouseError
from target_segment_objects.sandbox.private_files import open_private_folder
from target_segment_objects.sandbox.session_record import SessionRecord
from target_segment_objects.sandbox.uploads import Part, read_objects
from target_segment_objects.sandbox.warehouse.column_types import ColumnType  # noqa: TC001 - for msgspec
from target_segment_objects.sandbox.warehouse.database_file import describe_error
from target_segment_objects.sandbox.warehouse.session_columns import check_limits, merge_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from target_segment_objects.sandbox.sessions import SessionRegistry
    from target_segment_objects.sandbox.warehouse.database import Warehouse
    from target_segment_objects.sandbox.warehouse.session_columns import Columns

_RECORD_SUFFIX: Final = ".accepted.json"
_PART_SUFFIX: Final = ".jsonl.gz"
_PART_NAME: Final = re.compile(r"[0-9a-f]{16}-\d+\.jsonl\.gz")
_RECORD_NAME: Final = re.compile(r"\d{12,}-[0-9a-f]{16}\.accepted\.(json|tmp)")
"""The names that are used in the folder. No other file is read or removed."""


@dataclass(frozen=True, slots=True)
class _StoredPart:
    """A part of an accepted session, as its record has it."""

    name: str
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class _AcceptedSession:
    """An accepted session that is not loaded yet; also the content of its record.

    Attributes:
        number: Its place in the order of acceptance.
        row: What the warehouse records of it.
        columns: The columns of its objects.
        parts: Its files, in order.
    """

    number: int
    row: SessionRecord
    columns: dict[str, dict[str, ColumnType]]
    parts: tuple[_StoredPart, ...]


_Job = _AcceptedSession | tuple[SessionRecord, ...]
"""A session to load, or sessions to record whose objects are not loaded."""


class SessionQueue:
    """Accepts sessions, and loads them in order.

    Args:
        warehouse: Where the objects are loaded.
        folder: Where parts and records are kept; created if it is missing.
        sessions: Where it notes which session is loaded.
        keep_history: Whether to keep the parts as the history of their objects.
    """

    def __init__(
        self, warehouse: Warehouse, folder: Path, sessions: SessionRegistry, *, keep_history: bool
    ) -> None:
        self._warehouse = warehouse
        self._folder = folder
        self._sessions = sessions
        self._keep_history = keep_history
        self._changed = threading.Condition()
        # The condition guards everything below.
        self._queue: deque[_Job] = deque()
        self._next_number = 1
        # The columns of tables, as they are once the queue is loaded.
        self._columns: dict[str, Mapping[str, ColumnType]] = {}
        self._failure: WarehouseError | None = None
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="session-loader", daemon=True)

    def open(self, *, is_new_warehouse: bool) -> None:
        """Remove what a killed sandbox left, except accepted sessions; begin to load these.

        For a new warehouse they are removed, too: they were of one that was removed.

        Raises:
            WarehouseError: The folder or a record in it cannot be used.
        """
        open_private_folder(self._folder)
        own_files = self._list_own_files()
        records = [path for path in own_files if path.name.endswith(_RECORD_SUFFIX)]
        accepted = [] if is_new_warehouse else [_read_record(path) for path in records]
        kept = {part.name for session in accepted for part in session.parts}
        kept |= {self._record_path(session).name for session in accepted}
        for path in own_files:
            if path.name not in kept:
                path.unlink()
        with self._changed:
            self._queue.extend(accepted)
            self._next_number = max((session.number for session in accepted), default=0) + 1
            for session in accepted:
                self._columns.update(self._plan_columns(session.columns))
        self._thread.start()

    def close(self) -> None:
        """Load what was accepted, stop, and remove the folder.

        Raises:
            WarehouseError: A session cannot be loaded; it stays in the folder.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        self._raise_failure()
        for path in self._list_own_files():  # parts of sessions that were not finished
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the user has put something into it
            self._folder.rmdir()

    def new_part_path(self, sync_id: str, number: int) -> Path:
        """Return where to save an upload."""
        return self._folder / f"{sync_id}-{number}{_PART_SUFFIX}"

    def accept_session(self, row: SessionRecord, parts: Sequence[Part]) -> None:
        """Accept a session: its objects will be loaded, whatever happens.

        The warehouse will record the row. The files, which are in order, belong to the queue now.

        Raises:
            RejectedRequestError: Its collections would have too many properties.
            WarehouseError: An earlier session cannot be loaded.
            OSError: The record cannot be written.
        """
        columns = merge_columns(part.columns for part in parts)
        with self._changed:
            self._raise_failure()
            planned = self._plan_columns(columns)
            check_limits(planned)
            session = _AcceptedSession(
                self._next_number,
                row,
                {name: dict(types) for name, types in columns.items()},
                tuple(_StoredPart(part.path.name, part.raw_bytes) for part in parts),
            )
            self._write_record(session)
            self._next_number += 1
            self._columns.update(planned)
            self._queue.append(session)
            self._changed.notify_all()

    def record_sessions(self, rows: Iterable[SessionRecord]) -> None:
        """Record sessions whose objects are not loaded."""
        with self._changed:
            self._queue.append(tuple(rows))
            self._changed.notify_all()

    def list_waiting(self) -> list[SessionRecord]:
        """Return the accepted sessions that are not loaded yet."""
        with self._changed:
            return [job.row for job in self._queue if isinstance(job, _AcceptedSession)]

    def wait_until_loaded(self) -> None:
        """Wait until every session that was accepted before is loaded.

        Raises:
            WarehouseError: One cannot be loaded.
        """
        with self._changed:
            while self._queue and self._failure is None:
                self._changed.wait()
            self._raise_failure()

    # Limits

    def _plan_columns(self, columns: Columns) -> Columns:
        """Return the columns of a session's tables once the session is loaded."""
        unknown = [collection for collection in columns if collection not in self._columns]
        if unknown:  # not accepted since the start, so a running load does not change their tables
            with self._warehouse.snapshot() as warehouse:
                self._columns.update((name, warehouse.column_types(name)) for name in unknown)
        return merge_columns([{name: self._columns[name] for name in columns}, columns])

    # Loading: the thread

    def _run(self) -> None:
        while (job := self._take_job()) is not None:
            try:
                self._carry_out_with_retry(job)
            # A part that was damaged on the disk is rejected as an uploaded file would be.
            except (duckdb.Error, OSError, WarehouseError, RejectedRequestError) as error:
                self._fail(job, error)
                return
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()

    def _take_job(self) -> _Job | None:
        with self._changed:
            while not self._queue and not self._is_closing:
                self._changed.wait()
            return self._queue[0] if self._queue else None

    def _carry_out_with_retry(self, job: _Job) -> None:
        """Carry out a job; again if it fails once, as its transaction left nothing behind."""
        has_failed = False
        while True:
            try:
                self._carry_out(job)
            except duckdb.OutOfMemoryException:
                if not self._warehouse.allow_more_memory():
                    raise
            except (duckdb.Error, OSError):
                if has_failed:
                    raise
                has_failed = True
            else:
                return

    def _carry_out(self, job: _Job) -> None:
        if isinstance(job, tuple):
            self._warehouse.record_sessions(job)
            return
        if not self._warehouse.has_session(job.row.sync_id):  # loaded before the kill
            objects = chain.from_iterable(
                read_objects(self._folder / part.name, part.raw_bytes) for part in job.parts
            )
            kept = [self._folder / part.name for part in job.parts] if self._keep_history else []
            with self._sessions.running_load(job.row.sync_id):
                self._warehouse.load_session(job.row, objects, job.columns, kept)
        self._record_path(job).unlink()
        for part in job.parts:
            (self._folder / part.name).unlink(missing_ok=True)

    def _fail(self, job: _Job, error: Exception) -> None:
        reason = describe_error(error)
        if isinstance(job, _AcceptedSession):
            message = (
                f"Session {job.row.sync_id} cannot be loaded into the warehouse: {reason}. It and "
                f"those after it stay in {self._folder}. The next start of the sandbox loads them"
            )
        else:
            message = f"Cannot write to the warehouse: {reason}"
        with self._changed:
            self._failure = WarehouseError(message)
            self._failure.__cause__ = error
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # Files

    def _list_own_files(self) -> list[Path]:
        """Return the parts and records in the folder, in the order of their names."""
        return [
            path
            for path in sorted(self._folder.iterdir())
            if (_PART_NAME.fullmatch(path.name) or _RECORD_NAME.fullmatch(path.name))
            and path.is_file()
            and not path.is_symlink()
        ]

    def _record_path(self, session: _AcceptedSession) -> Path:
        return self._folder / f"{session.number:012}-{session.row.sync_id}{_RECORD_SUFFIX}"

    def _write_record(self, session: _AcceptedSession) -> None:
        path = self._record_path(session)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(session))
        temporary.replace(path)


def _read_record(path: Path) -> _AcceptedSession:
    """Return the accepted session of a record.

    Raises:
        WarehouseError: It is damaged.
    """
    try:
        session = msgspec.json.decode(path.read_bytes(), type=_AcceptedSession)
    except (OSError, msgspec.MsgspecError) as error:
        message = f"{path} cannot be read. Remove it, and load its session again"
        raise WarehouseError(message) from error
    if not all(_PART_NAME.fullmatch(part.name) for part in session.parts):
        message = f"{path} names another file than a part. Remove it"
        raise WarehouseError(message)
    return session
