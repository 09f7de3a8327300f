"""Measure what stream maps and metadata of the SDK cost: CPU time a record.

`python -m benchmarks.sdk_settings` prints the table; `--page` also writes it to the docs. Each run
is a whole process, without the time to start it. For comparison, the SDK's own transformation of
decoded records is timed alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from singer_sdk.mapper import PluginMapper

from benchmarks import docs_page
from benchmarks.inputs import A, B
from benchmarks.runs import LOWER_BOUND, OURS, bench_options
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.inputs import Shape
    from benchmarks.runs import Bench, Candidate, Input, Run

_SHAPES: Final = (A, B)
_MICROSECONDS: Final = 1_000_000
_TIMED_RECORDS: Final = 2000

_STREAM_MAPS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "a property removed": ({"couponCode": None}, {"commentText": None}),
    "the stream renamed": ({"__alias__": "other"}, {"__alias__": "other"}),
    "a property renamed": (
        {"coupon": "couponCode", "couponCode": None},
        {"comment": "commentText", "commentText": None},
    ),
    "six properties chosen": (
        {
            **{name: name for name in ("orderId", "customerId", "customerName")},
            **{name: name for name in ("orderStatus", "totalAmount", "orderedAt")},
            "__else__": None,
        },
        {
            **{name: name for name in ("accountId", "externalRef", "contact")},
            **{name: name for name in ("billingAddress", "subscription", "createdAt")},
            "__else__": None,
        },
    ),
    "`__filter__`": ({"__filter__": "itemCount > 0"}, {"__filter__": "accountId > 0"}),
    "an expression with `md5`": (
        {"customerEmail": "md5(customerEmail)"},
        {"externalRef": "md5(externalRef)"},
    ),
}
"""The stream maps for A and for B."""


@click.command(help=__doc__)
@bench_options
def main(bench: Bench) -> None:
    """Measure A and B with each setting, and publish the table."""
    shapes = [shape for shape in bench.shapes if shape in _SHAPES]
    columns = [_measure_column(bench, shape) for shape in shapes]
    header = ["CPU time a record, \N{MICRO SIGN}s"]
    for shape in shapes:
        header += [f"{shape.letter}: in all", f"{shape.letter}: the SDK alone"]
    rows = [[name, *itertools.chain(*(column[name] for column in columns))] for name in columns[0]]
    bench.publish_result(
        "sdk-settings",
        f"{docs_page.describe_machine()}; lowest of {format_count(bench.rounds, 'round')}.\n\n"
        f"{docs_page.format_table(header, rows)}",
    )


def _measure_column(bench: Bench, shape: Shape) -> dict[str, tuple[str, str]]:
    """Return the cells of one input: name of the setting to total and the SDK's own time."""
    settings: dict[str, dict[str, Any]] = {"no setting": {}}
    for name, stream_maps in _STREAM_MAPS.items():
        stream_map = stream_maps[_SHAPES.index(shape)]
        settings[f"stream map: {name}"] = {"stream_maps": {shape.stream: stream_map}}
    settings["`add_record_metadata`"] = {"add_record_metadata": True}
    source = bench.prepare_input(shape)
    candidates = [
        dataclasses.replace(OURS, name=f"setting {number}", config={**OURS.config, **config})
        for number, config in enumerate(settings.values())
    ]
    bound, *totals = _measure_totals(bench, [LOWER_BOUND, *candidates], source)
    cells = {"lower bound": (f"{bound:.1f}", "")}
    for (name, config), total in zip(settings.items(), totals, strict=True):
        sdk = _time_transformation(shape, config, source)
        cells[name] = (f"{total:.1f}", f"{sdk:.1f}" if sdk else "")
    return cells


def _measure_totals(bench: Bench, candidates: list[Candidate], source: Input) -> list[float]:
    """Return the CPU time a record of each candidate, without its start, in microseconds."""
    empty = dataclasses.replace(source, path=source.path.with_suffix(".empty"), records=0)
    with source.path.open("rb") as lines:
        empty.path.write_bytes(next(lines))
    started = [*bench.run_rounds(candidates, empty)]
    loaded = [*bench.run_rounds(candidates, source)]
    return [
        (_find_lowest(loaded, number) - _find_lowest(started, number))
        / source.records
        * _MICROSECONDS
        for number in range(len(candidates))
    ]


def _find_lowest(rounds: Sequence[Sequence[Run | None]], number: int) -> float:
    return min(run.cpu_seconds for runs in rounds if (run := runs[number]) is not None)


def _time_transformation(shape: Shape, config: Mapping[str, Any], source: Input) -> float:
    """Return the time that the SDK takes to transform a record, in microseconds."""
    if "stream_maps" not in config:
        return 0
    mapper = PluginMapper(dict(config), logging.getLogger(__name__))
    mapper.register_raw_stream_schema(shape.stream, shape.schema, [shape.key])
    (stream_map,) = mapper.stream_maps[shape.stream]
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    with source.path.open("rb") as lines:
        messages = map(decode, itertools.islice(lines, _TIMED_RECORDS))
        records = [message["record"] for message in messages if message["type"] == "RECORD"]
    began = time.process_time()
    for record in records:
        stream_map.transform(record)
    return (time.process_time() - began) / len(records) * _MICROSECONDS


if __name__ == "__main__":
    main()
