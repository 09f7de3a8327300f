"""The sandbox's API, called over its socket with requests written by hand."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import duckdb
import pytest

from target_segment_objects import limits
from target_segment_objects.sandbox.server import Sandbox
from tests.support.bare_http import (
    FINISH_HEADERS,
    UPLOAD_HEADERS,
    Answer,
    Caller,
    authorization,
    line,
    read,
)

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLS = ("upload", "keep-alive", "finish")
PADDED = b'{"id":"1","collection":"users","properties":{"a":1}}'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for the tests that only look at answers."""
    with Sandbox(tmp_path_factory.mktemp("shared") / "warehouse.duckdb") as sandbox:
        yield sandbox


@pytest.fixture
def caller(shared: Sandbox) -> Caller:
    """Call the shared sandbox."""
    return Caller(shared.url)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a sandbox puts its own below."""
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        """Begin anywhere."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def any_call(caller: Caller, name: str, sync_id: str) -> Answer:
    """Make one of the calls of a session, as it should be."""
    if name == "upload":
        return caller.upload(sync_id, line())
    return caller.finish(sync_id) if name == "finish" else caller.keep_alive(sync_id)


@contextmanager
def unended(caller: Caller, sync_id: str, body: bytes) -> Iterator[http.client.HTTPConnection]:
    """Send all of an upload but the last byte of its body; hang up in the end."""
    headers = {**UPLOAD_HEADERS, "Authorization": authorization(f"{caller.key}:")}
    with closing(caller.connect()) as connection:
        connection.putrequest("POST", f"/v0/upload/{sync_id}")
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body[:-1])
        yield connection


def until(condition: object) -> None:
    """Wait for a condition that another thread is about to make true."""
    assert callable(condition)
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not happen within five seconds")


# A session in which all goes well


def test_session_lands_in_the_warehouse(tmp_path: Path) -> None:
    """Start, upload, keep-alive and finish answer as documented; after 202 the rows are there."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        caller = Caller(sandbox.url)
        started = caller.call("/v0/start")
        assert started.status == 201
        assert list(started.json) == ["sync_id"]
        sync_id = started.json["sync_id"]
        lines = line({"firstName": "Ada"}) + line({"firstName": "Bob"}, object_id="2")
        uploaded = caller.upload(sync_id, lines)
        assert uploaded.status == 201
        assert list(uploaded.json) == ["part_id"]
        assert caller.keep_alive(sync_id).status == 200
        assert sandbox.warehouse.collections() == []
        assert caller.finish(sync_id).status == 202
        assert sandbox.warehouse.rows("users") == [
            {"id": "1", "first_name": "Ada"},
            {"id": "2", "first_name": "Bob"},
        ]
        [session] = sandbox.warehouse.sessions()
        assert (session.sync_id, session.outcome, session.error) == (sync_id, "loaded", "")
        assert (session.collections, session.parts, session.objects) == (("users",), 1, 2)
        assert session.raw_bytes == len(lines)
        assert session.gzip_bytes == len(gzip.compress(lines, 1))
        assert session.started <= session.ended
        assert sandbox.warehouse.losses() == []


def test_parts_are_applied_in_the_order_of_arrival(tmp_path: Path, temporary: Path) -> None:
    """Later parts win, also where an earlier one takes longer to arrive completely."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        body = gzip.compress(line({"a": 1, "b": 1}))
        with unended(caller, sync_id, body) as slow:
            until(lambda: any(temporary.glob("*/*")))
            assert caller.upload(sync_id, line({"a": 2})).status == 201
            slow.send(body[-1:])
            assert read(slow).status == 201
        assert caller.finish(sync_id).status == 202
        assert sandbox.warehouse.rows("users") == [{"id": "1", "a": 2, "b": 1}]


def test_a_session_without_parts_is_loaded(tmp_path: Path) -> None:
    """A session may be finished without an upload; it brings nothing."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        Caller(sandbox.url).load()
        assert sandbox.warehouse.collections() == []
        [session] = sandbox.warehouse.sessions()
        assert (session.outcome, session.parts, session.objects) == ("loaded", 0, 0)


def test_several_gzip_members_are_one_file(caller: Caller, shared: Sandbox) -> None:
    """Concatenated gzip is gzip (RFC 1952)."""
    body = gzip.compress(line(collection="members")) + gzip.compress(
        line(collection="members", object_id="2")
    )
    sync_id = caller.start()
    assert caller.call(f"/v0/upload/{sync_id}", body, UPLOAD_HEADERS).status == 201
    assert caller.finish(sync_id).status == 202
    assert shared.warehouse.count("members") == 2


# Who may call, and what


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer a2V5Og==",
        "Basic",
        "Basic !!!!",
        authorization(b"\xff:"),
        authorization("key"),
        authorization(":"),
        authorization(":password"),
        authorization("key:password"),
    ],
)
def test_write_key_must_be_the_user_name(caller: Caller, header: str) -> None:
    """Anything but HTTP Basic of `write_key:` is 401, on every call."""
    for path in ("start", *(f"{call}/x" for call in CALLS)):
        answer = caller.call(f"/v0/{path}", headers={"Authorization": header})
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert answer.reason


def test_a_given_write_key_is_the_only_one(tmp_path: Path) -> None:
    """A sandbox with a key refuses any other one, and accepts its own."""
    with Sandbox(tmp_path / "w.duckdb", write_key="schlüssel") as sandbox:
        assert Caller(sandbox.url, "other").call("/v0/start").status == 401
        assert Caller(sandbox.url, "schlüssel").call("/v0/start").status == 201


@pytest.mark.parametrize("call", CALLS)
def test_a_session_belongs_to_its_key(caller: Caller, shared: Sandbox, call: str) -> None:
    """Another key's session is as unknown as one that never was."""
    answers = [
        any_call(Caller(shared.url, "other"), call, caller.start()),
        any_call(caller, call, "never"),
    ]
    for answer in answers:
        assert answer.status == 400
        assert "no such session" in answer.reason


@pytest.mark.parametrize(
    "path", ["/", "/v0", "/v0/start/", "/v0/start/x", "/v1/start", "/v0/upload"]
)
def test_unknown_path(caller: Caller, path: str) -> None:
    """A path that is no call is 404, and says which calls there are."""
    answer = caller.call(path)
    assert answer.status == 404
    assert "keep-alive" in answer.reason


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_wrong_method(caller: Caller, method: str) -> None:
    """A call with another method than POST is 405, and says which it is."""
    for path in ("start", "upload/x", "keep-alive/x", "finish/x"):
        answer = caller.call(f"/v0/{path}", method=method)
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
        assert "POST" in answer.reason


def test_a_refused_body_is_read(caller: Caller, shared: Sandbox) -> None:
    """A client that sends much and is refused sees the answer, and not a reset connection."""
    body = os.urandom(20_000_000)
    for answer in (
        Caller(shared.url, "").call("/v0/upload/x", body, UPLOAD_HEADERS),
        caller.call("/v0/upload/x", body, UPLOAD_HEADERS),
        caller.call("/v0/nothing", body, UPLOAD_HEADERS),
    ):
        assert answer.status in {400, 401, 404}


# What may be uploaded


@pytest.mark.parametrize("name", ["Content-Type", "Content-Encoding"])
@pytest.mark.parametrize("value", ["", "application/octet-stream", "deflate"])
def test_upload_headers(caller: Caller, name: str, value: str) -> None:
    """An upload without its two headers is 400, and says which value is right."""
    answer = caller.call(
        f"/v0/upload/{caller.start()}", gzip.compress(line()), {**UPLOAD_HEADERS, name: value}
    )
    assert answer.status == 400
    assert f"{name} must be {UPLOAD_HEADERS[name]}" in answer.reason


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(gzip.compress(b""), id="no line"),
        pytest.param(line(), id="plain"),
        pytest.param(zlib.compress(line()), id="zlib"),
        pytest.param(gzip.compress(line())[:-1], id="without its last byte"),
        pytest.param(gzip.compress(line())[:-8], id="without its trailer"),
        pytest.param(gzip.compress(line()) + b"x", id="with something behind"),
        pytest.param(gzip.compress(line())[:-8] + bytes(8), id="of other content"),
        pytest.param(gzip.compress(line())[:12] + b"\xff" * 40, id="damaged"),
    ],
)
def test_body_must_be_gzip(caller: Caller, body: bytes) -> None:
    """A body that is not gzip, complete and of something, is 400; no line is to blame."""
    sync_id = caller.start()
    answer = caller.call(f"/v0/upload/{sync_id}", body, UPLOAD_HEADERS)
    assert answer.status == 400
    assert answer.line is None
    assert "gzip" in answer.reason or "empty" in answer.reason


def raw(properties: str = '{"a":1}', object_id: str = '"1"', collection: str = '"users"') -> bytes:
    """Make a line of JSON that no library would write."""
    text = f'{{"id":{object_id},"collection":{collection},"properties":{properties}}}\n'
    return text.encode()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"\n", "empty"),
        (b" \t\n", "empty"),
        (line()[:-1], "newline"),
        (b"{\n", "not JSON"),
        (b'{"id":"1"} x\n', "not JSON"),
        (b"\xef\xbb\xbf" + line(), "not JSON"),
        (raw('{"a":"\xe9"}').decode().encode("latin-1"), "not UTF-8 at byte"),
        (raw('{"a":NaN}'), "NaN is not JSON"),
        (raw('{"a":-Infinity}'), "-Infinity is not JSON"),
        (raw('{"a":01}'), "not JSON"),
        (raw("{'a':1}"), "not JSON"),
        (raw('{"a":"\t"}'), "not JSON"),
        (raw('{"a":"\\ud83d"}'), "surrogate"),
        (raw('{"a":"\\ude00\\ud83d"}'), "surrogate"),
        (raw('{"a\\ud83d":1}'), "surrogate"),
        (raw(object_id='"\\ud83d"'), "surrogate"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"[]\n", "not a JSON object"),
        (b"null\n", "not a JSON object"),
        (b'[["id","1"],["collection","users"],["properties",[["a",1]]]]\n', "not a JSON object"),
        (b'{"id":"1","collection":"users"}\n', "properties is missing"),
        (b'{"collection":"users","properties":{"a":1}}\n', "id is missing"),
        (b'{"id":"1","properties":{"a":1}}\n', "collection is missing"),
        (raw()[:-2] + b',"extra":1}\n', '"extra" is not one of'),
        (raw()[:-2] + b',"id":"1"}\n', "a key comes twice"),
        (raw(object_id="1"), "id must be a string of 1 to 100 characters"),
        (raw(object_id="null"), "id must be"),
        (raw(object_id='""'), "id must be"),
        (raw(object_id=f'"{"é" * 101}"'), "id must be"),
        (raw(collection='""'), "collection must be"),
        (raw(collection="1"), "collection must be"),
        (raw(collection='"_users"'), "collection must be"),
        (raw(collection='"users_"'), "collection must be"),
        (raw(collection='"Users"'), "collection must be"),
        (raw(collection='"users2"'), "collection must be"),
        (raw(collection='"us-ers"'), "collection must be"),
        (raw(collection='"usérs"'), "collection must be"),
        (raw(collection='"users\\n"'), "collection must be"),
        (raw(collection=f'"{"a" * 101}"'), "collection must be"),
        (raw("{}"), "at least one property"),
        (raw("[]"), "properties must be an object"),
        (raw("null"), "properties must be an object"),
        (raw('{"secret_name":[1]}'), '"secret_name" holds a list or an object'),
        (raw('{"a":{}}'), "holds a list or an object"),
        (raw('{"a":[]}'), "holds a list or an object"),
        (raw('{"":1}'), "no ASCII letter or digit"),
        (raw('{"$_日本":1}'), "no ASCII letter or digit"),
        (raw('{"a":1,"a":1}'), '"a" comes twice'),
        (raw('{"a":1,"\\u0061":1}'), '"a" comes twice'),
        (raw('{"firstName":1,"x":1,"first_name":1}'), '"firstName" and "first_name"'),
    ],
)
def test_a_bad_line_refuses_the_file(caller: Caller, bad: bytes, reason: str) -> None:
    """A file with a bad line is 400 with its number and what is wrong with it."""
    answer = caller.upload(caller.start(), line() + line() + bad)
    assert answer.status == 400
    assert answer.line == 3
    assert reason in answer.reason


def test_a_refused_file_leaves_nothing(tmp_path: Path) -> None:
    """None of a refused file is loaded; the session goes on, and its other parts are."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        assert caller.upload(sync_id, line() + b"{}\n").status == 400
        assert caller.upload(sync_id, line(object_id="2")).status == 201
        assert caller.finish(sync_id).status == 202
        assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["2"]


@pytest.mark.parametrize(
    "value", ['"hunter2"', '["hunter2"]', '{"a":"hunter2"}', "hunter2", '"hunter2\\ud83d"']
)
def test_a_reason_holds_no_value(caller: Caller, value: str) -> None:
    """A refusal may name a property, and never what it holds."""
    answer = caller.upload(caller.start(), raw(f'{{"a":{value},"b":[]}}'))
    assert answer.status == 400
    assert "hunter2" not in json.dumps(answer.json)


@pytest.mark.parametrize(
    "properties",
    [
        {"a": None},
        {"a": True, "b": False, "c": 0, "d": -1.5e300, "e": "", "f": "\0\n😀", "2FA": 1},
        {"a": 10**5000},
    ],
)
def test_what_a_property_may_hold(caller: Caller, properties: dict[str, object]) -> None:
    """Strings, integers of any size, floats, booleans and nulls are accepted."""
    said = json.dumps({k: v for k, v in properties.items() if k != "a"})
    text = "1" + "0" * 5000 if properties.get("a") == 10**5000 else json.dumps(properties["a"])
    lines = raw(f'{{"a":{text},' + said[1:] if len(properties) > 1 else f'{{"a":{text}}}')
    assert caller.upload(caller.start(), lines).status == 201


def test_white_space_around_json_is_json(caller: Caller) -> None:
    """JSON allows white space around it, a carriage return before the newline too."""
    assert caller.upload(caller.start(), b" " + line()[:-1] + b" \r\n").status == 201


# The limits, at each and one past it


def padded(size: int) -> bytes:
    """Make a line of an exact size, without its newline."""
    return PADDED[:-1].ljust(size - 1) + b"}\n"


def test_longest_names(caller: Caller) -> None:
    """An id and a collection of 100 characters are accepted; 101 are among the bad lines."""
    longest = line(object_id="é" * limits.MAX_ID_CHARACTERS, collection="a" * 100)
    assert caller.upload(caller.start(), longest).status == 201


def test_object_size(caller: Caller) -> None:
    """An object's JSON of 400 KB is accepted; a byte more is not, whatever the byte is."""
    sync_id = caller.start()
    assert caller.upload(sync_id, padded(limits.MAX_OBJECT_BYTES)).status == 201
    for ending in (b"\n", b"", b"\n" + line()):
        past = padded(limits.MAX_OBJECT_BYTES + 1)[:-1] + ending
        answer = caller.upload(sync_id, line() + past)
        assert (answer.status, answer.line) == (400, 2)
        assert f"larger than {limits.MAX_OBJECT_BYTES} bytes" in answer.reason


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
def test_value_size(caller: Caller, fits: str, past: str) -> None:
    """A value is below 32 KB of UTF-8: the string's, or the number's text."""
    sync_id = caller.start()
    assert caller.upload(sync_id, raw(f'{{"a":{fits}}}')).status == 201
    answer = caller.upload(sync_id, raw(f'{{"b":1,"a":{past}}}'))
    assert (answer.status, answer.line) == (400, 1)
    assert 'the property "a" is not below 32768 bytes' in answer.reason


def test_file_size_is_what_was_given(tmp_path: Path) -> None:
    """The limit of a file can be made smaller; it is still the uncompressed size."""
    with Sandbox(tmp_path / "w.duckdb", file_bytes=1000) as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        assert caller.upload(sync_id, padded(499) * 2).status == 201
        answer = caller.upload(sync_id, padded(499) + padded(500))
        assert (answer.status, answer.line) == (413, None)
        assert "1000 bytes" in answer.reason


def test_file_size(caller: Caller) -> None:
    """A file of 512,000,000 bytes is accepted; one with another line is 413."""
    block = gzip.compress(padded(399_999) * 32, 1)
    fits = block * 40
    assert limits.MAX_FILE_BYTES == 400_000 * 32 * 40
    path = f"/v0/upload/{caller.start()}"
    assert caller.call(path, fits, UPLOAD_HEADERS).status == 201
    answer = caller.call(path, fits + gzip.compress(line()), UPLOAD_HEADERS)
    assert answer.status == 413
    assert "512000000 bytes" in answer.reason


# How a session ends


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"error": ""}', ""),
        (b'{"error": ""}', "text/plain"),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b'""', "application/json"),
        (b'{"error": null}', "application/json"),
        (b'{"error": 1}', "application/json"),
        (b'{"error": "", "more": 1}', "application/json"),
        (b'{"error": "\xff"}', "application/json"),
        (b'{"error": "\\ud83d"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"error": "' + b"x" * 1_000_000 + b'"}', "application/json"),
    ],
)
def test_finish_must_say_whether_it_failed(caller: Caller, body: bytes, content_type: str) -> None:
    """A Finish that is not JSON of one string is 400, and leaves the session open."""
    sync_id = caller.start()
    answer = caller.call(f"/v0/finish/{sync_id}", body, {"Content-Type": content_type})
    assert answer.status == 400
    assert answer.reason
    assert caller.finish(sync_id).status == 202


def test_finish_with_an_error_discards(tmp_path: Path) -> None:
    """A session that is finished with an error brings nothing; what it said is kept."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        assert caller.upload(sync_id, line()).status == 201
        assert caller.finish(sync_id, "the tap failed").status == 202
        assert sandbox.warehouse.collections() == []
        [session] = sandbox.warehouse.sessions()
        assert (session.outcome, session.error) == ("error", "the tap failed")
        assert (session.collections, session.objects) == (("users",), 1)
        assert "discarded" in caller.finish(sync_id).reason


@pytest.mark.parametrize("call", CALLS)
def test_a_finished_session_is_over(caller: Caller, call: str) -> None:
    """A call to a finished session is 400, and says so."""
    answer = any_call(caller, call, caller.load(line()))
    assert answer.status == 400
    assert "already finished" in answer.reason


def test_finish_waits_for_no_upload(tmp_path: Path, temporary: Path) -> None:
    """A session with an upload under way cannot be finished: its order would be anyone's guess."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        body = gzip.compress(line())
        with unended(caller, sync_id, body) as upload:
            until(lambda: any(temporary.glob("*/*")))
            answer = caller.finish(sync_id)
            assert answer.status == 400
            assert "upload of the session is under way" in answer.reason
            upload.send(body[-1:])
            assert read(upload).status == 201
        assert caller.finish(sync_id).status == 202
        assert sandbox.warehouse.count("users") == 1


def test_an_upload_that_breaks_off_is_none(tmp_path: Path, temporary: Path) -> None:
    """A client that hangs up leaves no part, no file, and a session that goes on."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        with unended(caller, sync_id, gzip.compress(line())):
            until(lambda: any(temporary.glob("*/*")))
        until(lambda: not list(temporary.glob("*/*")))
        assert caller.finish(sync_id).status == 202
        assert sandbox.warehouse.collections() == []


def test_a_failed_finish_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A Finish that fails inside is 500 as JSON, and logged; nothing of it landed."""
    path = tmp_path / "w.duckdb"
    losing = line({"a": 1}) + line({"a": "lost"}, object_id="2")
    with Sandbox(path) as sandbox, duckdb.connect(str(path)) as other:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        assert caller.upload(sync_id, losing).status == 201
        other.execute("ALTER TABLE sandbox_books.losses RENAME TO hidden")
        answer = caller.finish(sync_id)
        assert answer.status == 500
        assert "see its log" in answer.reason
        until(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
        assert sandbox.warehouse.collections() == []
        assert sandbox.warehouse.sessions() == []
        other.execute("ALTER TABLE sandbox_books.hidden RENAME TO losses")
        assert caller.finish(sync_id).status == 202
        assert sandbox.warehouse.count("users") == 2
        assert sandbox.warehouse.losses()[0].count == 1


def test_an_open_session_is_noted_at_the_end(tmp_path: Path) -> None:
    """A session that no one finished is in the books once the sandbox is closed."""
    sandbox = Sandbox(tmp_path / "w.duckdb")
    with sandbox:
        caller = Caller(sandbox.url)
        assert caller.upload(caller.start(), line()).status == 201
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        found = connection.execute("SELECT outcome, objects FROM sandbox_books.sessions").fetchall()
    assert found == [("open", 1)]
    with pytest.raises(RuntimeError):
        sandbox.warehouse.collections()


# Expiry


@pytest.mark.parametrize("call", CALLS)
def test_a_silent_session_is_gone(tmp_path: Path, temporary: Path, call: str) -> None:
    """Just before ten minutes of silence a session is there, then it is not, nor its files."""
    clock = Clock()
    with Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        clock.now += 599.9
        assert caller.upload(sync_id, line()).status == 201
        assert len(list(temporary.glob("*/*"))) == 1
        clock.now += 599.9
        assert caller.keep_alive(sync_id).status == 200
        clock.now += 600
        answer = any_call(caller, call, sync_id)
        assert answer.status == 400
        assert "expired" in answer.reason
        assert list(temporary.glob("*/*")) == []
        [session] = sandbox.warehouse.sessions()
        assert (session.sync_id, session.outcome, session.objects) == (sync_id, "expired", 1)
    assert list(temporary.iterdir()) == []


def test_a_silent_session_goes_without_another_call(tmp_path: Path) -> None:
    """No call is needed for a silent session to be dropped."""
    with Sandbox(tmp_path / "w.duckdb", session_seconds=0.05) as sandbox:
        Caller(sandbox.url).start()
        until(sandbox.warehouse.sessions)
        assert [session.outcome for session in sandbox.warehouse.sessions()] == ["expired"]


def test_a_call_under_way_is_no_silence(tmp_path: Path, temporary: Path) -> None:
    """A session lives while an upload takes long, and its silence begins with the answer."""
    clock = Clock()
    with Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox:
        caller = Caller(sandbox.url)
        sync_id = caller.start()
        body = gzip.compress(line())
        with unended(caller, sync_id, body) as upload:
            until(lambda: any(temporary.glob("*/*")))
            clock.now += 10_000
            caller.start()
            upload.send(body[-1:])
            assert read(upload).status == 201
        clock.now += 599
        assert caller.keep_alive(sync_id).status == 200


# Twenty at once


class Held:
    """Holds every answer back until it is let go."""

    def __init__(self) -> None:
        """Begin to hold."""
        self.go = threading.Event()
        self.waiting = 0

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Put this around an application."""

        async def held(scope: Scope, receive: Receive, send: Send) -> None:
            async def late(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] < 400:
                    self.waiting += 1
                    while not self.go.is_set():  # noqa: ASYNC110 - another thread sets it
                        await asyncio.sleep(0.01)
                await send(message)

            await app(scope, receive, late)

        return held


@pytest.mark.parametrize("limited", ["write key", "address"])
def test_twenty_requests_at_once(tmp_path: Path, limited: str) -> None:
    """Twenty at once are answered; the next is 429 and says when to try again."""
    held = Held()
    keys = ["key"] * 20 if limited == "write key" else [f"key {number % 2}" for number in range(20)]
    with Sandbox(tmp_path / "w.duckdb", wrap=held.wrap) as sandbox, ThreadPoolExecutor(20) as pool:
        try:
            answers = [pool.submit(Caller(sandbox.url, key).call, "/v0/start") for key in keys]
            until(lambda: held.waiting == 20)
            one_more = Caller(sandbox.url, keys[0]).call("/v0/start")
        finally:
            held.go.set()
        assert [answer.result().status for answer in answers] == [201] * 20
        assert one_more.status == 429
        assert one_more.headers["Retry-After"] == "1"
        assert f"more than 20 requests at once for one {limited}" in one_more.reason
        assert sandbox.most_at_once == (21 if limited == "write key" else 11)
        assert Caller(sandbox.url, keys[0]).call("/v0/start").status == 201


# The server


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104 - refused
def test_only_this_machine(tmp_path: Path, host: str) -> None:
    """A sandbox does not listen where others could reach it."""
    with pytest.raises(ValueError, match="this machine alone"):
        Sandbox(tmp_path / "w.duckdb", host=host)


def test_localhost_by_name(tmp_path: Path) -> None:
    """The name of this machine's own address can be used, and is in the URL."""
    with Sandbox(tmp_path / "w.duckdb", host="localhost") as sandbox:
        assert sandbox.url.startswith("http://localhost:")
        assert Caller(sandbox.url).call("/v0/start").status == 201


def test_a_taken_port(tmp_path: Path, shared: Sandbox) -> None:
    """A port that is taken is an OSError, and nothing stays open."""
    port = int(shared.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), Sandbox(tmp_path / "w.duckdb", port=port):
        pass
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        assert sandbox.warehouse.collections() == []


def test_nothing_is_left_behind(tmp_path: Path, temporary: Path) -> None:
    """After a sandbox there is its warehouse's file, and no thread and no other file."""
    before = threading.active_count()
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        caller = Caller(sandbox.url)
        caller.load(line())
        assert caller.upload(caller.start(), line()).status == 201
    until(lambda: threading.active_count() == before)
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["temporary", "w.duckdb"]


def test_sessions_side_by_side(tmp_path: Path) -> None:
    """Sessions that are finished at the same time all land."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox, ThreadPoolExecutor(8) as pool:
        caller = Caller(sandbox.url)
        files = [
            b"".join(
                line({"n": n}, object_id=f"{n}-{i}", collection="x" * (n % 3 + 1))
                for i in range(50)
            )
            for n in range(16)
        ]
        assert len(set(pool.map(caller.load, files))) == 16
        assert sum(map(sandbox.warehouse.count, sandbox.warehouse.collections())) == 800


def test_finish_headers_may_say_utf8(caller: Caller) -> None:
    """A content type with its parameter is the same content type."""
    body, path = b'{"error": ""}', f"/v0/finish/{caller.start()}"
    headers = {"Content-Type": FINISH_HEADERS["Content-Type"] + "; charset=utf-8"}
    assert caller.call(path, body, headers).status == 202
