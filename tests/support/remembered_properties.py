"""A memory of properties that lasts as long as the test, in place of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping.mapper import RecordMapper
from target_segment_objects.mapping.mapping_options import MappingOptions
from target_segment_objects.mapping.properties.collection import CollectionProperties
from target_segment_objects.mapping.properties.memory import PropertyMemory, SentProperty
from target_segment_objects.mapping.stream_state import StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from target_segment_objects.mapping.properties.type_changes import TypeChanges

ADVICE = "Forget it."


def create_state(
    stream: str,
    log: Callable[[str], object],
    *,
    log_info: Callable[[str], object] = lambda _: None,
    memory: PropertyMemory | None = None,
    type_changes: TypeChanges = "fail",
    max_name_length: int | None = None,
) -> StreamState:
    """Return the state of a stream whose collection has no other stream.

    Args:
        stream: The name of the stream.
        log: Takes a warning.
        log_info: Takes another message.
        memory: What earlier runs have sent; None if there was none.
        type_changes: The setting.
        max_name_length: The most characters of a new name; None for no limit.
    """
    collection = CollectionProperties(
        stream,
        memory or PropertyMemory(),
        type_changes=type_changes,
        log_info=lambda _, message: log_info(message),
        log_warning=lambda _, message: log(message),
        max_name_length=max_name_length,
    )
    return StreamState(stream, log, collection)


class RememberedProperties(PropertyMemory):
    """What runs have sent, by name."""

    def __init__(self, *known: SentProperty) -> None:
        """Start with what an earlier run has sent."""
        self.saved: dict[str, SentProperty] = {}
        self.messages: list[str] = []
        for prop in known:
            self.save_property("s", prop)

    def read_properties(self, collection: str) -> list[SentProperty]:
        """Return what was sent."""
        assert collection == "s"
        return list(self.saved.values())

    def save_property(self, collection: str, prop: SentProperty) -> None:
        """Store a property."""
        assert collection == "s"
        self.saved[prop.name] = prop

    def describe_reset(self, collection: str) -> str:
        """Return the advice."""
        assert collection == "s"
        return ADVICE

    def start_run(self, type_changes: TypeChanges = "fail") -> StreamState:
        """Return the state of the stream `s` at the start of a run."""
        log = self.messages.append
        return create_state("s", log, log_info=log, memory=self, type_changes=type_changes)


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
