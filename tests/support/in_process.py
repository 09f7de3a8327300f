"""Run the target in the process of the test, against a sandbox."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from target_segment_objects.cli.load import load_input
from target_segment_objects.target import TargetSegmentObjects
from tests.support import schema_line

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

USERS = schema_line("users", {"id": {"type": "integer"}, "name": {"type": ["string", "null"]}})
"""A SCHEMA message for the tests that need no special one."""


def run_target_in_process(
    sandbox: Sandbox,
    *lines: str,
    **config: Any,  # noqa: ANN401 - settings of any type
) -> tuple[int, list[Any]]:
    """Run the target on input lines; return its exit code and the STATEs that it wrote."""
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url, **config})
    with redirect_stdout(io.StringIO()) as stdout:
        code = load_input(target, io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    return code, [json.loads(line) for line in stdout.getvalue().splitlines()]
