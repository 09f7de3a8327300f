"""What `--about` shows: of each setting the title, meaning, range, default and variable.

JSON is the SDK's own format, which other programs read: the settings' JSON schema has all of that.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from singer_sdk.about import JSONFormatter

from target_segment_objects.config_validation import describe_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from singer_sdk.about import AboutInfo

_WIDTH: Final = 80
_BROKEN_TABLE: Final = str.maketrans({"|": r"\|", "\n": " "})


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting, or a part of one, in words."""

    name: str
    title: str
    description: str
    takes: str
    default: str | None
    is_required: bool
    variable: str | None


def text(info: AboutInfo) -> str:
    """Return what there is to know, for people at a terminal."""
    versions = info.supported_python_versions or ()
    lines = [
        f"{info.name} {info.version} (Meltano Singer SDK {info.sdk_version})",
        "",
        info.description or "",
        "",
        f"Python: {', '.join(versions)}",
        f"Capabilities: {', '.join(one.value for one in info.capabilities)}",
        "",
        "Settings:",
    ]
    for setting in _settings(info):
        state = "required" if setting.is_required else f"default: {setting.default or 'not set'}"
        lines += ["", f"  {setting.name} ({state})"]
        lines += _wrapped(f"{setting.title}. {setting.description}")
        lines += _wrapped(f"Takes {setting.takes}.")
        if setting.variable:
            lines += _wrapped(f"Environment: {setting.variable}")
    return "\n".join(lines)


def markdown(info: AboutInfo) -> str:
    """Return what there is to know, for a document."""
    versions = info.supported_python_versions or ()
    rows = [
        f"| `{one.name}` | {_default(one)} | {_cell(one.takes)} | "
        f"{_cell(f'**{one.title}.** {one.description}')} |"
        for one in _settings(info)
    ]
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
        *(f"- `{one.value}`" for one in info.capabilities),
        "",
        "## Settings",
        "",
        (
            f"In the environment, a setting is `{info.env_var_prefix}` and its name in capitals. A "
            "name with a dot is a part of the setting before the dot."
        ),
        "",
        "| Setting | Default | Takes | Description |",
        "|:--------|:--------|:------|:------------|",
        *rows,
    ]
    return "\n".join(lines)


def as_json(info: AboutInfo) -> str:
    """Return what there is to know, for programs."""
    return JSONFormatter().format_about(info)


FORMATS: Final = {"text": text, "json": as_json, "markdown": markdown}


def _settings(info: AboutInfo) -> Iterator[_Setting]:
    yield from _below("", info.settings, info.env_var_prefix)


def _below(prefix: str, schema: Mapping[str, Any], variables: str) -> Iterator[_Setting]:
    for name, declared in schema["properties"].items():
        default = declared.get("default")
        yield _Setting(
            name=f"{prefix}{name}",
            title=declared.get("title") or name,
            description=_sentence(declared.get("description") or ""),
            takes=describe_allowed(declared),
            default=None if default is None else json.dumps(default),
            is_required=name in schema.get("required", ()),
            variable=None if prefix else f"{variables}{name.upper()}",
        )
        yield from _below(f"{prefix}{name}.", {"properties": {}, **declared}, variables)


def _sentence(description: str) -> str:
    said = " ".join(description.split())
    return said if not said or said[-1] in ".!?" or "://" in said.rsplit(" ", 1)[-1] else f"{said}."


def _wrapped(paragraph: str) -> list[str]:
    indent = " " * 6
    return textwrap.wrap(
        paragraph.strip(),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _default(setting: _Setting) -> str:
    if setting.is_required:
        return "required"
    return "not set" if setting.default is None else f"`{_cell(setting.default)}`"


def _cell(words: str) -> str:
    return words.strip().translate(_BROKEN_TABLE)
