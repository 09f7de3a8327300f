"""ASGI middleware that keeps the page to this machine, and the browser to the page.

- A request whose Host is not a name of this machine is refused: a website can make its own name
  point to this machine and read what it answers (DNS rebinding).
- The Content-Security-Policy allows nothing inline and nothing from elsewhere.
- No cache, frame or other website gets what is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from target_segment_objects.sandbox.loopback import is_loopback

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


class PageSecurityMiddleware:
    """Refuses requests to other names, and adds the headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        app = self._app if _is_for_this_machine(Headers(scope=scope)) else _REFUSAL
        await app(scope, receive, send_with_headers)


_REFUSAL: Final = PlainTextResponse(
    "This page answers to this machine only: open it as http://127.0.0.1 or http://localhost, "
    "with the port of the sandbox.\n",
    403,
)


def _is_for_this_machine(headers: Headers) -> bool:
    hosts = headers.getlist("host")
    if len(hosts) != 1:
        return False
    try:
        host = urlsplit(f"//{hosts[0]}").hostname
    except ValueError:  # brackets that are no IPv6 address
        return False
    return host is not None and is_loopback(host)
