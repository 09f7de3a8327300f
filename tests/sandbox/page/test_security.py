"""Which names the page answers to, for addresses that the tests do not listen on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import PlainTextResponse

from target_segment_objects.sandbox.page.security import PageSecurityMiddleware

if TYPE_CHECKING:
    from starlette.types import Message


@pytest.mark.parametrize(
    ("own_host", "host", "status"),
    [
        pytest.param("192.0.2.1", "192.0.2.1:8080", 200, id="own address"),
        pytest.param("192.0.2.1", "localhost:9000", 200, id="published by a container"),
        pytest.param("192.0.2.1", "192.0.2.2", 403, id="other address"),
        pytest.param("2001:db8::1", "[2001:db8::1]:8080", 200, id="own IPv6 address"),
        pytest.param("Sandbox.Example", "sandbox.example:8080", 200, id="own name"),
        pytest.param("sandbox.example", "www.sandbox.example", 403, id="other name"),
    ],
)
def test_host_of_a_remote_sandbox(own_host: str, host: str, status: int) -> None:
    """The page answers to the host that the sandbox listens on, and to loopback names."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "headers": [(b"host", host.encode())]}
    app = PageSecurityMiddleware(PlainTextResponse("page"), host=own_host)
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == status
