"""A memory of properties that lasts as long as the test, in place of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping.mapper import MappingOptions, RecordMapper
from target_segment_objects.mapping.properties.collection import (
    CollectionProperties,
    PropertyMemory,
    SentProperty,
)
from target_segment_objects.mapping.stream_state import StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from target_segment_objects.mapping.properties.type_changes import TypeChanges

ADVICE = "Forget it."


class RememberedProperties:
    """What runs have sent, by name."""

    def __init__(self, *known: SentProperty) -> None:
        """Start with what an earlier run has sent."""
        self.saved: dict[str, SentProperty] = {}
        self.messages: list[str] = []
        for prop in known:
            self.save(prop)

    def save(self, prop: SentProperty) -> None:
        """Store a property."""
        self.saved[prop.name] = prop

    def start_run(self, type_changes: TypeChanges = "fail") -> StreamState:
        """Return the state of the stream `s` at the start of a run."""
        memory = PropertyMemory(
            known=list(self.saved.values()),
            save=self.save,
            type_changes=type_changes,
            log_info=lambda _, message: self.messages.append(message),
            log_warning=lambda _, message: self.messages.append(message),
            advice=ADVICE,
        )
        return StreamState("s", self.messages.append, CollectionProperties("s", memory))


def compile_mapper(
    state: StreamState,
    properties: Mapping[str, Any],
    *,
    keys: Sequence[str] = ("id",),
    options: MappingOptions | None = None,
) -> RecordMapper:
    """Return a mapper of the stream `s`."""
    schema = {"type": "object", "properties": dict(properties)}
    return RecordMapper("s", "s", schema, keys, options=options or MappingOptions(), state=state)
