"""Records against their stream's JSON schema, by jsonschema-rs: about a hundred times as fast.

The verdicts are those of the SDK's own validator, JSON Schema 2020-12 with formats unchecked, but
where that one departs from the specification; docs/mapping.md lists where. What jsonschema-rs
cannot read (NaN, a Python-only `pattern`, a reference to nowhere) goes to the SDK's library, taught
the same numbers. A reason names what the schema asks for, never the value.
"""

from __future__ import annotations

import decimal
import re
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import jsonschema_rs
import referencing
import referencing.exceptions
from singer_sdk.exceptions import InvalidJSONSchema
from singer_sdk.sinks.core import BaseJSONSchemaValidator
from singer_sdk.typing import DEFAULT_JSONSCHEMA_VALIDATOR

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.values import has_non_finite, is_finite, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SHOWN_CHARACTERS: Final = 80
_EXACT_EXPONENT: Final = 1000  # 64-bit floats end at 308
_PATTERNS: Final = jsonschema_rs.FancyRegexOptions()
"""Knows look-around and back-references, which the other engine does not."""


class RecordValidator(BaseJSONSchemaValidator):
    """Validates the records of one stream against one schema."""

    def __init__(self, stream: str, schema: dict[str, Any]) -> None:
        """Compile the schema.

        Args:
            stream: The stream's name, for messages.
            schema: Its JSON schema.

        Raises:
            InvalidJSONSchema: It is none.
        """
        super().__init__(schema)
        self._stream = stream
        self._validator: jsonschema_rs.Draft202012Validator | None = None
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema,
                validate_formats=False,
                retriever=_refuse_remote,
                pattern_options=_PATTERNS,
                keywords={"dependencies": _Ignored},
            )
        except (ValueError, jsonschema_rs.ReferencingError):
            self._check_schema()

    def validate(self, record: dict[str, Any]) -> None:
        """Check a record.

        Raises:
            InvalidRecordError: It is not what the schema asks for.
        """
        if self._validator is None:
            return self._validate_slowly(record)
        try:
            if self._validator.is_valid(record):
                return None
            error = next(self._validator.iter_errors(record), None)
        except ValueError:  # NaN from the tap, or a type that only a stream map makes
            return self._validate_slowly(record)
        if error is None or has_non_finite(record):
            return self._validate_slowly(record)
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
            asked = f"the property '{error.kind.property}'"
        elif isinstance(error.kind, jsonschema_rs.ValidationErrorKind.FalseSchema):
            asked = _asked_by_false(error.schema_path)
        else:
            asked = _asked(error.kind.name, error.kind.value)
        raise self._refusal(asked, error.instance_path)

    def _check_schema(self) -> None:
        try:
            DEFAULT_JSONSCHEMA_VALIDATOR.check_schema(self.schema)
        except jsonschema.SchemaError as error:
            where = ".".join(map(str, error.absolute_path)) or "its top"
            msg = (
                f"Stream '{self._stream}': its SCHEMA is no valid JSON schema: at {where}, "
                f"{error.message[:_SHOWN_CHARACTERS]}"
            )
            raise InvalidJSONSchema(msg) from error

    def _validate_slowly(self, record: dict[str, Any]) -> None:
        try:
            # NaN is below nothing and above nothing, also when it is compared with a Decimal.
            with decimal.localcontext() as context:
                context.traps[decimal.InvalidOperation] = False
                error = next(self._slow_validator.iter_errors(record), None)
        except referencing.exceptions.Unresolvable as missing:
            reason = f"its schema refers to {missing.ref or 'something'} that is not in it"
            raise InvalidRecordError(self._stream, reason) from None
        except re.error as cause:  # with NaN in the record, patterns are Python's
            reason = f"its schema's pattern {to_json(cause.pattern)} is none that Python reads"
            raise InvalidRecordError(self._stream, reason) from None
        except RecursionError:
            raise InvalidRecordError(self._stream, "it is nested too deeply") from None
        if error is None:
            return
        if error.validator == "required":
            lacking = next(name for name in error.validator_value if name not in error.instance)
            asked = f"the property '{lacking}'"
        elif error.validator is None:  # a schema that is `false`
            asked = _asked_by_false(list(error.absolute_schema_path))
        else:
            asked = _asked(error.validator, error.validator_value)
        raise self._refusal(asked, error.absolute_path)

    @cached_property
    def _slow_validator(self) -> Any:  # noqa: ANN401 - a class that jsonschema makes at run time
        # A registry of its own, so that no address is followed.
        return _SlowValidator(
            self.schema,
            registry=referencing.Registry(),
            format_checker=jsonschema.FormatChecker(formats=()),
        )

    def _refusal(self, asked: str, path: Iterable[str | int]) -> InvalidRecordError:
        return InvalidRecordError(
            self._stream,
            f"the schema asks for {asked}",
            field=naming.format_path(self._declared(path)) or None,
        )

    def _declared(self, path: Iterable[str | int]) -> Iterator[str]:
        """Yield a path up to the first name that is data: a key of a map in the record."""
        declared = set(_declared_names(self.schema))
        for depth, step in enumerate(path):
            if depth and isinstance(step, str) and step not in declared:
                return
            yield str(step)


class _Ignored:
    """A keyword of older drafts, which jsonschema-rs still heeds and JSON Schema 2020-12 does not.

    Its methods are what jsonschema-rs calls.
    """

    def __init__(self, *_: object) -> None:
        """Take nothing from the schema."""

    def validate(self, _: object) -> None:
        """Accept everything."""


def _refuse_remote(uri: str) -> None:
    msg = f"it refers to {uri}, and addresses are not followed"
    raise ValueError(msg)


def _asked_by_false(path: Sequence[str | int]) -> str:
    return "no other properties" if path[-1:] == ["additionalProperties"] else "nothing there"


def _asked(keyword: str, value: object) -> str:
    """Say what of the schema a record does not meet: its keyword and, if it is short, the rest."""
    if keyword in _CLOSING:
        return "no other properties"
    if keyword not in _TELLING:
        return keyword
    if keyword == "type" and isinstance(value, list):
        value = sorted(value) if len(value) > 1 else value[0]
    try:
        return f"{keyword} {to_json(value)[:_SHOWN_CHARACTERS]}"
    except UnicodeEncodeError:
        return keyword


_CLOSING: Final = frozenset({"additionalProperties", "unevaluatedProperties"})
_TELLING: Final = frozenset(
    {
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "pattern",
        "type",
    }
)
"""Keywords whose value tells what to mend, and is the schema's own."""


def _declared_names(schema: object) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _declared_names(one)
    if isinstance(schema, dict):
        for keyword, value in schema.items():
            if keyword == "properties" and isinstance(value, dict):
                yield from value
            yield from _declared_names(value)


def _is_integer(_: object, value: object) -> bool:
    if isinstance(value, decimal.Decimal):
        return value.is_finite() and value == value.to_integral_value()
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _multiple_of(
    validator: Any,  # noqa: ANN401 - a class that jsonschema makes at run time
    divisor: float | decimal.Decimal,
    value: object,
    schema: object,  # noqa: ARG001 - jsonschema hands it over
) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(value, "number") and not _is_multiple(value, divisor):
        yield jsonschema.ValidationError("")


def _is_multiple(value: Any, divisor: float | decimal.Decimal) -> bool:  # noqa: ANN401 - a number
    if not is_finite(value):
        return False
    number = decimal.Decimal(str(value))
    if abs(number.adjusted()) > _EXACT_EXPONENT:  # or a line of ten bytes would fill the memory
        return False
    return (Fraction(number) / Fraction(str(divisor))).denominator == 1


_SlowValidator: Final = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    DEFAULT_JSONSCHEMA_VALIDATOR,
    validators={"multipleOf": _multiple_of},
    type_checker=DEFAULT_JSONSCHEMA_VALIDATOR.TYPE_CHECKER.redefine("integer", _is_integer),
)
