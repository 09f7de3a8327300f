"""A BATCH message opens files of this machine and of S3, GCS and Azure, and no other address."""

from __future__ import annotations

import socket
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.exceptions import InputError
from target_segment_objects.singer.batch_files import read_record_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFUSED = [
    "webhdfs://{host}/a.jsonl",
    "ftp://{host}/a.jsonl",
    "sftp://{host}/a.jsonl",
    "http://{host}/a.jsonl",
    "https://{host}/a.jsonl",
    "github://org:repo@/a.jsonl",
    "simplecache::http://{host}/a.jsonl",
    "zip://a.jsonl::http://{host}/a.zip",
    "filecache::webhdfs://{host}/a.jsonl",
    "s3://bucket/a.jsonl::http://{host}/",
    "reference::http://{host}/a.json",
    "memory://a.jsonl",
    "data://text/plain,x",
    "WEBHDFS://{host}/a.jsonl",
]


@pytest.fixture
def server() -> Iterator[tuple[str, list[object]]]:
    """A listening socket: its address, and the connections that it got."""
    connections: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stopped = threading.Event()

        def accept() -> None:
            while not stopped.is_set():
                try:
                    connection, address = listener.accept()
                except TimeoutError:
                    continue
                connections.append(address)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", connections
        stopped.set()
        thread.join()


@pytest.mark.parametrize("url", REFUSED)
@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_other_storages_are_not_opened(
    server: tuple[str, list[object]], url: str, file_format: str
) -> None:
    """No connection is made, and so no credentials of ~/.netrc are sent."""
    host, connections = server
    message = {"encoding": {"format": file_format}, "manifest": [url.format(host=host)]}
    with pytest.raises(InputError, match=r"may be local or on az, gs, s3"):
        list(read_record_blocks(message, None, nullcontext))
    assert connections == []


def test_folder_of_a_url_is_not_opened_where_a_root_is_set(
    server: tuple[str, list[object]], tmp_path: Path
) -> None:
    """Only the name of the file counts then."""
    host, connections = server
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    message = {"encoding": {"format": "jsonl"}, "manifest": [f"http://{host}/x/a.jsonl"]}
    blocks = [*read_record_blocks(message, {"root": str(tmp_path)}, nullcontext)]
    assert blocks == [[b"{}\n"]]
    assert connections == []
