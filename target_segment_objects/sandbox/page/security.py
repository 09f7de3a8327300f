"""ASGI middleware that keeps other websites away from the page, and the browser to the page.

- A request whose Host is neither a loopback name nor the host of the sandbox's address is refused:
  a website can make its own name point to this machine and read what it answers (DNS rebinding).
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

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        """Wrap an application.

        Args:
            app: The application.
            host: The host of the sandbox's address.
        """
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        is_own = _is_own_host(Headers(scope=scope), self._host)
        app = self._app if is_own else _REFUSAL
        await app(scope, receive, send_with_headers)


_REFUSAL: Final = PlainTextResponse(
    "This page does not answer to this name: open the address that the sandbox printed when it was "
    "started.\n",
    403,
)


def _is_own_host(headers: Headers, own_host: str) -> bool:
    hosts = headers.getlist("host")
    if len(hosts) != 1:
        return False
    try:
        host = urlsplit(f"//{hosts[0]}").hostname
    except ValueError:  # brackets that are no IPv6 address
        return False
    return host is not None and (host == own_host or is_loopback(host))
