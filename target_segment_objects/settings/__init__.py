"""The settings of a run, declared once.

`Settings` states the name, type, bounds, default and meaning of each setting. `SETTINGS` is the
same as a JSON schema. The SDK, `--about`, Meltano and the documentation read it.
`config_validation` checks a configuration against it, before `Settings.from_config` takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from target_segment_objects.settings.deletions import DeletionSettings

if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings(DeletionSettings, frozen=True, kw_only=True):
    """The settings of a run, complete with their defaults."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Return the settings of a valid configuration. A null means the default."""
        given = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in config.items()
            if name in cls.__struct_fields__ and value is not None
        }
        return msgspec.convert(given, cls)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return the settings without the write key."""
        names = [name for name in self.__struct_fields__ if name != "write_key"]
        return [(name, getattr(self, name)) for name in names]

    def __repr__(self) -> str:
        """Show the settings without the write key."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def _build_json_schema() -> dict[str, Any]:
    """Return the settings as a JSON schema, in which an optional setting may be null."""
    schema: dict[str, Any] = msgspec.json.schema(Settings)["$defs"][Settings.__name__]
    properties: dict[str, Any] = {}
    for name, declared in schema["properties"].items():
        default = declared.pop("default", None)
        setting = _merge_choices(declared)
        if default is not None:
            setting["default"] = list(default) if isinstance(default, tuple) else default
        if "enum" in setting:  # msgspec sorts the choices and leaves out their type
            setting |= {
                "type": "string",
                "enum": sorted(setting["enum"], key=lambda choice: choice != default),
            }
        nullable = [] if name in schema["required"] else ["null"]
        types = setting["type"] if isinstance(setting["type"], list) else [setting["type"]]
        setting["type"] = [*types, *nullable]
        properties[name] = setting
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": schema["required"],
    }


def _merge_choices(declared: dict[str, Any]) -> dict[str, Any]:
    """Return a setting of one or several types as one schema: keywords apply to their type only."""
    choices = [choice for choice in declared.pop("anyOf", []) if choice["type"] != "null"]
    types = [choice["type"] for choice in choices]
    for choice in choices:
        declared |= choice
    return declared | {"type": types} if len(types) > 1 else declared


SETTINGS: Final[dict[str, Any]] = _build_json_schema()
