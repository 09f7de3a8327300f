"""Dependencies are declared, are safe in their lowest versions, and can be installed."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "target_segment_objects"


def load_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


PROJECT: Final = load_toml(ROOT / "pyproject.toml")["project"]
SAFE_VERSIONS: Final = load_toml(ROOT / ".ci" / "lowest_safe_versions.toml")


def list_requirements() -> list[Requirement]:
    """Return all dependencies, those of the extras included."""
    extras = PROJECT["optional-dependencies"].values()
    texts = (text for group in (PROJECT["dependencies"], *extras) for text in group)
    return [Requirement(text) for text in texts]


def find_floor(requirement: Requirement) -> Version:
    """Return the lowest version that a dependency admits; 0 if it admits all."""
    floors = [
        Version(part.version)
        for part in requirement.specifier
        if part.operator in {">=", "~=", "=="}
    ]
    return max(floors, default=Version("0"))


def list_imports() -> dict[str, set[str]]:
    """Return the top-level modules that the package imports, and where."""
    imports: dict[str, set[str]] = {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                where = path.relative_to(ROOT / PACKAGE).parts[0]
                imports.setdefault(name.partition(".")[0], set()).add(where)
    return imports


@pytest.mark.parametrize("name", sorted(SAFE_VERSIONS))
def test_lowest_versions_have_no_known_vulnerability(name: str) -> None:
    """No requirement admits a version below the one of the table, which has a reason."""
    entry = SAFE_VERSIONS[name]
    assert entry["reason"]
    assert isinstance(entry["used"], bool)
    assert all(re.fullmatch(r"CVE-\d{4}-\d{4,}", advisory) for advisory in entry["advisories"])
    floors = [find_floor(found) for found in list_requirements() if found.name == name]
    assert floors, "an entry of a package that is no dependency"
    assert min(floors) >= Version(entry["version"])


def test_every_dependency_has_a_lowest_version() -> None:
    """Except for stubs of types, which nothing runs, and this project's own extras."""
    for requirement in list_requirements():
        if not requirement.name.startswith(("types-", "target-segment-objects")):
            assert find_floor(requirement) > Version("0"), requirement.name


def test_every_import_is_declared() -> None:
    """The extra `sandbox` declares what only the sandbox imports, the package all else."""
    of_module = packages_distributions()
    declared = {
        extra: {canonicalize_name(Requirement(text).name) for text in texts}
        for extra, texts in (
            ("", PROJECT["dependencies"]),
            *PROJECT["optional-dependencies"].items(),
        )
    }
    for module, places in sorted(list_imports().items()):
        if module in {*sys.stdlib_module_names, PACKAGE, ""}:
            continue
        names = {canonicalize_name(name) for name in of_module[module]}
        admitted = declared[""] | declared["parquet"]
        if places == {"sandbox"}:
            admitted |= declared["sandbox"]
        assert names & admitted, f"{module} is imported in {sorted(places)} and not declared"


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
    (isal,) = (found for found in list_requirements() if found.name == "isal")
    marker = isal.marker
    assert marker is not None
    assert marker.evaluate({"platform_machine": machine}) == is_installed
