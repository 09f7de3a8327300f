"""Profile the target: the functions in which its main thread spends the most time.

`python -m benchmarks.profiles` prints them for each input, from one sample per millisecond.
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
    """Run the target under a sampling profiler, once for each input, and print the profile."""
    sampled = dataclasses.replace(
        OURS, name="profiled", command=(sys.executable, *_SAMPLER, *OURS.command[1:])
    )
    for source in bench.prepare_inputs():
        profile = bench.run_candidate(sampled, source).output / "profile.pstats"
        click.echo(f"{source.name}: {source.title}\n{format_profile(profile)}\n")


def format_profile(profile: Path) -> str:
    """Return the functions with the most time of their own, and their time including calls."""
    stats = vars(pstats.Stats(str(profile)))["stats"]
    own = {function: times[2] for function, times in stats.items()}
    total = sum(own.values())
    lines = ["   self    total"]
    for function in sorted(own, key=own.__getitem__, reverse=True)[:_LINES]:
        path, line, name = function
        where = f"{Path(path).name}:{line} {name}" if line else name
        cumulative = min(stats[function][3], total)  # larger if a function calls itself
        lines.append(f"{own[function] / total:7.1%} {cumulative / total:7.1%}  {where}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
