"""Validate what jsonschema-rs cannot read, with the library that the SDK uses.

That is a record with NaN, a record or schema with an unpaired surrogate, a value of a stream map
whose type JSON does not have, and a reference without a target.
"""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import referencing
from singer_sdk.typing import DEFAULT_JSONSCHEMA_VALIDATOR

from target_segment_objects.mapping import patterns
from target_segment_objects.mapping.conversion import is_whole
from target_segment_objects.mapping.values import is_finite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.mapping.patterns import PatternMatcher

_MAX_EXACT_EXPONENT: Final = 1000  # 64-bit floats end at 308


@dataclass(frozen=True)
class FallbackValidator:
    """Validates records in Python.

    Attributes:
        schema: The JSON schema; jsonschema-rs can read its patterns.
        matcher: Matches the patterns.
    """

    schema: dict[str, Any]
    matcher: PatternMatcher

    def iterate_errors(self, record: dict[str, Any]) -> Iterator[jsonschema.ValidationError]:
        """Yield what the schema does not accept.

        Raises:
            referencing.exceptions.Unresolvable: A reference has no target.
            RecursionError: The record is nested too deeply.
        """
        # NaN is neither below nor above anything, also when it is compared with a Decimal.
        with decimal.localcontext() as context:
            context.traps[decimal.InvalidOperation] = False
            yield from self._get_validator(record).iter_errors(record)

    def _get_validator(self, record: dict[str, Any]) -> Any:  # noqa: ANN401 - made at run time
        if not self._has_patterns:
            return self._validator
        strings = frozenset(patterns.find_strings(record))
        return _build_validator(patterns.bind_patterns(self.schema, self.matcher, strings))

    @cached_property
    def _has_patterns(self) -> bool:
        return patterns.has_patterns(self.schema)

    @cached_property
    def _validator(self) -> Any:  # noqa: ANN401 - made at run time
        return _build_validator(self.schema)


def _build_validator(schema: dict[str, Any]) -> Any:  # noqa: ANN401 - made at run time
    # Its own registry is empty, so that no address is followed.
    return _ExactValidator(
        schema,
        registry=referencing.Registry(),
        format_checker=jsonschema.FormatChecker(formats=()),
    )


def _is_integer(_: object, value: object) -> bool:
    if isinstance(value, (float, decimal.Decimal)):
        return is_whole(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _check_multiple_of(
    validator: Any,  # noqa: ANN401 - a class that jsonschema makes at run time
    divisor: float | decimal.Decimal,
    value: object,
    schema: object,  # noqa: ARG001 - jsonschema passes it
) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(value, "number") and not _is_multiple(value, divisor):
        yield jsonschema.ValidationError("")


def _is_multiple(value: Any, divisor: float | decimal.Decimal) -> bool:  # noqa: ANN401 - a number
    if not is_finite(value):
        return False
    number = decimal.Decimal(str(value))
    if abs(number.adjusted()) > _MAX_EXACT_EXPONENT:  # a few bytes of input would fill the memory
        return False
    return (Fraction(number) / Fraction(str(divisor))).denominator == 1


_ExactValidator: Final = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    DEFAULT_JSONSCHEMA_VALIDATOR,
    validators={"multipleOf": _check_multiple_of},
    type_checker=DEFAULT_JSONSCHEMA_VALIDATOR.TYPE_CHECKER.redefine("integer", _is_integer),
)
