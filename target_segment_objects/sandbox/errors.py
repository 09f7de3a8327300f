"""The sandbox's errors. This module imports nothing of the extra `sandbox`.

The reason of a rejected request says what to change. It may name a property, never its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class SandboxNotInstalledError(ImportError):
    """Raised when a package of the extra `sandbox` is missing."""

    def __init__(self) -> None:
        super().__init__(
            "The sandbox needs more packages. Run: pip install 'target-segment-objects[sandbox]'"
        )


class WarehouseError(Exception):
    """Raised when a file cannot be used as a warehouse. Names the file and the reason."""


class WarehouseInUseError(WarehouseError):
    """Raised when another process has the file open."""


class RefusedQueryError(Exception):
    """Raised for a query that is not run, or fails. Says why in one line."""


class RejectedRequestError(Exception):
    """Raised for a request that breaks a rule of the API. Becomes the HTTP response.

    Args:
        reason: What is wrong and how to fix it.
        status: HTTP status of the response.
        line: Number of the invalid line in the uploaded file, from 1, if there is one.
        headers: Additional headers of the response.

    Attributes:
        lines: The invalid line and those beside it, with their numbers. For the page, which only
            the user can read; never in a response or a log.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int = 400,
        line: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.line = line
        self.lines: tuple[tuple[int, str], ...] = ()
        self.headers = headers

    def to_json(self) -> dict[str, dict[str, str | int]]:
        """Return the response's JSON: `{"error": {"reason": …, "line": …}}`."""
        error: dict[str, str | int] = {"reason": self.reason}
        if self.line is not None:
            error["line"] = self.line
        return {"error": error}
