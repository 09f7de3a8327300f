"""Compare the CPU time of the sandbox for a load with the target's own for the same records.

`python -m benchmarks.sandbox_loading` prints the table; `--page` also writes it to the docs. The
batch files that the target has prepared are sent over HTTP, and the clock stops when the sandbox
has loaded them. The CPU time of the sending client counts as the sandbox's.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import click

from benchmarks import docs_page, outputs
from benchmarks.runs import OURS, bench_options
from target_segment_objects.plurals import format_count
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment.client import Client

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.runs import Bench, Input


@click.command(help=__doc__)
@bench_options
def main(bench: Bench) -> None:
    """Measure all inputs, and publish the table."""
    header = ["", "target, CPU", "sandbox, CPU", "sandbox / target", "objects/s"]
    rows = [_measure_row(bench, bench.prepare_input(shape)) for shape in bench.shapes]
    bench.publish_result(
        "sandbox-loading",
        f"{docs_page.describe_machine()}; {format_count(bench.rounds, 'round')}.\n\n"
        f"{docs_page.format_table(header, rows)}",
    )


def _measure_row(bench: Bench, source: Input) -> list[str]:
    measured = [_measure_times(bench, source) for _ in range(bench.rounds)]
    target, sandbox, seconds = (statistics.median(times) for times in zip(*measured, strict=True))
    ratio = statistics.median(loaded / prepared for prepared, loaded, _ in measured)
    return [
        f"{source.name} ({source.records:,} records)",
        f"{target:.2f} s",
        f"{sandbox:.2f} s",
        f"{ratio:.1f}\N{MULTIPLICATION SIGN}",
        f"{source.records / seconds:,.0f}",
    ]


def _measure_times(bench: Bench, source: Input) -> tuple[float, float, float]:
    """Return the CPU seconds of the target and of the sandbox, and the seconds of the load."""
    prepared = bench.run_candidate(OURS, source)
    warehouse = bench.empty_folder("sandbox") / "warehouse.duckdb"
    files = sorted(prepared.output.iterdir())
    cpu_seconds, seconds = _load_files(warehouse, files, source.records)
    return prepared.cpu_seconds, cpu_seconds, seconds


def _load_files(warehouse: Path, files: list[Path], records: int) -> tuple[float, float]:
    with Sandbox(warehouse) as sandbox:
        client = Client("benchmark", api_url=sandbox.url)
        cpu_began, began = time.process_time(), time.perf_counter()
        outputs.upload_files(files, client)
        loaded = sum(session.objects for session in sandbox.warehouse.sessions())
        cpu_seconds, seconds = time.process_time() - cpu_began, time.perf_counter() - began
        client.close()
    if loaded != records:
        msg = f"{loaded} of {records} records were loaded"
        raise outputs.OutputsDifferError(msg)
    return cpu_seconds, seconds


if __name__ == "__main__":
    main()
