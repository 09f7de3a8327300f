"""Shell blocks of the documentation run as written, or say why they cannot be run here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from target_segment_objects.settings import SETTINGS
from tests.support import RUN_SECONDS, record_line, schema_line, state_line

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/*.md", "examples/*/*.md", "samples/*.md")
    for path in sorted(ROOT.glob(pattern))
]
BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<reason>[^>]+) -->\n\n *)?"
    r"```(?:sh|bash|zsh|fish|shell|console)\n(?P<commands>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
USERS_SCHEMA = schema_line("users", {"id": {"type": "integer"}})

posix_only = pytest.mark.skipif(os.name != "posix", reason="the commands are for a POSIX shell")


@dataclass(frozen=True, slots=True)
class Block:
    """A shell block of a document."""

    name: str
    commands: str
    reason_not_run: str | None


def list_blocks() -> list[Block]:
    """Return all shell blocks of the documentation."""
    blocks = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("commands")) + 1
            name = f"{document.relative_to(ROOT).as_posix()}:{line}"
            commands = re.sub(rf"^{match['indent']}", "", match["commands"], flags=re.MULTILINE)
            blocks.append(Block(name, commands, match["reason"]))
    return blocks


RUN = [
    pytest.param(block, id=block.name) for block in list_blocks() if block.reason_not_run is None
]


@pytest.fixture
def folder(tmp_path: Path, sandbox: Sandbox) -> Path:
    """A folder as the documentation assumes it: configurations, a tap, rejected records."""
    project = tmp_path / "project"
    commands = project / "bin"
    commands.mkdir(parents=True)
    (project / ".venv").symlink_to(sys.prefix)
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "invalid_records": "dead_letter",
        "dead_letter_path": "rejects.singer",
    }
    (project / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (project / "tap.json").write_text("{}", encoding="utf-8")
    lines = [
        USERS_SCHEMA,
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
    ]
    (project / "rejects.singer").write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
    tap = commands / "tap-x"
    tap.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n", encoding="utf-8")
    tap.chmod(0o755)
    return project


def run_shell(folder: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands with /bin/sh, which is dash on Debian and Ubuntu; stop at the first failure."""
    path = os.pathsep.join(
        [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    return subprocess.run(
        ["/bin/sh", "-eu", "-c", commands],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_SECONDS,
        check=False,
    )


@posix_only
@pytest.mark.parametrize("block", RUN)
def test_block_runs_as_written(folder: Path, block: Block) -> None:
    """Its commands succeed in a folder with the files that the documentation names."""
    if "warehouse.duckdb" in block.commands:
        sample = shlex.quote(str(ROOT / "samples" / "nycflights13.singer.gz"))
        load = f"target-segment-objects --sandbox warehouse.duckdb --input {sample}"
        done = run_shell(folder, load)
        assert done.returncode == 0, done.stderr
    if "segment-objects-ledger" in block.commands:
        load = "target-segment-objects --config config.json --config=ENV"
        done = run_shell(folder, f"tap-x | TARGET_SEGMENT_OBJECTS_LEDGER_PATH=ledger.sqlite {load}")
        assert done.returncode == 0, done.stderr
    done = run_shell(folder, block.commands)
    assert done.returncode == 0, done.stderr


def test_blocks_are_found() -> None:
    """The pattern finds blocks that run and blocks that do not; each of these has a reason."""
    blocks = list_blocks()
    fences = sum(
        len(re.findall(r"^ *```(?:sh|bash|zsh|fish|shell|console)$", text, re.MULTILINE))
        for text in (document.read_text(encoding="utf-8") for document in DOCUMENTS)
    )
    assert len(blocks) == fences
    assert len(RUN) >= 5
    assert all(block.reason_not_run or block.commands for block in blocks)


@posix_only
def test_last_state_is_kept(folder: Path) -> None:
    """After the documented load, state.json has one line: the last STATE."""
    (commands,) = (block.commands for block in list_blocks() if ">> state.json" in block.commands)
    for _ in range(2):
        done = run_shell(folder, commands)
        assert done.returncode == 0, done.stderr
    assert (folder / "state.json").read_text(encoding="utf-8") == '{"at":1}\n'


def test_documented_log_configuration_writes_json(
    tmp_path: Path, run_target: RunTarget, environment: dict[str, str]
) -> None:
    """With the YAML file of docs/logging.md, every log line is a JSON object."""
    text = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert yaml.safe_load(block)["version"] == 1
    (tmp_path / "logging.yml").write_text(block, encoding="utf-8")
    done = run_target(
        "--dry-run",
        lines=[USERS_SCHEMA, record_line("users", {"id": 1})],
        environment=environment | {"SINGER_SDK_LOG_CONFIG": "logging.yml"},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {"INFO"} == {line["level"].upper() for line in lines}


def test_example_of_the_environment_names_known_variables() -> None:
    """Each variable of .env.example is a setting, or one that the README names."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    names = re.findall(r"TARGET_SEGMENT_OBJECTS_(\w+)=", text)
    assert names[0] == "WRITE_KEY"
    others = {"SANDBOX", "LOGLEVEL"}
    assert {name.lower() for name in names if name not in others} <= set(SETTINGS["properties"])
