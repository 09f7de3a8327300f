"""Files for GitHub: workflows, hooks and forms agree with the project.

That they are valid, and their actions pinned, is what the hooks check (.pre-commit-config.yaml).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from packaging.version import Version

ROOT: Final = Path(__file__).parents[2]
GITHUB: Final = ROOT / ".github"
WORKFLOWS: Final = sorted((GITHUB / "workflows").glob("*.yml"))
TOOL_SECONDS: Final = 120
RUN_ALL_HOOKS: Final = "pre-commit run --all-files"


def read_text(path: Path) -> str:
    """Return a file's text."""
    return path.read_text(encoding="utf-8")


def load_yaml(path: Path) -> Any:  # noqa: ANN401 - YAML has any type
    """Return the content of a YAML file. The key `on` is `True` in YAML 1.1."""
    return yaml.safe_load(read_text(path))


HOOKS: Final[list[dict[str, Any]]] = [
    hook
    for repository in load_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    for hook in repository["hooks"]
]
JOBS: Final[dict[str, dict[str, Any]]] = {
    f"{workflow.name}: {name}": job
    for workflow in WORKFLOWS
    for name, job in load_yaml(workflow)["jobs"].items()
}
TESTS: Final = JOBS["test.yml: tests"]["strategy"]["matrix"]
CHECKS: Final = JOBS["test.yml: checks"]


def list_files_of_hook(hook: dict[str, Any]) -> list[str]:
    """Return the files for GitHub that a hook checks."""
    names = (path.relative_to(ROOT).as_posix() for path in sorted(GITHUB.rglob("*.yml")))
    return [name for name in names if re.search(hook["files"], name)]


def list_supported_pythons() -> list[str]:
    """Return the Python versions in the package's classifiers, in their order."""
    return re.findall(
        r'"Programming Language :: Python :: (3\.\d+)"', read_text(ROOT / "pyproject.toml")
    )


def join_steps(job: dict[str, Any]) -> str:
    """Return all shell commands of a job."""
    return "\n".join(step.get("run", "") for step in job.get("steps", ()))


def test_every_yaml_file_has_a_schema_check() -> None:
    """Every YAML file for GitHub is checked against a schema by some hook."""
    checked = {
        name
        for hook in HOOKS
        if "schema vendor." in hook["entry"]
        for name in list_files_of_hook(hook)
    }
    assert checked == {path.relative_to(ROOT).as_posix() for path in GITHUB.rglob("*.y*ml")}


def test_tests_run_on_every_python_and_system() -> None:
    """The matrix has the Pythons of the package's classifiers, in order, on three systems."""
    assert TESTS["python-version"] == list_supported_pythons()
    assert TESTS["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert set(TESTS) == {"os", "python-version"}, "no exclusions, no additions"


def test_oldest_and_newest_python_match_the_package() -> None:
    """Checks run on both ends, lowest versions on the oldest, all other jobs on the newest."""
    oldest, *_, newest = list_supported_pythons()
    assert CHECKS["strategy"]["matrix"] == {"python-version": [oldest, newest]}
    pythons = {
        name: step["with"]["python-version"]
        for name, job in JOBS.items()
        for step in job.get("steps", ())
        if step.get("uses", "").startswith("actions/setup-python@")
    }
    outside_matrix = {name: python for name, python in pythons.items() if "matrix" not in python}
    assert outside_matrix.pop("test.yml: lowest") == oldest
    assert set(outside_matrix.values()) == {newest}


def test_permissions_are_minimal() -> None:
    """A workflow has none, a job may read, and two release jobs may write one thing each."""
    assert {load_yaml(workflow)["permissions"] == {} for workflow in WORKFLOWS} == {True}
    extended = {
        name: job["permissions"]
        for name, job in JOBS.items()
        if job["permissions"] not in ({}, {"contents": "read"})
    }
    assert extended == {
        "release.yml: publish": {"id-token": "write"},
        "release.yml: announce": {"contents": "write"},
    }


def test_checkouts_keep_no_token() -> None:
    """A checkout leaves no token that later steps could read."""
    steps = [step for job in JOBS.values() for step in job.get("steps", ())]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def list_steps(job: str) -> list[str]:
    """Return what the steps of a job use, without versions, or their names."""
    return [step.get("uses", step.get("name")).partition("@")[0] for step in JOBS[job]["steps"]]


def find_commands(job: str, step: str) -> str:
    """Return the commands of a step."""
    (found,) = (found for found in JOBS[job]["steps"] if found.get("name", "").startswith(step))
    commands: str = found["run"]
    return commands


def test_release_publishes_what_was_tested() -> None:
    """Only a tag starts a release; it is built after all tests, and compared before it is used."""
    assert load_yaml(GITHUB / "workflows" / "release.yml")[True] == {"push": {"tags": ["v*"]}}
    assert JOBS["release.yml: test"]["needs"] == "version"
    assert JOBS["release.yml: build"]["needs"] == "test"
    publish = JOBS["release.yml: publish"]
    assert (publish["needs"], publish["environment"]) == ("build", "pypi")
    assert list_steps("release.yml: publish") == [
        "actions/download-artifact",
        "Expect the files that were built",
        "pypa/gh-action-pypi-publish",
    ]
    assert list_steps("release.yml: announce")[1:3] == list_steps("release.yml: publish")[:2]
    assert JOBS["test.yml: wheel"]["needs"] == "build"


def test_release_is_built_with_pinned_tools() -> None:
    """Each tool has its hashes, nothing else is installed, and `build` fetches nothing itself."""
    commands = find_commands("release.yml: build", "Build")
    assert commands == find_commands("test.yml: build", "Build")
    assert commands.splitlines() == [
        "python -m pip install --require-hashes --only-binary :all: -r .ci/build-requirements.txt",
        "python -m build --no-isolation",
    ]
    assert "pip install" not in join_steps(JOBS["release.yml: build"]).replace(commands, "")
    text = read_text(ROOT / ".ci" / "build-requirements.txt")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE))
    blocks = re.split(r"^(?=[\w-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pinned)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)
    assert "://" not in text
    asked = re.search(
        r'^requires = \["hatchling>=(.+)"\]$', read_text(ROOT / "pyproject.toml"), re.MULTILINE
    )
    assert asked is not None
    assert Version(pinned["hatchling"]) >= Version(asked[1])


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="the workflow runs on Linux")
@pytest.mark.parametrize(
    ("change", "passes"),
    [
        pytest.param(None, True, id="unchanged"),
        pytest.param("a.whl", False, id="replaced"),
        pytest.param("c.whl", False, id="one more"),
    ],
)
def test_release_stops_if_a_file_was_replaced(
    tmp_path: Path, change: str | None, *, passes: bool
) -> None:
    """The commands that compare a release accept only the very files whose digests were taken."""
    (dist := tmp_path / "dist").mkdir()
    for name in ("a.whl", "b.tar.gz"):
        (dist / name).write_text(name)

    def run(commands: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["bash", "-e", "-c", commands],  # noqa: S607 - as in the workflow
            cwd=dist,
            env=os.environ | variables,
            capture_output=True,
            timeout=TOOL_SECONDS,
            check=False,
        )

    output = tmp_path / "output"
    taken = run(find_commands("release.yml: build", "Take"), GITHUB_OUTPUT=str(output))
    assert taken.returncode == 0
    digests = output.read_text().removeprefix("digests<<END\n").removesuffix("\nEND\n")
    if change is not None:
        (dist / change).write_text("something else")
    built = run(find_commands("release.yml: publish", "Expect"), DIGESTS=digests)
    tested = run(find_commands("release.yml: build", "Expect"))
    assert (built.returncode == 0, tested.returncode == 0) == (passes, passes), built.stderr


@pytest.mark.skipif(os.name != "posix", reason="the workflow runs on Linux")
@pytest.mark.parametrize(
    ("tag", "heading", "passes"),
    [
        pytest.param("v{version}", "## [{version}]", True, id="both agree"),
        pytest.param("v{version}.1", "## [{version}]", False, id="another tag"),
        pytest.param("v{version}", "## [9.9.9]", False, id="no heading"),
    ],
)
def test_release_stops_if_tag_and_version_differ(
    tmp_path: Path, tag: str, heading: str, *, passes: bool
) -> None:
    """The commands of the workflow accept a tag only if pyproject.toml and the changelog agree."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    changelog = f"## [Unreleased]\n\n{heading.format(version=read_version())}\n"
    (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", join_steps(JOBS["release.yml: version"])],
        cwd=tmp_path,
        env=os.environ | {"GITHUB_REF_NAME": tag.format(version=read_version())},
        capture_output=True,
        timeout=TOOL_SECONDS,
        check=False,
    )
    assert (done.returncode == 0) == passes


def read_version() -> str:
    """Return the version in pyproject.toml."""
    version = re.search(r'^version = "(.+)"$', read_text(ROOT / "pyproject.toml"), re.MULTILINE)
    assert version is not None
    return version[1]


def test_changelog_has_the_headings_of_releases() -> None:
    """The changes that come with the next release are first; each release has its version."""
    headings = re.findall(r"^## (.*)$", read_text(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.match(r"\[\d+\.\d+\.\d+\]", heading) for heading in headings[1:])


def test_ci_runs_the_hooks_of_a_commit() -> None:
    """`.ci/run` and test.yml run all hooks that a commit runs, and no other check."""
    script = read_text(ROOT / ".ci" / "run")
    assert script.count(RUN_ALL_HOOKS) == 1
    tools = {shlex.split(hook["entry"])[0] for hook in HOOKS}
    assert tools.isdisjoint(re.findall(r"[\w-]+", script)), "a hook's tool is not run a second time"
    manual_hooks = [hook["id"] for hook in HOOKS if "stages" in hook]
    stages = re.findall(rf"{RUN_ALL_HOOKS}(?: --hook-stage manual (\S+))?", join_steps(CHECKS))
    assert stages == ["", *manual_hooks]


def test_hooks_use_tools_of_the_dev_extra() -> None:
    """A hook's tool comes from the extra `dev`; any other is pinned."""
    extra = re.search(
        r"^dev = \[\n(.*?)^\]", read_text(ROOT / "pyproject.toml"), re.DOTALL | re.MULTILINE
    )
    assert extra is not None
    tools = {re.split(r"[\[<>=~]", line.strip(' ",'))[0] for line in extra[1].splitlines()}
    commands = {"lint-imports": "import-linter"}  # the others are called like their package
    for hook in HOOKS:
        if hook["language"] == "unsupported":
            command = shlex.split(hook["entry"])[0]
            assert commands.get(command, command) in tools
            assert "stages" not in hook
        else:
            assert all("==" in package for package in hook["additional_dependencies"])


def test_bug_form_requires_what_helps() -> None:
    """It requires log, `sync_id`, versions, tap and config, and forbids the write key."""
    body = load_yaml(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"]
    required = {part.get("id") for part in body if part.get("validations", {}).get("required")}
    assert {"log", "sync_id", "versions", "tap", "config"} <= required
    labels = {part.get("id"): part["attributes"].get("label") for part in body}
    assert "without `write_key`" in labels["config"]
    confirmation = body[-1]["attributes"]["options"][0]
    assert (confirmation["required"], "write key" in confirmation["label"]) == (True, True)


@pytest.mark.parametrize("name", ["bug.yml", "SECURITY.md", "PULL_REQUEST_TEMPLATE.md"])
def test_referenced_files_and_headings_exist(name: str) -> None:
    """Every file and heading that these texts refer to exists."""
    (text,) = (read_text(path) for path in [ROOT / name, *GITHUB.rglob(name)] if path.is_file())
    links = re.findall(r"\]\(\.\./blob/HEAD/([^)#]+)(?:#([^)]+))?\)", text)
    for target, heading in links:
        headings = re.findall(r"^#+ (.*)$", read_text(ROOT / target), re.MULTILINE)
        assert heading in {"", *(title.lower().replace(" ", "-") for title in headings)}
    named = re.findall(r"`((?:\.github|\.ci|docs|CHANGELOG|README)[\w./-]*)`", text)
    assert links or named
    assert [path for path in named if not (ROOT / path).exists()] == []
