"""`--config`: what is wrong with a file is said in one line, and never with the write key."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.cli.config_files import ConfigFileError, read_config_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import RunTarget

KEY = "write-key-that-nobody-may-see"


def test_later_files_override_earlier_ones(tmp_path: Path) -> None:
    """ENV may stand anywhere; a byte order mark is skipped."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"write_key": "a", "max_retries": 1}), encoding="utf-8-sig")
    second.write_text(json.dumps({"max_retries": 2}), encoding="utf-8")
    config = read_config_files([str(first), "ENV", str(second)])
    assert config.config == {"write_key": "a", "max_retries": 2}
    assert config.parse_env
    assert not read_config_files([str(first)]).parse_env


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(None, "Config file not found: {path}", id="missing"),
        pytest.param(b"[1]", "Config file is not a JSON object: {path}", id="list"),
        pytest.param(b"null", "Config file is not a JSON object: {path}", id="null"),
        pytest.param(
            b'{\n  "write_key": "write-key-that-nobody-may-see"\n  "a": 1}',
            "Config file is not JSON: {path}: Expecting ',' delimiter at line 3, column 3.",
            id="missing comma",
        ),
        pytest.param(
            b"",
            "Config file is not JSON: {path}: Expecting value at line 1, column 1.",
            id="empty",
        ),
        pytest.param(b"[" * 100_000, "Config file is nested too deeply: {path}", id="nested"),
        pytest.param(b'{"a": "\xff"}', "Config file is not UTF-8: {path}: byte 8.", id="Latin-1"),
    ],
)
def test_an_unusable_file_is_named_with_the_reason(
    tmp_path: Path, run_target: RunTarget, content: bytes | None, expected: str
) -> None:
    """Exit code 2, the place of the error, no traceback, and nothing of the content."""
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigFileError) as raised:
        read_config_files([str(path)])
    assert str(raised.value) == expected.format(path=path)
    if content is None or len(content) < 100:
        done = run_target("--config", str(path))
        assert done.returncode == 2
        assert expected.format(path=path) in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
        assert KEY not in done.stderr


def test_a_folder_is_not_a_missing_file(tmp_path: Path) -> None:
    """The error says that it is a folder."""
    with pytest.raises(ConfigFileError, match=r"^Config file is a folder: "):
        read_config_files([str(tmp_path)])


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other permissions")
def test_a_file_without_permission_is_not_reported_as_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the missing permission."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def deny(*_: object, **__: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.read_text", deny)
    with pytest.raises(ConfigFileError, match=r"^No permission to read the config file: "):
        read_config_files([str(path)])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(json.dumps({"write_key": KEY}), id="JSON"),
        pytest.param(f"write_key={KEY}", id="assignment"),
        pytest.param(json.dumps({"write_key": KEY, "a": "x" * 5000}), id="long JSON"),
        pytest.param(f'"{KEY}"', id="quoted"),
        pytest.param(f"write_key: {KEY}\n", id="YAML"),
    ],
)
def test_settings_instead_of_a_file_name_are_not_shown(run_target: RunTarget, value: str) -> None:
    """The error says what `--config` takes, without the write key."""
    done = run_target("--config", value)
    assert done.returncode == 2
    assert "--config takes the name of a file, or ENV" in " ".join(done.stderr.split())
    assert KEY not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "name", [pytest.param("a" * 5000, id="too long"), pytest.param("a\0b", id="NUL")]
)
def test_a_name_that_no_file_can_have(name: str) -> None:
    """The error says so."""
    with pytest.raises(ConfigFileError, match=r"^Config file cannot be read \("):
        read_config_files([name])
