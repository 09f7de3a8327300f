"""Write the rows of a Parquet file as JSON lines, column by column.

Converting a column takes a fraction of the time of converting row by row. Arrow decodes many rows
at a time, because each of its steps costs time, and formats their dates and timestamps; the text is
what a JSON encoder would write. The rows become Python objects a few at a time, to save memory.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from target_segment_objects.mapping.values import ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK_ROWS: Final = 500  # Python objects at a time
_MAX_DECODED_ROWS: Final = 10_000
_MAX_DECODED_BYTES: Final = 8_000_000
_MICROSECONDS: Final = pa.timestamp("us")
_UTC: Final = frozenset({"UTC", "Etc/UTC", "+00:00"})
_TIME_START: Final = 10  # 2024-01-31 10:00:00


def read_rows(file: IO[bytes]) -> Iterator[list[bytes]]:
    """Yield the rows of a Parquet file as JSON objects, some at a time."""
    parquet = pq.ParquetFile(file)
    # Arrow's threads would take memory, and save nothing: most of the time is for Python objects.
    for rows in parquet.iter_batches(count_decoded_rows(parquet.metadata), use_threads=False):
        yield from encode_rows(rows)


def count_decoded_rows(metadata: pq.FileMetaData) -> int:
    """Return how many rows of a file to decode at a time."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    row_bytes = sum(group.total_byte_size for group in groups) / max(1, metadata.num_rows)
    return max(1, min(_MAX_DECODED_ROWS, int(_MAX_DECODED_BYTES / max(1, row_bytes))))


def encode_rows(rows: pa.RecordBatch) -> Iterator[list[bytes]]:
    """Yield the rows as JSON objects, some at a time."""
    columns = [*map(_format_column, rows.columns)]
    make_row = _compile_row(rows.schema.names)
    for start in range(0, rows.num_rows, _BLOCK_ROWS):
        values = (column.slice(start, _BLOCK_ROWS).to_pylist() for column in columns)
        yield [*map(ENCODER.encode, map(make_row, *values))]


def _compile_row(names: list[str]) -> Callable[..., object]:
    """Return what makes a row of its values: a struct, which takes less time than a dict."""
    fields = [f"f{position}" for position in range(len(names))]
    try:
        return msgspec.defstruct(
            "Row", fields, rename=dict(zip(fields, names, strict=True)), gc=False
        )
    except ValueError:  # a name occurs twice, or has characters that JSON escapes
        return lambda *values: dict(zip(names, values, strict=True))


def _format_column(column: pa.Array) -> pa.Array:
    """Return a column with dates and timestamps as strings."""
    if pa.types.is_timestamp(column.type):
        if column.type.unit == "ns":  # Python cannot hold them
            return column.cast("string")
        if column.type.tz is None or column.type.tz in _UTC:
            return _format_timestamps(column)
    return column.cast("string") if pa.types.is_date32(column.type) else column


def _format_timestamps(column: pa.Array) -> pa.Array:
    """Return timestamps as strings in the form of RFC 3339, without a fraction of zero."""
    text = column.cast(_MICROSECONDS).cast("string")
    text = pc.utf8_replace_slice(text, _TIME_START, _TIME_START + 1, "T")
    text = pc.replace_substring(text, ".000000", "")
    return text if column.type.tz is None else pc.binary_join_element_wise(text, "Z", "")
