"""The sandbox's API over its socket, with requests that no client of this project makes."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from time import perf_counter, process_time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import duckdb
import pytest

from target_segment_objects import limits
from target_segment_objects.sandbox.credentials import AuthForm
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support import wait_for
from tests.support.bare_http import (
    FINISH_HEADERS,
    UPLOAD_HEADERS,
    ApiResponse,
    BareClient,
    basic_auth,
    begin_upload,
    object_line,
    open_upload,
    read_response,
    send_slowly,
)
from tests.support.frozen_clock import FrozenClock

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLS = ("upload", "keep-alive", "finish")
SHORT_OBJECT = b'{"id":"1","collection":"users","properties":{"a":1}}'


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for the tests that only check responses."""
    with Sandbox(tmp_path_factory.mktemp("shared") / "warehouse.duckdb") as sandbox:
        yield sandbox


@pytest.fixture
def client(shared_sandbox: Sandbox) -> BareClient:
    """A client of the shared sandbox."""
    return BareClient(shared_sandbox.url)


@pytest.fixture
def session_folder(tmp_path: Path) -> Path:
    """The folder where a sandbox keeps uploaded files."""
    return tmp_path / "w.duckdb.sessions"


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


# Uploaded files


@pytest.mark.parametrize("name", ["Content-Type", "Content-Encoding"])
@pytest.mark.parametrize("value", ["", "application/octet-stream", "deflate"])
def test_upload_headers_are_required(client: BareClient, name: str, value: str) -> None:
    """An upload without its two headers gets 400 and the right value."""
    response = client.send_request(
        f"/v0/upload/{client.start_session()}",
        gzip.compress(object_line()),
        {**UPLOAD_HEADERS, name: value},
    )
    assert response.status == 400
    assert f"{name} must be {UPLOAD_HEADERS[name]}" in response.reason


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty body"),
        pytest.param(gzip.compress(b""), id="empty file"),
        pytest.param(object_line(), id="not compressed"),
        pytest.param(zlib.compress(object_line()), id="zlib"),
        pytest.param(gzip.compress(object_line())[:-1], id="last byte missing"),
        pytest.param(gzip.compress(object_line())[:-8], id="trailer missing"),
        pytest.param(gzip.compress(object_line()) + b"x", id="trailing garbage"),
        pytest.param(gzip.compress(object_line())[:-8] + bytes(8), id="wrong checksum"),
        pytest.param(gzip.compress(object_line())[:12] + b"\xff" * 40, id="corrupt"),
        pytest.param(gzip.compress(object_line())[:10] + b"\xff" * 40, id="no deflate block"),
    ],
)
def test_body_must_be_gzip(client: BareClient, body: bytes) -> None:
    """A body that is not complete, non-empty gzip gets 400 without a line number."""
    sync_id = client.start_session()
    response = client.send_request(f"/v0/upload/{sync_id}", body, UPLOAD_HEADERS)
    assert response.status == 400
    assert response.line is None
    assert "gzip" in response.reason or "empty" in response.reason


def raw_line(
    properties: str = '{"a":1}', object_id: str = '"1"', collection: str = '"users"'
) -> bytes:
    """Return a line from literal JSON, which need not be valid."""
    text = f'{{"id":{object_id},"collection":{collection},"properties":{properties}}}\n'
    return text.encode()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(b" \t\n", "empty", id="whitespace only"),
        pytest.param(b'{"id":"1"} x\n', "not JSON", id="trailing characters"),
        pytest.param(raw_line('{"a":-Infinity}'), "-Infinity is not JSON", id="infinity"),
        pytest.param(raw_line('{"a":01}'), "not JSON", id="leading zero"),
        pytest.param(raw_line("{'a':1}"), "not JSON", id="single quotes"),
        pytest.param(raw_line('{"a":"\t"}'), "not JSON", id="raw tab"),
        pytest.param(raw_line('{"a":"\\ude00\\ud83d"}'), "surrogate", id="swapped surrogates"),
        pytest.param(raw_line('{"a\\ud83d":1}'), "surrogate", id="surrogate in a name"),
        pytest.param(raw_line(object_id='"\\ud83d"'), "surrogate", id="surrogate in the id"),
        pytest.param(b"[" * 100_000 + b"\n", "nested too deeply", id="deep nesting"),
        pytest.param(b"null\n", "not a JSON object", id="null"),
        pytest.param(
            b'[["id","1"],["collection","users"],["properties",[["a",1]]]]\n',
            "not a JSON object",
            id="array of pairs",
        ),
        pytest.param(
            raw_line(object_id="1"), "id must be a string of 1 to 100 characters", id="numeric id"
        ),
        pytest.param(raw_line(object_id="null"), "id must be", id="null id"),
        pytest.param(raw_line(collection="1"), "collection must be", id="numeric collection"),
        pytest.param(
            raw_line(collection='"usérs"'), "collection must be", id="accent in collection"
        ),
        pytest.param(
            raw_line(collection='"users\\n"'), "collection must be", id="newline in collection"
        ),
        pytest.param(raw_line("[]"), "properties must be an object", id="properties array"),
        pytest.param(raw_line("null"), "properties must be an object", id="properties null"),
        pytest.param(raw_line('{"a":{}}'), "holds a list or an object", id="empty object"),
        pytest.param(raw_line('{"a":[]}'), "holds a list or an object", id="empty list"),
        pytest.param(raw_line('{"":1}'), "no ASCII letter or digit", id="empty name"),
        pytest.param(
            raw_line('{"$_日本":1}'), "no ASCII letter or digit", id="name without a word"
        ),
        pytest.param(
            raw_line('{"a":1,"\\u0061":1}'), '"a" occurs twice', id="duplicate escaped property"
        ),
        pytest.param(
            raw_line('{"firstName":1,"x":1,"first_name":1}'),
            '"firstName" and "first_name"',
            id="names of one column",
        ),
    ],
)
def test_invalid_line_rejects_the_file(client: BareClient, bad: bytes, reason: str) -> None:
    """A file with an invalid line gets 400 with the line's number and the reason.

    The documented lines are tested as rows of the documentation. These are the others.
    """
    response = client.upload_lines(client.start_session(), object_line() + object_line() + bad)
    assert response.status == 400
    assert response.line == 3
    assert reason in response.reason


def test_rejected_file_is_not_loaded(tmp_path: Path) -> None:
    """No object of a rejected file is loaded; the session stays open, its other parts are."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        assert client.upload_lines(sync_id, object_line() + b"{}\n").status == 400
        assert client.upload_lines(sync_id, object_line(object_id="2")).status == 201
        assert client.finish_session(sync_id).status == 202
        assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["2"]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('"hunter2"', id="string"),
        pytest.param('["hunter2"]', id="list"),
        pytest.param('{"a":"hunter2"}', id="object"),
        pytest.param("hunter2", id="not JSON"),
        pytest.param('"hunter2\\ud83d"', id="surrogate"),
    ],
)
def test_reason_contains_no_value(client: BareClient, value: str) -> None:
    """A reason may name a property, but never its value."""
    response = client.upload_lines(client.start_session(), raw_line(f'{{"a":{value},"b":[]}}'))
    assert response.status == 400
    assert "hunter2" not in json.dumps(response.json)


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param({"a": None}, id="null"),
        pytest.param(
            {"a": True, "b": False, "c": 0, "d": -1.5e300, "e": "", "f": "\0\n😀", "2FA": 1},
            id="all types",
        ),
        pytest.param({"a": 10**5000}, id="huge integer"),
    ],
)
def test_legal_property_values_are_accepted(
    client: BareClient, properties: dict[str, object]
) -> None:
    """Strings, integers of any size, floats, booleans and nulls are accepted."""
    said = json.dumps({k: v for k, v in properties.items() if k != "a"})
    text = "1" + "0" * 5000 if properties.get("a") == 10**5000 else json.dumps(properties["a"])
    lines = raw_line(f'{{"a":{text},' + said[1:] if len(properties) > 1 else f'{{"a":{text}}}')
    assert client.upload_lines(client.start_session(), lines).status == 201


def test_last_line_may_end_without_a_newline(tmp_path: Path) -> None:
    """Newlines separate objects, so the last one needs none; the size is that of the file."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        lines = object_line() + object_line(object_id="2")[:-1]
        BareClient(sandbox.url).load_files(lines, object_line(object_id="3")[:-1])
        assert sandbox.warehouse.count("users") == 3
        [session] = sandbox.warehouse.sessions()
        assert session.raw_bytes == len(lines) + len(object_line()) - 1


def test_whitespace_around_json_is_accepted(client: BareClient) -> None:
    """JSON may have whitespace around it, including a carriage return before the newline."""
    assert (
        client.upload_lines(client.start_session(), b" " + object_line()[:-1] + b" \r\n").status
        == 201
    )


# Limits: at the limit, and one past it


def padded_line(size: int) -> bytes:
    """Return a line of an exact size, not counting its newline."""
    return SHORT_OBJECT[:-1].ljust(size - 1) + b"}\n"


def test_names_of_maximum_length_are_accepted(client: BareClient) -> None:
    """An id and a collection of 100 characters are accepted; 101: see the invalid lines."""
    longest = object_line(object_id="é" * limits.MAX_ID_CHARACTERS, collection="a" * 100)
    assert client.upload_lines(client.start_session(), longest).status == 201


def test_object_size_limit(client: BareClient) -> None:
    """An object of 400 KB is accepted; one byte more is rejected, with any line ending."""
    sync_id = client.start_session()
    longest = padded_line(limits.MAX_OBJECT_BYTES)
    assert client.upload_lines(sync_id, longest + longest).status == 201
    assert client.upload_lines(sync_id, longest + longest[:-1]).status == 201
    for ending in (b"\n", b"", b"\n" + object_line()):
        past = padded_line(limits.MAX_OBJECT_BYTES + 1)[:-1] + ending
        response = client.upload_lines(sync_id, object_line() + past)
        assert (response.status, response.line) == (400, 2)
        assert f"larger than {limits.MAX_OBJECT_BYTES} bytes" in response.reason


def test_number_of_properties_limit(client: BareClient) -> None:
    """An object with 1,600 properties is accepted; one with 1,601 is rejected with its line."""
    sync_id = client.start_session()
    names = [f"p{number}" for number in range(1601)]
    fits = object_line(dict.fromkeys(names[:-1], 1), collection="wide")
    assert client.upload_lines(sync_id, fits).status == 201
    response = client.upload_lines(sync_id, fits + object_line(dict.fromkeys(names, 1)))
    assert (response.status, response.line) == (400, 2)
    assert "more than 1600 properties" in response.reason


def test_too_many_properties_reject_the_finish(tmp_path: Path) -> None:
    """If only the session as a whole has too many, Finish gets 400, and nothing is loaded."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        for start in (0, 1000):
            properties = {f"p{number}": 1 for number in range(start, start + 1000)}
            assert client.upload_lines(sync_id, object_line(properties)).status == 201
        response = client.finish_session(sync_id)
        assert response.status == 400
        assert "users has more than 1600 properties" in response.reason
        assert sandbox.warehouse.collections() == []
        assert client.finish_session(sync_id, "too wide").status == 202


@pytest.mark.parametrize(
    ("fits", "past"),
    [
        ('"' + "a" * 32767 + '"', '"' + "a" * 32768 + '"'),
        ('"' + "é" * 16383 + 'a"', '"' + "é" * 16384 + '"'),
        ('"' + "\\u00e9" * 16383 + 'a"', '"' + "\\u00e9" * 16384 + '"'),
        ("1" * 32767, "1" * 32768),
        ("0." + "1" * 32765, "0." + "1" * 32766),
    ],
    ids=["ascii", "utf-8", "escaped", "integer", "float"],
)
def test_value_size_limit(client: BareClient, fits: str, past: str) -> None:
    """A string, or the text of a number, must be smaller than 32 KB of UTF-8."""
    sync_id = client.start_session()
    assert client.upload_lines(sync_id, raw_line(f'{{"a":{fits}}}')).status == 201
    response = client.upload_lines(sync_id, raw_line(f'{{"b":1,"a":{past}}}'))
    assert (response.status, response.line) == (400, 1)
    assert 'the property "a" is not smaller than 32768 bytes' in response.reason


def test_configured_file_size_limit(tmp_path: Path) -> None:
    """The limit of a file can be lowered; it applies to the uncompressed size."""
    with Sandbox(tmp_path / "w.duckdb", max_file_bytes=1000) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        assert client.upload_lines(sync_id, padded_line(499) * 2).status == 201
        response = client.upload_lines(sync_id, padded_line(499) + padded_line(500))
        assert (response.status, response.line) == (413, None)
        assert "1000 bytes" in response.reason


@pytest.mark.slow
def test_default_file_size_limit(client: BareClient) -> None:
    """A file of 512,000,000 bytes is accepted; one more line gets 413."""
    block = gzip.compress(padded_line(399_999) * 32, 1)
    fits = block * 40
    assert limits.MAX_FILE_BYTES == 400_000 * 32 * 40
    path = f"/v0/upload/{client.start_session()}"
    assert client.send_request(path, fits, UPLOAD_HEADERS).status == 201
    response = client.send_request(path, fits + gzip.compress(object_line()), UPLOAD_HEADERS)
    assert response.status == 413
    assert "512000000 bytes" in response.reason


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


@pytest.mark.slow
def test_thousands_of_open_sessions(tmp_path: Path) -> None:
    """The last of 6,000 Starts cost no more than the first; to end the sessions costs less."""
    clock = FrozenClock()
    with Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox:
        client = BareClient(sandbox.url)
        costs = []
        for _ in range(6):
            costs.append(measure_starts(client, 1000))
            clock.now += 100
        began = process_time()
        clock.now += 250
        client.start_session()
        assert count_outcomes(sandbox.warehouse) == {"expired": 3000}
    assert process_time() - began < sum(costs)
    assert costs[-1] < 3 * costs[0]
    with Warehouse.open(tmp_path / "w.duckdb", read_only=True) as warehouse:
        assert count_outcomes(warehouse) == {"expired": 3000, "open": 3001}


def measure_starts(client: BareClient, count: int) -> float:
    """Start sessions over one connection, and return the CPU time of this process."""
    began = process_time()
    with closing(client.open_connection()) as connection:
        for _ in range(count):
            request_start(connection)
    return process_time() - began


def count_outcomes(warehouse: Warehouse) -> Counter[str]:
    """Return the number of recorded sessions by their outcome."""
    return Counter(session.outcome for session in warehouse.sessions())


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


# Clients that stop in the middle of a request


def test_client_that_stops_in_a_body_is_timed_out(tmp_path: Path, session_folder: Path) -> None:
    """It gets 408 and a closed connection; its file is deleted, and the session stays open."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        with open_upload(client, sync_id, gzip.compress(object_line())) as upload:
            response = read_response(upload)
        assert response.status == 408
        assert response.headers["Connection"] == "close"
        assert "within 0.2 seconds" in response.reason
        assert list(session_folder.iterdir()) == []
        assert client.upload_lines(sync_id, object_line()).status == 201
        assert client.finish_session(sync_id).status == 202


def test_rejected_client_that_stops_in_a_body_sees_the_reason(tmp_path: Path) -> None:
    """The rest of a rejected body is not waited for longer than that of another one."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox:
        client = BareClient(sandbox.url)
        with open_upload(client, "unknown", gzip.compress(object_line())) as upload:
            response = read_response(upload)
        assert response.status == 400
        assert "no such session" in response.reason


def test_body_that_arrives_too_slowly_is_timed_out(tmp_path: Path) -> None:
    """One byte now and then, each in time, does not keep a place among the 20 for ever."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.5) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        with closing(begin_upload(client, sync_id, 1000)) as upload:
            began = time.monotonic()
            response = send_slowly(upload)
            assert time.monotonic() - began < 8
        assert response.status == 408
        assert "too slowly" in response.reason


def test_clients_that_stop_do_not_lock_out_others(tmp_path: Path) -> None:
    """Half requests up to the limit of simultaneous ones do not count after the timeout."""
    with (
        Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.5) as sandbox,
        ExitStack() as stack,
    ):
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        uploads = [
            stack.enter_context(open_upload(client, sync_id, gzip.compress(object_line())))
            for _ in range(limits.MAX_CONCURRENT_REQUESTS)
        ]
        assert [read_response(upload).status for upload in uploads] == [408] * len(uploads)
        assert client.send_request("/v0/start").status == 201


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v0/start HTTP/1.1\r\nHost: x\r\n"], ids=["no byte", "half"]
)
def test_client_that_stops_in_the_headers_is_disconnected(tmp_path: Path, sent: bytes) -> None:
    """The connection is closed if the headers do not arrive in time."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox:
        address = urlsplit(sandbox.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(sent)
            assert connection.recv(1) == b""


def test_client_that_stops_in_later_headers_is_disconnected(tmp_path: Path) -> None:
    """The timeout applies to every request of a connection."""
    with (
        Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox,
        closing(BareClient(sandbox.url).open_connection()) as connection,
    ):
        connection.request("POST", "/v0/start", headers={"Authorization": basic_auth("key:")})
        assert read_response(connection).status == 201
        connection.sock.sendall(b"POST /v0/start HTTP/1.1\r\nHost: x\r\n")
        assert connection.sock.recv(1) == b""


# Simultaneous requests


class HeldResponses:
    """Holds successful responses back until `released` is set."""

    def __init__(self) -> None:
        """Start to hold."""
        self.released = threading.Event()
        self.waiting = 0

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application."""

        async def held(scope: Scope, receive: Receive, send: Send) -> None:
            async def late(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] < 400:
                    self.waiting += 1
                    while not self.released.is_set():  # noqa: ASYNC110 - another thread sets it
                        await asyncio.sleep(0.01)
                await send(message)

            await app(scope, receive, late)

        return held


@pytest.mark.parametrize("limited", ["write key", "address"])
def test_twenty_simultaneous_requests_are_allowed(tmp_path: Path, limited: str) -> None:
    """Twenty simultaneous requests are answered; the next gets 429 with Retry-After."""
    held = HeldResponses()
    keys = ["key"] * 20 if limited == "write key" else [f"key {number % 2}" for number in range(20)]
    with Sandbox(tmp_path / "w.duckdb", wrap=held.wrap) as sandbox, ThreadPoolExecutor(20) as pool:
        try:
            responses = [
                pool.submit(BareClient(sandbox.url, key).send_request, "/v0/start") for key in keys
            ]
            wait_for(lambda: held.waiting == 20)
            rejected = BareClient(sandbox.url, keys[0]).send_request("/v0/start")
        finally:
            held.released.set()
        assert [response.result().status for response in responses] == [201] * 20
        assert rejected.status == 429
        assert rejected.headers["Retry-After"] == "1"
        assert f"more than 20 simultaneous requests for one {limited}" in rejected.reason
        assert sandbox.peak_concurrency == (21 if limited == "write key" else 11)
        assert BareClient(sandbox.url, keys[0]).send_request("/v0/start").status == 201


# The server


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104 - refused
def test_host_that_is_not_loopback_is_rejected(tmp_path: Path, host: str) -> None:
    """A sandbox does not listen on an address that other machines can reach."""
    with pytest.raises(ValueError, match="loopback addresses only"):
        Sandbox(tmp_path / "w.duckdb", host=host)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104 - it is not started
        ("::", "http://[::1]:8080"),
        ("192.0.2.1", "http://192.0.2.1:8080"),
        ("example.com", "http://example.com:8080"),
    ],
)
def test_url_of_a_remote_sandbox(tmp_path: Path, host: str, url: str) -> None:
    """The URL is one that this machine can reach, also if it listens on all addresses."""
    assert Sandbox(tmp_path / "w.duckdb", host=host, port=8080, allow_remote=True).url == url


def test_localhost_is_accepted_as_host(tmp_path: Path) -> None:
    """The name localhost can be used, and is in the URL."""
    with Sandbox(tmp_path / "w.duckdb", host="localhost") as sandbox:
        assert sandbox.url.startswith("http://localhost:")
        assert BareClient(sandbox.url).send_request("/v0/start").status == 201


def test_kept_connection_is_not_slower(client: BareClient) -> None:
    """A call on a kept connection does not wait for an acknowledgement by the client."""
    with closing(client.open_connection()) as kept:
        kept_times = [measure_start(kept) for _ in range(50)]
    new_times = []
    for _ in range(50):
        with closing(client.open_connection()) as connection:
            new_times.append(measure_start(connection))
    # The shortest, because the machine may be busy. The first calls are acknowledged at once.
    assert min(kept_times[25:]) < 3 * min(new_times)


def measure_start(connection: http.client.HTTPConnection) -> float:
    """Start a session, and return how long it took."""
    began = perf_counter()
    request_start(connection)
    return perf_counter() - began


def request_start(connection: http.client.HTTPConnection) -> None:
    """Start a session over a connection, which stays open."""
    connection.request("POST", "/v0/start", b"", {"Authorization": basic_auth("key:")})
    assert read_response(connection).status == 201


def test_port_in_use_raises_os_error(tmp_path: Path, shared_sandbox: Sandbox) -> None:
    """A port in use raises OSError, and nothing stays open."""
    port = int(shared_sandbox.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), Sandbox(tmp_path / "w.duckdb", port=port):
        pass
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        assert sandbox.warehouse.collections() == []


def test_stopped_sandbox_leaves_only_its_warehouse(tmp_path: Path) -> None:
    """After a sandbox has stopped, only the file of its warehouse is left, and no thread."""
    before = threading.active_count()
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line())
        assert client.upload_lines(client.start_session(), object_line()).status == 201
    wait_for(lambda: threading.active_count() == before)
    assert [path.name for path in tmp_path.iterdir()] == ["w.duckdb"]


def test_concurrent_sessions_are_all_loaded(tmp_path: Path) -> None:
    """Sessions that are finished at the same time are all loaded."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox, ThreadPoolExecutor(8) as pool:
        client = BareClient(sandbox.url)
        files = [
            b"".join(
                object_line({"n": n}, object_id=f"{n}-{i}", collection="x" * (n % 3 + 1))
                for i in range(50)
            )
            for n in range(16)
        ]
        assert len(set(pool.map(client.load_files, files))) == 16
        assert sum(map(sandbox.warehouse.count, sandbox.warehouse.collections())) == 800


def test_content_type_may_have_a_parameter(client: BareClient) -> None:
    """A parameter such as charset does not change the content type."""
    body, path = b'{"error": ""}', f"/v0/finish/{client.start_session()}"
    headers = {"Content-Type": FINISH_HEADERS["Content-Type"] + "; charset=utf-8"}
    assert client.send_request(path, body, headers).status == 202
