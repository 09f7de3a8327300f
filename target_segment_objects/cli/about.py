"""The formats of `--about`: text, JSON and Markdown.

Each lists every setting with its title, description, allowed values, default and environment
variable. JSON is the SDK's own format, which other programs read.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

import msgspec
from singer_sdk.about import JSONFormatter

from target_segment_objects.config_validation import describe_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from singer_sdk.about import AboutInfo

_WIDTH: Final = 80
_CELL_ESCAPES: Final = str.maketrans({"|": r"\|", "\n": " "})


class _SettingInfo(msgspec.Struct, frozen=True):
    """What the formats show of a setting, or of a part of one."""

    name: str
    title: str
    description: str
    allowed: str
    default: str | None
    is_required: bool
    variable: str | None


def format_text(info: AboutInfo) -> str:
    """Return the description for a terminal."""
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
    for setting in _list_settings("", info.settings, info.env_var_prefix):
        state = "required" if setting.is_required else f"default: {setting.default or 'not set'}"
        heading = f"  {setting.name} ({state})"
        is_too_long = len(heading) > _WIDTH
        lines += ["", f"  {setting.name} (default: below)" if is_too_long else heading]
        lines += _wrap_paragraph(f"{setting.title}. {setting.description}")
        if is_too_long:
            lines += _wrap_paragraph(f"Default: {setting.default}")
        lines += _wrap_paragraph(f"Allowed: {setting.allowed}.")
        if setting.variable:
            lines += _wrap_paragraph(f"Environment: {setting.variable}")
    return "\n".join(lines)


def format_markdown(info: AboutInfo) -> str:
    """Return the description as a Markdown document."""
    versions = info.supported_python_versions or ()
    lines = [
        f"# `{info.name}`",
        "",
        info.description or "",
        "",
        (
            f"Version {info.version}, built with the [Meltano Singer SDK](https://sdk.meltano.com) "
            f"{info.sdk_version}, for Python {', '.join(versions)}."
        ),
        "",
        "## Capabilities",
        "",
        *(f"- `{capability.value}`" for capability in info.capabilities),
        "",
        "## Settings",
        "",
        (
            f"The environment variable of a setting is `{info.env_var_prefix}` and the setting's "
            "name in upper case. A name with a dot is a part of the setting before the dot."
        ),
        "",
        "| Setting | Default | Allowed | Description |",
        "|:--------|:--------|:--------|:------------|",
    ]
    lines += map(_format_row, _list_settings("", info.settings, info.env_var_prefix))
    return "\n".join(lines)


def format_json(info: AboutInfo) -> str:
    """Return the description for programs, in the SDK's format."""
    return JSONFormatter().format_about(info)


FORMATS: Final = {"text": format_text, "json": format_json, "markdown": format_markdown}


def _list_settings(
    name_prefix: str, schema: Mapping[str, Any], variable_prefix: str
) -> Iterator[_SettingInfo]:
    """Yield each setting, followed by its parts. Only a whole setting has a variable."""
    for name, declared in schema.get("properties", {}).items():
        default = declared.get("default")
        yield _SettingInfo(
            name=f"{name_prefix}{name}",
            title=declared.get("title") or name,
            description=_end_sentence(declared.get("description") or ""),
            allowed=describe_allowed(declared),
            default=None if default is None else json.dumps(default),
            is_required=name in schema.get("required", ()),
            variable=None if name_prefix else f"{variable_prefix}{name.upper()}",
        )
        yield from _list_settings(f"{name_prefix}{name}.", declared, variable_prefix)


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


def _format_row(setting: _SettingInfo) -> str:
    description = _escape_cell(f"**{setting.title}.** {setting.description}")
    default = _format_default(setting)
    return f"| `{setting.name}` | {default} | {_escape_cell(setting.allowed)} | {description} |"


def _format_default(setting: _SettingInfo) -> str:
    if setting.is_required:
        return "required"
    return "not set" if setting.default is None else f"`{_escape_cell(setting.default)}`"


def _escape_cell(text: str) -> str:
    return text.strip().translate(_CELL_ESCAPES)
