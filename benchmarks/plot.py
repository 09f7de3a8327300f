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


def draw_bars(
    names: Sequence[str],
    panels: Mapping[str, Sequence[float | None]],
    *,
    title: str = "Records per second, each target as a whole process",
    unit: str = "records per second",
    form: str = "{:,.0f}",
    has_lower_bound: bool = True,
) -> str:
    """Return an SVG of bars, which are records per second unless other words are given.

    Args:
        names: Names of the candidates. The first is our target, the last the lower bound, if any.
        panels: Values in the order of the names, by title. Each panel has its own scale. A
            candidate without a value has no bar.
        title: The title of the picture.
        unit: What the values are.
        form: The format of a value.
        has_lower_bound: Whether the last candidate is the lower bound.
    """
    colours = [_OUR_COLOUR, *(_OTHER_COLOUR for _ in names[1:])]
    if has_lower_bound:
        colours[-1] = _LOWER_BOUND_COLOUR
    panel_height = _TITLE + len(names) * (_BAR + _GAP) + _MARGIN
    height = _MARGIN + panel_height * len(panels)
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for number, (heading, values) in enumerate(panels.items()):
        top = _MARGIN + number * panel_height
        labels = ["\N{EN DASH}" if value is None else form.format(value) for value in values]
        bars = list(zip(names, values, labels, colours, strict=True))
        elements += _draw_panel(top, f"{heading} — {unit}", bars)
    return "\n".join([*elements, "</svg>", ""])


def _draw_panel(
    top: int, heading: str, bars: Sequence[tuple[str, float | None, str, str]]
) -> Iterator[str]:
    """Yield the elements of a panel; a bar has a name, a value, the value's label and a colour."""
    yield f'<text class="title" x="{_LEFT}" y="{top + 14}">{escape(heading)}</text>'
    largest = max(value or 0 for _, value, _, _ in bars)
    for number, (name, value, label, colour) in enumerate(bars):
        y = top + _TITLE + number * (_BAR + _GAP)
        width = 0.0 if value is None else max(1.0, (_WIDTH - _LEFT - _RIGHT) * value / largest)
        weight = "" if number else " ours"
        middle = y + _BAR - 5
        yield f'<text class="name{weight}" x="{_LEFT - 10}" y="{middle}">{escape(name)}</text>'
        if width:
            yield (
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3" '
                f'fill="{colour}"/>'
            )
        yield (
            f'<text class="value{weight}" x="{_LEFT + width + 8:.1f}" y="{middle}">'
            f"{escape(label)}</text>"
        )
