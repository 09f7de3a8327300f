"""Stream maps of the SDK: check their expressions before a run, and apply them to records.

An expression that fails for a record makes that record invalid. The run goes on as for any other
invalid record. The reason names the property and the exception, never a value of the record.
"""

from __future__ import annotations

import ast
import fnmatch
import json
import traceback
from typing import TYPE_CHECKING, Any, Final, cast

import simpleeval  # type: ignore[import-untyped]  # evaluates expressions for the SDK
from singer_sdk.mapper import PluginMapper

from target_segment_objects.exceptions import InputError, InvalidRecordError
from target_segment_objects.mapping.schema_simplification import DEFINITION_KEYWORDS

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping, Sequence

    from singer_sdk.mapper import StreamMap

STREAM_MAP_SETTINGS: Final = (
    "stream_maps",
    "stream_map_config",
    "faker_config",
)
"""The SDK's settings that change what becomes of a record."""

_FILTER: Final = "__filter__"
_SOURCE: Final = "__source__"
_NULL: Final = "__NULL__"  # removes a property
_OPTION_PREFIX: Final = "__"


class StreamMapper(PluginMapper):
    """The SDK's stream maps, whose failures at a SCHEMA are errors of this package.

    They get no settings of the SDK's flattening, which loses the nulls of objects: the mapping
    flattens, after the stream maps.
    """

    def __init__(self, config: Mapping[str, Any], logger: logging.Logger) -> None:
        """Read the stream maps.

        Args:
            config: The settings of the run.
            logger: Takes what the SDK logs.

        Raises:
            StreamMapConfigError: They are not valid.
        """
        settings = {name: config[name] for name in STREAM_MAP_SETTINGS if name in config}
        stream_maps = {
            stream: _order_expressions(stream_map) if isinstance(stream_map, dict) else stream_map
            for stream, stream_map in settings.get("stream_maps", {}).items()
        }
        super().__init__({**settings, "stream_maps": stream_maps}, logger)

    def register_raw_stream_schema(
        self,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        """Apply the stream maps to a stream's schema.

        Raises:
            InputError: They do not fit the stream.
        """
        try:
            super().register_raw_stream_schema(stream_name, schema, key_properties)
        except RecursionError:  # the schema is at fault: the target names its deepest property
            raise
        except Exception as cause:  # the SDK raises whatever an alias raises
            msg = (
                f"Stream '{stream_name}': stream_maps cannot be applied to its SCHEMA: "
                f"{str(cause).rstrip('.') or type(cause).__name__}."
            )
            raise InputError(msg) from cause
        for stream_map in self.stream_maps[stream_name]:
            for keyword in schema.keys() & DEFINITION_KEYWORDS:  # the SDK drops them at `__else__`
                stream_map.transformed_schema.setdefault(keyword, schema[keyword])
            alias = cast("object", stream_map.stream_alias)  # the SDK does not check the type
            if not isinstance(alias, str):
                msg = (
                    f"Stream '{stream_name}': its __alias__ in stream_maps must be a string, and "
                    f"not {json.dumps(alias, default=str)}. Put quotes into it."
                )
                raise InputError(msg)


def _order_expressions(stream_map: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stream map that copies properties before it changes them, and removes them last.

    Expressions see the tap's record, so their order has no effect on values. But the SDK looks the
    type of a copied property up in a schema that what comes before has changed.
    """

    def rank(name: str) -> int:
        expression = stream_map[name]
        if expression is None or expression == _NULL:
            return 2
        return 0 if isinstance(expression, str) and expression.isidentifier() else 1

    return {name: stream_map[name] for name in sorted(stream_map, key=rank)}


def has_filter(stream_maps: Mapping[str, Any], stream: str) -> bool:
    """Return whether a stream map filters a stream of the tap.

    Args:
        stream_maps: The setting `stream_maps`.
        stream: The stream's name, as the tap has it.
    """
    return any(
        _FILTER in stream_map and fnmatch.fnmatch(stream, str(stream_map.get(_SOURCE, name)))
        for name, stream_map in stream_maps.items()
        if isinstance(stream_map, dict)
    )


def find_invalid_expressions(stream_maps: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the stream, the property and the reason of each expression that cannot be parsed.

    Args:
        stream_maps: The setting `stream_maps`.
    """
    for stream, stream_map in stream_maps.items():
        for name, expression in stream_map.items() if isinstance(stream_map, dict) else ():
            is_expression = name == _FILTER or not name.startswith(_OPTION_PREFIX)
            if is_expression and isinstance(expression, str) and expression != _NULL:
                reason = _find_syntax_error(expression)
                if reason is not None:
                    yield stream, name, reason


def _find_syntax_error(expression: str) -> str | None:
    try:
        statements = ast.parse(expression).body
    except SyntaxError as error:
        return f"{error.msg} at character {error.offset or 1}"
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL, or nested too deeply
        return str(error) or type(error).__name__
    if not statements:
        return "it is empty"
    return None if isinstance(statements[0], ast.Expr) else "it is a statement"


def transform_record(stream_map: StreamMap, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Apply a stream map to a record.

    Returns:
        The new record; None if it is filtered out.

    Raises:
        InvalidRecordError: An expression fails for this record.
    """
    try:
        return stream_map.transform(dict(record))
    except Exception as cause:  # noqa: BLE001 - an expression may raise any exception
        reason = f"the expression in stream_maps fails for this record: {_describe_cause(cause)}"
        error = InvalidRecordError(stream_map.stream_alias, reason, field=_find_property(cause))
    raise error  # outside of the handler, because the cause may contain values of the record


def _find_property(cause: Exception) -> str | None:
    """Return the property whose expression failed, which only a local variable of the SDK knows."""
    for frame, _ in traceback.walk_tb(cause.__traceback__):
        if "property_name" in frame.f_locals:
            return frame.f_locals["property_name"] or _FILTER
    return None


def _describe_cause(cause: Exception) -> str:
    root = cause.__cause__ or cause
    if isinstance(root, simpleeval.NameNotDefined):
        return f"'{root.name}' is not defined"
    return type(root).__name__
