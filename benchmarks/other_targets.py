"""Other targets from PyPI, each in a virtual environment of its own.

None of them does the same work as ours: target-jsonl writes the records unchanged, target-stitch
builds the bodies of its requests, and neither maps nor compresses. They show what users know from
other targets. target-csv is missing because its newest release does not run on our Python versions.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import click

from benchmarks.runs import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSONL: Final = "target-jsonl"
_REQUIREMENTS: Final = {JSONL: "0.1.4", "target-stitch": "4.0.3"}


def install_targets(folder: Path) -> Iterator[Candidate]:
    """Yield the targets that can be installed here. They are installed on first use.

    Args:
        folder: Folder of the environments.
    """
    for name, version in _REQUIREMENTS.items():
        environment = folder / f"{name}-{version}"
        program = environment / "bin" / name
        try:
            if not program.exists():
                _install_target(environment, f"{name}=={version}")
        except subprocess.CalledProcessError:
            click.echo(f"{name} {version} cannot be installed and is left out.", err=True)
            continue
        yield _build_candidate(name, str(program))


def _install_target(environment: Path, requirement: str) -> None:
    click.echo(f"Installing {requirement}", err=True)
    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    for command in (
        (sys.executable, "-m", "venv", "--clear", environment),
        (*pip, "install", requirement),
    ):
        subprocess.run(command, check=True)  # noqa: S603 - fixed commands


def _build_candidate(name: str, program: str) -> Candidate:
    if name == JSONL:
        return Candidate(name, (program, "--config", "{config}"), {"destination_path": "{output}"})
    return Candidate(name, (program, "--quiet", "--dry-run", "-o", "{output}/bodies.jsonl"), {})
