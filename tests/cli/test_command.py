"""The command line: --help, --about, exit codes and shell completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result
from singer_sdk.about import AboutFormatter

from target_segment_objects import exit_codes
from target_segment_objects.cli.command import build_command
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait

NAME = "target-segment-objects"
DOCS = Path(__file__).parents[2] / "docs"


def list_declared_settings() -> dict[str, Any]:
    """Return the schema of every setting, including the SDK's own."""
    schema = TargetSegmentObjects.config_jsonschema
    TargetSegmentObjects.append_builtin_config(schema)
    properties: dict[str, Any] = schema["properties"]
    return properties


def normalize_spaces(text: str) -> str:
    """Return a text as one line."""
    return " ".join(text.split())


def invoke(*arguments: str) -> Result:
    """Run the command in this process, for what it does before it loads."""
    return CliRunner().invoke(build_command(), arguments)


# --about


def test_about_describes_every_setting(run_target: RunTarget) -> None:
    """Title, description, allowed values, default and variable, also of the SDK's settings.

    This is the text, the default format.
    """
    done = run_target("--about")
    assert invoke("--about", "--format=text").stdout == done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 100
    shown = dict(re.findall(r"^  (\S+) \(.*\)\n((?:      .*\n)+)", done.stdout, re.MULTILINE))
    assert {name for name in shown if "." not in name} == set(list_declared_settings())
    for name, schema in list_declared_settings().items():
        description = normalize_spaces(shown[name])
        assert description.startswith(
            f"{schema['title']}. {normalize_spaces(schema['description'])[:40]}"
        )
        assert "Allowed: " in description
        assert description.endswith(f"Environment: TARGET_SEGMENT_OBJECTS_{name.upper()}")
    for name, allowed in {
        "max_parallel_sessions": "an integer from 1 to 20",
        "batch_max_age_seconds": "a number above 0 and at most 1000000",
        "invalid_records": '"fail" or "dead_letter"',
        "load_method": '"upsert"',
        "batch_config.encoding.format": '"jsonl" or "parquet"',
        "faker_config.seed": "a number or a string or true or false",
        "stream_maps.__else__": '"__NULL__"',
    }.items():
        assert f"Allowed: {allowed}." in normalize_spaces(shown[name])
    assert "write_key (required)" in done.stdout
    assert "batch_size_rows (default: 100000)" in done.stdout
    assert "spool_dir (default: not set)" in done.stdout


@pytest.mark.parametrize("name", ["json", "markdown"])
def test_other_formats_of_about_are_those_of_the_sdk(run_target: RunTarget, name: str) -> None:
    """They list every setting, as for any target that is built with the SDK.

    Programs read the JSON: the settings are a JSON schema, with titles and descriptions.
    """
    done = run_target("--about", f"--format={name}")
    info = TargetSegmentObjects._get_about_info()  # noqa: SLF001 - as the SDK does
    assert done.stdout.strip() == AboutFormatter.get_formatter(name).format_about(info).strip()
    assert all(setting in done.stdout for setting in list_declared_settings())
    if name == "json":
        about = json.loads(done.stdout)
        assert about["name"] == NAME
        assert about["settings"]["properties"] == list_declared_settings()
        assert about["settings"]["required"] == ["write_key"]
        for schema in about["settings"]["properties"].values():
            assert schema["title"]
            assert schema["description"]
        assert about["settings"]["properties"]["load_method"]["enum"] == ["upsert"]


# --help


def test_help_has_every_section_and_option(run_target: RunTarget) -> None:
    """Options, examples, exit codes, environment, files and signals."""
    done = run_target("--help")
    assert done.returncode == 0
    assert invoke("-h").stdout == invoke("--help").stdout
    for section in ("Options", "Examples", "Exit codes", "Environment", "Files", "Signals"):
        assert re.search(rf"^\s*{section}:$", done.stdout, re.MULTILINE), section
    command = build_command()
    for option in command.params:
        assert f" {option.opts[0]}" in done.stdout
        assert getattr(option, "help", None), option.name
    text = normalize_spaces(done.stdout)
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"{code} {meaning}" in text
    assert "Starts a bulk session and finishes it empty" in text
    assert max(map(len, done.stdout.splitlines())) <= 88


def test_the_examples_of_the_help_use_existing_options() -> None:
    """Every option in an example is one of the command."""
    command = build_command()
    known = {opt for param in command.params for opt in param.opts}
    examples = re.findall(rf"{NAME} (.*)", command.epilog or "")
    assert len(examples) == 5
    for example in examples:
        assert set(re.findall(r"--[\w-]+", example)) <= known


def test_the_documentation_lists_the_exit_codes() -> None:
    """The page on scheduling has the texts of the help; a usage error exits with 2."""
    scheduling = (DOCS / "scheduling.md").read_text(encoding="utf-8")
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"| {code} | {meaning} |" in scheduling
    assert invoke("--no-such-option").exit_code == 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"max_retries": -1}, "max_retries cannot be -1", id="value"),
        pytest.param({"write_key": None}, "write_key is missing", id="missing"),
        pytest.param({"stream_maps": {"__else__": 5}}, "stream_maps.__else__", id="of the SDK"),
        pytest.param({"ledger_path": "config.json"}, "is not a ledger", id="ledger"),
        pytest.param(
            {"invalid_records": "dead_letter", "dead_letter_path": "in.singer"},
            "dead_letter_path is the file that is read",
            id="input",
        ),
    ],
)
def test_wrong_setting_exits_as_a_usage_error(
    run_target: RunTarget, tmp_path: Path, config: dict[str, Any], expected: str
) -> None:
    """Also one that only shows when the run opens: an orchestrator need not try again."""
    (tmp_path / "in.singer").write_text("")
    done = run_target("--input", "in.singer", config={"write_key": "k", **config})
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--config", "env"], "Config file not found: env. Did you mean ENV?"),
        (["config.json"], "(config.json). Did you mean --config config.json?"),
        (["env"], "Did you mean --config ENV?"),
        (["in.singer"], "(in.singer). Did you mean --input in.singer?"),
        (["other"], "Got unexpected argument (other).\n"),
        (['{"write_key": "secret"}'], "Settings can only be in a file or in the environment."),
    ],
)
def test_hint_at_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], hint: str
) -> None:
    """A usage error says what may have been meant, and repeats no settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.singer").write_text("")
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert hint in done.stderr
    assert "secret" not in done.stderr


def test_home_folder_in_options(run_target: RunTarget, tmp_path: Path) -> None:
    """A shell expands `~` only at the beginning of a word, so not in `--config=~/c.json`."""
    (tmp_path / "c.json").write_text('{"write_key": "k"}')
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    arguments = ("--config=~/c.json", "--sandbox=~/w.duckdb", "--check")
    done = run_target(*arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w.duckdb").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            ["--check", "--dry-run"],
            "--check and --dry-run cannot be used together",
            id="check and dry run",
        ),
        pytest.param(
            ["--format=json"], "--format can only be used with --about or --dry-run", id="load"
        ),
        pytest.param(
            ["--check", "--format=text"],
            "--format can only be used with --about or --dry-run",
            id="check",
        ),
        pytest.param(["--details"], "--details can only be used with --dry-run", id="details"),
        pytest.param(
            ["--dry-run", "--details", "--format=json"],
            "--details can only be used with --dry-run, and for text",
            id="details of JSON",
        ),
        pytest.param(
            ["--dry-run", "--format=markdown"],
            "--dry-run has the formats text and json, not markdown",
            id="Markdown of a dry run",
        ),
        pytest.param(
            ["--dry-run", "--sandbox", "w.duckdb"],
            "--dry-run and --sandbox cannot be used together",
            id="dry run in a sandbox",
        ),
    ],
)
def test_options_that_exclude_each_other_are_a_usage_error(
    options: list[str], message: str
) -> None:
    """Exit code 2 and a message; nothing is read or loaded."""
    done = invoke(*options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in normalize_spaces(done.stderr)


# Shell completion


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--dr"], "plain,--dry-run", id="option"),
        pytest.param(["--ch"], "plain,--check", id="another option"),
        pytest.param(["--format", "m"], "plain,markdown", id="choice"),
        pytest.param(["--config", "E"], "plain,ENV", id="ENV"),
        pytest.param(["--config", "conf"], "file,conf", id="configuration file"),
        pytest.param(["--input", "rec"], "file,rec", id="input file"),
        pytest.param(["--sandbox", "w"], "file,w", id="warehouse file"),
    ],
)
def test_shell_completion(words: list[str], expected: str) -> None:
    """Options and choices are completed, and file names where a file is expected."""
    complete = BashComplete(build_command(), {}, NAME, "_TARGET_SEGMENT_OBJECTS_COMPLETE")
    items = complete.get_completions(words[:-1], words[-1])
    assert [complete.format_completion(item) for item in items] == [expected]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_completion_line_prints_a_script(shell: str) -> None:
    """The line for each shell's start-up file is in docs/configuration.md and works."""
    documented = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert f"_TARGET_SEGMENT_OBJECTS_COMPLETE={shell}_source {NAME}" in documented
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


def test_garbage_collection_skips_what_was_imported() -> None:
    """It is off during the imports, and on again for the run, without the imported objects."""
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
