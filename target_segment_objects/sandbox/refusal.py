"""The one way in which the sandbox says no.

A reason says what to do differently. It may name a property, never a property's value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class RejectedRequestError(Exception):
    """Raised for a request that breaks a rule of the API; answered with its status and reason."""

    def __init__(
        self,
        reason: str,
        *,
        status: int = 400,
        line: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep what the answer says.

        Args:
            reason: What is wrong, and what would be right.
            status: HTTP status of the answer.
            line: Number of the line in the uploaded file, from 1, where there is one.
            headers: Headers that the answer has besides the usual ones.
        """
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.line = line
        self.headers = headers

    def at(self, line: int) -> RejectedRequestError:
        """Make the same refusal that also names a line."""
        return RejectedRequestError(
            self.reason, status=self.status, line=line, headers=self.headers
        )

    def body(self) -> dict[str, dict[str, str | int]]:
        """Make the answer's JSON: `{"error": {"reason": …, "line": …}}`."""
        said: dict[str, str | int] = {"reason": self.reason}
        if self.line is not None:
            said["line"] = self.line
        return {"error": said}
