"""ASGI middleware: foreign requests, write keys, limits, slow bodies, and the end of the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from target_segment_objects.limits import MAX_CONCURRENT_REQUESTS
from target_segment_objects.loopback import is_loopback, parse_address
from target_segment_objects.sandbox.credentials import read_write_key
from target_segment_objects.sandbox.errors import RejectedRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from target_segment_objects.sandbox.credentials import AuthForm


MIN_BYTES_PER_SECOND: Final = 10_000
"""How fast a body must arrive on average. Not documented; our choice: slower than any link that can
be meant, and it bounds the time of a body by its size."""

_FOREIGN_HOST: Final = (
    "the sandbox does not answer to the name in the header Host: use the address that it printed "
    "when it was started, or start it with --host"
)
_FOREIGN_ORIGIN: Final = (
    "the header Origin names another website: the sandbox answers only its own page, and clients "
    "that are not a browser"
)


def refuse_foreign_requests(
    app: ASGIApp, *, host: str, refuse: Callable[[Request, str], Response]
) -> ASGIApp:
    """Refuse what another website makes a browser send. For the API and the page.

    - The Host must be a name of the sandbox. A website can make its own name point to this machine,
      and would then read what is answered to it (DNS rebinding).
    - An Origin must be the address of the sandbox itself. A browser sends one with every POST: a
      form of another website cannot be sent to the API. Other clients send none.

    The sandbox listens on `host`; `refuse` makes a response from the reason.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        reason = find_reason(request.headers, host)
        await (app if reason is None else refuse(request, reason))(scope, receive, send)

    return handle


class ConcurrencyLimiter:
    """Counts the running requests of each write key and of each address."""

    def __init__(self) -> None:
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


def limit_calls(
    app: ASGIApp, *, write_key: str | None, auth_form: AuthForm, limiter: ConcurrencyLimiter
) -> ASGIApp:
    """Require a write key, which is then in the request's state, and count the running requests.

    A request is running until its response is sent. A `write_key` that is None accepts any.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        header = request.headers.get("authorization", "")
        request.state.write_key = key = read_write_key(header, auth_form, write_key)
        with limiter.count_request(key, request.client.host if request.client else ""):
            await app(scope, receive, send)

    return handle


def read_whole_bodies(app: ASGIApp, *, timeout_seconds: float) -> ASGIApp:
    """Read the rest of a request's body before the response is sent, but not for ever.

    A client that is still sending then sees the response instead of a reset connection. A client
    that stops in the middle of a body, or sends it too slowly, gets 408, and its connection is
    closed.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, timeout_seconds)

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.drain()
                if body.has_timed_out:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await app(scope, body.receive, send_after_body)

    return handle


def end_quietly(app: ASGIApp) -> ASGIApp:
    """Answer the requests that are cancelled because the server stops.

    Some seconds after the stop was requested, the server cancels what is still running, and would
    print a traceback for each.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def note_start(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await app(scope, receive, note_start)
        except asyncio.CancelledError:
            if not has_started:
                rejection = RejectedRequestError(
                    "the sandbox is stopping", status=503, headers={"Connection": "close"}
                )
                await reject_request(Request(scope), rejection)(scope, receive, send)

    return handle


def reject_request(request: Request, rejection: RejectedRequestError) -> Response:
    """Return the response to a rejected request, and keep the reason for the log."""
    request.state.rejection = rejection
    return JSONResponse(rejection.to_json(), rejection.status, rejection.headers)


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


def find_reason(headers: Headers, own_host: str) -> str | None:
    """Return why a sandbox that listens on `own_host` refuses a request; None if it does not."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _is_own_host(hosts[0], own_host.lower()):
        return _FOREIGN_HOST
    own_origin = f"http://{hosts[0]}".lower()
    if any(origin.lower() != own_origin for origin in headers.getlist("origin")):
        return _FOREIGN_ORIGIN
    return None


def _is_own_host(header: str, own_host: str) -> bool:
    try:
        address = urlsplit(f"//{header}")
        host, _ = address.hostname, address.port
    except ValueError:  # brackets that are no IPv6 address; a port that is no number
        return False
    if host is None or address.netloc != header or "@" in header:
        return False
    if is_loopback(host) or host == own_host:
        return True
    # On all addresses, any of them is right. Another website has no name that is a number.
    own_address = parse_address(own_host)
    is_any = own_address is not None and own_address.is_unspecified
    return is_any and parse_address(host) is not None
