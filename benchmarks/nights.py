"""The same table on two nights: between them, a share of its rows has changed."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any, Final

from benchmarks.inputs import RECORDS_PER_STATE, SEED, A

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT_ID_CHARACTERS: Final = 20


def write_night(
    path: Path, rows: int, *, changed_share: float = 0.0, has_text_ids: bool = False
) -> None:
    """Write the output of a tap that reads the whole table. Its rows have the fields of input A.

    Args:
        path: The file to write.
        rows: Rows of the table.
        changed_share: Share of the rows that differ from those of the first night.
        has_text_ids: Whether the keys are strings in random order, instead of 1, 2, 3, …
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for message in _generate_messages(rows, changed_share, has_text_ids=has_text_ids):
            file.write(json.dumps(message, separators=(",", ":")) + "\n")


def _generate_messages(
    rows: int, changed_share: float, *, has_text_ids: bool
) -> Iterator[dict[str, Any]]:
    schema = A.schema
    if has_text_ids:
        schema = {**schema, "properties": {**A.properties, A.key: {"type": "string"}}}
    yield {"type": "SCHEMA", "stream": A.stream, "schema": schema, "key_properties": [A.key]}
    rng = random.Random(SEED)  # noqa: S311 - not for security
    changes = random.Random(SEED + 1)  # noqa: S311
    for number in range(1, rows + 1):
        values = A.values(rng)
        if changes.random() < changed_share:
            values = A.values(changes)
        key = _build_text_id(number) if has_text_ids else number
        yield {"type": "RECORD", "stream": A.stream, "record": {A.key: key, **values}}
        if number % RECORDS_PER_STATE == 0 or number == rows:
            yield {"type": "STATE", "value": {"bookmarks": {A.stream: {"seen": number}}}}


def _build_text_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:TEXT_ID_CHARACTERS]
