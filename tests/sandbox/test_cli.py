"""The commands `segment-objects-sandbox serve` and `show`, run as a user runs them."""

from __future__ import annotations

import errno
import importlib.metadata
import io
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import duckdb
import pytest
from rich.console import Console

from target_segment_objects.sandbox import SandboxNotInstalledError, load_sandbox
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.terminal_report import print_report
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support import wait_for
from tests.support.bare_http import BareClient, begin_upload, object_line
from tests.support.frozen_clock import FrozenClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow  # most of them start a process or wait

COMMAND = [sys.executable, "-m", "target_segment_objects.sandbox.cli"]
KEY = secrets.token_hex(16)
KEY_VARIABLE = "SEGMENT_OBJECTS_SANDBOX_WRITE_KEY"
ERROR_WORDS = ("error", "exception", "traceback")


def run_command(*arguments: str | Path, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=build_environment(COLUMNS=str(columns)),
        timeout=60,
    )


def build_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a command."""
    return {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}


@contextmanager
def running_server(
    *arguments: str | Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `serve` until it prints its address; kill it at the end."""
    command = [*COMMAND, "serve", *map(str, arguments)]
    with running_command(command, **variables) as running:
        yield running


@contextmanager
def running_command(
    command: Sequence[str], **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command that serves until it prints its address; kill it at the end."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=build_environment(**variables),
    ) as process:
        try:
            assert process.stdout is not None
            first_line = process.stdout.readline()
            assert first_line.startswith("api_url: http://127.0.0.1:"), process.communicate(
                timeout=5
            )
            yield process, first_line.removeprefix("api_url: ").strip()
        finally:
            process.kill()


# serve


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_signal(tmp_path: Path, number: signal.Signals) -> None:
    """`serve` prints its address, works, exits with 0 on a signal, leaves only the warehouse."""
    (folder := tmp_path / "temp").mkdir()
    path = tmp_path / "w.duckdb"
    with running_server("--warehouse", path, "--port", "0", TMPDIR=str(folder)) as (process, url):
        client = BareClient(url)
        client.load_files(object_line({"a": 1}))
        assert client.upload_lines(client.start_session(), object_line()).status == 201
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(err.splitlines()) == 5  # a line for each request
    assert not any(word in (out + err).lower() for word in ERROR_WORDS)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["temp", "w.duckdb"]
    assert list(folder.iterdir()) == []
    with Warehouse.open(path, read_only=True) as warehouse:
        assert warehouse.rows("users") == [{"id": "1", "a": 1}]
        assert [session.outcome for session in warehouse.sessions()] == ["loaded", "open"]


SERVE_WITHOUT_LOADING = """
import sys, threading
from target_segment_objects.sandbox.cli import main
from target_segment_objects.sandbox.warehouse.database import Warehouse

Warehouse.load_session = lambda *_: threading.Event().wait()
main(["serve", "--port", "0", "--warehouse", sys.argv[1]])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_does_not_wait_for_the_load(tmp_path: Path, number: signal.Signals) -> None:
    """The first one says what `serve` waits for. The next start loads what was accepted."""
    path = tmp_path / "w.duckdb"
    command = [sys.executable, "-c", SERVE_WITHOUT_LOADING, str(path)]
    with running_command(command) as (process, url):
        client = BareClient(url)
        client.load_files(object_line({"a": 1}) + object_line({"a": 1}, object_id="2"))
        client.load_files(object_line({"a": 3}))
        assert process.stdout is not None
        assert "Press Ctrl-C to stop." in process.stdout.readline()
        process.send_signal(number)
        assert process.stdout.readline().startswith(
            "Loading 2 accepted sessions with 3 objects before the end. Press Ctrl-C again "
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.1)  # a second signal at once is that of a group of processes
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert not any(word in (out + err).lower() for word in ERROR_WORDS)
    with Sandbox(path) as sandbox:
        assert sandbox.warehouse.rows("users") == [{"id": "1", "a": 3}, {"id": "2", "a": 1}]


@pytest.mark.parametrize("quiet", [False, True], ids=["log", "quiet"])
def test_serve_logs_the_requests(tmp_path: Path, *, quiet: bool) -> None:
    """Each request is a line with the reason of its rejection; `--quiet` turns that off."""
    options = ["--warehouse", str(tmp_path / "w.duckdb"), "--port", "0"]
    options += ["--quiet"] if quiet else []
    with running_server(*options) as (process, url):
        client = BareClient(url)
        client.upload_lines(sync_id := client.start_session(), b"{}\n")
        process.terminate()
        _, err = process.communicate(timeout=30)
    lines = [line.split(" ", 1)[1] for line in err.splitlines()]
    if quiet:
        assert lines == []
    else:
        assert lines[0].startswith("POST /v0/start 201 ")
        assert lines[1].startswith(f"POST /v0/upload/{sync_id} 400 ")
        assert " ms: line 1: " in lines[1]


def test_version() -> None:
    """`--version` prints the version of the package."""
    expected = f"{importlib.metadata.version('target-segment-objects')}\n"
    assert run_command("--version").stdout.endswith(f" {expected}")


@pytest.mark.parametrize("source", ["option", "environment"])
def test_serve_with_a_write_key(tmp_path: Path, source: str) -> None:
    """The write key can be an option or an environment variable; it is not printed."""
    given = ["--write-key", "s3cret"] if source == "option" else []
    variables = {} if source == "option" else {KEY_VARIABLE: "s3cret"}
    arguments = ["--warehouse", str(tmp_path / "w.duckdb"), "--port", "0", *given]
    with running_server(*arguments, **variables) as (process, url):
        assert BareClient(url, "other").send_request("/v0/start").status == 401
        assert BareClient(url, "s3cret").send_request("/v0/start").status == 201
        process.terminate()
        assert "s3cret" not in "".join(process.communicate(timeout=30))


@pytest.mark.parametrize(
    ("form", "status"),
    [("any", 201), ("user-name", 201), ("bare-key", 401), ("key-and-newline", 401)],
)
def test_serve_with_an_auth_form(tmp_path: Path, form: str, status: int) -> None:
    """`--auth-form` selects the accepted form of the credentials."""
    options = ["--warehouse", str(tmp_path / "w.duckdb"), "--port", "0", "--auth-form", form]
    with running_server(*options) as (_, url):
        assert BareClient(url).send_request("/v0/start").status == status


def test_serve_reports_errors_in_one_line(tmp_path: Path) -> None:
    """A wrong address, a port in use and a wrong file each print one line; exit code 1."""
    (text := tmp_path / "text").write_text("hello" * 1000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for warehouse, options, reason in (
            (tmp_path / "w.duckdb", ["--host", "0.0.0.0"], "loopback addresses only"),  # noqa: S104 - refused
            (
                tmp_path / "w.duckdb",
                ["--port", port],
                f"Cannot listen on 127.0.0.1:{port}: {os.strerror(errno.EADDRINUSE)}. Choose",
            ),
            (
                tmp_path / "w.duckdb",
                ["--host", "no..host", "--allow-remote"],
                "Unknown host",
            ),
            (text, ["--port", "0"], "not a DuckDB file"),
        ):
            done = run_command("serve", "--warehouse", warehouse, *options)
            assert (done.returncode, done.stdout) == (1, "")
            assert reason in done.stderr
            assert done.stderr.count("\n") == 1


def test_serve_to_other_machines(tmp_path: Path) -> None:
    """With `--allow-remote` it listens on all addresses, warns of that, and works as before."""
    path = tmp_path / "w.duckdb"
    options = ["--host", "0.0.0.0", "--allow-remote", "--write-key", KEY, "--quiet"]  # noqa: S104 - on purpose
    with running_server("--warehouse", path, "--port", "0", *options) as (process, url):
        BareClient(url, KEY).load_files(object_line({"name": "Ada"}))
        assert "Ada" in run_command("show", path).stdout
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert err.startswith("Warning: other machines can reach this sandbox, without TLS.")
    assert err.count("\n") == 1


def test_help_says_what_remote_access_means() -> None:
    """The help of `--allow-remote` says that there is no TLS, and what others can do."""
    text = " ".join(run_command("serve", "--help").stdout.split())
    assert "There is no TLS: anyone on the network can send objects, and who can read the" in text


def test_warehouse_in_use(tmp_path: Path) -> None:
    """A warehouse that is in use by another process prints one line; exit code 1."""
    with Sandbox(tmp_path / "w.duckdb"):
        for command in (["show"], ["serve", "--port", "0", "--warehouse"]):
            done = run_command(*command, tmp_path / "w.duckdb")
            assert (done.returncode, done.stdout) == (1, "")
            assert "in use by another process. Stop that one, or choose" in done.stderr
            assert done.stderr.count("\n") == 1


def test_served_warehouse_is_named_with_its_address(tmp_path: Path) -> None:
    """A load into a file that `serve` has open says where to load instead."""
    path = tmp_path / "w.duckdb"
    with running_server("--port", "0", "--warehouse", path) as (_, url):
        done = run_command("serve", "--port", "0", "--warehouse", path)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"in use by a sandbox at {url}. To load into it, set api_url" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_signal_during_uploads_prints_no_traceback(tmp_path: Path) -> None:
    """Requests that are cut off by the end are answered 503, each without a line of Python."""
    path = tmp_path / "w.duckdb"
    with (
        running_server("--port", "0", "--quiet", "--warehouse", path) as (process, url),
        ExitStack() as stack,
    ):
        client = BareClient(url)
        sync_id = client.start_session()
        for _ in range(20):
            upload = stack.enter_context(closing(begin_upload(client, sync_id, 1000)))
            upload.send(b"x")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in out + err
    assert len(err.splitlines()) < 5


# show


def test_show_while_serving(tmp_path: Path) -> None:
    """While `serve` runs, `show` prints the same report, which the running server renders."""
    path = tmp_path / "w.duckdb"
    with running_server("--warehouse", path, "--port", "0") as (process, url):
        BareClient(url).load_files(object_line({"name": "Ada"}))
        served = run_command("show", path, "--rows", "1", columns=90)
        process.terminate()
        process.communicate(timeout=30)
    assert (served.returncode, served.stderr) == (0, "")
    assert served.stdout == run_command("show", path, "--rows", "1", columns=90).stdout
    assert "Ada" in served.stdout


def test_show_asks_no_other_server(tmp_path: Path) -> None:
    """The address that a killed server left is not used: another may listen there now."""
    path, other = tmp_path / "w.duckdb", tmp_path / "other.duckdb"
    with running_server("--warehouse", path, "--port", "0") as (process, url):
        process.kill()
        process.communicate(timeout=30)
    port = url.rpartition(":")[2]
    with Sandbox(path), Sandbox(other, port=int(port), serve_page=True):
        done = run_command("show", path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "in use by another process" in done.stderr
    with Sandbox(path):  # nobody listens
        assert "in use by another process" in run_command("show", path).stderr
    assert run_command("show", path).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="the browser is a shell script")
def test_serve_opens_the_page(tmp_path: Path) -> None:
    """`--open` opens the page in the browser, whose output is not that of the command."""
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho noise\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    options = ["--warehouse", str(tmp_path / "w.duckdb"), "--port", "0", "--open"]
    with running_server(*options, BROWSER=str(browser)) as (process, url):
        wait_for(lambda: opened.exists() and opened.read_text())
        with urllib.request.urlopen(opened.read_text().strip(), timeout=30) as page:  # noqa: S310 - as above
            assert "Nothing was sent yet." in page.read().decode()
        process.terminate()
        assert "noise" not in "".join(process.communicate(timeout=30))
    assert opened.read_text().startswith(f"{url}/?token=")


@pytest.fixture
def warehouse_file(tmp_path: Path) -> Path:
    """A warehouse with rows, losses and sessions."""
    wide = {f"column{number}": f"value {number}" for number in range(30)}
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        BareClient(sandbox.url).load_files(
            object_line(
                {"firstName": "Ada", "note": "[bold]\x1b[31mred\x1b[0m\n" + "x" * 600, "n": 1}
            )
            + object_line({"firstName": "Zoë", "n": 1.5}, object_id="2")
            + object_line(wide, collection="wide_things")
        )
        BareClient(sandbox.url).finish_session(BareClient(sandbox.url).start_session(), "it failed")
    return tmp_path / "w.duckdb"


@pytest.mark.parametrize("columns", [80, 120])
def test_show_prints_collections_and_losses(warehouse_file: Path, columns: int) -> None:
    """Collections, columns, rows and losses are shown within the width and without colours."""
    done = run_command("show", warehouse_file, columns=columns)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in (
        "users: 2 objects, 4 columns",
        "first_name varchar",
        "n bigint",
        "wide_things: 1 object, 31 columns",
        "column29 varchar",
        "more columns",
        "users.n",
        "stored without the fraction",
        "users.note",
        "cut off after 512 characters",
        "Sessions: 1 loaded, 1 discarded by the sender.",
        "Zoë",
        "[bold]\\x1b[31mred",
    ):
        assert expected in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert not any(word in done.stdout.lower() for word in ERROR_WORDS)


def test_show_rows(warehouse_file: Path) -> None:
    """The number of rows can be chosen, including 0."""
    assert "Zoë" not in run_command("show", warehouse_file, "--rows", "1").stdout
    assert "Ada" not in run_command("show", warehouse_file, "--rows", "0").stdout


def test_show_without_rows_or_losses(tmp_path: Path) -> None:
    """A warehouse without rows, or without losses, says so."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path):
        pass
    assert "The warehouse is empty" in run_command("show", path).stdout
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(object_line())
    first_line, *_ = run_command("show", path).stdout.splitlines()
    assert first_line == "All accepted objects were loaded (1), and no value was lost."
    assert "Names that a warehouse" not in run_command("show", path).stdout


def test_show_counts_the_losses_first(warehouse_file: Path) -> None:
    """The first line says that all objects were loaded, and how many values were changed."""
    first_line, *_ = run_command("show", warehouse_file).stdout.splitlines()
    assert first_line == ("All accepted objects were loaded (3); 2 values changed, see below.")


def test_show_counts_what_redshift_cuts_off_apart(tmp_path: Path) -> None:
    """A string that only Redshift cuts off is not lost here, so the first line says both."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(object_line({"s": "é" * 257, "n": 1}))
    shown = run_command("show", path).stdout
    assert " ".join(shown.split()).startswith(
        "All accepted objects were loaded (1), and no value was lost. "
        "1 value would be cut off on Redshift, see below."
    )
    assert "stored here; Redshift keeps 512 bytes" in shown
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(object_line({"n": 1.5}))
    assert " ".join(run_command("show", path).stdout.split()).startswith(
        "All accepted objects were loaded (2); 1 value changed, see below. "
        "1 value would be cut off on Redshift, see below."
    )


def test_show_names_that_a_warehouse_changes(tmp_path: Path) -> None:
    """Renamed tables and columns and discarded values are shown with the reason."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        BareClient(sandbox.url).load_files(
            object_line({"2fa": 1, "uuid": "x"}, collection="user"), object_line()
        )
    shown = run_command("show", tmp_path / "w.duckdb", columns=100).stdout
    table = shown[shown.index("Names that a warehouse does not take as they are") :]
    assert "sent as user: a reserved word of Redshift" in table
    assert "_user._2fa" in table
    assert "sent as 2fa: a name cannot begin with a digit" in table
    assert "users" not in table
    assert "not stored: Segment has a column of this name" in shown


def test_show_names_sessions_that_were_not_loaded(tmp_path: Path) -> None:
    """Objects of discarded, expired and unfinished sessions are counted, and never "not lost"."""
    clock = FrozenClock()
    with Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line())
        expired, discarded = client.start_session(), client.start_session()
        client.upload_lines(expired, object_line(collection="orders"))
        client.upload_lines(discarded, object_line() + object_line(object_id="2"))
        client.finish_session(discarded, "the tap\x1b[31m failed")
        clock.now += 601
        unfinished = client.start_session()
        client.upload_lines(unfinished, object_line(collection="visits"))
    shown = run_command("show", tmp_path / "w.duckdb").stdout
    assert shown.splitlines()[0] == "4 of 5 accepted objects not loaded, see below."
    table = shown[shown.index("Sessions that were not loaded") :]
    for sync_id, outcome, objects, collection in (
        (expired, "expired", "1", "orders"),
        (discarded, "discarded by", "2", "users"),
        (unfinished, "never", "1", "visits"),
    ):
        row = next(line for line in table.splitlines() if sync_id in line)
        assert all(cell in row for cell in (outcome, objects, collection))
    assert "\x1b" not in shown
    assert "the tap" in table
    assert "no value was lost" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_show_limits_the_sessions_that_were_not_loaded(tmp_path: Path) -> None:
    """Of many sessions the first 20 are named, and the others are counted."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        for _ in range(22):
            client.upload_lines(client.start_session(), object_line())
    shown = run_command("show", tmp_path / "w.duckdb").stdout
    assert shown.splitlines()[0] == "22 of 22 accepted objects not loaded, see below."
    assert shown.count("never finished") >= 1
    assert "and 2 more sessions" in shown


def test_show_reports_errors_in_one_line(tmp_path: Path) -> None:
    """A file that is missing or is not a warehouse prints one line; exit code 1."""
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    for name, reason in (
        ("missing", "Warehouse not found"),
        ("other.duckdb", "not a warehouse of a sandbox"),
    ):
        done = run_command("show", tmp_path / name)
        assert (done.returncode, done.stdout) == (1, "")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_report_on_a_terminal_has_colours(warehouse_file: Path) -> None:
    """On a terminal the report has colours, and values are not interpreted as markup."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard")
    with Warehouse.open(warehouse_file, read_only=True) as warehouse:
        print_report(warehouse, console)
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[" in console.file.getvalue()
    assert "\\x1b[31mred" in console.file.getvalue()


# The extra


@pytest.mark.parametrize("missing", ["duckdb", "jinja2", "starlette", "uvicorn", "rich"])
def test_missing_package_of_the_extra(tmp_path: Path, missing: str) -> None:
    """Without a package of the extra, the command and `load_sandbox` say what to install."""
    blocked = f"import sys; sys.modules[{missing!r}] = None\n"
    by_command = blocked + "from target_segment_objects.sandbox.cli import main; main()"
    by_import = blocked + "from target_segment_objects.sandbox import load_sandbox; load_sandbox()"
    for arguments in (["show", "x"], ["serve", "--warehouse", str(tmp_path / "x")]):
        done = run_python(by_command, *arguments)
        assert done.returncode == 1
        assert done.stderr == (
            "Error: The sandbox needs more packages. "
            "Run: pip install 'target-segment-objects[sandbox]'\n"
        )
    assert SandboxNotInstalledError.__name__ in run_python(by_import).stderr


def test_import_needs_no_extra() -> None:
    """Importing the command imports no package of the extra."""
    code = "import sys, target_segment_objects.sandbox.cli; print(*sys.modules)"
    assert not {"duckdb", "jinja2", "starlette", "uvicorn", "rich"} & set(
        run_python(code).stdout.split()
    )
    assert load_sandbox() is Sandbox


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=60,
    )
