"""Generate what Meltano, its Hub and the documentation list of the settings.

Run it from the repository's root, with the target and its extra `dev` installed:

    python plugins/generate_definition.py
    python plugins/generate_definition.py --check

The first writes the files that are stale. The second lists them, and fails if there are any. The
generated files are

- `plugins/hub/loaders/target-segment-objects/<variant>.yml`, the listing to propose to the Hub;
- `plugins/hub/maintainers.yml`, the entry for the Hub's file of this name, if the owner is known;
- `plugins/loaders/target-segment-objects--<variant>.lock`, the same listing in the form in which
  Meltano locks it;
- in `meltano.yml`, the loader's variant, repository, capabilities, settings and commands;
- in the documentation, the path of the listing;
- in `docs/configuration.md`, the table of the target's own settings, and in `README.md`, that of
  the most common ones.

Titles, descriptions, defaults and types come from the code. The repository is `Repository` in
`[project.urls]` of `pyproject.toml`, and the variant its owner. Longer texts are in
`listing_texts.py`, and everything else is written here.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import yaml
from listing_texts import COMMANDS, NEXT_STEPS, SETTINGS_PREAMBLE, USAGE

from target_segment_objects.settings import SETTINGS
from target_segment_objects.target import TargetSegmentObjects

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Definition = dict[str, Any]

ROOT: Final = Path(__file__).parents[1]
NAME: Final = TargetSegmentObjects.name

PACKAGE: Final[dict[str, Any]] = tomllib.loads(
    (ROOT / "pyproject.toml").read_text(encoding="utf-8")
)["project"]

REPOSITORY: Final[str | None] = PACKAGE.get("urls", {}).get("Repository")
OWNER: Final[str | None] = urlsplit(REPOSITORY).path.split("/")[1] if REPOSITORY else None

VARIANT: Final = OWNER.lower() if OWNER else "original"
"""The Hub names a variant after the owner. `original` is Meltano's name for the first variant."""

ON_PACKAGE_INDEX: Final = False
"""Set it to True with the first release: until then, Meltano installs from the repository."""

NO_PACKAGE: Final = f"file:///{NAME}-is-on-no-package-index/set-pip_url-to-a-clone-of-it"
"""What is installed without a repository: nothing. An installer names the path that it cannot find.

The bare name would be whoever's package has it on the index. There is no space, where Meltano would
split it.
"""

HUB: Final = ROOT / "plugins" / "hub" / "loaders" / NAME / f"{VARIANT}.yml"
MAINTAINERS: Final = ROOT / "plugins" / "hub" / "maintainers.yml"
LOCK: Final = ROOT / "plugins" / "loaders" / f"{NAME}--{VARIANT}.lock"
PROJECT: Final = ROOT / "meltano.yml"
README: Final = ROOT / "README.md"
CONFIGURATION: Final = ROOT / "docs" / "configuration.md"
NAMES_LISTING: Final = (
    ROOT / "docs" / "meltano.md",
    ROOT / "examples" / "meltano" / "README.md",
)
"""The documents that name the path of the listing."""

LISTING_PATH: Final = re.compile(rf"(?<=plugins/hub/loaders/{NAME}/)[\w.-]+(?=\.yml)")

HUB_URL: Final = "https://hub.meltano.com"

HUB_ONLY_KEYS: Final = frozenset(
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
"""Shown on the Hub's pages, but not part of what its API returns to Meltano."""

LOCK_ORDER: Final = (
    "name",
    "namespace",
    "variant",
    "label",
    "repo",
    "pip_url",
    "executable",
    "description",
    "logo_url",
    "capabilities",
    "settings_group_validation",
    "settings",
    "commands",
    "supported_python_versions",
    "log_parser",
)
"""The order in which Meltano writes a lock file."""

SETTING_ORDER: Final = ("name", "kind", "value", "label", "description", "options", "sensitive")
"""The order in which Meltano writes a setting, into a lock file as into `meltano.yml`."""

GENERATED_PROJECT_LINES: Final = re.compile(
    r"(?<=\n)(?:    repo: .*\n)?    capabilities:\n(?:(?!    config:)    .*\n)+"
)
"""The generated lines of a loader, in the place where Meltano itself writes them."""

GENERATED_TABLE: Final = re.compile(
    r"(?<=<!-- settings: begin -->\n).*?(?=<!-- settings: end -->)", re.DOTALL
)
"""The generated lines of a document."""

COMMON_SETTINGS: Final = (
    "write_key",
    "collection_map",
    "null_properties",
    "invalid_records",
    "dead_letter_path",
)
"""The settings in the README."""


def build_listing() -> Definition:
    """Return the listing for the Hub."""
    pip_url, with_sandbox = choose_pip_urls()
    listing = {
        "capabilities": list_capabilities(),
        "commands": COMMANDS,
        "description": "Loads any tap's records into Segment's Objects Bulk API",
        "domain_url": (
            "https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/object-bulk-api/"
        ),
        "executable": NAME,
        "keywords": ["customer data platform", "meltano_sdk", "segment", "twilio"],
        "label": "Segment Objects",
        "log_parser": "singer-sdk",
        "logo_url": "/assets/logos/loaders/segment-objects.png",
        "maintenance_status": "beta",
        "name": NAME,
        "namespace": NAME.replace("-", "_"),
        "next_steps": NEXT_STEPS.replace("PIP_URL", with_sandbox),
        "pip_url": pip_url,
        "quality": "unknown",
        "repo": REPOSITORY,
        "settings": sorted(list_settings(), key=lambda setting: str(setting["name"])),
        "settings_group_validation": list_required_settings(),
        "settings_preamble": SETTINGS_PREAMBLE,
        "supported_python_versions": list_python_versions(),
        "usage": USAGE,
        "variant": VARIANT,
    }
    return {name: value for name, value in listing.items() if value is not None}


def choose_pip_urls() -> tuple[str, str]:
    """Return what Meltano installs, and the same with the extra `sandbox`."""
    if ON_PACKAGE_INDEX:
        return NAME, f"{NAME}[sandbox]"
    if REPOSITORY:
        return f"git+{REPOSITORY}.git", f"{NAME}[sandbox]@git+{REPOSITORY}.git"
    return NO_PACKAGE, "/path/to/clone[sandbox]"


def list_capabilities() -> list[str]:
    """Return the target's capabilities in the Hub's order."""
    return sorted(capability.value for capability in TargetSegmentObjects.capabilities)


def list_python_versions() -> list[str]:
    """Return the versions of Python that the package declares."""
    declared = PACKAGE["classifiers"]
    prefix = "Programming Language :: Python :: 3."
    return [f"3.{name.removeprefix(prefix)}" for name in declared if name.startswith(prefix)]


def list_required_settings() -> list[list[str]]:
    """Return the only combination of settings that is required."""
    return [sorted(_get_schema()["required"])]


def list_settings() -> list[Definition]:
    """Return every setting, with the SDK's own, in the order of the code."""
    found = []
    for name, declared in _list_leaves("", _get_schema()["properties"]):
        options = [
            {"label": str(value).replace("_", " ").capitalize(), "value": value}
            for value in declared.get("enum", ())
        ]
        setting = {
            "description": declared.get("description"),
            "kind": _get_kind(declared),
            "label": declared.get("title"),
            "name": name,
            "options": options or None,
            "sensitive": declared.get("secret"),
            "value": declared.get("default"),
        }
        found.append({key: value for key, value in setting.items() if value is not None})
    return found


def _get_schema() -> dict[str, Any]:
    schema = TargetSegmentObjects.config_jsonschema
    TargetSegmentObjects.append_builtin_config(schema)
    return schema


def _list_leaves(
    prefix: str, properties: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the settings, and instead of one with fixed parts its parts, as the Hub lists them."""
    for name, declared in properties.items():
        is_user_defined = isinstance(declared.get("additionalProperties"), dict)
        if declared.get("properties") and not is_user_defined:
            yield from _list_leaves(f"{prefix}{name}.", declared["properties"])
        else:
            yield f"{prefix}{name}", declared


def _get_kind(declared: Mapping[str, Any]) -> str:
    if "enum" in declared:
        return "options"
    types = {
        name for choice in (declared, *declared.get("oneOf", ())) for name in _list_types(choice)
    }
    for kind in ("array", "object", "string", "boolean"):
        if kind in types:
            return kind
    # Meltano's `decimal` fails for a number from the environment: "Object of type Decimal is not
    # JSON serializable" (4.4.1). The numbers here are seconds, so integers are enough.
    return "integer"


def _list_types(choice: Mapping[str, Any]) -> list[str]:
    types = choice.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def render_hub_file() -> str:
    """Return the listing in the Hub's format."""
    return _render_yaml(build_listing())


def render_lock_file() -> str:
    """Return the listing in the format of a lock file."""
    listing = {name: value for name, value in build_listing().items() if name not in HUB_ONLY_KEYS}
    listing["logo_url"] = HUB_URL + listing["logo_url"]
    listing["settings"] = [_order_keys(setting) for setting in listing["settings"]]
    locked = {"plugin_type": "loaders"} | {
        name: listing.pop(name) for name in LOCK_ORDER if name in listing
    }
    if listing:
        sys.exit(f"LOCK_ORDER lacks: {', '.join(listing)}")
    return json.dumps(locked, indent=2) + "\n"


def render_project_file() -> str:
    """Return `meltano.yml` with the generated lines of its loader."""
    generated = ({"repo": REPOSITORY} if REPOSITORY else {}) | {
        "capabilities": list_capabilities(),
        "settings_group_validation": list_required_settings(),
        "settings": [_order_keys(setting) for setting in list_settings()],
        "commands": COMMANDS,
    }
    lines = [f"    {line}" for line in _render_yaml(generated).splitlines(keepends=True)]
    before, heading, loaders = PROJECT.read_text(encoding="utf-8").partition("\n  loaders:\n")
    text, count = GENERATED_PROJECT_LINES.subn(lambda _: "".join(lines), loaders)
    if count != 1:
        sys.exit(f"{PROJECT.name}: the loader has no `capabilities:`")
    text = re.sub(r"(?<=\n    variant: ).*", VARIANT, text, count=1)
    return before + heading + text


def render_maintainers() -> str | None:
    """Return the entry for the Hub's list of maintainers, or None if the owner is not known."""
    if REPOSITORY is None or OWNER is None:
        return None
    url = REPOSITORY[: REPOSITORY.index(OWNER) + len(OWNER)]
    return _render_yaml({VARIANT: {"label": OWNER, "name": VARIANT, "url": url}})


def render_listing_path(path: Path) -> str:
    """Return a document with the path of the listing."""
    text, count = LISTING_PATH.subn(VARIANT, path.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit(f"{path.name}: it does not name the listing")
    return text


def render_document(path: Path, names: Iterable[str]) -> str:
    """Return a document with the table of the target's own settings with these names."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name in names:
        declared = SETTINGS["properties"][name]
        default = "not set"
        if name in SETTINGS["required"]:
            default = "required"
        elif "default" in declared:
            default = f"`{json.dumps(declared['default'])}`"
        rows.append(f"| `{name}` | {default} | {declared['description']} |")
    table = "\n".join(["", *rows, "", ""])
    text, count = GENERATED_TABLE.subn(lambda _: table, path.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit(f"{path.name}: the comments that enclose the settings are missing")
    return text


def _order_keys(setting: Definition) -> Definition:
    return {name: setting[name] for name in SETTING_ORDER if name in setting}


class _Dumper(yaml.SafeDumper):
    """Quotes strings as Meltano does, and writes multi-line strings as blocks."""


def _represent_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif "'" in text and yaml.safe_dump(text, width=math.inf).startswith("'"):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_string)


def _render_yaml(value: object) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf
    )
    return text


def render_all() -> dict[Path, str | None]:
    """Return the text of each generated file, and None for one that must not be there."""
    others = {*HUB.parent.glob("*.yml"), *LOCK.parent.glob(f"{NAME}--*.lock")} - {HUB, LOCK}
    return {
        **dict.fromkeys(others),
        HUB: render_hub_file(),
        MAINTAINERS: render_maintainers(),
        LOCK: render_lock_file(),
        PROJECT: render_project_file(),
        CONFIGURATION: render_document(CONFIGURATION, SETTINGS["properties"]),
        README: render_document(README, COMMON_SETTINGS),
        **{path: render_listing_path(path) for path in NAMES_LISTING},
    }


def main() -> None:
    """Write the stale files, or list them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a stale file")
    only_check = parser.parse_args().check
    stale = False
    for path, text in render_all().items():
        if text == (path.read_text(encoding="utf-8") if path.is_file() else None):
            continue
        stale = True
        if not only_check:
            _write(path, text)
        done = "is stale" if only_check else "was removed" if text is None else "was written"
        sys.stdout.write(f"{path.relative_to(ROOT)} {done}\n")
    sys.exit(1 if stale and only_check else 0)


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
