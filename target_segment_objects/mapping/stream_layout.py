"""How one stream's records are decoded and sent now: its properties, their columns, and its types.

It changes with a SCHEMA, with what another stream of the collection has sent, and with what records
have that the schema does not say. Compiling takes time, so that not each of these is worth it at
once: until then, such records are decoded untyped.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.exceptions import UnmappableStreamError
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.layout import MAX_UNDECLARED, compile_layout
from target_segment_objects.mapping.property_tree import build_tree
from target_segment_objects.mapping.schema import (
    SchemaTooLargeError,
    find_untyped_properties,
    read_property_types,
)
from target_segment_objects.mapping.schema_simplification import UnsupportedSchemaError
from target_segment_objects.mapping.typed_decoder import TypedDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.mapping.json_lines import Record
    from target_segment_objects.mapping.layout import Layout
    from target_segment_objects.mapping.mapping_options import MappingOptions
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.schema import PropertyType
    from target_segment_objects.mapping.stream_state import StreamState

_PROPERTIES_PER_RECORD: Final = 16
_MAX_RECORDS: Final = 32
"""Compiling takes 20 µs a property. So many records save that, or fewer of a narrow stream."""

_MAX_PATIENCE: Final = 64

_LOGGER: Final = logging.getLogger(__name__)


class StreamLayout:
    """How the records of one stream are decoded and sent.

    Args:
        stream: The stream's name.
        collection: The collection of its objects.
        schema: The stream's JSON schema.
        key_properties: The names of the properties that make the id; none for a digest.
        options: The user's choices.
        state: What the stream's mapping remembers across SCHEMAs.
        make_metadata: Returns the metadata that the SDK adds to a record; None if it adds none.
        use_types: Whether records are decoded with types where that is possible.

    Attributes:
        properties: The declared properties in the order in which they are sent.
        tree: The record with its declared properties.
        types: Decodes records with types; None if they are decoded untyped.

    Raises:
        UnmappableStreamError: A declared property cannot have a name in Segment.
    """

    def __init__(
        self,
        stream: str,
        collection: str,
        schema: dict[str, Any],
        key_properties: Sequence[str],
        *,
        options: MappingOptions,
        state: StreamState,
        make_metadata: Callable[[], Record] | None,
        use_types: bool,
    ) -> None:
        self._stream = stream
        self._collection = collection
        self._schema = schema
        self._key_properties = key_properties
        self._options = options
        self._sent = state.properties
        self._warnings = state.warnings
        self._make_metadata = make_metadata
        self._use_types = use_types
        self._layout: Layout | None = None
        self._compiled_for: tuple[object, ...] = ()
        self._can_use_types = use_types
        self._untyped_count = 0  # records that were decoded untyped since the layout was compiled
        self._patience = 1  # grows, because in some streams each record has something new
        self.types: TypedDecoder | None = None
        types = _read_types(stream, schema, options.max_depth)
        self._insert_properties(self._sent.map_declared(types, find_untyped_properties(schema)))
        self._sent.save(self._sent.take_unsaved())  # what was read before is delivered

    def renew_properties(self) -> None:
        """Map the properties again if another stream of the collection has changed how.

        Raises:
            UnmappableStreamError: A type does not fit what the other stream has sent.
        """
        properties = self._sent.renew()
        if properties != self._unsorted:
            self._insert_properties(properties)

    def count_untyped(self, count: int) -> None:
        """Count records that were decoded untyped."""
        self._untyped_count += count

    def get_layout(self) -> Layout:
        """Return the columns of the next records, compiled again if that is worth it."""
        depends_on = (
            self._sent.version,
            self._warnings.long_paths,
            self._warnings.omitted_metadata,
            min(len(self._sent.undeclared), MAX_UNDECLARED + 1),
        )
        layout = self._layout
        is_outdated = layout is None or self._compiled_for[0] != self._sent.version
        if not is_outdated and self._compiled_for != depends_on:
            is_outdated = self._is_worth_compiling(self._untyped_count / self._patience)
            if is_outdated:
                self._patience = min(2 * self._patience, _MAX_PATIENCE)
        if layout is None or is_outdated:
            layout = self._layout = compile_layout(
                self._collection,
                self.properties,
                self._sent.undeclared,
                self.tree,
                key_properties=self._key_properties,
                send_nulls=self._options.null_properties == "send",
                warned_long_paths=self._warnings.long_paths,
                unsent=self._sent.valueless,
            )
            self._compiled_for = depends_on
            self._untyped_count = 0
            self.types = None
            self._can_use_types = self._use_types
        return layout

    def compile_types(self, layout: Layout, count: int, get_example: Callable[[], Record]) -> None:
        """Compile types for the next records, if they are worth it.

        Args:
            layout: Their columns.
            count: How many there are.
            get_example: Returns the first of them.
        """
        if (
            self.types is None
            and self._can_use_types
            and self._is_worth_compiling(self._untyped_count + count)
        ):
            self.types = self._create_decoder(layout, get_example())
            self._can_use_types = self.types is not None

    def _insert_properties(self, properties: list[PropertyMapping]) -> None:
        self._unsorted = properties
        self.properties = properties
        if self._options.sorts_properties:
            self.properties = sorted(properties, key=lambda prop: prop.path)
        self.tree = build_tree(properties)
        self._layout = None

    def _is_worth_compiling(self, count: float) -> bool:
        """Return whether so many records take more time than compiling what saves it."""
        property_count = len(self.properties) + len(self._sent.undeclared)
        return count >= min(property_count / _PROPERTIES_PER_RECORD, _MAX_RECORDS)

    def _create_decoder(self, layout: Layout, example: Record) -> TypedDecoder | None:
        """Return the typed decoder; None if no types express the schema."""
        if self._key_properties and layout.keys is None:
            return None
        try:
            return TypedDecoder(
                stream=self._stream,
                schema=self._schema,
                properties=layout.properties,
                undeclared=layout.undeclared,
                ignored=self._warnings.omitted_metadata,
                make_metadata=self._make_metadata,
                send_nulls=self._options.null_properties == "send",
                warned_long_paths=self._warnings.long_paths,
                example=example,
            )
        except UnsupportedSchemaError as reason:
            name = naming.format_path((self._stream,))
            _LOGGER.debug("No types express the schema of stream '%s': %s.", name, reason)
            return None


def _read_types(
    stream: str, schema: dict[str, Any], max_depth: int | None
) -> dict[PropertyPath, PropertyType]:
    """Return the types of the declared properties, of which each can have a name."""
    try:
        types = read_property_types(schema, max_depth=max_depth)
    except SchemaTooLargeError as error:
        label = None if error.property is None else naming.format_path((error.property,))
        subject = "its SCHEMA" if label is None else f"the property '{label}'"
        msg = (
            f"Stream '{stream}': {subject} {error.reason}. Drop or simplify it with stream_maps, "
            "or correct the tap's schema."
        )
        raise UnmappableStreamError(msg) from None
    for path in types:
        if not naming.to_path_name(path):
            msg = (
                f"Stream '{stream}': the property '{naming.format_path(path)}' has no letter or "
                "digit in its name, so Segment has no name for it. Rename or drop it with "
                "stream_maps."
            )
            raise UnmappableStreamError(msg)
    return types
