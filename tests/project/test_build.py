"""What is built: the same version and description, with or without Git, from an sdist or not."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hatch_build
from tests.support.project import copy_project

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://git.example.org/Some-Owner/target-segment-objects"
RELATIVE_LINK = re.compile(r"\]\((?!https?://|#)[^)]*\)")


def build(source: Path, target: str) -> Path:
    """Build a distribution of a folder, and return its file."""
    output = source / "dist" / target
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", output],
        cwd=source,
        capture_output=True,
        timeout=60,
        check=True,
    )
    (file,) = output.iterdir()
    return file


def read_metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel; the description is the body."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return email.message_from_bytes(archive.read(name))


def read_description(wheel: Path) -> str:
    """Return the description of a wheel."""
    content = read_metadata(wheel).get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


def test_sdist_without_git_builds_the_same_wheel(tmp_path: Path) -> None:
    """A ZIP download has no `.git`; its wheel and that of its sdist have the declared version."""
    copy = copy_project(tmp_path / "copy")
    with tarfile.open(build(copy, "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("target_segment_objects-*")
    metadata = [read_metadata(build(folder, "wheel")) for folder in (copy, unpacked)]
    assert metadata[0].as_bytes() == metadata[1].as_bytes()
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert metadata[0]["Version"] == declared[1]
    assert metadata[0]["Author"] == "The contributors of target-segment-objects"


def test_description_has_no_relative_link(tmp_path: Path) -> None:
    """Without the repository's address, a link to a file is its text, and there is no image."""
    copy = copy_project(tmp_path / "copy")
    description = read_description(build(copy, "wheel"))
    assert RELATIVE_LINK.findall(description) == []
    assert "![" not in description
    assert "docs/mapping.md explains it, its reference has every case." in " ".join(
        description.split()
    )
    assert "[Quick start](#quick-start)" in description
    assert "](https://www.twilio.com/docs/segment/privacy/data-retention-policy/)" in description


def test_description_links_to_the_repository(tmp_path: Path) -> None:
    """With the address in pyproject.toml, links and the image lead to files at the tag."""
    copy = copy_project(tmp_path / "copy", repository=REPOSITORY)
    wheel = build(copy, "wheel")
    assert read_metadata(wheel).get_all("Project-URL") == [f"Repository, {REPOSITORY}"]
    description = read_description(wheel)
    assert RELATIVE_LINK.findall(description) == []
    base = f"{REPOSITORY}/blob/v{read_metadata(wheel)['Version']}"
    assert f"[docs/mapping.md]({base}/docs/mapping.md)" in description
    assert f"]({base}/docs/mapping.md#names-in-a-warehouse)" in description
    assert f"]({base}/docs/sandbox.svg?raw=true)" in description
    linked = re.findall(rf"\]\({re.escape(base)}/([^)#?]+)", description)
    assert len(linked) > 10
    assert [path for path in linked if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("version", "is_too_old"),
    [((3, 8, 20), True), ((3, 9, 18), True), ((3, 10, 0), False), ((3, 14, 1), False)],
    ids=["3.8", "3.9", "3.10", "3.14"],
)
def test_older_python_is_told_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], *, is_too_old: bool
) -> None:
    """The build ends with one line that names the oldest Python that works, and this one."""
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr("platform.python_version", lambda: ".".join(map(str, version)))
    declared = re.search(
        r'^requires-python = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    assert declared is not None
    if not is_too_old:
        hatch_build.check_python("the-package", declared[1])
        return
    with pytest.raises(SystemExit) as raised:
        hatch_build.check_python("the-package", declared[1])
    this = ".".join(map(str, version))
    assert raised.value.code == f"the-package needs Python 3.10 or newer, and this is {this}."


def test_oldest_python_is_the_one_of_the_readme() -> None:
    """The quick start names the version that pyproject.toml requires."""
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert "with Python 3.10 or newer" in (ROOT / "README.md").read_text("utf-8")
