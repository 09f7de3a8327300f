"""Bars as an SVG, drawn by hand: three panels need no library."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_WIDTH: Final = 760
_LEFT: Final = 190  # of the bars; names stand to the left
_RIGHT: Final = 90  # for the figure behind the longest bar
_BAR: Final = 20
_GAP: Final = 6
_TITLE: Final = 34
_MARGIN: Final = 20
_OURS: Final = "#2f9e6e"
_OTHERS: Final = "#8a94a6"
_FLOOR: Final = "#d5dae2"
_STYLE: Final = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2733}"
    ".title{font-weight:600}.name{text-anchor:end}.ours{font-weight:600}"
)


def bars(names: Sequence[str], panels: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG of records a second.

    Args:
        names: Whose they are: the first one's are ours, the last one's the floor.
        panels: Title to the values, in the order of the names. Each panel has a scale of its own.
    """
    panel_height = _TITLE + len(names) * (_BAR + _GAP) + _MARGIN
    height = _MARGIN + panel_height * len(panels)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>Records a second, each target as a whole process</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for number, (title, values) in enumerate(panels.items()):
        top = _MARGIN + number * panel_height
        drawn += _panel(top, title, names, values)
    return "\n".join([*drawn, "</svg>", ""])


def _panel(top: int, title: str, names: Sequence[str], values: Sequence[float]) -> Iterator[str]:
    yield (
        f'<text class="title" x="{_LEFT}" y="{top + 14}">{escape(title)} — records a second</text>'
    )
    most = max(values)
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + _TITLE + number * (_BAR + _GAP)
        width = max(1.0, (_WIDTH - _LEFT - _RIGHT) * value / most)
        colour = _FLOOR if number == len(names) - 1 else _OTHERS if number else _OURS
        weight = "" if number else " ours"
        middle = y + _BAR - 5
        yield f'<text class="name{weight}" x="{_LEFT - 10}" y="{middle}">{escape(name)}</text>'
        yield (
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3" '
            f'fill="{colour}"/>'
        )
        yield (
            f'<text class="value{weight}" x="{_LEFT + width + 8:.1f}" y="{middle}">{value:,.0f}'
            "</text>"
        )
