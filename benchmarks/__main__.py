"""Compare the target with others and with the floor, and measure memory and long runs.

`python -m benchmarks` prints the tables, and with `--page` puts them and their plot into the docs.
At full scale this takes about a quarter of an hour; `--scale 0.1` gives an idea in two minutes.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import click

from benchmarks import inputs, outputs, page, peers, plot
from benchmarks.runs import FLOOR, OURS, PAGE, PLAIN, bench_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runs import Bench, Contestant, Input, Run

    Rounds = list[list[Run]]
    """For each round, the run of each contestant."""

_GATE_RECORDS: Final = 2_000
_FEW: Final = 100_000
_MANY: Final = 1_000_000
_STREAMS: Final = 100
_MEGABYTE: Final = 1_000_000
_TIMES: Final = "{:.1f}\N{MULTIPLICATION SIGN}"


@click.command(help=__doc__)
@bench_options
@click.option("--peers/--no-peers", "with_peers", default=True, help="Whether to install others.")
def main(bench: Bench, *, with_peers: bool) -> None:
    """Check, measure, print, and put the results into the docs if that is wanted."""
    others = [PLAIN, *(peers.installed(bench.folder / "peers") if with_peers else ())]
    check(bench, others)
    contestants = [OURS, *others, FLOOR]
    sources = [bench.input(shape) for shape in bench.shapes]
    if bench.has_chinook:
        sources.append(bench.chinook())
    results = {source: list(bench.rounds_of(contestants, source)) for source in sources}
    bench.publish(
        "speed", f"{page.machine()}; {bench.rounds} rounds.\n\n{speed_table(contestants, results)}"
    )
    picture = plot.bars(
        [contestant.name for contestant in contestants],
        {
            f"{shape.letter}: {shape.title}": [
                source.records / statistics.median(seconds) for seconds in _seconds(results[source])
            ]
            # Chinook has none: it is so small that to start is most of it.
            for shape, source in zip(bench.shapes, sources, strict=False)
        },
    )
    if bench.writes_page:
        PAGE.with_suffix(".svg").write_text(picture, encoding="utf-8")
    bench.publish("memory", memory_table(bench))


def check(bench: Bench, others: Sequence[Contestant]) -> None:
    """Check on small inputs that outputs are equal where they should be.

    Raises:
        OutputsDifferError: They are not.
    """
    small = [
        bench.input_of(shape, min(_GATE_RECORDS, bench.scaled(shape.records)))
        for shape in bench.shapes
    ]
    for source in (*small, *([bench.chinook()] if bench.has_chinook else ())):
        ours, plain = bench.run(OURS, source).output, bench.run(PLAIN, source).output
        outputs.check_objects(ours, plain)
        outputs.check_warehouses(ours, plain, bench.empty_folder("gate"))
    for source in small:
        for contestant in (FLOOR, *others):
            if contestant.name in {FLOOR.name, peers.JSONL}:
                outputs.check_records(bench.run(contestant, source).output, source.path)
    click.echo("The outputs are equal where they should be.", err=True)


def speed_table(contestants: Sequence[Contestant], results: dict[Input, Rounds]) -> str:
    """Return times as Markdown, those of others as multiples of ours."""
    header = ["", *(f"{source.name} ({source.records:,} records)" for source in results)]
    rows = [["**target-segment-objects**, seconds"], ["records a second"]]
    for source, rounds in results.items():
        ours = _seconds(rounds)[0]
        rows[0].append(_spread(ours, "{:.2f}"))
        rows[1].append(f"{source.records / statistics.median(ours):,.0f}")
    for number, contestant in enumerate(contestants[1:-1], start=1):
        row = [f"{contestant.name} takes"]
        for rounds in results.values():
            ratios = [runs[number].seconds / runs[0].seconds for runs in rounds]
            row.append(_spread(ratios, _TIMES))
        rows.append(row)
    rows.append(["time against the floor"])
    for rounds in results.values():
        rows[-1].append(_spread([runs[0].seconds / runs[-1].seconds for runs in rounds], _TIMES))
    return page.table(header, rows)


def memory_table(bench: Bench) -> str:
    """Measure memory and long runs, and return them as Markdown."""
    few = bench.input(inputs.A, _FEW)
    many = bench.input(inputs.A, _MANY)
    streams = bench.input(inputs.A, _MANY, streams=_STREAMS)
    peaks: dict[Input, list[int]] = {few: [], many: [], streams: []}
    ratios = []
    rates = []
    for _ in range(bench.rounds):
        runs = {source: bench.run(OURS, source) for source in peaks}
        for source, run in runs.items():
            peaks[source].append(run.peak_bytes)
        rates.append(many.records / runs[many].seconds)
        ratios.append(rates[-1] / (few.records / runs[few].seconds))
    plain = bench.run(PLAIN, streams)
    rows = [
        ["peak memory, one stream", _spread(_megabytes(peaks[many]), "{:.0f} MB")],
        [
            f"peak memory, {_STREAMS} streams that take turns",
            _spread(_megabytes(peaks[streams]), "{:.0f} MB"),
        ],
        ["… of the plain SDK target", f"{plain.peak_bytes / _MEGABYTE:.0f} MB"],
        ["records a second", _spread(rates, "{:,.0f}")],
        [f"… against those with {few.records:,} records", _spread(ratios, "{:.2f}")],
    ]
    return page.table([f"A, {many.records:,} records", ""], rows)


def _megabytes(sizes: Sequence[int]) -> list[float]:
    return [size / _MEGABYTE for size in sizes]


def _seconds(rounds: Rounds) -> list[list[float]]:
    """Return each contestant's times."""
    return [[run.seconds for run in runs] for runs in zip(*rounds, strict=True)]


def _spread(values: Sequence[float], form: str) -> str:
    """Return the median, and from where to where values go."""
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    low, high = (form.format(one) for one in (min(values), max(values)))
    return f"{middle} ({low}…{high})"


if __name__ == "__main__":
    main()
