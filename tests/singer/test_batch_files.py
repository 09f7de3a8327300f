"""The files of BATCH messages: kinds, storages, and what cannot be read."""

from __future__ import annotations

import datetime
import gzip
import json
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from target_segment_objects.exceptions import InputError
from target_segment_objects.singer.batch_files import record_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

JSONL = {"format": "jsonl", "compression": "none"}
GZIP = {"format": "jsonl", "compression": "gzip"}
PARQUET = {"format": "parquet"}
LINES = [b'{"id":1,"n":1.50}\n', b'{"id":2}\n']


def read(encoding: object, *urls: object, storage: Mapping[str, Any] | None = None) -> list[bytes]:
    """Return the lines that a BATCH message points at."""
    return list(record_lines({"encoding": encoding, "manifest": list(urls)}, storage))


def file_of(tmp_path: Path, content: bytes, name: str = "a.jsonl") -> str:
    """Make a file, and return its path."""
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def parquet_of(tmp_path: Path, columns: Mapping[str, Any]) -> str:
    """Make a Parquet file, and return its path."""
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table(dict(columns)), path)
    return path


@pytest.mark.parametrize(
    "encoding",
    [
        JSONL,
        {"format": "jsonl"},
        {"format": "jsonl", "compression": None},
        {"format": "jsonl", "compression": "none", "more": 1},
    ],
)
def test_jsonl(tmp_path: Path, encoding: dict[str, Any]) -> None:
    """Plain JSON lines come as they are, byte for byte."""
    assert read(encoding, file_of(tmp_path, b"".join(LINES))) == LINES


def test_gzip(tmp_path: Path) -> None:
    """Gzipped JSON lines come unzipped, of several members too."""
    content = gzip.compress(LINES[0]) + gzip.compress(LINES[1])
    assert read(GZIP, file_of(tmp_path, content)) == LINES


def test_files_in_order(tmp_path: Path) -> None:
    """The manifest's files come in its order, whether as paths or as addresses."""
    paths = [file_of(tmp_path, line, f"{n}.jsonl") for n, line in enumerate(LINES)]
    assert read(JSONL, paths[1], f"file://{paths[0]}", paths[1]) == [LINES[n] for n in (1, 0, 1)]
    assert read(JSONL) == []


def test_blank_lines_and_no_last_end(tmp_path: Path) -> None:
    """Lines without content are no records, and the last line needs no end."""
    path = file_of(tmp_path, LINES[0] + b"\n \r\n" + LINES[1].strip())
    assert read(JSONL, path) == [LINES[0], LINES[1].strip()]
    assert read(JSONL, file_of(tmp_path, b"", "empty")) == []


# Storage


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_storage(tmp_path: Path, scheme: str) -> None:
    """With a storage's root set, the manifest's file names are looked for there."""
    (tmp_path / "there").mkdir()
    file_of(tmp_path / "there", LINES[0])
    storage = {"root": f"{scheme}{tmp_path}/there"}
    assert read(JSONL, "/where/the/tap/was/a.jsonl", storage=storage) == LINES[:1]
    assert read(JSONL, "file:///where/the/tap/was/a.jsonl", storage=storage) == LINES[:1]


@pytest.mark.parametrize("storage", [{}, {"root": None}, {"root": ""}, {"prefix": "x"}])
def test_storage_without_root(tmp_path: Path, storage: dict[str, Any]) -> None:
    """Without a root the manifest's addresses are right."""
    assert read(JSONL, file_of(tmp_path, LINES[0]), storage=storage) == LINES[:1]


def test_a_storage_of_another_kind() -> None:
    """Whatever fsspec opens is read: here, its memory."""
    import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415

    with fsspec.open("memory://bucket/a.jsonl", "wb") as file:
        file.write(LINES[0])
    assert read(JSONL, "memory://bucket/a.jsonl") == LINES[:1]
    assert read(JSONL, "x/a.jsonl", storage={"root": "memory://bucket"}) == LINES[:1]


# Parquet


def test_parquet(tmp_path: Path) -> None:
    """A row becomes the JSON line that a JSONL file would have had."""
    utc = datetime.timezone.utc
    path = parquet_of(
        tmp_path,
        {
            "id": [1, 2],
            "name": ["ü", None],
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "at": [datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=utc), None],
            "day": [datetime.date(2024, 1, 2), None],
            "ok": [True, None],
            "ratio": [0.5, float("nan")],
            "list": [[1, None], []],
            "struct": [{"a": 1}, None],
        },
    )
    first, second = (line.decode() for line in read(PARQUET, path))
    assert first == (
        '{"id":1,"name":"ü","price":1.50,"at":"2024-01-02T03:04:05.000006Z","day":"2024-01-02",'
        '"ok":true,"ratio":0.5,"list":[1,null],"struct":{"a":1}}'
    )
    assert json.loads(second) == {
        **dict.fromkeys(["name", "price", "at", "day", "ok", "ratio", "struct"]),
        "id": 2,
        "list": [],
    }


def test_parquet_of_nanoseconds(tmp_path: Path) -> None:
    """Times that Python cannot hold come as text, with all their digits."""
    ticks = [1_672_531_200_000_000_001, None]
    path = parquet_of(
        tmp_path,
        {
            "at": pa.array(ticks, pa.timestamp("ns")),
            "utc": pa.array(ticks, pa.timestamp("ns", tz="UTC")),
            "id": [1, 2],
        },
    )
    assert [json.loads(line) for line in read(PARQUET, path)] == [
        {
            "at": "2023-01-01 00:00:00.000000001",
            "utc": "2023-01-01 00:00:00.000000001Z",
            "id": 1,
        },
        {"at": None, "utc": None, "id": 2},
    ]


def test_parquet_of_many_rows(tmp_path: Path) -> None:
    """Rows come in order across row groups and across what is held at once."""
    path = str(tmp_path / "many.parquet")
    pq.write_table(pa.table({"id": list(range(5_500))}), path, row_group_size=2_100)
    assert [json.loads(line)["id"] for line in read(PARQUET, path)] == list(range(5_500))


def test_parquet_without_its_package(tmp_path: Path) -> None:
    """Without pyarrow, the error says what to install."""
    path = parquet_of(tmp_path, {"id": [1]})
    code = (
        "import sys\n"
        "sys.modules['pyarrow'] = None\n"
        "from target_segment_objects import exceptions\n"
        "from target_segment_objects.singer import batch_files\n"
        "message = {'encoding': {'format': 'parquet'}, 'manifest': [sys.argv[1]]}\n"
        "try:\n    list(batch_files.record_lines(message, None))\n"
        "except exceptions.InputError as error:\n    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "pip install 'target-segment-objects[parquet]'" in ran.stdout, ran.stderr


# What cannot be read


@pytest.mark.parametrize("encoding", [JSONL, GZIP, PARQUET])
def test_a_missing_file(tmp_path: Path, encoding: dict[str, str]) -> None:
    """A file that is not there is named, with the cause."""
    with pytest.raises(InputError, match=r"BATCH file .*/gone cannot be read: No such file"):
        read(encoding, str(tmp_path / "gone"))


def test_a_folder(tmp_path: Path) -> None:
    """A folder is no file."""
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read(JSONL, str(tmp_path))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (slice(None, -4), "Compressed file ended"),
        (slice(None, 15), "Compressed file ended"),
        (slice(3, None), "Not a gzipped file"),
    ],
)
def test_gzip_that_is_broken(tmp_path: Path, damage: slice, reason: str) -> None:
    """A gzip file that was cut, or is none, is named with the cause; it is no half success."""
    path = file_of(tmp_path, gzip.compress(LINES[0] * 1000)[damage])
    with pytest.raises(InputError, match=f"BATCH file .*a.jsonl cannot be read: .*{reason}"):
        read(GZIP, path)


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_parquet_that_is_broken(tmp_path: Path, content: bytes) -> None:
    """A file that is no Parquet is named."""
    with pytest.raises(InputError, match=r"BATCH file .*a\.jsonl cannot be read: \w+"):
        read(PARQUET, file_of(tmp_path, content))


def test_parquet_values_are_not_said(tmp_path: Path) -> None:
    """A value that cannot be read is not quoted."""
    ticks = pa.array([{"at": 1_672_531_200_000_000_001}], pa.struct([("at", pa.timestamp("ns"))]))
    with pytest.raises(InputError) as raised:
        read(PARQUET, parquet_of(tmp_path, {"in": ticks}))
    assert "1672531200" not in str(raised.value)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ({"format": "csv"}, "format csv, compression none, are not supported"),
        ({"format": "jsonl", "compression": "zstd"}, "format jsonl, compression zstd"),
        ({}, "format None"),
        ({"format": ["jsonl"]}, "are not supported"),
        (None, "an object as encoding"),
        ("jsonl", "an object as encoding"),
    ],
)
def test_an_unknown_format(encoding: object, said: str) -> None:
    """A kind of file that is not known is refused by name, before any file is opened."""
    with pytest.raises(InputError, match=said):
        read(encoding, "/no/such/file")


@pytest.mark.parametrize("manifest", ["/a/path", None, {"a": 1}, [1], [None], [["a"]]])
def test_a_manifest_that_is_none(manifest: Sequence[object]) -> None:
    """A manifest is a list of texts."""
    with pytest.raises(InputError, match=r"a list as manifest"):
        list(record_lines({"encoding": JSONL, "manifest": manifest}, None))


@pytest.mark.parametrize(
    "url", ["nope://bucket/a.jsonl", "s3://bucket/a.jsonl", "gs://bucket/a.jsonl", "http://\0/"]
)
def test_a_storage_that_is_not_there(url: str) -> None:
    """A storage that is not known, or whose package is not installed, is an error of ours."""
    with pytest.raises(InputError, match=r"cannot be read: "):
        read(JSONL, url)


def test_a_password_in_an_address_is_not_said() -> None:
    """Who wrote a password into the manifest does not read it in the log."""
    with pytest.raises(InputError) as raised:
        read(JSONL, "nope://ada:lovelace@host/a.jsonl")
    assert "nope://host/a.jsonl" in str(raised.value)
    assert "lovelace" not in str(raised.value)


# Streaming


@pytest.mark.parametrize("kind", ["jsonl", "gzip", "parquet"])
def test_memory_is_flat(tmp_path: Path, kind: str) -> None:
    """Of a file of 40 MB, a few hundred kilobytes are in memory at once."""
    line = b'{"id":1,"v":"%b"}\n' % (b"x" * 982)
    encoding, path = {"jsonl": JSONL, "gzip": GZIP, "parquet": PARQUET}[kind], tmp_path / "big"
    if kind == "parquet":
        rows = pa.table({"id": [1] * 1000, "v": ["x" * 982] * 1000})
        with pq.ParquetWriter(str(path), rows.schema, use_dictionary=False) as writer:
            for _ in range(40):
                writer.write_table(rows)
    else:
        with _writing(path, zipped=kind == "gzip") as file:
            for _ in range(400):
                file.write(line * 100)
    message = {"encoding": encoding, "manifest": [str(path)]}
    tracemalloc.start()
    count = sum(1 for _ in record_lines(message, None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 5_000_000


def _writing(path: Path, *, zipped: bool) -> IO[bytes]:
    return gzip.open(path, "wb", 1) if zipped else path.open("wb")  # type: ignore[return-value]


def test_a_reader_that_stops_leaves_no_file_open(tmp_path: Path) -> None:
    """Who stops in the middle leaves nothing open; pytest makes an error of the warning."""
    lines = record_lines({"encoding": JSONL, "manifest": [file_of(tmp_path, LINES[0] * 10)]}, None)
    assert next(iter(lines)) == LINES[0]
    lines.close()  # type: ignore[attr-defined]  # it is a generator
