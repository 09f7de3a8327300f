"""Checks a configuration before a run, and reads settings from environment variables.

The target calls this before the SDK does its own validation. An error names the setting, the value
and what is allowed. The value of a secret is never shown.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema

from target_segment_objects import limits
from target_segment_objects.exceptions import InvalidUrlError
from target_segment_objects.mapping import naming
from target_segment_objects.segment.urls import validate_api_url
from target_segment_objects.settings import SETTINGS
from target_segment_objects.settings.environment import COMMAND_VARIABLES
from target_segment_objects.singer.stream_maps import find_invalid_expressions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    Schema = Mapping[str, Any]
    NamedError = tuple[str, str]  # the setting and its error message

_MAX_SHOWN_CHARACTERS: Final = 200
_TRUE_WORDS: Final = frozenset({"true", "yes", "on", "1"})
_FALSE_WORDS: Final = frozenset({"false", "no", "off", "0"})

_LEDGER_SETTINGS: Final = (
    *("resend_after_days", "ledger_ignored_properties"),
    *("deleted_records", "full_table_streams", "deleted_after_runs"),
    *("deleted_hours_between_runs", "deleted_limit_percent"),
)
_FLATTENING_SETTINGS: Final = ("flattening_max_depth", "flattening_max_key_length")
_MARK_SETTINGS: Final = ("deleted_after_runs", "deleted_limit_percent")
_PATH_SETTINGS: Final = ("dead_letter_path", "ledger_path", "spool_dir")
_OWN_SETTINGS: Final = frozenset(SETTINGS["properties"])


# Reading the environment


def read_environment(environment: Mapping[str, str], prefix: str, schema: Schema) -> dict[str, Any]:
    """Read the settings that environment variables give.

    Args:
        environment: Variables by name.
        prefix: What comes before the setting's name, which is in upper case.
        schema: The settings' JSON schema.

    Returns:
        Values by setting. An empty variable counts as not set. A string that cannot be read as its
        setting's type is returned as it is, and `validation_errors` reports it.
    """
    config = {}
    for name, declared in schema["properties"].items():
        text = environment.get(f"{prefix}{name.upper()}", "").strip()
        if text:
            is_string = "string" in declared["type"]
            config[name] = text if is_string else _parse_value(text, declared["type"])
    return config


def normalize_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which values that mean the same are the same.

    A null means the default, `~` at the start of a path the home folder, and a slash at the end of
    the API's address nothing.
    """
    given = {name: value for name, value in config.items() if value is not None}
    for name in _PATH_SETTINGS:
        if isinstance(given.get(name), str):
            # Path's own fails for an unknown user.
            given[name] = os.path.expanduser(given[name])  # noqa: PTH111
    if isinstance(given.get("api_url"), str):
        given["api_url"] = given["api_url"].rstrip("/")
    return given


def _parse_value(text: str, types: Collection[str]) -> Any:  # noqa: ANN401 - any JSON value
    word = text.lower()
    if "boolean" in types:
        return word in _TRUE_WORDS if word in _TRUE_WORDS | _FALSE_WORDS else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# Errors and warnings


def validation_errors(config: Mapping[str, Any], schema: Schema) -> list[str]:
    """Return the errors in a configuration, at most one for each setting.

    Args:
        config: What the user set, without defaults.
        schema: The settings' JSON schema, with the SDK's own settings.
    """
    given = {name: value for name, value in config.items() if value is not None}
    errors = dict(_find_non_finite_numbers(given, schema))
    for error in jsonschema.Draft202012Validator(_drop_malformed(schema)).iter_errors(given):
        if error.validator == "required" and not error.path:
            continue  # `_check_write_key` says how to set it
        name = str(error.path[0]) if error.path else ""
        errors.setdefault(name, _describe_error(error, given, schema))
    sound = {name: value for name, value in given.items() if name not in errors}
    checks = (
        _check_write_key,
        _check_api_url,
        _check_collections,
        _check_paths,
        _check_stream_maps,
    )
    for check in checks:
        for name, message in check(sound):
            errors.setdefault(name, message)
    return list(errors.values())


def _drop_malformed(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Return a schema without the SDK's choices that are no schemas: `null` as a string."""
    if isinstance(schema, list):
        return [_drop_malformed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    usable = {name: _drop_malformed(value) for name, value in schema.items()}
    for keyword in ("anyOf", "oneOf"):
        if isinstance(usable.get(keyword), list):
            usable[keyword] = [each for each in usable[keyword] if isinstance(each, dict)]
    return usable


def unknown_setting_warnings(config: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    """Yield a warning for each setting that does not exist."""
    known = list(schema["properties"])
    for name in config:
        if name not in known:
            yield f"Unknown setting '{name}' is ignored.{_suggest_name(name.lower(), known)}"


def unused_setting_warnings(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning for each setting that has no effect because of another one."""
    if config.get("dead_letter_path") and config.get("invalid_records") != "dead_letter":
        yield 'dead_letter_path has no effect: it needs invalid_records "dead_letter".'
    if config.get("schema_violations") == "reject" and config.get("validate_records") is False:
        yield "schema_violations has no effect: it needs validate_records."
    if config.get("max_invalid_records") and config.get("invalid_records") != "dead_letter":
        yield 'max_invalid_records has no effect: it needs invalid_records "dead_letter".'
    yield from _unused_ledger_warnings(config)
    if not config.get("flattening_enabled"):
        for name in _FLATTENING_SETTINGS:
            if config.get(name) is not None:
                yield f"{name} has no effect: it needs flattening_enabled."
    separator = config.get("flattening_separator")
    if separator is not None and set(separator) != {"_"}:  # the SDK's default is __
        yield (
            "flattening_separator has no effect: Segment's snake case joins the levels of a name "
            "by one underscore."
        )


def _unused_ledger_warnings(config: Mapping[str, Any]) -> Iterator[str]:
    changed = [name for name in _LEDGER_SETTINGS if _is_changed(config, name)]
    if not config.get("ledger_path"):
        yield from (f"{name} has no effect: it needs ledger_path." for name in changed)
    elif config.get("deleted_records") != "mark":
        for name in _MARK_SETTINGS:
            if name in changed:
                yield f'{name} has no effect: it needs deleted_records "mark".'


def _is_changed(config: Mapping[str, Any], name: str) -> bool:
    """Return whether a setting differs from its default, which Meltano passes, too."""
    default = SETTINGS["properties"][name]["default"]
    return bool(config.get(name, default) != default)


def accept_deletes_warning(config: Mapping[str, Any]) -> str | None:
    """Return a warning if --accept-deletes has no effect, because nothing can be marked."""
    if config.get("ledger_path") and config.get("deleted_records") == "mark":
        return None
    return '--accept-deletes has no effect: it needs ledger_path and deleted_records "mark".'


def unknown_variable_warnings(
    environment: Iterable[str], prefix: str, schema: Schema
) -> Iterator[str]:
    """Yield a warning for each environment variable that has our prefix and sets nothing.

    Args:
        environment: The names of the variables.
        prefix: What comes before a setting's name.
        schema: The settings' JSON schema.
    """
    known = [*(f"{prefix}{name.upper()}" for name in schema["properties"]), *COMMAND_VARIABLES]
    for name in environment:
        if name.startswith(prefix) and name not in known:
            yield f"Unknown environment variable {name} is ignored.{_suggest_name(name, known)}"


def _suggest_name(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - not at the start, which every load waits for

    matches = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {matches[0]}?" if matches else ""


def _find_non_finite_numbers(config: Mapping[str, Any], schema: Schema) -> Iterator[NamedError]:
    """Yield NaN and infinity: Python's JSON parser accepts them, and NaN passes every bound."""
    for name, value in config.items():
        declared = schema["properties"].get(name)
        if declared is not None and isinstance(value, float) and not math.isfinite(value):
            yield name, _format_error(name, value, declared)


def _describe_error(
    error: jsonschema.ValidationError, config: Mapping[str, Any], schema: Schema
) -> str:
    name, *parts = map(str, error.path or [""])
    declared = schema["properties"].get(name)
    if declared is None:
        return f"The configuration is not valid: it does not match {error.validator!r}."
    if not parts:
        return _format_error(name, config[name], declared)
    path = json.dumps(".".join([name, *parts]), ensure_ascii=False)[1:-1]  # a part may be any text
    # The SDK's settings may hold secrets that it does not declare.
    given = (
        f"cannot be {_format_value(error.instance)}" if name in _OWN_SETTINGS else "is not valid"
    )
    return f"{path} {given}: {_describe_part(error)}."


def _describe_part(error: jsonschema.ValidationError) -> str:
    if error.validator in {"type", "enum"}:
        return f"it must be {describe_allowed({error.validator: error.validator_value})}"
    return f"it does not match {error.validator!r} in its schema"


def _format_error(name: str, value: object, declared: Schema) -> str:
    given = "is not valid" if declared.get("secret") else f"cannot be {_format_value(value)}"
    return f"{name} {given}: it must be {describe_allowed(declared)}."


def _format_value(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"


# What is allowed, in words


def describe_allowed(declared: Schema) -> str:
    """Return the values that a setting accepts, in words."""
    if "enum" in declared:
        return " or ".join(json.dumps(value) for value in declared["enum"])
    choices = declared.get("oneOf") or declared.get("anyOf")
    if choices:  # in the SDK's settings; a null means the default, so it is not a choice
        schemas = [schema for schema in choices if isinstance(schema, dict)]
        return " or ".join(
            describe_allowed(schema) for schema in schemas if schema.get("type") != "null"
        )
    if "const" in declared:
        return json.dumps(declared["const"])
    if {"integer", "string"} <= set(declared["type"]):
        of_integers = {**declared, "type": ["integer"], "pattern": None}
        examples = " or ".join(json.dumps(example) for example in declared["examples"])
        return f"{describe_allowed(of_integers)} or a string such as {examples}"
    return f"{_describe_type(declared)}{_describe_bounds(declared)}"


def _describe_type(declared: Schema) -> str:
    types = {
        "integer": "an integer",
        "number": "a number",
        "boolean": "true or false",
        "object": "an object",
        "array": "a list",
        "string": "a string",
    }
    return next((words for name, words in types.items() if name in declared["type"]), "any value")


def _describe_bounds(declared: Schema) -> str:
    if declared.get("pattern"):
        return " without spaces that is not empty"
    if declared.get("minLength"):
        return " that is not empty"
    if _has_string_values(declared):
        return " with string values"
    above, minimum, maximum = (
        declared.get(name) for name in ("exclusiveMinimum", "minimum", "maximum")
    )
    if above is not None:
        return f" above {above}" + ("" if maximum is None else f" and at most {maximum}")
    if minimum is not None:
        return f" of at least {minimum}" if maximum is None else f" from {minimum} to {maximum}"
    return ""


def _has_string_values(declared: Schema) -> bool:
    values = declared.get("additionalProperties")
    return isinstance(values, dict) and "string" in values.get("type", ())


# What a JSON schema cannot express. Each check gets only settings of the right type.


def _check_write_key(config: Mapping[str, Any]) -> Iterator[NamedError]:
    if "write_key" not in config:
        missing = (
            "write_key is missing: set it in the configuration file, or set "
            "TARGET_SEGMENT_OBJECTS_WRITE_KEY and use --config=ENV."
        )
        yield "write_key", missing
    elif config["write_key"].endswith("\n"):  # `$` in the pattern allows it
        yield "write_key", "write_key is not valid: it ends with a line break."


def _check_api_url(config: Mapping[str, Any]) -> Iterator[NamedError]:
    if "api_url" in config:
        try:
            validate_api_url(config["api_url"])
        except InvalidUrlError as error:
            yield "api_url", str(error)


def _check_collections(config: Mapping[str, Any]) -> Iterator[NamedError]:
    for stream, collection in config.get("collection_map", {}).items():
        if not naming.is_valid_collection(collection):
            message = (
                f"collection_map cannot map stream '{stream}' to collection '{collection}': a "
                "collection name has only lowercase letters and underscores, at most "
                f"{limits.MAX_COLLECTION_CHARACTERS} characters, and no underscore at either end."
            )
            yield "collection_map", message


def _check_stream_maps(config: Mapping[str, Any]) -> Iterator[NamedError]:
    for stream, name, reason in find_invalid_expressions(config.get("stream_maps", {})):
        message = (
            f"stream_maps cannot be used: in stream '{stream}', the expression of property "
            f"'{name}' cannot be parsed: {reason}."
        )
        yield "stream_maps", message


def _check_paths(config: Mapping[str, Any]) -> Iterator[NamedError]:
    path, folder = config.get("dead_letter_path"), config.get("spool_dir")
    if path is None and config.get("invalid_records") == "dead_letter":
        missing = 'dead_letter_path is missing: invalid_records "dead_letter" needs a file.'
        yield "dead_letter_path", missing
    if path is not None and not _is_writable_file(path):
        message = (
            f"dead_letter_path cannot be {json.dumps(path)}: it must be a writable file in an "
            "existing folder."
        )
        yield "dead_letter_path", message
    ledger = config.get("ledger_path")
    if ledger is not None and not _is_file_or_new(ledger):
        message = (
            f"ledger_path cannot be {json.dumps(ledger)}: it must be a file in an existing folder."
        )
        yield "ledger_path", message
    if folder is not None and not _is_writable_folder(folder):
        message = f"spool_dir cannot be {json.dumps(folder)}: it must be a writable folder."
        yield "spool_dir", message


def _is_file_or_new(file: str) -> bool:
    try:
        path = Path(file)
        return "\0" not in file and path.parent.is_dir() and not path.is_dir()
    except (OSError, ValueError):  # a name that is too long, or a NUL
        return False


def _is_writable_folder(folder: str) -> bool:
    try:
        return Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except (OSError, ValueError):  # a name that is too long, or a NUL
        return False


def _is_writable_file(file: str) -> bool:
    try:
        path = Path(file)
        if path.exists():
            return not path.is_dir() and os.access(path, os.W_OK)
        return "\0" not in file and _is_writable_folder(str(path.parent))
    except (OSError, ValueError):  # a name that is too long, or a NUL
        return False
