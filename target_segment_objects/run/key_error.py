"""The error of a record without a key, as users of the Singer SDK expect it."""

from __future__ import annotations

from singer_sdk.exceptions import MissingKeyPropertiesError

from target_segment_objects.exceptions import MissingKeyError


class KeyPropertyMissingError(MissingKeyError, MissingKeyPropertiesError):
    """A key property has no value; also the SDK's own error for it, for those who catch that."""
