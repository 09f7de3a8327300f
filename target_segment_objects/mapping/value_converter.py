"""Convert values one by one, with every limit and warning: what no whole column can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from target_segment_objects import limits
from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.column_conversion import decode_value
from target_segment_objects.mapping.values import (
    ENCODING_ERRORS,
    MAX_UTF8_BYTES,
    explain_encoding_error,
    has_non_finite,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from target_segment_objects.mapping.columns import Column
    from target_segment_objects.mapping.data_warnings import DataWarnings
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.values import Scalar


class ValueConverter:
    """Converts the values of one stream.

    Args:
        stream: The stream's name, for errors.
        warnings: Takes what is changed or lost.
        truncate: Whether a string of 32 KB or more is truncated.
    """

    def __init__(self, stream: str, warnings: DataWarnings, *, truncate: bool) -> None:
        self._stream = stream
        self._warnings = warnings
        self._truncate = truncate

    def convert_odd_values(
        self,
        properties: Sequence[PropertyMapping],
        columns: Sequence[Column],
        converted: list[Column],
        odd: Mapping[int, Collection[int]],
        excluded: Collection[int],
    ) -> dict[int, InvalidRecordError]:
        """Convert the values that were not converted with their columns.

        Args:
            properties: The property of each column.
            columns: The columns before the conversion.
            converted: The converted columns, in which the values are replaced.
            odd: By column, the rows of these values.
            excluded: The rows whose values do not matter.

        Returns:
            By row, why a record cannot be sent.
        """
        errors: dict[int, InvalidRecordError] = {}
        for position, rows in odd.items():
            column = [*converted[position]]
            for row in sorted(rows):
                column[row] = UNSET
                if row in excluded or row in errors:
                    continue
                value = decode_value(columns[position][row])
                try:
                    column[row] = self.convert_value(properties[position], value)
                except InvalidRecordError as error:
                    errors[row] = error
            converted[position] = column
        return errors

    def convert_value(self, prop: PropertyMapping, value: object) -> Scalar:
        """Return a value as it is sent.

        Raises:
            InvalidRecordError: It cannot be sent.
        """
        if value is None:
            return None
        try:
            converted = prop.convert(value)
        except ENCODING_ERRORS as error:
            raise self._refuse(explain_encoding_error(error), prop) from None
        if converted is not value and _lost_non_finite(value, converted):
            self._warnings.warn_non_finite(prop.label)
        if isinstance(converted, str):
            return self._limit_string(prop, converted)
        if isinstance(converted, msgspec.Raw) and len(converted) >= limits.VALUE_BYTES_LIMIT:
            # A truncated number would be another number.
            raise self._refuse(_explain_size(len(converted)), prop)
        return converted

    def _limit_string(self, prop: PropertyMapping, text: str) -> str:
        """Return a string that Segment accepts as a value."""
        if len(text) <= limits.WAREHOUSE_STRING_CHARACTERS:
            return text
        if len(text) * MAX_UTF8_BYTES >= limits.VALUE_BYTES_LIMIT:
            try:
                encoded = text.encode()
            except ENCODING_ERRORS as error:
                raise self._refuse(explain_encoding_error(error), prop) from None
            if len(encoded) >= limits.VALUE_BYTES_LIMIT:
                return self._truncate_string(prop, encoded)
        self._warnings.warn_long(prop.path)
        return text

    def _truncate_string(self, prop: PropertyMapping, encoded: bytes) -> str:
        """Return as much of a string as Segment accepts, if the user wants that."""
        if not self._truncate:
            raise self._refuse(_explain_size(len(encoded)), prop)
        self._warnings.warn_truncated(prop.label)
        return encoded[: limits.VALUE_BYTES_LIMIT - 1].decode(errors="ignore")

    def _refuse(self, reason: str, prop: PropertyMapping) -> InvalidRecordError:
        return InvalidRecordError(self._stream, reason, field=prop.label)


def _lost_non_finite(value: object, converted: Scalar) -> bool:
    """Return whether NaN or an infinity became null, by itself or inside a JSON text."""
    if converted is None:
        return True
    is_json_text = isinstance(converted, str) and not isinstance(value, str)
    return is_json_text and "null" in str(converted) and has_non_finite(value)


def _explain_size(size: int) -> str:
    return f"a value of {size} bytes; Segment accepts less than {limits.VALUE_BYTES_LIMIT}"
