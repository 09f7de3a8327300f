"""Runs: contestants as whole processes, one at a time, in rounds that take turns.

The rule for others: a contestant is given its input on standard input, from a file, and leaves its
output in a folder of its own; what it says goes to files beside that.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks import inputs, ours, page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.inputs import Shape

ROOT: Final = Path(__file__).parent.parent
CHINOOK: Final = "Chinook"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
_CHINOOK_FILE: Final = ROOT / "tests" / "data" / "chinook.singer.gz"
_FOLDER: Final = ROOT / "build" / "benchmarks"
_SAID_CHARACTERS: Final = 2000
_DIGEST_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """Something that reads a Singer file.

    Attributes:
        name: What tables call it.
        command: What to run; `{config}` and `{output}` stand for its configuration file and for the
            folder where its output goes.
        config: Its configuration; a value may be `{output}`.
    """

    name: str
    command: tuple[str, ...]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Input:
    """A Singer file.

    Attributes:
        name: What tables call it.
        path: Where it is.
        records: How many it has.
        streams: How many streams take turns in it.
    """

    name: str
    path: Path
    records: int
    streams: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took, as a whole process.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of all its threads together.
        peak_bytes: The most memory that it had.
        output: The folder of its output, until the contestant's next run.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: Path


class RunFailedError(Exception):
    """A contestant ended with an error."""


OURS: Final = Contestant(
    "target-segment-objects",
    (sys.executable, "-m", "benchmarks.run_ours", "--config", "{config}"),
    # Nobody listens at this address: should the client not be replaced, nothing is sent.
    {"write_key": "none", "api_url": "http://127.0.0.1:9", "spool_dir": "{spool}"},
)
PLAIN: Final = Contestant(
    "plain SDK target",
    (sys.executable, "-m", "benchmarks.plain_target", "--config", "{config}"),
    {"output_path": "{output}"},
)
FLOOR: Final = Contestant("floor", (sys.executable, "-m", "benchmarks.floor", "{output}"), {})


class Bench:
    """A folder to work in, and how much is to be done."""

    def __init__(
        self, folder: Path, *, scale: float, rounds: int, only: Sequence[str], write_page: bool
    ) -> None:
        """Remember it; nothing is made yet.

        Args:
            folder: For inputs, outputs and the environments of others.
            scale: Share of the records that inputs have at full scale.
            rounds: How often each contestant has its turn.
            only: The names of the inputs to use; none for all.
            write_page: Whether results go into the docs.
        """
        self.folder = folder
        self.rounds = rounds
        self.shapes = [shape for shape in inputs.SHAPES if not only or shape.letter in only]
        self.has_all = not only
        self.has_chinook = not only or CHINOOK in only
        self.writes_page = write_page
        self._scale = scale

    def scaled(self, records: int) -> int:
        """Return how many records of those at full scale are to be read."""
        return max(1, round(records * self._scale))

    def input(self, shape: Shape, records: int | None = None, *, streams: int = 1) -> Input:
        """Return an input, which is made unless it is there.

        Args:
            shape: What its records are like.
            records: How many at full scale; None for as many as the shape has.
            streams: How many streams take turns.
        """
        count = self.scaled(shape.records if records is None else records)
        return self.input_of(shape, count, streams=streams)

    def input_of(self, shape: Shape, records: int, *, streams: int = 1) -> Input:
        """Return an input of so many records at any scale."""
        path = self._inputs() / f"{shape.letter}-{records}-{streams}.jsonl"
        if not path.exists():
            click.echo(f"Making {path.name}", err=True)
            partial = path.with_suffix(".partial")
            inputs.write(partial, shape, records, streams=streams)
            partial.rename(path)
        return Input(shape.letter, path, records, streams)

    def chinook(self) -> Input:
        """Return the sample database, small and of eleven streams."""
        path = self._inputs() / "chinook.jsonl"
        return Input(CHINOOK, path, inputs.unzip(_CHINOOK_FILE, path))

    def run(self, contestant: Contestant, source: Input) -> Run:
        """Run a contestant once.

        Raises:
            RunFailedError: It ended with an error.
        """
        folder = self.empty_folder("runs", contestant.name.replace(" ", "-"))
        output, result, config = folder / "output", folder / "result.json", folder / "config.json"
        places = {"output": output, "config": config, "spool": folder}
        output.mkdir()
        config.write_text(json.dumps(_filled(contestant.config, places)), encoding="utf-8")
        command = [part.format_map(places) for part in contestant.command]
        os.sync()  # or the machine writes back what the one before left, in this one's time
        with (
            source.path.open("rb") as lines,
            (folder / "stdout").open("wb") as stdout,
            (folder / "stderr").open("wb") as stderr,
        ):
            subprocess.run(  # noqa: S603 - our own commands
                [sys.executable, "-IS", ROOT / "benchmarks" / "measure.py", result, *command],
                stdin=lines,
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, ours.OUTPUT: str(output)},
                check=True,
            )
        measured = json.loads(result.read_text(encoding="utf-8"))
        if measured.pop("exit_code"):
            said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
            msg = f"{contestant.name} failed with {source.name}: {said[-_SAID_CHARACTERS:]}"
            raise RunFailedError(msg)
        return Run(output=output, **measured)

    def rounds_of(self, contestants: Sequence[Contestant], source: Input) -> Iterable[list[Run]]:
        """Yield each round's runs, in the order of the contestants.

        Who begins changes from round to round, so that nobody always runs after the same one.
        """
        for number in range(self.rounds):
            first = number % len(contestants)
            runs = {}
            for contestant in (*contestants[first:], *contestants[:first]):
                run = runs[contestant] = self.run(contestant, source)
                said = f"{source.name}, round {number + 1}: {contestant.name} {run.seconds:.2f} s"
                click.echo(said, err=True)
            yield [runs[contestant] for contestant in contestants]

    def empty_folder(self, *names: str) -> Path:
        """Return a folder with nothing in it."""
        folder = self.folder.joinpath(*names)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish(self, section: str, text: str) -> None:
        """Print a result, and put it into the docs if that is wanted."""
        click.echo(text)
        if self.writes_page:
            page.replace(PAGE, section, text)

    def _inputs(self) -> Path:
        """Return the folder of the inputs: another one when the code that makes them is another."""
        code = Path(inputs.__file__).read_bytes()
        folder = self.folder / "inputs" / hashlib.sha256(code).hexdigest()[:_DIGEST_CHARACTERS]
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _filled(config: Mapping[str, Any], places: Mapping[str, Path]) -> dict[str, Any]:
    return {
        key: value.format_map(places) if isinstance(value, str) else value
        for key, value in config.items()
    }


def bench_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have, and hand it a `Bench` made of them."""

    @click.option(
        "--scale",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        help="Share of the records that inputs have at full scale.",
    )
    @click.option(
        "--rounds",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help="How often each contestant has its turn.",
    )
    @click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=_FOLDER,
        show_default="build/benchmarks",
        help="Where inputs, outputs and the environments of others are kept.",
    )
    @click.option(
        "--input",
        "only",
        multiple=True,
        type=click.Choice([*(shape.letter for shape in inputs.SHAPES), CHINOOK]),
        help="Use this input only; may be given more than once.",
    )
    @click.option("--page", "write_page", is_flag=True, help="Put the result into the docs.")
    @functools.wraps(command)
    def with_bench(
        *,
        folder: Path,
        scale: float,
        rounds: int,
        only: Sequence[str],
        write_page: bool,
        **options: object,
    ) -> None:
        if write_page and only:
            raise click.UsageError("The page shows all inputs: --page goes without --input.")
        bench = Bench(
            folder.resolve(), scale=scale, rounds=rounds, only=only, write_page=write_page
        )
        command(bench, **options)

    return with_bench
