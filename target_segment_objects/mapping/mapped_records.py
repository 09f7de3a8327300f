"""What became of a group of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from target_segment_objects.exceptions import InvalidRecordError


class MappedRecords(msgspec.Struct):
    """What became of a group of records.

    Attributes:
        objects: The JSON of the objects, in the order of their records.
        rows: The position of each object's record in the group.
        rejects: The records that cannot be sent, in order: position and reason.
        violations: For each record that is sent although it does not match its schema, the
            properties that do not.
        count: How many records of the group were mapped, from the first on.
        untyped: How many of them were decoded untyped.
        failure: The record at which the stream stops, and why; None if it does not. No record
            after it was mapped.
    """

    objects: list[bytes] = []
    rows: Sequence[int] = ()
    rejects: list[tuple[int, InvalidRecordError]] = []
    violations: list[Collection[str]] = []
    count: int = 0
    untyped: int = 0
    failure: tuple[int, Exception] | None = None

    def add(self, part: MappedRecords, positions: Sequence[int]) -> None:
        """Add what became of a part of the group, which begins after what was added before.

        Args:
            part: The part.
            positions: The position in the group of each record of the part.
        """
        self.objects += part.objects
        self.rows = [*self.rows, *(positions[row] for row in part.rows)]
        self.rejects += [(positions[row], error) for row, error in part.rejects]
        self.violations += part.violations
        self.count += part.count
        self.untyped += part.untyped
        if part.failure is not None:
            row, error = part.failure
            self.failure = (positions[row], error)

    def add_objects(self, objects: Sequence[bytes], rows: Sequence[int]) -> None:
        """Add objects whose records are between those that were added."""
        merged = sorted(
            [*zip(self.rows, self.objects, strict=True), *zip(rows, objects, strict=True)]
        )
        self.rows = [row for row, _ in merged]
        self.objects = [line for _, line in merged]
