"""The script in examples/cron, run with dash where there is one, as cron starts it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_segment_objects.sandbox.server import Sandbox

SCRIPT = Path(__file__).parents[2] / "examples" / "cron" / "load.sh"
SHELL = shutil.which("dash") or "/bin/sh"

TAP = """\
#!/bin/sh
echo "arguments: $*" >> tap.calls
cp state.json state.seen
cat messages
[ ! -e wait-for-it ] || while [ ! -e go-on ]; do sleep 0.05; done
exit "$(cat tap-exits-with 2> /dev/null || echo 0)"
"""

ARGUMENTS = ("--config", "tap.json")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("flock") is None, reason="the script needs flock"),
]


@pytest.fixture
def folder(tmp_path: Path, sandbox: Sandbox) -> Path:
    """A folder as the example's README has the user set it up."""
    folder = tmp_path / "load"
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    shutil.copy(SCRIPT, folder)
    target = f'#!/bin/sh\nexec {" ".join(TARGET)} "$@"\n'
    for name, script in {"tap-x": TAP, "target-segment-objects": target}.items():
        (commands / name).write_text(script, encoding="utf-8")
        (commands / name).chmod(0o755)
    config = {"write_key": "k", "api_url": sandbox.url, "batch_size_rows": 1, "max_retries": 0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_messages(folder, 1)
    return folder


def write_messages(folder: Path, *numbers: int) -> None:
    """Let the tap write a record and a STATE for each number."""
    lines = [schema_line("users", {"id": {"type": "integer"}})]
    for number in numbers:
        lines += [record_line("users", {"id": number}), state_line({"at": number})]
    (folder / "messages").write_text("\n".join(lines) + "\n", encoding="utf-8")


def start_script(
    folder: Path, *arguments: str, settings: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start the script with the environment that cron gives to it, and settings of its own."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **(settings or {})}
    if (path := os.environ.get("PYTHONPATH")) is not None:
        environment["PYTHONPATH"] = path
    return subprocess.Popen(
        [SHELL, str(folder / "load.sh"), *arguments],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_script(
    folder: Path, *arguments: str, settings: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run the script; return its exit code and its output."""
    process = start_script(folder, *arguments, settings=settings)
    output, _ = process.communicate(timeout=RUN_SECONDS)
    return process.returncode, output


@contextmanager
def open_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a run whose tap has written everything and waits, until the file `go-on` exists."""
    (folder / "wait-for-it").touch()
    process = start_script(folder)
    try:
        wait_for(lambda: "{" in read_text(folder, "state.json"))
        yield process
    finally:
        (folder / "go-on").touch()
        process.communicate(timeout=RUN_SECONDS)


def read_text(folder: Path, name: str) -> str:
    """Return the content of a file in the folder, or nothing if there is none."""
    path = folder / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_first_run_has_no_state_and_the_second_continues(folder: Path, sandbox: Sandbox) -> None:
    """The tap gets --state from the second run on; state.json has one line, the last STATE."""
    for numbers in ((1, 2), (3,)):
        write_messages(folder, *numbers)
        assert run_script(folder) == (0, ""), read_text(folder, "load.log")
        assert read_text(folder, "state.json") == f'{{"at":{numbers[-1]}}}\n'
    assert read_text(folder, "tap.calls").splitlines() == [
        "arguments: --config tap.json",
        "arguments: --config tap.json --state state.json",
    ]
    assert sandbox.warehouse.count("users") == 3
    log = read_text(folder, "load.log")
    assert log.count("end: exit code 0 of the tap, 0 of the target") == 2
    assert "objects sent" in log


def test_exit_code_of_the_tap_is_passed_on(folder: Path) -> None:
    """If the tap fails, the script exits with its code and prints an alert; the STATE is kept."""
    (folder / "tap-exits-with").write_text("4", encoding="utf-8")
    code, output = run_script(folder)
    assert code == 4
    assert "load.sh failed with exit code 4" in output
    assert "exit code 4 of the tap, 0 of the target" in output
    assert read_text(folder, "state.json") == '{"at":1}\n'


def test_exit_code_of_the_target_is_passed_on(folder: Path) -> None:
    """If the target fails, the script exits with its code, and the old STATE stays."""
    (folder / "state.json").write_text('{"at":0}\n', encoding="utf-8")
    config = json.loads(read_text(folder, "config.json")) | {"api_url": "http://127.0.0.1:9"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code, output = run_script(folder)
    assert code == 1
    assert "load.sh failed with exit code 1" in output
    assert read_text(folder, "state.json") == '{"at":0}\n'


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param('{"at":1}\n{"at":2}\n', "--state state.json", id="whole-lines"),
        pytest.param('{"at":1}\n{"at":2}\n{"at":', "--state state.json", id="half-a-line"),
        pytest.param('{"at":', "", id="half-the-first-line"),
        pytest.param("", "", id="empty"),
    ],
)
def test_state_of_a_killed_run_is_used(folder: Path, left: str, expected: str) -> None:
    """The tap gets the last whole STATE of a run that was killed, and none if there is none."""
    (folder / "state.json").write_text(left, encoding="utf-8")
    assert run_script(folder) == (0, "")
    assert read_text(folder, "tap.calls").split() == ["arguments:", *ARGUMENTS, *expected.split()]
    assert read_text(folder, "state.seen") == ('{"at":2}\n' if expected else "")


def test_second_run_at_the_same_time_does_nothing(folder: Path) -> None:
    """It exits with 75 and says so, and the first run ends undisturbed."""
    with open_run(folder) as first:
        code, output = run_script(folder)
        assert code == 75
        assert "another run has not ended yet" in output
    assert first.returncode == 0
    assert read_text(folder, "tap.calls").count("arguments") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_to_all_processes_ends_the_run_in_order(
    folder: Path, sandbox: Sandbox, number: signal.Signals
) -> None:
    """As systemd stops a service: the script keeps the STATE and exits with the target's code."""
    with open_run(folder) as process:
        os.killpg(process.pid, number)
        process.wait(RUN_SECONDS)
    assert process.returncode == 128 + number
    assert sandbox.warehouse.count("users") == 1
    assert read_text(folder, "state.json") == '{"at":1}\n'
    assert f"{128 + number} of the target" in read_text(folder, "load.log")


def test_folder_and_log_can_be_chosen(folder: Path) -> None:
    """A folder that is given has the files; with LOG=-, the log is on standard error."""
    group = folder / "group"
    group.mkdir()
    for name in ("config.json", "messages"):
        shutil.copy(folder / name, group)
    (group / "tap-exits-with").write_text("4", encoding="utf-8")
    code, output = run_script(folder, str(group), settings={"LOG": "-"})
    assert code == 4
    assert "end: exit code 4 of the tap, 0 of the target" in output.splitlines()[-1]
    assert read_text(group, "state.json") == '{"at":1}\n'
    assert (read_text(group, "tap.exit"), read_text(group, "target.exit")) == ("4\n", "0\n")
    assert not (group / "load.log").exists()
    assert not (folder / "state.json").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_units_of_systemd_are_valid(folder: Path) -> None:
    """The service and the timer are accepted by systemd."""
    for name in ("load-segment.service", "load-segment.timer"):
        text = (SCRIPT.parent / name).read_text(encoding="utf-8")
        text = text.replace("%h/load-segment", str(folder))
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            shutil.which("systemd-analyze") or "",
            "verify",
            folder / "load-segment.service",
            folder / "load-segment.timer",
        ],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
