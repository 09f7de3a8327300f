"""The three documented forms of credentials: which is sent, and which is kept."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.exceptions import AuthenticationError
from target_segment_objects.sandbox.credentials import AuthForm as SandboxForm
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment.authentication import AuthForm, WriteKeyAuth
from target_segment_objects.segment.client import Client
from target_segment_objects.segment.session import Session
from tests.support.scripted_server import Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "a-write-key"
USER_NAME = f"Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}"
BARE_KEY = f"Basic {base64.b64encode(KEY.encode()).decode()}"
KEY_AND_NEWLINE = f"Basic {base64.b64encode(f'{KEY}{chr(10)}'.encode()).decode()}"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that accepts every form."""
    with ScriptedServer() as running:
        yield running


def sent_forms(server: ScriptedServer) -> list[str]:
    """Return the credentials of the requests, in their order."""
    return [request.headers["Authorization"] for request in server.requests]


@pytest.mark.parametrize(
    ("accepted", "form"),
    [
        pytest.param(SandboxForm.USER_NAME, AuthForm.USER_NAME, id="write_key:"),
        pytest.param(SandboxForm.BARE_KEY, AuthForm.BARE_KEY, id="write_key"),
        pytest.param(SandboxForm.KEY_AND_NEWLINE, AuthForm.KEY_AND_NEWLINE, id="with a newline"),
        pytest.param(SandboxForm.ANY, AuthForm.USER_NAME, id="any"),
    ],
)
def test_session_succeeds_whichever_form_is_accepted(
    tmp_path: Path, accepted: SandboxForm, form: AuthForm
) -> None:
    """The client finds the form by itself."""
    path = tmp_path / "warehouse.duckdb"
    with (
        Sandbox(path, write_key=KEY, auth_form=accepted) as sandbox,
        Client(KEY, api_url=sandbox.url) as client,
    ):
        assert client.auth_form is None
        with Session(client):
            pass
        assert client.auth_form is form


@pytest.mark.parametrize(
    ("refused", "kept"),
    [
        pytest.param([USER_NAME], BARE_KEY, id="bare key"),
        pytest.param([USER_NAME, BARE_KEY], KEY_AND_NEWLINE, id="with a newline"),
    ],
)
def test_accepted_form_is_kept_for_every_call(
    server: ScriptedServer, refused: list[str], kept: str
) -> None:
    """After a 401 for each earlier form the next one is sent, and only that."""
    server.script("start", *(Reply(401) for _ in refused))
    with Client(KEY, api_url=server.url) as client:
        for _ in range(2):
            with Session(client):
                pass
    assert sent_forms(server) == [*refused, *[kept] * 4]


def test_third_form_is_the_example_of_the_documentation() -> None:
    """`echo "abc123" | base64` prints this."""
    assert "YWJjMTIzCg==" in WriteKeyAuth("abc123").tokens


@pytest.mark.parametrize("call", ["start", "finish"])
def test_401_is_final_once_a_form_was_accepted(server: ScriptedServer, call: str) -> None:
    """A key that is revoked during a run is not tried in another form."""
    with Client(KEY, api_url=server.url) as client:
        with Session(client):
            pass
        count = len(server.requests)
        server.script(call, Reply(401))
        with pytest.raises(AuthenticationError, match="Check write_key"):
            getattr(client, call)(*(() if call == "start" else ("s1",)))
    assert sent_forms(server)[count:] == [USER_NAME]


def test_wrong_key_is_reported_after_all_forms(server: ScriptedServer) -> None:
    """Three requests, one error, which contains none of the forms."""
    forms = [USER_NAME, BARE_KEY, KEY_AND_NEWLINE]
    server.always("start", Reply(401, body=f"{' '.join(forms)} {KEY}".encode()))
    with (
        Client(KEY, api_url=server.url) as client,
        pytest.raises(AuthenticationError, match="Check write_key") as refused,
    ):
        client.start()
    assert sent_forms(server) == forms
    assert client.auth_form is None
    for secret in (KEY, *(form.split()[1] for form in forms)):
        assert secret not in str(refused.value)


def test_403_is_final_in_the_first_form(server: ScriptedServer) -> None:
    """Only 401 says that the credentials were not understood."""
    server.script("start", Reply(403))
    with Client(KEY, api_url=server.url) as client, pytest.raises(AuthenticationError):
        client.start()
    assert sent_forms(server) == [USER_NAME]
