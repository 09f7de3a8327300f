"""The documentation is true: commands run, settings match the code, links work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import RUN_SECONDS, TARGET

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
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


def read_section(title: str) -> str:
    """Return the text of a section of the README."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_quick_start_loads_the_sample_and_shows_it(tmp_path: Path) -> None:
    """The last command of the first block loads the sample and reports it; `show` repeats that."""
    load, _ = BLOCK.findall(read_section("Quick start"))
    *_, command = load.split(" &&\n")
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


def test_ci_runs_two_commands_of_the_readme() -> None:
    """`.ci/run` takes them from the README: set-up with a load, and the tests' command."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'quick_start=$(print_readme_block "Quick start")' in script
    assert "run_tests=$(print_readme_block Development)" in script
    assert BLOCK.findall(read_section("Quick start"))[0].startswith("python3 -m venv .venv &&\n")
    assert BLOCK.findall(read_section("Development"))[0].endswith("&&\n  .venv/bin/pytest -q\n")


@pytest.mark.skipif(os.name != "posix", reason=".ci/run needs bash")
@pytest.mark.parametrize("section", ["Quick start", "Development"])
def test_ci_finds_its_commands(section: str) -> None:
    """The function of `.ci/run` prints a section's first block, and fails if there is none."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (function,) = re.findall(
        r"^print_readme_block\(\) \{\n.*?^\}$", script, re.DOTALL | re.MULTILINE
    )
    for title in (section, "No such section"):
        done = subprocess.run(
            ["bash", "-c", f'{function}\nprint_readme_block "{title}"'],  # noqa: S607 - as in CI
            cwd=ROOT,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) == (title == section)
        assert done.stdout == (BLOCK.findall(read_section(section))[0] if title == section else "")


def test_readme_can_be_scanned() -> None:
    """It has fewer than 200 lines, and its contents link to each section, in order."""
    assert len(README.splitlines()) < 200
    sections = re.findall(r"^## (.*)$", README, re.MULTILINE)
    contents = re.findall(r"\[([^]]+)\]\(#", README[: README.index("\n## ")])
    assert contents == [title for title in sections if title != "Licence"]


def test_introduction_says_what_the_target_does_for_you() -> None:
    """After the first sentence come six bullets, then the speed and the cost in a line each."""
    introduction = README[: README.index("\n## ")]
    assert len(re.findall(r"^- \*\*.+?\*\*", introduction, re.MULTILINE)) == 6
    assert len(re.findall(r"^\*\*(?:Speed|Cost):\*\* .*docs/.*$", introduction, re.MULTILINE)) == 2


def test_figures_of_the_readme_are_those_of_the_docs() -> None:
    """Its speed is that of the benchmarks, its saving the example of the ledger's page."""
    introduction = " ".join(README[: README.index("\n## ")].split())
    results = (ROOT / "docs" / "benchmark-results.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| plain SDK target takes \|(.*)$", results, re.MULTILINE)
    measured = [float(times) for times in re.findall(r"([\d.]+)\u00d7(?= \||\s\()", row)]
    claimed = re.search(r"(\d+) to (\d+) times as fast", introduction)
    assert claimed is not None
    assert float(claimed[1]) == pytest.approx(min(measured), rel=0.15)
    assert float(claimed[2]) == pytest.approx(max(measured), rel=0.15)
    (rates,) = re.findall(
        r"^\| records a second \|(.*)$", results.partition("## Memory")[0], re.MULTILINE
    )
    fastest = max(int(rate.replace(",", "")) for rate in re.findall(r"[\d,]+", rates))
    assert "200,000 flat records a second" in introduction
    assert fastest > 170_000
    ledger = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    saving = re.search(r"a month sends ([\d,]+\d) objects instead of ([\d,]+\d)", introduction)
    assert saving is not None
    assert all(f"| {objects}" in ledger for objects in saving.groups())


def test_readme_states_what_is_not_obvious() -> None:
    """Nulls, retention, acceptance and names in a warehouse, and in docs/ their sources."""
    section = read_section("Guarantees and limitations")
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


PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "index.md")
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))


def test_index_lists_each_page_and_each_example() -> None:
    """docs/index.md says which question each of them answers."""
    index = ROOT / "docs" / "index.md"
    rows = re.findall(r"^\| .+ \| .+ \|$", index.read_text(encoding="utf-8"), re.MULTILINE)
    linked = {(index.parent / path).resolve() for path, _ in list_links("\n".join(rows))}
    assert {page.resolve() for page in [*PAGES, *EXAMPLES]} <= linked


@pytest.mark.parametrize(
    "page", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in [*PAGES, *EXAMPLES]]
)
def test_page_links_back(page: Path) -> None:
    """Below its title is a link to the index."""
    title, blank, links, *_ = page.read_text(encoding="utf-8").splitlines()
    assert (title[:2], blank) == ("# ", "")
    (path, _), *_ = list_links(links)
    assert (page.parent / path).resolve() == (ROOT / "docs" / "index.md").resolve()


@pytest.mark.parametrize(
    ("guide", "reference"),
    [
        ("benchmarks", "benchmark-results"),
        ("mapping", "mapping-reference"),
        ("sandbox", "sandbox-rules"),
    ],
)
def test_guide_is_shorter_than_its_reference(guide: str, reference: str) -> None:
    """A guide has at most 2,000 words, and its tables of reference stand on a page of their own."""
    words, others = (
        len((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").split())
        for name in (guide, reference)
    )
    assert words <= 2000 < others


def test_timings_of_workers_stand_once() -> None:
    """What parallel workers save was measured once, and stands on one page."""
    found = [page.name for page in DOCUMENTS if "38.1 s" in page.read_text(encoding="utf-8")]
    assert found == ["scheduling.md"]


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
