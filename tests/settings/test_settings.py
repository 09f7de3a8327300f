"""The settings: their declarations and defaults, and the types in which they arrive."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from rich.pretty import pretty_repr

from target_segment_objects.settings import SETTINGS, Settings
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from pathlib import Path

KEY = "write-key-that-nobody-may-see"


def build_full_schema() -> dict[str, Any]:
    """Return the settings' schema with the SDK's own settings, as the target has it."""
    schema = copy.deepcopy(SETTINGS)
    TargetSegmentObjects.append_builtin_config(schema)
    return schema


SCHEMA = build_full_schema()
DEFAULTS = {
    "api_url": "https://objects-bulk-api.segmentapis.com",
    "collection_map": {},
    "pluralize_collections": False,
    "null_properties": "send",
    "oversized_values": "reject",
    "invalid_records": "fail",
    "schema_violations": "warn",
    "batch_size_rows": 100_000,
    "batch_max_age_seconds": 300,
    "max_file_bytes": 100_000_000,
    "keep_alive_interval_seconds": 180,
    "request_timeout_seconds": 300,
    "max_retries": 10,
    "max_parallel_sessions": 4,
    "load_method": "upsert",
    "flattening_enabled": False,
    "resend_after_days": 45,
    "type_changes": "fail",
    "ledger_ignored_properties": [],
    "deleted_records": "report",
    "full_table_streams": [],
    "deleted_after_runs": 2,
    "deleted_hours_between_runs": 4,
    "deleted_limit_percent": 10,
}
WITHOUT_DEFAULT = (
    "write_key",
    *("flattening_max_depth", "flattening_max_key_length", "flattening_separator"),
    "dead_letter_path",
    "max_invalid_records",
    "spool_dir",
    "ledger_path",
)


@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_every_setting_is_documented(name: str) -> None:
    """Each setting, the SDK's too, has a title and a description; ours are whole sentences."""
    declared = SCHEMA["properties"][name]
    assert declared["title"]
    assert declared["description"]
    if name in {*DEFAULTS, *WITHOUT_DEFAULT}:
        assert declared["title"][0].isupper()
        assert declared["description"].endswith(".")


@pytest.mark.parametrize("name", SETTINGS["properties"])
def test_the_schema_has_the_sdk_form(name: str) -> None:
    """The SDK expects a list of types; every setting but the write key may be null."""
    types = SETTINGS["properties"][name]["type"]
    assert isinstance(types, list)
    assert ("null" in types) == (name not in SETTINGS["required"])


def test_choices_start_with_the_default() -> None:
    """The schema lists the choices of a setting, the default first."""
    choices = {name: s["enum"] for name, s in SETTINGS["properties"].items() if "enum" in s}
    assert choices == {
        "null_properties": ["send", "omit"],
        "oversized_values": ["reject", "truncate"],
        "invalid_records": ["fail", "dead_letter"],
        "schema_violations": ["warn", "reject"],
        "load_method": ["upsert"],
        "type_changes": ["fail", "new_property", "warn"],
        "deleted_records": ["report", "ignore", "mark"],
    }


def _unfreeze(value: Any) -> Any:  # noqa: ANN401 - settings of any type
    """Return a tuple as the list that JSON has."""
    return list(value) if isinstance(value, tuple) else value


def test_defaults() -> None:
    """A setting that is not set has its documented default, in the schema and in a run."""
    properties = SETTINGS["properties"]
    assert properties.keys() == {*DEFAULTS, *WITHOUT_DEFAULT}
    assert {name: s["default"] for name, s in properties.items() if "default" in s} == DEFAULTS
    settings = Settings.from_config({"write_key": KEY})
    assert {name: _unfreeze(getattr(settings, name)) for name in DEFAULTS} == DEFAULTS
    assert {getattr(settings, name) for name in WITHOUT_DEFAULT[1:]} == {None}


def test_null_means_default() -> None:
    """A setting that is null, as Meltano writes what is not set, has its default."""
    nulls = dict.fromkeys(SCHEMA["properties"])
    defaults = Settings.from_config({"write_key": KEY})
    assert Settings.from_config({**nulls, "write_key": KEY}) == defaults


def test_a_configuration_is_not_shared() -> None:
    """Changing a map of one run's settings changes neither the defaults nor another run's."""
    first, second = (Settings.from_config({"write_key": KEY}) for _ in range(2))
    first.collection_map["a"] = "b"
    assert second.collection_map == {}
    assert SETTINGS["properties"]["collection_map"]["default"] == {}


def test_the_write_key_is_secret() -> None:
    """The write key is declared as a secret, and no representation shows it."""
    declared = SETTINGS["properties"]["write_key"]
    assert declared["secret"] is True
    assert declared["writeOnly"] is True
    settings = Settings.from_config({"write_key": KEY})
    assert settings.write_key == KEY
    assert "max_retries=10" in repr(settings)
    assert KEY not in repr(settings) + str(settings) + pretty_repr(settings)


def test_dead_letters_are_off_unless_asked_for(tmp_path: Path) -> None:
    """A path alone does not turn dead letters on."""
    path = tmp_path / "rejects.singer"
    config = {"write_key": KEY, "dead_letter_path": str(path)}
    assert Settings.from_config(config).dead_letter_file is None
    config["invalid_records"] = "dead_letter"
    assert Settings.from_config(config).dead_letter_file == path


def test_settings_arrive_in_the_type_that_is_used(tmp_path: Path) -> None:
    """Each setting arrives where it is used; an integer may be written as 5.0."""
    settings = Settings.from_config(
        {
            "write_key": KEY,
            "api_url": "https://host",
            "collection_map": {"a": "b"},
            "pluralize_collections": True,
            "null_properties": "omit",
            "oversized_values": "truncate",
            "invalid_records": "dead_letter",
            "dead_letter_path": str(tmp_path / "rejects"),
            "batch_size_rows": 5.0,
            "batch_max_age_seconds": 6,
            "max_file_bytes": 500_000.0,
            "keep_alive_interval_seconds": 8,
            "request_timeout_seconds": 9,
            "max_retries": 2.0,
            "max_parallel_sessions": 3.0,
            "spool_dir": str(tmp_path),
            "add_record_metadata": True,  # the SDK's
        }
    )
    assert (settings.api_url, settings.collection_map) == ("https://host", {"a": "b"})
    assert settings.pluralize_collections
    assert settings.dead_letter_file == tmp_path / "rejects"
    assert settings.spool_dir == str(tmp_path)
    assert (settings.request_timeout_seconds, settings.max_retries) == (9.0, 2)
    mapping, delivery = settings.mapping, settings.delivery
    assert (mapping.null_properties, mapping.oversized_values) == ("omit", "truncate")
    assert delivery.batch_max_age_seconds == 6.0
    assert delivery.keep_alive_seconds == 8.0
    integers = (
        settings.max_retries,
        delivery.batch_size_rows,
        delivery.max_file_bytes,
        delivery.max_parallel_sessions,
    )
    assert integers == (2, 5, 500_000, 3)
    assert all(type(number) is int for number in integers)
