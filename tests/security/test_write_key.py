"""The write key.

| asset | attack | what holds |
|---|---|---|
| write key | a response repeats it, escaped as in JSON or in an address | masked in every message |
| write key | another user reads the list of processes | `--help` says that an option is visible |
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from target_segment_objects.exceptions import ApiError
from target_segment_objects.segment.client import Client
from tests.support.scripted_server import Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


KEY = 'k"e/y\\with+odd<characters>&=%'
TOKEN = base64.b64encode(KEY.encode()).decode()
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, all escaped": lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
    "percent": lambda text: quote(text, safe=""),
    "percent, some": quote,
    "percent, small": lambda text: "".join(f"%{ord(char):02x}" for char in text),
}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers as a test has it."""
    with ScriptedServer() as running:
        yield running


@pytest.mark.parametrize("secret", [KEY, TOKEN], ids=["key", "credentials"])
@pytest.mark.parametrize("form", FORMS)
def test_escaped_key_is_masked(server: ScriptedServer, form: str, secret: str) -> None:
    """Whatever form a response repeats it in."""
    written = FORMS[form](secret)
    server.always("start", Reply(400, f"key {written} refused".encode()))
    with Client(KEY, api_url=server.url) as client, pytest.raises(ApiError) as raised:
        client.start()
    assert "key *** refused" in str(raised.value)


def test_help_says_that_an_option_is_visible(capsys: pytest.CaptureFixture[str]) -> None:
    """The sandbox's is the only option that takes a key."""
    from target_segment_objects.sandbox.cli import main  # noqa: PLC0415 - it is not always there

    main(["serve", "-h"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    assert "It is visible in the list of processes; the variable is not." in text
