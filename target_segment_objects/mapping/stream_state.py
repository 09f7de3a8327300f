"""What the mapping of a stream remembers for the whole run, across changed SCHEMAs.

Each stream has a state of its own. Streams that share a collection share its properties: a column
has one name and one type, whichever stream sends a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.properties.collection import (
    CollectionProperties,
    PropertyMemory,
)
from target_segment_objects.mapping.properties.stream import StreamProperties

if TYPE_CHECKING:
    from collections.abc import Callable


class StreamState:
    """The memory of one stream's mapping.

    Attributes:
        properties: How its properties are sent.
        warnings: The warnings that were given.
    """

    def __init__(
        self,
        stream: str,
        log: Callable[[str], object],
        collection: CollectionProperties | None = None,
        *,
        max_name_length: int | None = None,
    ) -> None:
        """Start without a warning.

        Args:
            stream: The stream's name, for messages.
            log: Takes a warning; gets each at most once.
            collection: The properties of its collection; None if no other stream and no earlier
                run has any.
            max_name_length: The most characters of a new name then; None for no limit.
        """
        if collection is None:
            memory = PropertyMemory(log_warning=lambda _, message: log(message))
            collection = CollectionProperties(stream, memory, max_name_length=max_name_length)
        self.properties = StreamProperties(stream, collection, log)
        self.warnings = DataWarnings(stream, log)
