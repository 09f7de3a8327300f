"""Which compression is the best default: bytes to send against time, on the objects of A, B and C.

`python -m benchmarks.compression` prints the table, and with `--page` puts it into the docs.

Each compressor gets the lines as the target's batch files do, 64 KB at a time. Its time is the
best of the rounds, which take turns: what disturbs a run only ever makes it longer.
"""

from __future__ import annotations

import importlib
import io
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks import page
from benchmarks.outputs import object_lines
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
_LINES: Final = (10, 50, 100, 500)  # megabits a second


@dataclass(frozen=True, slots=True)
class Measured:
    """What one compressor did with one input.

    Attributes:
        seconds: For each round.
        gzip_bytes: What came out.
    """

    seconds: list[float]
    gzip_bytes: int


def compressors() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each compressor that is installed here: its name and what makes it."""
    for name, module, levels in _MODULES:
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        for level in levels:
            yield f"{name} {level}", _maker(library, level)


def _maker(library: Any, level: int) -> Callable[[], Any]:  # noqa: ANN401 - a module like zlib
    return lambda: library.compressobj(level, wbits=_GZIP_WINDOW)


def measure(lines: bytes, rounds: int) -> dict[str, Measured]:
    """Compress an input with each compressor, in turn, as often as asked."""
    measured: dict[str, Measured] = {}
    for _ in range(rounds):
        for name, make in compressors():
            began = time.perf_counter()
            size = _compressed_bytes(make(), lines)
            seconds = time.perf_counter() - began
            measured.setdefault(name, Measured([], size)).seconds.append(seconds)
    return measured


def _compressed_bytes(compressor: Any, lines: bytes) -> int:  # noqa: ANN401 - as zlib's
    source = io.BytesIO(lines)
    size = 0
    while piece := source.read(_PIECE_BYTES):
        size += len(compressor.compress(piece))
    return size + len(compressor.flush())


def table(raw: dict[str, int], results: dict[str, dict[str, Measured]]) -> str:
    """Return the figures as Markdown.

    Args:
        raw: Input to bytes before compression.
        results: Input to compressor to what it did.
    """
    names = list(next(iter(results.values())))
    header = ["", *(f"{letter}: MB/s" for letter in results), *(f"{one}: size" for one in results)]
    header += [f"{mbit} Mbit/s" for mbit in _LINES]
    rows = []
    for name in names:
        speeds = [
            f"{raw[letter] / min(one[name].seconds) / 1e6:,.0f}" for letter, one in results.items()
        ]
        sizes = [
            f"{one[name].gzip_bytes / one[_REFERENCE].gzip_bytes:.0%}" for one in results.values()
        ]
        times = [
            f"{_end_to_end(name, raw, results, mbit):.2f}\N{MULTIPLICATION SIGN}" for mbit in _LINES
        ]
        rows.append([name, *speeds, *sizes, *times])
    return page.table(header, rows)


def _end_to_end(
    name: str, raw: dict[str, int], results: dict[str, dict[str, Measured]], mbit: int
) -> float:
    """Return the time to compress and send, against zlib 6; the inputs count alike.

    Compressing and sending overlap, so the slower of the two is what a long run takes.
    """
    ratios = []
    for letter in raw:
        taken = {
            one: max(min(measured.seconds), measured.gzip_bytes / (mbit * _MEGABIT))
            for one, measured in results[letter].items()
        }
        ratios.append(taken[name] / taken[_REFERENCE])
    return sum(ratios) / len(ratios)


@click.command(help=__doc__)
@bench_options
def main(bench: Bench) -> None:
    """Measure, print, and put the table into the docs if that is wanted."""
    raw: dict[str, int] = {}
    results: dict[str, dict[str, Measured]] = {}
    for shape in bench.shapes:
        made = bench.run(OURS, bench.input(shape))
        lines = b"".join(object_lines(made.output))
        raw[shape.letter] = len(lines)
        results[shape.letter] = measure(lines, bench.rounds)
    bench.publish("compression", f"{page.machine()}.\n\n{table(raw, results)}")


if __name__ == "__main__":
    main()
