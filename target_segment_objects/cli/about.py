"""The formats of `--about`: JSON and Markdown as the SDK writes them, and a text of our own.

The SDK's text has only the names and types of settings. Messages and the documentation send users
to ours for what a setting means, what it allows and what its default is.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

from singer_sdk.about import AboutFormatter

from target_segment_objects.settings.config_validation import describe_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from singer_sdk.about import AboutInfo

FORMATS: Final = ("text", "json", "markdown")

_WIDTH: Final = 80


def format_about(info: AboutInfo, output_format: str) -> str:
    """Return the description in one of the `FORMATS`."""
    if output_format == "text":
        return _format_text(info)
    return AboutFormatter.get_formatter(output_format).format_about(info)


def _format_text(info: AboutInfo) -> str:
    versions = info.supported_python_versions or ()
    capabilities = ", ".join(capability.value for capability in info.capabilities)
    lines = [
        f"{info.name} {info.version} (Meltano Singer SDK {info.sdk_version})",
        "",
        info.description or "",
        "",
        f"Python: {', '.join(versions)}",
        *textwrap.wrap(f"Capabilities: {capabilities}", _WIDTH, subsequent_indent="  "),
        "",
        "Settings:",
    ]
    lines += _describe_settings("", info.settings, info.env_var_prefix)
    return "\n".join(lines)


def _describe_settings(
    name_prefix: str, schema: Mapping[str, Any], variable_prefix: str
) -> Iterator[str]:
    """Yield the lines of each setting, and of its parts. Only a whole setting has a variable."""
    for name, declared in schema.get("properties", {}).items():
        default = declared.get("default")
        shown_default = "not set" if default is None else json.dumps(default)
        is_required = name in schema.get("required", ())
        state = "required" if is_required else f"default: {shown_default}"
        heading = f"  {name_prefix}{name} ({state})"
        is_too_long = len(heading) > _WIDTH
        yield ""
        yield f"  {name_prefix}{name} (default: below)" if is_too_long else heading
        description = _end_sentence(declared.get("description") or "")
        yield from _wrap_paragraph(f"{declared.get('title') or name}. {description}")
        if is_too_long:
            yield from _wrap_paragraph(f"Default: {shown_default}")
        yield from _wrap_paragraph(f"Allowed: {describe_allowed(declared)}.")
        if not name_prefix:
            yield from _wrap_paragraph(f"Environment: {variable_prefix}{name.upper()}")
        yield from _describe_settings(f"{name_prefix}{name}.", declared, variable_prefix)


def _end_sentence(description: str) -> str:
    """Put a period at the end, unless a URL is there."""
    text = " ".join(description.split())
    if not text or text[-1] in ".!?" or "://" in text.rsplit(" ", 1)[-1]:
        return text
    return f"{text}."


def _wrap_paragraph(paragraph: str) -> list[str]:
    indent = " " * 6
    return textwrap.wrap(
        paragraph.strip(),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
