"""The settings: what each is called, what it takes, and what it means.

One declaration serves `--about`, the checks at the start, the documentation and Meltano. A value
that is not allowed is refused with the setting's name, what was given (never a secret) and what is
allowed.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema
from singer_sdk import typing as th

from target_segment_objects import limits
from target_segment_objects.delivery.scheduler import DeliveryOptions
from target_segment_objects.exceptions import InvalidUrlError
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.mapper import MappingOptions
from target_segment_objects.segment.client import (
    DEFAULT_API_URL,
    DEFAULT_MAX_RETRIES,
    DEFAULT_REQUEST_TIMEOUT_SECONDS,
)
from target_segment_objects.segment.urls import validate_api_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_DELIVERY: Final = DeliveryOptions()

_LONGEST_SECONDS: Final = 1_000_000
"""Eleven days. No use of ours needs more, and what systems let threads and sockets wait is bounded.
"""

_SHOWN_CHARACTERS: Final = 200
_OF_TEXTS: Final = " of names and texts"
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})

SETTINGS: Final[dict[str, Any]] = th.PropertiesList(
    th.Property(
        "write_key",
        th.StringType(pattern=r"^[!-~]+$"),
        required=True,
        secret=True,
        title="Write key",
        description=(
            "The write key of the Segment source that receives the objects. Required, except with "
            "`--sandbox` and `--dry-run`. It is never logged."
        ),
    ),
    th.Property(
        "api_url",
        th.StringType,
        default=DEFAULT_API_URL,
        title="API address",
        description=(
            "Base address of the Objects Bulk API. Plain `http://` is refused unless the host is "
            "this machine, because the write key would travel in clear."
        ),
    ),
    th.Property(
        "collection_map",
        th.ObjectType(additional_properties=th.StringType),
        default={},
        title="Collection map",
        description=(
            "Stream name to collection name, for names of your own: lowercase letters and "
            "underscores, at most 100. Streams that are given the same collection are merged in it."
        ),
    ),
    th.Property(
        "pluralize_collections",
        th.BooleanType,
        default=False,
        title="Pluralize collections",
        description=(
            "Whether a collection's name is put into its English plural, as Segment advises "
            "(`order` becomes `orders`). Names from `collection_map` stay as they are."
        ),
    ),
    th.Property(
        "null_properties",
        th.StringType,
        allowed_values=["send", "omit"],
        default="send",
        title="Null properties",
        description=(
            "`send` sends a null, which clears the property in Segment; `omit` leaves it out, so "
            "that the property keeps its old value (for taps that send partial updates)."
        ),
    ),
    th.Property(
        "oversized_values",
        th.StringType,
        allowed_values=["reject", "truncate"],
        default="reject",
        title="Oversized values",
        description=(
            "What becomes of a value of 32 KB or more, which Segment does not take: `reject` makes "
            "the record an invalid one, `truncate` cuts the value at a whole character."
        ),
    ),
    th.Property(
        "invalid_records",
        th.StringType,
        allowed_values=["fail", "dead_letter"],
        default="fail",
        title="Invalid records",
        description=(
            "What becomes of a record that cannot be sent: `fail` ends the run, after what was "
            "read before is delivered; `dead_letter` writes it to `dead_letter_path` and goes on."
        ),
    ),
    th.Property(
        "dead_letter_path",
        th.StringType(min_length=1),
        title="Dead-letter path",
        description=(
            "The file to which invalid records are appended with `invalid_records: dead_letter`. "
            "It is Singer input itself: feed it to the target again once the cause is mended."
        ),
    ),
    th.Property(
        "batch_size_rows",
        th.IntegerType(minimum=1),
        default=_DELIVERY.batch_size_rows,
        title="Batch size",
        description="Objects in a batch. A batch is delivered as one bulk session.",
    ),
    th.Property(
        "batch_max_age_seconds",
        th.NumberType(exclusive_minimum=0, maximum=_LONGEST_SECONDS),
        default=_DELIVERY.batch_max_age_seconds,
        title="Batch age",
        description=(
            "A batch is delivered when its first record is older than this, full or not, even "
            "while the tap is silent."
        ),
    ),
    th.Property(
        "max_file_bytes",
        th.IntegerType(minimum=limits.MAX_OBJECT_BYTES + 1, maximum=limits.MAX_FILE_BYTES),
        default=_DELIVERY.max_file_bytes,
        title="File size",
        description=(
            "Uncompressed bytes at which a batch goes on in a further file. A file that has to be "
            "sent again is sent whole, so smaller files suit a bad network."
        ),
    ),
    th.Property(
        "keep_alive_interval_seconds",
        th.NumberType(exclusive_minimum=0, maximum=limits.SESSION_TIMEOUT_SECONDS - 60),
        default=_DELIVERY.keep_alive_seconds,
        title="Keep Alive interval",
        description=(
            "Silence in an open session after which Keep Alive is sent. Segment drops a session "
            "after ten minutes of silence."
        ),
    ),
    th.Property(
        "request_timeout_seconds",
        th.NumberType(exclusive_minimum=0, maximum=_LONGEST_SECONDS),
        default=DEFAULT_REQUEST_TIMEOUT_SECONDS,
        title="Request timeout",
        description="How long one answer may take before the call is tried again.",
    ),
    th.Property(
        "max_retries",
        th.IntegerType(minimum=0),
        default=DEFAULT_MAX_RETRIES,
        title="Retries",
        description=(
            "Further tries of a call, after the first, with growing waits of up to a minute or as "
            "long as Segment asks for."
        ),
    ),
    th.Property(
        "max_parallel_sessions",
        th.IntegerType(minimum=1, maximum=limits.MAX_CONCURRENT_REQUESTS),
        default=_DELIVERY.max_parallel_sessions,
        title="Parallel sessions",
        description=(
            "Sessions of different collections at once. The objects of one collection always go in "
            "order. Segment allows 20 requests at once for a write key, all machines together."
        ),
    ),
    th.Property(
        "spool_dir",
        th.StringType(min_length=1),
        title="Spool folder",
        description=(
            "Where batch files wait to be sent: the system's temporary folder unless set. A run "
            "makes a folder of its own there, private to the user and gone at the end."
        ),
    ),
    th.Property(
        "load_method",
        th.StringType,
        allowed_values=["upsert"],
        default="upsert",
        title="Load method",
        description="Segment merges objects by id, so `upsert` is the only method there is.",
    ),
).to_dict()


_OWN: Final = frozenset(SETTINGS["properties"])  # the SDK will add its own to the schema


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked and complete."""

    write_key: str = field(repr=False)
    api_url: str
    collection_map: Mapping[str, str]
    pluralize_collections: bool
    fail_on_invalid: bool
    dead_letter_path: Path | None
    request_timeout_seconds: float
    max_retries: int
    spool_dir: str | None
    mapping: MappingOptions
    delivery: DeliveryOptions

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Take the settings from a configuration that has been checked and has its defaults."""
        path = config.get("dead_letter_path")
        return cls(
            write_key=config["write_key"],
            api_url=config["api_url"],
            collection_map=config["collection_map"],
            pluralize_collections=config["pluralize_collections"],
            fail_on_invalid=config["invalid_records"] == "fail",
            dead_letter_path=None if path is None else Path(path),
            request_timeout_seconds=float(config["request_timeout_seconds"]),
            max_retries=int(config["max_retries"]),
            spool_dir=config.get("spool_dir"),
            mapping=MappingOptions(config["null_properties"], config["oversized_values"]),
            delivery=DeliveryOptions(
                batch_size_rows=int(config["batch_size_rows"]),
                batch_max_age_seconds=float(config["batch_max_age_seconds"]),
                max_file_bytes=int(config["max_file_bytes"]),
                keep_alive_seconds=float(config["keep_alive_interval_seconds"]),
                max_parallel_sessions=int(config["max_parallel_sessions"]),
            ),
        )


def apply_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which what is not set, or null, has its default."""
    complete = {name: value for name, value in config.items() if value is not None}
    for name, schema in SETTINGS["properties"].items():
        if "default" in schema:
            complete.setdefault(name, schema["default"])
    return complete


def read_environment(
    environment: Mapping[str, str], prefix: str, schema: Mapping[str, Any]
) -> dict[str, Any]:
    """Read the settings that environment variables give.

    Args:
        environment: Names to values.
        prefix: What precedes a setting's name, which is in capitals.
        schema: The settings' JSON schema.

    Returns:
        Setting to value. A variable that is set to nothing is not set: so do the tools that pass
        on what they do not have. A text that cannot be read as its setting's type stays a text,
        for `problems` to tell.
    """
    config = {}
    for name, declared in schema["properties"].items():
        text = environment.get(f"{prefix}{name.upper()}", "").strip()
        if text:
            config[name] = text if "string" in declared["type"] else _read(text, declared["type"])
    return config


def _read(text: str, types: Collection[str]) -> Any:  # noqa: ANN401 - JSON is anything
    if "boolean" in types:
        return text.lower() in _TRUE if text.lower() in _TRUE | _FALSE else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def validation_errors(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a configuration, a line for each setting.

    Args:
        config: What the user gave; defaults may be missing.
        schema: The settings' JSON schema, the SDK's own included.
    """
    given = {name: value for name, value in config.items() if value is not None}
    found = dict(_no_numbers(given, schema))
    for error in jsonschema.Draft202012Validator(schema).iter_errors(given):
        if error.validator == "required" and not error.path:
            continue  # told below, with what to do
        name = str(error.path[0]) if error.path else ""
        found.setdefault(name, _described(name, error, given, schema))
    for name, problem in _further_problems(apply_defaults(given), found):
        found.setdefault(name, problem)
    return list(found.values())


def _no_numbers(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the problem of each NaN and infinity: Python's JSON has them, no bound stops NaN."""
    for name, value in config.items():
        declared = schema["properties"].get(name)
        if declared is not None and isinstance(value, float) and not math.isfinite(value):
            yield name, f"{name} cannot be {_shown(value, declared)}: {_allowed(declared)}."


def unknown_setting_warnings(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning for each setting that there is not."""
    known = list(schema["properties"])
    for name in config:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            hint = f" Is {near[0]} meant?" if near else ""
            yield f"The setting '{name}' is not known and has no effect.{hint}"


def _described(
    name: str,
    error: jsonschema.ValidationError,
    config: Mapping[str, Any],
    schema: Mapping[str, Any],
) -> str:
    declared = schema["properties"].get(name)
    if declared is None:
        return f"The configuration is not usable: it is against '{error.validator}' of its schema."
    if len(error.path) > 1:
        below = ".".join(str(step) for step in list(error.path)[1:])
        value = _shown(error.instance, declared) if name in _OWN else "what it is"
        return f"{name} cannot have {value} at {below}: {_allowed_below(error)}."
    return f"{name} cannot be {_shown(config[name], declared)}: {_allowed(declared)}."


def _shown(value: object, declared: Mapping[str, Any]) -> str:
    """Return what was given, unless it is a secret or long."""
    if declared.get("secret"):
        return "what was given"
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _allowed_below(error: jsonschema.ValidationError) -> str:
    """Say what a part of a setting takes; the SDK's own settings have parts of many kinds."""
    if error.validator == "type":
        return _allowed({"type": error.validator_value})
    if error.validator == "enum":
        return _allowed({"enum": error.validator_value})
    return f"it is against '{error.validator}' of its schema"


def _allowed(declared: Mapping[str, Any]) -> str:
    return f"it must be {describe_allowed(declared)}"


def describe_allowed(declared: Mapping[str, Any]) -> str:
    """Say in words what a setting takes."""
    if "enum" in declared:
        return " or ".join(json.dumps(value) for value in declared["enum"])
    choices = declared.get("oneOf") or declared.get("anyOf")
    if choices:  # of the SDK's own settings; a null is as good as none
        given = [one for one in choices if isinstance(one, dict) and one.get("type") != "null"]
        return " or ".join(describe_allowed(one) for one in given)
    if "const" in declared:
        return json.dumps(declared["const"])
    types = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "object": f"an object{_OF_TEXTS if _is_of_texts(declared) else ''}",
        "array": "a list",
        "string": f"a text{_without(declared)}",
    }
    kind = next((words for name, words in types.items() if name in declared["type"]), "something")
    bounds = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
    }
    told = [f"{words} {declared[name]}" for name, words in bounds.items() if name in declared]
    return " ".join([kind, " and ".join(told)]).strip()


def _is_of_texts(declared: Mapping[str, Any]) -> bool:
    values = declared.get("additionalProperties")
    return isinstance(values, dict) and "string" in values.get("type", ())


def _without(declared: Mapping[str, Any]) -> str:
    if "pattern" in declared:
        return " that is not empty and has no spaces"
    return " that is not empty" if declared.get("minLength") else ""


def _further_problems(
    config: Mapping[str, Any], found: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield what a JSON schema cannot tell, of the settings whose types are right."""
    if "write_key" not in config and "write_key" not in found:
        missing = (
            "write_key is missing: set it in the configuration file, or set "
            "TARGET_SEGMENT_OBJECTS_WRITE_KEY and use --config=ENV."
        )
        yield "write_key", missing
    if "write_key" not in found and config.get("write_key", "").endswith("\n"):  # `$` allows it
        yield "write_key", "write_key cannot be what was given: it ends with a line break."
    if "api_url" not in found and (problem := _url_problem(config["api_url"])):
        yield "api_url", problem
    if "collection_map" not in found:
        for stream, collection in config["collection_map"].items():
            if not naming.is_valid_collection(collection):
                refused = (
                    f"collection_map cannot give stream '{stream}' the collection "
                    f"'{collection}': it must be lowercase letters and underscores, at most "
                    f"{limits.MAX_COLLECTION_CHARACTERS}, no underscore first or last."
                )
                yield "collection_map", refused
    if config["invalid_records"] == "dead_letter" and "dead_letter_path" not in config:
        yield (
            "dead_letter_path",
            'dead_letter_path is missing: invalid_records "dead_letter" needs a file.',
        )
    path = config.get("dead_letter_path")
    if "dead_letter_path" not in found and path is not None and not _is_usable_file(path):
        refused = (
            f"dead_letter_path cannot be {json.dumps(path)}: it must be a file to write to, in a "
            "folder that is there."
        )
        yield "dead_letter_path", refused
    folder = config.get("spool_dir")
    if "spool_dir" not in found and folder is not None and not _is_usable_folder(folder):
        refused = f"spool_dir cannot be {json.dumps(folder)}: it must be a folder to write to."
        yield "spool_dir", refused


def _url_problem(url: str) -> str | None:
    try:
        validate_api_url(url)
    except InvalidUrlError as problem:
        return str(problem)
    return None


def _is_usable_folder(folder: str) -> bool:
    try:
        return Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except (OSError, ValueError):  # a name that is too long, a NUL
        return False


def _is_usable_file(file: str) -> bool:
    try:
        path = Path(file)
        if path.exists():
            return not path.is_dir() and os.access(path, os.W_OK)
        return "\0" not in file and _is_usable_folder(str(path.parent))
    except (OSError, ValueError):  # a name that is too long, a NUL
        return False
