"""The DAG in examples/airflow, run by the real Airflow into the sandbox."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.example_loads import (
    EXAMPLES,
    GROUPS,
    Tool,
    copy_example,
    install_tool,
    make_loads,
    read_block,
    read_calls,
    write_config,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

ARGUMENTS = "--config ../tap.json --catalog catalog.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 14), reason="Airflow 3 has no release for it"),
]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """An installed Airflow."""
    folder = tmp_path_factory.mktemp("airflow")
    yield install_tool(folder / "venv", "apache-airflow>=3,<4")
    shutil.rmtree(folder, ignore_errors=True)  # environments are large and pytest keeps folders


@pytest.fixture
def loads(tmp_path: Path, sandbox: Sandbox) -> Path:
    """The folder of the loads."""
    return make_loads(tmp_path, sandbox.url)


def run_dag(airflow: Tool, loads: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the commands of the README in a new Airflow; return the last, which runs the DAG."""
    dags = home / "dags"
    dags.mkdir(parents=True)
    replacements = {"minutes=5": "seconds=1", "retries=2": "retries=1"}
    copy_example(EXAMPLES / "airflow" / "load_segment.py", dags / "load_segment.py", replacements)
    environment = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    commands = ["airflow db migrate", *read_block("airflow", 1), *read_block("airflow", 2)]
    for command in commands:
        arguments = shlex.split(command.replace("$LOADS", str(loads)))
        done = airflow.run(*arguments, folder=home, environment=environment)
        assert command == commands[-1] or done.returncode == 0, done.stdout
    return done


def test_failed_task_is_retried(
    airflow: Tool, loads: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    """If the tap of a group fails, its task is run again, and the DAG succeeds."""
    (loads / "orders" / "fail-once").touch()
    done = run_dag(airflow, loads, tmp_path / "airflow")
    assert done.returncode == 0, done.stdout
    assert "end: exit code 4 of the tap, 0 of the target" in done.stdout
    assert read_calls(loads, "accounts") == [ARGUMENTS]
    assert read_calls(loads, "orders") == [ARGUMENTS] * 2
    assert sorted(sandbox.warehouse.collections()) == list(GROUPS)
    for group in GROUPS:
        assert (loads / group / "state.json").read_text(encoding="utf-8") == '{"at":1}\n'


def test_failed_target_fails_the_dag(airflow: Tool, loads: Path, tmp_path: Path) -> None:
    """The tap gets the STATE; if Segment cannot be reached, the DAG fails and the STATE stays."""
    write_config(loads, "http://127.0.0.1:9")
    for group in GROUPS:
        (loads / group / "state.json").write_text('{"at":0}\n', encoding="utf-8")
    done = run_dag(airflow, loads, tmp_path / "airflow")
    assert done.returncode == 1
    assert "end: exit code 0 of the tap, 1 of the target" in done.stdout
    for group in GROUPS:
        assert read_calls(loads, group) == [f"{ARGUMENTS} --state state.json"] * 2
        assert (loads / group / "state.json").read_text(encoding="utf-8") == '{"at":0}\n'
