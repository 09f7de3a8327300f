"""Input E: the records of A as a BATCH message with Parquet files."""

from __future__ import annotations

import json
import random
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs import Shape

_ROWS_PER_FILE: Final = 100_000
_PARSERS: Final = {"date-time": datetime.fromisoformat, "date": date.fromisoformat}


def write_parquet_input(path: Path, shape: Shape, records: int, *, seed: int) -> None:
    """Write a Singer file with one BATCH message, and its Parquet files beside it.

    The files differ in their keys only, because generating takes longer than loading.

    Args:
        path: The Singer file to write.
        shape: The kind of its records.
        records: Number of rows of all files.
        seed: The same seed generates the same rows.
    """
    rng = random.Random(seed)  # noqa: S311 - not for security
    values = [shape.values(rng) for _ in range(min(records, _ROWS_PER_FILE))]
    columns = {name: _build_column(shape, name, values) for name in values[0]}
    files = []
    for first in range(0, records, _ROWS_PER_FILE):
        count = min(_ROWS_PER_FILE, records - first)
        keys = pa.array(range(first + 1, first + count + 1))
        table = pa.table({shape.key: keys, **{n: c[:count] for n, c in columns.items()}})
        files.append(path.with_name(f"{path.stem}-{first}.parquet").absolute())
        pq.write_table(table, files[-1])
    messages = [
        {
            "type": "SCHEMA",
            "stream": shape.stream,
            "schema": shape.schema,
            "key_properties": [shape.key],
        },
        {
            "type": "BATCH",
            "stream": shape.stream,
            "encoding": {"format": "parquet"},
            "manifest": [file.as_uri() for file in files],
        },
        {"type": "STATE", "value": {"rows": records}},
    ]
    path.write_text("".join(f"{json.dumps(message)}\n" for message in messages), encoding="utf-8")


def _build_column(shape: Shape, name: str, records: list[dict[str, Any]]) -> pa.Array:
    """Return the values of a property, dates and times as Parquet has them."""
    parse = _PARSERS.get(shape.properties[name].get("format", ""))
    values = [record[name] for record in records]
    if parse is not None:
        values = [None if value is None else parse(value) for value in values]
    return pa.array(values, type=pa.float64() if name == "totalAmount" else None)
