"""The command `segment-objects-ledger`: what it prints, and what the next run then does."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, TypeAlias

import pytest
from click.testing import CliRunner

from target_segment_objects.cli.ledger_command import run_ledger_command
from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.ledger.file import LedgerFile
from target_segment_objects.ledger.object_table import ObjectTable
from tests.support import record_line, schema_line, state_line, wait_for
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

Load: TypeAlias = "Callable[..., int]"

ORDERS = schema_line("orders", {"id": {"type": "integer"}, "amount": {"type": "integer"}})
LINES = [
    USERS,
    *(record_line("users", {"id": number, "name": "x"}) for number in range(3)),
    ORDERS,
    *(record_line("orders", {"id": number, "amount": number}) for number in range(5)),
    state_line(1),
]
USERS_SENT, ORDERS_SENT = 3, 5
NO_COLLECTION = "has no collection no. It has: orders, users."
COMMAND = (
    *(sys.executable, "-c"),
    "from target_segment_objects.__main__ import main_ledger; main_ledger()",
)


@pytest.fixture
def ledger(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A ledger that a run has used."""
    path = tmp_path / "ledger.sqlite"
    assert run_target_in_process(sandbox, *LINES, ledger_path=str(path)) == (0, [1])
    return path


def run(*arguments: str | Path, code: int = 0, environment: dict[str, str] | None = None) -> str:
    """Run the command in this process, and expect an exit code; return what it prints."""
    result = CliRunner().invoke(run_ledger_command, [*map(str, arguments)], env=environment)
    assert result.exit_code == code, result.output
    return result.output


def run_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def count_next(sandbox: Sandbox, ledger: Path, *lines: str, **config: str) -> int:
    """Run again; return how many objects are sent."""
    before = sum(session.objects for session in sandbox.warehouse.sessions())
    lines = lines or tuple(LINES)
    code, _ = run_target_in_process(sandbox, *lines, ledger_path=str(ledger), **config)
    assert code == 0
    return sum(session.objects for session in sandbox.warehouse.sessions()) - before


def test_show_lists_collections_and_what_is_due(sandbox: Sandbox, ledger: Path) -> None:
    """Outside of a terminal it is aligned text."""
    lines = run("show", ledger).splitlines()
    assert lines[0].startswith(f"{ledger}: ")
    assert lines[0].endswith(f" kB, for {sandbox.url}")
    assert lines[1].endswith(" UTC, complete")
    assert lines[2] == (
        "An unchanged object is sent again after at most 45 days. Known objects that are due, by "
        "day:"
    )
    today = datetime.now(timezone.utc).date()
    days = [f"{today + timedelta(days=day):%m-%d}" for day in range(1, 7)]
    assert lines[4].split() == ["collection", "last", "run", "(UTC)", "objects", "today", *days]
    assert [line.split()[0::3][:2] for line in lines[5:]] == [["orders", "5"], ["users", "3"]]


def test_show_lists_the_types_of_a_collection(ledger: Path) -> None:
    """Only of that one."""
    output = run("show", ledger, "orders")
    assert "users" not in output
    rows = [line.split() for line in output.splitlines()[-3:]]
    heading = ["properties", "of", "stream", "orders", "first", "type"]
    assert rows == [heading, ["id", "integer"], ["amount", "integer"]]


def test_show_as_json(sandbox: Sandbox, ledger: Path) -> None:
    """All that the text says."""
    report = json.loads(run("show", ledger, "--format", "json"))
    assert report["destination"] == sandbox.url
    assert report["resend_after_days"] == 45
    assert report["last_run"]["result"] == "complete"
    assert len(report["days"]) == 7
    orders, users = report["collections"]
    assert (orders["name"], orders["objects"], users["objects"]) == ("orders", 5, 3)
    assert orders["properties"] == {"orders": {"id": "integer", "amount": "integer"}}
    assert orders["sent_again"][0] == 0


@pytest.mark.parametrize("days_ago", [0, 1, 10, 44, 45, 46, 100])
def test_show_says_what_a_run_then_does(sandbox: Sandbox, ledger: Path, days_ago: int) -> None:
    """What is due today, a run sends; each object is due on one of so many days."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE object SET sent_day = sent_day - ?", (days_ago,))
    report = json.loads(run("show", ledger, "--format", "json"))
    due = sum(found["sent_again"][0] for found in report["collections"])
    assert count_next(sandbox, ledger) == due
    if days_ago >= 45:
        assert due == USERS_SENT + ORDERS_SENT


@pytest.mark.parametrize("command", ["show", "export"])
def test_what_only_shows_changes_nothing(ledger: Path, command: str) -> None:
    """Not a byte of the file, and no file beside it."""
    before = ledger.read_bytes()
    ledger.chmod(0o400)
    run(command, ledger)
    assert ledger.read_bytes() == before
    assert [path.name for path in ledger.parent.glob("ledger.sqlite*")] == ["ledger.sqlite"]


def test_forget_starts_a_collection_over(sandbox: Sandbox, ledger: Path) -> None:
    """Its objects are sent once more, and with another type and key if these have changed."""
    text = run("forget", ledger, "orders", "--yes")
    assert text == "Forgot 5 objects of orders.\nForgot the type of 2 properties of orders.\n"
    changed = schema_line(
        "orders", {"id": {"type": "integer"}, "amount": {"type": "string"}}, ("id", "amount")
    )
    order = record_line("orders", {"id": 1, "amount": "x"})
    assert count_next(sandbox, ledger, changed, order) == 1
    assert count_next(sandbox, ledger, *LINES[:4]) == 0


def test_forget_without_a_collection_forgets_all(sandbox: Sandbox, ledger: Path) -> None:
    """The next run sends everything."""
    assert run("forget", ledger, "--yes").startswith("Forgot 8 objects of all collections.\n")
    assert count_next(sandbox, ledger) == USERS_SENT + ORDERS_SENT


def test_forget_only_objects_keeps_the_types(sandbox: Sandbox, ledger: Path) -> None:
    """A changed key is accepted, a changed type is not."""
    run("forget", ledger, "orders", "--only", "objects", "--yes")
    properties = {"id": {"type": "integer"}, "amount": {"type": "integer"}}
    order = record_line("orders", {"id": 1, "amount": 1})
    changed_key = schema_line("orders", properties, ("id", "amount"))
    assert count_next(sandbox, ledger, changed_key, order) == 1
    properties["amount"] = {"type": "boolean"}
    changed_type = schema_line("orders", properties, ("id", "amount"))
    code, _ = run_target_in_process(sandbox, changed_type, order, ledger_path=str(ledger))
    assert code == 1


def test_forget_only_types_keeps_the_objects(sandbox: Sandbox, ledger: Path) -> None:
    """What is equal is skipped; a new type is accepted."""
    assert "object" not in run("forget", ledger, "orders", "--only", "types", "--yes")
    assert count_next(sandbox, ledger) == 0
    run("forget", ledger, "orders", "--only", "types", "--yes")
    changed = schema_line("orders", {"id": {"type": "integer"}, "amount": {"type": "number"}})
    order = record_line("orders", {"id": 1, "amount": 1})
    assert count_next(sandbox, ledger, changed, order) == 1


def test_resend_sends_everything_once(sandbox: Sandbox, ledger: Path) -> None:
    """One collection, or all; then nothing."""
    text = run("resend", ledger, "users", "--yes")
    assert text == "The next run sends again what it reads of 3 objects.\n"
    assert count_next(sandbox, ledger) == USERS_SENT
    run("resend", ledger, "--yes")
    assert json.loads(run("show", ledger, "--format", "json"))["collections"][0]["sent_again"][0]
    assert count_next(sandbox, ledger) == USERS_SENT + ORDERS_SENT
    assert count_next(sandbox, ledger) == 0


@pytest.mark.parametrize("command", ["forget", "resend"])
def test_what_a_killed_run_has_sent_is_not_taken_for_accepted(
    sandbox: Sandbox, ledger: Path, command: str
) -> None:
    """It is not folded into what Segment has."""
    file = LedgerFile.open_existing(ledger)
    objects = ObjectTable(file, resend_after_days=0, today=datetime.now(timezone.utc).date())
    objects.start()
    stream = objects.register_stream(StreamInfo("users", "users", ("id",), ()))
    assert objects.record_chunk("users", [0, 1], [b"a", b"b"], [stream] * 2) == [0, 1]
    objects.mark_accepted("users", 2)
    objects.commit()
    killed = ledger.with_name("killed.sqlite")
    for path in ledger.parent.glob(f"{ledger.name}*"):
        shutil.copy(path, f"{killed}{path.name.removeprefix(ledger.name)}")
    objects.close()
    run(command, killed, "users", "--yes")
    assert count_next(sandbox, killed) == USERS_SENT


def test_adopted_key_is_accepted(sandbox: Sandbox, ledger: Path) -> None:
    """Before, a run with it is refused; afterwards one with the old key is."""
    lines = [str(line) for line in LINES]
    ours = {"ledger_path": str(ledger), "write_key": "new"}
    assert run_target_in_process(sandbox, *lines, **ours)[0] == 2
    config = ledger.with_name("config.json")
    config.write_text(json.dumps({"write_key": "new", "api_url": sandbox.url}), encoding="utf-8")
    text = run("adopt-key", ledger, "--config", config, "--yes")
    assert text == "The ledger accepts the new write key.\n"
    assert count_next(sandbox, ledger, write_key="new") == 0
    assert run_target_in_process(sandbox, *lines, ledger_path=str(ledger))[0] == 2


def test_printed_command_adopts_the_key(
    sandbox: Sandbox, ledger: Path, run_target: RunTarget, tmp_path: Path
) -> None:
    """It works as it is printed: with the configuration of the run."""
    config = {"write_key": "new", "api_url": sandbox.url, "ledger_path": str(ledger)}
    lines = [str(line) for line in LINES]
    refused = run_target(lines=lines, config=config)
    assert refused.returncode == 2
    (printed,) = re.findall(r"run `segment-objects-ledger (adopt-key .*)`\.", refused.stderr)
    done = subprocess.run(
        [*COMMAND, *shlex.split(printed), "--yes"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "The ledger accepts the new write key.\n")
    assert run_target(lines=lines, config=config).returncode == 0


def test_slash_at_the_end_is_the_same_address(sandbox: Sandbox, ledger: Path) -> None:
    """A ledger accepts both."""
    assert count_next(sandbox, ledger, api_url=f"{sandbox.url}/") == 0


@pytest.mark.parametrize("command", ["forget", "resend", "adopt-key"])
def test_without_a_terminal_yes_is_needed(ledger: Path, command: str) -> None:
    """Nobody can be asked, so nothing is changed."""
    variables = {"TARGET_SEGMENT_OBJECTS_WRITE_KEY": "new"}
    before = ledger.read_bytes()
    if command == "adopt-key":
        variables["TARGET_SEGMENT_OBJECTS_API_URL"] = read_destination(ledger)
    assert "Give --yes" in run(command, ledger, code=2, environment=variables)
    assert ledger.read_bytes() == before


def read_destination(ledger: Path) -> str:
    """Return the address that a ledger is bound to."""
    with closing(sqlite3.connect(ledger)) as connection:
        query = "SELECT value FROM meta WHERE key = 'destination'"
        (destination,) = connection.execute(query).fetchone()
    return str(destination)


def test_adopt_key_reads_the_environment(sandbox: Sandbox, ledger: Path) -> None:
    """As the target does with --config=ENV."""
    variables = {
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "new",
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
    }
    run("adopt-key", ledger, "--yes", environment=variables)
    assert count_next(sandbox, ledger, write_key="new") == 0


def test_key_of_another_address_is_not_adopted(ledger: Path) -> None:
    """It cannot be the same source."""
    variables = {"TARGET_SEGMENT_OBJECTS_WRITE_KEY": "new"}
    text = run("adopt-key", ledger, "--yes", code=1, environment=variables)
    assert "not for https://objects-bulk-api.segmentapis.com." in text


def test_export_writes_json_lines(ledger: Path) -> None:
    """Ids, digests and days; no record content."""
    lines = [json.loads(line) for line in run("export", ledger).splitlines()]
    assert [(line["collection"], line["id"]) for line in lines] == [
        *(("orders", str(number)) for number in range(5)),
        *(("users", str(number)) for number in range(3)),
    ]
    assert lines[0].keys() == {"collection", "id", "stream", "digest", "last_sent"}
    assert len(bytes.fromhex(lines[0]["digest"])) == 8
    assert lines[0]["last_sent"] == datetime.now(timezone.utc).date().isoformat()
    assert len(run("export", ledger, "users").splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "other.sqlite"], "Ledger not found: other.sqlite"),
        (["forget", "other.sqlite"], "other.sqlite"),
        (["show", "text"], "text is not a ledger, or it is damaged: it is not an SQLite file. "),
        (["resend", "warehouse.sqlite"], "is not a ledger."),
        (["show", "ledger.sqlite", "no"], NO_COLLECTION),
        (["export", "ledger.sqlite", "no"], NO_COLLECTION),
        (
            ["forget", "ledger.sqlite", "no", "--yes"],
            NO_COLLECTION,
        ),
        (
            ["resend", "ledger.sqlite", "no", "--yes"],
            NO_COLLECTION,
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_error_is_one_line(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """With the exit code 1."""
    folder = ledger.parent
    (folder / "text").write_text("no database, but some text\n" * 50, encoding="utf-8")
    with closing(sqlite3.connect(folder / "warehouse.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    monkeypatch.chdir(folder)
    (line,) = run(*arguments, code=1).splitlines()
    assert line.startswith("Error: ")
    assert message in line


def test_config_that_cannot_be_used_is_a_usage_error(ledger: Path) -> None:
    """With the exit code 2, as the target's."""
    assert "write_key is missing" in run("adopt-key", ledger, code=2)
    assert "Config file not found: no.json" in run(
        "adopt-key", ledger, "--config", "no.json", code=2
    )


@pytest.mark.parametrize("command", ["show", "export", "forget", "resend"])
def test_ledger_in_use_is_refused(ledger: Path, command: str) -> None:
    """By a run in another process."""
    with closing(LedgerFile.open_existing(ledger)):
        done = run_process(command, ledger)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f"Error: A load is using the ledger {ledger}. Run this again when it has ended."


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(
    ("answer", "code", "objects"),
    [("y\n", 0, USERS_SENT + ORDERS_SENT), ("n\n", 1, 0), (None, 130, 0)],
    ids=["yes", "no", "SIGINT"],
)
@pytest.mark.parametrize("has_errors", [True, False], ids=["alone", "below Meltano"])
def test_question_on_a_terminal(
    sandbox: Sandbox, ledger: Path, answer: str | None, code: int, objects: int, *, has_errors: bool
) -> None:
    """Without a yes nothing is forgotten. Meltano keeps standard error to itself."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    arguments = [*COMMAND, "forget", str(ledger), "--only", "objects"]
    with Terminal(
        arguments, folder=ledger.parent, output=True, has_input=True, has_errors=has_errors
    ) as terminal:
        wait_for(lambda: b"[y/N]" in terminal.raw)

        def has_ended() -> bool:
            if answer is None:
                terminal.process.send_signal(signal.SIGINT)
            else:
                terminal.type_keys(answer)  # again: what is typed before it reads may be lost
            time.sleep(0.1)
            return terminal.process.poll() is not None

        wait_for(has_ended)
        assert terminal.process.returncode == code
    assert count_next(sandbox, ledger) == objects


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("command", ["forget", "resend", "adopt-key"])
def test_question_does_not_lock_the_ledger(
    sandbox: Sandbox, ledger: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A load can use it while the question waits for an answer."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    monkeypatch.setenv("TARGET_SEGMENT_OBJECTS_WRITE_KEY", "new")
    monkeypatch.setenv("TARGET_SEGMENT_OBJECTS_API_URL", sandbox.url)
    arguments = [*COMMAND, command, str(ledger)]
    with Terminal(arguments, folder=ledger.parent, output=True, has_input=True) as terminal:
        wait_for(lambda: b"[y/N]" in terminal.raw)
        assert count_next(sandbox, ledger) == 0
        terminal.process.kill()


def test_version() -> None:
    """The package's."""
    done = run_process("--version")
    assert done.stdout.split()[-1] == importlib.metadata.version("target-segment-objects")
