"""Uploaded files: which are accepted, and the limits of their objects."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

import pytest

from target_segment_objects import limits
from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.uploads import check_file
from tests.support.bare_http import (
    FINISH_HEADERS,
    UPLOAD_HEADERS,
    BareClient,
    object_line,
)

if TYPE_CHECKING:
    from pathlib import Path


SHORT_OBJECT = b'{"id":"1","collection":"users","properties":{"a":1}}'


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


def test_content_type_may_have_a_parameter(client: BareClient) -> None:
    """A parameter such as charset does not change the content type."""
    body, path = b'{"error": ""}', f"/v0/finish/{client.start_session()}"
    headers = {"Content-Type": FINISH_HEADERS["Content-Type"] + "; charset=utf-8"}
    assert client.send_request(path, body, headers).status == 202


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"{}"], [(1, "{}")]),
        ([object_line().strip(), b"\xff"], [(2, "\\xff")]),
        ([b'{"' + b"x" * 3_000, b""], [(1, '{"' + "x" * 1_998)]),
        ([b"x" * (limits.MAX_OBJECT_BYTES + 1)], [(1, "x" * 2_000)]),
    ],
    ids=["only line", "not UTF-8", "long", "too large"],
)
def test_rejection_has_its_lines(
    tmp_path: Path, lines: list[bytes], expected: list[tuple[int, str]]
) -> None:
    """A rejection has the beginning of its line and of those beside it; its response does not."""
    path = tmp_path / "part"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    with pytest.raises(RejectedRequestError) as rejected:
        check_file(path, max_file_bytes=limits.MAX_FILE_BYTES)
    assert list(rejected.value.lines) == expected
    assert "lines" not in rejected.value.to_json()["error"]
