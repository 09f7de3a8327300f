"""`segment-objects-sandbox show` for programs and for terminals."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from target_segment_objects.sandbox.json_report import FORMAT_VERSION
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.verdict import print_next_steps
from tests.support.bare_http import BareClient, object_line

pytestmark = pytest.mark.slow  # most of them start a process

COMMAND = [sys.executable, "-m", "target_segment_objects.sandbox.cli"]
LONG_COLLECTION = "long_values_with_a_very_long_collection_name"
LONG_COLUMN = "description_of_the_first_product"
posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")


def run_show(*arguments: str | Path, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run `show` until it ends."""
    return subprocess.run(
        [*COMMAND, "show", *map(str, arguments)],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": str(columns)},
        timeout=60,
    )


def load_warehouse(path: Path, *lines: bytes) -> Path:
    """Load objects into a warehouse, and return its path."""
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(b"".join(lines))
    return path


@pytest.fixture
def lossy_warehouse(tmp_path: Path) -> Path:
    """A warehouse that has cut off a value, and stored one without its fraction."""
    return load_warehouse(
        tmp_path / "w.duckdb",
        object_line({LONG_COLUMN: "x" * 600}, collection=LONG_COLLECTION),
        object_line({"n": 1}),
        object_line({"n": 1.5}, object_id="2"),
    )


# --format json


def test_json_has_everything_that_landed(lossy_warehouse: Path) -> None:
    """Collections with types and rows, losses, names and sessions, with the documented keys."""
    done = run_show(lossy_warehouse, "--format", "json", "--rows", "1")
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    [session] = report.pop("sessions")
    assert session.keys() == {
        "sync_id",
        "outcome",
        "collections",
        "parts",
        "objects",
        "raw_bytes",
        "gzip_bytes",
        "started",
        "ended",
        "error",
    }
    assert (session["outcome"], session["objects"]) == ("loaded", 3)
    assert report.pop("collections") == [
        {
            "name": LONG_COLLECTION,
            "table": LONG_COLLECTION,
            "objects": 1,
            "columns": [
                {"name": "id", "type": "VARCHAR"},
                {"name": LONG_COLUMN, "type": "VARCHAR"},
            ],
            "rows": [{"id": "1", LONG_COLUMN: "x" * 512}],
        },
        {
            "name": "users",
            "table": "users",
            "objects": 2,
            "columns": [{"name": "id", "type": "VARCHAR"}, {"name": "n", "type": "BIGINT"}],
            "rows": [{"id": "1", "n": 1}],
        },
    ]
    assert report == {
        "format_version": FORMAT_VERSION,
        "result": "All accepted objects were loaded (3); 2 values changed, see below.",
        "has_loss": True,
        "totals": {
            "objects_accepted": 3,
            "objects_not_loaded": 0,
            "values_changed": 2,
            "values_cut_on_redshift": 0,
        },
        "losses": [
            {
                "collection": LONG_COLLECTION,
                "column": LONG_COLUMN,
                "kind": "cut",
                "count": 1,
                "example_id": "1",
                "meaning": "cut off after 512 characters",
            },
            {
                "collection": "users",
                "column": "n",
                "kind": "fraction",
                "count": 1,
                "example_id": "2",
                "meaning": "stored without the fraction",
            },
        ],
        "names": [],
    }


def test_json_of_a_served_warehouse_is_the_same(tmp_path: Path) -> None:
    """The server answers for the file that it has open."""
    path = tmp_path / "w.duckdb"
    options = ("--format", "json", "--rows", "2")
    with Sandbox(path, serve_page=True) as sandbox:
        BareClient(sandbox.url).load_files(object_line({"at": "2024-01-31T08:00:00Z"}))
        served = run_show(path, *options)
        failing = run_show(path, "--fail-on-loss")
    assert (served.returncode, served.stderr) == (0, "")
    assert failing.returncode == 0
    assert served.stdout == run_show(path, *options).stdout
    [collection] = json.loads(served.stdout)["collections"]
    assert collection["rows"] == [{"id": "1", "at": "2024-01-31 08:00:00"}]


def test_json_is_printable_whatever_was_sent(tmp_path: Path) -> None:
    """No control character of a value reaches the terminal."""
    path = load_warehouse(tmp_path / "w.duckdb", object_line({"s": "\x1b[31m\x85"}))
    done = run_show(path, "--format", "json")
    assert all(line.isprintable() for line in done.stdout.splitlines())
    [collection] = json.loads(done.stdout)["collections"]
    assert collection["rows"][0]["s"] == "\x1b[31m\x85"


# --fail-on-loss


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_a_changed_value_fails_with_fail_on_loss(lossy_warehouse: Path, output_format: str) -> None:
    """Exit code 1 and one line on standard error; the report is printed all the same."""
    options = ("--format", output_format)
    done = run_show(lossy_warehouse, *options, "--fail-on-loss")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: Accepted objects are not in the warehouse as they were sent (--fail-on-loss).\n"
    )
    assert done.stdout == run_show(lossy_warehouse, *options).stdout


def test_an_object_that_was_not_loaded_fails_with_fail_on_loss(tmp_path: Path) -> None:
    """An accepted upload of a session that was never finished is a loss."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path) as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line())
        client.upload_lines(client.start_session(), object_line())
    assert run_show(path, "--fail-on-loss").returncode == 1
    assert run_show(path).returncode == 0


def test_what_only_redshift_cuts_off_does_not_fail(tmp_path: Path) -> None:
    """As the report says, no value was lost here."""
    path = load_warehouse(tmp_path / "w.duckdb", object_line({"s": "é" * 257}))
    done = run_show(path, "--fail-on-loss")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 value would be cut off on Redshift" in " ".join(done.stdout.split())


# Names of lost values


@pytest.mark.parametrize("columns", [200, 120, 80, 40])
def test_losses_name_collection_and_column_whole(lossy_warehouse: Path, columns: int) -> None:
    """Nothing stands for the end of a name; only a name longer than a line is folded."""
    shown = run_show(lossy_warehouse, "--rows", "0", columns=columns).stdout
    losses = shown[shown.index("Values that a warehouse changes") :]
    assert "…" not in losses
    assert f"{LONG_COLLECTION}.{LONG_COLUMN}" in losses.replace("\n", "")
    assert "users.n" in losses
    assert " ".join(losses.split()).count("cut off after") == 1
    assert max(map(len, shown.splitlines())) <= columns


# Terminals


@posix_only
@pytest.mark.parametrize("columns", [80, 40])
def test_the_verdict_is_on_the_last_screen(tmp_path: Path, columns: int) -> None:
    """What was lost, what is where, which file, and what to try next, however much there is."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    names = [f"table_{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(100)]
    lines = [object_line({"s": "x" * 600}, collection=name) for name in names]
    load_warehouse(tmp_path / "w.duckdb", *lines, object_line(object_id="2", collection="table_bc"))
    arguments = [*COMMAND, "show", "w.duckdb"]
    with Terminal(arguments, folder=tmp_path, output=True, size=(columns, 24)) as terminal:
        assert terminal.close_input() == 0
        screen = terminal.lines
    text = " ".join(" ".join(screen).split())
    assert "All accepted objects were loaded (101); 100 values changed, see above." in text
    assert "table_aa.s, 1 value: cut off after 512 characters" in text
    assert "and 97 more, see above" in text
    assert "101 objects in 100 collections: table_aa 1, table_ab 1," in text
    assert "table_af 1, and 94 more. The warehouse is w.duckdb. Look inside:" in text
    joined = "".join(line if len(line) == columns else f"{line}\n" for line in screen)
    assert re.search(
        r"^  \S*segment-objects-sandbox serve --open --warehouse w.duckdb$", joined, re.MULTILINE
    )
    assert "FROM table_bc" in joined, "the largest collection"


@posix_only
def test_the_commands_of_the_verdict_work(tmp_path: Path) -> None:
    """The SQL can be pasted into a shell, also with a name that has to be quoted."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    path = load_warehouse(tmp_path / "my ware'house.duckdb", object_line({"name": "Ada"}))
    arguments = [*COMMAND, "show", path.name]
    with Terminal(arguments, folder=tmp_path, output=True) as terminal:
        assert terminal.close_input() == 0
        command = terminal.lines[-1]
    done = subprocess.run(  # noqa: S602 - the command that is shown
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert "Ada" in done.stdout


@posix_only
@pytest.mark.parametrize("on_path", [True, False], ids=["on the PATH", "not on the PATH"])
def test_commands_of_the_verdict_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, *, on_path: bool
) -> None:
    """By their names if the PATH has them, else with their folder, relative to the current one."""
    folder = Path(sys.executable).parent
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("PATH", str(folder) if on_path else "")
    console = Console(file=io.StringIO(), width=80)
    print_next_steps(Path("w.duckdb"), console, collection="users")
    assert isinstance(console.file, io.StringIO)
    prefix = "" if on_path else f"{folder.name}/"
    query = 'import duckdb; duckdb.connect("w.duckdb").sql("FROM users").show()'
    assert console.file.getvalue().splitlines()[1:] == [
        f"  {prefix}segment-objects-sandbox show w.duckdb",
        f"  {prefix}segment-objects-sandbox serve --open --warehouse w.duckdb",
        f"  {prefix}python -c '{query}'",
    ]


@posix_only
def test_the_verdict_of_a_served_warehouse_comes_last_too(tmp_path: Path) -> None:
    """The server writes the report for a terminal; the commands would not work beside it."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    path = tmp_path / "w.duckdb"
    with Sandbox(path, serve_page=True) as sandbox:
        BareClient(sandbox.url).load_files(object_line())
        arguments = [*COMMAND, "show", "w.duckdb"]
        with Terminal(arguments, folder=tmp_path, output=True) as terminal:
            assert terminal.close_input() == 0
            assert terminal.lines[-2:] == [
                "All accepted objects were loaded (1), and no value was lost.",
                "1 object in 1 collection: users 1.",
            ]
