"""Match the regular expressions of a JSON schema in bounded time.

Only jsonschema-rs matches them: in linear time, or with a limit on backtracking where an expression
needs it. Python's own engine, which can take years, never sees one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATTERN_OPTIONS: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
"""The engine with look-around and back-references. At the limit, a value does not match."""

_PYTHON_END: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\Z")
_DATA_KEYWORDS: Final = frozenset({"const", "default", "enum", "examples"})
_MAP_KEYWORDS: Final = frozenset({"$defs", "definitions", "dependentSchemas", "properties"})


class PatternMatcher:
    """Matches strings with jsonschema-rs; keeps what is compiled."""

    def __init__(self) -> None:
        """Start without a pattern."""
        self._validators: dict[str, Any] = {}

    def supports(self, pattern: str) -> bool:
        """Return whether jsonschema-rs can read a pattern."""
        try:
            self._compile(pattern)
        except ValueError:
            return False
        return True

    def matches(self, pattern: str, text: str) -> bool:
        """Return whether a pattern, which is supported, matches a string."""
        try:
            return bool(self._compile(pattern).is_valid(text))
        except ValueError:  # an unpaired surrogate, which is not a character
            return False

    def _compile(self, pattern: str) -> Any:  # noqa: ANN401 - a class of jsonschema-rs
        if pattern not in self._validators:
            self._validators[pattern] = jsonschema_rs.Draft202012Validator(
                {"pattern": pattern}, pattern_options=PATTERN_OPTIONS
            )
        return self._validators[pattern]


def translate_patterns(
    schema: Any,  # noqa: ANN401 - a schema, or a part of one
    matcher: PatternMatcher,
    report: Callable[[str, str], object],
    label: str = "",
) -> Any:  # noqa: ANN401 - as above
    """Return a schema with patterns that jsonschema-rs can read.

    Args:
        schema: The schema.
        matcher: Knows which patterns can be read.
        report: Takes the property and the pattern of each constraint that is left out.
        label: The property to which the schema belongs.
    """

    def translate(pattern: str) -> str | None:
        translated = _PYTHON_END.sub(r"\1\\z", pattern)
        for candidate in (pattern, translated):
            if matcher.supports(candidate):
                return candidate
        report(label, pattern)
        return None

    return _replace_patterns(
        schema,
        translate,
        lambda child, name: translate_patterns(
            child, matcher, report, f"{label}.{name}" if label and name else label or name
        ),
    )


def bind_patterns(
    schema: Any,  # noqa: ANN401 - a schema, or a part of one
    matcher: PatternMatcher,
    strings: frozenset[str],
) -> Any:  # noqa: ANN401 - as above
    """Return a schema whose patterns list, literally, the given strings that they match.

    For a value that consists of these strings, it is the same schema.
    """

    def bind(pattern: str) -> str:
        matching = sorted(text for text in strings if matcher.matches(pattern, text))
        literals = "|".join(map(re.escape, matching))
        # The comment names the pattern, and keeps two that match the same strings apart.
        comment = f"(?#{pattern.encode().hex()})"
        return rf"{comment}\A(?:{literals})\Z" if matching else f"{comment}(?!)"

    return _replace_patterns(schema, bind, lambda child, _: bind_patterns(child, matcher, strings))


def recover_pattern(bound: str) -> str:
    """Return the pattern from which `bind_patterns` made another."""
    return bytes.fromhex(bound[len("(?#") : bound.index(")")]).decode()


def has_patterns(schema: object) -> bool:
    """Return whether there is a pattern anywhere in a schema."""
    if isinstance(schema, list):
        return any(map(has_patterns, schema))
    if not isinstance(schema, dict):
        return False
    return (
        "pattern" in schema
        or "patternProperties" in schema
        or any(map(has_patterns, schema.values()))
    )


def find_strings(value: object) -> Iterator[str]:
    """Yield every string in a value, the keys of its objects included."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _replace_patterns(
    schema: Any,  # noqa: ANN401 - a schema, or a part of one
    replace: Callable[[str], str | None],
    recurse: Callable[[Any, str], Any],
) -> Any:  # noqa: ANN401 - as above
    """Return a schema with its own patterns replaced; those replaced by None are left out."""
    if isinstance(schema, list):
        return [recurse(item, "") for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _DATA_KEYWORDS:
            result[keyword] = value
        elif keyword == "pattern" and isinstance(value, str):
            pattern = replace(value)
            if pattern is not None:
                result[keyword] = pattern
        elif keyword == "patternProperties" and isinstance(value, dict):
            replaced = {replace(name): recurse(child, "") for name, child in value.items()}
            result[keyword] = {name: child for name, child in replaced.items() if name is not None}
        elif keyword in _MAP_KEYWORDS and isinstance(value, dict):
            is_properties = keyword == "properties"
            result[keyword] = {
                name: recurse(child, name if is_properties else "") for name, child in value.items()
            }
        else:
            result[keyword] = recurse(value, "")
    return result
