"""Reading BATCH files: formats, storages, and files that cannot be read."""

from __future__ import annotations

import datetime
import gzip
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from target_segment_objects.exceptions import InputError
from target_segment_objects.singer import batch_files, raw_input
from target_segment_objects.singer.batch_files import read_record_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

JSONL = {"format": "jsonl", "compression": "none"}
GZIP = {"format": "jsonl", "compression": "gzip"}
PARQUET = {"format": "parquet"}
LINES = [b'{"id":1,"n":1.50}\n', b'{"id":2}\n']


def read_lines(
    encoding: object, *urls: object, storage: Mapping[str, Any] | None = None
) -> list[bytes]:
    """Read the lines of a BATCH message's files."""
    message = {"encoding": encoding, "manifest": list(urls)}
    return [*itertools.chain(*read_record_blocks(message, storage, nullcontext))]


def write_file(tmp_path: Path, content: bytes, name: str = "a.jsonl") -> str:
    """Write a file and return its path."""
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def write_parquet(tmp_path: Path, columns: Mapping[str, Any]) -> str:
    """Write a Parquet file and return its path."""
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
    ids=["none", "absent", "null", "unknown member"],
)
def test_read_jsonl(tmp_path: Path, encoding: dict[str, Any]) -> None:
    """Uncompressed JSON lines are returned byte for byte."""
    assert read_lines(encoding, write_file(tmp_path, b"".join(LINES))) == LINES


def test_read_gzip(tmp_path: Path) -> None:
    """A gzip file is decompressed, even if it has several members."""
    content = gzip.compress(LINES[0]) + gzip.compress(LINES[1])
    assert read_lines(GZIP, write_file(tmp_path, content)) == LINES


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_undeclared_gzip_is_decompressed(tmp_path: Path, name: str) -> None:
    """A gzip file is decompressed although the message declares it as uncompressed."""
    path = write_file(tmp_path, gzip.compress(b"".join(LINES)), name)
    assert read_lines(JSONL, path) == LINES


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """A byte order mark at the start of a file is not part of the first record."""
    assert read_lines(JSONL, write_file(tmp_path, b"\xef\xbb\xbf" + LINES[0])) == LINES[:1]


def test_files_are_read_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    """Files are read in the order of the manifest, whether paths or URLs."""
    paths = [write_file(tmp_path, line, f"{n}.jsonl") for n, line in enumerate(LINES)]
    assert read_lines(JSONL, paths[1], f"file://{paths[0]}", paths[1]) == [
        LINES[n] for n in (1, 0, 1)
    ]
    assert read_lines(JSONL) == []


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    """Blank lines are skipped, and the last line needs no line ending."""
    path = write_file(tmp_path, LINES[0] + b"\n \r\n" + LINES[1].strip())
    assert read_lines(JSONL, path) == [LINES[0], LINES[1].strip()]
    assert read_lines(JSONL, write_file(tmp_path, b"", "empty")) == []


# Storage


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["path", "URL"])
def test_storage_root_replaces_the_folder(tmp_path: Path, scheme: str) -> None:
    """With a storage root, the files of the manifest are looked up there by name."""
    (tmp_path / "there").mkdir()
    write_file(tmp_path / "there", LINES[0])
    storage = {"root": f"{scheme}{tmp_path}/there"}
    assert read_lines(JSONL, "/where/the/tap/was/a.jsonl", storage=storage) == LINES[:1]
    assert read_lines(JSONL, "file:///where/the/tap/was/a.jsonl", storage=storage) == LINES[:1]


@pytest.mark.parametrize(
    "storage",
    [{}, {"root": None}, {"root": ""}, {"prefix": "x"}],
    ids=["empty", "null root", "empty root", "no root"],
)
def test_storage_without_root(tmp_path: Path, storage: dict[str, Any]) -> None:
    """Without a storage root, the paths of the manifest are used."""
    assert read_lines(JSONL, write_file(tmp_path, LINES[0]), storage=storage) == LINES[:1]


def test_storage_root_may_be_on_any_storage() -> None:
    """The root is the user's own, so it may be on whatever fsspec can open; here, its memory."""
    import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415

    with fsspec.open("memory://bucket/a.jsonl", "wb") as file:
        file.write(LINES[0])
    assert read_lines(JSONL, "x/a.jsonl", storage={"root": "memory://bucket"}) == LINES[:1]
    with pytest.raises(
        InputError, match=r"may be local or on az, gs, s3\. For another storage, set"
    ):
        read_lines(JSONL, "memory://bucket/a.jsonl")


@pytest.mark.parametrize("name", ["a b.jsonl", "a%20b.jsonl", "a%2520b.jsonl", "ü#?.jsonl"])
@pytest.mark.parametrize("form", ["path", "URL", "URL with host", "short URL", "encoded", "root"])
def test_local_urls(tmp_path: Path, name: str, form: str) -> None:
    """Any form of a local URL is read, percent-encoded or not, whatever the file's name is."""
    path = write_file(tmp_path, LINES[0], name)
    url = {
        "path": path,
        "URL": f"file://{path}",
        "URL with host": f"file://localhost{quote(path)}",
        "short URL": f"file:{path}",
        "encoded": f"FILE://{quote(path)}",
        "root": f"file:///elsewhere/{quote(name)}",
    }[form]
    storage = {"root": str(tmp_path)} if form == "root" else None
    assert read_lines(JSONL, url, storage=storage) == LINES[:1]


MESSAGES = [
    {"type": "RECORD", "stream": "s", "record": {"id": 1}},
    {"type": "SCHEMA", "stream": "s", "schema": {}, "key_properties": []},
    {"type": "STATE", "value": None},
    {"type": "BATCH", "stream": "s", "encoding": {}, "manifest": []},
    {"type": "ACTIVATE_VERSION", "stream": "s", "version": 1},
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["type"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_file_of_messages_is_refused(
    tmp_path: Path, message: dict[str, Any], compress: Callable[[bytes], bytes]
) -> None:
    """Its members would become properties. The error names the file and the type."""
    path = write_file(tmp_path, compress(b"\n" + json.dumps(message).encode() + b"\n"))
    expected = rf"BATCH file .*a\.jsonl contains Singer messages: .* a {message['type']} message"
    with pytest.raises(InputError, match=expected):
        read_lines(JSONL, path)
    batch = {"encoding": JSONL, "manifest": [path]}
    blocks = read_record_blocks(batch, None, nullcontext, declared=message)
    assert len([*itertools.chain(*blocks)]) == 1, "a stream with such properties"


@pytest.mark.parametrize(
    "record",
    [{"type": "RECORD", "id": 1}, {"type": 1, "stream": "s", "record": 1}, ["RECORD"], "RECORD"],
    ids=["other members", "other type", "list", "string"],
)
def test_record_that_resembles_a_message_is_read(tmp_path: Path, record: object) -> None:
    """Only a line with the type and the members of a message is one."""
    line = json.dumps(record).encode()
    assert read_lines(JSONL, write_file(tmp_path, line)) == [line]


# Parquet


def test_read_parquet(tmp_path: Path) -> None:
    """A row becomes the JSON line that a JSONL file would contain."""
    utc = datetime.timezone.utc
    path = write_parquet(
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
    first, second = (line.decode() for line in read_lines(PARQUET, path))
    assert first == (
        '{"id":1,"name":"ü","price":1.50,"at":"2024-01-02T03:04:05.000006Z","day":"2024-01-02",'
        '"ok":true,"ratio":0.5,"list":[1,null],"struct":{"a":1}}'
    )
    assert json.loads(second) == {
        **dict.fromkeys(["name", "price", "at", "day", "ok", "ratio", "struct"]),
        "id": 2,
        "list": [],
    }


def test_read_parquet_with_nanoseconds(tmp_path: Path) -> None:
    """Times that Python cannot hold become strings with all their digits."""
    ticks = [1_672_531_200_000_000_001, None]
    path = write_parquet(
        tmp_path,
        {
            "at": pa.array(ticks, pa.timestamp("ns")),
            "utc": pa.array(ticks, pa.timestamp("ns", tz="UTC")),
            "id": [1, 2],
        },
    )
    assert [json.loads(line) for line in read_lines(PARQUET, path)] == [
        {
            "at": "2023-01-01 00:00:00.000000001",
            "utc": "2023-01-01 00:00:00.000000001Z",
            "id": 1,
        },
        {"at": None, "utc": None, "id": 2},
    ]


def test_read_parquet_with_many_row_groups(tmp_path: Path) -> None:
    """Rows keep their order across row groups and across batches of rows."""
    path = str(tmp_path / "many.parquet")
    pq.write_table(pa.table({"id": list(range(5_500))}), path, row_group_size=2_100)
    assert [json.loads(line)["id"] for line in read_lines(PARQUET, path)] == list(range(5_500))


def test_parquet_without_pyarrow(tmp_path: Path) -> None:
    """Without pyarrow, the error says which extra to install."""
    path = write_parquet(tmp_path, {"id": [1]})
    code = (
        "import contextlib, sys\n"
        "sys.modules['pyarrow'] = None\n"
        "from target_segment_objects import exceptions\n"
        "from target_segment_objects.singer import batch_files\n"
        "message = {'encoding': {'format': 'parquet'}, 'manifest': [sys.argv[1]]}\n"
        "try:\n    list(batch_files.read_record_blocks(message, None, contextlib.nullcontext))\n"
        "except exceptions.InputError as error:\n    print(error)\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "pip install 'target-segment-objects[parquet]'" in completed.stdout, completed.stderr


# Files that cannot be read


@pytest.mark.parametrize("encoding", [JSONL, GZIP, PARQUET], ids=["jsonl", "gzip", "parquet"])
def test_missing_file_is_named(tmp_path: Path, encoding: dict[str, str]) -> None:
    """A missing file is named, with the cause."""
    with pytest.raises(InputError, match=r"BATCH file .*/gone cannot be read: No such file"):
        read_lines(encoding, str(tmp_path / "gone"))


@pytest.mark.parametrize("encoding", [JSONL, PARQUET], ids=["jsonl", "parquet"])
def test_too_long_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: dict[str, Any]
) -> None:
    """The error names the file and the line; what is before it was read."""
    for module in (raw_input, batch_files):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 1_000_000)
    if encoding is PARQUET:
        path = write_parquet(tmp_path, {"a": ["x"] * 600 + ["x" * 1_000_000]})
    else:
        path = write_file(tmp_path, LINES[0] * 600 + b'"%b"' % (b"x" * 1_000_000))
    blocks = read_record_blocks({"encoding": encoding, "manifest": [path]}, None, nullcontext)
    read: list[bytes] = []
    with pytest.raises(InputError, match=r"BATCH file .* cannot be read: line 601 is longer than"):
        read.extend(itertools.chain.from_iterable(blocks))
    assert len(read) >= 500


def test_folder_is_refused(tmp_path: Path) -> None:
    """A folder in the manifest is refused."""
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read_lines(JSONL, str(tmp_path))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (slice(None, -4), "gzip data ends too early"),
        (slice(None, 15), "gzip data ends too early"),
        (slice(3, None), "Not a gzipped file"),
        (slice(0, 0), "Not gzip, but empty"),
    ],
    ids=["no trailer", "truncated", "no header", "empty"],
)
def test_damaged_gzip_is_refused(tmp_path: Path, damage: slice, reason: str) -> None:
    """A truncated or empty file, or one that is not gzip, is named with the cause."""
    path = write_file(tmp_path, gzip.compress(LINES[0] * 1000)[damage])
    with pytest.raises(InputError, match=f"BATCH file .*a.jsonl cannot be read: .*{reason}"):
        read_lines(GZIP, path)


def test_damaged_gzip_data_is_refused(tmp_path: Path) -> None:
    """A file that is gzip by its first bytes only is named with the cause."""
    path = write_file(tmp_path, gzip.compress(LINES[0])[:10] + b"\xff" * 40)
    with pytest.raises(InputError, match=r"BATCH file .*a.jsonl cannot be read: .* is damaged"):
        read_lines(GZIP, path)


@pytest.mark.parametrize(
    "content",
    [b"", b"no parquet", b"PAR1" + b"\0" * 100 + b"PAR1"],
    ids=["empty", "not Parquet", "damaged"],
)
def test_damaged_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is not valid Parquet is named."""
    with pytest.raises(InputError, match=r"BATCH file .*a\.jsonl cannot be read: \w+"):
        read_lines(PARQUET, write_file(tmp_path, content))


def test_error_does_not_quote_parquet_values(tmp_path: Path) -> None:
    """The error does not contain a value that cannot be converted."""
    ticks = pa.array([{"at": 1_672_531_200_000_000_001}], pa.struct([("at", pa.timestamp("ns"))]))
    with pytest.raises(InputError) as raised:
        read_lines(PARQUET, write_parquet(tmp_path, {"in": ticks}))
    assert "1672531200" not in str(raised.value)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ({"format": "csv"}, "format csv and compression none are not supported"),
        ({"format": "jsonl", "compression": "zstd"}, "format jsonl and compression zstd"),
        ({}, "format None"),
        ({"format": ["jsonl"]}, "are not supported"),
        (None, "encoding must be an object"),
        ("jsonl", "encoding must be an object"),
    ],
    ids=["format", "compression", "no format", "format is a list", "null", "string"],
)
def test_unsupported_encoding_is_refused(encoding: object, message: str) -> None:
    """An unsupported format is named before any file is opened."""
    with pytest.raises(InputError, match=message):
        read_lines(encoding, "/no/such/file")


@pytest.mark.parametrize(
    "manifest",
    ["/a/path", None, {"a": 1}, [1], [None], [["a"]]],
    ids=["string", "null", "object", "list of numbers", "list of null", "list of lists"],
)
def test_invalid_manifest_is_refused(manifest: Sequence[object]) -> None:
    """A manifest must be a list of strings."""
    with pytest.raises(InputError, match=r"manifest a list of strings"):
        list(read_record_blocks({"encoding": JSONL, "manifest": manifest}, None, nullcontext))


@pytest.mark.parametrize(
    "url",
    ["nope://bucket/a.jsonl", "s3://bucket/a.jsonl", "gs://bucket/a.jsonl", "http://\0/"],
    ids=["unknown", "S3", "GCS", "HTTP"],
)
def test_unavailable_storage_is_an_input_error(url: str) -> None:
    """An unknown storage, or one whose package is not installed, raises an InputError."""
    with pytest.raises(InputError, match=r"cannot be read: "):
        read_lines(JSONL, url)


def test_error_does_not_contain_credentials() -> None:
    """The error does not contain the user and the password of a URL."""
    with pytest.raises(InputError) as raised:
        read_lines(JSONL, "nope://ada:lovelace@host/a.jsonl")
    assert "nope://host/a.jsonl" in str(raised.value)
    assert "lovelace" not in str(raised.value)


# Streaming


@pytest.mark.parametrize("file_format", ["jsonl", "gzip", "parquet"])
def test_memory_use_is_bounded(tmp_path: Path, file_format: str) -> None:
    """A file of 40 MB is read with less than 5 MB of memory."""
    line = b'{"id":1,"v":"%b"}\n' % (b"x" * 982)
    encoding, path = (
        {"jsonl": JSONL, "gzip": GZIP, "parquet": PARQUET}[file_format],
        tmp_path / "big",
    )
    if file_format == "parquet":
        rows = pa.table({"id": [1] * 1000, "v": ["x" * 982] * 1000})
        with pq.ParquetWriter(str(path), rows.schema, use_dictionary=False) as writer:
            for _ in range(40):
                writer.write_table(rows)
    else:
        with _open_for_writing(path, compress=file_format == "gzip") as file:
            for _ in range(400):
                file.write(line * 100)
    message = {"encoding": encoding, "manifest": [str(path)]}
    tracemalloc.start()
    count = sum(len(lines) for lines in read_record_blocks(message, None, nullcontext))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 5_000_000


def _open_for_writing(path: Path, *, compress: bool) -> IO[bytes]:
    return gzip.open(path, "wb", 1) if compress else path.open("wb")  # type: ignore[return-value]


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    """Closing the iterator early closes the file; pytest fails on the ResourceWarning."""
    blocks = read_record_blocks(
        {"encoding": JSONL, "manifest": [write_file(tmp_path, LINES[0] * 10)]}, None, nullcontext
    )
    assert next(iter(blocks)) == LINES[:1] * 10
    blocks.close()  # type: ignore[attr-defined]  # it is a generator


def test_blocking_steps_run_inside_the_context_manager(tmp_path: Path) -> None:
    """Opening a pipe and each read from it happen while the caller knows that it waits."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    is_waiting = False
    waits = 0

    @contextmanager
    def wait() -> Iterator[None]:
        nonlocal is_waiting, waits
        is_waiting, waits = True, waits + 1
        yield
        is_waiting = False

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(path.write_bytes, LINES[0])
        message = {"encoding": JSONL, "manifest": [str(path)]}
        for lines in read_record_blocks(message, None, wait):
            assert lines == LINES[:1]
            assert not is_waiting
        assert written.result(timeout=10) == len(LINES[0])
    assert waits >= 3, "one to open the pipe, one to read, one to find its end"
