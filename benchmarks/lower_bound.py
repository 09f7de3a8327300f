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
from typing import BinaryIO, Final

import msgspec
from isal import isal_zlib

_LEVEL: Final = 2
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_BUFFER_BYTES: Final = 64 * 1024


def copy_records(source: BinaryIO, path: Path) -> None:
    """Write the records of a Singer file into a gzip file of JSON lines."""
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    encode = msgspec.json.Encoder(decimal_format="number").encode
    compressor = isal_zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW)
    lines = bytearray()
    with path.open("wb") as file:
        for line in source:
            message = decode(line)
            if message["type"] != "RECORD":
                continue
            lines += encode(message["record"])
            lines += b"\n"
            if len(lines) >= _BUFFER_BYTES:
                file.write(compressor.compress(lines))
                lines.clear()
        file.write(compressor.compress(lines) + compressor.flush())


if __name__ == "__main__":
    with open(0, "rb", buffering=_BUFFER_BYTES, closefd=False) as standard_input:
        copy_records(standard_input, Path(sys.argv[1]) / "records.jsonl.gz")
