"""Gets the pages of a sandbox, and its JSON, as a client does."""

from __future__ import annotations

import html
import http.client
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from http.client import HTTPMessage

    from target_segment_objects.sandbox.server import Sandbox


@dataclass(frozen=True, slots=True)
class Page:
    """The response to a GET."""

    status: int
    headers: HTTPMessage
    body: str

    @property
    def text(self) -> str:
        """The text without tags, with single spaces."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.body)).split())

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body as JSON."""
        return json.loads(self.body)


def get_page(
    sandbox: Sandbox, path: str, *, host: str | None = None, method: str = "GET", waits: bool = True
) -> Page:
    """Get a page, once every accepted session is loaded unless it should not wait."""
    if waits:
        _ = sandbox.warehouse
    path += f"{'&' if '?' in path else '?'}{urlsplit(sandbox.page_url).query}"
    address = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", address.netloc if host is None else host)
        connection.endheaders()
        response = connection.getresponse()
        return Page(response.status, response.headers, response.read().decode())
    finally:
        connection.close()
