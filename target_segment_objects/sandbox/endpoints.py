"""The Objects Bulk API as an ASGI application: Start, Upload, Keep Alive and Finish.

A request that breaks a documented rule is rejected with the documented status and a JSON body with
the reason.
"""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from target_segment_objects.sandbox import uploads
from target_segment_objects.sandbox.errors import RejectedRequestError, WarehouseError
from target_segment_objects.sandbox.middleware import (
    ConcurrencyLimiter,
    end_quietly,
    limit_calls,
    read_whole_bodies,
    refuse_foreign_requests,
    reject_request,
)
from target_segment_objects.sandbox.session_record import LOADED
from target_segment_objects.sandbox.sessions import Step, read_utc_clock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from starlette.types import ASGIApp

    from target_segment_objects.sandbox.credentials import AuthForm
    from target_segment_objects.sandbox.session_queue import SessionQueue
    from target_segment_objects.sandbox.sessions import RunningCall, Session, SessionRegistry

_MAX_FINISH_BYTES: Final = 1_000_000
"""Limit of the body of a Finish, which is read into memory."""


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Where a sandbox may differ from Segment. `Sandbox` describes each."""

    host: str
    write_key: str | None = field(repr=False)
    auth_form: AuthForm
    client_timeout_seconds: float
    max_file_bytes: int


class SandboxApi:
    """The calls. A session whose Finish is accepted goes to the queue, with its parts."""

    def __init__(self, sessions: SessionRegistry, queue: SessionQueue, options: ApiOptions) -> None:
        self._sessions = sessions
        self._queue = queue
        self._options = options
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
                Middleware(read_whole_bodies, timeout_seconds=self._options.client_timeout_seconds),
                Middleware(refuse_foreign_requests, host=self._options.host, refuse=_refuse),
            ],
            exception_handlers=dict.fromkeys(
                (RejectedRequestError, WarehouseError, HTTPException, OSError, Exception), _respond
            )
            | {ClientDisconnect: _respond_nobody},
        )
        app.router.redirect_slashes = False  # /v0/start/ is not a call
        return end_quietly(app)

    def _build_routes(self) -> list[Route]:
        middleware = [
            Middleware(
                limit_calls,
                write_key=self._options.write_key,
                auth_form=self._options.auth_form,
                limiter=self._limiter,
            )
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
        self._queue.record_sessions([session.record for session in sessions])
        for session in sessions:
            _delete_parts(session)

    def record_open_sessions(self) -> None:
        """Record the sessions that were not finished. Called when the sandbox stops."""
        self._queue.record_sessions(self._sessions.list_open())

    async def _handle_start(self, request: Request) -> Response:
        await self.expire_sessions()
        session = self._sessions.start_session(request.state.write_key)
        return JSONResponse({"sync_id": session.sync_id}, 201)

    async def _handle_keep_alive(self, request: Request) -> Response:
        await self.expire_sessions()
        with self._running_call(request, Step.KEEP_ALIVE):
            return Response()

    async def _handle_upload(self, request: Request) -> Response:
        await self.expire_sessions()
        _check_header(request, "content-type", "binary/octet-stream")
        _check_header(request, "content-encoding", "gzip")
        with self._running_call(request, Step.UPLOAD) as call, ExitStack() as cleanup:
            path = self._queue.new_part_path(call.session.sync_id, call.upload_number)
            cleanup.callback(path.unlink, missing_ok=True)
            await _save_body(request, path, self._options.max_file_bytes)
            call.part = await run_in_threadpool(
                uploads.check_file, path, max_file_bytes=self._options.max_file_bytes
            )
            cleanup.pop_all()
        return JSONResponse({"part_id": secrets.token_hex(8)}, 201)

    async def _handle_finish(self, request: Request) -> Response:
        await self.expire_sessions()
        _check_header(request, "content-type", "application/json")
        error = _parse_finish(await _read_body(request))
        with self._running_call(request, Step.FINISH) as call:
            await run_in_threadpool(self._end_session, call.session, error)
        return Response(status_code=202)

    def _running_call(self, request: Request, step: Step) -> AbstractContextManager[RunningCall]:
        sync_id = request.path_params["sync_id"]
        return self._sessions.running_call(sync_id, request.state.write_key, step)

    def _end_session(self, session: Session, error: str) -> None:
        if error:
            self._sessions.discard_session(session, error)
            self._queue.record_sessions([session.record])
            _delete_parts(session)
        else:
            row = replace(session.record, outcome=LOADED, ended=read_utc_clock(), calls=())
            self._queue.accept_session(row, session.ordered_parts())
            self._sessions.accept_session(session)


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


def _refuse(request: Request, reason: str) -> Response:
    """Respond to a request that another website may have caused."""
    return reject_request(request, RejectedRequestError(reason, status=403))


async def _respond(request: Request, error: Exception) -> Response:
    return reject_request(request, _to_rejection(request, error))


async def _respond_nobody(_: Request, __: Exception) -> Response:
    """Respond to a client that has disconnected during its request, and does not read it."""
    return Response(status_code=400)


def _to_rejection(request: Request, error: Exception) -> RejectedRequestError:
    """Return the rejection that is sent to the client for an error."""
    match error:
        case RejectedRequestError():
            return error
        case HTTPException():
            reason = {
                404: "unknown path: the calls are start, upload, keep-alive and finish below /v0",
                405: f"the method must be POST, not {request.method}",
            }.get(error.status_code, error.detail)
            return RejectedRequestError(reason, status=error.status_code, headers=error.headers)
        case WarehouseError():  # an earlier session cannot be loaded
            return RejectedRequestError(str(error), status=500)
        case OSError():  # for example because the disk is full
            reason = f"the sandbox cannot write its files: {error.strerror or type(error).__name__}"
            return RejectedRequestError(reason, status=500)
        case _:  # a bug, which uvicorn logs
            return RejectedRequestError("the sandbox failed: see its log", status=500)
