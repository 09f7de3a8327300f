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
        """Create a random token."""
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


class TokenMiddleware:
    """Refuses requests without the token."""

    def __init__(self, app: ASGIApp, *, token: PageToken) -> None:
        """Wrap an application."""
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        request = Request(scope)
        # A cookie is for all ports of a host: the port in its name keeps sandboxes apart. It is the
        # port that the browser sees, which may be that of a container.
        cookie = f"segment-sandbox-{request.base_url.port or 80}"
        if self._token.is_valid(request.cookies.get(cookie, "")):
            await self._app(scope, receive, send)
            return
        if not self._token.use(request.query_params.get("token", "")):
            await PlainTextResponse(_REFUSAL, 403)(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = f"{cookie}={self._token.value}; Path=/; HttpOnly; SameSite=Strict"
                MutableHeaders(scope=message).append("Set-Cookie", value)
            await send(message)

        await self._app(scope, receive, send_with_cookie)


class SecurityHeadersMiddleware:
    """Adds the headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
