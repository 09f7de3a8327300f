"""Other targets from PyPI, each in a virtual environment of its own.

None of them does the same work as ours: target-jsonl writes the records unchanged, target-stitch
builds the bodies of its requests, target-csv writes rows, and none maps or compresses. They show
what users know from other targets.

target-csv is that of MeltanoLabs. As other targets that are written with the SDK, it reads Parquet
if pyarrow is installed, and it needs no database and no account in a cloud for that.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import click

from benchmarks import inputs
from benchmarks.runs import PARQUET, Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CSV: Final = "target-csv"
JSONL: Final = "target-jsonl"
_REQUIREMENTS: Final = {  # by name: the version, and what to install
    JSONL: ("0.1.4", ("target-jsonl==0.1.4",)),
    "target-stitch": ("4.0.3", ("target-stitch==4.0.3",)),
    CSV: ("0.5.0", ("meltanolabs-target-csv==0.5.0", "pyarrow")),
}
_WITHOUT_PARQUET: Final = frozenset({PARQUET})
_WITHOUT_UNDECLARED: Final = frozenset({inputs.D.letter})  # it ends at an undeclared property


def install_targets(folder: Path) -> Iterator[Candidate]:
    """Yield the targets that can be installed in a folder. They are installed on first use."""
    for name, (version, requirements) in _REQUIREMENTS.items():
        environment = folder / f"{name}-{version}"
        program = environment / "bin" / name
        try:
            if not program.exists():
                _install_target(environment, requirements)
        except subprocess.CalledProcessError:
            click.echo(f"{name} {version} cannot be installed and is left out.", err=True)
            continue
        yield _build_candidate(name, str(program))


def _install_target(environment: Path, requirements: Sequence[str]) -> None:
    click.echo(f"Installing {' and '.join(requirements)}", err=True)
    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    commands: tuple[Sequence[str | Path], ...] = (
        (sys.executable, "-m", "venv", "--clear", environment),
        (*pip, "install", *requirements),
    )
    for command in commands:
        subprocess.run(command, check=True)  # noqa: S603 - fixed commands


def _build_candidate(name: str, program: str) -> Candidate:
    with_config = (program, "--config", "{config}")
    if name == JSONL:
        return Candidate(name, with_config, {"destination_path": "{output}"}, _WITHOUT_PARQUET)
    if name == CSV:
        return Candidate(name, with_config, {"output_path": "{output}"}, _WITHOUT_UNDECLARED)
    command = (program, "--quiet", "--dry-run", "-o", "{output}/bodies.jsonl")
    return Candidate(name, command, {}, _WITHOUT_PARQUET)
