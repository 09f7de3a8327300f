"""Draw a bar chart as SVG, without a library."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_WIDTH: Final = 760
_LEFT: Final = 190  # of the bars; names are to the left
_RIGHT: Final = 90  # for the figure after the longest bar
_BAR: Final = 20
_GAP: Final = 6
_TITLE: Final = 34
_MARGIN: Final = 20
_OUR_COLOUR: Final = "#2f9e6e"
_OTHER_COLOUR: Final = "#8a94a6"
_LOWER_BOUND_COLOUR: Final = "#d5dae2"
_STYLE: Final = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2733}"
    ".title{font-weight:600}.name{text-anchor:end}.ours{font-weight:600}"
)


def draw_bars(names: Sequence[str], panels: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG of records per second.

    Args:
        names: Names of the candidates. The first is our target, the last the lower bound.
        panels: Values in the order of the names, by title. Each panel has its own scale.
    """
    panel_height = _TITLE + len(names) * (_BAR + _GAP) + _MARGIN
    height = _MARGIN + panel_height * len(panels)
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>Records per second, each target as a whole process</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for number, (title, values) in enumerate(panels.items()):
        top = _MARGIN + number * panel_height
        elements += _draw_panel(top, title, names, values)
    return "\n".join([*elements, "</svg>", ""])


def _draw_panel(
    top: int, title: str, names: Sequence[str], values: Sequence[float]
) -> Iterator[str]:
    heading = f"{escape(title)} — records per second"
    yield f'<text class="title" x="{_LEFT}" y="{top + 14}">{heading}</text>'
    largest = max(values)
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + _TITLE + number * (_BAR + _GAP)
        width = max(1.0, (_WIDTH - _LEFT - _RIGHT) * value / largest)
        colour = (
            _LOWER_BOUND_COLOUR
            if number == len(names) - 1
            else _OTHER_COLOUR
            if number
            else _OUR_COLOUR
        )
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
