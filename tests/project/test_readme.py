"""The documentation is true: commands run, settings match the code, links work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import RUN_SECONDS, TARGET

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
GENERATED = {"build", "dist", "output"}
"""Folders that Git ignores; the benchmarks install other targets in one."""
DOCUMENTS = sorted(
    path
    for path in ROOT.glob("**/*.md")
    if path.relative_to(ROOT).parts[0] not in GENERATED
    and not any(part.startswith(".") and part != ".github" for part in path.relative_to(ROOT).parts)
)


def list_anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


def test_quick_start_loads_the_sample_and_shows_it(tmp_path: Path) -> None:
    """The last command of the first block loads the sample and reports it; `show` repeats that."""
    *_, command = BLOCKS[0].split(" &&\n")
    arguments = shlex.split(command.replace("\\\n", ""))
    assert arguments[0] == ".venv/bin/target-segment-objects"
    warehouse = str(tmp_path / "warehouse.duckdb")
    arguments[arguments.index("warehouse.duckdb")] = warehouse
    done = subprocess.run(
        [*TARGET, *arguments[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "flights: 3,375 objects, 20 columns" in done.stderr
    assert "no value was lost" in done.stderr
    show = subprocess.run(
        [sys.executable, "-m", "target_segment_objects.sandbox.cli", "show", warehouse],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_SECONDS,
        check=False,
    )
    assert "planes: 1,203 objects" in show.stdout


def test_ci_runs_the_first_two_commands_of_the_readme() -> None:
    """`.ci/run` takes them from the README: set-up with a load, then the tests."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "quick_start=$(print_readme_block 1)" in script
    assert "run_tests=$(print_readme_block 2)" in script
    assert BLOCKS[0].startswith("python3 -m venv .venv &&\n")
    assert BLOCKS[1].endswith("&&\n  .venv/bin/pytest -q\n")


def test_readme_can_be_scanned() -> None:
    """It has fewer than 200 lines, and its contents link to each section, in order."""
    assert len(README.splitlines()) < 200
    sections = re.findall(r"^## (.*)$", README, re.MULTILINE)
    contents = re.findall(r"\[([^]]+)\]\(#", README[: README.index("\n## ")])
    assert contents == [title for title in sections if title != "Licence"]


def test_readme_states_what_is_not_obvious() -> None:
    """Nulls, retention, acceptance and names in a warehouse, and in docs/ their sources."""
    section = README.partition("\n## Guarantees and limitations\n")[2].partition("\n## ")[0]
    details = " ".join((ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8").split())
    for words in ("180 days", "a null clears the property", "Accepted is not loaded", "No delete"):
        assert words in " ".join(section.split())
        assert words in details
    assert "mapping.md#names-in-a-warehouse" in section
    for page in ("data-retention-policy", "object-bulk-api", "warehouses/schema"):
        assert page in details


def list_links(text: str) -> list[tuple[str, str]]:
    """Return path and anchor of each relative link of a document, images included."""
    outside_code = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)$", outside_code, re.MULTILINE)
    links = ("".join(target).partition("#") for target in targets)
    return [(path, anchor) for path, _, anchor in links if ":" not in path]


@pytest.mark.parametrize(
    "document", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS]
)
def test_links_to_files_and_headings_work(document: Path) -> None:
    """Every relative link of the document leads to an existing file and heading."""
    for path, anchor in list_links(document.read_text(encoding="utf-8")):
        if path.startswith("../blob/HEAD/"):
            continue  # a form for GitHub; tests/project/test_github.py checks it
        target = document.parent / path if path else document
        assert target.exists(), path
        assert not anchor or anchor in list_anchors(target), f"{path}#{anchor}"


def test_every_page_is_linked() -> None:
    """Each page of docs/ and each example can be reached from the README."""
    reached = {ROOT / "README.md"}
    found = list(reached)
    while found:
        document = found.pop()
        for path, _ in list_links(document.read_text(encoding="utf-8")):
            target = (document.parent / path).resolve()
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                found.append(target)
    pages = {path.resolve() for path in DOCUMENTS if path.parent.name != ".github"}
    assert pages - reached == {(ROOT / "tests" / "data" / "README.md").resolve()}


def test_no_registry_is_named() -> None:
    """No file has the address of a package registry: users configure their own."""
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - git is wherever the user has it
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    hosts = re.compile("pypi" + r"\.org|pythonhosted" + r"\.org|registry\.npmjs")
    for name in listed.stdout.split():
        content = (ROOT / name).read_bytes().decode(errors="ignore")
        assert not hosts.search(content), name


def test_messages_in_troubleshooting_exist_in_the_code() -> None:
    """Each message of the table begins as in the code, so that users find it by searching."""
    table = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    files = (ROOT / "target_segment_objects").glob("**/*.py")
    code = " ".join("".join(file.read_text(encoding="utf-8") for file in files).split())
    code = re.sub(r'" f?"', "", code)
    messages = re.findall(r"^\| `(?:… )?([^…`]{8,}?)(?: ?…[^`]*| [45]\.\.)?`", table, re.MULTILINE)
    assert len(messages) > 15
    for message in messages:
        assert message.rstrip(" :") in code, message
