"""Compare the target with other targets and with a lower bound, and measure memory and long runs.

`python -m benchmarks` prints the tables; `--page` also writes them and their plot to the docs. At
full scale and with three rounds this takes about 10 minutes, with `--scale 0.1` about 2 minutes.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import click

from benchmarks import docs_page, inputs, other_targets, outputs, plot
from benchmarks.runs import CHINOOK, LOWER_BOUND, OURS, PAGE, PARQUET, PLAIN, bench_options
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runs import Bench, Candidate, Input, Run

    Rounds = list[list[Run | None]]
    """For each round, the run of each candidate that can load the input, in their order."""

_CHECK_RECORDS: Final = 2_000
_SMALL_RECORDS: Final = 100_000
_LARGE_RECORDS: Final = 1_000_000
_STREAMS: Final = 100
_MANY_STREAMS: Final = 1_000
_MANY_STREAMS_RECORDS: Final = 200_000
_MEGABYTE: Final = 1_000_000
_NOT_MEASURED: Final = "\N{EN DASH}"
_RATIO: Final = "{:.1f}\N{MULTIPLICATION SIGN}"


@click.command(help=__doc__)
@bench_options
@click.option(
    "--other-targets/--no-other-targets",
    "with_other_targets",
    default=True,
    help="Whether to install and run other targets.",
)
def main(bench: Bench, *, with_other_targets: bool) -> None:
    """Check the outputs, measure, and publish the results."""
    others = [PLAIN]
    if with_other_targets:
        others += other_targets.install_targets(bench.folder / "other-targets")
    check_outputs(bench, others)
    candidates = [OURS, *others, LOWER_BOUND]
    results = {
        source: list(bench.run_rounds(candidates, source)) for source in bench.prepare_inputs()
    }
    about = f"{docs_page.describe_machine()}; {format_count(bench.rounds, 'round')}."
    bench.publish_result("speed", f"{about}\n\n{build_speed_table(candidates, results)}")
    picture = plot.draw_bars(
        [candidate.name for candidate in candidates],
        {
            f"{source.name}: {source.title}": [
                source.records / statistics.median(seconds) if seconds else None
                for seconds in _times_by_candidate(rounds)
            ]
            for source, rounds in results.items()
            if source.name != CHINOOK  # so small that most of its time is the start of Python
        },
    )
    if bench.writes_page:
        PAGE.with_name("benchmarks.svg").write_text(picture, encoding="utf-8")
    bench.publish_result("memory", build_memory_table(bench))


def check_outputs(bench: Bench, others: Sequence[Candidate]) -> None:
    """Check on small inputs that the candidates' outputs are equal where they should be.

    Raises:
        OutputsDifferError: They differ.
    """
    for source in bench.prepare_inputs(_CHECK_RECORDS):
        ours, plain = (bench.run_candidate(candidate, source).output for candidate in (OURS, PLAIN))
        outputs.check_objects(ours, plain)
        outputs.check_warehouses(ours, plain, bench.empty_folder("check"))
        for candidate in (LOWER_BOUND, *others):
            if source.name in candidate.unsupported:
                continue
            if candidate.name == other_targets.CSV:
                outputs.check_rows(bench.run_candidate(candidate, source).output, ours)
            elif _copies_records(candidate, source):
                outputs.check_records(bench.run_candidate(candidate, source).output, source.path)
    click.echo("The outputs are equal where they should be.", err=True)


def _copies_records(candidate: Candidate, source: Input) -> bool:
    """Return whether the output is the records of the input, in the same order."""
    if source.name in {CHINOOK, PARQUET}:
        return False
    # target-jsonl writes a file for each stream, so the order of several is lost.
    return candidate is LOWER_BOUND or (
        candidate.name == other_targets.JSONL and source.streams == 1
    )


def build_speed_table(candidates: Sequence[Candidate], results: dict[Input, Rounds]) -> str:
    """Return the times as a Markdown table; those of other targets as multiples of ours."""
    header = ["", *(f"{source.name} ({source.records:,} records)" for source in results)]
    rows = [["**target-segment-objects**, seconds"], ["records a second"]]
    for source, rounds in results.items():
        ours = _times_by_candidate(rounds)[0]
        rows[0].append(_format_spread(ours, "{:.2f}"))
        rows[1].append(f"{source.records / statistics.median(ours):,.0f}")
    for number, candidate in enumerate(candidates[1:-1], start=1):
        ratios = (_format_ratios(rounds, number, 0) for rounds in results.values())
        rows.append([f"{candidate.name} takes", *ratios])
    ratios = (_format_ratios(rounds, 0, -1) for rounds in results.values())
    rows.append(["time against the lower bound", *ratios])
    return docs_page.format_table(header, rows)


def build_memory_table(bench: Bench) -> str:
    """Measure memory and long runs, and return a Markdown table."""
    few = bench.prepare_input(inputs.A, _SMALL_RECORDS)
    many = bench.prepare_input(inputs.A, _LARGE_RECORDS)
    streams = bench.prepare_input(inputs.A, _LARGE_RECORDS, streams=_STREAMS)
    many_streams = bench.prepare_input(inputs.A, _MANY_STREAMS_RECORDS, streams=_MANY_STREAMS)
    peaks: dict[Input, list[int]] = {few: [], many: [], streams: [], many_streams: []}
    ratios = []
    rates = []
    for _ in range(bench.rounds):
        runs = {source: bench.run_candidate(OURS, source) for source in peaks}
        for source, run in runs.items():
            peaks[source].append(run.peak_bytes)
        rates.append(many.records / runs[many].seconds)
        ratios.append(rates[-1] / (few.records / runs[few].seconds))
    plain = bench.run_candidate(PLAIN, streams)
    rows = [
        ["peak memory, one stream", _format_spread(_to_megabytes(peaks[many]), "{:.0f} MB")],
        [
            f"peak memory, {_STREAMS} streams in turn",
            _format_spread(_to_megabytes(peaks[streams]), "{:.0f} MB"),
        ],
        [
            f"… {_MANY_STREAMS:,} streams in turn, {many_streams.records:,} records",
            _format_spread(_to_megabytes(peaks[many_streams]), "{:.0f} MB"),
        ],
        [
            f"… {_STREAMS} streams in turn, plain SDK target",
            f"{plain.peak_bytes / _MEGABYTE:.0f} MB",
        ],
        ["records a second", _format_spread(rates, "{:,.0f}")],
        [f"… against a run of {few.records:,} records", _format_spread(ratios, "{:.2f}")],
    ]
    return docs_page.format_table([f"A, {many.records:,} records", ""], rows)


def _to_megabytes(sizes: Sequence[int]) -> list[float]:
    return [size / _MEGABYTE for size in sizes]


def _times_by_candidate(rounds: Rounds) -> list[list[float]]:
    """Return the times of each candidate; none if it cannot load the input."""
    return [[run.seconds for run in runs if run] for runs in zip(*rounds, strict=True)]


def _format_ratios(rounds: Rounds, candidate: int, base: int) -> str:
    """Return the ratios of the times of two candidates, given by their numbers."""
    ratios = [
        run.seconds / other.seconds
        for runs in rounds
        if (run := runs[candidate]) and (other := runs[base])
    ]
    return _format_spread(ratios, _RATIO) if ratios else _NOT_MEASURED


def _format_spread(values: Sequence[float], form: str) -> str:
    """Return the median with the lowest and the highest value."""
    median = form.format(statistics.median(values))
    if len(values) == 1:
        return median
    low, high = (form.format(value) for value in (min(values), max(values)))
    return f"{median} ({low}…{high})"


if __name__ == "__main__":
    main()
