"""The version of a package is that of its metadata."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.versions import find_version

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("package", ["target-segment-objects", "singer_sdk", "Singer.SDK", "click"])
def test_version_is_that_of_the_metadata(package: str) -> None:
    """It is what the standard library finds, however the name is written."""
    assert find_version(package) == metadata.version(package)


def test_a_version_in_the_description_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The field counts, not a line of the README that looks like it."""
    folder = tmp_path / "thing-1.2.dist-info"
    folder.mkdir()
    fields = "Metadata-Version: 2.4\nName: thing\nVersion: 1.2\n\nVersion: 9\n"
    (folder / "METADATA").write_text(fields, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_version("thing") == "1.2"


def test_the_version_of_an_egg_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old format has other files, which the standard library reads."""
    folder = tmp_path / "thing.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Name: thing\nVersion: 1.3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_version("thing") == "1.3"


def test_a_missing_package_is_an_error() -> None:
    """The standard library's own."""
    with pytest.raises(metadata.PackageNotFoundError):
        find_version("not-installed")
