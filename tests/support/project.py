"""A copy of this repository, as a ZIP download has it: the tracked files, without `.git`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_project(folder: Path, *, repository: str | None = None) -> Path:
    """Copy the tracked files, with this address of the repository in pyproject.toml, or none."""
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - git is wherever the user has it
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():  # a file may be deleted and not committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    _set_repository(folder / "pyproject.toml", repository)
    return folder


def _set_repository(path: Path, repository: str | None) -> None:
    """Replace the lines of pyproject.toml, which are comments while there is no address."""
    lines = f'[project.urls]\nRepository = "{repository}"\n' if repository else ""
    pattern = r'^(?:# )?\[project\.urls\]\n(?:# )?Repository = ".*"\n'
    text = path.read_text(encoding="utf-8")
    text, count = re.subn(pattern, lines, text, flags=re.MULTILINE)
    assert count == 1
    path.write_text(text, encoding="utf-8")
