"""Tables of plain text: columns that are as wide as their widest cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

COLUMN_GAP: Final = "  "


def align_rows(rows: Sequence[Sequence[str]], *, text_columns: int) -> Iterator[str]:
    """Yield a line for each row, without spaces at its end.

    Args:
        rows: The cells, as many in each row.
        text_columns: How many columns, from the left, are text. The others are numbers, which are
            aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if position < text_columns else f"{cell:>{width}}"
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield COLUMN_GAP.join(cells).rstrip()


def measure_columns(columns: Iterable[Sequence[str]]) -> int:
    """Return how wide a table of these columns is."""
    widths = [max(map(len, column)) for column in columns]
    return sum(widths) + len(COLUMN_GAP) * (len(widths) - 1)
