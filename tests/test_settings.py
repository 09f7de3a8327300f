"""The settings: what each takes, what is said of the rest, and where they come from."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects import limits
from target_segment_objects.settings import (
    SETTINGS,
    Settings,
    apply_defaults,
    read_environment,
    unknown_setting_warnings,
    validation_errors,
)
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from pathlib import Path

KEY = "write-key-that-nobody-may-see"
PREFIX = "TARGET_SEGMENT_OBJECTS_"


def whole_schema() -> dict[str, Any]:
    """Return the settings' schema with the SDK's own, as the target has it."""
    schema = copy.deepcopy(SETTINGS)
    TargetSegmentObjects.append_builtin_config(schema)
    return schema


SCHEMA = whole_schema()


def problems_of(**config: object) -> list[str]:
    """Return what is wrong with a configuration, that has a key."""
    return validation_errors({"write_key": KEY, **config}, SCHEMA)


# Declarations

DEFAULTS = {
    "api_url": "https://objects-bulk-api.segmentapis.com",
    "collection_map": {},
    "pluralize_collections": False,
    "null_properties": "send",
    "oversized_values": "reject",
    "invalid_records": "fail",
    "batch_size_rows": 100_000,
    "batch_max_age_seconds": 300,
    "max_file_bytes": 100_000_000,
    "keep_alive_interval_seconds": 180,
    "request_timeout_seconds": 300,
    "max_retries": 10,
    "max_parallel_sessions": 4,
    "load_method": "upsert",
}


@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_each_setting_can_stand_in_documentation(name: str) -> None:
    """Each setting, the SDK's too, has a title and a description; ours are whole sentences."""
    declared = SCHEMA["properties"][name]
    assert declared["title"]
    assert declared["description"]
    if name in {*DEFAULTS, "write_key", "spool_dir", "dead_letter_path"}:
        assert declared["title"][0].isupper()
        assert declared["description"].endswith(".")


def test_defaults() -> None:
    """What is not set has its documented default; what has none is not there."""
    complete = apply_defaults({})
    sdks = complete.keys() - DEFAULTS.keys()
    assert {name: complete[name] for name in complete if name not in sdks} == DEFAULTS
    assert sdks <= {"validate_records"}, "which the SDK adds when a target is made"


def test_null_means_default() -> None:
    """A setting that is null, as Meltano writes what is not set, has its default."""
    nulls = dict.fromkeys(SCHEMA["properties"])
    assert apply_defaults(nulls) == apply_defaults({})
    assert validation_errors({**nulls, "write_key": KEY}, SCHEMA) == []


def test_defaults_are_no_one_elses() -> None:
    """A configuration that is changed later changes no default."""
    config = {"batch_size_rows": 5}
    complete = apply_defaults(config)
    complete["max_retries"] = 1
    assert config == {"batch_size_rows": 5}
    assert apply_defaults({})["max_retries"] == 10


def test_the_key_is_secret() -> None:
    """The write key is declared as a secret, and in no repr."""
    declared = SETTINGS["properties"]["write_key"]
    assert declared["secret"] is True
    assert declared["writeOnly"] is True
    made = Settings.from_config(apply_defaults({"write_key": KEY}))
    assert made.write_key == KEY
    assert KEY not in repr(made) + str(made)


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
]


@pytest.mark.parametrize(("name", "value"), AT_THE_LIMIT)
def test_at_the_limit(name: str, value: object) -> None:
    """What just is allowed is allowed, and arrives where it is used."""
    assert problems_of(**{name: value}) == []
    assert Settings.from_config(apply_defaults({"write_key": KEY, name: value}))


SMALLEST_FILE = f"a whole number of at least {limits.MAX_OBJECT_BYTES + 1} and of at most 512000000"
REFUSED: list[tuple[str, object, str]] = [
    ("batch_size_rows", 0, "a whole number of at least 1"),
    ("batch_size_rows", -1, "a whole number of at least 1"),
    ("batch_size_rows", 1.5, "a whole number"),
    ("batch_size_rows", "many", "a whole number"),
    ("batch_size_rows", True, "a whole number"),
    ("batch_max_age_seconds", 0, "a number above 0 and of at most 1000000"),
    ("batch_max_age_seconds", 1_000_001, "a number above 0 and of at most 1000000"),
    ("batch_max_age_seconds", math.nan, "a number above 0"),
    ("batch_max_age_seconds", math.inf, "a number above 0"),
    ("max_file_bytes", limits.MAX_OBJECT_BYTES, SMALLEST_FILE),
    ("max_file_bytes", 512_000_001, SMALLEST_FILE),
    ("max_file_bytes", math.inf, SMALLEST_FILE),
    ("keep_alive_interval_seconds", 0, "a number above 0 and of at most 540"),
    ("keep_alive_interval_seconds", 540.1, "a number above 0 and of at most 540"),
    ("keep_alive_interval_seconds", math.nan, "a number above 0 and of at most 540"),
    ("request_timeout_seconds", 0, "a number above 0 and of at most 1000000"),
    ("request_timeout_seconds", 1e300, "a number above 0 and of at most 1000000"),
    ("request_timeout_seconds", "1m", "a number above 0"),
    ("max_retries", -1, "a whole number of at least 0"),
    ("max_retries", [3], "a whole number"),
    ("max_parallel_sessions", 0, "a whole number of at least 1 and of at most 20"),
    ("max_parallel_sessions", 21, "a whole number of at least 1 and of at most 20"),
    ("pluralize_collections", "perhaps", "true or false"),
    ("pluralize_collections", 1, "true or false"),
    ("null_properties", "drop", '"send" or "omit"'),
    ("oversized_values", 5, '"reject" or "truncate"'),
    ("invalid_records", "skip", '"fail" or "dead_letter"'),
    ("load_method", "append-only", '"upsert"'),
    ("collection_map", "a=b", "an object of names and texts"),
    ("collection_map", ["a"], "an object of names and texts"),
    ("api_url", 5, "a text"),
    ("spool_dir", "", "a text that is not empty"),
    ("dead_letter_path", "", "a text that is not empty"),
    ("dead_letter_path", {}, "a text that is not empty"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_out_of_range(name: str, value: object, allowed: str) -> None:
    """What is not allowed is told in one line: the setting, what was given, what is allowed."""
    (problem,) = problems_of(**{name: value})
    assert problem.startswith(f"{name} cannot be {json.dumps(value)}: it must be {allowed}")
    assert problem.endswith(".")
    assert "\n" not in problem


def test_all_problems_are_told_at_once() -> None:
    """Of several wrong settings each has its line, the missing key among them."""
    found = validation_errors(
        {"max_retries": -1, "batch_size_rows": "x", "api_url": "ftp://x"}, SCHEMA
    )
    assert sorted(problem.split(" ")[0] for problem in found) == [
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
def test_any_configuration_is_usable_or_told(config: dict[str, Any]) -> None:
    """Whatever is configured: either it makes settings, or it is told in lines without the key."""
    found = validation_errors(config, SCHEMA)
    if not found:
        assert Settings.from_config(apply_defaults(config))
        return
    assert all(isinstance(problem, str) and "\n" not in problem for problem in found)


def test_what_is_long_is_cut() -> None:
    """Of a long value the beginning says which it is."""
    (problem,) = problems_of(max_retries="x" * 10_000)
    assert len(problem) < 400


# The key


@pytest.mark.parametrize("config", [{}, {"write_key": None}])
def test_a_missing_key(config: dict[str, Any]) -> None:
    """Without a key, the line says how to set it."""
    (problem,) = validation_errors(config, SCHEMA)
    assert problem.startswith("write_key is missing: ")
    assert "TARGET_SEGMENT_OBJECTS_WRITE_KEY" in problem


@pytest.mark.parametrize("key", ["", " ", f"{KEY} ", f" {KEY}", f"{KEY}\n", f"{KEY}ü", 123, [KEY]])
def test_a_key_that_is_none(key: object) -> None:
    """What cannot be a key is refused, and never shown."""
    (problem,) = validation_errors({"write_key": key}, SCHEMA)
    assert problem.startswith("write_key cannot be what was given: ")
    assert KEY not in problem
    assert "123" not in problem


def test_no_problem_shows_the_key() -> None:
    """However wrong the rest is, the key is not shown."""
    everything = {name: object() for name in SCHEMA["properties"]}
    found = validation_errors({**everything, "write_key": KEY, "more": KEY}, SCHEMA)
    assert len(found) > 10
    assert KEY not in "".join(found)


# The address


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
def test_addresses_that_are_taken(url: str) -> None:
    """`https://` is taken anywhere, `http://` on this machine."""
    assert problems_of(api_url=url) == []


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
def test_the_key_does_not_travel_in_clear(url: str) -> None:
    """`http://` to another machine is refused, saying why, also where a name looks like ours."""
    (problem,) = problems_of(api_url=url)
    assert problem.startswith(f'api_url cannot be "{url}": http:// would send the write key')
    assert problem.endswith("Use https://.")


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
def test_addresses_that_are_none(url: str) -> None:
    """What is no base address, or is read in two ways, is refused, with an example of one."""
    (problem,) = problems_of(api_url=url)
    assert problem.startswith(f"api_url cannot be {json.dumps(url)}: it must be an address like")


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@host",
        "https://:secret@host",
        "http://127.0.0.1:secret@host",
        "https://host\\@secret",
    ],
)
def test_a_password_in_the_address(url: str) -> None:
    """An address with a user is refused and not shown."""
    (problem,) = problems_of(api_url=url)
    assert problem.startswith("api_url cannot be what was given: ")
    assert "secret" not in problem


# Collections, files and folders


@pytest.mark.parametrize("name", ["", "Users", "users_", "_users", "users2", "us-ers", "a" * 101])
def test_a_collection_that_is_none(name: str) -> None:
    """A collection that Segment would not take is refused with the stream that it was for."""
    (problem,) = problems_of(collection_map={"public-users": name})
    assert problem.startswith("collection_map cannot give stream 'public-users' the collection")
    assert f"'{name}'" in problem
    assert "at most 100" in problem


def test_a_collection_that_is_no_text() -> None:
    """A collection that is no text is refused where it is."""
    (problem,) = problems_of(collection_map={"users": 5})
    assert problem == "collection_map cannot have 5 at users: it must be a text."


def test_a_part_of_the_sdks_settings() -> None:
    """What is wrong in the SDK's own settings is told where it is, without what is there."""
    TargetSegmentObjects(config={"write_key": KEY})
    (problem,) = problems_of(batch_config={"storage": {"root": ["s3://ada:lovelace@b"]}})
    assert problem.startswith("batch_config cannot have what it is at storage.root: it must be")
    assert "lovelace" not in problem
    (problem,) = problems_of(batch_config={"encoding": {"format": "csv"}})
    assert problem.endswith('at encoding.format: it must be "jsonl" or "parquet".')


def test_dead_letters_need_a_file(tmp_path: Path) -> None:
    """`dead_letter` without a path is refused; with one that can be made, it is taken."""
    (problem,) = problems_of(invalid_records="dead_letter")
    assert problem.startswith("dead_letter_path is missing: ")
    path = tmp_path / "rejects.singer"
    for _ in range(2):
        assert problems_of(invalid_records="dead_letter", dead_letter_path=str(path)) == []
        path.touch()


@pytest.mark.parametrize("where", [".", "no/such/folder/file", "a\0b", "a" * 5000])
def test_a_dead_letter_path_that_is_none(tmp_path: Path, where: str) -> None:
    """A path where no file can be is refused at the start, and not at the first invalid record."""
    (problem,) = problems_of(dead_letter_path=f"{tmp_path}/{where}")
    assert problem.startswith("dead_letter_path cannot be ")
    assert problem.endswith("it must be a file to write to, in a folder that is there.")


@pytest.mark.parametrize("where", ["no/such/folder", "file", "a\0b", "a" * 5000])
def test_a_spool_folder_that_is_none(tmp_path: Path, where: str) -> None:
    """A spool folder that is not there, or is a file, is refused at the start."""
    (tmp_path / "file").touch()
    (problem,) = problems_of(spool_dir=f"{tmp_path}/{where}")
    assert problem.startswith("spool_dir cannot be ")
    assert problem.endswith(": it must be a folder to write to.")
    assert problems_of(spool_dir=str(tmp_path)) == []


# The environment


def environment_of(**variables: str) -> dict[str, Any]:
    """Read settings from variables."""
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
        ("spool_dir", "/tmp", "/tmp"),  # noqa: S108 - a text, not a folder
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
def test_environment(name: str, text: str, value: object) -> None:
    """Each variable is read as its setting's type."""
    assert environment_of(**{name: text}) == {name: value}


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
def test_an_environment_that_cannot_be_read(name: str, text: str) -> None:
    """A text that is not of its setting's type stays one, and is told as it was given."""
    config = environment_of(**{name: text})
    assert config == {name: text}
    (problem,) = problems_of(**config)
    assert problem.startswith(f"{name} cannot be {json.dumps(text)[:100]}")


@pytest.mark.parametrize("text", ["", " ", "\n"])
@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_a_variable_set_to_nothing(name: str, text: str) -> None:
    """A variable that is set to nothing is not set."""
    assert environment_of(**{name: text}) == {}


def test_what_is_not_ours_in_the_environment() -> None:
    """Other variables, and such as are no setting, are nobody's settings."""
    environment = {"PATH": "x", "MAX_RETRIES": "3", f"{PREFIX}NOTHING": "1", PREFIX: "2"}
    assert read_environment(environment, PREFIX, SCHEMA) == {}


# Unknown settings


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("write_keys", "write_key"),
        ("batch_size", "batch_size_rows"),
        ("Max_Retries", "max_retries"),
        ("max_file_byte", "max_file_bytes"),
        ("keepalive_interval_seconds", "keep_alive_interval_seconds"),
    ],
)
def test_an_unknown_setting(name: str, near: str) -> None:
    """A setting that there is not is warned of, with the one that is nearest; it is no problem."""
    config = {"write_key": KEY, name: KEY}
    assert list(unknown_setting_warnings(config, SCHEMA)) == [
        f"The setting '{name}' is not known and has no effect. Is {near} meant?"
    ]
    assert validation_errors(config, SCHEMA) == []


def test_an_unknown_setting_without_a_near_one() -> None:
    """A setting that resembles none, as Meltano may pass, is warned of all the same."""
    assert list(unknown_setting_warnings({"zzz": 1}, SCHEMA)) == [
        "The setting 'zzz' is not known and has no effect."
    ]
    assert list(unknown_setting_warnings(dict.fromkeys(SCHEMA["properties"]), SCHEMA)) == []


# Where they go


def test_settings_arrive(tmp_path: Path) -> None:
    """Each setting arrives where it is used, in the type that is used there."""
    made = Settings.from_config(
        apply_defaults(
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
            }
        )
    )
    assert (made.api_url, made.collection_map) == ("https://host", {"a": "b"})
    assert made.pluralize_collections
    assert not made.fail_on_invalid
    assert made.dead_letter_path == tmp_path / "rejects"
    assert made.spool_dir == str(tmp_path)
    assert (made.request_timeout_seconds, made.max_retries) == (9.0, 2)
    assert (made.mapping.null_properties, made.mapping.oversized_values) == ("omit", "truncate")
    assert made.delivery.batch_max_age_seconds == 6.0
    assert made.delivery.keep_alive_seconds == 8.0
    whole = (
        made.max_retries,
        made.delivery.batch_size_rows,
        made.delivery.max_file_bytes,
        made.delivery.max_parallel_sessions,
    )
    assert whole == (2, 5, 500_000, 3)
    assert all(type(number) is int for number in whole)
