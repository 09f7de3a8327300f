"""Measure what the ledger costs and what it saves: CPU time, memory, file size, objects and calls.

`python -m benchmarks.ledger` prints the tables; `--page` also writes them and their plot to the
docs. At full scale this takes about half an hour, with `--scale 0.1` about three minutes.

Each night is a run of the whole process. CPU time is compared within a round, so that a slow
machine affects both sides. The first night starts without a file, the second one with the file of
the first and 1 % of the rows changed.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks import docs_page, month, nights, plot
from benchmarks.runs import OURS, PAGE, Candidate, Input, bench_options
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.runs import Bench, Run

_SIZES: Final = (100_000, 1_000_000, 5_000_000)
_NIGHT_ROWS: Final = 1_000_000
_CHANGED_SHARE: Final = 0.01
_DEFAULT_BATCH: Final = 100_000
_SMALL_BATCH: Final = 10_000
_MEGABYTE: Final = 1_000_000
_CHURNS: Final = (0.001, 0.01, 0.1)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the ledger costs at one size of the table, in the rounds.

    Attributes:
        rows: Rows of the table.
        first: Microseconds of CPU time a record that the first night takes longer.
        second: The same of the second night.
        megabytes: Peak memory of the second night on top.
        bytes_per_id: Size of the file.
    """

    rows: int
    first: list[float]
    second: list[float]
    megabytes: list[float]
    bytes_per_id: float


@click.command(help=__doc__)
@bench_options
def main(bench: Bench) -> None:
    """Measure, and publish the tables and the plot."""
    costs = [measure_cost(bench, rows, has_text_ids=False) for rows in _SIZES]
    costs_text = [measure_cost(bench, rows, has_text_ids=True) for rows in _SIZES[:2]]
    about = f"{docs_page.describe_machine()}; {format_count(bench.rounds, 'round')}."
    table = _build_cost_table(costs, costs_text)
    bench.publish_result("ledger", f"{about}\n\n{table}")
    bench.publish_result("ledger-night", build_night_table(bench))
    months = {churn: month.simulate_month(bench, churn) for churn in _CHURNS}
    bench.publish_result("ledger-month", _build_month_table(months))
    if bench.writes_page:
        picture = plot.draw_bars(
            ["with a ledger", "without"],
            {f"{churn:.1%} of the rows change": shares for churn, shares in months.items()},
            title="Objects sent in a month, for each row of a table that is read every night",
            unit="objects sent for each row",
            form="{:.1f}",
            has_lower_bound=False,
        )
        PAGE.with_name("ledger.svg").write_text(picture, encoding="utf-8")


def measure_cost(bench: Bench, rows: int, *, has_text_ids: bool) -> Cost:
    """Return what the ledger costs for a table of this size at full scale."""
    count = bench.scale_count(rows)
    first = _prepare_night(bench, count, 0.0, has_text_ids=has_text_ids)
    second = _prepare_night(bench, count, _CHANGED_SHARE, has_text_ids=has_text_ids)
    ledger, base = bench.folder / "ledger.sqlite", bench.folder / "first-night.sqlite"
    with_ledger = _configure(OURS, ledger_path=str(ledger))
    cost = Cost(count, [], [], [], 0.0)
    size = 0
    for number in range(bench.rounds):
        runs: dict[str, Run] = {}
        steps = ("first", "second", "without")
        for step in (steps, ("without", "first", "second"))[number % 2]:
            ledger.unlink(missing_ok=True)
            if step == "second":
                shutil.copy(base, ledger)
            source = first if step == "first" else second
            runs[step] = bench.run_candidate(OURS if step == "without" else with_ledger, source)
            if step == "first":
                size = ledger.stat().st_size
                ledger.replace(base)
            click.echo(f"{count:,} rows, {step}: {runs[step].cpu_seconds:.2f} s", err=True)
        for step, target in (("first", cost.first), ("second", cost.second)):
            extra = runs[step].cpu_seconds - runs["without"].cpu_seconds
            target.append(extra / count * 1e6)
        cost.megabytes.append((runs["second"].peak_bytes - runs["without"].peak_bytes) / _MEGABYTE)
    return dataclasses.replace(cost, bytes_per_id=size / count)


def _prepare_night(
    bench: Bench, rows: int, changed_share: float, *, has_text_ids: bool = False
) -> Input:
    kind = "text" if has_text_ids else "integers"
    bench.folder.mkdir(parents=True, exist_ok=True)
    path = bench.folder / f"night-{rows}-{changed_share}-{kind}.jsonl"
    if not path.exists():
        click.echo(f"Generating {path.name}", err=True)
        partial = path.with_suffix(".partial")
        nights.write_night(partial, rows, changed_share=changed_share, has_text_ids=has_text_ids)
        partial.rename(path)
    return Input(path.stem, path, rows)


def _configure(candidate: Candidate, **config: Any) -> Candidate:  # noqa: ANN401 - any settings
    return dataclasses.replace(candidate, config={**candidate.config, **config})


def _build_cost_table(costs: Sequence[Cost], costs_text: Sequence[Cost]) -> str:
    header = [
        "rows",
        "first night, µs a record",
        "second night, µs a record",
        "memory",
        "bytes an id",
    ]
    rows = [
        [
            f"{cost.rows:,}, {kind}",
            f"{statistics.median(cost.first):+.2f}",
            f"{statistics.median(cost.second):+.2f}",
            f"{statistics.median(cost.megabytes):+.0f} MB",
            f"{cost.bytes_per_id:.0f}",
        ]
        for kind, found in (("integers in order", costs), ("text in random order", costs_text))
        for cost in found
    ]
    return docs_page.format_table(header, rows)


def build_night_table(bench: Bench) -> str:
    """Return a table of what two nights send."""
    rows = bench.scale_count(_NIGHT_ROWS)
    first, second = (_prepare_night(bench, rows, share) for share in (0.0, _CHANGED_SHARE))
    ledger = bench.folder / "ledger.sqlite"
    table = []
    for batch_size in (_DEFAULT_BATCH, _SMALL_BATCH):
        size = bench.scale_count(batch_size)
        candidate = _configure(OURS, ledger_path=str(ledger), batch_size_rows=size)
        ledger.unlink(missing_ok=True)
        for night, source in (("first", first), ("second", second)):
            run = bench.run_candidate(candidate, source)
            sent, calls = _count_sent(run.output.parent / "stderr")
            table.append([f"{night}, batches of {size:,}", f"{sent:,}", f"{calls:,}"])
    return docs_page.format_table([f"{rows:,} rows, night", "objects sent", "API calls"], table)


def _count_sent(log: Path) -> tuple[int, int]:
    """Return the numbers of objects and of API calls that a run's METRIC lines state."""
    objects = calls = 0
    for line in log.read_text(encoding="utf-8").splitlines():
        _, found, text = line.partition("METRIC: ")
        metric = json.loads(text) if found else {}
        if metric.get("metric") == "batch_processing_time":
            tags = metric["tags"]
            objects += tags["objects"]
            calls += 2 + len(tags["part_ids"])  # Start, Finish, and the uploads
    return objects, calls


def _build_month_table(months: dict[float, list[float]]) -> str:
    rows = [
        [f"{churn:.1%}", f"{with_ledger:.2f}", f"{without:.0f}", f"{with_ledger / without:.1%}"]
        for churn, (with_ledger, without) in months.items()
    ]
    header = ["rows that change each night", "with a ledger", "without", "share"]
    return docs_page.format_table(header, rows)


if __name__ == "__main__":
    main()
