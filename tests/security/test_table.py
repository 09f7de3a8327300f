"""The table of attacks names the tests of this folder, and files that exist."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

import tests.security

TESTS = Path(__file__).parents[1]
NAMED = re.findall(r"(?:\w+/)?test_[\w*]+\.py", tests.security.__doc__ or "")


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda p: p.name
)
def test_every_module_is_in_the_table(path: Path) -> None:
    """A new module of tests belongs to an attack, which has a line."""
    if path != Path(__file__):
        assert any(fnmatch.fnmatch(path.name, name) for name in NAMED)


@pytest.mark.parametrize("name", sorted({name for name in NAMED if "*" not in name}))
def test_every_named_module_exists(name: str) -> None:
    """Below `tests/`, or in this folder."""
    assert (TESTS / name).is_file() or (Path(__file__).parent / name).is_file()
