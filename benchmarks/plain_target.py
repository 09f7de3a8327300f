"""The plain SDK target: the same work, written with the means of the SDK. Ours is compared to it.

With these inputs it does what ours does: it validates records, converts names to snake case,
flattens nested objects, encodes arrays as JSON, and writes each batch as a gzip file of objects.
The comparison is fair to it: names are cached, lines are joined before compression, and it leaves
out what ours does in addition (name collisions, limits, dead letters, numbers with more digits than
a float keeps).

`python -m benchmarks.plain_target --config config.json < input`
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import typing as th
from singer_sdk.sinks import BatchSink
from singer_sdk.target_base import Target

if TYPE_CHECKING:
    from collections.abc import Iterator


@functools.cache
def snake_case(name: str) -> str:
    """Return Segment's snake case of a name."""
    return "_".join(re.findall(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+", name)).lower()


def to_json(value: object) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=float)


def find_children(declared: dict[str, Any]) -> dict[str, Any] | None:
    """Return the declared properties of an object, which may be nullable by `anyOf`."""
    for variant in (declared, *declared.get("anyOf", ())):
        if "properties" in variant:
            return variant["properties"]  # type: ignore[no-any-return]
    return None


def flatten_record(
    record: dict[str, Any], properties: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the names and values to send of a record."""
    for key, value in record.items():
        name = prefix + snake_case(key)
        declared = properties.get(key, {})
        children = find_children(declared)
        if children:
            yield from flatten_record(
                dict.fromkeys(children) if value is None else value, children, f"{name}_"
            )
        elif key not in properties and not isinstance(value, (str, type(None))):
            yield name, to_json(value)
        else:
            yield name, to_sendable(value, declared.get("type", ()))


def to_sendable(value: Any, types: Any) -> Any:  # noqa: ANN401 - JSON is anything
    """Convert a value to what is sent."""
    if value is None:
        return None
    if "number" in types or isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):  # parsed by the SDK; a datetime is a date, too
        return value.isoformat()
    if isinstance(value, (dict, list)):
        return to_json(value)
    return value


def hash_record(record: dict[str, Any]) -> str:
    """Return the id of a record without a key: the SHA-256 of its JSON with sorted keys."""
    text = json.dumps(
        record, separators=(",", ":"), ensure_ascii=False, sort_keys=True, default=to_plain
    )
    return hashlib.sha256(text.encode()).hexdigest()


def to_plain(value: object) -> object:
    """Return a date or a decimal as JSON has it."""
    return value.isoformat() if isinstance(value, date) else float(str(value))


class PlainSink(BatchSink):
    """Writes each batch into a file."""

    batches = 0

    def process_batch(self, context: dict[str, Any]) -> None:
        """Write a batch as a file to upload."""
        lines = "".join(f"{to_json(self.to_object(record))}\n" for record in context["records"])
        self.batches += 1
        folder = Path(self.config["output_path"])
        path = folder / f"{self.stream_name}-{self.batches:06}.jsonl.gz"
        path.write_bytes(gzip.compress(lines.encode(), compresslevel=6))

    def to_object(self, record: dict[str, Any]) -> dict[str, Any]:
        """Convert a record to an object."""
        return {
            "id": "_".join(str(record[key]) for key in self.key_properties) or hash_record(record),
            "collection": snake_case(self.stream_name),
            "properties": dict(flatten_record(record, self.schema["properties"])),
        }


class PlainTarget(Target):
    """Writes objects into a folder."""

    name = "plain-target"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("output_path", th.StringType, required=True, description="Where files go."),
    ).to_dict()
    default_sink_class = PlainSink


if __name__ == "__main__":
    PlainTarget.cli()
