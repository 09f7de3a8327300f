"""The Objects Bulk API as an ASGI application: its four calls, and who may make them.

Anything that breaks a documented rule is refused with the documented status, and a JSON body that
says why. The body of a refused request is read all the same, so that a client gets to see the
answer instead of a reset connection.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections import Counter
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

from target_segment_objects.limits import MAX_CONCURRENT_REQUESTS
from target_segment_objects.sandbox import parts
from target_segment_objects.sandbox.refusal import RejectedRequestError
from target_segment_objects.sandbox.sessions import Session, Sessions, Step
from target_segment_objects.sandbox.warehouse import SessionRow, Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FINISH_BYTES: Final = 1_000_000
"""What the body of a Finish may have, which is read into memory."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sandbox can be told to do otherwise than Segment.

    Attributes:
        write_key: The only key to accept; `None` accepts any.
        session_seconds: Seconds without a call after which a session is gone.
        file_bytes: Limit of a file, uncompressed.
        clock: Gives seconds that never go back.
    """

    write_key: str | None = field(repr=False)
    session_seconds: float
    file_bytes: int
    clock: Callable[[], float]


class Api:
    """The calls, and the sessions that they are about."""

    def __init__(self, warehouse: Warehouse, folder: Path, rules: Rules) -> None:
        """Prepare to answer.

        Args:
            warehouse: Where objects go when a session is finished.
            folder: Where uploaded files are until then.
            rules: What is otherwise than with Segment.
        """
        self._warehouse = warehouse
        self._folder = folder
        self._rules = rules
        self._sessions = Sessions(silence=rules.session_seconds, clock=rules.clock)
        self._places = _Places()

    @property
    def most_at_once(self) -> int:
        """The most requests of one write key that were ever under way at once."""
        return self._places.most

    def app(self) -> ASGIApp:
        """Make the ASGI application."""
        gate = Middleware(_Gate, places=self._places, write_key=self._rules.write_key)
        routes = [
            Route(path, call, methods=["POST"], middleware=[gate])
            for path, call in {
                "/v0/start": self._start,
                "/v0/upload/{sync_id}": self._upload,
                "/v0/keep-alive/{sync_id}": self._keep_alive,
                "/v0/finish/{sync_id}": self._finish,
            }.items()
        ]
        app = Starlette(
            routes=routes,
            middleware=[Middleware(_ReadToTheEnd)],
            exception_handlers={
                RejectedRequestError: _answer_refused,
                HTTPException: _answer_unrouted,
                ClientDisconnect: _answer_nobody,
                Exception: _answer_failed,
            },
        )
        app.router.redirect_slashes = False  # /v0/start/ is no call
        return app

    async def expire(self) -> None:
        """Drop the sessions that fell silent."""
        for session in self._sessions.expire():
            row = _row(session, "expired")
            _drop_parts(session)
            await run_in_threadpool(self._warehouse.note, row)

    def close(self) -> None:
        """Note the sessions that no one finished."""
        for session in self._sessions.unfinished():
            self._warehouse.note(_row(session, "open"))

    async def _start(self, request: Request) -> Response:
        await self.expire()
        session = self._sessions.start(request.state.write_key)
        return JSONResponse({"sync_id": session.sync_id}, 201)

    async def _keep_alive(self, request: Request) -> Response:
        await self.expire()
        with self._call(request, Step.KEEP_ALIVE):
            return Response()

    async def _upload(self, request: Request) -> Response:
        await self.expire()
        _check_header(request, "content-type", "binary/octet-stream")
        _check_header(request, "content-encoding", "gzip")
        with self._call(request, Step.UPLOAD) as session, ExitStack() as undo:
            number = session.uploads = session.uploads + 1
            path = self._folder / f"{session.sync_id}-{number}.jsonl.gz"
            undo.callback(path.unlink, missing_ok=True)
            await _spool(request, path)
            session.parts[number] = await run_in_threadpool(
                parts.check, path, file_bytes=self._rules.file_bytes
            )
            undo.pop_all()
        return JSONResponse({"part_id": secrets.token_hex(8)}, 201)

    async def _finish(self, request: Request) -> Response:
        await self.expire()
        _check_header(request, "content-type", "application/json")
        error = _read_error(await _read_body(request))
        with self._call(request, Step.FINISH) as session, ExitStack() as undo:
            undo.callback(session.take, Step.FAIL)
            await run_in_threadpool(self._end, session, error)
            undo.pop_all()
            session.take(Step.DISCARD if error else Step.LOAD)
            _drop_parts(session)
        return Response(status_code=202)

    def _call(self, request: Request, step: Step) -> AbstractContextManager[Session]:
        return self._sessions.call(request.path_params["sync_id"], request.state.write_key, step)

    def _end(self, session: Session, error: str) -> None:
        if error:
            self._warehouse.note(_row(session, "error", error))
        else:
            objects = (one for part in session.ordered() for one in parts.read(part))
            self._warehouse.load(_row(session, "loaded"), objects)


def _row(session: Session, outcome: str, error: str = "") -> SessionRow:
    sent = session.ordered()
    return SessionRow(
        sync_id=session.sync_id,
        outcome=outcome,
        collections=tuple(sorted(set[str]().union(*(part.collections for part in sent)))),
        parts=len(sent),
        objects=sum(part.objects for part in sent),
        raw_bytes=sum(part.raw_bytes for part in sent),
        gzip_bytes=sum(part.gzip_bytes for part in sent),
        started=session.started.replace(tzinfo=None),
        ended=datetime.now(timezone.utc).replace(tzinfo=None),
        error=error,
    )


def _drop_parts(session: Session) -> None:
    for part in session.ordered():
        part.path.unlink(missing_ok=True)
    session.parts.clear()


def _check_header(request: Request, name: str, value: str) -> None:
    if request.headers.get(name, "").partition(";")[0].strip().lower() != value:
        reason = f"the header {name.title()} must be {value}"
        raise RejectedRequestError(reason)


async def _spool(request: Request, path: Path) -> None:
    async with await anyio.open_file(path, "xb") as file:
        async for piece in request.stream():
            await file.write(piece)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _FINISH_BYTES:
            reason = f"the body is larger than {_FINISH_BYTES} bytes"
            raise RejectedRequestError(reason)
    return bytes(body)


def _read_error(body: bytes) -> str:
    """Read the body of a Finish: what failed, blank when nothing did."""
    reason = 'the body must be {"error": ""}, where the string says what failed'
    try:
        match json.loads(body.decode()):
            case {"error": str(error), **others} if not others:
                error.encode()
                return error.strip()
    except (ValueError, RecursionError) as error:
        raise RejectedRequestError(reason) from error
    raise RejectedRequestError(reason)


class _Places:
    """How many requests are under way, for each write key and from each address."""

    def __init__(self) -> None:
        self.most = 0
        self._taken: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def take(self, key: str, address: str) -> Iterator[None]:
        """Take a place for a request.

        Raises:
            RejectedRequestError: All are taken.
        """
        wanted = (("write key", key), ("address", address))
        self._taken.update(wanted)
        try:
            self.most = max(self.most, self._taken["write key", key])
            for of in wanted:
                if self._taken[of] > MAX_CONCURRENT_REQUESTS:
                    reason = f"more than {MAX_CONCURRENT_REQUESTS} requests at once for one {of[0]}"
                    raise RejectedRequestError(reason, status=429, headers={"Retry-After": "1"})
            yield
        finally:
            self._taken.subtract(wanted)


class _Gate:
    """Lets a call in that has a write key and a place, until its answer is sent."""

    def __init__(self, app: ASGIApp, *, places: _Places, write_key: str | None) -> None:
        self._app = app
        self._places = places
        self._write_key = write_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        key = _read_key(request.headers.get("authorization", ""))
        if self._write_key is not None and not _same(key, self._write_key):
            reason = "the write key is not the one that this sandbox accepts"
            raise _unauthorized(reason)
        request.state.write_key = key
        with self._places.take(key, request.client.host if request.client else ""):
            await self._app(scope, receive, send)


def _read_key(header: str) -> str:
    """Read the write key out of HTTP Basic: user name `write_key`, empty password.

    Raises:
        RejectedRequestError: It is not there.
    """
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        reason = "the header Authorization must be HTTP Basic with the write key"
        raise _unauthorized(reason)
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        reason = "the header Authorization must hold base64 of UTF-8"
        raise _unauthorized(reason) from None
    key, colon, password = decoded.partition(":")
    if not key or not colon or password:
        reason = "the write key must be the user name, with an empty password"
        raise _unauthorized(reason)
    return key


def _same(key: str, other: str) -> bool:
    return secrets.compare_digest(key.encode(), other.encode())


def _unauthorized(reason: str) -> RejectedRequestError:
    return RejectedRequestError(
        reason, status=401, headers={"WWW-Authenticate": 'Basic realm="write key"'}
    )


class _ReadToTheEnd:
    """Reads what is left of a request's body before the answer goes out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = True

        async def noting_receive() -> Message:
            nonlocal more
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def reading_send(message: Message) -> None:
            while more:
                await noting_receive()
            await send(message)

        await self._app(scope, noting_receive, reading_send)


async def _answer_refused(_: Request, error: Exception) -> Response:
    refused = cast("RejectedRequestError", error)
    return JSONResponse(refused.body(), refused.status, refused.headers)


async def _answer_unrouted(request: Request, error: Exception) -> Response:
    unrouted = cast("HTTPException", error)
    reason = {
        404: "no such path: the calls are start, upload, keep-alive and finish, below /v0",
        405: f"{request.method} is not the method of this call: it is POST",
    }.get(unrouted.status_code, unrouted.detail)
    return JSONResponse(RejectedRequestError(reason).body(), unrouted.status_code, unrouted.headers)


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """Answer a client that hung up in the middle of its request; no one reads it."""
    return Response(status_code=400)


async def _answer_failed(_: Request, __: Exception) -> Response:
    """Answer for a bug of ours; uvicorn logs it."""
    return JSONResponse(RejectedRequestError("the sandbox failed: see its log").body(), 500)
