"""ASGI middleware that keeps the page from other users and websites, and the browser to the page.

- Every user of this machine can connect to a port of it. So a page is sent only to who has the
  token in the address that the sandbox prints. The browser then keeps it in a cookie, which no
  script can read and which is not sent with a request from another site.
- The Content-Security-Policy allows nothing inline and nothing from elsewhere.
- No cache, frame or other website gets what is shown.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_REFUSAL: Final = (
    "This page needs the token in its address: open the address that the sandbox printed when it "
    "was started.\n"
)


class PageToken:
    """What a reader of the pages must have. Thread-safe."""

    def __init__(self) -> None:
        self.value = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._unused: set[str] = set()

    def make_single_use(self) -> str:
        """Return another token that is accepted once.

        For a browser's command line, which all users of the machine can read.
        """
        token = secrets.token_hex(16)
        with self._lock:
            self._unused.add(token)
        return token

    def is_valid(self, token: str) -> bool:
        """Return whether a reader with this token may see the pages."""
        return secrets.compare_digest(token.encode(), self.value.encode())

    def use(self, token: str) -> bool:
        """Return whether a token in an address is valid. If it is for a single use, it was used."""
        if self.is_valid(token):
            return True
        with self._lock:
            is_unused = token in self._unused
            self._unused.discard(token)
        return is_unused


def require_token(app: ASGIApp, *, token: PageToken) -> ASGIApp:
    """Refuse requests without the token. One with it in its address gets the cookie.

    A program sends it as `Authorization: Bearer …`.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        # A cookie is for all ports of a host: the port in its name keeps sandboxes apart. It is the
        # port that the browser sees, which may be that of a container.
        cookie = f"segment-sandbox-{request.base_url.port or 80}"
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer" and token.is_valid(bearer)
        if is_bearer or token.is_valid(request.cookies.get(cookie, "")):
            await app(scope, receive, send)
        elif token.use(request.query_params.get("token", "")):
            value = f"{cookie}={token.value}; Path=/; HttpOnly; SameSite=Strict"
            await app(scope, receive, _add_headers(send, {"Set-Cookie": value}))
        else:
            await PlainTextResponse(_REFUSAL, 403)(scope, receive, send)

    return handle


def add_security_headers(app: ASGIApp) -> ASGIApp:
    """Add the headers to every response."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, _add_headers(send, SECURITY_HEADERS))

    return handle


def _add_headers(send: Send, headers: Mapping[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers
