"""The DAG in examples/airflow, run by the real Airflow into the sandbox."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.example_loads import (
    EXAMPLES,
    GROUPS,
    Tool,
    copy_example,
    make_loads,
    provide_tool,
    read_block,
    read_calls,
    write_config,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

NULL_EXECUTOR = """\
from airflow.executors.base_executor import BaseExecutor

class NullExecutor(BaseExecutor):
    def start(self): pass
    def end(self): pass
    def terminate(self): pass
    def _process_workloads(self, workloads): pass
"""
"""An executor that leaves each task in the queue: only the scheduler is tested."""

ARGUMENTS = "--config ../tap.json --catalog catalog.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the first test installs Airflow
    pytest.mark.skipif(sys.version_info >= (3, 14), reason="Airflow 3 has no release for it"),
]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """An installed Airflow."""
    yield from provide_tool(tmp_path_factory, "apache-airflow>=3,<4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each test has the folder of its loads."""
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="module")
def database(airflow: Tool, place: Path) -> Path:
    """The file of a new database, with what the README sets in it; each test copies it."""
    environment = make_environment(place)
    for command in ("airflow db migrate", *read_block("airflow", 1)):
        arguments = shlex.split(command.replace("$LOADS", str(place / "loads")))
        done = airflow.run(*arguments, folder=place, environment=environment, timeout=240)
        assert done.returncode == 0, done.stdout
    return place / "airflow.db"


@pytest.fixture
def loads(place: Path, sandbox: Sandbox) -> Iterator[Path]:
    """The folder of the loads."""
    loads = make_loads(place, sandbox.url)
    yield loads
    shutil.rmtree(loads)


@pytest.fixture
def home(database: Path, tmp_path: Path) -> Path:
    """A new Airflow with the DAG of the example."""
    home = tmp_path / "airflow"
    (home / "dags").mkdir(parents=True)
    shutil.copy(database, home)
    replacements = {"minutes=5": "seconds=1", "retries=2": "retries=1"}
    source = EXAMPLES / "airflow" / "load_segment.py"
    copy_example(source, home / "dags" / "load_segment.py", replacements)
    return home


def make_environment(home: Path) -> dict[str, str]:
    """Return the environment of an Airflow."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__FERNET_KEY": "",  # else a copied database could not be decrypted
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(home),
    }


def run_dag(airflow: Tool, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the DAG with the command of the README."""
    (command,) = read_block("airflow", 2)
    return airflow.run(*shlex.split(command), folder=home, environment=make_environment(home))


def test_failed_task_is_retried(airflow: Tool, loads: Path, home: Path, sandbox: Sandbox) -> None:
    """If the tap of a group fails, its task is run again, and the DAG succeeds."""
    (loads / "orders" / "fail-once").touch()
    done = run_dag(airflow, home)
    assert done.returncode == 0, done.stdout
    assert "end: exit code 4 of the tap, 0 of the target" in done.stdout
    assert read_calls(loads, "accounts") == [ARGUMENTS]
    assert read_calls(loads, "orders") == [ARGUMENTS] * 2
    assert sorted(sandbox.warehouse.collections()) == list(GROUPS)
    for group in GROUPS:
        assert (loads / group / "state.json").read_text(encoding="utf-8") == '{"at":1}\n'


def test_failed_target_fails_the_dag(airflow: Tool, loads: Path, home: Path) -> None:
    """The tap gets the STATE; if Segment cannot be reached, the DAG fails and the STATE stays."""
    write_config(loads, "http://127.0.0.1:9")
    for group in GROUPS:
        (loads / group / "state.json").write_text('{"at":0}\n', encoding="utf-8")
    done = run_dag(airflow, home)
    assert done.returncode == 1
    assert "end: exit code 0 of the tap, 1 of the target" in done.stdout
    for group in GROUPS:
        assert read_calls(loads, group) == [f"{ARGUMENTS} --state state.json"] * 2
        assert (loads / group / "state.json").read_text(encoding="utf-8") == '{"at":0}\n'


def test_pool_limits_loads_at_the_same_time(airflow: Tool, home: Path) -> None:
    """With slots for one load, the scheduler queues one; `dags test` ignores pools."""
    (home / "null_executor.py").write_text(NULL_EXECUTOR, encoding="utf-8")
    environment = make_environment(home) | {
        "AIRFLOW__CORE__EXECUTOR": "null_executor.NullExecutor",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    }
    for command in (
        "airflow pools set segment 4 test",
        "airflow dags reserialize",
        "airflow scheduler --num-runs 5",
    ):
        done = airflow.run(*command.split(), folder=home, environment=environment)
        assert done.returncode == 0, done.stdout
    with closing(sqlite3.connect(home / "airflow.db")) as database:
        found = database.execute("SELECT state FROM task_instance").fetchall()
    assert sorted(state for (state,) in found) == ["queued", "scheduled"]
