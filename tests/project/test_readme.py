"""The README is true: its commands run, its settings are the code's, its links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from target_segment_objects.settings import SETTINGS
from tests.support import RUN_SECONDS, TARGET

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def settings_table() -> str:
    """Return the settings as the README should show them."""
    rows = []
    for name, declared in SETTINGS["properties"].items():
        rows.append(f"| `{name}` | {_default(name, declared)} | {declared['description']} |")
    return "\n".join(rows)


def _default(name: str, declared: dict[str, Any]) -> str:
    if name in SETTINGS["required"]:
        return "required"
    return f"`{json.dumps(declared['default'])}`" if "default" in declared else "not set"


def test_the_settings_are_those_of_the_code() -> None:
    """Every setting is in the README's table, with its default and its description, in order."""
    assert f"\n|---|---|---|\n{settings_table()}\n\nBeside these" in README


def test_the_first_command_loads_the_sample_and_shows_what_landed(tmp_path: Path) -> None:
    """Behind its installation, it is the command that runs here: in one line, in a clone."""
    assert COMMANDS[0].count("\n") == 1
    *_, command = COMMANDS[0].split(" && ")
    arguments = shlex.split(command)
    assert arguments[0] == ".venv/bin/target-segment-objects"
    arguments[arguments.index("warehouse.duckdb")] = str(tmp_path / "warehouse.duckdb")
    done = subprocess.run(
        [*TARGET, *arguments[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "flights: 3,375 objects, 20 columns" in done.stderr
    assert "Nothing was lost" in done.stderr
    show = subprocess.run(
        [sys.executable, "-m", "target_segment_objects.sandbox.cli", "show", arguments[2]],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_SECONDS,
        check=False,
    )
    assert "planes: 1,203 objects" in show.stdout


def test_ci_runs_the_readme_s_two_commands() -> None:
    """CI takes them from the README itself, so the second is the one that runs the tests."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'bash -c "$(readme 1)"' in script
    assert 'bash -c "$(readme 2)"' in script
    assert COMMANDS[1].count("\n") == 1
    assert "pytest" in COMMANDS[1]


def test_links_to_files_lead_somewhere() -> None:
    """Every relative link of the documents is to a file that is there."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("samples/*.md")]:
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_no_registry_is_named() -> None:
    """Package registries are reached by the user's own set-up: no address of one in the project."""
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - git is wherever the user has it
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    hosts = re.compile("pypi" + r"\.org|pythonhosted" + r"\.org|registry\.npmjs")
    for name in listed.stdout.split():
        content = (ROOT / name).read_bytes().decode(errors="ignore")
        assert not hosts.search(content), name


def test_the_messages_in_the_troubleshooting_table_are_those_that_are_said() -> None:
    """Each begins as the code has it, so that a user finds there what the screen says."""
    table = README[README.index("| the message says |") :]
    files = (ROOT / "target_segment_objects").glob("**/*.py")
    code = " ".join("".join(file.read_text(encoding="utf-8") for file in files).split())
    code = re.sub(r'" f?"', "", code)
    messages = re.findall(r"^\| `(?:… )?([^…`]{8,}?)(?: ?…[^`]*| [45]\.\.)?`", table, re.MULTILINE)
    assert len(messages) > 15
    for message in messages:
        assert message.rstrip(" :") in code
