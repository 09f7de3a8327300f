"""The result of mapping a group of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from target_segment_objects.exceptions import InvalidRecordError
    from target_segment_objects.mapping.properties.memory import SentProperty


class MappedRecords(msgspec.Struct):
    """The result of mapping a group of records.

    Attributes:
        objects: The JSON of the objects, in the order of their records.
        rows: The position of each object's record in the group.
        rejects: The records that cannot be sent, in order: position and reason.
        violations: The records that are sent although they do not match their schema: position,
            and the properties that do not.
        unsaved: What later runs have to know of the properties of these records: the position of
            the record, before whose object it is to be saved, and the property.
        count: How many records of the group were mapped, from the first on.
        untyped: How many of them were decoded untyped.
        failure: The record at which the stream stops, and why; None if it does not. No record
            after it was mapped.
    """

    objects: list[bytes] = []
    rows: Sequence[int] = ()
    rejects: list[tuple[int, InvalidRecordError]] = []
    violations: list[tuple[int, Collection[str]]] = []
    unsaved: list[tuple[int, SentProperty]] = []
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
        rows = self.rows if isinstance(self.rows, list) else [*self.rows]
        rows += [positions[row] for row in part.rows]
        self.rows = rows
        self.rejects += [(positions[row], error) for row, error in part.rejects]
        self.violations += [(positions[row], names) for row, names in part.violations]
        self.unsaved += [(positions[row], prop) for row, prop in part.unsaved]
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
