"""A clock that only the test moves."""

from __future__ import annotations


class FrozenClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now
