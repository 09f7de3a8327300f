"""What the tests of the examples share: an installed tool, and a folder with loads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import TARGET
from tests.support.environments import create_environment, run_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
GROUPS = ("accounts", "orders")

TAP = """\
#!/bin/sh
echo "$*" >> tap.calls
touch running
sleep 0.3
for other in ../*/running; do [ "$other" = "../${PWD##*/}/running" ] || touch ../overlapped; done
rm running
if [ -e fail-once ]; then rm fail-once; exit 4; fi
name=${PWD##*/}
echo '{"type":"SCHEMA","stream":"'$name'","schema":{"properties":{"id":{"type":"integer"}}},\
"key_properties":["id"]}'
echo '{"type":"RECORD","stream":"'$name'","record":{"id":1}}'
echo '{"type":"STATE","value":{"at":1}}'
"""
"""A tap that writes a record of the stream with its folder's name, and notes what it was given."""


@dataclass(frozen=True, slots=True)
class Tool:
    """An orchestrator in an environment of its own."""

    commands: Path

    def run(
        self, *arguments: str, folder: Path, environment: Mapping[str, str], timeout: int = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the tool; standard error is in its standard output."""
        path = os.pathsep.join([str(self.commands), "/usr/bin", "/bin"])
        return run_command(
            [self.commands / arguments[0], *arguments[1:]],
            folder=folder,
            environment={"PATH": path, "HOME": str(folder), "PYTHONUTF8": "1", **environment},
            timeout=timeout,
        )


def provide_tool(factory: pytest.TempPathFactory, requirement: str) -> Iterator[Tool]:
    """Install a tool, or skip the test with the reason why that failed; remove it at the end."""
    if shutil.which("flock") is None:
        pytest.skip("load.sh needs flock")
    folder = factory.mktemp("tool")
    try:
        yield Tool(create_environment(folder, requirement))
    except subprocess.TimeoutExpired as error:
        pytest.skip(f"{requirement} was not installed in {error.timeout:.0f} s")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{requirement} cannot be installed: {(error.stderr or '').strip()[-200:]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # environments are large and pytest keeps folders


def make_loads(folder: Path, api_url: str) -> Path:
    """Make the folder that the READMEs of Airflow and Dagster describe."""
    loads = folder / "loads"
    commands = loads / ".venv" / "bin"
    commands.mkdir(parents=True)
    shutil.copy(EXAMPLES / "cron" / "load.sh", loads)
    target = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec {" ".join(TARGET)} "$@"\n'
    for name, script in {"tap-x": TAP, "target-segment-objects": target}.items():
        (commands / name).write_text(script, encoding="utf-8")
        (commands / name).chmod(0o755)
    write_config(loads, api_url)
    (loads / "tap.json").write_text("{}", encoding="utf-8")
    for group in GROUPS:
        (loads / group).mkdir()
        (loads / group / "catalog.json").write_text("{}", encoding="utf-8")
    return loads


def write_config(loads: Path, api_url: str) -> None:
    """Write the configuration of the target."""
    config = {"write_key": "k", "api_url": api_url, "max_parallel_sessions": 4, "max_retries": 0}
    (loads / "config.json").write_text(json.dumps(config), encoding="utf-8")


def copy_example(source: Path, target: Path, replacements: Mapping[str, str]) -> None:
    """Copy a file of an example, with each old text, which must exist, replaced."""
    text = source.read_text(encoding="utf-8")
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    target.write_text(text, encoding="utf-8")


def read_calls(loads: Path, group: str) -> list[str]:
    """Return the arguments that the tap of a group was given, one string for each call."""
    return (loads / group / "tap.calls").read_text(encoding="utf-8").splitlines()


def read_block(example: str, number: int) -> list[str]:
    """Return the commands of a shell block in the README of an example."""
    text = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    block = text.split("```sh\n")[number].split("```")[0]
    return [line.strip() for line in block.strip().splitlines()]
