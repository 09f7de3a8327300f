"""When a STATE may be written: the decision alone, without I/O, threads or a clock.

A STATE covers every object that was added before it. Objects travel in batches, so it is enough to
know which batches were opened before the STATE and are not delivered. The rules:

1. A STATE is released once every batch that was opened before it is delivered, and never earlier.
2. Only the newest STATE that may be released is: an older one says less. A newer STATE is never
   followed by an older one, and the same STATE is never released twice in a row.
3. A batch is opened once and delivered once. Any other step is a bug, and a `ValueError`.
4. At most one STATE is kept for each undelivered batch, however many are added.

So each undelivered batch holds the newest STATE that was added after it and before the next
undelivered one. When a batch is delivered, its STATE passes to the undelivered batch before it, or
is released if there is none.

The caller writes what `add_state` and `mark_delivered` return, in the order in which they return
it; with several threads, it does so under the lock that guards these calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A STATE to write; its value may be any JSON, null included."""

    state: Any


class Checkpoints:
    """Follows batches and STATEs, and says which STATE to write next."""

    def __init__(self) -> None:
        self._held: dict[Hashable, Checkpoint | None] = {}  # by undelivered batch, oldest first
        self._latest: Checkpoint | None = None

    def open_batch(self, batch: Hashable) -> None:
        """Register a batch; it holds back every STATE that is added from now on.

        Raises:
            ValueError: It was opened before and is not delivered.
        """
        if batch in self._held:
            msg = f"batch {batch!r} is open already"
            raise ValueError(msg)
        self._held[batch] = None

    def mark_delivered(self, batch: Hashable) -> Checkpoint | None:
        """Register the delivery of a batch, and return the STATE to write now, if any.

        Raises:
            ValueError: The batch was not opened, or is delivered already.
        """
        if batch not in self._held:
            msg = f"batch {batch!r} was not opened, or is delivered already"
            raise ValueError(msg)
        batches = list(self._held)
        index = batches.index(batch)
        checkpoint = self._held.pop(batch)
        if checkpoint is not None and index > 0:
            self._held[batches[index - 1]] = checkpoint
            return None
        return checkpoint

    def add_state(self, state: Any) -> Checkpoint | None:  # noqa: ANN401 - STATE is any JSON
        """Add a STATE, and return it if it is to be written now."""
        if self._latest is not None and _is_same_json(state, self._latest.state):
            return None
        checkpoint = self._latest = Checkpoint(state)
        if not self._held:
            return checkpoint
        self._held[next(reversed(self._held))] = checkpoint
        return None


def _is_same_json(left: object, right: object) -> bool:
    """Compare as JSON does: for Python, `1`, `1.0` and `true` are equal."""
    return left == right and repr(left) == repr(right)
