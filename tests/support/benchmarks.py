"""Small benchmarks, and objects as they are uploaded."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from benchmarks.runs import Bench

if TYPE_CHECKING:
    from pathlib import Path


def create_bench(folder: Path, *input_names: str) -> Bench:
    """Return a benchmark of the smallest scale."""
    return Bench(folder, scale=0.001, rounds=1, input_names=input_names, write_page=False)


def write_objects(folder: Path, *objects: dict[str, Any]) -> Path:
    """Write a file of objects, as it is uploaded, to a new folder."""
    folder.mkdir()
    lines = "".join(f"{json.dumps(item)}\n" for item in objects)
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def build_object(**properties: object) -> dict[str, Any]:
    """Return an object."""
    return {"id": "1", "collection": "things", "properties": properties}
