"""The command line as a person and a shell meet it: its manual, --about, completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.cli.command import EXIT_CODES, build_command
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from tests.support import RunTarget

NAME = "target-segment-objects"
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def declared() -> dict[str, Any]:
    """Return all settings, the SDK's own included."""
    schema = TargetSegmentObjects.config_jsonschema
    TargetSegmentObjects.append_builtin_config(schema)
    properties: dict[str, Any] = schema["properties"]
    return properties


def words(text: str) -> str:
    """Return a text without its breaks into lines."""
    return " ".join(text.split())


# --about


def test_about_describes_every_setting_in_words(run_target: RunTarget) -> None:
    """Title, meaning, what it takes, default and variable, of the SDK's own settings, too."""
    done = run_target("--about")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 100
    told = dict(re.findall(r"^  (\S+) \(.*\)\n((?:      .*\n)+)", done.stdout, re.MULTILINE))
    assert {name for name in told if "." not in name} == set(declared())
    for name, schema in declared().items():
        said = words(told[name])
        assert said.startswith(f"{schema['title']}. {words(schema['description'])[:40]}")
        assert "Takes " in said
        assert said.endswith(f"Environment: TARGET_SEGMENT_OBJECTS_{name.upper()}")
    for name, asked in {
        "max_parallel_sessions": "an integer from 1 to 20",
        "batch_max_age_seconds": "a number above 0 and at most 1000000",
        "invalid_records": '"fail" or "dead_letter"',
        "load_method": '"upsert"',
        "batch_config.encoding.format": '"jsonl" or "parquet"',
        "faker_config.seed": "a number or a string or true or false",
        "stream_maps.__else__": '"__NULL__"',
    }.items():
        assert f"Takes {asked}." in words(told[name])
    assert "write_key (required)" in done.stdout
    assert "batch_size_rows (default: 100000)" in done.stdout
    assert "spool_dir (default: not set)" in done.stdout


def test_about_as_markdown_is_a_document(run_target: RunTarget) -> None:
    """A table whose rows all have its four cells, whatever the descriptions hold."""
    done = run_target("--about", "--format=markdown")
    assert done.stdout.startswith(f"# `{NAME}`\n\nLoads any tap's records")
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {6}
    told = {row.split("|")[1].strip(" `") for row in rows[2:]}
    assert {name for name in told if "." not in name} == set(declared())
    assert (
        "| `max_retries` | `10` | an integer of at least 0 | **Maximum retries.** Retries of"
        in (done.stdout)
    )
    assert not re.search(r"\n{3}", done.stdout)


def test_about_as_json_is_the_sdk_s_with_all_of_the_schema(run_target: RunTarget) -> None:
    """Other programs read it: titles, descriptions, defaults and ranges as JSON schema has them."""
    about = json.loads(run_target("--about", "--format=json").stdout)
    assert about["name"] == NAME
    assert about["settings"]["properties"] == declared()
    assert about["settings"]["required"] == ["write_key"]
    for schema in about["settings"]["properties"].values():
        assert schema["title"]
        assert schema["description"]
    assert about["settings"]["properties"]["load_method"]["enum"] == ["upsert"]


def test_about_as_text_can_be_asked_for(run_target: RunTarget) -> None:
    """It is what comes without a format."""
    assert run_target("--about", "--format=text").stdout == run_target("--about").stdout


# --help


def test_help_is_a_manual(run_target: RunTarget) -> None:
    """What it does, each option, examples, exit codes, environment, files, signals."""
    done = run_target("--help")
    assert done.returncode == 0
    for section in ("Options", "Examples", "Exit codes", "Environment", "Files", "Signals"):
        assert re.search(rf"^\s*{section}:$", done.stdout, re.MULTILINE), section
    command = build_command()
    for option in command.params:
        assert f" {option.opts[0]}" in done.stdout
        assert getattr(option, "help", None), option.name
    said = words(done.stdout)
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in said
    assert "a bulk session is started, and finished at once, empty" in said
    assert max(map(len, done.stdout.splitlines())) <= 88


def test_the_examples_of_the_manual_are_command_lines() -> None:
    """Each option that an example has is one."""
    command = build_command()
    known = {opt for param in command.params for opt in param.opts}
    examples = re.findall(rf"{NAME} (.*)", command.epilog or "")
    assert len(examples) == 5
    for example in examples:
        assert set(re.findall(r"--[\w-]+", example)) <= known


def test_the_readme_has_the_exit_codes(run_target: RunTarget) -> None:
    """In the manual's words."""
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in README
    assert run_target("--no-such-option").returncode == 2


def test_two_ways_at_once_are_refused(run_target: RunTarget) -> None:
    """--check asks Segment, --dry-run does not: exit code 2."""
    done = run_target("--check", "--dry-run")
    assert done.returncode == 2
    assert "exclude each other" in done.stderr


# Shell completion


@pytest.mark.parametrize(
    ("begun", "offered"),
    [
        (["--d"], "plain,--dry-run"),
        (["--ch"], "plain,--check"),
        (["--format", "m"], "plain,markdown"),
        (["--config", "E"], "plain,ENV"),
        (["--config", "conf"], "file,conf"),
        (["--input", "rec"], "file,rec"),
        (["--sandbox", "w"], "file,w"),
    ],
)
def test_a_shell_completes_options_and_files(
    tmp_path: Path, begun: list[str], offered: str
) -> None:
    """As click has it for bash: words of ours, and files where a file is meant."""
    command = Path(sys.executable).with_name(NAME)
    done = subprocess.run(
        [command],
        env=os.environ
        | {
            "_TARGET_SEGMENT_OBJECTS_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join([NAME, *begun]),
            "COMP_CWORD": str(len(begun)),
        },
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [offered], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_readme_s_line_for_a_shell_prints_a_script(shell: str) -> None:
    """What the README has the user put into the shell's start-up file gives something to run."""
    assert f"_TARGET_SEGMENT_OBJECTS_COMPLETE={shell}_source {NAME}" in README
    done = subprocess.run(
        [Path(sys.executable).with_name(NAME)],
        env=os.environ | {"_TARGET_SEGMENT_OBJECTS_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert f"_TARGET_SEGMENT_OBJECTS_COMPLETE={shell}_complete" in done.stdout


def test_what_was_imported_is_no_garbage_and_what_a_run_makes_may_be() -> None:
    """The command looks for garbage again when it runs, but not among what was imported."""
    code = (
        "import gc\n"
        "from target_segment_objects.__main__ import main\n"
        "def run(): print(gc.isenabled(), gc.get_freeze_count() > 1000)\n"
        "main(lambda: print(gc.isenabled()) or run)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert said.split() == ["False", "True", "True"]
