"""The rows of tables in the documentation, for tests that are parametrised by them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REPEATED: Final = re.compile(r"(.)…(\d+)")


@dataclass(frozen=True, slots=True)
class DocumentedRow:
    """A row of a table.

    Attributes:
        line: Its line number in the document, for the name of the test.
        cells: Heading to text; a string of many characters (`x…600`) is written out.
    """

    line: int
    cells: dict[str, str]

    def __getitem__(self, heading: str) -> str:
        """Return a cell without its code marks; empty if the table has no such column."""
        return self.cells.get(heading, "").strip("`")


def read_rows(document: Path, *headings: str) -> Iterator[DocumentedRow]:
    """Yield the rows of every table whose first columns have these headings."""
    columns: list[str] = []
    for number, text in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if not text.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if not columns:
            columns = cells
        elif columns[: len(headings)] == list(headings) and not text.startswith("|---"):
            cells = [_REPEATED.sub(lambda found: found[1] * int(found[2]), cell) for cell in cells]
            assert len(cells) == len(columns), f"{document.name}:{number}"
            yield DocumentedRow(number, dict(zip(columns, cells, strict=True)))


def count_rows(document: Path) -> int:
    """Return the number of rows of all tables, without their headings."""
    lines = document.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return len(rows) - 2 * sum(row.startswith("|---") for row in rows)
