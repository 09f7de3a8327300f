"""The fast path of RECORDs: from their lines to the lines of objects, with types from the schema.

This is the whole hot path. It maps many lines of one stream at a time. msgspec decodes a line into
a struct whose fields have the schema's types, which also validates the record. The values of these
structs become columns, one for each property, which are converted and checked as a whole. What no
type expresses, such as a pattern, jsonschema-rs validates. Then the columns become structs that
have the names which are sent, and msgspec encodes those. No dict is made, and the digits of a
number are copied, never parsed.

The rule that makes this safe: the fast path supports less than the slow path and never refuses a
record. What it does not support it leaves to the slow path (`reader`, then `mapper`):
`compile_fast_path` raises `UnsupportedSchemaError` for a schema, and `FastPath` returns the
positions of the lines that it leaves. Where it returns an object, the slow path would have returned
the same bytes without a warning. A property test compares the two.
"""

from target_segment_objects.mapping.fast_path.compiler import (
    FastPath,
    MappedLines,
    compile_fast_path,
)
from target_segment_objects.mapping.fast_path.record_types import define_message_type, is_plain_name
from target_segment_objects.mapping.fast_path.schemas import UnsupportedSchemaError

__all__ = [
    "FastPath",
    "MappedLines",
    "UnsupportedSchemaError",
    "compile_fast_path",
    "define_message_type",
    "is_plain_name",
]
