"""The templates and the static files of the page, and how it writes numbers, times and values."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from target_segment_objects.plurals import format_count
from target_segment_objects.sandbox.warehouse.losses import LOSS_LABELS
from target_segment_objects.sandbox.wording import (
    STATE_LABELS,
    escape_text,
    format_cell,
)

_MEDIA_TYPES: Final = {
    "icon.svg": "image/svg+xml",
    "page.css": "text/css",
    "page.js": "text/javascript",
}
SEVERITIES: Final = {"loaded": "good", "running": "busy", "accepted": "busy", "loading": "busy"}
"""How to show the state of a session; any other is bad."""

_MAX_VALUE_CHARACTERS: Final = 1_000
_MAX_CELL_CHARACTERS: Final = 64
_MINUTE: Final = 60
_THOUSAND: Final = 1000


class Templates:
    """Renders pages. Every value is escaped. The values given here are those of all templates."""

    def __init__(self, **values: object) -> None:
        self._environment = Environment(
            loader=PackageLoader(__package__ or "", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "bytes": format_bytes,
            "cell": partial(format_cell, limit=_MAX_CELL_CHARACTERS),
            "count": format_count,
            "line": escape_text,
            "loss": lambda kind: LOSS_LABELS.get(kind, kind),
            "seconds": format_seconds,
            "severity": lambda state: SEVERITIES.get(state, "bad"),
            "state": lambda state: STATE_LABELS.get(state, state),
            "time": format_time,
            "value": format_value,
        }
        self._environment.globals |= values

    def render_page(self, template: str, /, *, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page from a template, whose name is given without `.html`."""
        return HTMLResponse(
            self._environment.get_template(f"{template}.html").render(values), status
        )


def load_static_files() -> dict[str, Response]:
    """Return the responses for the static files, by name."""
    folder = resources.files(__package__ or "") / "static"
    return {
        name: Response((folder / name).read_bytes(), media_type=media_type)
        for name, media_type in _MEDIA_TYPES.items()
    }


def format_bytes(size: int) -> str:
    """Return a size in the unit that gives a short number; 1 kB is 1,000 bytes."""
    if size < _THOUSAND:
        return format_count(size, "byte")
    number, units = size / _THOUSAND, ["MB", "GB"]
    unit = "kB"
    while round(number) >= _THOUSAND and units:
        number, unit = number / _THOUSAND, units.pop(0)
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"  # noqa: PLR2004 - three digits


def format_seconds(seconds: float) -> str:
    """Return a duration: `34 ms`, `1.2 s` or `2 min 3 s`."""
    if round(seconds * _THOUSAND) < _THOUSAND:
        return f"{seconds * _THOUSAND:.0f} ms"
    if round(seconds, 1) < 10:  # noqa: PLR2004 - two digits are enough
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def format_time(time: datetime) -> str:
    """Return a time of this machine's zone: with the date, unless it is today."""
    local = time.astimezone()
    today = datetime.now(timezone.utc).astimezone().date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M:%S")


def format_value(value: object) -> str:
    """Return a value as a line without control characters."""
    return format_cell(value, _MAX_VALUE_CHARACTERS)
