"""Measure what habits of taps cost, and how the cost of a record grows with them.

`python -m benchmarks.growth` prints the CPU time of a record for each habit at several sizes,
without the time of the start, and its ratio to the plain case of the same records. With `--against`
another checkout, both are measured in turn, and the ratio of the two is printed.
"""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.runs import OURS, Input, bench_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.runs import Bench, Candidate

_ROUNDS: Final = 3
_SEED: Final = 1


@dataclasses.dataclass(frozen=True)
class Case:
    """An input with a habit of a tap.

    Attributes:
        habit: What the tap does.
        size: How much of it; its unit is said by the habit.
        records: The number of records.
        lines: The messages.
        plain: The habit that it is compared with, at the same size or at any.
        config: Settings of the target.
    """

    habit: str
    size: int
    records: int
    lines: Iterable[str]
    plain: str = "plain"
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# The inputs


def list_cases() -> Iterator[Case]:
    """Yield the cases, each after the one that it is compared with."""
    yield Case("plain", 0, 50_000, _alternate(50_000, ["s"]))
    for columns in (100, 500, 1000):
        count = 2_000_000 // columns  # compiling a wide SCHEMA takes as long as many records
        names = [f"c{number}" for number in range(columns)]
        shuffled = random.Random(_SEED).sample(names, columns)  # noqa: S311 - not for security
        yield Case("columns", columns, count, _wide(count, names, names))
        yield Case("shuffled columns", columns, count, _wide(count, names, shuffled), "columns")
        yield Case(
            "columns, with a ledger",
            columns,
            count,
            _wide(count, names, names),
            "columns",
            {"ledger_path": "{output}/ledger.sqlite"},
        )
    for names_known in (1000, 5000, 20_000):
        yield Case(
            "10 of N undeclared properties", names_known, 10_000, _sparse(10_000, names_known)
        )
    members = '{"type":"RECORD","stream":"s","time_extracted":"%d","record":%s}'
    yield Case("time before the record", 0, 50_000, _form(50_000, ["s"], members))
    members = '{"record":%.0s%s,"stream":"s","type":"RECORD"}'
    yield Case("sorted members", 0, 50_000, _form(50_000, ["s"], members))
    for bookmarks in (1, 100):
        state = {"bookmarks": {f"b{number}": number for number in range(bookmarks)}}
        message = json.dumps({"type": "STATE", "value": state})
        yield Case("STATE after each record, bookmarks", bookmarks, 30_000, _between(message))
    schema = _schema("s", _PROPERTIES)
    yield Case("SCHEMA again after each record", 0, 30_000, _between(schema))
    version = json.dumps({"type": "ACTIVATE_VERSION", "stream": "s", "version": 1})
    yield Case("ACTIVATE_VERSION after each record", 0, 30_000, _between(version))
    for streams in (100, 1000):
        names = [f"s{number}" for number in range(streams)]
        yield Case("streams that alternate", streams, 100_000, _alternate(100_000, names))
    yield Case(
        "four streams of one collection that alternate",
        4,
        50_000,
        _alternate(50_000, ["a", "b", "c", "d"]),
        config={"collection_map": dict.fromkeys("abcd", "shared")},
    )
    for streams in (1, 1000):
        names = [f"s{number}" for number in range(streams)]
        yield Case(
            "rejects, streams",
            streams,
            20_000,
            _reject(20_000, names),
            config={
                "invalid_records": "dead_letter",
                "dead_letter_path": "{output}/rejects.singer",
                "max_invalid_records": 1_000_000,
            },
        )
    for columns in (200, 1600):
        names = [f"c{number}" for number in range(columns)]
        count = 640_000 // columns
        yield Case(
            "columns of 100 bytes", columns, count, _wide(count, names, names, text="x" * 100)
        )
    yield Case("no types fit", 0, 20_000, _unfitting(20_000))
    yield Case(
        "no types fit, with an expression",
        0,
        20_000,
        _unfitting(20_000),
        config={"stream_maps": {"s": {"name": "name.upper()"}}},
    )


_PROPERTIES: Final[dict[str, Any]] = {
    "id": {"type": "integer"},
    "name": {"type": ["string", "null"]},
    "amount": {"type": ["number", "null"]},
    "at": {"type": ["string", "null"], "format": "date-time"},
    "count": {"type": ["integer", "null"]},
    "is_open": {"type": ["boolean", "null"]},
}


def _schema(stream: str, properties: dict[str, Any], key: str = "id") -> str:
    schema = {"type": "object", "properties": properties}
    message = {"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": [key]}
    return json.dumps(message)


def _record(number: int) -> str:
    return (
        f'{{"id":{number},"name":"name {number}","amount":{number % 977}.25,'
        f'"at":"2024-01-31T10:00:00Z","count":{number % 13},"is_open":true}}'
    )


def _message(stream: str, record: str) -> str:
    return f'{{"type":"RECORD","stream":"{stream}","record":{record}}}'


def _alternate(count: int, streams: Sequence[str]) -> Iterator[str]:
    for stream in streams:
        yield _schema(stream, _PROPERTIES)
    for number in range(count):
        yield _message(streams[number % len(streams)], _record(number))


def _form(count: int, streams: Sequence[str], form: str) -> Iterator[str]:
    for stream in streams:
        yield _schema(stream, _PROPERTIES)
    for number in range(count):
        yield form % (number, _record(number))


def _between(message: str) -> Iterator[str]:
    yield _schema("s", _PROPERTIES)
    for number in range(30_000):
        yield _message("s", _record(number))
        yield message


def _wide(
    count: int, declared: Sequence[str], written: Sequence[str], text: str = ""
) -> Iterator[str]:
    text_type = {"type": ["string", "null"]}
    yield _schema("s", {name: text_type for name in declared}, declared[0])  # noqa: C420
    for number in range(count):
        values = (f'"{name}":"{text}{number}"' for name in written)
        yield _message("s", f"{{{','.join(values)}}}")


def _sparse(count: int, names: int) -> Iterator[str]:
    rng = random.Random(_SEED)  # noqa: S311 - not for security
    yield _schema("s", _PROPERTIES)
    for number in range(count):
        others = "".join(f',"u{rng.randrange(names)}":{number}' for _ in range(10))
        yield _message("s", f"{_record(number)[:-1]}{others}}}")


def _reject(count: int, streams: Sequence[str]) -> Iterator[str]:
    for stream in streams:
        yield _schema(stream, _PROPERTIES)
    for number in range(count):
        yield _message(streams[number % len(streams)], f'{{"id":"x{number}"}}')


def _unfitting(count: int) -> Iterator[str]:
    """Yield records with a number key with an exponent, and an undeclared nested object."""
    yield _schema("s", {**_PROPERTIES, "id": {"type": "number"}})
    for number in range(count):
        record = _record(number).replace(f'"id":{number},', f'"id":{number}e1,', 1)
        yield _message("s", f'{record[:-1]},"more":{{"a":{number},"b":["x",{{"y":1.50}}]}}}}')


# The measurements


@click.command(help=__doc__)
@bench_options
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout, to be measured in turn.",
)
def main(bench: Bench, against: Path | None) -> None:
    """Measure each case, and print a table."""
    folder = bench.empty_folder("growth")
    candidates = [OURS]
    if against is not None:
        script = str(against.resolve() / "benchmarks" / "run_ours.py")
        path = f"PYTHONPATH={against.resolve()}"
        command = ("/usr/bin/env", path, sys.executable, script, *OURS.command[3:])
        candidates.append(dataclasses.replace(OURS, name="other", command=command))
    start = _write_input(folder, Case("start", 0, 0, [_schema("s", _PROPERTIES)]))
    starts = [_measure(bench, candidate, start) for candidate in candidates]
    costs: dict[str, float] = {}
    click.echo("| habit | size | µs a record | to plain |" + " to other |" * (against is not None))
    click.echo("| --- | ---: | ---: | ---: |" + " ---: |" * (against is not None))
    for case in list_cases():
        source = _write_input(folder, case)
        times = [
            _measure(
                bench, dataclasses.replace(each, config={**each.config, **case.config}), source
            )
            for each in candidates
        ]
        own, *other = (
            (seconds - before) / case.records * 1e6
            for seconds, before in zip(times, starts, strict=True)
        )
        costs[case.habit] = own
        ratio = own / costs[case.plain]
        cells = [case.habit, str(case.size or ""), f"{own:.1f}", f"{ratio:.1f}"]
        cells += [f"{own / seconds:.2f}" for seconds in other]
        click.echo(f"| {' | '.join(cells)} |")
        source.path.unlink()


def _write_input(folder: Path, case: Case) -> Input:
    path = folder / "input.singer"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in case.lines)
    return Input(case.habit, path, case.records, title=case.habit)


def _measure(bench: Bench, candidate: Candidate, source: Input) -> float:
    """Return the CPU seconds of a run: the median of some."""
    runs = [bench.run_candidate(candidate, source) for _ in range(_ROUNDS)]
    return statistics.median(run.cpu_seconds for run in runs)


if __name__ == "__main__":
    main()
