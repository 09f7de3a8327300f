"""The wheel, installed without extras into an empty environment, as users get it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import record_line, schema_line, state_line
from tests.support.environments import create_environment
from tests.support.project import copy_project

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
(VERSION,) = re.findall(
    r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install from a copy without Git, and return the folder of the commands."""
    folder = tmp_path_factory.mktemp("empty")
    return create_environment(folder / "environment", str(copy_project(folder / "copy")))


def run_command(
    commands: Path, command: str, *arguments: str, stdin: str = ""
) -> tuple[int, str, str]:
    """Run a command of the wheel; return its exit code, standard output and standard error."""
    done = subprocess.run(
        [commands / command, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_target_loads_a_record(commands: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    """It prints its version and settings, and loads a record into an API in another process."""
    code, version, _ = run_command(commands, "target-segment-objects", "--version")
    assert (code, VERSION in version) == (0, True)
    code, about, _ = run_command(commands, "target-segment-objects", "--about", "--format", "json")
    assert (code, json.loads(about)["version"]) == (0, VERSION)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"write_key": "k", "api_url": sandbox.url}), encoding="utf-8")
    lines = [
        schema_line("users", {"id": {"type": "integer"}}),
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
    ]
    code, out, err = run_command(
        commands, "target-segment-objects", "--config", str(config), stdin="\n".join(lines) + "\n"
    )
    assert (code, out) == (0, '{"at":1}\n'), err
    assert sandbox.warehouse.count("users") == 1


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        pytest.param("target-segment-objects", ("--sandbox", "w.duckdb"), id="target"),
        pytest.param("segment-objects-sandbox", ("show", "w.duckdb"), id="sandbox"),
    ],
)
def test_sandbox_names_the_missing_extra(
    commands: Path, command: str, arguments: tuple[str, ...]
) -> None:
    """Without the extra: one line that says what to install, no traceback, exit code 1."""
    code, _, err = run_command(commands, command, *arguments)
    assert code == 1
    assert "pip install 'target-segment-objects[sandbox]'" in err
    assert "Traceback" not in err


def test_ledger_command_needs_no_extra(commands: Path) -> None:
    """It is installed with the target."""
    code, out, _ = run_command(commands, "segment-objects-ledger", "--version")
    assert (code, out.split()[0]) == (0, "segment-objects-ledger")


def test_wheel_has_the_package_and_its_types_only(commands: Path) -> None:
    """It has `py.typed` and the files of the sandbox's page, and neither tests nor samples."""
    command = "import target_segment_objects as t; print(t.__file__)"
    done = subprocess.run(
        [commands / "python", "-c", command],
        cwd=commands,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=True,
    )
    package = Path(done.stdout.strip()).parent
    assert package.parent.name == "site-packages"
    assert (package / "py.typed").exists()
    for name in ("static", "templates"):
        data = Path("sandbox/page") / name
        expected = {file.name for file in (ROOT / "target_segment_objects" / data).iterdir()}
        assert expected
        assert {file.name for file in (package / data).iterdir()} == expected
    assert not (package.parent / "tests").exists()
    assert sys.prefix not in str(package)
