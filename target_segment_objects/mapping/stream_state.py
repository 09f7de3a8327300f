"""What the mapping of a stream remembers for the whole run, across changed SCHEMAs.

Each stream has a state of its own. Streams that share a collection share its properties: a column
has one name and one type, whichever stream sends a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.properties.stream import StreamProperties

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.mapping.properties.collection import CollectionProperties


class StreamState:
    """The memory of one stream's mapping.

    Attributes:
        properties: How its properties are sent.
        warnings: The warnings that were given.
    """

    def __init__(
        self, stream: str, log: Callable[[str], object], collection: CollectionProperties
    ) -> None:
        self.properties = StreamProperties(stream, collection, log)
        self.warnings = DataWarnings(stream, log)
