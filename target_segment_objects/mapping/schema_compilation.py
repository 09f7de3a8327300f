"""Compile a JSON schema with jsonschema-rs, for validation and for what reads schemas. Pure.

It has nothing of the Singer SDK, so that records can be mapped without it.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from target_segment_objects.mapping import patterns


class _IgnoredKeyword:
    """A keyword of older drafts that JSON Schema 2020-12 ignores and jsonschema-rs does not.

    jsonschema-rs calls its methods.
    """

    def __init__(self, *_: object) -> None:
        """Ignore what the schema says."""

    def validate(self, _: object) -> None:
        """Accept any value."""


def is_valid_schema(schema: dict[str, Any]) -> bool:
    """Return whether a schema has the form that JSON Schema prescribes."""
    # Whatever version `$schema` names, validation reads 2020-12.
    without_version = {key: value for key, value in schema.items() if key != "$schema"}
    try:
        return jsonschema_rs.meta.is_valid(without_version)
    except ValueError:  # an unpaired surrogate, or nested too deeply
        return False


def compile_validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator | None:
    """Return a validator; None if jsonschema-rs cannot read the schema."""
    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            validate_formats=False,
            retriever=_refuse_remote,
            pattern_options=patterns.PATTERN_OPTIONS,
            keywords={"dependencies": _IgnoredKeyword},
        )
    except (ValueError, jsonschema_rs.ReferencingError):
        return None


def _refuse_remote(uri: str) -> None:
    msg = f"it refers to {uri}, and addresses are not followed"
    raise ValueError(msg)
