"""Run candidates as whole processes, one at a time, in rounds.

A candidate reads its input from standard input, which is a file, and writes its output to a folder
of its own. Its standard output and standard error go to files beside that folder.
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

from benchmarks import docs_page, inputs, ours, parquet_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.inputs import Shape

ROOT: Final = Path(__file__).parent.parent
CHINOOK: Final = "Chinook"
PARQUET: Final = "E"
PAGE: Final = ROOT / "docs" / "benchmark-results.md"
_CHINOOK_FILE: Final = ROOT / "tests" / "data" / "chinook.singer.gz"
_FOLDER: Final = ROOT / "build" / "benchmarks"
_MAX_SHOWN_CHARACTERS: Final = 2000
_PARQUET_RECORDS: Final = 1_000_000
_DIGEST_CHARACTERS: Final = 12
_MAX_REPEATED_SECONDS: Final = 10  # else each round would take minutes


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A program that reads a Singer file.

    Attributes:
        name: Its name in tables.
        command: The command; `{config}` is its configuration file, and `{output}` the folder for
            its output.
        config: Its configuration; a value may contain `{output}` or `{spool}`.
        unsupported: Names of the inputs that it cannot load.
    """

    name: str
    command: tuple[str, ...]
    config: Mapping[str, Any]
    unsupported: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Input:
    """A Singer file.

    Attributes:
        name: Its name in tables.
        path: Its path.
        records: Number of its records.
        streams: Number of its streams, whose records alternate.
        title: Its description.
    """

    name: str
    path: Path
    records: int
    streams: int = 1
    title: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of one run, as a whole process.

    Attributes:
        seconds: Time from its start to its end.
        cpu_seconds: CPU time of all its threads.
        peak_bytes: Peak memory.
        output: The folder of its output, until the candidate's next run.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: Path


class RunFailedError(Exception):
    """A candidate exited with an error."""


OURS: Final = Candidate(
    "target-segment-objects",
    (sys.executable, "-m", "benchmarks.run_ours", "--config", "{config}"),
    # Nothing listens at this address: without the replaced client, nothing would be sent.
    {"write_key": "none", "api_url": "http://127.0.0.1:9", "spool_dir": "{spool}"},
)
PLAIN: Final = Candidate(
    "plain SDK target",
    (sys.executable, "-m", "benchmarks.plain_target", "--config", "{config}"),
    {"output_path": "{output}"},
)
LOWER_BOUND: Final = Candidate(
    "lower bound", (sys.executable, "-m", "benchmarks.lower_bound", "{output}"), {}
)


class Bench:
    """The working folder and the scale of a benchmark.

    Args:
        folder: Folder of the inputs, the outputs and the environments of other targets.
        scale: Share of the records at full scale.
        rounds: Number of runs of each candidate.
        input_names: Names of the inputs to use; empty for all.
        write_page: Whether results are written to the docs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scale: float,
        rounds: int,
        input_names: Sequence[str],
        write_page: bool,
    ) -> None:
        self.folder = folder
        self.rounds = rounds
        self.shapes = [
            shape for shape in inputs.SHAPES if not input_names or shape.letter in input_names
        ]
        self.has_all = not input_names
        self.has_parquet = not input_names or PARQUET in input_names
        self.has_chinook = not input_names or CHINOOK in input_names
        self.writes_page = write_page
        self._scale = scale

    def scale_count(self, records: int) -> int:
        """Return the number of records for a number at full scale."""
        return max(1, round(records * self._scale))

    def prepare_inputs(self, max_records: int | None = None) -> list[Input]:
        """Return all inputs that are used.

        Args:
            max_records: The most records of a generated input; None for that of the scale.
        """

        def count_records(records: int) -> int:
            scaled = self.scale_count(records)
            return scaled if max_records is None else min(scaled, max_records)

        sources = [
            self.prepare_sized_input(shape, count_records(shape.records)) for shape in self.shapes
        ]
        if self.has_parquet:
            sources.append(self.prepare_parquet(count_records(_PARQUET_RECORDS)))
        if self.has_chinook:
            sources.append(self.prepare_chinook())
        return sources

    def prepare_input(
        self, shape: Shape, records: int | None = None, *, streams: int | None = None
    ) -> Input:
        """Return an input. It is generated unless it exists.

        Args:
            shape: The kind of its records.
            records: Number of records at full scale; `None` for the shape's own number.
            streams: Number of streams, whose records alternate; `None` for the shape's own number.
        """
        count = self.scale_count(shape.records if records is None else records)
        return self.prepare_sized_input(shape, count, streams=streams)

    def prepare_sized_input(
        self, shape: Shape, records: int, *, streams: int | None = None
    ) -> Input:
        """Return an input of exactly this number of records."""
        streams = streams or shape.streams
        path = self._inputs_folder() / f"{shape.letter}-{records}-{streams}.jsonl"
        if not path.exists():
            click.echo(f"Generating {path.name}", err=True)
            partial = path.with_suffix(".partial")
            inputs.write_input(partial, shape, records, streams=streams)
            partial.rename(path)
        return Input(shape.letter, path, records, streams, shape.title)

    def prepare_chinook(self) -> Input:
        """Return the sample database: small, eleven streams."""
        path = self._inputs_folder() / "chinook.jsonl"
        return Input(
            CHINOOK, path, inputs.unzip_input(_CHINOOK_FILE, path), title="a small database"
        )

    def prepare_parquet(self, records: int | None = None) -> Input:
        """Return the input of Parquet files. It is generated unless it exists.

        Args:
            records: Number of rows; `None` for that of the full scale, scaled.
        """
        count = self.scale_count(_PARQUET_RECORDS) if records is None else records
        path = self._inputs_folder() / f"{PARQUET}-{count}.jsonl"
        if not path.exists():
            click.echo(f"Generating {path.name}", err=True)
            parquet_input.write_parquet_input(path, inputs.A, count, seed=inputs.SEED)
        return Input(PARQUET, path, count, title="the fields of A, from Parquet files")

    def run_candidate(self, candidate: Candidate, source: Input) -> Run:
        """Run a candidate once.

        Raises:
            RunFailedError: It exited with an error.
        """
        folder = self.empty_folder("runs", candidate.name.replace(" ", "-"))
        output, result, config = folder / "output", folder / "result.json", folder / "config.json"
        paths = {"output": output, "config": config, "spool": folder}
        output.mkdir()
        config.write_text(json.dumps(_fill_placeholders(candidate.config, paths)), encoding="utf-8")
        command = [part.format_map(paths) for part in candidate.command]
        environment = {**os.environ, ours.OUTPUT: str(output)}
        # An installed target is compiled. Without this, ours would be compiled in each run.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        os.sync()  # otherwise this run would pay for writing back the files of the previous one
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
                env=environment,
                check=True,
            )
        measured = json.loads(result.read_text(encoding="utf-8"))
        if measured.pop("exit_code"):
            log = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
            msg = f"{candidate.name} failed with {source.name}: {log[-_MAX_SHOWN_CHARACTERS:]}"
            raise RunFailedError(msg)
        return Run(output=output, **measured)

    def run_rounds(
        self, candidates: Sequence[Candidate], source: Input
    ) -> Iterable[list[Run | None]]:
        """Yield the runs of each round, in the order of the candidates.

        Each round starts with another candidate, so that none always runs after the same one. A run
        is None if the candidate cannot load the input, or, but for the first candidate, if it took
        long in an earlier round.
        """
        remaining = [item for item in candidates if source.name not in item.unsupported]
        for number in range(self.rounds):
            first = number % len(remaining)
            runs = {}
            for candidate in (*remaining[first:], *remaining[:first]):
                run = runs[candidate] = self.run_candidate(candidate, source)
                progress = (
                    f"{source.name}, round {number + 1}: {candidate.name} {run.seconds:.2f} s"
                )
                click.echo(progress, err=True)
            yield [runs.get(candidate) for candidate in candidates]
            remaining = [
                item
                for item in remaining
                if item is candidates[0] or runs[item].seconds < _MAX_REPEATED_SECONDS
            ]

    def empty_folder(self, *names: str) -> Path:
        """Return an empty folder."""
        folder = self.folder.joinpath(*names)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish_result(self, section: str, text: str) -> None:
        """Print a result, and write it to the docs with `--page`."""
        click.echo(text)
        if self.writes_page:
            docs_page.replace_section(PAGE, section, text)

    def _inputs_folder(self) -> Path:
        """Return the folder of the inputs, which depends on the code that generates them."""
        code = Path(inputs.__file__).read_bytes()
        folder = self.folder / "inputs" / hashlib.sha256(code).hexdigest()[:_DIGEST_CHARACTERS]
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _fill_placeholders(config: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Any]:
    return {
        key: value.format_map(paths) if isinstance(value, str) else value
        for key, value in config.items()
    }


def bench_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the common options to a command, and pass them to it as a `Bench`."""

    @click.option(
        "--scale",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        help="Share of the records at full scale.",
    )
    @click.option(
        "--rounds",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help="Number of runs of each candidate.",
    )
    @click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=_FOLDER,
        show_default="build/benchmarks",
        help="Folder of inputs, outputs and environments of other targets.",
    )
    @click.option(
        "--input",
        "input_names",
        multiple=True,
        type=click.Choice([*(shape.letter for shape in inputs.SHAPES), PARQUET, CHINOOK]),
        help="Use only this input. Can be repeated.",
    )
    @click.option("--page", "write_page", is_flag=True, help="Write the result to the docs.")
    @functools.wraps(command)
    def with_bench(
        *,
        folder: Path,
        scale: float,
        rounds: int,
        input_names: Sequence[str],
        write_page: bool,
        **options: object,
    ) -> None:
        if write_page and input_names:
            raise click.UsageError(
                "The page shows all inputs: --page cannot be combined with --input."
            )
        bench = Bench(
            folder.resolve(),
            scale=scale,
            rounds=rounds,
            input_names=input_names,
            write_page=write_page,
        )
        command(bench, **options)

    return with_bench
