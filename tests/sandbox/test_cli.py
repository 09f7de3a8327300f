"""The commands `segment-objects-sandbox serve` and `show`, run as a user runs them."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
import pytest
from rich.console import Console

from target_segment_objects.sandbox import SandboxNotInstalledError, load
from target_segment_objects.sandbox.report import print_report
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse import Warehouse
from tests.support.bare_http import Caller, line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "target_segment_objects.sandbox.cli"]
KEY_VARIABLE = "SEGMENT_OBJECTS_SANDBOX_WRITE_KEY"
UNHEALTHY = ("error", "exception", "traceback")


def run(*arguments: str | Path, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=environment(COLUMNS=str(columns)),
        timeout=60,
    )


def environment(**variables: str) -> dict[str, str]:
    """Make the environment of a command."""
    return {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}


@contextmanager
def serving(
    *arguments: str | Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `serve` until it says where; end it in any case."""
    with subprocess.Popen(
        [*COMMAND, "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(**variables),
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("api_url: http://127.0.0.1:"), process.communicate(timeout=5)
            yield process, said.removeprefix("api_url: ").strip()
        finally:
            process.kill()


# serve


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """It says where it is, works, ends with 0 on a signal, and leaves the warehouse alone."""
    (folder := tmp_path / "temporary").mkdir()
    path = tmp_path / "w.duckdb"
    with serving("--warehouse", path, "--port", "0", TMPDIR=str(folder)) as (process, url):
        caller = Caller(url)
        caller.load(line({"a": 1}))
        assert caller.upload(caller.start(), line()).status == 201
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == ""
    assert not any(word in out.lower() for word in UNHEALTHY)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["temporary", "w.duckdb"]
    assert list(folder.iterdir()) == []
    with Warehouse.open(path, read_only=True) as warehouse:
        assert warehouse.rows("users") == [{"id": "1", "a": 1}]
        assert [session.outcome for session in warehouse.sessions()] == ["loaded", "open"]


@pytest.mark.parametrize("by", ["option", "environment"])
def test_serve_with_a_write_key(tmp_path: Path, by: str) -> None:
    """The write key can be given as an option or in the environment; it is not printed."""
    given = ["--write-key", "s3cret"] if by == "option" else []
    variables = {} if by == "option" else {KEY_VARIABLE: "s3cret"}
    arguments = ["--warehouse", str(tmp_path / "w.duckdb"), "--port", "0", *given]
    with serving(*arguments, **variables) as (process, url):
        assert Caller(url, "other").call("/v0/start").status == 401
        assert Caller(url, "s3cret").call("/v0/start").status == 201
        process.terminate()
        assert "s3cret" not in "".join(process.communicate(timeout=30))


def test_serve_what_cannot_be(tmp_path: Path) -> None:
    """A bad address, a taken port and a bad file are each one line and exit code 1."""
    (text := tmp_path / "text").write_text("hello" * 1000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for warehouse, options, why in (
            (tmp_path / "w.duckdb", ["--host", "0.0.0.0"], "this machine alone"),  # noqa: S104 - refused
            (tmp_path / "w.duckdb", ["--port", port], f"Cannot listen on 127.0.0.1:{port}"),
            (text, ["--port", "0"], "not a DuckDB file"),
        ):
            done = run("serve", "--warehouse", warehouse, *options)
            assert (done.returncode, done.stdout) == (1, "")
            assert why in done.stderr
            assert done.stderr.count("\n") == 1


def test_a_warehouse_in_use(tmp_path: Path) -> None:
    """A warehouse that another process has open is one line that says so."""
    with Sandbox(tmp_path / "w.duckdb"):
        for command in (["show"], ["serve", "--port", "0", "--warehouse"]):
            done = run(*command, tmp_path / "w.duckdb")
            assert (done.returncode, done.stdout) == (1, "")
            assert "in use by another process" in done.stderr
            assert done.stderr.count("\n") == 1


# show


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    """Make a warehouse with something to show."""
    wide = {f"column{number}": f"value {number}" for number in range(30)}
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        Caller(sandbox.url).load(
            line({"firstName": "Ada", "note": "[bold]\x1b[31mred\x1b[0m\n" + "x" * 600, "n": 1})
            + line({"firstName": "Zoë", "n": 1.5}, object_id="2")
            + line(wide, collection="wide_things")
        )
        Caller(sandbox.url).finish(Caller(sandbox.url).start(), "it failed")
    return tmp_path / "w.duckdb"


@pytest.mark.parametrize("columns", [80, 120])
def test_show(loaded: Path, columns: int) -> None:
    """Collections, columns, rows and losses are shown, within the width and without colours."""
    done = run("show", loaded, columns=columns)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in (
        "users: 2 objects, 4 columns",
        "first_name varchar",
        "n bigint",
        "wide_things: 1 object, 31 columns",
        "column29 varchar",
        "more columns",
        "users.n",
        "without the fraction",
        "users.note",
        "cut after 512 characters",
        "Sessions: 1 loaded, 1 discarded by their sender.",
        "Zoë",
        "[bold]\\x1b[31mred",
    ):
        assert expected in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert not any(word in done.stdout.lower() for word in UNHEALTHY)


def test_show_rows(loaded: Path) -> None:
    """The number of rows can be chosen, none too."""
    assert "Zoë" not in run("show", loaded, "--rows", "1").stdout
    assert "Ada" not in run("show", loaded, "--rows", "0").stdout


def test_show_what_is_healthy(tmp_path: Path) -> None:
    """Where nothing was lost, or nothing landed, it says so."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path):
        pass
    assert "The warehouse is empty." in run("show", path).stdout
    with Sandbox(path) as sandbox:
        Caller(sandbox.url).load(line())
    assert "Nothing was lost." in run("show", path).stdout


def test_show_what_is_not_there(tmp_path: Path) -> None:
    """A file that is missing, or is something else, is one line and exit code 1."""
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    for name, why in (("missing", "There is no warehouse"), ("other.duckdb", "not a sandbox's")):
        done = run("show", tmp_path / name)
        assert (done.returncode, done.stdout) == (1, "")
        assert why in done.stderr
        assert done.stderr.count("\n") == 1


def test_report_on_a_terminal(loaded: Path) -> None:
    """On a terminal the report has colours, and nothing in a value is taken for markup."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard")
    with Warehouse.open(loaded, read_only=True) as warehouse:
        print_report(warehouse, console)
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[" in console.file.getvalue()
    assert "\\x1b[31mred" in console.file.getvalue()


# The extra


@pytest.mark.parametrize("missing", ["duckdb", "starlette", "uvicorn", "rich"])
def test_without_the_extra(tmp_path: Path, missing: str) -> None:
    """Without a package of the extra the command and `load` say what to install."""
    blocked = f"import sys; sys.modules[{missing!r}] = None\n"
    by_command = blocked + "from target_segment_objects.sandbox.cli import main; main()"
    by_import = blocked + "from target_segment_objects.sandbox import load; load()"
    for arguments in (["show", "x"], ["serve", "--warehouse", str(tmp_path / "x")]):
        done = python(by_command, *arguments)
        assert done.returncode == 1
        assert done.stderr == (
            "Error: The sandbox needs more packages: "
            "pip install 'target-segment-objects[sandbox]'\n"
        )
    assert SandboxNotInstalledError.__name__ in python(by_import).stderr


def test_cheap_import() -> None:
    """Importing the package imports nothing of the extra."""
    code = "import sys, target_segment_objects.sandbox.cli; print(*sys.modules)"
    assert not {"duckdb", "starlette", "uvicorn", "rich"} & set(python(code).stdout.split())
    assert load() is Sandbox


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run some Python of the test's."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=60,
    )
