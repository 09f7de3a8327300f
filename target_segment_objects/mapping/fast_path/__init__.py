"""The fast path of a RECORD: from its line to its object's line, with types made from the schema.

This is the whole hot path. msgspec decodes a line into a struct whose fields have the schema's
types, which also validates the record. What no type expresses, such as a pattern, jsonschema-rs
validates, value by value. The struct's values, flattened, go into a second struct that has the
names which are sent, and msgspec encodes that. No dict is made, and the digits of a number are
copied, never parsed.

The rule that makes this safe: the fast path supports less than the slow path and never refuses a
record. What it does not support it leaves to the slow path (`reader`, then `mapper`):
`compile_fast_path` raises `UnsupportedSchemaError` for a schema, and the compiled function returns
None for a line. Where it returns a line, the slow path would have returned the same bytes without a
warning. A property test compares the two.
"""

from target_segment_objects.mapping.fast_path.compiler import FastPath, compile_fast_path
from target_segment_objects.mapping.fast_path.schemas import UnsupportedSchemaError

__all__ = ["FastPath", "UnsupportedSchemaError", "compile_fast_path"]
