"""What others know of delivery, with a ledger before it or without, and what it knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream whose objects are delivered.

    Attributes:
        name: Its name, after stream maps.
        collection: The collection of its objects.
        key_properties: The names of the properties that make the id.
        properties: The names and types of the declared properties, as they are sent.
    """

    name: str
    collection: str
    key_properties: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A snapshot of delivery.

    Attributes:
        sessions: The number of batches that are being uploaded.
        outstanding: Collection to the number of objects that were added and are not delivered.
        oldest_seconds: Age of the oldest batch that is not delivered; None when all are.
        uploaded_bytes: Compressed bytes that were uploaded.
    """

    sessions: int
    outstanding: Mapping[str, int]
    oldest_seconds: float | None
    uploaded_bytes: int = 0


class Journal(Protocol):
    """Records what delivery sends, by the threads that send it: a ledger does."""

    def commit(self) -> None:
        """Make durable what was recorded; called before the first session of each batch."""

    def mark_accepted(self, collection: str, count: int) -> None:
        """Record that Segment has accepted (202) the next objects of a collection."""


class Delivery(Protocol):
    """Takes objects and STATEs in the tap's order, from one thread."""

    def open_stream(self, stream: StreamInfo) -> Callable[[Sequence[bytes]], None]:
        """Return what adds the JSON of some of the stream's objects, in order; at each SCHEMA."""

    def add_state(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Add a STATE's value, which covers every object added so far."""

    def get_status(self) -> DeliveryStatus:
        """Return a snapshot; may be called from any thread, at any time."""

    def drain(self) -> None:
        """Deliver everything that was added, and stop."""

    def abort(self, reason: str) -> None:
        """Finish every open session with an error, and leave the rest; takes seconds at most."""
