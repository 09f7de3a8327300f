"""Configuration checks: what is accepted, what the errors say, and the environment variables."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_segment_objects import limits
from target_segment_objects.settings import SETTINGS, Settings
from target_segment_objects.settings.config_validation import (
    normalize_config,
    read_environment,
    unknown_setting_warnings,
    unknown_variable_warnings,
    unused_setting_warnings,
    validation_errors,
)
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from pathlib import Path

KEY = "write-key-that-nobody-may-see"
PREFIX = "TARGET_SEGMENT_OBJECTS_"


def build_full_schema() -> dict[str, Any]:
    """Return the settings' schema with the SDK's own settings, as the target has it."""
    schema = copy.deepcopy(SETTINGS)
    TargetSegmentObjects.append_builtin_config(schema)
    return schema


SCHEMA = build_full_schema()


def find_errors(**config: object) -> list[str]:
    """Return the errors in a configuration that has a write key."""
    return validation_errors({"write_key": KEY, **config}, SCHEMA)


def test_null_means_default() -> None:
    """A setting that is null, as Meltano writes what is not set, is not an error."""
    assert find_errors(**dict.fromkeys(SCHEMA["properties"].keys() - {"write_key"})) == []


# Ranges and types

AT_THE_LIMIT: list[tuple[str, object]] = [
    ("batch_size_rows", 1),
    ("batch_max_age_seconds", 0.001),
    ("batch_max_age_seconds", 1_000_000),
    ("max_file_bytes", limits.MAX_OBJECT_BYTES + 1),
    ("max_file_bytes", 512_000_000),
    ("keep_alive_interval_seconds", 0.001),
    ("keep_alive_interval_seconds", 540),
    ("request_timeout_seconds", 0.001),
    ("request_timeout_seconds", 1_000_000),
    ("max_retries", 0),
    ("max_retries", 10**30),
    ("max_parallel_sessions", 1),
    ("max_parallel_sessions", 20),
    ("max_parallel_sessions", 20.0),
    ("pluralize_collections", True),
    ("null_properties", "omit"),
    ("oversized_values", "truncate"),
    ("collection_map", {"any stream": "a" * 100}),
    ("max_invalid_records", 0),
    ("max_invalid_records", 10**15),
    ("max_invalid_records", "100"),
    ("max_invalid_records", "0%"),
    ("max_invalid_records", "0.5%"),
    ("max_invalid_records", "100%"),
]


@pytest.mark.parametrize(("name", "value"), AT_THE_LIMIT, ids=str)
def test_values_at_the_limit_are_accepted(name: str, value: object) -> None:
    """The smallest and the largest allowed value are accepted, and settings can be made of them."""
    assert find_errors(**{name: value}) == []
    assert Settings.from_config({"write_key": KEY, name: value})


SMALLEST_FILE = f"an integer from {limits.MAX_OBJECT_BYTES + 1} to 512000000"
REJECTED: list[tuple[str, object, str]] = [
    ("batch_size_rows", 0, "an integer of at least 1"),
    ("batch_size_rows", -1, "an integer of at least 1"),
    ("batch_size_rows", 1.5, "an integer"),
    ("batch_size_rows", "many", "an integer"),
    ("batch_size_rows", True, "an integer"),
    ("batch_max_age_seconds", 0, "a number above 0 and at most 1000000"),
    ("batch_max_age_seconds", 1_000_001, "a number above 0 and at most 1000000"),
    ("batch_max_age_seconds", math.nan, "a number above 0"),
    ("batch_max_age_seconds", math.inf, "a number above 0"),
    ("max_file_bytes", limits.MAX_OBJECT_BYTES, SMALLEST_FILE),
    ("max_file_bytes", 512_000_001, SMALLEST_FILE),
    ("max_file_bytes", math.inf, SMALLEST_FILE),
    ("keep_alive_interval_seconds", 0, "a number above 0 and at most 540"),
    ("keep_alive_interval_seconds", 540.1, "a number above 0 and at most 540"),
    ("keep_alive_interval_seconds", math.nan, "a number above 0 and at most 540"),
    ("request_timeout_seconds", 0, "a number above 0 and at most 1000000"),
    ("request_timeout_seconds", 1e300, "a number above 0 and at most 1000000"),
    ("request_timeout_seconds", "1m", "a number above 0"),
    ("max_retries", -1, "an integer of at least 0"),
    ("max_retries", [3], "an integer"),
    ("max_parallel_sessions", 0, "an integer from 1 to 20"),
    ("max_parallel_sessions", 21, "an integer from 1 to 20"),
    ("flattening_max_depth", -1, "an integer of at least 0"),
    ("flattening_max_key_length", 19, "an integer of at least 20"),
    ("pluralize_collections", "perhaps", "true or false"),
    ("pluralize_collections", 1, "true or false"),
    ("null_properties", "drop", '"send" or "omit"'),
    ("oversized_values", 5, '"reject" or "truncate"'),
    ("invalid_records", "skip", '"fail" or "dead_letter"'),
    ("load_method", "append-only", '"upsert"'),
    ("collection_map", "a=b", "an object with string values"),
    ("collection_map", ["a"], "an object with string values"),
    ("api_url", 5, "a string"),
    ("spool_dir", "", "a string that is not empty"),
    ("dead_letter_path", "", "a string that is not empty"),
    ("dead_letter_path", {}, "a string that is not empty"),
    ("max_invalid_records", -1, 'an integer of at least 0 or a string such as "5%"'),
    ("max_invalid_records", 0.05, 'an integer of at least 0 or a string such as "5%"'),
    ("max_invalid_records", "5 %", 'an integer of at least 0 or a string such as "5%"'),
    ("max_invalid_records", "0.5", 'an integer of at least 0 or a string such as "5%"'),
    ("max_invalid_records", "-5%", 'an integer of at least 0 or a string such as "5%"'),
    ("max_invalid_records", True, 'an integer of at least 0 or a string such as "5%"'),
]


@pytest.mark.parametrize(("name", "value", "allowed"), REJECTED, ids=str)
def test_an_error_names_the_setting_the_value_and_what_is_allowed(
    name: str, value: object, allowed: str
) -> None:
    """One line for each value that is not allowed."""
    (error,) = find_errors(**{name: value})
    assert error.startswith(f"{name} cannot be {json.dumps(value)}: it must be {allowed}")
    assert error.endswith(".")
    assert "\n" not in error


def test_all_errors_are_reported_at_once() -> None:
    """Each wrong setting has its own line; the missing write key is one of them."""
    found = validation_errors(
        {"max_retries": -1, "batch_size_rows": "x", "api_url": "ftp://x"}, SCHEMA
    )
    assert sorted(error.split(" ")[0] for error in found) == [
        "api_url",
        "batch_size_rows",
        "max_retries",
        "write_key",
    ]


@given(
    st.dictionaries(
        st.sampled_from(sorted(SCHEMA["properties"])),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        ),
    )
)
@example(config={"collection_map": {"\n": None}})
def test_any_configuration_is_either_valid_or_has_errors(config: dict[str, Any]) -> None:
    """Settings can be made of every configuration without errors; an error is one line."""
    found = validation_errors(config, SCHEMA)
    if not found:
        assert Settings.from_config({"write_key": KEY, **config})
        return
    assert all(isinstance(error, str) and "\n" not in error for error in found)


def test_a_long_value_is_shortened() -> None:
    """An error shows only the beginning of a long value."""
    (error,) = find_errors(max_retries="x" * 10_000)
    assert len(error) < 400


# The write key


@pytest.mark.parametrize("config", [{}, {"write_key": None}], ids=["absent", "null"])
def test_a_missing_write_key(config: dict[str, Any]) -> None:
    """The error says how to set the write key."""
    (error,) = validation_errors(config, SCHEMA)
    assert error.startswith("write_key is missing: ")
    assert "TARGET_SEGMENT_OBJECTS_WRITE_KEY" in error


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="space"),
        pytest.param(f"{KEY} ", id="space at the end"),
        pytest.param(f" {KEY}", id="space at the start"),
        pytest.param(f"{KEY}\n", id="line break at the end"),
        pytest.param(f"{KEY}ü", id="not ASCII"),
        pytest.param(123, id="integer"),
        pytest.param([KEY], id="list"),
    ],
)
def test_an_invalid_write_key_is_not_shown(key: object) -> None:
    """A value that cannot be a write key is refused, and the error does not show it."""
    (error,) = validation_errors({"write_key": key}, SCHEMA)
    assert error.startswith("write_key is not valid: ")
    assert KEY not in error
    assert "123" not in error


def test_no_error_shows_the_write_key() -> None:
    """Errors in every other setting do not show the write key."""
    everything = {name: object() for name in SCHEMA["properties"]}
    found = validation_errors({**everything, "write_key": KEY, "more": KEY}, SCHEMA)
    assert len(found) > 10
    assert KEY not in "".join(found)


# The URL


@pytest.mark.parametrize(
    "url",
    [
        "https://objects-bulk-api.segmentapis.com",
        "https://objects-bulk-api.segmentapis.com/",
        "HTTPS://host:8443/a/path",
        "http://localhost:8765",
        "http://LOCALHOST",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:8765",
    ],
)
def test_accepted_urls(url: str) -> None:
    """`https://` is accepted for any host, `http://` for this machine."""
    assert find_errors(api_url=url) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://2130706433",
        "http://[::2]",
        "http://host.docker.internal:80",
    ],
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    """The error says why, also for a host name that only looks like this machine."""
    (error,) = find_errors(api_url=url)
    assert error.startswith(f'api_url cannot be "{url}": http:// would send the write key')
    assert error.endswith("Use https://.")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host:80",
        "//host",
        "ftp://host",
        "https://",
        "https:///path",
        "https://host:port",
        "https://host:99999",
        "https://[::1",
        "https://host?a=b",
        "https://host?",
        "https://host#a",
        "https://ho st",
        " https://host",
        "https://host\n",
        "http://127.0.0.1\\.example.com",
        "https://höst",
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    """A URL that is incomplete, or that parsers read differently, is refused with an example."""
    (error,) = find_errors(api_url=url)
    assert error.startswith(f"api_url cannot be {json.dumps(url)}: it must be a URL like")


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@host",
        "https://:secret@host",
        "http://127.0.0.1:secret@host",
        "https://host\\@secret",
    ],
)
def test_a_password_in_the_url_is_not_shown(url: str) -> None:
    """A URL with a user name is refused, and the error does not show it."""
    (error,) = find_errors(api_url=url)
    assert error.startswith("api_url is not valid: ")
    assert "secret" not in error


# Collections, files and folders


@pytest.mark.parametrize(
    "name",
    ["", "Users", "users_", "_users", "users2", "us-ers", pytest.param("a" * 101, id="too long")],
)
def test_an_invalid_collection_name_is_refused(name: str) -> None:
    """The error names the stream and the collection that Segment would not accept."""
    (error,) = find_errors(collection_map={"public-users": name})
    assert error.startswith("collection_map cannot map stream 'public-users' to collection")
    assert f"'{name}'" in error
    assert "at most 100" in error


def test_a_collection_name_must_be_a_string() -> None:
    """The error names the stream."""
    (error,) = find_errors(collection_map={"users": 5})
    assert error == "collection_map.users cannot be 5: it must be a string."


def test_an_error_inside_an_sdk_setting() -> None:
    """The error names the place inside the SDK's setting, and does not show the value."""
    TargetSegmentObjects(config={"write_key": KEY})
    (error,) = find_errors(batch_config={"storage": {"root": ["s3://ada:lovelace@b"]}})
    assert error.startswith("batch_config.storage.root is not valid: it must be")
    assert "lovelace" not in error
    (error,) = find_errors(batch_config={"encoding": {"format": "csv"}})
    assert error.endswith('.encoding.format is not valid: it must be "jsonl" or "parquet".')


def test_an_expression_that_cannot_be_parsed_is_refused() -> None:
    """A syntax error in a stream map is found before the run, with the stream and the property."""
    stream_maps = {"orders": {"total": "price * 2"}, "users": {"name": "upper(name"}}
    (error,) = find_errors(stream_maps=stream_maps)
    assert error.startswith(
        "stream_maps cannot be used: in stream 'users', the expression of property 'name' cannot "
        "be parsed: "
    )


def test_dead_letters_need_a_path(tmp_path: Path) -> None:
    """`dead_letter` without a path is refused; the file may exist or not."""
    (error,) = find_errors(invalid_records="dead_letter")
    assert error.startswith("dead_letter_path is missing: ")
    path = tmp_path / "rejects.singer"
    for _ in range(2):
        assert find_errors(invalid_records="dead_letter", dead_letter_path=str(path)) == []
        path.touch()


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(".", id="a folder"),
        pytest.param("no/such/folder/file", id="missing folder"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("a" * 5000, id="too long"),
    ],
)
def test_an_unusable_dead_letter_path_is_refused(tmp_path: Path, where: str) -> None:
    """It is refused at the start, and not at the first rejected record."""
    (error,) = find_errors(dead_letter_path=f"{tmp_path}/{where}")
    assert error.startswith("dead_letter_path cannot be ")
    assert error.endswith("it must be a writable file in an existing folder.")


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("no/such/folder", id="missing folder"),
        pytest.param("file", id="a file"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("a" * 5000, id="too long"),
    ],
)
def test_an_unusable_spool_folder_is_refused(tmp_path: Path, where: str) -> None:
    """It is refused at the start; an existing folder is accepted."""
    (tmp_path / "file").touch()
    (error,) = find_errors(spool_dir=f"{tmp_path}/{where}")
    assert error.startswith("spool_dir cannot be ")
    assert error.endswith(": it must be a writable folder.")
    assert find_errors(spool_dir=str(tmp_path)) == []


# The environment


def read_variables(**variables: str) -> dict[str, Any]:
    """Return the settings that these variables give."""
    return read_environment(
        {f"{PREFIX}{name.upper()}": value for name, value in variables.items()}, PREFIX, SCHEMA
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("write_key", "12345", "12345"),
        ("write_key", "true", "true"),
        ("write_key", "a\n", "a"),
        ("api_url", "http://localhost", "http://localhost"),
        ("spool_dir", "/tmp", "/tmp"),  # noqa: S108 - a string, no folder is used
        ("max_retries", "3", 3),
        ("max_retries", " 3 ", 3),
        ("max_retries", "-3", -3),
        ("batch_max_age_seconds", "1.5", 1.5),
        ("batch_max_age_seconds", "1e2", 100.0),
        ("collection_map", '{"a": "b"}', {"a": "b"}),
        ("stream_maps", '{"a": {"b": null}}', {"a": {"b": None}}),
        *(("pluralize_collections", text, True) for text in ("true", "True", "TRUE", "yes", "1")),
        *(("pluralize_collections", text, False) for text in ("false", "False", "no", "off", "0")),
        ("add_record_metadata", "on", True),
        ("flattening_max_depth", "2", 2),
    ],
)
def test_a_variable_is_read_as_its_setting_type(name: str, text: str, value: object) -> None:
    """A string stays a string; numbers, booleans and objects are parsed."""
    assert read_variables(**{name: text}) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_retries", "three"),
        ("max_retries", "3.5.1"),
        ("max_retries", "yes"),
        ("max_retries", "1_0"),
        ("max_retries", "0x10"),
        ("pluralize_collections", "perhaps"),
        ("pluralize_collections", "2"),
        ("collection_map", "a=b"),
        ("collection_map", '{"a":'),
        ("collection_map", "[" * 100_000),
    ],
)
def test_an_unreadable_variable_is_reported(name: str, text: str) -> None:
    """A value that cannot be read as its setting's type is reported as it was given."""
    config = read_variables(**{name: text})
    assert config == {name: text}
    (error,) = find_errors(**config)
    assert error.startswith(f"{name} cannot be {json.dumps(text)[:100]}")


@pytest.mark.parametrize("text", ["", " ", "\n"])
@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_an_empty_variable_is_not_set(name: str, text: str) -> None:
    """Spaces and line breaks count as empty."""
    assert read_variables(**{name: text}) == {}


def test_other_variables_are_ignored() -> None:
    """Without the prefix, or without a setting of that name, a variable sets nothing."""
    environment = {"PATH": "x", "MAX_RETRIES": "3", f"{PREFIX}NOTHING": "1", PREFIX: "2"}
    assert read_environment(environment, PREFIX, SCHEMA) == {}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("MAX_RETRY", f" Did you mean {PREFIX}MAX_RETRIES?", id="similar setting"),
        pytest.param("LOG_LEVEL", f" Did you mean {PREFIX}LOGLEVEL?", id="similar variable"),
    ],
)
def test_an_unknown_variable_gets_a_warning(name: str, hint: str) -> None:
    """The warning has the name with our prefix and the nearest one, and not the value."""
    (warning,) = unknown_variable_warnings({f"{PREFIX}{name}": KEY}, PREFIX, SCHEMA)
    assert warning == f"Unknown environment variable {PREFIX}{name} is ignored.{hint}"


def test_known_variables_get_no_warning() -> None:
    """Settings, also the SDK's, the other variables, and what has no prefix of ours."""
    names = [f"{PREFIX}{name.upper()}" for name in SCHEMA["properties"]]
    others = [f"{PREFIX}LOGLEVEL", f"{PREFIX}SANDBOX", f"_{PREFIX}COMPLETE", "PATH"]
    assert list(unknown_variable_warnings([*names, *others], PREFIX, SCHEMA)) == []


# Unknown settings


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("write_keys", "write_key"),
        ("batch_size", "batch_size_rows"),
        ("Max_Retries", "max_retries"),
        ("max_file_byte", "max_file_bytes"),
        ("keepalive_interval_seconds", "keep_alive_interval_seconds"),
    ],
)
def test_an_unknown_setting_gets_a_warning(name: str, nearest: str) -> None:
    """The warning has the nearest name; an unknown setting is not an error."""
    config = {"write_key": KEY, name: KEY}
    assert list(unknown_setting_warnings(config, SCHEMA)) == [
        f"Unknown setting '{name}' is ignored. Did you mean {nearest}?"
    ]
    assert validation_errors(config, SCHEMA) == []


def test_an_unknown_setting_without_a_similar_name() -> None:
    """The warning has no suggestion; known settings get no warning."""
    assert list(unknown_setting_warnings({"zzz": 1}, SCHEMA)) == [
        "Unknown setting 'zzz' is ignored."
    ]
    assert list(unknown_setting_warnings(dict.fromkeys(SCHEMA["properties"]), SCHEMA)) == []


@pytest.mark.parametrize("name", ["flattening_max_depth", "flattening_max_key_length"])
def test_options_of_flattening_need_flattening_enabled(name: str) -> None:
    """Without it there is a warning, but not for a null."""
    (warning,) = unused_setting_warnings({name: 20, "flattening_enabled": False})
    assert warning == f"{name} has no effect: it needs flattening_enabled."
    assert not [*unused_setting_warnings({name: None})]
    assert not [*unused_setting_warnings({name: 20, "flattening_enabled": True})]


@pytest.mark.parametrize(("separator", "has_warning"), [(".", 1), ("", 1), ("_", 0), ("__", 0)])
def test_separator_of_flattening_has_no_effect(separator: str, has_warning: int) -> None:
    """There is a warning, but not for underscores, which is what the SDK uses by default."""
    warnings = [*unused_setting_warnings({"flattening_separator": separator})]
    assert len(warnings) == has_warning
    assert all("flattening_separator has no effect" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_invalid_records": 5}, 'invalid_records "dead_letter"'),
        ({"deleted_after_runs": 3, "ledger_path": "l"}, 'deleted_records "mark"'),
    ],
)
def test_setting_that_needs_the_value_of_another(config: dict[str, Any], expected: str) -> None:
    """Without it there is a warning."""
    (warning,) = unused_setting_warnings(config)
    assert warning == f"{next(iter(config))} has no effect: it needs {expected}."


def test_home_folder_and_slash_are_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder in each path; a slash at the end of the address says nothing."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    paths = dict.fromkeys(("dead_letter_path", "ledger_path", "spool_dir"), "~/x")
    assert normalize_config({"api_url": "https://h/p/", "max_retries": None, **paths}) == {
        "api_url": "https://h/p",
        **dict.fromkeys(paths, "/home/ada/x"),
    }


def test_choice_of_the_sdk_that_is_no_schema() -> None:
    """The SDK's schema of stream_maps has one; a wrong value is still an error of ours."""
    (error,) = find_errors(stream_maps={"__else__": 5})
    assert error.startswith("stream_maps.__else__ is not valid")


@pytest.mark.parametrize("where", ["no-folder/ledger.sqlite", "."])
def test_an_unusable_ledger_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It must be a file in an existing folder."""
    monkeypatch.chdir(tmp_path)
    (error,) = find_errors(ledger_path=where)
    assert error == f'ledger_path cannot be "{where}": it must be a file in an existing folder.'


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("resend_after_days", 0, 45),
        ("ledger_ignored_properties", ["a"], []),
    ],
)
def test_setting_of_the_ledger_needs_a_ledger(name: str, value: object, default: object) -> None:
    """Without one there is a warning, but not for a default, which Meltano passes."""
    (warning,) = unused_setting_warnings({name: value})
    assert warning == f"{name} has no effect: it needs ledger_path."
    for config in ({name: value, "ledger_path": "l"}, {name: default}):
        assert not list(unused_setting_warnings(config))


def test_schema_violations_need_validation() -> None:
    """There is no violation if nothing is validated; the default of Meltano has no warning."""
    (warning,) = unused_setting_warnings({"schema_violations": "reject", "validate_records": False})
    assert warning == "schema_violations has no effect: it needs validate_records."
    assert not [*unused_setting_warnings({"schema_violations": "warn", "validate_records": False})]
