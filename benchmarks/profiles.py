"""Show where the target's time goes: the functions in which its main thread is found most often.

`python -m benchmarks.profiles` prints it for A, B and C, from samples a millisecond apart.
"""

from __future__ import annotations

import dataclasses
import pstats
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.runs import OURS, bench_options

if TYPE_CHECKING:
    from benchmarks.runs import Bench

_LINES: Final = 25
_SAMPLER: Final = (
    *("-m", "pyinstrument", "--renderer", "pstats", "--show-all"),
    *("--interval", "0.001", "--outfile", "{output}/profile.pstats"),
)


@click.command(help=__doc__)
@bench_options
def main(bench: Bench) -> None:
    """Run the target under a sampler, once for each input, and print what it saw."""
    sampled = dataclasses.replace(
        OURS, name="profiled", command=(sys.executable, *_SAMPLER, *OURS.command[1:])
    )
    for shape in bench.shapes:
        run = bench.run(sampled, bench.input(shape))
        click.echo(f"{shape.letter}: {shape.title}\n{table(run.output / 'profile.pstats')}\n")


def table(profile: Path) -> str:
    """Return the functions that took most, with and without what they call."""
    seen = vars(pstats.Stats(str(profile)))["stats"]
    own = {function: times[2] for function, times in seen.items()}
    total = sum(own.values())
    lines = [" itself  in all"]
    for function in sorted(own, key=own.__getitem__, reverse=True)[:_LINES]:
        path, line, name = function
        where = f"{Path(path).name}:{line} {name}" if line else name
        in_all = min(seen[function][3], total)  # more where a function calls itself
        lines.append(f"{own[function] / total:7.1%} {in_all / total:7.1%}  {where}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
