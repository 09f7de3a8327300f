"""What a warehouse changes in values that do not fit, and how report and page say it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class LossKind(Enum):
    """What happened to a value that did not fit."""

    TYPE = "type"
    RANGE = "range"
    FRACTION = "fraction"
    PRECISION = "precision"
    CUT = "cut"
    BYTES = "bytes"
    NUL = "nul"
    SHADOWED = "shadowed"
    DISCARDED = "discarded"


REDSHIFT_LOSS: Final = LossKind.BYTES.value
"""The loss that happens on Redshift only, and not in the sandbox."""

LOSS_LABELS: Final = {
    LossKind.TYPE.value: "not of the column's type: stored as null",
    LossKind.RANGE.value: "out of the column's range: stored as null",
    LossKind.FRACTION.value: "stored without the fraction",
    LossKind.PRECISION.value: "stored with fewer digits",
    LossKind.CUT.value: "cut off after 512 characters",
    LossKind.BYTES.value: "stored here; Redshift keeps 512 bytes",
    LossKind.NUL.value: "stored without its NUL characters",
    LossKind.SHADOWED.value: "not stored: the column is the object's id",
    LossKind.DISCARDED.value: "not stored: Segment has a column of this name",
}
"""Each kind in words. A file of someone else may have other kinds."""


@dataclass(frozen=True, slots=True)
class Loss:
    """How many values of a column had a loss of this kind, and the id of the first one's object."""

    collection: str
    column: str
    kind: str
    count: int
    example_id: str
