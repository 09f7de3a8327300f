"""The benchmarks, at a scale so small that they only show that they work."""

from __future__ import annotations

import gzip
import json
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as comparison
from benchmarks import compression, end_to_end, inputs, outputs, page, plot, profiles
from benchmarks.outputs import OutputsDifferError
from benchmarks.runs import CHINOOK, OURS, PLAIN, Bench, Contestant, RunFailedError
from target_segment_objects.mapping.schema import read_property_types
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment.client import Client

if TYPE_CHECKING:
    import click

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"

PEER = """
import json, pathlib, sys
given = pathlib.Path(sys.argv[-1])
if "--config" in sys.argv:
    given = pathlib.Path(json.loads(given.read_text())["destination_path"], "records.jsonl")
with given.open("w") as file:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            file.write(json.dumps(message["record"]) + "\\n")
"""


def bench(folder: Path, *only: str) -> Bench:
    """Return a bench of the smallest scale."""
    return Bench(folder, scale=0.001, rounds=1, only=only, write_page=False)


def run(command: click.Command, folder: Path, *arguments: str) -> str:
    """Run a command at the smallest scale on the smallest input, and return what it prints."""
    small = ("--scale", "0.001", "--rounds", "1", "--input", "A", "--folder", str(folder))
    result = CliRunner().invoke(command, [*small, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def put_peer(folder: Path, name: str) -> None:
    """Put a stand-in where a peer's program is once it has been installed."""
    program = folder / "peers" / name / "bin" / name.rpartition("-")[0]
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\n{PEER}", encoding="utf-8")
    program.chmod(0o755)


def write_objects(folder: Path, *objects: dict[str, Any]) -> Path:
    """Write a file of objects, as it would be uploaded, into a new folder."""
    folder.mkdir()
    lines = "".join(f"{json.dumps(one)}\n" for one in objects)
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def an_object(**properties: object) -> dict[str, Any]:
    """Return an object."""
    return {"id": "1", "collection": "things", "properties": properties}


# Inputs


@pytest.mark.parametrize(("shape", "fields"), [(inputs.A, 12), (inputs.B, 40), (inputs.C, 6)])
def test_input_has_its_fields(shape: inputs.Shape, fields: int) -> None:
    """Each record has what its schema declares, at every level, and as many leaves as is said."""
    lines = [json.loads(line) for line in inputs.lines(shape, 100)]
    records = [line["record"] for line in lines if line["type"] == "RECORD"]
    assert len(records) == 100
    assert len(read_property_types(shape.schema)) == fields
    assert all(record.keys() == shape.properties.keys() for record in records)


def test_same_seed_makes_the_same_input() -> None:
    """The same seed makes the same lines, another one makes others."""
    made = [list(inputs.lines(inputs.B, 50, seed=seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_long_input_has_texts_of_10_kb() -> None:
    """A record of C has a text of about 10,000 characters, and no two have the same."""
    lines = [json.loads(line) for line in inputs.lines(inputs.C, 20)]
    texts = [line["record"]["bodyText"] for line in lines if line["type"] == "RECORD"]
    assert all(8_000 < len(text) <= 10_000 for text in texts)
    assert len(set(texts)) == 20


def test_streams_take_turns() -> None:
    """With several streams, each has its SCHEMA, and their records take turns."""
    lines = [json.loads(line) for line in inputs.lines(inputs.A, 9, streams=3)]
    schemas = [line["stream"] for line in lines if line["type"] == "SCHEMA"]
    records = [line["stream"] for line in lines if line["type"] == "RECORD"]
    assert len(set(schemas)) == 3
    assert records == schemas * 3
    assert lines[-1]["type"] == "STATE"


# The gate


@pytest.mark.parametrize("name", ["B", "C", CHINOOK])
def test_ours_and_the_plain_target_make_the_same(tmp_path: Path, name: str) -> None:
    """Of each input, both make the same objects, all of them; of A, see `test_comparison`."""
    a_bench = bench(tmp_path, name)
    source = a_bench.chinook() if name == CHINOOK else a_bench.input(a_bench.shapes[0])
    ours, plain = (a_bench.run(contestant, source).output for contestant in (OURS, PLAIN))
    outputs.check_objects(ours, plain)
    assert sum(1 for _ in outputs.object_lines(ours)) == source.records


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (an_object(a=1), an_object(a=2)),
        (an_object(a=1), an_object(a=1.0)),
        (an_object(a=1), an_object(a=True)),
        (an_object(a=1), an_object(a="1")),
        (an_object(a=1), an_object(a=1, b=None)),
        (an_object(a="2024-01-01T00:00:00Z"), an_object(a="2024-01-01T00:00:00+01:00")),
        (an_object(a=1), an_object(a=1) | {"id": "2"}),
        (an_object(a=1), an_object(a=1) | {"collection": "others"}),
    ],
)
def test_gate_is_shut_for_objects_that_differ(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Another value, type, property, id or collection stops the benchmark."""
    ours, theirs = write_objects(tmp_path / "1", one), write_objects(tmp_path / "2", other)
    with pytest.raises(OutputsDifferError):
        outputs.check_objects(ours, theirs)


def test_gate_is_shut_for_missing_and_misplaced_objects(tmp_path: Path) -> None:
    """One object less, or two in another order, stop the benchmark."""
    first, second = an_object(a=1), an_object(a=2)
    both = write_objects(tmp_path / "both", first, second)
    for number, others in enumerate([(first,), (second, first)]):
        with pytest.raises(OutputsDifferError, match="objects of things"):
            outputs.check_objects(both, write_objects(tmp_path / str(number), *others))


def test_gate_is_open_for_the_same_instant(tmp_path: Path) -> None:
    """A time may be written in two ways."""
    outputs.check_objects(
        write_objects(tmp_path / "1", an_object(a="2024-01-01T00:00:00.000000+00:00")),
        write_objects(tmp_path / "2", an_object(a="2024-01-01T00:00:00+00:00")),
    )


def test_gate_is_shut_for_warehouses_that_differ(tmp_path: Path) -> None:
    """What counts is what is left after merging: the order of two versions makes a difference."""
    first, second = an_object(a=1), an_object(a=2)
    ours = write_objects(tmp_path / "1", first, second)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(OutputsDifferError, match="rows"):
        outputs.check_warehouses(ours, write_objects(tmp_path / "2", second, first), scratch)


def test_gate_is_shut_for_records_that_are_lost(tmp_path: Path) -> None:
    """An output that lacks a record of the input stops the benchmark."""
    source = tmp_path / "input"
    inputs.write(source, inputs.A, 3)
    kept = list(outputs.records(source))[:2]
    with pytest.raises(OutputsDifferError, match="records"):
        outputs.check_records(write_objects(tmp_path / "1", *kept), source)


# The commands


@pytest.mark.slow
def test_comparison(tmp_path: Path) -> None:
    """The whole comparison runs, with stand-ins for what comes from PyPI, and prints its tables."""
    put_peer(tmp_path, "target-jsonl-0.1.4")
    put_peer(tmp_path, "target-stitch-4.0.3")
    printed = run(comparison.main, tmp_path)
    for row in (
        "**target-segment-objects**, seconds",
        "plain SDK target takes",
        "target-jsonl takes",
        "target-stitch takes",
        "time against the floor",
        "peak memory, one stream",
        "peak memory, 100 streams",
    ):
        assert f"| {row}" in printed


@pytest.mark.slow
def test_end_to_end(tmp_path: Path) -> None:
    """All records land in the sandbox, with and without a slow line; or are taken promptly."""
    printed = run(end_to_end.main, tmp_path, "--latency", "5")
    assert "| A; sandbox |" in printed
    assert "| A; 5 ms, 20 MB/s, sandbox |" in printed
    assert "| A; 5 ms, 20 MB/s |" in printed


@pytest.mark.slow
def test_compression(tmp_path: Path) -> None:
    """Each compressor that is installed has its row, zlib 6 as the measure."""
    printed = run(compression.main, tmp_path)
    rows = {line.split(" | ")[0]: line for line in printed.splitlines()}
    assert "| 100% |" in rows["| zlib 6"]
    assert len([row for row in rows if row.startswith("| zlib ")]) == 4


@pytest.mark.slow
def test_profile(tmp_path: Path) -> None:
    """The functions in which the sampler found the target are told, those of most samples first."""
    pytest.importorskip("pyinstrument")
    printed = run(profiles.main, tmp_path)
    shares = [float(line.split("%")[0]) for line in printed.splitlines() if "%" in line]
    assert len(shares) == 25
    assert shares == sorted(shares, reverse=True)


def test_run_measures_the_contestant_alone(tmp_path: Path) -> None:
    """Peak memory is the contestant's, though this process has more."""
    own = b"x" * 300_000_000
    small = Contestant("small", (sys.executable, "-c", "pass"), {})
    big = Contestant("big", (sys.executable, "-c", "x = b'x' * 100_000_000"), {})
    a_bench = bench(tmp_path)
    source = a_bench.input(inputs.A)
    assert a_bench.run(small, source).peak_bytes < 60_000_000
    assert 100_000_000 < a_bench.run(big, source).peak_bytes < 200_000_000 < len(own)


def test_failure_is_told(tmp_path: Path) -> None:
    """A contestant that fails ends the benchmark with what it said."""
    failing = Contestant("failing", (sys.executable, "-c", "raise SystemExit('why')"), {})
    a_bench = bench(tmp_path)
    with pytest.raises(RunFailedError, match="failing failed with A: why"):
        a_bench.run(failing, a_bench.input(inputs.A))


def test_ours_keeps_what_it_would_have_uploaded(tmp_path: Path) -> None:
    """All objects are in gzip files in the output folder, after the target has removed its own."""
    a_bench = bench(tmp_path)
    source = a_bench.input(inputs.A)
    output = a_bench.run(OURS, source).output
    assert sum(1 for _ in outputs.object_lines(output)) == source.records
    assert {path.suffix for path in output.iterdir()} == {".gz"}


def test_slow_line_is_slow(tmp_path: Path) -> None:
    """Each request takes the latency, and bodies take their time."""
    path = tmp_path / "part.jsonl.gz"
    noise = "".join(f"{number * 7919 % 99991:x}" for number in range(40_000))
    line = json.dumps(
        an_object(**{f"p{n}": noise[n : n + 20_000] for n in range(0, 120_000, 9000)})
    )
    path.write_bytes(gzip.compress(f"{line}\n".encode()))
    slow = end_to_end.Line("slow", 0.1, path.stat().st_size / 0.3)
    sandbox = Sandbox(tmp_path / "w.duckdb", wrap=lambda app: end_to_end.SlowLine(app, slow))
    with sandbox:
        client = Client("key", api_url=sandbox.url)
        began = time.monotonic()
        outputs.upload([path], client)
        assert time.monotonic() - began >= 3 * 0.1 + 0.3
        client.close()


# The page


def test_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    """Only what is between a section's markers is replaced, as often as one likes."""
    path = tmp_path / "page.md"
    path.write_text("Before.\n<!-- a: begin -->\nold\n<!-- a: end -->\nAfter.\n", encoding="utf-8")
    for _ in range(2):
        page.replace(path, "a", "new")
    expected = "Before.\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\nAfter.\n"
    assert path.read_text(encoding="utf-8") == expected
    with pytest.raises(ValueError, match="no section 'b'"):
        page.replace(path, "b", "new")


def test_page_shows_all_inputs() -> None:
    """The page is not written with some of the inputs only."""
    result = CliRunner().invoke(comparison.main, ["--page", "--input", "A"])
    assert result.exit_code == 2
    assert "--page goes without --input" in result.stderr


@pytest.mark.parametrize("section", ["speed", "memory", "end-to-end", "compression"])
def test_page_has_each_section(tmp_path: Path, section: str) -> None:
    """The page in the docs has a place for what each command puts there."""
    copy = tmp_path / "page.md"
    copy.write_bytes(PAGE.read_bytes())
    page.replace(copy, section, "figures")
    assert "figures" in copy.read_text(encoding="utf-8")


def test_plot_has_a_bar_for_each() -> None:
    """The picture is well-formed, and the longest bar of a panel belongs to its largest value."""
    svg = plot.bars(["ours", "theirs", "a < b"], {"A": [3, 1, 6], "B": [100, 50, 200]})
    root = ET.fromstring(svg)  # noqa: S314 - our own
    rects = root.findall("{http://www.w3.org/2000/svg}rect")
    widths = [float(rect.attrib["width"]) for rect in rects[1:]]
    assert len(widths) == 6
    assert widths[0] == widths[3] == pytest.approx(widths[2] / 2)
