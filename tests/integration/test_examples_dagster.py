"""The assets in examples/dagster, run by the real Dagster into the sandbox."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING, Any

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
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

ARGUMENTS = "--config ../tap.json --catalog catalog.json"
READ_METADATA = """\
import dagster, json, sys
instance = dagster.DagsterInstance.get()
(record,) = instance.fetch_materializations(dagster.AssetKey(sys.argv[1]), limit=1).records
metadata = record.asset_materialization.metadata
print(json.dumps({name: value.value for name, value in metadata.items()}))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """An installed Dagster."""
    yield from provide_tool(tmp_path_factory, "dagster>=1.11,<2")


@pytest.fixture
def loads(tmp_path: Path, sandbox: Sandbox) -> Path:
    """The folder of the loads, with the definitions, and Dagster's own folder in it."""
    loads = make_loads(tmp_path, sandbox.url)
    source = EXAMPLES / "dagster" / "definitions.py"
    copy_example(source, loads / "definitions.py", {"delay=60": "delay=1"})
    (loads / "home").mkdir()
    shutil.copy(EXAMPLES / "dagster" / "dagster.yaml", loads / "home")
    return loads


def run_dagster(dagster: Tool, loads: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the instance of the folder."""
    environment = {"DAGSTER_HOME": str(loads / "home"), "DAGSTER_DISABLE_TELEMETRY": "1"}
    return dagster.run(*arguments, folder=loads, environment=environment)


def run_job(dagster: Tool, loads: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of the README."""
    (command,) = read_block("dagster", 1)
    return run_dagster(dagster, loads, *shlex.split(command))


def read_metadata(dagster: Tool, loads: Path, asset: str) -> dict[str, Any]:
    """Return the metadata of the only materialization of an asset."""
    done = run_dagster(dagster, loads, "python", "-c", READ_METADATA, asset)
    metadata: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return metadata


def test_failed_asset_is_retried_and_metrics_become_metadata(
    dagster: Tool, loads: Path, sandbox: Sandbox
) -> None:
    """An asset whose tap fails is loaded again; what the target counts is in the metadata."""
    (loads / "accounts" / "fail-once").touch()
    done = run_job(dagster, loads)
    assert done.returncode == 0, done.stdout
    assert "end: exit code 4 of the tap, 0 of the target" in done.stdout
    assert read_calls(loads, "accounts") == [ARGUMENTS] * 2
    assert read_calls(loads, "orders") == [ARGUMENTS]
    assert sorted(sandbox.warehouse.collections()) == list(GROUPS)
    metadata = read_metadata(dagster, loads, "accounts")
    assert metadata.pop("seconds") > 0
    assert metadata == {
        "dagster/row_count": 1,
        "objects sent to accounts": 1,
        "objects rejected": 0,
        "sessions": 1,
        "exit code of the tap": 0,
        "exit code of the target": 0,
    }


def test_usage_error_is_not_retried(dagster: Tool, loads: Path) -> None:
    """If the target exits with 2, the job fails after one attempt, and the STATE stays."""
    (loads / "config.json").write_text("not JSON", encoding="utf-8")
    for group in GROUPS:
        (loads / group / "state.json").write_text('{"at":0}\n', encoding="utf-8")
    done = run_job(dagster, loads)
    assert done.returncode == 1
    assert "of the tap, 2 of the target" in done.stdout
    for group in GROUPS:
        assert read_calls(loads, group) == [f"{ARGUMENTS} --state state.json"]
        assert (loads / group / "state.json").read_text(encoding="utf-8") == '{"at":0}\n'


def test_pool_limits_loads_at_the_same_time(dagster: Tool, loads: Path) -> None:
    """With a limit of 1 for the pool, one load ends before the next starts."""
    source = EXAMPLES / "dagster" / "dagster.yaml"
    copy_example(source, loads / "home" / "dagster.yaml", {"default_limit: 4": "default_limit: 1"})
    done = run_job(dagster, loads)
    assert done.returncode == 0, done.stdout
    assert [len(read_calls(loads, group)) for group in GROUPS] == [1, 1]
    assert not (loads / "overlapped").exists()
