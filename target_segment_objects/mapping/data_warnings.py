"""Warn of what is changed or lost on the way to Segment, once per stream and property."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects import limits
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.warehouse import warnings as warehouse
from target_segment_objects.reserved_names import SEGMENT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.mapping.naming import PropertyPath


def _describe_id(key_properties: Sequence[str]) -> str:
    if not key_properties:
        return "a digest of the record, because the stream has no key properties"
    return "made of " + " and ".join(naming.format_path((key,)) for key in key_properties)


class DataWarnings:
    """The warnings of one stream.

    Attributes:
        long_paths: The properties that were warned of because a warehouse truncates them.
        omitted_metadata: The names of metadata that were warned of because they are not sent.
    """

    def __init__(self, stream: str, log: Callable[[str], object]) -> None:
        """Start with nothing to warn of.

        Args:
            stream: The stream's name, for the messages.
            log: Takes a message; gets each at most once.
        """
        self._stream = naming.format_path((stream,))
        self._log = log
        self._warned: set[tuple[str, str]] = set()
        self._renamed: set[PropertyPath] = set()
        self._names: set[str] = set()
        self.long_paths: frozenset[PropertyPath] = frozenset()
        self.omitted_metadata: frozenset[str] = frozenset()

    def warn_names(self, names: Mapping[PropertyPath, str], key_properties: Sequence[str]) -> None:
        """Warn of new names that are not as expected, or that a warehouse changes or hides."""
        self._warn_renamed(names)
        self._warn_hidden_id(names, key_properties)
        self._warn_warehouse_names(names, tuple(key_properties))

    def warn_collection(self, collection: str) -> None:
        """Warn of a collection whose name a warehouse does not take."""
        self._warn_once("collection", collection, warehouse.describe_collection_name(collection))

    def warn_non_finite(self, label: str) -> None:
        """Warn of a property that has NaN or an infinity."""
        self._warn_once(
            "non-finite",
            label,
            f"the property '{label}' has NaN or infinite values. JSON has no such numbers, so null "
            "is sent.",
        )

    def warn_long(self, path: PropertyPath) -> None:
        """Warn of a property with strings that a warehouse truncates."""
        if path not in self.long_paths:
            self.long_paths |= {path}
        label = naming.format_path(path)
        self._warn_once(
            "long",
            label,
            f"the property '{label}' has strings of more than {limits.WAREHOUSE_STRING_CHARACTERS} "
            "characters. They are sent in full, but Segment's warehouses truncate them.",
        )

    def warn_schema_mismatches(self, violations: Mapping[str, str]) -> None:
        """Warn of properties with values that their schema does not accept, but that are sent.

        Args:
            violations: What the schema requires or does not allow, by property; an empty name
                stands for the record itself.
        """
        for label, violation in violations.items():
            subject = f"the property '{label}' has values" if label else "there are records"
            self._warn_once(
                "schema mismatch",
                label,
                f"{subject} that do not match its schema, which {violation}. They are sent, "
                "because nothing is lost.",
            )

    def warn_omitted_metadata(self, names: frozenset[str]) -> None:
        """Warn of a tap's metadata that is not sent."""
        new_names = names - self.omitted_metadata
        if new_names:
            self.omitted_metadata |= new_names
            self._log_warning(
                f"the tap's metadata ({', '.join(sorted(new_names))}) is not sent. Set "
                "add_record_metadata to true to send record metadata."
            )

    def warn_unchecked_pattern(self, label: str, pattern: str) -> None:
        """Warn of a pattern that is not checked."""
        self._warn_once(
            "unchecked pattern",
            f"{label} {pattern}",
            f"the property '{label}' has the pattern {pattern}, which only Python supports. It is "
            "not checked.",
        )

    def warn_truncated(self, label: str) -> None:
        """Warn of a property with strings that are truncated before they are sent."""
        self._warn_once(
            "truncated",
            label,
            f"the property '{label}' has strings of {limits.VALUE_BYTES_LIMIT} bytes or more. They "
            "are truncated.",
        )

    def _warn_renamed(self, names: Mapping[PropertyPath, str]) -> None:
        numbered: list[str] = []
        shortened: list[str] = []
        for path, name in names.items():
            wanted = naming.to_path_name(path)
            if name != wanted and path not in self._renamed:
                changes = numbered if name.startswith(wanted) else shortened
                changes.append(f"'{naming.format_path(path)}' is sent as {name}")
        if numbered:
            self._log_warning(
                f"some properties have the same name in Segment, so {', '.join(numbered)}."
            )
        if shortened:
            self._log_warning(
                f"some names are longer than flattening_max_key_length, so {', '.join(shortened)}."
            )
        if numbered or shortened:
            self._renamed.update(names)

    def _warn_hidden_id(
        self, names: Mapping[PropertyPath, str], key_properties: Sequence[str]
    ) -> None:
        for path, name in names.items():
            if name == "id" and path != tuple(key_properties):  # such a path has one level
                label = naming.format_path(path)
                advice = f"Rename '{label}' with stream_maps to keep it"
                if not key_properties:
                    advice = (
                        f'If it identifies a row, set __key_properties__ to ["{label}"] in the '
                        f"stream_maps of '{self._stream}'. Otherwise rename it there to keep it"
                    )
                self._warn_once(
                    "hidden id",
                    "",
                    f"the property '{label}' is sent as id, but a warehouse's id column holds the "
                    f"object's id instead, which is {_describe_id(key_properties)}. {advice}.",
                )

    def _warn_warehouse_names(
        self, names: Mapping[PropertyPath, str], key_properties: PropertyPath
    ) -> None:
        new_names = {path: name for path, name in names.items() if name not in self._names}
        self._names.update(new_names.values())
        if new_names.get(key_properties) in SEGMENT_COLUMNS:
            del new_names[key_properties]  # without a column of its own, its value is still the id
        for message in (
            warehouse.describe_property_names(new_names.values()),
            warehouse.describe_property_count(len(self._names)),
        ):
            self._warn_once("warehouse", message, message)

    def _warn_once(self, topic: str, label: str, message: str) -> None:
        if message and (topic, label) not in self._warned:
            self._warned.add((topic, label))
            self._log_warning(message)

    def _log_warning(self, message: str) -> None:
        self._log(f"Stream '{self._stream}': {message}")
