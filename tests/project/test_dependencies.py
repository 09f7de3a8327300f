"""Dependencies are asked for only where they can be installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement


@pytest.mark.parametrize(
    ("machine", "is_installed"),
    [
        pytest.param("x86_64", True, id="Linux and macOS on Intel"),
        pytest.param("AMD64", True, id="Windows on Intel"),
        pytest.param("aarch64", True, id="Linux on ARM"),
        pytest.param("arm64", True, id="macOS on ARM"),
        pytest.param("ARM64", False, id="Windows on ARM"),
        pytest.param("riscv64", False, id="RISC-V"),
    ],
)
def test_isal_is_installed_where_it_has_wheels(machine: str, is_installed: bool) -> None:  # noqa: FBT001 - a parameter
    """Elsewhere zlib compresses, and nothing has to be compiled."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (isal,) = re.findall(r'^    "(isal.*)",', project, re.MULTILINE)
    marker = Requirement(isal).marker
    assert marker is not None
    assert marker.evaluate({"platform_machine": machine}) == is_installed
