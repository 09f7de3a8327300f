"""The documentation is true: commands run, settings match the code, links work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support import RUN_SECONDS, TARGET

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/*.md", "examples/*/*.md", "samples/*.md")
    for path in sorted(ROOT.glob(pattern))
]


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


def test_contents_list_every_section() -> None:
    """The table of contents links to each section of the README, in order."""
    sections = re.findall(r"^## (.*)$", README, re.MULTILINE)
    contents = re.findall(r"\[([^]]+)\]\(#", README[: README.index("\n## ")])
    assert contents == [title for title in sections if title != "Licence"]


def test_links_to_files_and_headings_work() -> None:
    """Every relative link of the documentation leads to an existing file and heading."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            target = document.parent / link if link else document
            assert target.exists(), f"{document.name}: {link}"
            assert not anchor or anchor in list_anchors(target), f"{document.name}: {link}#{anchor}"


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
