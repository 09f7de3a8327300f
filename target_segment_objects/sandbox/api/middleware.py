"""ASGI middleware of the API: authentication, the limit of simultaneous requests, bodies."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections import Counter
from contextlib import contextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING, Final

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse

from target_segment_objects.limits import MAX_CONCURRENT_REQUESTS
from target_segment_objects.sandbox.errors import RejectedRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


MIN_BYTES_PER_SECOND: Final = 10_000
"""How fast a body must arrive on average. Not documented; our choice: slower than any link that can
be meant, and it bounds the time of a body by its size."""


class AuthForm(Enum):
    """What HTTP Basic encodes. Segment's pages have three forms, and contradict each other."""

    USER_NAME = "user-name"
    """The write key as the user name with an empty password: base64 of `write_key:`."""

    BARE_KEY = "bare-key"
    """The write key alone: base64 of `write_key`."""

    KEY_AND_NEWLINE = "key-and-newline"
    """The write key and a newline, as `echo "write_key" | base64` encodes it."""

    ANY = "any"
    """Each of them."""


_FORM_NAMES: Final = {
    AuthForm.USER_NAME: "`write_key:`",
    AuthForm.BARE_KEY: "`write_key`",
    AuthForm.KEY_AND_NEWLINE: "`write_key` and a newline",
}


class AuthMiddleware:
    """Rejects requests without a valid write key, and keeps the key in the request's state."""

    def __init__(self, app: ASGIApp, *, write_key: str | None, auth_form: AuthForm) -> None:
        """Wrap an application.

        Args:
            app: The application.
            write_key: The only write key to accept; `None` accepts any.
            auth_form: The form of the credentials to accept.
        """
        self._app = app
        self._write_key = write_key
        self._auth_form = auth_form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        request = Request(scope)
        write_key = _read_write_key(request.headers.get("authorization", ""), self._auth_form)
        if self._write_key is not None and not _is_same_key(write_key, self._write_key):
            reason = "this sandbox does not accept the write key"
            raise _unauthorized_error(reason)
        request.state.write_key = write_key
        await self._app(scope, receive, send)


class ConcurrencyLimiter:
    """Counts the running requests of each write key and of each address."""

    def __init__(self) -> None:
        """Create a limiter without requests."""
        self.peak_concurrency = 0
        self._running: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def count_request(self, write_key: str, address: str) -> Iterator[None]:
        """Count a request while it is running.

        Raises:
            RejectedRequestError: Too many requests are running.
        """
        counters = (("write key", write_key), ("address", address))
        self._running.update(counters)
        try:
            running = self._running["write key", write_key]
            self.peak_concurrency = max(self.peak_concurrency, running)
            for counter in counters:
                if self._running[counter] > MAX_CONCURRENT_REQUESTS:
                    reason = (
                        f"more than {MAX_CONCURRENT_REQUESTS} simultaneous requests for one "
                        f"{counter[0]}"
                    )
                    raise RejectedRequestError(reason, status=429, headers={"Retry-After": "1"})
            yield
        finally:
            self._running.subtract(counters)


class ConcurrencyMiddleware:
    """Limits simultaneous requests, each until its response is sent. Needs `AuthMiddleware`."""

    def __init__(self, app: ASGIApp, *, limiter: ConcurrencyLimiter) -> None:
        """Wrap an application."""
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        request = Request(scope)
        address = request.client.host if request.client else ""
        with self._limiter.count_request(request.state.write_key, address):
            await self._app(scope, receive, send)


class BodyMiddleware:
    """Reads the rest of a request's body before the response is sent, but not for ever.

    A client that is still sending then sees the response instead of a reset connection. A client
    that stops in the middle of a body, or sends it too slowly, gets 408, and its connection is
    closed.
    """

    def __init__(self, app: ASGIApp, *, timeout_seconds: float) -> None:
        """Wrap an application.

        Args:
            app: The application.
            timeout_seconds: How long a client may send nothing in the middle of a body.
        """
        self._app = app
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        body = _Body(receive, self._timeout_seconds)

        async def draining_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.drain()
                if body.has_timed_out:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, body.receive, draining_send)


class StopMiddleware:
    """Answers the requests that are cancelled because the server stops, and ends them quietly.

    Some seconds after the stop was requested, the server cancels what is still running, and would
    print a traceback for each.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        has_started = False

        async def noting_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except asyncio.CancelledError:
            if not has_started:
                rejection = RejectedRequestError("the sandbox is stopping", status=503)
                scope.setdefault("state", {})["rejection"] = rejection
                headers = {"Connection": "close"}
                response = JSONResponse(rejection.to_json(), rejection.status, headers)
                await response(scope, receive, send)


class _Body:
    """The body of a request while it arrives.

    Only the time is counted in which the sandbox waits for the client.
    """

    def __init__(self, receive: Receive, timeout_seconds: float) -> None:
        self._receive = receive
        self._timeout_seconds = timeout_seconds
        self._has_more = True
        self._waited_seconds = 0.0
        self._received_bytes = 0
        self.has_timed_out = False

    async def receive(self) -> Message:
        """Receive the next piece.

        Raises:
            RejectedRequestError: It does not come in time.
        """
        earned = self._received_bytes / MIN_BYTES_PER_SECOND
        left = max(0, self._timeout_seconds + earned - self._waited_seconds)
        began = anyio.current_time()
        try:
            with anyio.fail_after(min(left, self._timeout_seconds)):
                message = await self._receive()
        except TimeoutError:
            self._has_more, self.has_timed_out = False, True
            reason = f"the rest of the body did not arrive within {self._timeout_seconds:g} seconds"
            if left < self._timeout_seconds:
                reason = (
                    f"the body arrived too slowly: {MIN_BYTES_PER_SECOND} bytes per second are "
                    f"required, after the first {self._timeout_seconds:g} seconds"
                )
            raise RejectedRequestError(reason, status=408) from None
        self._waited_seconds += anyio.current_time() - began
        self._received_bytes += len(message.get("body", b""))
        self._has_more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Receive the rest, as long as it comes in time."""
        with suppress(RejectedRequestError):
            while self._has_more:
                await self.receive()


def _read_write_key(header: str, auth_form: AuthForm) -> str:
    """Return the write key from HTTP Basic.

    Raises:
        RejectedRequestError: The header has no write key in an accepted form.
    """
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        reason = "the header Authorization must be HTTP Basic with the write key"
        raise _unauthorized_error(reason)
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8, or not even ASCII
        reason = "the credentials in the header Authorization must be base64 of UTF-8"
        raise _unauthorized_error(reason) from None
    write_key, form, password = _split_credentials(decoded)
    if not write_key or password:
        reason = "the write key must be the user name, with an empty password"
        raise _unauthorized_error(reason)
    if auth_form not in {form, AuthForm.ANY}:
        reason = f"this sandbox accepts base64 of {_FORM_NAMES[auth_form]} only"
        raise _unauthorized_error(reason)
    return write_key


def _split_credentials(decoded: str) -> tuple[str, AuthForm, str]:
    """Return the write key, the form that it has, and the password."""
    write_key, colon, password = decoded.partition(":")
    if colon:
        return write_key, AuthForm.USER_NAME, password
    if decoded.endswith("\n"):
        return decoded[:-1], AuthForm.KEY_AND_NEWLINE, ""
    return decoded, AuthForm.BARE_KEY, ""


def _is_same_key(first: str, second: str) -> bool:
    return secrets.compare_digest(first.encode(), second.encode())


def _unauthorized_error(reason: str) -> RejectedRequestError:
    return RejectedRequestError(
        reason, status=401, headers={"WWW-Authenticate": 'Basic realm="write key"'}
    )
