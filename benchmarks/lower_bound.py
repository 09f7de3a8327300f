"""The lower bound: decode each line, encode its record, compress it, and nothing else.

Every Python target that sends gzip of JSON lines has to do this much. Decoder and encoder are
msgspec's, and numbers with a fraction are kept exactly. The compressor is isal at level 2, the
target's default.

`python -m benchmarks.lower_bound FOLDER < input`
"""

from __future__ import annotations

import sys
import zlib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit

import msgspec
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LEVEL: Final = 2
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_BUFFER_BYTES: Final = 64 * 1024
_DECODED_ROWS: Final = 10_000  # of Parquet, at a time
_BLOCK_ROWS: Final = 500


def iterate_records(message: dict[str, Any]) -> Iterable[Any]:
    """Return the records of a message; those of Parquet files with timestamps as strings."""
    if message["type"] == "RECORD":
        return (message["record"],)
    return iterate_rows(message["manifest"]) if message["type"] == "BATCH" else ()


def iterate_rows(urls: list[str]) -> Iterator[msgspec.Struct]:
    """Yield the rows of Parquet files as structs, which take less time than dicts."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and for one input only
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    for url in urls:
        file = pq.ParquetFile(urlsplit(url).path)
        make_row = msgspec.defstruct("Row", file.schema_arrow.names, gc=False)
        for rows in file.iter_batches(_DECODED_ROWS, use_threads=False):
            columns = [
                # Formatting times without a time zone takes a fraction of the time.
                column.cast(pa.timestamp("us")).cast("string")
                if pa.types.is_timestamp(column.type)
                else column
                for column in rows.columns
            ]
            for start in range(0, rows.num_rows, _BLOCK_ROWS):
                values = (column.slice(start, _BLOCK_ROWS).to_pylist() for column in columns)
                yield from map(make_row, *values)


def copy_records(source: BinaryIO, path: Path) -> None:
    """Write the records of a Singer file into a gzip file of JSON lines."""
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    encode = msgspec.json.Encoder(decimal_format="number").encode
    compressor = isal_zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW)
    lines = bytearray()
    with path.open("wb") as file:
        for line in source:
            message = decode(line)
            for record in iterate_records(message):
                lines += encode(record)
                lines += b"\n"
                if len(lines) >= _BUFFER_BYTES:
                    file.write(compressor.compress(lines))
                    lines.clear()
        file.write(compressor.compress(lines) + compressor.flush())


if __name__ == "__main__":
    with open(0, "rb", buffering=_BUFFER_BYTES, closefd=False) as standard_input:
        copy_records(standard_input, Path(sys.argv[1]) / "records.jsonl.gz")
