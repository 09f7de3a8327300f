"""The dead-letter file, which holds whole records.

| asset | attack | what holds |
|---|---|---|
| rejected records | another user reads an existing file of mode 0666 | 0600 before it is written |
| rejected records | another user has planted the file | nothing is written |
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.exceptions import InvalidRecordError, SpoolError
from target_segment_objects.singer.dead_letters import DeadLetterFile

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fchmod"), reason="Windows has no such modes")

SCHEMA = b'{"type": "SCHEMA", "stream": "users", "schema": {}, "key_properties": ["id"]}\n'
RECORD = b'{"type": "RECORD", "stream": "users", "record": {"id": 1}}\n'


def append_record(path: Path) -> None:
    """Append a rejected record."""
    file = DeadLetterFile(path)
    file.append_record(SCHEMA, RECORD, InvalidRecordError("users", "it is odd"))
    file.close()


@pytest.mark.parametrize("mode", [0o666, 0o640, 0o604])
def test_existing_file_is_made_private(tmp_path: Path, mode: int) -> None:
    """Neither its group nor others can read it afterwards. What it held stays."""
    path = tmp_path / "rejects.singer"
    path.write_bytes(SCHEMA)
    path.chmod(mode)
    append_record(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(SCHEMA)


def test_file_of_another_user_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner could read what is written."""
    path = tmp_path / "rejects.singer"
    path.touch(0o666)
    path.chmod(0o666)
    user = path.stat().st_uid + 1

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(SpoolError, match="Operation not permitted"):
        append_record(path)
    assert path.read_bytes() == b""
