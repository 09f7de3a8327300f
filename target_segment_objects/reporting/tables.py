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


def fit_table(
    rows: Sequence[Sequence[str]], width: int, *, dropped_first: Sequence[str]
) -> Iterator[str]:
    """Yield the line of each row of a table of names and figures, as wide as the terminal at most.

    If a name is too long even without the columns that can be dropped, the names have lines of
    their own, with the figures below each.

    Args:
        rows: The headings, then the rows. The first cell is a name, the others are figures; a
            figure that no row has is left out.
        width: That of the terminal.
        dropped_first: Headings of the columns that a narrow terminal does without, the least
            important first.
    """
    names, *columns = zip(*rows, strict=True)
    columns = [column for column in columns if any(column[1:])]
    width_beside_names = width - max(map(len, names)) - len(COLUMN_GAP)
    fitting = _drop_columns(columns, width_beside_names, dropped_first)
    if measure_columns(fitting) <= width_beside_names:
        yield from align_rows(list(zip(names, *fitting, strict=True)), text_columns=1)
        return
    figures = list(zip(*_drop_columns(columns, width, dropped_first), strict=True))
    for name, line in zip(names, align_rows(figures, text_columns=0), strict=True):
        yield f"{shorten(name, width)}\n{line}"


def shorten(text: str, width: int) -> str:
    """Truncate a text to a width, with an ellipsis at its end."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def wrap_line(line: str, width: int | None) -> list[str]:
    """Return a line that is wrapped between words, with its indentation; None for any width."""
    if width is None or len(line) <= width:
        return [line]
    import textwrap  # noqa: PLC0415 - not at the start, which every load waits for

    indentation = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=f"{indentation}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _drop_columns(
    columns: Iterable[tuple[str, ...]], width: int, dropped_first: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return the columns without the least important ones, as many as are too many."""
    kept = {column[0]: column for column in columns}
    for heading in dropped_first:
        if measure_columns(kept.values()) > width:
            kept.pop(heading, None)  # not every table has it
    return list(kept.values())
