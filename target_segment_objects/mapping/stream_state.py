"""What the mapping of a stream remembers for the whole run, across changed SCHEMAs.

Each stream has a state of its own, also if several streams share a collection. So its names depend
on its own schemas and records, and not on the order in which the streams arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.properties.stream import StreamProperties

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.mapping.properties.sent import PropertyMemory


class StreamState:
    """The memory of one stream's mapping.

    Attributes:
        properties: The names and types of its properties.
        warnings: The warnings that were given.
    """

    def __init__(
        self,
        stream: str,
        log: Callable[[str], object],
        *,
        memory: PropertyMemory | None = None,
        max_name_length: int | None = None,
    ) -> None:
        """Start without a warning, and with the names and types of earlier runs.

        Args:
            stream: The stream's name, for messages.
            log: Takes a warning; gets each at most once.
            memory: What a ledger remembers of the stream's properties; None without one.
            max_name_length: The most characters of a property's new name; None for no limit.
        """
        self.properties = StreamProperties(stream, memory, log, max_name_length=max_name_length)
        self.warnings = DataWarnings(stream, log)
