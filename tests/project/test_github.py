"""What GitHub reads is true: workflows, hooks and forms are valid, and agree with the project."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
GITHUB: Final = ROOT / ".github"
WORKFLOWS: Final = sorted((GITHUB / "workflows").glob("*.yml"))
TOOL_SECONDS: Final = 120
RUN_ALL_HOOKS: Final = "pre-commit run --all-files"


def read(path: Path) -> str:
    """Return a file's text."""
    return path.read_text(encoding="utf-8")


def load(path: Path) -> Any:  # noqa: ANN401 - YAML has what it has
    """Return what a YAML file holds; the key `on` is `True`, as YAML 1.1 reads it."""
    return yaml.safe_load(read(path))


HOOKS: Final[list[dict[str, Any]]] = [
    hook
    for repository in load(ROOT / ".pre-commit-config.yaml")["repos"]
    for hook in repository["hooks"]
]
JOBS: Final[dict[str, dict[str, Any]]] = {
    f"{workflow.name}: {name}": job
    for workflow in WORKFLOWS
    for name, job in load(workflow)["jobs"].items()
}
TESTS: Final = JOBS["test.yml: tests"]["strategy"]["matrix"]
CHECKS: Final = JOBS["test.yml: checks"]


def files_of(hook: dict[str, Any]) -> list[str]:
    """Return those of GitHub's files for which a hook runs."""
    names = (path.relative_to(ROOT).as_posix() for path in sorted(GITHUB.rglob("*.yml")))
    return [name for name in names if re.search(hook["files"], name)]


def supported_pythons() -> list[str]:
    """Return the Python versions that the package's classifiers name, as they stand there."""
    return re.findall(
        r'"Programming Language :: Python :: (3\.\d+)"', read(ROOT / "pyproject.toml")
    )


def steps_of(job: dict[str, Any]) -> str:
    """Return all that a job runs in its shell."""
    return "\n".join(step.get("run", "") for step in job.get("steps", ()))


@pytest.mark.parametrize(
    "hook", [hook for hook in HOOKS if files_of(hook)], ids=lambda hook: hook["id"]
)
def test_each_file_passes_its_check(hook: dict[str, Any]) -> None:
    """Workflows, Dependabot's file and the issue forms pass every hook that looks at them."""
    name, *arguments = shlex.split(hook["entry"])
    tool = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if tool is None and "manual" in hook.get("stages", ()):
        pytest.skip(f"{name} comes from GitHub, which not every network reaches; test.yml runs it")
    assert tool is not None, f"{name} is missing: it comes with the extra dev"
    files = files_of(hook) if hook.get("pass_filenames", True) else []
    done = subprocess.run(
        [tool, *arguments, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TOOL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_looked_at_by_a_schema() -> None:
    """No YAML file for GitHub is without a hook that knows its schema."""
    checked = {
        name for hook in HOOKS if "schema vendor." in hook["entry"] for name in files_of(hook)
    }
    assert checked == {path.relative_to(ROOT).as_posix() for path in GITHUB.rglob("*.y*ml")}


def test_the_tests_run_on_every_python_and_system() -> None:
    """The matrix has the Pythons of the package's classifiers, in order, on all three systems."""
    assert TESTS["python-version"] == supported_pythons()
    assert TESTS["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert set(TESTS) == {"os", "python-version"}, "nothing is excluded, nothing beside it"


def test_the_oldest_and_the_newest_python_are_those_of_the_package() -> None:
    """Types are checked at both ends, lowest versions on the oldest, all else on the newest."""
    oldest, *_, newest = supported_pythons()
    assert CHECKS["strategy"]["matrix"] == {"python-version": [oldest, newest]}
    asked = {
        name: step["with"]["python-version"]
        for name, job in JOBS.items()
        for step in job.get("steps", ())
        if step.get("uses", "").startswith("actions/setup-python@")
    }
    by_itself = {name: python for name, python in asked.items() if "matrix" not in python}
    assert by_itself.pop("test.yml: lowest") == oldest
    assert set(by_itself.values()) == {newest}


def test_every_action_is_pinned_by_its_hash() -> None:
    """Each is named by a whole commit hash, with its version beside it; the same one everywhere."""
    pins: dict[str, set[tuple[str, str]]] = {}
    for line in "\n".join(map(read, WORKFLOWS)).splitlines():
        if (used := re.match(r"\s*(?:- )?uses: (.*)", line)) is None:
            continue
        if (own := re.match(r"\./(\S+)", used[1])) is not None:
            assert (ROOT / own[1]).is_file()
            continue
        pinned = re.fullmatch(r"([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", used[1])
        assert pinned is not None, f"not pinned: {line}"
        pins.setdefault(pinned[1], set()).add((pinned[2], pinned[3]))
    assert pins
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


def test_permissions_are_the_least() -> None:
    """A workflow begins with none; a job reads, and two of a release may write one thing each."""
    assert {load(workflow)["permissions"] == {} for workflow in WORKFLOWS} == {True}
    beyond = {
        name: job["permissions"]
        for name, job in JOBS.items()
        if job["permissions"] not in ({}, {"contents": "read"})
    }
    assert beyond == {
        "release.yml: publish": {"id-token": "write"},
        "release.yml: announce": {"contents": "write"},
    }


def test_no_step_keeps_a_token() -> None:
    """A checkout leaves no token behind, where what runs after it could read it."""
    steps = [step for job in JOBS.values() for step in job.get("steps", ())]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_a_release_publishes_what_passed() -> None:
    """Only a tag releases, and nothing is built or fetched between the tests and publishing."""
    assert load(GITHUB / "workflows" / "release.yml")[True] == {"push": {"tags": ["v*"]}}
    assert JOBS["release.yml: test"]["needs"] == "version"
    publish = JOBS["release.yml: publish"]
    assert (publish["needs"], publish["environment"]) == ("test", "pypi")
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert JOBS["test.yml: wheel"]["needs"] == "build"


def test_a_release_finds_the_version() -> None:
    """The lines by which a release knows its version stand in pyproject.toml and CHANGELOG.md."""
    version = re.search(r'^version = "(.+)"$', read(ROOT / "pyproject.toml"), re.MULTILINE)
    assert version is not None
    headings = re.findall(r"^## (.*)$", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.match(r"\[\d+\.\d+\.\d+\]", heading) for heading in headings[1:])


def test_a_commit_and_ci_run_the_same_checks() -> None:
    """`.ci/run` and test.yml run the hooks that a commit runs, all of them, and no other check."""
    script = read(ROOT / ".ci" / "run")
    assert script.count(RUN_ALL_HOOKS) == 1
    tools = {shlex.split(hook["entry"])[0] for hook in HOOKS}
    assert tools.isdisjoint(re.findall(r"[\w-]+", script)), "what a hook runs is not run twice"
    by_hand = [hook["id"] for hook in HOOKS if "stages" in hook]
    asked = re.findall(rf"{RUN_ALL_HOOKS}(?: --hook-stage manual (\S+))?", steps_of(CHECKS))
    assert asked == ["", *by_hand]


def test_the_hooks_use_the_environment_of_the_project() -> None:
    """A hook's tool comes with the extra `dev`, which says its version; any other is pinned."""
    extra = re.search(
        r"^dev = \[\n(.*?)^\]", read(ROOT / "pyproject.toml"), re.DOTALL | re.MULTILINE
    )
    assert extra is not None
    tools = {re.split(r"[\[<>=~]", line.strip(' ",'))[0] for line in extra[1].splitlines()}
    for hook in HOOKS:
        if hook["language"] == "unsupported":
            assert shlex.split(hook["entry"])[0] in tools
            assert "stages" not in hook
        else:
            assert all("==" in package for package in hook["additional_dependencies"])


def test_the_bug_form_asks_for_what_helps() -> None:
    """It requires log, `sync_id`, versions, tap and config, and wants none with the write key."""
    body = load(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"]
    required = {part.get("id") for part in body if part.get("validations", {}).get("required")}
    assert {"log", "sync_id", "versions", "tap", "config"} <= required
    labels = {part.get("id"): part["attributes"].get("label") for part in body}
    assert "without `write_key`" in labels["config"]
    promise = body[-1]["attributes"]["options"][0]
    assert (promise["required"], "write key" in promise["label"]) == (True, True)


@pytest.mark.parametrize("name", ["bug.yml", "SECURITY.md", "PULL_REQUEST_TEMPLATE.md"])
def test_what_is_pointed_at_exists(name: str) -> None:
    """Every file, and every heading of one, that the texts for people name is in the repository."""
    (text,) = (read(path) for path in [ROOT / name, *GITHUB.rglob(name)] if path.is_file())
    links = re.findall(r"\]\(\.\./blob/HEAD/([^)#]+)(?:#([^)]+))?\)", text)
    for target, heading in links:
        headings = re.findall(r"^#+ (.*)$", read(ROOT / target), re.MULTILINE)
        assert heading in {"", *(title.lower().replace(" ", "-") for title in headings)}
    named = re.findall(r"`((?:\.github|\.ci|docs|CHANGELOG|README)[\w./-]*)`", text)
    assert links or named
    assert [path for path in named if not (ROOT / path).exists()] == []
