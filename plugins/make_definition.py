# /// script
# requires-python = ">=3.10"
# dependencies = ["pyyaml", "target-segment-objects"]
# ///
"""Make what Meltano and its Hub know of the target, from the settings that the code declares.

How to run, from the repository's root, where the target and its extra `dev` are installed:

    python plugins/make_definition.py
    python plugins/make_definition.py --check

The first writes what is stale; the second only says what is, and fails. Made are

- `plugins/hub/loaders/target-segment-objects/original.yml`, the listing to propose to the Hub,
  where it belongs in `_data/meltano/`;
- `plugins/loaders/target-segment-objects--original.lock`, that listing as Meltano locks it;
- in `meltano.yml`, the loader's capabilities and settings;
- in `README.md`, the table of the settings that are not the SDK's own.

Descriptions, defaults and kinds are the code's. What is no setting is written here, once.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from target_segment_objects.settings import SETTINGS
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Definition = dict[str, Any]

ROOT: Final = Path(__file__).parents[1]
NAME: Final = TargetSegmentObjects.name

VARIANT: Final = "original"
"""Meltano's own word for the variant that was there first. On the Hub, a variant is called after
the owner of its repository: who proposes the listing writes that name here, adds `repo` to the
definition, and makes all anew.
"""

HUB: Final = ROOT / "plugins" / "hub" / "loaders" / NAME / f"{VARIANT}.yml"
LOCK: Final = ROOT / "plugins" / "loaders" / f"{NAME}--{VARIANT}.lock"
PROJECT: Final = ROOT / "meltano.yml"
README: Final = ROOT / "README.md"

HUB_ADDRESS: Final = "https://hub.meltano.com"

HUB_ALONE: Final = frozenset(
    {
        "domain_url",
        "keywords",
        "maintenance_status",
        "next_steps",
        "quality",
        "settings_preamble",
        "usage",
    }
)
"""What the Hub's pages show, and its API does not give to Meltano."""

LOCK_ORDER: Final = (
    "name",
    "namespace",
    "variant",
    "label",
    "pip_url",
    "executable",
    "description",
    "logo_url",
    "capabilities",
    "settings_group_validation",
    "settings",
    "supported_python_versions",
    "log_parser",
)
"""The order in which Meltano writes a lock file."""

SETTING_ORDER: Final = ("name", "kind", "value", "label", "description", "options", "sensitive")
"""The order in which Meltano writes a setting, into a lock file as into `meltano.yml`."""

MADE_IN_PROJECT: Final = re.compile(
    r"(?<=\n)    capabilities:\n(?:(?!    commands:).*\n)+?(?=    commands:\n)"
)
"""The lines of a loader that are made, where Meltano has them when it writes the file itself."""

SETTINGS_TABLE: Final = re.compile(
    r"(?<=<!-- settings: begin -->\n).*?(?=<!-- settings: end -->)", re.DOTALL
)
"""The lines of the README that are made."""

SETTINGS_PREAMBLE: Final = """\
Only `write_key` has to be set: the write key of the Segment source that receives the objects.

Streams and properties become collections and properties by Segment's own rules of naming, and the
key becomes the object's id. Stream maps go first, so names, keys and what is sent are yours to
change.

Meltano takes a dot in a name of yours for a nested setting. In `collection_map` and `stream_maps`,
the stream `public.orders` is therefore `public\\.orders`.
"""

NEXT_STEPS: Final = """\
Without an account, records can go to a sandbox: a local stand-in for Segment, with a DuckDB file
for the warehouse. Install the loader with `pip_url: target-segment-objects[sandbox]`, and name the
file:

```bash
export TARGET_SEGMENT_OBJECTS_SANDBOX=warehouse.duckdb
meltano run tap-x target-segment-objects
```

The log then shows what has landed, and what a warehouse would have lost.
"""

USAGE: Final = """\
### What to know before the first run

- `meltano config test target-segment-objects` sends one object, to the collection
  `meltano_test_stream`. Segment's API has no delete.
- STATE is kept as soon as Segment has accepted what is before it. Whatever ends a run, the next
  one completes it; rows that are sent twice merge by their id.
- Segment allows 20 requests at once for a write key, over all machines. Where several jobs run at
  the same time, their `max_parallel_sessions` should add up to less.
- A record that cannot be sent ends the run, unless `invalid_records` is `dead_letter`.

### When something is wrong

Each session's line in the log has a `sync_id`; Segment's support will ask for it. More is in the
log with `meltano --log-level=debug run …`.
"""


def definition() -> Definition:
    """Return the listing for the Hub."""
    return {
        "capabilities": capabilities(),
        "description": "Loads any tap's records into Segment's Objects Bulk API",
        "domain_url": (
            "https://segment.com/docs/connections/sources/catalog/libraries/server/object-bulk-api/"
        ),
        "executable": NAME,
        "keywords": ["customer data platform", "meltano_sdk", "segment", "twilio"],
        "label": "Segment Objects",
        "log_parser": "singer-sdk",
        "logo_url": "/assets/logos/loaders/segment-objects.png",
        "maintenance_status": "beta",
        "name": NAME,
        "namespace": NAME.replace("-", "_"),
        "next_steps": NEXT_STEPS,
        "pip_url": NAME,
        "quality": "unknown",
        "settings": sorted(settings(), key=lambda setting: str(setting["name"])),
        "settings_group_validation": required(),
        "settings_preamble": SETTINGS_PREAMBLE,
        "supported_python_versions": python_versions(),
        "usage": USAGE,
        "variant": VARIANT,
    }


def capabilities() -> list[str]:
    """Return what the target can do, in the Hub's words and order."""
    return sorted(capability.value for capability in TargetSegmentObjects.capabilities)


def python_versions() -> list[str]:
    """Return the versions of Python that the package declares."""
    declared = metadata.metadata(NAME).get_all("Classifier") or []
    mark = "Programming Language :: Python :: 3."
    return [f"3.{text.removeprefix(mark)}" for text in declared if text.startswith(mark)]


def required() -> list[list[str]]:
    """Return the one combination of settings that has to be there."""
    return [sorted(_schema()["required"])]


def settings() -> list[Definition]:
    """Return every setting, the SDK's own included, in the code's order."""
    found = []
    for name, declared in _leaves("", _schema()["properties"]):
        options = [
            {"label": str(value).replace("_", " ").capitalize(), "value": value}
            for value in declared.get("enum", ())
        ]
        setting = {
            "description": declared.get("description"),
            "kind": _kind(declared),
            "label": declared.get("title"),
            "name": name,
            "options": options or None,
            "sensitive": declared.get("secret"),
            "value": declared.get("default"),
        }
        found.append({key: value for key, value in setting.items() if value is not None})
    return found


def _schema() -> dict[str, Any]:
    schema = TargetSegmentObjects.config_jsonschema
    TargetSegmentObjects.append_builtin_config(schema)
    return schema


def _leaves(
    prefix: str, properties: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a setting that has parts with names of its own as those parts: so the Hub lists it."""
    for name, declared in properties.items():
        names_are_the_user_s = isinstance(declared.get("additionalProperties"), dict)
        if declared.get("properties") and not names_are_the_user_s:
            yield from _leaves(f"{prefix}{name}.", declared["properties"])
        else:
            yield f"{prefix}{name}", declared


def _kind(declared: Mapping[str, Any]) -> str:
    if "enum" in declared:
        return "options"
    types = {
        name for choice in (declared, *declared.get("oneOf", ())) for name in _types_of(choice)
    }
    for kind in ("array", "object", "string", "boolean"):
        if kind in types:
            return kind
    # Meltano has `decimal` for a number, but fails over one that it takes from the environment:
    # "Object of type Decimal is not JSON serializable" (4.4.1). Ours are seconds: whole ones do.
    return "integer"


def _types_of(choice: Mapping[str, Any]) -> list[str]:
    given = choice.get("type", [])
    return [given] if isinstance(given, str) else list(given)


def hub_text() -> str:
    """Return the listing as a file of the Hub's."""
    return _yaml(definition())


def lock_text() -> str:
    """Return the listing as Meltano locks it."""
    listing = {name: value for name, value in definition().items() if name not in HUB_ALONE}
    listing["logo_url"] = HUB_ADDRESS + listing["logo_url"]
    listing["settings"] = [_as_meltano_writes(setting) for setting in listing["settings"]]
    locked = {"plugin_type": "loaders"} | {name: listing.pop(name) for name in LOCK_ORDER}
    if listing:
        sys.exit(f"Where do these belong in a lock file? {', '.join(listing)}")
    return json.dumps(locked, indent=2) + "\n"


def project_text() -> str:
    """Return `meltano.yml` with what is made for its loader."""
    made = {
        "capabilities": capabilities(),
        "settings_group_validation": required(),
        "settings": [_as_meltano_writes(setting) for setting in settings()],
    }
    lines = [f"    {line}" for line in _yaml(made).splitlines(keepends=True)]
    before, mark, loaders = PROJECT.read_text(encoding="utf-8").partition("\n  loaders:\n")
    text, count = MADE_IN_PROJECT.subn(lambda _: "".join(lines), loaders)
    if count != 1:
        sys.exit(f"{PROJECT.name}: the loader has no `capabilities:`, or no `commands:` after them")
    return before + mark + text


def readme_text() -> str:
    """Return the README with the table of the target's own settings."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, declared in SETTINGS["properties"].items():
        default = "not set"
        if name in SETTINGS["required"]:
            default = "required"
        elif "default" in declared:
            default = f"`{json.dumps(declared['default'])}`"
        rows.append(f"| `{name}` | {default} | {declared['description']} |")
    table = "\n".join(["", *rows, "", ""])
    text, count = SETTINGS_TABLE.subn(lambda _: table, README.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit(f"{README.name}: the comments that enclose the settings are missing")
    return text


def _as_meltano_writes(setting: Definition) -> Definition:
    return {name: setting[name] for name in SETTING_ORDER if name in setting}


class _Dumper(yaml.SafeDumper):
    """Quotes as Meltano does, and writes text of several lines as such."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif "'" in text and yaml.safe_dump(text, width=math.inf).startswith("'"):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def _yaml(value: object) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf
    )
    return text


def main() -> None:
    """Write the files that are stale, or say which are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a stale file")
    only_check = parser.parse_args().check
    stale = False
    texts = {HUB: hub_text(), LOCK: lock_text(), PROJECT: project_text(), README: readme_text()}
    for path, text in texts.items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if not only_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        sys.stdout.write(f"{path.relative_to(ROOT)} {'is stale' if only_check else 'is written'}\n")
    sys.exit(1 if stale and only_check else 0)


if __name__ == "__main__":
    main()
