"""The sandbox's files are the user's alone, and it follows no link that someone has planted."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.sandbox import WarehouseError
from target_segment_objects.sandbox.running_server import fetch_report
from target_segment_objects.sandbox.server import Sandbox
from tests.support import TARGET, record_line, schema_line, wait_for
from tests.support.bare_http import BareClient, object_line

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")

SERVE = [sys.executable, "-m", "target_segment_objects.sandbox.cli", "serve", "--port", "0"]


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that would let everybody read and write."""
    previous = os.umask(0)
    yield
    os.umask(previous)


def list_modes(folder: Path) -> dict[str, str]:
    """Return the permissions of all files and folders in a folder, by their paths."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {
        path.relative_to(folder).as_posix(): oct(stat.S_IMODE(path.stat().st_mode))
        for path in paths
    }


def check_modes(folder: Path) -> list[str]:
    """Check that files are 0600 and folders 0700; return their names."""
    modes = list_modes(folder)
    for name, mode in modes.items():
        assert mode == ("0o700" if (folder / name).is_dir() else "0o600"), name
    return sorted(modes)


@pytest.mark.usefixtures("umask")
def test_only_the_user_can_read_the_files(tmp_path: Path, loading_gate: threading.Event) -> None:
    """Warehouse, log, waiting parts and address are private, while it runs and afterwards."""
    with Sandbox(tmp_path / "w.duckdb", serve_page=True) as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line())
        client.upload_lines(client.start_session(), object_line())
        names = check_modes(tmp_path)
        assert {"w.duckdb", "w.duckdb.server.json", "w.duckdb.sessions"} <= {*names}
        assert sum(name.endswith(".jsonl.gz") for name in names) == 2
        assert sum(name.endswith(".accepted.json") for name in names) == 1
        loading_gate.set()
        client.load_files(object_line({"later": 1}))
        assert sandbox.warehouse.count("users") == 1
        assert "w.duckdb.wal" in check_modes(tmp_path)
    assert check_modes(tmp_path) == ["w.duckdb"]
    assert os.umask(0) == 0  # as it was before


@pytest.mark.slow
def test_commands_leave_private_files(tmp_path: Path, environment: dict[str, str]) -> None:
    """A run with `--sandbox`, and `serve` when it is killed, leave nothing that others can read."""
    lines = [schema_line("users", {"id": {"type": "integer"}}), record_line("users", {"id": 1})]
    subprocess.run(
        ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", *TARGET, "--sandbox", "run.duckdb"],
        input="\n".join(lines),
        encoding="utf-8",
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    serve = [*SERVE, "--warehouse", "served.duckdb"]
    with Popen(
        ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", *serve],
        cwd=tmp_path,
        stdout=PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("api_url: ").strip()
            BareClient(url).load_files(object_line())
            wait_for((tmp_path / "served.duckdb.wal").exists)
        finally:
            process.kill()
    names = check_modes(tmp_path)
    assert {"run.duckdb", "served.duckdb", "served.duckdb.wal", "served.duckdb.server.json"} <= {
        *names
    }


def test_files_of_an_older_sandbox_are_restricted(tmp_path: Path) -> None:
    """What was readable for all is not any more."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path):
        pass
    path.chmod(0o644)
    (folder := tmp_path / "w.duckdb.sessions").mkdir(mode=0o755)
    with Sandbox(path):
        assert check_modes(tmp_path)
    assert list_modes(tmp_path) == {"w.duckdb": "0o600"}
    assert not folder.exists()


# Planted files


def list_content(folder: Path) -> dict[str, str]:
    """Return the content of the files in a folder."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_linked_folder_of_sessions_is_not_used(tmp_path: Path) -> None:
    """The files in the target of the link stay, and the error names the link."""
    (target := tmp_path / "home").mkdir()
    names = ("thesis.txt", "0123456789abcdef-1.jsonl.gz", "000000000001-x.accepted.json")
    for name in names:
        (target / name).write_text(name)
    (tmp_path / "w.duckdb.sessions").symlink_to(target)
    with pytest.raises(WarehouseError, match=r"w\.duckdb\.sessions is not a folder"):
        Sandbox(tmp_path / "w.duckdb").__enter__()
    assert list_content(target) == {name: name for name in sorted(names)}


def test_only_files_of_the_sandbox_are_removed(tmp_path: Path) -> None:
    """A file or link that someone has put into the folder of sessions stays."""
    (folder := tmp_path / "w.duckdb.sessions").mkdir(mode=0o700)
    (kept := tmp_path / "kept").write_text("kept")
    (folder / "notes.txt").write_text("kept")
    (folder / "0123456789abcdef-1.jsonl.gz.txt").write_text("kept")
    (folder / "0123456789abcdef-2.jsonl.gz").symlink_to(kept)
    (folder / "0123456789abcdef-3.jsonl.gz").mkdir()
    (folder / "0123456789abcdef-4.jsonl.gz").write_text("left by a kill")
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        BareClient(sandbox.url).load_files(object_line())
    assert kept.read_text() == "kept"
    assert sorted(path.name for path in folder.iterdir()) == [
        "0123456789abcdef-1.jsonl.gz.txt",
        "0123456789abcdef-2.jsonl.gz",
        "0123456789abcdef-3.jsonl.gz",
        "notes.txt",
    ]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_folder_that_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    """What is in it would be loaded, so it must be the user's alone."""
    (folder := tmp_path / "w.duckdb.sessions").mkdir()
    folder.chmod(mode)
    with pytest.raises(WarehouseError, match="others may write to it"):
        Sandbox(tmp_path / "w.duckdb").__enter__()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("{}", "cannot be read", id="damaged"),
        pytest.param(None, "names another file than a part", id="another file"),
    ],
)
def test_planted_record(tmp_path: Path, content: str | None, reason: str) -> None:
    """A record that names a file elsewhere, or is none, is not used; the error names it."""
    (secret := tmp_path / "secret").write_text("secret")
    with Sandbox(tmp_path / "w.duckdb"):
        pass
    (folder := tmp_path / "w.duckdb.sessions").mkdir(mode=0o700)
    row: dict[str, Any] = dict.fromkeys(("parts", "objects", "raw_bytes", "gzip_bytes"), 0)
    row |= dict.fromkeys(("sync_id", "outcome", "error"), "")
    row |= dict.fromkeys(("started", "ended"), "2026-01-01T00:00:00") | {"collections": []}
    part = {"name": "../secret", "raw_bytes": 6}
    planted = {"number": 1, "row": row, "columns": {}, "parts": [part]}
    record = folder / "000000000001-0123456789abcdef.accepted.json"
    record.write_text(json.dumps(planted) if content is None else content)
    with pytest.raises(WarehouseError, match=reason) as caught:
        Sandbox(tmp_path / "w.duckdb").__enter__()
    assert record.name in str(caught.value)
    assert secret.read_text() == "secret"


def test_linked_address_is_replaced(tmp_path: Path) -> None:
    """The target of the link is not written; the link becomes the sandbox's own file."""
    (target := tmp_path / "target").write_text("precious")
    address = tmp_path / "w.duckdb.server.json"
    address.symlink_to(target)
    with Sandbox(tmp_path / "w.duckdb", serve_page=True):
        assert not address.is_symlink()
        assert fetch_report(tmp_path / "w.duckdb", rows=1, width=80, color_system=None)
    assert target.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "w.duckdb"]


@pytest.mark.parametrize("suffix", [".wal", ".tmp", ".wal.checkpoint", ".wal.recovery"])
@pytest.mark.parametrize("exists", [True, False], ids=["existing", "new"])
def test_linked_files_of_duckdb_are_not_used(tmp_path: Path, suffix: str, *, exists: bool) -> None:
    """DuckDB would write to the target of a link, and read what is in it as a part of the file."""
    path, target = tmp_path / "w.duckdb", tmp_path / "target"
    if exists:
        with Sandbox(path):
            pass
    target.write_text("precious")
    (tmp_path / f"w.duckdb{suffix}").symlink_to(target)
    with pytest.raises(WarehouseError, match="is a symbolic link"):
        Sandbox(path).__enter__()
    assert target.read_text() == "precious"
