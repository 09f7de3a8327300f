"""A local Segment: the Objects Bulk API over HTTP, and a warehouse in a DuckDB file.

The sandbox rejects what Segment's documentation says is rejected, and shows what would land in a
warehouse. It imports nothing of this package but facts (`limits`, `reserved_names`, `exit_codes`)
and tools without rules (`gzip_reading`, `loopback`, `plurals`). The target's tests rely on it, so
it implements the rules a second time instead of calling the target's own code.

    column_names → objects → warehouse → uploads, sessions → session_queue → endpoints
    warehouse → wording → verdict → terminal_report, json_report
    sessions, request_log, terminal_report, json_report → page
    endpoints, page → server, show → cli

An uploaded file is checked line by line (`objects`), waits on disk with the record of its session
(`session_queue`), and is merged into tables (`warehouse`).

This module is cheap to import. Only `load_sandbox` imports rich and the packages of the extra
`sandbox` (DuckDB, Starlette, uvicorn).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.errors import (
    SandboxNotInstalledError,
    WarehouseError,
    WarehouseInUseError,
)

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

__all__ = ["SandboxNotInstalledError", "WarehouseError", "WarehouseInUseError", "load_sandbox"]

_OPTIONAL_MODULES: Final = frozenset({"anyio", "duckdb", "h11", "rich", "starlette", "uvicorn"})
"""Modules of the extra `sandbox`, and rich, which the target itself requires."""


def load_sandbox() -> type[Sandbox]:
    """Import the sandbox.

    Returns:
        The class `Sandbox`.

    Raises:
        SandboxNotInstalledError: A package of the extra `sandbox` is missing.
    """
    if find_spec("jinja2") is None:  # not imported yet: a sandbox without a page does not need it
        raise SandboxNotInstalledError
    try:
        # The report, too: a package that it lacks is then found before a run, not after it.
        from target_segment_objects.sandbox import server, terminal_report  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OPTIONAL_MODULES:
            raise SandboxNotInstalledError from error
        raise
    return server.Sandbox
