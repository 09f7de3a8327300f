"""Warnings about the input: empty, a terminal, or without the streams that the settings name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.cli import input_warnings
from target_segment_objects.cli.input_warnings import missing_stream_warnings
from tests.support import TARGET, record_line, schema_line, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

MISSING_USER = (
    "stream_maps names the stream 'user', which was not in the input. Did you mean 'users'?"
)
LINES = [schema_line("users", {"id": {"type": "integer"}}), record_line("users", {"id": 1})]


@pytest.mark.parametrize(
    ("stream_maps", "expected"),
    [
        pytest.param({"users": {}, "__else__": None}, [], id="all in the input"),
        pytest.param({"us*": {}}, [], id="pattern"),
        pytest.param({"people": {"__source__": "users"}}, [], id="copy of a stream"),
        pytest.param({"users": None}, [], id="removed stream"),
        pytest.param(
            {"user": {}},
            [MISSING_USER],
            id="similar name",
        ),
        pytest.param(
            {"zzz": {}},
            ["stream_maps names the stream 'zzz', which was not in the input."],
            id="no similar name",
        ),
        pytest.param(
            {"people": {"__source__": "user"}},
            [MISSING_USER],
            id="source",
        ),
        pytest.param(
            {"ord*": {}},
            ["stream_maps names the stream 'ord*', which was not in the input."],
            id="pattern without match",
        ),
    ],
)
def test_stream_maps_without_a_stream_get_a_warning(
    stream_maps: dict[str, Any], expected: list[str]
) -> None:
    """The warning has the nearest name of a stream that was in the input."""
    warnings = missing_stream_warnings([], stream_maps, sources=["users"], streams=["users"])
    assert list(warnings) == expected


def test_collection_map_uses_the_names_after_stream_maps() -> None:
    """A renamed stream has its new name there."""
    assert list(
        missing_stream_warnings(["people", "users"], {}, sources=["users"], streams=["people"])
    ) == ["collection_map names the stream 'users', which was not in the input."]


def test_full_table_streams_may_have_either_name() -> None:
    """A mistyped one would never find a deleted row."""
    names = {"sources": ["users"], "streams": ["people"]}
    listed = ["users", "people", "user"]
    (warning,) = missing_stream_warnings([], {}, listed, **names)
    assert warning == MISSING_USER.replace("stream_maps", "full_table_streams")


def test_full_table_streams_of_a_run(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path
) -> None:
    """The run warns at its end, as for collection_map."""
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "ledger_path": str(tmp_path / "ledger.sqlite"),
        "full_table_streams": ["user"],
    }
    done = run_target(lines=LINES, config=config)
    assert done.returncode == 0
    assert "full_table_streams names the stream 'user'" in done.stderr


@pytest.mark.parametrize(
    ("settings", "has_effect"),
    [
        ({}, False),
        ({"ledger_path": "ledger.sqlite"}, False),
        ({"ledger_path": "ledger.sqlite", "deleted_records": "mark"}, True),
    ],
    ids=["no ledger", "nothing is marked", "mark"],
)
def test_accept_deletes_without_an_effect(
    sandbox: Sandbox, run_target: RunTarget, settings: dict[str, Any], *, has_effect: bool
) -> None:
    """The option says so, and the run goes on."""
    config = {"write_key": "k", "api_url": sandbox.url, **settings}
    done = run_target("--accept-deletes", lines=LINES, config=config)
    assert done.returncode == 0, done.stderr
    assert ("--accept-deletes has no effect" not in done.stderr) == has_effect


def test_missing_streams_are_reported_at_the_end(sandbox: Sandbox, run_target: RunTarget) -> None:
    """The run is a success; the warnings come last."""
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "collection_map": {"user": "people", "users": "users"},
        "stream_maps": {"user": {"a": "id"}},
    }
    done = run_target(lines=LINES, config=config)
    assert done.returncode == 0
    for line, setting in zip(
        done.stderr.splitlines()[-2:], ("collection_map", "stream_maps"), strict=True
    ):
        assert " WARNING " in line
        assert f"{setting} names the stream 'user'" in line
        assert line.endswith("Did you mean 'users'?")


def test_an_empty_input_gets_a_warning(sandbox: Sandbox, run_target: RunTarget) -> None:
    """A tap that has crashed looks like that; a run with messages has no such warning."""
    config = {"write_key": "k", "api_url": sandbox.url, "collection_map": {"a": "b"}}
    done = run_target(config=config)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].endswith(input_warnings.EMPTY)
    assert "collection_map" not in done.stderr
    done = run_target(lines=LINES, config={"write_key": "k", "api_url": sandbox.url})
    assert input_warnings.EMPTY not in done.stderr


def test_an_unused_dead_letter_path_gets_a_warning(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path
) -> None:
    """Without `invalid_records: dead_letter` it has no effect; with it there is no warning."""
    config = {"write_key": "k", "api_url": sandbox.url, "dead_letter_path": str(tmp_path / "r")}
    warning = 'dead_letter_path has no effect: it needs invalid_records "dead_letter".'
    assert warning in run_target(lines=LINES, config=config).stderr
    config["invalid_records"] = "dead_letter"
    assert warning not in run_target(lines=LINES, config=config).stderr


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
def test_a_run_says_that_it_waits_for_a_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    """Started without a pipe, it would look like a hang."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    environment = {
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k",
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
    }
    arguments = [*TARGET, "--config=ENV"]
    with Terminal(arguments, folder=tmp_path, environment=environment, has_input=True) as terminal:
        wait_for(lambda: any(line.endswith(input_warnings.WAITING) for line in terminal.seen))
        assert terminal.close_input() == 0
    assert any(line.endswith(input_warnings.EMPTY) for line in terminal.lines)


def test_a_dry_run_gives_the_same_warnings(run_target: RunTarget) -> None:
    """It is the place to find a wrong name before the first load."""
    empty = run_target("--dry-run")
    assert empty.returncode == 0
    assert input_warnings.EMPTY in empty.stderr
    config = {"collection_map": {"user": "people"}}
    done = run_target("--dry-run", lines=LINES, config=config)
    assert "collection_map names the stream 'user', which was not in the input." in done.stderr
    assert input_warnings.EMPTY not in done.stderr
