"""The sandbox's calls over its socket: who may make them, and what becomes of a session."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import duckdb
import pytest

from target_segment_objects.sandbox.credentials import AuthForm
from target_segment_objects.sandbox.server import Sandbox
from tests.support import wait_for
from tests.support.bare_http import (
    UPLOAD_HEADERS,
    ApiResponse,
    BareClient,
    basic_auth,
    object_line,
    open_upload,
    read_response,
)
from tests.support.frozen_clock import FrozenClock

if TYPE_CHECKING:
    from pathlib import Path


CALLS = ("upload", "keep-alive", "finish")


def make_call(client: BareClient, name: str, sync_id: str) -> ApiResponse:
    """Make one of the calls of a session with a correct request."""
    if name == "upload":
        return client.upload_lines(sync_id, object_line())
    return client.finish_session(sync_id) if name == "finish" else client.keep_alive(sync_id)


# Successful sessions


def test_finished_session_is_loaded(tmp_path: Path) -> None:
    """Start, upload, keep-alive and finish respond as documented; after 202 the rows are there."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        started = client.send_request("/v0/start")
        assert started.status == 201
        assert list(started.json) == ["sync_id"]
        sync_id = started.json["sync_id"]
        lines = object_line({"firstName": "Ada"}) + object_line({"firstName": "Bob"}, object_id="2")
        uploaded = client.upload_lines(sync_id, lines)
        assert uploaded.status == 201
        assert list(uploaded.json) == ["part_id"]
        assert client.keep_alive(sync_id).status == 200
        assert sandbox.warehouse.collections() == []
        assert client.finish_session(sync_id).status == 202
        assert sandbox.warehouse.rows("users") == [
            {"id": "1", "first_name": "Ada"},
            {"id": "2", "first_name": "Bob"},
        ]
        [session] = sandbox.warehouse.sessions()
        assert (session.sync_id, session.outcome, session.error) == (sync_id, "loaded", "")
        assert (session.collections, session.parts, session.objects) == (("users",), 1, 2)
        assert session.raw_bytes == len(lines)
        assert session.gzip_bytes == len(gzip.compress(lines, 1))
        assert session.ended is not None
        assert session.started <= session.ended
        assert sandbox.warehouse.losses() == []


def test_parts_are_applied_in_the_order_of_arrival(tmp_path: Path, session_folder: Path) -> None:
    """Later parts win, even if an earlier one takes longer to arrive completely."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        body = gzip.compress(object_line({"a": 1, "b": 1}))
        with open_upload(client, sync_id, body) as slow:
            wait_for(lambda: any(session_folder.iterdir()))
            assert client.upload_lines(sync_id, object_line({"a": 2})).status == 201
            slow.send(body[-1:])
            assert read_response(slow).status == 201
        assert client.finish_session(sync_id).status == 202
        assert sandbox.warehouse.rows("users") == [{"id": "1", "a": 2, "b": 1}]


def test_session_without_parts_is_loaded(tmp_path: Path) -> None:
    """A session may be finished without an upload. It loads nothing."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        BareClient(sandbox.url).load_files()
        assert sandbox.warehouse.collections() == []
        [session] = sandbox.warehouse.sessions()
        assert (session.outcome, session.parts, session.objects) == ("loaded", 0, 0)


def test_concatenated_gzip_members_are_accepted(
    client: BareClient, shared_sandbox: Sandbox
) -> None:
    """Concatenated gzip members are one gzip file (RFC 1952)."""
    body = gzip.compress(object_line(collection="members")) + gzip.compress(
        object_line(collection="members", object_id="2")
    )
    sync_id = client.start_session()
    assert client.send_request(f"/v0/upload/{sync_id}", body, UPLOAD_HEADERS).status == 201
    assert client.finish_session(sync_id).status == 202
    assert shared_sandbox.warehouse.count("members") == 2


# Authentication and routing


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="missing"),
        pytest.param("Bearer a2V5Og==", id="bearer token"),
        pytest.param("Basic", id="no credentials"),
        pytest.param("Basic !!!!", id="not base64"),
        pytest.param(basic_auth(b"\xff:"), id="not UTF-8"),
        pytest.param("Basic é", id="not ASCII"),
        pytest.param(basic_auth(":"), id="empty"),
        pytest.param(basic_auth(":password"), id="password only"),
        pytest.param(basic_auth("key:password"), id="with a password"),
    ],
)
def test_write_key_must_be_the_user_name(client: BareClient, header: str) -> None:
    """Any credentials other than HTTP Basic with the write key get 401 on every call."""
    for path in ("start", *(f"{call}/x" for call in CALLS)):
        response = client.send_request(f"/v0/{path}", headers={"Authorization": header})
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic")
        assert response.reason


FORMS = {"user name": "key:", "bare key": "key", "with a newline": "key\n"}


@pytest.mark.parametrize("write_key", [None, "key"], ids=["any key", "one key"])
@pytest.mark.parametrize("credentials", FORMS.values(), ids=FORMS)
def test_every_documented_form_is_accepted(
    tmp_path: Path, credentials: str, write_key: str | None
) -> None:
    """The write key may be the user name, or all that is encoded; it is the same key."""
    with Sandbox(tmp_path / "w.duckdb", write_key=write_key) as sandbox:
        client = BareClient(sandbox.url)
        headers = {"Authorization": basic_auth(credentials)}
        response = client.send_request("/v0/start", headers=headers)
        assert response.status == 201
        assert client.keep_alive(response.json["sync_id"]).status == 200


def test_a_newline_is_no_write_key(client: BareClient) -> None:
    """`echo "" | base64` encodes no key."""
    headers = {"Authorization": basic_auth("\n")}
    assert client.send_request("/v0/start", headers=headers).status == 401


@pytest.mark.parametrize(
    ("auth_form", "accepted", "name"),
    [
        pytest.param(AuthForm.USER_NAME, "key:", "`write_key:` only", id="user name"),
        pytest.param(AuthForm.BARE_KEY, "key", "`write_key` only", id="bare key"),
        pytest.param(
            AuthForm.KEY_AND_NEWLINE, "key\n", "`write_key` and a newline only", id="with a newline"
        ),
    ],
)
def test_sandbox_can_accept_one_form_only(
    tmp_path: Path, auth_form: AuthForm, accepted: str, name: str
) -> None:
    """The other forms get 401, and the reason names the accepted one."""
    with Sandbox(tmp_path / "w.duckdb", auth_form=auth_form) as sandbox:
        client = BareClient(sandbox.url)
        for credentials in FORMS.values():
            headers = {"Authorization": basic_auth(credentials)}
            response = client.send_request("/v0/start", headers=headers)
            if credentials == accepted:
                assert response.status == 201
            else:
                assert response.status == 401
                assert name in response.reason


def test_configured_write_key_is_the_only_one_accepted(tmp_path: Path) -> None:
    """A sandbox with a write key rejects any other key."""
    with Sandbox(tmp_path / "w.duckdb", write_key="schlüssel") as sandbox:
        assert BareClient(sandbox.url, "other").send_request("/v0/start").status == 401
        assert BareClient(sandbox.url, "schlüssel").send_request("/v0/start").status == 201


@pytest.mark.parametrize("call", CALLS)
def test_session_of_another_write_key_is_unknown(
    client: BareClient, shared_sandbox: Sandbox, call: str
) -> None:
    """The session of another write key is as unknown as one that was never started."""
    responses = [
        make_call(BareClient(shared_sandbox.url, "other"), call, client.start_session()),
        make_call(client, call, "never"),
    ]
    for response in responses:
        assert response.status == 400
        assert "no such session" in response.reason


@pytest.mark.parametrize(
    "path", ["/", "/v0", "/v0/start/", "/v0/start/x", "/v1/start", "/v0/upload"]
)
def test_unknown_path_is_404(client: BareClient, path: str) -> None:
    """A path that is not a call gets 404 and the list of calls."""
    response = client.send_request(path)
    assert response.status == 404
    assert "keep-alive" in response.reason


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_method_other_than_post_is_405(client: BareClient, method: str) -> None:
    """A method other than POST gets 405 and the right method."""
    for path in ("start", "upload/x", "keep-alive/x", "finish/x"):
        response = client.send_request(f"/v0/{path}", method=method)
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert "POST" in response.reason


def test_body_of_a_rejected_request_is_read(client: BareClient, shared_sandbox: Sandbox) -> None:
    """A rejected client that is still sending sees the response, not a reset connection."""
    body = os.urandom(20_000_000)
    for response in (
        BareClient(shared_sandbox.url, "").send_request("/v0/upload/x", body, UPLOAD_HEADERS),
        client.send_request("/v0/upload/x", body, UPLOAD_HEADERS),
        client.send_request("/v0/nothing", body, UPLOAD_HEADERS),
    ):
        assert response.status in {400, 401, 404}


# The end of a session


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b'{"error": ""}', "", id="no content type"),
        pytest.param(b'{"error": ""}', "text/plain", id="wrong content type"),
        pytest.param(b"", "application/json", id="empty body"),
        pytest.param(b"{", "application/json", id="truncated JSON"),
        pytest.param(b"{}", "application/json", id="no key"),
        pytest.param(b"[]", "application/json", id="array"),
        pytest.param(b'""', "application/json", id="string"),
        pytest.param(b'{"error": null}', "application/json", id="null error"),
        pytest.param(b'{"error": 1}', "application/json", id="numeric error"),
        pytest.param(b'{"error": "", "more": 1}', "application/json", id="unknown key"),
        pytest.param(b'{"error": "\xff"}', "application/json", id="not UTF-8"),
        pytest.param(b'{"error": "\\ud83d"}', "application/json", id="lone surrogate"),
        pytest.param(b"[" * 100_000, "application/json", id="deep nesting"),
        pytest.param(b'{"error": "' + b"x" * 1_000_000 + b'"}', "application/json", id="too large"),
    ],
)
def test_invalid_finish_is_rejected(client: BareClient, body: bytes, content_type: str) -> None:
    """A Finish with a wrong body or content type gets 400, and the session stays open."""
    sync_id = client.start_session()
    response = client.send_request(f"/v0/finish/{sync_id}", body, {"Content-Type": content_type})
    assert response.status == 400
    assert response.reason
    assert client.finish_session(sync_id).status == 202


def test_finish_with_an_error_discards_the_objects(tmp_path: Path) -> None:
    """The objects of a session that is finished with an error are discarded; the error is kept."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        assert client.upload_lines(sync_id, object_line()).status == 201
        assert client.finish_session(sync_id, "the tap failed").status == 202
        assert sandbox.warehouse.collections() == []
        [session] = sandbox.warehouse.sessions()
        assert (session.outcome, session.error) == ("error", "the tap failed")
        assert (session.collections, session.objects) == (("users",), 1)
        assert "discarded" in client.finish_session(sync_id).reason


@pytest.mark.parametrize("call", CALLS)
def test_call_to_a_finished_session_is_rejected(client: BareClient, call: str) -> None:
    """A call to a finished session gets 400 and the reason."""
    response = make_call(client, call, client.load_files(object_line()))
    assert response.status == 400
    assert "already finished" in response.reason


def test_finish_during_an_upload_is_rejected(tmp_path: Path, session_folder: Path) -> None:
    """A session cannot be finished while an upload is running: its order is not known yet."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        body = gzip.compress(object_line())
        with open_upload(client, sync_id, body) as upload:
            wait_for(lambda: any(session_folder.iterdir()))
            response = client.finish_session(sync_id)
            assert response.status == 400
            assert "upload of the session is still running" in response.reason
            upload.send(body[-1:])
            assert read_response(upload).status == 201
        assert client.finish_session(sync_id).status == 202
        assert sandbox.warehouse.count("users") == 1


def test_aborted_upload_leaves_no_part(tmp_path: Path, session_folder: Path) -> None:
    """A client that disconnects leaves no part and no file, and the session stays open."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        with open_upload(client, sync_id, gzip.compress(object_line())):
            wait_for(lambda: any(session_folder.iterdir()))
        wait_for(lambda: not list(session_folder.iterdir()))
        assert client.finish_session(sync_id).status == 202
        assert sandbox.warehouse.collections() == []


def test_open_session_is_recorded_when_the_sandbox_stops(tmp_path: Path) -> None:
    """A session that was not finished is in the metadata after the sandbox has stopped."""
    sandbox = Sandbox(tmp_path / "w.duckdb")
    with sandbox:
        client = BareClient(sandbox.url)
        assert client.upload_lines(client.start_session(), object_line()).status == 201
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        found = connection.execute(
            "SELECT outcome, objects FROM sandbox_metadata.sessions"
        ).fetchall()
    assert found == [("open", 1)]
    with pytest.raises(RuntimeError):
        sandbox.warehouse.collections()


# Expiry


@pytest.mark.parametrize("call", CALLS)
def test_idle_session_expires(tmp_path: Path, session_folder: Path, call: str) -> None:
    """A session expires after ten minutes without a call, not before, and its files are deleted."""
    clock = FrozenClock()
    with Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        clock.now += 599.9
        assert client.upload_lines(sync_id, object_line()).status == 201
        assert len(list(session_folder.iterdir())) == 1
        clock.now += 599.9
        assert client.keep_alive(sync_id).status == 200
        clock.now += 600
        response = make_call(client, call, sync_id)
        assert response.status == 400
        assert "expired" in response.reason
        assert list(session_folder.iterdir()) == []
        [session] = sandbox.warehouse.sessions()
        assert (session.sync_id, session.outcome, session.objects) == (sync_id, "expired", 1)
    assert not session_folder.exists()


def test_idle_session_expires_without_another_call(tmp_path: Path) -> None:
    """An idle session expires even if no other call is made."""
    with Sandbox(tmp_path / "w.duckdb", session_timeout_seconds=0.05) as sandbox:
        BareClient(sandbox.url).start_session()
        wait_for(sandbox.warehouse.sessions)
        assert [session.outcome for session in sandbox.warehouse.sessions()] == ["expired"]


def test_running_upload_keeps_the_session_alive(tmp_path: Path, session_folder: Path) -> None:
    """A session does not expire during a long upload; its idle time starts with the response."""
    clock = FrozenClock()
    with Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        body = gzip.compress(object_line())
        with open_upload(client, sync_id, body) as upload:
            wait_for(lambda: any(session_folder.iterdir()))
            clock.now += 10_000
            client.start_session()
            upload.send(body[-1:])
            assert read_response(upload).status == 201
        clock.now += 599
        assert client.keep_alive(sync_id).status == 200
