"""ASGI middleware that refuses what another website makes a browser send. For the API and the page.

- The Host must be a name of the sandbox. A website can make its own name point to this machine, and
  would then read what is answered to it (DNS rebinding).
- An Origin must be the address of the sandbox itself. A browser sends one with every POST: a form
  of another website cannot be sent to the API. Other clients send none.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import Request

from target_segment_objects.sandbox.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_FOREIGN_HOST: Final = (
    "the sandbox does not answer to the name in the header Host: use the address that it printed "
    "when it was started, or start it with --host"
)
_FOREIGN_ORIGIN: Final = (
    "the header Origin names another website: the sandbox answers only its own page, and clients "
    "that are not a browser"
)


class OwnRequestsMiddleware:
    """Passes on what is sent to a name of the sandbox, and not from the page of another website."""

    def __init__(
        self, app: ASGIApp, *, host: str, refuse: Callable[[Request, str], Response]
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            host: The host that the sandbox listens on.
            refuse: Makes the response to a refused request from the reason.
        """
        self._app = app
        self._host = host
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        request = Request(scope)
        reason = find_reason(request.headers, self._host)
        app = self._app if reason is None else self._refuse(request, reason)
        await app(scope, receive, send)


def find_reason(headers: Headers, own_host: str) -> str | None:
    """Return why a request is refused, or `None`.

    Args:
        headers: The headers of the request.
        own_host: The host that the sandbox listens on.
    """
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
    # On all addresses, any of them is right. Another website has no name that is a number.
    return is_loopback(host) or host == own_host or (_is_any(own_host) and _is_address(host))


def _is_any(host: str) -> bool:
    """Return whether a host stands for all addresses, as `0.0.0.0` does."""
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
