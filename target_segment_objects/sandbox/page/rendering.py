"""The templates and the static files of the page, which are data of this package."""

from __future__ import annotations

from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from target_segment_objects.sandbox.page import formatting
from target_segment_objects.sandbox.warehouse.wording import format_count

_MEDIA_TYPES: Final = {
    "icon.svg": "image/svg+xml",
    "page.css": "text/css",
    "page.js": "text/javascript",
}


class Templates:
    """Renders pages. Every value is escaped."""

    def __init__(self) -> None:
        """Prepare the templates; each is compiled when it is first used."""
        self._environment = Environment(
            loader=PackageLoader(__package__ or "", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "bytes": formatting.format_bytes,
            "cell": formatting.format_table_cell,
            "count": format_count,
            "seconds": formatting.format_seconds,
            "time": formatting.format_time,
            "value": formatting.format_value,
        }

    def render_page(self, template: str, /, *, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page.

        Args:
            template: Its name, without `.html`.
            status: Status of the response.
            **values: The template's variables.
        """
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
