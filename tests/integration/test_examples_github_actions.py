"""The workflow in examples/github-actions: valid, pinned, and its load is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.support import RUN_SECONDS
from tests.support.example_loads import EXAMPLES, make_loads

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

WORKFLOW: Final = EXAMPLES / "github-actions" / "load.yml"
CONTENT: Final[dict[Any, Any]] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
STEPS: Final[list[dict[str, Any]]] = CONTENT["jobs"]["load"]["steps"]
CACHED: Final = [step["with"]["path"].split() for step in STEPS if "cache" in step.get("uses", "")]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "command",
    [
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows"),
        ("check-jsonschema", "--builtin-schema", "custom.github-workflows-require-timeout"),
        ("zizmor", "--offline", "--pedantic", "--quiet"),
    ],
    ids=["schema", "timeouts", "security"],
)
def test_workflow_passes_the_checks_of_our_own(command: tuple[str, ...]) -> None:
    """What checks the workflows of this project accepts it, too."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [program, *command[1:], str(WORKFLOW)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_those_of_our_own_workflows() -> None:
    """An action that the project uses itself has the same version here, and all are pinned."""
    own = (EXAMPLES.parent / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    for step in STEPS:
        if "uses" in step:
            action, _, commit = step["uses"].partition("@")
            assert len(commit) == 40
            assert f"{action}@" not in own or step["uses"] in own


def test_one_run_at_a_time_and_what_it_keeps() -> None:
    """A second run waits; STATE and ledger are restored, and saved also if the load fails."""
    assert CONTENT["concurrency"]["cancel-in-progress"] is False
    assert CACHED == [["segment/state.json", "segment/ledger.sqlite"]] * 2
    assert STEPS[-1]["if"] == "always()"
    keys = {step["with"]["key"] for step in STEPS if "cache" in step.get("uses", "")}
    assert len(keys) == 1
    assert "run_attempt" in keys.pop(), "a cache never changes: each attempt has a key of its own"


@pytest.mark.skipif(shutil.which("flock") is None, reason="load.sh needs flock")
def test_second_run_continues_from_the_first(tmp_path: Path, sandbox: Sandbox) -> None:
    """The step `Load` runs as written; its second run gets the STATE and sends nothing again."""
    loads = make_loads(tmp_path, sandbox.url)
    checkout = tmp_path / "checkout"
    (checkout / "segment").mkdir(parents=True)
    shutil.copy(loads / "load.sh", checkout / "segment")
    shutil.copy(loads / "tap.json", checkout / "segment")
    for name, command in {"tap": "tap-x", "target": "target-segment-objects"}.items():
        commands = tmp_path / "temp" / name / "bin"
        commands.mkdir(parents=True)
        shutil.copy(loads / ".venv" / "bin" / command, commands)
    (step,) = (step for step in STEPS if step.get("name") == "Load")
    given = {name: value for name, value in step["env"].items() if "secrets." not in value}
    variables = {
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "any",
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
    }
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],  # noqa: S607 - as GitHub runs it
            cwd=checkout,
            env=os.environ | given | variables,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stderr)
    first, second = (checkout / "segment" / "tap.calls").read_text(encoding="utf-8").splitlines()
    assert second == f"{first} --state state.json"
    assert "1 unchanged" in outputs[1]
    assert all((checkout / path).exists() for path in CACHED[0])
