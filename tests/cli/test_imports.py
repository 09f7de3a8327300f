"""Every load waits for what is imported at its start, so only what every load needs is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import RUN_SECONDS, record_line, schema_line

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

LINES = [schema_line("users", {"id": {"type": "integer"}}), record_line("users", {"id": 1})]

UNNEEDED: Final = {
    "target_segment_objects.cli.check": "for --check",
    "target_segment_objects.cli.dry_run": "for --dry-run",
    "target_segment_objects.cli.ledger_command": "another command",
    "target_segment_objects.cli.sandbox_run": "for --sandbox",
    "target_segment_objects.ledger": "for ledger_path",
    "target_segment_objects.mapping.fallback_validation": "for what jsonschema-rs cannot read",
    "target_segment_objects.sandbox": "for --sandbox",
    "target_segment_objects.singer.parquet_rows": "for Parquet files",
    "email.policy": "for all metadata of a package, when only its version is needed",
    "difflib": "for names that are not known",
    "pyarrow": "for Parquet files",
    "rich": "for a terminal",
    "sqlite3": "for ledger_path",
    "xxhash": "for ledger_path",
}
"""Modules, and what they are for."""

START = "import sys\nfrom target_segment_objects.cli.command import run_command\n"
PRINT_MODULES = "print(*sys.modules, sep='\\n', file=sys.stderr)\n"


def run_python(code: str, *arguments: str, lines: list[str] | None = None) -> list[str]:
    """Run code in a process of its own, and return the lines that it writes to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input="".join(f"{line}\n" for line in lines or []),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


@pytest.fixture(scope="module")
def imported() -> frozenset[str]:
    """The modules that the command imports before it reads its options."""
    return frozenset(run_python(START + PRINT_MODULES))


@pytest.mark.parametrize("name", UNNEEDED)
def test_the_command_does_not_import_what_a_load_does_not_need(
    imported: frozenset[str], name: str
) -> None:
    """It is imported where it is used."""
    assert name not in imported, f"{name} is {UNNEEDED[name]}"


def test_an_ordinary_load_does_not_import_it_later(sandbox: Sandbox, tmp_path: Path) -> None:
    """A load of valid records to Segment needs none of these modules."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"write_key": "k", "api_url": sandbox.url}), encoding="utf-8")
    code = f"{START}try:\n    run_command()\nfinally:\n    {PRINT_MODULES}"
    imported = run_python(code, "--config", str(config), lines=LINES)
    assert "target_segment_objects.cli.load" in imported
    assert not UNNEEDED.keys() & set(imported)
    assert sandbox.warehouse.count("users") == 1
