"""The definitions for Meltano and its Hub match what the code declares, in their own form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from target_segment_objects.cli.ledger_command import run_ledger_command
from target_segment_objects.target import TargetSegmentObjects
from tests.support.project import copy_project

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
SCHEMAS = next(ROOT.parent.glob("*/hub-schemas"), ROOT / "hub-schemas")  # put them beside the clone
MELTANO = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
(LOADER,) = MELTANO["plugins"]["loaders"]
HUB_FILE = ROOT / "plugins" / "hub" / "loaders" / LOADER["name"] / f"{LOADER['variant']}.yml"
HUB = yaml.safe_load(HUB_FILE.read_text(encoding="utf-8"))
LOCK_FILE = ROOT / "plugins" / "loaders" / f"{LOADER['name']}--{LOADER['variant']}.lock"
LOCK = json.loads(LOCK_FILE.read_text(encoding="utf-8"))
DEFINITIONS = pytest.mark.parametrize(
    "definition", [LOADER, HUB, LOCK], ids=["meltano.yml", "Hub", "lock"]
)


def declared() -> dict[str, Any]:
    """Return the settings that the code declares, the SDK's own included."""
    schema = TargetSegmentObjects.config_jsonschema
    TargetSegmentObjects.append_builtin_config(schema)
    properties: dict[str, Any] = schema["properties"]
    return properties


def test_generated_files_are_up_to_date() -> None:
    """Generating the definitions and the README's table again would change nothing."""
    done = subprocess.run(
        [sys.executable, "plugins/generate_definition.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_line_sets_the_address_of_the_repository(tmp_path: Path) -> None:
    """With `Repository` in pyproject.toml, every definition names the repository and its owner."""
    copy = copy_project(
        tmp_path / "copy", repository="https://git.example.org/Some-Owner/the-target"
    )
    command = [sys.executable, str(copy / "plugins" / "generate_definition.py")]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
    subprocess.run([*command, "--check"], env=environment, timeout=60, check=True)
    repository = {"repo": "https://git.example.org/Some-Owner/the-target", "variant": "some-owner"}
    hub = copy / "plugins" / "hub"
    (path,) = (hub / "loaders" / LOADER["name"]).iterdir()
    assert path.name == "some-owner.yml"
    listing = yaml.safe_load(path.read_text(encoding="utf-8"))
    (lock_path,) = (copy / "plugins" / "loaders").iterdir()
    assert lock_path.name == f"{LOADER['name']}--some-owner.lock"
    lock = json.loads(lock_path.read_text(encoding="utf-8"))
    project = yaml.safe_load((copy / "meltano.yml").read_text(encoding="utf-8"))
    (loader,) = project["plugins"]["loaders"]
    for definition in (listing, lock, loader):
        assert repository.items() <= definition.items()
    assert listing["pip_url"] == lock["pip_url"] == f"git+{repository['repo']}.git"
    sandbox = f'pip_url: "{LOADER["name"]}[sandbox]@{listing["pip_url"]}"'
    assert sandbox in listing["next_steps"]
    assert list(listing) == sorted(listing)
    assert yaml.safe_load((hub / "maintainers.yml").read_text(encoding="utf-8")) == {
        "some-owner": {
            "label": "Some-Owner",
            "name": "some-owner",
            "url": "https://git.example.org/Some-Owner",
        }
    }
    for name in ("docs/meltano.md", "examples/meltano/README.md"):
        text = (copy / name).read_text(encoding="utf-8")
        assert f"plugins/hub/loaders/{LOADER['name']}/some-owner.yml" in text


def test_pip_url_is_nobody_elses_package(tmp_path: Path) -> None:
    """Before a release and without a repository, an installer fails and says why.

    The name alone would be looked up on a package index, where anyone can register it.
    """
    (pip_url,) = {HUB["pip_url"], LOCK["pip_url"]}
    assert " " not in pip_url, "Meltano would split it"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-input", "--target", tmp_path, pip_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "is-on-no-package-index" in done.stderr
    assert not list(tmp_path.iterdir())


@DEFINITIONS
def test_every_setting_is_there(definition: dict[str, Any]) -> None:
    """Each of the code's settings is listed, by itself or by its parts, and nothing else is."""
    names = [setting["name"] for setting in definition["settings"]]
    assert len(names) == len(set(names))
    assert {name.partition(".")[0] for name in names} == set(declared())


@DEFINITIONS
def test_settings_say_what_the_code_says(definition: dict[str, Any]) -> None:
    """Default, title, description, choices and secrecy of a setting are the code's."""
    properties = declared()
    for setting in definition["settings"]:
        first, *parts = setting["name"].split(".")
        schema = properties[first]
        for part in parts:
            schema = schema["properties"][part]
        assert setting.get("value") == schema.get("default"), setting["name"]
        assert setting["label"] == schema["title"], setting["name"]
        assert setting["description"] == schema["description"], setting["name"]
        assert setting.get("sensitive", False) == schema.get("secret", False), setting["name"]
        choices = [option["value"] for option in setting.get("options", ())]
        assert choices == schema.get("enum", []), setting["name"]
        assert (setting["kind"] == "options") == bool(choices), setting["name"]


@DEFINITIONS
def test_only_the_write_key_is_needed_and_secret(definition: dict[str, Any]) -> None:
    """Meltano asks for the write key and for nothing else, and shows it nowhere."""
    assert definition["settings_group_validation"] == [["write_key"]]
    secret = [setting["name"] for setting in definition["settings"] if setting.get("sensitive")]
    assert secret == ["write_key"]


@DEFINITIONS
def test_every_command_of_the_ledger_is_there(definition: dict[str, Any]) -> None:
    """Each command of segment-objects-ledger has one in Meltano, which gets the ledger's path."""
    path = "$TARGET_SEGMENT_OBJECTS_LEDGER_PATH"
    arguments = {
        name: command["args"]
        for name, command in definition["commands"].items()
        if command["executable"] == "segment-objects-ledger"
    }
    assert arguments == {f"ledger-{name}": f"{name} {path}" for name in run_ledger_command.commands}


@DEFINITIONS
def test_commands_exist(definition: dict[str, Any]) -> None:
    """What a command runs is installed with the package, and each has a description."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for command in definition["commands"].values():
        assert set(command) == {"args", "description", "executable"}
        assert command["executable"] in project["scripts"]


@DEFINITIONS
def test_capabilities_are_the_target_s(definition: dict[str, Any]) -> None:
    """What the target says that it can do, in alphabetical order."""
    assert definition["capabilities"] == sorted(
        capability.value for capability in TargetSegmentObjects.capabilities
    )


def test_the_listing_has_what_the_hub_shows() -> None:
    """Each part of a plugin's page on the Hub has its text."""
    for name in ("logo_url", "keywords", "settings_preamble", "next_steps", "usage"):
        assert HUB[name], name
    assert HUB["maintenance_status"] == "beta"  # as the package's classifier says


def test_the_listing_is_sorted() -> None:
    """As the Hub's own linter leaves a listing: keys, settings, and the keys of each setting."""
    assert list(HUB) == sorted(HUB)
    names = [setting["name"] for setting in HUB["settings"]]
    assert names == sorted(names)
    for setting in HUB["settings"]:
        assert list(setting) == sorted(setting)


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the Hub's schemas are no part of the project")
def test_the_listing_is_valid_for_the_hub() -> None:
    """The Hub's own JSON schemas for a loader accept the listing; they lie beside the clone."""
    root = "https://hub.invalid/"
    registry: Registry[Any] = Registry().with_resources(
        (f"{root}{path.relative_to(SCHEMAS).as_posix()}", _without_id(path))
        for path in SCHEMAS.glob("*/*.json")
    )
    schema = {"$ref": f"{root}plugin_definitions/loaders.schema.json"}
    jsonschema.Draft7Validator(schema, registry=registry).validate(HUB)
    with pytest.raises(jsonschema.ValidationError, match="no-such"):
        jsonschema.Draft7Validator(schema, registry=registry).validate(
            HUB | {"capabilities": ["no-such"]}
        )


def _without_id(path: Path) -> Resource[Any]:
    """Read a schema; its `$id` is not where the others look for it."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    del schema["$id"]
    return Resource.from_contents(schema)


def test_meltano_yml_is_valid() -> None:
    """Meltano's JSON schema, as check-jsonschema carries it, accepts the project."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.meltano", str(ROOT / "meltano.yml")),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_is_the_listing_without_what_the_hub_keeps() -> None:
    """A lock says of the plugin what the listing says, and how its pages look is not in it."""
    for name in set(LOCK) - {"plugin_type", "logo_url"}:
        assert LOCK[name] == HUB[name], name
    kept = {"domain_url", "keywords", "maintenance_status", "next_steps", "quality"}
    assert set(HUB) - set(LOCK) == kept | {"settings_preamble", "usage"}
