"""A sandbox that is stopped, on a full disk, and without its folder or host."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from target_segment_objects.sandbox.cli import main
from target_segment_objects.sandbox.server import Sandbox
from tests.sandbox.test_cli import run_command, running_command, running_server
from tests.support.bare_http import (
    BareClient,
    object_line,
)

if TYPE_CHECKING:
    from pathlib import Path

POSIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals and limits")


# Stop


@pytest.mark.slow
@POSIX_ONLY
def test_two_signals_at_once_are_one(tmp_path: Path) -> None:
    """Where a service manager and a command that forwards both send one, it is one stop."""
    with running_server("--warehouse", tmp_path / "w.duckdb", "--port", "0") as (process, url):
        BareClient(url).load_files(object_line())
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["w.duckdb"]


@pytest.mark.slow
@POSIX_ONLY
def test_hangup_stops_as_well(tmp_path: Path) -> None:
    """A terminal that is closed stops the sandbox as Ctrl-C does."""
    with running_server("--warehouse", tmp_path / "w.duckdb", "--port", "0") as (process, _):
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
    assert process.returncode == 0


IMPORT_SLOWLY = """
import sys, time
class Pause:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Pause())
from target_segment_objects.__main__ import main_sandbox
main_sandbox()
"""


@pytest.mark.slow
@POSIX_ONLY
def test_ctrl_c_during_the_start_prints_nothing(tmp_path: Path) -> None:
    """Nothing is open yet, so the process just ends."""
    command = [sys.executable, "-c", IMPORT_SLOWLY, "serve", "--warehouse", str(tmp_path / "w")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "importing\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == ("", "")
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGINT


# A full disk

SERVE_WITH_A_SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from target_segment_objects.sandbox.cli import main
main(["serve", "--port", "0", "--warehouse", sys.argv[2]])
"""
DISK_BYTES = 3_000_000


@pytest.mark.slow
@POSIX_ONLY
def test_full_disk(tmp_path: Path) -> None:
    """Upload, Finish, page and `show` say that the file cannot grow, each in one line."""
    path = tmp_path / "w.duckdb"
    command = [sys.executable, "-c", SERVE_WITH_A_SMALL_DISK, str(DISK_BYTES), str(path)]
    noise = random.Random(0).randbytes(DISK_BYTES)  # noqa: S311 - not for security
    with running_command(command) as (process, url):
        client = BareClient(url)
        sync_id = client.start_session()
        lines = b"".join(
            object_line({"a": noise[at : at + 100].hex()}, object_id=str(at))
            for at in range(0, len(noise), 100)
        )
        response = client.upload_lines(sync_id, lines)
        assert response.status == 500
        assert response.reason == "the sandbox cannot write its files: File too large"
        half = lines[: lines.index(b"\n", len(lines) // 2) + 1]
        client.load_files(half, half.replace(b'"id": "', b'"id": "x'))
        shown = run_command("show", path)
        assert shown.returncode == 1
        assert "File too large" in shown.stderr
        response = client.finish_session(client.start_session())
        assert response.status == 500
        assert "File too large" in response.reason
        assert "rollback" not in shown.stderr + response.reason
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in shown.stderr + out + err
    assert err.splitlines()[-1].startswith("Error: Session ")
    with Sandbox(path) as sandbox:  # there is room again
        assert sandbox.warehouse.count("users") > 0


# Files and addresses


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64])
def test_unknown_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A name that no machine has, or can have, is called so."""

    def find_nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if "." in host:  # without a question to a DNS server
        monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
    options = ["--warehouse", str(tmp_path / "w.duckdb"), "--allow-remote", "--host", host]
    done = CliRunner().invoke(main, ["serve", *options])
    assert (done.exit_code, done.output) == (
        1,
        f"Error: Unknown host: {host}. Choose another --host.\n",
    )


def test_missing_folder(tmp_path: Path) -> None:
    """A file in a folder that is not there is an error in one line, without DuckDB's prefix."""
    done = run_command("serve", "--warehouse", tmp_path / "none" / "w.duckdb", "--port", "0")
    assert done.returncode == 1
    assert f"there is no folder {tmp_path / 'none'}" in done.stderr
    assert "IO Error" not in done.stderr
    assert done.stderr.count("\n") == 1
