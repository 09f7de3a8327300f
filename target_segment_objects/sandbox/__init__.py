"""A local Segment: the Objects Bulk API over HTTP, and behind it a warehouse in a DuckDB file.

The sandbox refuses whatever Segment documents that it refuses, and shows what would have landed in
a warehouse. It shares nothing with the target but `limits`: the target's tests believe it, so it
reads the rules a second time instead of calling the target's own code.

    names → objects → parts ┐
                  columns → warehouse → api → server → cli
                 sessions ──────────────┘

This module stays cheap to import: DuckDB, Starlette and uvicorn, which come with the extra
`sandbox`, and rich are imported by `load` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

_EXTRA: Final = frozenset({"anyio", "duckdb", "h11", "rich", "starlette", "uvicorn"})
"""Modules that come with the extra `sandbox`, and rich, which comes with the target."""


class SandboxNotInstalledError(ImportError):
    """Raised when a package of the extra `sandbox` is missing."""

    def __init__(self) -> None:
        """Say what to install."""
        super().__init__(
            "The sandbox needs more packages: pip install 'target-segment-objects[sandbox]'"
        )


class WarehouseError(Exception):
    """Raised when a file cannot be used as a sandbox's warehouse; says which and why."""


def load() -> type[Sandbox]:
    """Import the sandbox.

    Returns:
        The class `Sandbox`.

    Raises:
        SandboxNotInstalledError: A package of the extra `sandbox` is missing.
    """
    try:
        # All that the extra brings, before anything starts: it may be missing.
        from target_segment_objects.sandbox import report, server  # noqa: F401, PLC0415 - see above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise SandboxNotInstalledError from error
        raise
    return server.Sandbox
