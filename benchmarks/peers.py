"""Others' targets from PyPI, each in an environment of its own.

None of them does what ours does: target-jsonl writes records as they come, target-stitch makes the
bodies that it would send to Stitch, and neither maps nor compresses. They show what users are used
to. (target-csv is not among them: its newest release does not run on a Python that we support.)
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import click

from benchmarks.runs import Contestant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSONL: Final = "target-jsonl"
_REQUIREMENTS: Final = {JSONL: "0.1.4", "target-stitch": "4.0.3"}


def installed(folder: Path) -> Iterator[Contestant]:
    """Yield those that can be had here, installed on first use.

    Args:
        folder: Where the environments are kept.
    """
    for name, version in _REQUIREMENTS.items():
        environment = folder / f"{name}-{version}"
        program = environment / "bin" / name
        try:
            if not program.exists():
                _install(environment, f"{name}=={version}")
        except subprocess.CalledProcessError:
            click.echo(f"{name} {version} cannot be installed here: it is left out.", err=True)
            continue
        yield _contestant(name, str(program))


def _install(environment: Path, requirement: str) -> None:
    click.echo(f"Installing {requirement}", err=True)
    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    for command in (
        (sys.executable, "-m", "venv", "--clear", environment),
        (*pip, "install", requirement),
    ):
        subprocess.run(command, check=True)  # noqa: S603 - nothing in it is anybody else's


def _contestant(name: str, program: str) -> Contestant:
    if name == JSONL:
        return Contestant(name, (program, "--config", "{config}"), {"destination_path": "{output}"})
    return Contestant(name, (program, "--quiet", "--dry-run", "-o", "{output}/bodies.jsonl"), {})
