"""Before the first message: signals during the imports, and closed standard streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="POSIX signals and shells"),
]

LINES = [
    schema_line("users", {"id": {"type": "integer"}}),
    record_line("users", {"id": 1}),
    state_line({"at": 1}),
]
MAIN = "from target_segment_objects.__main__ import main\n"


def start_python(code: str) -> subprocess.Popen[str]:
    """Run Python code that prints `ready` when a signal may be sent."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(
            "def import_command():\n"
            "    try:\n"
            "        print('ready', flush=True)\n"
            "        time.sleep(30)\n"
            "    except BaseException:\n"
            "        print('an import saw the signal', flush=True)\n"
            "main(import_command)\n",
            id="imports",
        ),
        pytest.param(
            "def command():\n"
            "    print('ready', flush=True)\n"
            "    time.sleep(30)\n"
            "main(lambda: command)\n",
            id="before the run",
        ),
    ],
)
def test_a_signal_during_start_up_ends_quietly(code: str, number: signal.Signals) -> None:
    """No traceback, and the exit code of a run that was stopped."""
    with start_python(f"import time\n{MAIN}{code}") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (output, errors) == ("", "")
    assert process.returncode == 128 + number


def test_what_is_open_is_closed_when_a_signal_comes_before_the_run() -> None:
    """After the imports, the process unwinds."""
    code = (
        f"import time\n{MAIN}"
        "def command():\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(30)\n"
        "    finally:\n"
        "        print('closed', flush=True)\n"
        "main(lambda: command)\n"
    )
    with start_python(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (output, errors, process.returncode) == ("closed\n", "", 130)


def test_an_ignored_signal_stays_ignored() -> None:
    """A shell starts jobs in the background with SIGINT ignored."""
    code = (
        f"import os, signal\n{MAIN}"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "def command():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still running', flush=True)\n"
        "main(lambda: command)\n"
    )
    with start_python(code) as process:
        output, errors = process.communicate(timeout=20)
    assert (output, errors, process.returncode) == ("still running\n", "", 0)


def has_handler(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("delay", [0, 0.1, 0.3, 0.6])
def test_the_real_command_ends_quietly(sandbox: Sandbox, tmp_path: Path, delay: float) -> None:
    """Wherever in the first second of the command the signal comes, there is no traceback."""
    environment = os.environ | {
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k",
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
    }
    with subprocess.Popen(
        [*TARGET, "--config=ENV"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    ) as process:
        # Python itself handles no SIGTERM: then the command has begun.
        wait_for(lambda: has_handler(process.pid, signal.SIGTERM))
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert process.returncode == 130


def run_in_shell(
    redirection: str, *options: str, url: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the command with a redirection of a shell; standard error goes to a pipe."""
    (folder / "input.singer").write_text("".join(f"{line}\n" for line in LINES))
    command = " ".join([*TARGET, "--config=ENV", *options])
    return subprocess.run(
        ["/bin/sh", "-c", f"{command} {redirection}"],
        capture_output=True,
        text=True,
        env=os.environ
        | {"TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k", "TARGET_SEGMENT_OBJECTS_API_URL": url},
        cwd=folder,
        timeout=RUN_SECONDS,
        check=False,
    )


def test_closed_standard_output_is_reported_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """STATE could not be written, so nothing is loaded; one error, exit code 1."""
    done = run_in_shell("< input.singer >&-", url=sandbox.url, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "Standard output is closed, so STATE cannot be written. Redirect it to a file."
    )
    assert "Traceback" not in done.stderr
    assert sandbox.warehouse.sessions() == []


@pytest.mark.parametrize("option", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_closed_standard_input_is_reported(
    sandbox: Sandbox, tmp_path: Path, option: tuple[str, ...]
) -> None:
    """One error that names the ways to give an input; exit code 1."""
    done = run_in_shell("<&-", *option, url=sandbox.url, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "Standard input is closed. Pipe a tap into it, or use --input."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "redirection",
    [
        pytest.param("--input input.singer <&-", id="standard input"),
        pytest.param("--input input.singer 2>&-", id="standard error"),
    ],
)
def test_streams_that_are_not_needed_may_be_closed(
    sandbox: Sandbox, tmp_path: Path, redirection: str
) -> None:
    """With `--input`, no standard input is needed; without standard error, there is no log."""
    done = run_in_shell(redirection, url=sandbox.url, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, '{"at":1}\n')
    assert sandbox.warehouse.count("users") == 1


@pytest.mark.parametrize("option", ["--about", "--check"])
def test_output_for_a_closed_stream_is_dropped(
    sandbox: Sandbox, tmp_path: Path, option: str
) -> None:
    """The exit code is the result."""
    done = run_in_shell(">&-", option, url=sandbox.url, folder=tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
