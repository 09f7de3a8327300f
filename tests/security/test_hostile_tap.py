"""What a hostile tap can do and what it cannot: the real command reads what the tap wrote.

The parts have tests of their own beside the code, for example `tests/mapping/test_validation.py`
for patterns and references. Here the whole command is attacked.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

KEY = "write-key-to-be-kept-secret"
SECONDS = 120
"""Far more than any of the runs takes, and far less than what an attack would make of it."""

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\b"
UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Segment, as far as a load needs it."""
    with ScriptedServer() as running:
        yield running


def schema(stream: str, properties: dict[str, Any], **more: object) -> dict[str, Any]:
    """Return a SCHEMA message whose key is `id`."""
    declared = {"id": {"type": "integer"}, **properties}
    message = {"type": "SCHEMA", "stream": stream, "schema": {"properties": declared}}
    return {**message, "key_properties": ["id"], **more}


def record(stream: str, **properties: object) -> dict[str, Any]:
    """Return a RECORD message."""
    return {"type": "RECORD", "stream": stream, "record": {"id": 1, **properties}}


def load(
    server: ScriptedServer, folder: Path, *messages: dict[str, Any] | str, **config: object
) -> subprocess.CompletedProcess[str]:
    """Load what a tap wrote, in a folder of its own, and return how it ended."""
    (work := folder / "work").mkdir()
    settings = {"write_key": KEY, "api_url": server.url, "spool_dir": str(work), **config}
    (work / "config.json").write_text(json.dumps(settings))
    lines = (text if isinstance(text, str) else json.dumps(text) for text in messages)
    done = subprocess.run(
        [sys.executable, "-m", "target_segment_objects", "--config", "config.json"],
        input="\n".join(lines),
        cwd=work,
        env=os.environ | {"PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


def list_objects(server: ScriptedServer) -> list[dict[str, Any]]:
    """Return the objects that were uploaded."""
    bodies = [gzip.decompress(request.body) for request in server.requests_to("upload")]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


# What it cannot do


def test_it_cannot_write_to_the_terminal(server: ScriptedServer, tmp_path: Path) -> None:
    """Names, ids and reasons with control characters are escaped in every line of the log."""
    done = load(
        server,
        tmp_path,
        schema(f"users{ESCAPES}", {f"a{ESCAPES}": {"type": "integer"}}),
        record(f"users{ESCAPES}", **{f"a{ESCAPES}": f"b{ESCAPES}"}),
        {"type": f"X{ESCAPES}", "stream": ESCAPES},
        invalid_records="dead_letter",
        dead_letter_path="rejects",
    )
    assert done.stderr
    assert UNPRINTABLE.findall(done.stderr) == []


@pytest.mark.parametrize(
    "name", ["../../planted", "/planted", "a/../../planted", "..", "C:\\planted"]
)
def test_it_cannot_choose_a_path(server: ScriptedServer, tmp_path: Path, name: str) -> None:
    """A name never becomes part of a path: nothing is created but what the settings name."""
    load(
        server,
        tmp_path,
        schema(name, {name: {"type": "integer"}}),
        record(name, **{name: 1}),
        record(name, **{name: "not a number"}),
        invalid_records="dead_letter",
        dead_letter_path="rejects",
    )
    found = {path.name for path in tmp_path.rglob("*")}
    assert found <= {"work", "config.json", "rejects"}


def test_it_cannot_make_the_run_fetch_a_reference(server: ScriptedServer, tmp_path: Path) -> None:
    """A `$ref` to an address or a file is not followed, whichever keyword has it."""
    secret = tmp_path / "secret.json"
    secret.write_text('{"type": "object", "properties": {"stolen": {"type": "integer"}}}')
    with ScriptedServer() as other:
        for number, address in enumerate((f"{other.url}/v0/start", secret.as_uri())):
            (folder := tmp_path / str(number)).mkdir()
            properties = {"a": {"$ref": address}, "b": {"anyOf": [{"$ref": address}]}}
            done = load(
                server, folder, schema("users", properties, **{"$schema": address}), record("users")
            )
            assert "stolen" not in done.stderr
        assert other.requests == []


def test_it_cannot_change_where_the_key_goes(server: ScriptedServer, tmp_path: Path) -> None:
    """Settings in messages are ignored, and what looks like a variable is not replaced."""
    with ScriptedServer() as other:
        text = (
            "$TARGET_SEGMENT_OBJECTS_WRITE_KEY ${HOME} {write_key} {0.__class__} %(write_key)s %s"
        )
        load(
            server,
            tmp_path,
            schema("users", {"a": {"type": "string"}}, config={"api_url": other.url}),
            record("users", a=text, api_url=other.url),
            {"type": "CONFIG", "config": {"api_url": other.url}},
        )
        assert other.requests == []
    assert [found["properties"]["a"] for found in list_objects(server)] == [text]
    for request in server.requests:
        assert KEY.encode() not in request.body
        assert KEY not in request.path


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "(.*a){25}$"])
def test_it_cannot_stall_the_run_with_a_pattern(
    server: ScriptedServer, tmp_path: Path, pattern: str
) -> None:
    """A pattern that would backtrack for ever takes bounded time."""
    properties = {
        "a": {"type": "string", "pattern": pattern},
        "o": {"type": "object", "patternProperties": {pattern: {"type": "integer"}}},
    }
    text = "a" * 40 + "!"
    load(server, tmp_path, schema("users", properties), record("users", a=text, o={text: 1}))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("[" * 200_000, id="brackets"),
        pytest.param('{"type":' * 100_000, id="objects"),
        pytest.param(
            '{"type":"RECORD","stream":"users","record":{"id":1,"a":%s}}'
            % ("[" * 100_000 + "]" * 100_000),
            id="record",
        ),
    ],
)
def test_it_cannot_overflow_the_stack(server: ScriptedServer, tmp_path: Path, line: str) -> None:
    """What is nested too deeply ends the run with a message."""
    done = load(server, tmp_path, schema("users", {"a": {}}), line)
    assert done.returncode == 1
    assert "Line 2" in done.stderr or "users" in done.stderr


def test_it_cannot_end_the_run_as_a_success(server: ScriptedServer, tmp_path: Path) -> None:
    """What is no message is an error; the STATE before it is the last one."""
    done = load(server, tmp_path, schema("users", {}), record("users"), "]]")
    assert done.returncode == 1


# What it can do, so that the tap must be one that you trust with the data of the source


def test_it_can_write_any_object_of_the_source(server: ScriptedServer, tmp_path: Path) -> None:
    """A stream may have any name, and so replace the objects of any collection."""
    done = load(server, tmp_path, schema("invoices", {}), record("invoices"))
    assert done.returncode == 0
    assert [(found["collection"], found["id"]) for found in list_objects(server)] == [
        ("invoices", "1")
    ]


def test_it_can_have_json_lines_of_the_user_sent(server: ScriptedServer, tmp_path: Path) -> None:
    """A BATCH message names a file; what the user may read and is JSON lines is sent."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 7}\n')
    done = load(server, tmp_path, schema("users", {}), batch(rows))
    assert done.returncode == 0
    assert [found["id"] for found in list_objects(server)] == ["7"]


def test_it_cannot_have_other_files_sent_or_logged(server: ScriptedServer, tmp_path: Path) -> None:
    """A file of another form is an error without its content."""
    secret = tmp_path / "secret.ini"
    secret.write_text("password = hunter2\n")
    done = load(server, tmp_path, schema("users", {}), batch(secret))
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
    assert list_objects(server) == []


def batch(file: Path) -> dict[str, Any]:
    """Return a BATCH message of a file of JSON lines."""
    encoding = {"format": "jsonl", "compression": "none"}
    return {"type": "BATCH", "stream": "users", "encoding": encoding, "manifest": [file.as_uri()]}
