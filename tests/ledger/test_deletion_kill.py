"""A run that is killed while it marks rows: the next complete run marks the rest."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.ledger.test_deletion_runs import activation_line, users
from tests.support import RUN_SECONDS, TARGET, state_line
from tests.support.faulty_proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals"),
]

KNOWN, GONE, MARKED = 160, 120, 20


def table(version: int, numbers: Iterable[int]) -> list[str]:
    """Return the messages of a complete run."""
    return [*users(numbers), activation_line("users", version), state_line(version)]


def list_marked(sandbox: Sandbox) -> set[int]:
    """Return the ids that are marked in the warehouse."""
    rows = sandbox.warehouse.rows("users", limit=2 * KNOWN)
    return {int(row["id"]) for row in rows if row.get("sdc_deleted_at") is not None}


@pytest.mark.parametrize("call", [0, 1, 2], ids=["Start", "upload", "Finish"])
def test_killed_while_marking(
    sandbox: Sandbox, tmp_path: Path, run_target: RunTarget, call: int
) -> None:
    """After `kill -9`, the next run marks the rest, with no option for what the guard refuses."""
    rest = range(GONE, KNOWN)
    with FaultyProxy(sandbox.url) as proxy:
        config = {
            "write_key": "k",
            "api_url": proxy.url,
            "ledger_path": str(tmp_path / "ledger.sqlite"),
            "deleted_records": "mark",
            "deleted_hours_between_runs": 0,
        }
        for version, numbers in enumerate((range(KNOWN), range(KNOWN), rest)):
            assert run_target(lines=table(version, numbers), config=config).returncode == 0
        proxy.script.extend([*[None] * (3 * MARKED + call), "hold"])
        path = tmp_path / "killed.json"
        path.write_text(json.dumps({**config, "batch_size_rows": 1}), encoding="utf-8")
        file = tmp_path / "input.singer"
        file.write_text("\n".join(table(3, rest)), encoding="utf-8")
        arguments = ("--config", str(path), "--input", str(file), "--accept-deletes")
        with subprocess.Popen(
            [*TARGET, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            assert proxy.held.wait(RUN_SECONDS)
            process.kill()
        assert len(list_marked(sandbox)) == MARKED
        proxy.released.set()
        result = run_target(lines=table(4, rest), config=config)
        assert (result.returncode, json.loads(result.stdout)) == (0, 4)
        assert list_marked(sandbox) == set(range(GONE))
        assert run_target(lines=table(5, rest), config=config).returncode == 0
        objects = sum(session.objects for session in sandbox.warehouse.sessions())
        assert objects <= KNOWN + GONE + 1  # the one whose Finish had no answer is sent twice
