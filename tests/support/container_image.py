"""The image of examples/docker, built without Docker: the steps of its Dockerfile in a folder.

`/opt`, `/source`, `/usr/local/bin` and `/data` of the image are below that folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.environments import INSTALL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = ROOT / "examples" / "docker" / "Dockerfile"
_ROOTS: Final = re.compile(r"(?<![\w./])/(?=opt/|source\b|usr/local/bin\b|data\b|samples\b)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction of a Dockerfile.

    Attributes:
        name: Its name, such as `RUN`.
        text: The rest, with continued lines joined.
        stage: Number of its stage, from 1 on.
    """

    name: str
    text: str
    stage: int


def read_instructions() -> list[Instruction]:
    """Return the instructions of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    instructions: list[Instruction] = []
    stage = 0
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, rest = line.split(None, 1)
            stage += name == "FROM"
            instructions.append(Instruction(name, " ".join(rest.split()), stage))
    return instructions


@dataclass(frozen=True, slots=True)
class Image:
    """What the Dockerfile makes, in a folder."""

    folder: Path

    @property
    def data(self) -> Path:
        """The folder that is `/data` in the container."""
        return self.folder / "data"

    def place(self, text: str) -> str:
        """Return a text with the paths of the image below the folder."""
        return _ROOTS.sub(f"{self.folder}/", text)

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """Start a container's command; standard error is in its standard output."""
        (entry,) = (
            json.loads(part.text) for part in read_instructions() if part.name == "ENTRYPOINT"
        )
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.data), **self.environment()}
        return subprocess.Popen(
            [self.folder / "usr/local/bin" / entry[0], *map(self.place, arguments)],
            cwd=self.data,
            env=variables | {name: self.place(value) for name, value in environment.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that the image sets."""
        (text,) = (part.text for part in read_instructions() if part.name == "ENV")
        path = f"{self.folder / 'usr/local/bin'}{os.pathsep}{os.environ['PATH']}"
        pairs = re.findall(r'(\w+)=(?:"([^"]*)"|(\S+))', text)
        return {
            name: self.place(quoted or bare).replace("$PATH", path) for name, quoted, bare in pairs
        }


def build_image(folder: Path, build_arguments: Mapping[str, str]) -> Image:
    """Run what the Dockerfile runs to install, and copy what it copies.

    Args:
        folder: The folder for the image.
        build_arguments: Values for `ARG`; each other one has its default.

    Raises:
        subprocess.SubprocessError: The installation failed, or took too long.
    """
    image = Image(folder)
    for name in ("opt", "usr/local/bin", "data", "source"):
        (folder / name).mkdir(parents=True)
    for path in list_context():
        target = folder / "source" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    arguments: dict[str, str] = {}
    for part in read_instructions():
        if part.name == "ARG":
            name, _, default = part.text.partition("=")
            arguments[name] = build_arguments.get(name, default.strip('"'))
        elif part.name == "RUN" and part.stage == 1:
            subprocess.run(
                ["/bin/sh", "-e", "-c", image.place(part.text)],
                env=os.environ
                | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **arguments},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=True,
                timeout=INSTALL_SECONDS,
            )
        elif part.name == "COPY" and "--from" not in part.text and part.stage == 2:
            _, *sources, target_folder = part.text.split()
            for source in sources:
                shutil.copy(folder / "source" / source, image.place(target_folder))
    shutil.rmtree(folder / "source")  # it is not in the last stage
    return image


def list_context() -> Iterator[Path]:
    """Yield the files that the ignore file lets Docker send; its first rule excludes all others."""
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8")
    first, *rules = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    assert first == "*"
    for rule in rules:
        if rule.startswith("!"):
            path = ROOT / rule[1:]
            assert path.exists(), rule
            files = path.rglob("*") if path.is_dir() else [path]
            yield from (
                file for file in files if file.is_file() and "__pycache__" not in file.parts
            )
