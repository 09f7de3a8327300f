"""The setting `max_invalid_records`: how many records a run may reject before it fails."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

PATTERN: Final = "^([0-9]{1,18}|[0-9]{1,3}([.][0-9]{1,9})?%)$"
"""What the setting may look like as a string."""

_MIN_RECORDS: Final = 1000  # before so many records, a percentage says little


class RejectLimit(msgspec.Struct, frozen=True):
    """The maximum number of rejected records, or their maximum percentage of all records.

    Attributes:
        setting: The value of `max_invalid_records`.
    """

    setting: int | str

    def is_exceeded(self, rejected: int, read: int, *, at_end: bool = False) -> bool:
        """Return whether the run has to fail.

        Args:
            rejected: The number of rejected records so far.
            read: The number of records read so far.
            at_end: Whether the input was read to its end. Only then does a percentage apply to
                less than 1,000 records.
        """
        value = str(self.setting).strip()
        if value.endswith("%"):
            share = Decimal(value[:-1])
            return (at_end or read >= _MIN_RECORDS) and rejected * 100 > share * read
        return rejected > int(value)
