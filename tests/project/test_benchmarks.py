"""The benchmarks, at a scale so small that only their function is tested."""

from __future__ import annotations

import gzip
import json
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as comparison
from benchmarks import (
    docs_page,
    end_to_end,
    inputs,
    month,
    outputs,
    plot,
    profiles,
    sandbox_loading,
)
from benchmarks import ledger as ledger_benchmark
from benchmarks.runs import OURS, PARQUET, Bench, Candidate, RunFailedError
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment.client import Client
from tests.support.benchmarks import build_object, create_bench

if TYPE_CHECKING:
    import click

PAGE = Path(__file__).parents[2] / "docs" / "benchmark-results.md"

OTHER_TARGET = """
import csv, json, pathlib, sys
given = pathlib.Path(sys.argv[-1])
if "--config" in sys.argv:
    config = json.loads(given.read_text())
    given = pathlib.Path(config.get("destination_path", given.parent), "records.jsonl")
messages = [json.loads(line) for line in sys.stdin]
records = [message["record"] for message in messages if message["type"] == "RECORD"]
with given.open("w") as file:
    for record in records:
        file.write(json.dumps(record) + "\\n")
if "--config" in sys.argv and "output_path" in config:
    stream = messages[0]["stream"]
    with pathlib.Path(config["output_path"], stream + ".csv").open("w") as file:
        rows = csv.DictWriter(file, records[0])
        rows.writeheader()
        rows.writerows(records)
"""


def run_command(command: click.Command, folder: Path, *arguments: str) -> str:
    """Run a command at the smallest scale on the smallest input, and return what it prints."""
    small = ("--scale", "0.001", "--rounds", "1", "--input", "A", "--folder", str(folder))
    result = CliRunner().invoke(command, [*small, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def install_stand_in(folder: Path, name: str) -> None:
    """Create a stand-in where the program of another target is after its installation."""
    program = folder / "other-targets" / name / "bin" / name.rpartition("-")[0]
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\n{OTHER_TARGET}", encoding="utf-8")
    program.chmod(0o755)


# The commands


@pytest.mark.slow
def test_comparison(tmp_path: Path) -> None:
    """The comparison runs with stand-ins for the targets from PyPI, and prints its tables."""
    install_stand_in(tmp_path, "target-jsonl-0.1.4")
    install_stand_in(tmp_path, "target-stitch-4.0.3")
    install_stand_in(tmp_path, "target-csv-0.5.0")
    printed = run_command(comparison.main, tmp_path)
    for row in (
        "**target-segment-objects**, seconds",
        "plain SDK target takes",
        "target-jsonl takes",
        "target-stitch takes",
        "target-csv takes",
        "time against the lower bound",
        "peak memory, one stream",
        "peak memory, 100 streams",
        "… 1,000 streams",
    ):
        assert f"| {row}" in printed


@pytest.mark.slow
def test_end_to_end(tmp_path: Path) -> None:
    """All inputs and networks are measured."""
    printed = run_command(end_to_end.main, tmp_path, "--latency", "5")
    assert "| A; sandbox |" in printed
    assert "| A; 5 ms, 20 MB/s, sandbox |" in printed
    assert "| A; 5 ms, 20 MB/s |" in printed


@pytest.mark.slow
def test_sandbox_loading(tmp_path: Path) -> None:
    """Each input has a row, and everything was loaded."""
    printed = run_command(sandbox_loading.main, tmp_path)
    assert [line for line in printed.splitlines() if line.startswith("| A (")]


@pytest.mark.slow
def test_profile(tmp_path: Path) -> None:
    """The functions are printed, those with the most samples first."""
    pytest.importorskip("pyinstrument")
    printed = run_command(profiles.main, tmp_path, "--input", PARQUET)
    profiles_by_input = printed.strip().split("\n\n")
    assert [profile[:2] for profile in profiles_by_input] == ["A:", f"{PARQUET}:"]
    for profile in profiles_by_input:
        shares = [float(line.split("%")[0]) for line in profile.splitlines() if "%" in line]
        assert len(shares) == 25
        assert shares == sorted(shares, reverse=True)


def test_run_measures_the_contestant_alone(tmp_path: Path) -> None:
    """Peak memory is the candidate's, although this process has more."""
    own = b"x" * 300_000_000
    small = Candidate("small", (sys.executable, "-c", "pass"), {})
    big = Candidate("big", (sys.executable, "-c", "x = b'x' * 100_000_000"), {})
    bench = create_bench(tmp_path)
    source = bench.prepare_input(inputs.A)
    assert bench.run_candidate(small, source).peak_bytes < 60_000_000
    assert 100_000_000 < bench.run_candidate(big, source).peak_bytes < 200_000_000 < len(own)


def test_candidate_does_not_run_with_an_input_that_it_cannot_load(tmp_path: Path) -> None:
    """It has no run, and its cell in the table has a dash."""
    quick = Candidate("quick", (sys.executable, "-c", "pass"), {})
    failing = Candidate(
        "failing", (sys.executable, "-c", "raise SystemExit(1)"), {}, frozenset({PARQUET})
    )
    bench = create_bench(tmp_path, PARQUET)
    (source,) = bench.prepare_inputs()
    candidates = [quick, failing, quick]
    results = {source: list(bench.run_rounds(candidates, source))}
    assert results[source][0][1] is None
    table = comparison.build_speed_table(candidates, results)
    assert "| failing takes | \N{EN DASH} |" in table


def test_failed_run_is_reported(tmp_path: Path) -> None:
    """A candidate that fails ends the benchmark with its standard error."""
    failing = Candidate("failing", (sys.executable, "-c", "raise SystemExit('why')"), {})
    bench = create_bench(tmp_path)
    with pytest.raises(RunFailedError, match="failing failed with A: why"):
        bench.run_candidate(failing, bench.prepare_input(inputs.A))


def test_our_target_is_compiled_as_an_installed_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python may write bytecode, so that only the first run compiles the target."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = "import sys; sys.exit(sys.dont_write_bytecode)"
    bench = create_bench(tmp_path)
    candidate = Candidate("python", (sys.executable, "-c", code), {})
    bench.run_candidate(candidate, bench.prepare_input(inputs.A))


def test_our_target_keeps_its_batch_files(tmp_path: Path) -> None:
    """All objects are in gzip files in the output folder after the target has exited."""
    bench = create_bench(tmp_path)
    source = bench.prepare_input(inputs.A)
    output = bench.run_candidate(OURS, source).output
    assert sum(1 for _ in outputs.read_object_lines(output)) == source.records
    assert {path.suffix for path in output.iterdir()} == {".gz"}


def test_slow_network_delays_requests(tmp_path: Path) -> None:
    """Requests are delayed by the latency, and bodies by the bandwidth."""
    path = tmp_path / "part.jsonl.gz"
    noise = "".join(f"{number * 7919 % 99991:x}" for number in range(40_000))
    line = json.dumps(
        build_object(**{f"p{n}": noise[n : n + 20_000] for n in range(0, 120_000, 9000)})
    )
    path.write_bytes(gzip.compress(f"{line}\n".encode()))
    slow = end_to_end.Network("slow", 0.1, path.stat().st_size / 0.3)
    sandbox = Sandbox(tmp_path / "w.duckdb", wrap=lambda app: end_to_end.SlowNetwork(app, slow))
    with sandbox:
        client = Client("key", api_url=sandbox.url)
        began = time.monotonic()
        outputs.upload_files([path], client)
        assert time.monotonic() - began >= 3 * 0.1 + 0.3
        client.close()


# The page


def test_page_keeps_the_text_around_a_section(tmp_path: Path) -> None:
    """Only the text between the markers of a section is replaced, any number of times."""
    path = tmp_path / "page.md"
    path.write_text("Before.\n<!-- a: begin -->\nold\n<!-- a: end -->\nAfter.\n", encoding="utf-8")
    for _ in range(2):
        docs_page.replace_section(path, "a", "new")
    expected = "Before.\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\nAfter.\n"
    assert path.read_text(encoding="utf-8") == expected
    with pytest.raises(ValueError, match="no section 'b'"):
        docs_page.replace_section(path, "b", "new")


@pytest.mark.slow
def test_second_night_sends_what_changed(tmp_path: Path) -> None:
    """With a ledger, the second night sends the changed share, in few calls."""
    table = ledger_benchmark.build_night_table(create_bench(tmp_path))
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[-2:]]
    assert cells[0] == ["first, batches of 10", "1,000", "300"]
    assert cells[1][0] == "second, batches of 10"
    assert 0 < int(cells[1][1]) <= 20
    assert int(cells[1][2]) <= 6


@pytest.mark.slow
def test_cost_of_the_ledger_is_measured(tmp_path: Path) -> None:
    """Each figure is one number for each round."""
    cost = ledger_benchmark.measure_cost(create_bench(tmp_path), 1_000_000, has_text_ids=True)
    assert cost.rows == 1000
    assert (len(cost.first), len(cost.second), len(cost.megabytes)) == (1, 1, 1)
    assert 30 < cost.bytes_per_id < 150


def test_a_month_costs_its_changes(tmp_path: Path) -> None:
    """Each night sends what changed and a 45th of the rest; without a ledger, everything."""
    with_ledger, without = month.simulate_month(
        Bench(tmp_path, scale=0.01, rounds=1, input_names=(), write_page=False), churn=0.1
    )
    assert without == month.DAYS
    expected = 1 + 29 * (0.1 + 0.9 / 45)
    assert with_ledger == pytest.approx(expected, rel=0.1)


def test_page_needs_all_inputs() -> None:
    """The page cannot be written with some of the inputs only."""
    result = CliRunner().invoke(comparison.main, ["--page", "--input", "A"])
    assert result.exit_code == 2
    assert "--page cannot be combined with --input" in result.stderr


@pytest.mark.parametrize(
    "section",
    [
        "speed",
        "memory",
        "end-to-end",
        "sandbox-loading",
        "ledger",
        "ledger-night",
        "ledger-month",
    ],
)
def test_page_has_each_section(tmp_path: Path, section: str) -> None:
    """The page in the docs has a section for each command."""
    copy = tmp_path / "page.md"
    copy.write_bytes(PAGE.read_bytes())
    docs_page.replace_section(copy, section, "figures")
    assert "figures" in copy.read_text(encoding="utf-8")


def test_plot_has_a_bar_for_each_candidate() -> None:
    """The SVG is well-formed, and the widths of the bars are proportional to the values."""
    svg = plot.draw_bars(["ours", "theirs", "a < b"], {"A": [3, 1, 6], "B": [100, 50, 200]})
    root = ET.fromstring(svg)  # noqa: S314 - our own SVG
    rects = root.findall("{http://www.w3.org/2000/svg}rect")
    widths = [float(rect.attrib["width"]) for rect in rects[1:]]
    assert len(widths) == 6
    assert widths[0] == widths[3] == pytest.approx(widths[2] / 2)


def test_plot_has_no_bar_without_a_value() -> None:
    """A candidate that cannot load an input is named, with a dash."""
    root = ET.fromstring(plot.draw_bars(["ours", "theirs", "bound"], {"E": [3, None, 6]}))  # noqa: S314 - our own SVG
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 3
    assert {"theirs", "\N{EN DASH}"} <= {element.text for element in root.iter()}


def test_plot_may_show_other_values() -> None:
    """Its title, its unit and the format of its values are given."""
    svg = plot.draw_bars(
        ["ours", "theirs"],
        {"A": [1, 2.5]},
        title="T",
        unit="u",
        form="{:.1f}",
        has_lower_bound=False,
    )
    texts = [element.text for element in ET.fromstring(svg).iter()]  # noqa: S314 - our own SVG
    assert {"T", "A — u", "1.0", "2.5"} <= set(texts)
