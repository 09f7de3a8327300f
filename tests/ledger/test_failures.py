"""What can go wrong with the ledger in a run of the real command: one line, and no wrong skip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.ledger.file import Destination, LedgerFile
from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

pytestmark = pytest.mark.slow

SCHEMA = schema_line("users", {"id": {"type": "integer"}, "n": {"type": "integer"}})


def build_lines(records: int, version: int = 0) -> list[str]:
    """Return the messages of a table, with a STATE at the end."""
    rows = (record_line("users", {"id": number, "n": version}) for number in range(records))
    return [SCHEMA, *rows, state_line({"version": version})]


def build_config(sandbox: Sandbox, path: Path, **config: Any) -> dict[str, Any]:  # noqa: ANN401 - any settings
    """Return the configuration of a run with a ledger."""
    return {"write_key": "k", "api_url": sandbox.url, "ledger_path": str(path), **config}


def check_error(result: subprocess.CompletedProcess[str], *parts: str, code: int = 1) -> None:
    """Check that a run failed with one line that has all these parts, and wrote no STATE."""
    assert (result.returncode, result.stdout) == (code, "")
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if "ERROR" in line]
    assert len(errors) == 1, result.stderr
    assert all(part in errors[0] for part in parts), errors


def test_second_process_is_refused(sandbox: Sandbox, run_target: RunTarget, tmp_path: Path) -> None:
    """While one process has the ledger, another one sends nothing, and says why."""
    path = tmp_path / "ledger.sqlite"
    config = build_config(sandbox, path)
    with closing(LedgerFile.open(path, Destination(sandbox.url, "k"))):
        result = run_target(lines=build_lines(3), config=config)
    check_error(result, "Another run is using the ledger", str(path))
    assert sandbox.warehouse.sessions() == []
    assert run_target(lines=build_lines(3), config=config).returncode == 0


def test_foreign_ledger_is_refused(sandbox: Sandbox, run_target: RunTarget, tmp_path: Path) -> None:
    """A ledger of another write key skips nothing: the run does not start."""
    path = tmp_path / "ledger.sqlite"
    assert run_target(lines=build_lines(3), config=build_config(sandbox, path)).returncode == 0
    config = build_config(sandbox, path, write_key="other")
    result = run_target(lines=build_lines(3), config=config)
    check_error(result, "another write key", "adopt-key", code=2)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everything")
def test_unwritable_ledger(sandbox: Sandbox, run_target: RunTarget, tmp_path: Path) -> None:
    """A file without write permission ends the run before anything is sent."""
    path = tmp_path / "ledger.sqlite"
    config = build_config(sandbox, path)
    assert run_target(lines=build_lines(3), config=config).returncode == 0
    path.chmod(0o400)
    check_error(run_target(lines=build_lines(3, 1), config=config), "cannot be", "permissions")


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_full_disk_fails_the_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """A write that fails ends the run without a STATE; with space again, everything is sent."""
    path = tmp_path / "ledger.sqlite"
    config = tmp_path / "config.json"
    config.write_text(json.dumps(build_config(sandbox, path)), encoding="utf-8")
    command = [*TARGET, "--config", str(config)]
    limited = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )

    def run(version: int, *prefix: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, *command],
            input="".join(f"{line}\n" for line in build_lines(20_000, version)),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    result = run(0, sys.executable, "-c", limited)
    check_error(result, "ledger", str(path), "Then run again")
    result = run(1)
    assert (result.returncode, json.loads(result.stdout)) == (0, {"version": 1})
    assert {row["n"] for row in sandbox.warehouse.rows("users", limit=20_001)} == {1}
    assert sandbox.warehouse.count("users") == 20_000


def test_without_a_ledger_its_code_is_not_imported(sandbox: Sandbox, tmp_path: Path) -> None:
    """A run without `ledger_path` imports neither the package, nor SQLite or xxhash for it."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"write_key": "k", "api_url": sandbox.url}), encoding="utf-8")
    code = (
        "import sys\n"
        "from target_segment_objects.cli.command import run_command\n"
        "try:\n"
        "    run_command()\n"
        "finally:\n"
        "    names = ('sqlite3', 'xxhash', 'target_segment_objects.ledger')\n"
        "    print([name for name in names if name in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "--config", str(config)],
        input="".join(f"{line}\n" for line in build_lines(3)),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "[]"
