"""What users get: the wheel, in an empty environment, with no extras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import record_line, schema_line, state_line

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
INSTALL_SECONDS = 280


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, and return the folder of its commands."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    python = folder / SCRIPTS / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", str(ROOT)],
        check=True,
        timeout=INSTALL_SECONDS,
    )
    return folder / SCRIPTS


def run(scripts: Path, command: str, *arguments: str, said: str = "") -> tuple[int, str, str]:
    """Run one of its commands."""
    done = subprocess.run(
        [scripts / command, *arguments],
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_it_runs_the_target(scripts: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    """Version, settings, and a record into an API that runs elsewhere."""
    assert run(scripts, "target-segment-objects", "--version")[0] == 0
    code, about, _ = run(scripts, "target-segment-objects", "--about", "--format", "json")
    assert (code, json.loads(about)["name"]) == (0, "target-segment-objects")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"write_key": "k", "api_url": sandbox.url}), encoding="utf-8")
    lines = [
        schema_line("users", {"id": {"type": "integer"}}),
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
    ]
    code, out, err = run(
        scripts, "target-segment-objects", "--config", str(config), said="\n".join(lines) + "\n"
    )
    assert (code, out) == (0, '{"at":1}\n'), err
    assert sandbox.warehouse.count("users") == 1


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("target-segment-objects", ("--sandbox", "w.duckdb")),
        ("segment-objects-sandbox", ("show", "w.duckdb")),
    ],
)
def test_the_sandbox_says_what_to_install(
    scripts: Path, command: str, arguments: tuple[str, ...]
) -> None:
    """Without its extra: one line, no traceback, no exit code 0."""
    code, _, err = run(scripts, command, *arguments)
    assert code == 1
    assert "pip install 'target-segment-objects[sandbox]'" in err
    assert "Traceback" not in err


def test_it_holds_the_package_and_its_types_alone(scripts: Path) -> None:
    """No tests, no samples; `py.typed`, so that users' type checkers look at it."""
    command = "import target_segment_objects as t; print(t.__file__)"
    done = subprocess.run(
        [scripts / "python", "-c", command],
        cwd=scripts,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    package = Path(done.stdout.strip()).parent
    assert package.parent.name == "site-packages"
    assert (package / "py.typed").exists()
    assert not (package.parent / "tests").exists()
    assert sys.prefix not in str(package)
