"""Virtual environments for tools that tests install, and the commands in them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import RUN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SCRIPTS = "Scripts" if os.name == "nt" else "bin"
INSTALL_SECONDS = 280


def create_environment(folder: Path, requirement: str) -> Path:
    """Install a requirement into a new environment, and return the folder of its commands.

    Raises:
        subprocess.SubprocessError: The installation failed, or took longer than `INSTALL_SECONDS`.
    """
    # With the pip of this environment: to install another one takes three seconds.
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=RUN_SECONDS
    )
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", folder]
    options = ("--quiet", "--prefer-binary", "--no-compile")
    subprocess.run(
        [*pip, "install", *options, requirement],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=INSTALL_SECONDS,
    )
    return folder / SCRIPTS


def run_command(
    arguments: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout: int = RUN_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command without input; standard error is in its standard output."""
    return subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
