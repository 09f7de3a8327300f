"""The Objects Bulk API as an ASGI application: Start, Upload, Keep Alive and Finish.

A request that breaks a documented rule is rejected with the documented status and a JSON body with
the reason.
"""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, cast

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from target_segment_objects.sandbox.api import parts
from target_segment_objects.sandbox.api.middleware import (
    AuthForm,
    AuthMiddleware,
    BodyMiddleware,
    ConcurrencyLimiter,
    ConcurrencyMiddleware,
    StopMiddleware,
)
from target_segment_objects.sandbox.api.sessions import Session, SessionRegistry, Step
from target_segment_objects.sandbox.errors import RejectedRequestError, WarehouseError
from target_segment_objects.sandbox.own_requests import OwnRequestsMiddleware
from target_segment_objects.sandbox.warehouse.database import SessionRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.types import ASGIApp

    from target_segment_objects.sandbox.activity import Activity
    from target_segment_objects.sandbox.activity.sessions import PartFacts
    from target_segment_objects.sandbox.api.loader import SessionLoader

_MAX_FINISH_BYTES: Final = 1_000_000
"""Limit of the body of a Finish, which is read into memory."""


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Where a sandbox may differ from Segment.

    Attributes:
        host: The host that it listens on.
        write_key: The only write key to accept; `None` accepts any.
        auth_form: The form of the credentials to accept.
        session_timeout_seconds: Seconds without a call after which a session expires.
        client_timeout_seconds: How long a client may send nothing in the middle of a request.
        max_file_bytes: Limit of a file's uncompressed size.
        clock: Returns seconds. Must be monotonic.
    """

    host: str
    write_key: str | None = field(repr=False)
    auth_form: AuthForm
    session_timeout_seconds: float
    client_timeout_seconds: float
    max_file_bytes: int
    clock: Callable[[], float]


class SandboxApi:
    """The calls and their sessions."""

    def __init__(self, loader: SessionLoader, options: ApiOptions, activity: Activity) -> None:
        """Create the API.

        Args:
            loader: Loads the objects of finished sessions.
            options: Where it differs from Segment.
            activity: Where it keeps what happens to its sessions.
        """
        self._activity = activity
        self._loader = loader
        self._options = options
        self._sessions = SessionRegistry(
            idle_timeout=options.session_timeout_seconds, clock=options.clock
        )
        self._limiter = ConcurrencyLimiter()

    @property
    def peak_concurrency(self) -> int:
        """The highest number of simultaneous requests of one write key so far."""
        return self._limiter.peak_concurrency

    def build_app(self) -> ASGIApp:
        """Return the ASGI application."""
        app = Starlette(
            routes=self._build_routes(),
            middleware=[
                Middleware(BodyMiddleware, timeout_seconds=self._options.client_timeout_seconds),
                Middleware(OwnRequestsMiddleware, host=self._options.host, refuse=_refuse_request),
            ],
            exception_handlers={
                RejectedRequestError: _respond_rejected,
                WarehouseError: _respond_not_loading,
                HTTPException: _respond_unknown_call,
                ClientDisconnect: _respond_disconnected,
                OSError: _respond_unwritable,
                Exception: _respond_failed,
            },
        )
        app.router.redirect_slashes = False  # /v0/start/ is not a call
        return StopMiddleware(app)

    def _build_routes(self) -> list[Route]:
        middleware = [
            Middleware(
                AuthMiddleware,
                write_key=self._options.write_key,
                auth_form=self._options.auth_form,
            ),
            Middleware(ConcurrencyMiddleware, limiter=self._limiter),
        ]
        return [
            Route(path, call, methods=["POST"], middleware=middleware)
            for path, call in {
                "/v0/start": self._handle_start,
                "/v0/upload/{sync_id}": self._handle_upload,
                "/v0/keep-alive/{sync_id}": self._handle_keep_alive,
                "/v0/finish/{sync_id}": self._handle_finish,
            }.items()
        ]

    async def expire_sessions(self) -> None:
        """Expire idle sessions and delete their parts."""
        sessions = self._sessions.expire_idle()
        if not sessions:
            return
        self._loader.record_sessions([_build_session_row(each, "expired") for each in sessions])
        for session in sessions:
            _delete_parts(session)
            self._activity.sessions.end_session(session.sync_id, "expired")

    def record_open_sessions(self) -> None:
        """Record the sessions that were not finished. Called when the sandbox stops."""
        self._loader.record_sessions(
            [_build_session_row(session, "open") for session in self._sessions.open_sessions()]
        )

    async def _handle_start(self, request: Request) -> Response:
        await self.expire_sessions()
        session = self._sessions.start_session(request.state.write_key)
        self._activity.sessions.start_session(session.sync_id)
        return JSONResponse({"sync_id": session.sync_id}, 201)

    async def _handle_keep_alive(self, request: Request) -> Response:
        await self.expire_sessions()
        with self._running_call(request, Step.KEEP_ALIVE):
            return Response()

    async def _handle_upload(self, request: Request) -> Response:
        await self.expire_sessions()
        _check_header(request, "content-type", "binary/octet-stream")
        _check_header(request, "content-encoding", "gzip")
        with self._running_call(request, Step.UPLOAD) as (session, upload), ExitStack() as cleanup:
            number = session.upload_count = session.upload_count + 1
            path = self._loader.new_part_path(session.sync_id, number)
            cleanup.callback(path.unlink, missing_ok=True)
            await _save_body(request, path, self._options.max_file_bytes)
            part = session.parts[number] = await run_in_threadpool(
                parts.check_file, path, max_file_bytes=self._options.max_file_bytes
            )
            cleanup.pop_all()
            upload.objects, upload.collections = part.objects, frozenset(part.columns)
            upload.raw_bytes, upload.gzip_bytes = part.raw_bytes, part.gzip_bytes
        return JSONResponse({"part_id": secrets.token_hex(8)}, 201)

    async def _handle_finish(self, request: Request) -> Response:
        await self.expire_sessions()
        _check_header(request, "content-type", "application/json")
        error = _parse_finish(await _read_body(request))
        with self._running_call(request, Step.FINISH) as (session, _), ExitStack() as rollback:
            rollback.callback(session.transition, Step.FAIL)
            await run_in_threadpool(self._end_session, session, error)
            rollback.pop_all()
            session.transition(Step.DISCARD if error else Step.ACCEPT)
        return Response(status_code=202)

    @contextmanager
    def _running_call(self, request: Request, step: Step) -> Iterator[tuple[Session, PartFacts]]:
        sync_id = request.path_params["sync_id"]
        with (
            self._sessions.running_call(sync_id, request.state.write_key, step) as session,
            self._activity.sessions.running_call(sync_id, step.value) as upload,
        ):
            yield session, upload

    def _end_session(self, session: Session, error: str) -> None:
        activity = self._activity.sessions
        if error:
            self._loader.record_sessions([_build_session_row(session, "error", error)])
            _delete_parts(session)
            activity.end_session(session.sync_id, "error", error)
        else:
            row = _build_session_row(session, "loaded")
            self._loader.accept_session(row, session.ordered_parts())
            activity.accept_session(session.sync_id)


def _build_session_row(session: Session, outcome: str, error: str = "") -> SessionRow:
    files = session.ordered_parts()
    return SessionRow(
        sync_id=session.sync_id,
        outcome=outcome,
        collections=tuple(sorted(set[str]().union(*(part.columns for part in files)))),
        parts=len(files),
        objects=sum(part.objects for part in files),
        raw_bytes=sum(part.raw_bytes for part in files),
        gzip_bytes=sum(part.gzip_bytes for part in files),
        started=session.started.replace(tzinfo=None),
        ended=datetime.now(timezone.utc).replace(tzinfo=None),
        error=error,
    )


def _delete_parts(session: Session) -> None:
    for part in session.ordered_parts():
        part.path.unlink(missing_ok=True)
    session.parts.clear()


def _check_header(request: Request, name: str, value: str) -> None:
    if request.headers.get(name, "").partition(";")[0].strip().lower() != value:
        reason = f"the header {name.title()} must be {value}"
        raise RejectedRequestError(reason)


async def _save_body(request: Request, path: Path, max_file_bytes: int) -> None:
    """Save a compressed file, of at most about the size that it may have uncompressed."""
    limit = max_file_bytes + max_file_bytes // 100
    size = 0
    async with await anyio.open_file(path, "xb") as file:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                reason = f"the body is larger than {limit} bytes"
                raise RejectedRequestError(reason, status=413)
            await file.write(piece)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_FINISH_BYTES:
            reason = f"the body is larger than {_MAX_FINISH_BYTES} bytes"
            raise RejectedRequestError(reason)
    return bytes(body)


def _parse_finish(body: bytes) -> str:
    """Return the error from the body of a Finish; an empty string for success."""
    reason = 'the body must be {"error": ""}; the string says what failed, and is empty for success'
    try:
        match json.loads(body.decode(), object_pairs_hook=_build_object):
            case {"error": str(error), **others} if not others:
                error.encode()
                return error.strip()
    except (ValueError, RecursionError) as error:
        raise RejectedRequestError(reason) from error
    raise RejectedRequestError(reason)


def _build_object(members: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object from its members in JSON, which would drop all but the last of a name."""
    built = dict(members)
    if len(built) < len(members):
        raise ValueError
    return built


async def _respond_rejected(request: Request, error: Exception) -> Response:
    return _reject_request(request, cast("RejectedRequestError", error))


def _refuse_request(request: Request, reason: str) -> Response:
    """Respond to a request that another website may have caused."""
    return _reject_request(request, RejectedRequestError(reason, status=403))


def _reject_request(request: Request, rejection: RejectedRequestError) -> Response:
    request.state.rejection = rejection
    return JSONResponse(rejection.to_json(), rejection.status, rejection.headers)


async def _respond_unknown_call(request: Request, error: Exception) -> Response:
    http_error = cast("HTTPException", error)
    status = http_error.status_code
    reason = {
        404: "unknown path: the calls are start, upload, keep-alive and finish below /v0",
        405: f"the method must be POST, not {request.method}",
    }.get(status, http_error.detail)
    request.state.rejection = RejectedRequestError(reason)
    return JSONResponse(request.state.rejection.to_json(), status, http_error.headers)


async def _respond_not_loading(request: Request, error: Exception) -> Response:
    """Respond to a Finish when an earlier session could not be loaded."""
    return _reject_request(request, RejectedRequestError(str(error), status=500))


async def _respond_unwritable(request: Request, error: Exception) -> Response:
    """Respond to a call whose file cannot be written, for example because the disk is full."""
    reason = cast("OSError", error).strerror or type(error).__name__
    rejection = RejectedRequestError(f"the sandbox cannot write its files: {reason}", status=500)
    return _reject_request(request, rejection)


async def _respond_disconnected(_: Request, __: Exception) -> Response:
    """Respond to a client that has disconnected during its request, and does not read it."""
    return Response(status_code=400)


async def _respond_failed(request: Request, _: Exception) -> Response:
    """Respond to an internal error, which uvicorn logs."""
    request.state.rejection = RejectedRequestError("the sandbox failed: see its log")
    return JSONResponse(request.state.rejection.to_json(), 500)
