"""Compare compressors by size and time on the objects of the inputs A, B and C.

`python -m benchmarks.compression` prints the table; `--page` also writes it to the docs.

Each compressor gets the lines as in a batch file, 64 KB at a time. Its time is the best of all
rounds, because a disturbance can only make a run longer.
"""

from __future__ import annotations

import importlib
import io
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks import docs_page
from benchmarks.outputs import read_object_lines
from benchmarks.runs import OURS, bench_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.runs import Bench

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_PIECE_BYTES: Final = 64 * 1024
_MODULES: Final = (  # name, module, levels
    ("zlib", "zlib", (1, 4, 6, 9)),
    ("zlib-ng", "zlib_ng.zlib_ng", (1, 2, 4, 6)),
    ("isal", "isal.isal_zlib", (0, 1, 2, 3)),
)
_REFERENCE: Final = "zlib 6"
_MEGABIT: Final = 1_000_000 / 8
_NETWORK_MEGABITS: Final = (10, 50, 100, 500)  # per second


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of one compressor with one input.

    Attributes:
        seconds: For each round.
        gzip_bytes: Compressed size.
    """

    seconds: list[float]
    gzip_bytes: int


def installed_compressors() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name and the factory of each installed compressor."""
    for name, module, levels in _MODULES:
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        for level in levels:
            yield f"{name} {level}", _compressor_factory(library, level)


def _compressor_factory(library: Any, level: int) -> Callable[[], Any]:  # noqa: ANN401 - a module like zlib
    return lambda: library.compressobj(level, wbits=_GZIP_WINDOW)


def measure_compressors(lines: bytes, rounds: int) -> dict[str, Measurement]:
    """Compress an input with each compressor in each round."""
    measured: dict[str, Measurement] = {}
    for _ in range(rounds):
        for name, make in installed_compressors():
            began = time.perf_counter()
            size = _count_compressed_bytes(make(), lines)
            seconds = time.perf_counter() - began
            measured.setdefault(name, Measurement([], size)).seconds.append(seconds)
    return measured


def _count_compressed_bytes(compressor: Any, lines: bytes) -> int:  # noqa: ANN401 - as zlib's
    source = io.BytesIO(lines)
    size = 0
    while piece := source.read(_PIECE_BYTES):
        size += len(compressor.compress(piece))
    return size + len(compressor.flush())


def build_table(raw: dict[str, int], results: dict[str, dict[str, Measurement]]) -> str:
    """Return the figures as a Markdown table.

    Args:
        raw: Bytes before compression by input.
        results: Measurements by input and compressor.
    """
    names = list(next(iter(results.values())))
    header = [
        "",
        *(f"{letter}: MB/s" for letter in results),
        *(f"{letter}: size" for letter in results),
    ]
    header += [f"{mbit} Mbit/s" for mbit in _NETWORK_MEGABITS]
    rows = []
    for name in names:
        speeds = [
            f"{raw[letter] / min(measured[name].seconds) / 1e6:,.0f}"
            for letter, measured in results.items()
        ]
        sizes = [
            f"{measured[name].gzip_bytes / measured[_REFERENCE].gzip_bytes:.0%}"
            for measured in results.values()
        ]
        times = [
            f"{_relative_time(name, raw, results, mbit):.2f}\N{MULTIPLICATION SIGN}"
            for mbit in _NETWORK_MEGABITS
        ]
        rows.append([name, *speeds, *sizes, *times])
    return docs_page.format_table(header, rows)


def _relative_time(
    name: str, raw: dict[str, int], results: dict[str, dict[str, Measurement]], mbit: int
) -> float:
    """Return the time to compress and send relative to zlib 6, as the mean of all inputs.

    Compressing and sending overlap, so a long run takes as long as the slower of the two.
    """
    ratios = []
    for letter in raw:
        times = {
            compressor: max(min(measured.seconds), measured.gzip_bytes / (mbit * _MEGABIT))
            for compressor, measured in results[letter].items()
        }
        ratios.append(times[name] / times[_REFERENCE])
    return sum(ratios) / len(ratios)


@click.command(help=__doc__)
@bench_options
def main(bench: Bench) -> None:
    """Measure the compressors and publish the table."""
    raw: dict[str, int] = {}
    results: dict[str, dict[str, Measurement]] = {}
    for shape in bench.shapes:
        run = bench.run_candidate(OURS, bench.prepare_input(shape))
        lines = b"".join(read_object_lines(run.output))
        raw[shape.letter] = len(lines)
        results[shape.letter] = measure_compressors(lines, bench.rounds)
    bench.publish_result(
        "compression", f"{docs_page.describe_machine()}.\n\n{build_table(raw, results)}"
    )


if __name__ == "__main__":
    main()
