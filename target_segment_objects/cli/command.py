"""The command line: its options, its manual, and which of the target's ways a call takes.

What is there of the SDK's stays as it is; here is what is added. Each way returns the exit code of
the process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any, Final

import click
from click.shell_completion import CompletionItem
from singer_sdk.plugin_base import _ConfigInput  # what the SDK reads --config into

from target_segment_objects import sandbox
from target_segment_objects.cli.about import FORMATS
from target_segment_objects.cli.check import check
from target_segment_objects.cli.dry_run import add_placeholder_key, run_dry
from target_segment_objects.cli.load import load
from target_segment_objects.target import TargetSegmentObjects

_SANDBOX_KEY: Final = "sandbox"

EXIT_CODES: Final = {
    0: "all was delivered; with --check, all is well",
    1: "something was not, and the last lines say what",
    2: "the command line is wrong",
    130: "the run was stopped by SIGINT (Ctrl-C)",
    143: "the run was stopped by SIGTERM",
}

_HELP: Final = """\
Load the Singer messages on standard input into Segment.

Each stream becomes a collection of Segment's Objects Bulk API, each record an object with the id
that its key properties make. Batches go as bulk sessions, in order. STATE goes to standard output,
once what it vouches for has landed; everything else that is said goes to standard error.
"""

_MANUAL: Final = """\
Examples:

\b
  tap-x | target-segment-objects --config config.json >> state.json
      Load what a tap says. The last line of state.json is for its next run.
  target-segment-objects --check --config config.json
      See whether the settings, the folders and the write key are good.
  target-segment-objects --dry-run --input records.singer
      See what would become of a file's records. Nothing is sent.
  target-segment-objects --sandbox warehouse.duckdb --input records.singer
      Load into a stand-in for Segment on this machine, see what landed.
  TARGET_SEGMENT_OBJECTS_WRITE_KEY=KEY target-segment-objects --config=ENV
      Take the settings from the environment.

Exit codes:

\b
{exit_codes}

Environment:

\b
  TARGET_SEGMENT_OBJECTS_*
      With --config=ENV, a setting each: its name in capitals, as in
      TARGET_SEGMENT_OBJECTS_WRITE_KEY. A .env file in the current folder or
      above it does, too. --about lists them.
  TARGET_SEGMENT_OBJECTS_LOGLEVEL, or LOGLEVEL
      DEBUG, INFO (the default), WARNING or ERROR. WARNING is quiet: neither
      progress nor summary nor METRIC.
  SINGER_SDK_LOG_CONFIG
      A YAML file of Python's logging.config, for structured logs.
  HTTPS_PROXY, NO_PROXY
      The way to Segment.
  NO_COLOR
      No colours on a terminal.

Files:

\b
  spool_dir
      Where batch files wait, in a folder of the run's own that is gone at the
      end: the system's temporary folder unless set.
  dead_letter_path
      Records that cannot be sent, with invalid_records "dead_letter". The file
      is input for this command, once the cause is mended.

Signals:

\b
  SIGINT (Ctrl-C) or SIGTERM, once: reading stops, what was read is delivered.
  A second time: what is open is ended, and the process with it.
"""


def run_command() -> None:
    """Run the command line of this process, and exit."""
    build_command()()


def build_command() -> click.Command:
    """Return the SDK's command with the options of this target; sets up the SDK's logging."""
    command = TargetSegmentObjects.cli
    command.help = _HELP
    codes = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
    command.epilog = _MANUAL.format(exit_codes=codes)
    command.callback = _exit_with_code
    options = _list_options()
    replaced = {option.name for option in options}
    kept = [param for param in command.params if param.name not in replaced]
    command.params = [*kept, *options]
    return command


def _list_options() -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            multiple=True,
            is_eager=True,
            callback=_read_config_files,
            metavar="FILE|ENV",
            shell_complete=_complete_config,
            help="A JSON file of settings, or ENV for those of the environment. Of several, the "
            "later ones win, and the environment over all.",
        ),
        click.Option(
            ["--about"], is_flag=True, help="Describe the target and all its settings, and exit."
        ),
        click.Option(
            ["--format", "about_format"],
            type=click.Choice(list(FORMATS), case_sensitive=False),
            default="text",
            show_default=True,
            help="How --about does so.",
        ),
        click.Option(
            ["--input", "file_input"],
            type=click.File("rb"),
            help="Read messages from this file, gzipped or not, instead of standard input.",
        ),
        click.Option(
            ["--check", "is_check"],
            is_flag=True,
            help="See whether a run would work, and exit: whether the spool folder and the "
            "dead-letter file can be written, and whether Segment accepts the write key. For that, "
            "a bulk session is started, and finished at once, empty. Reads no input.",
        ),
        click.Option(
            ["--dry-run", "is_dry_run"],
            is_flag=True,
            help="Read, map and count everything, say what each stream would become, and send "
            "nothing: no STATE, no dead-letter file. Needs no write key.",
        ),
        click.Option(
            ["--sandbox", "sandbox_warehouse"],
            type=click.Path(dir_okay=False, path_type=Path),
            envvar="TARGET_SEGMENT_OBJECTS_SANDBOX",
            show_envvar=True,
            help="Load into a local stand-in for Segment, whose warehouse is this DuckDB file, "
            "and show what landed. Needs no account.",
        ),
    ]


def _complete_config(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete to a file, or to the word that is none."""
    word = [CompletionItem("ENV")] if begun and "ENV".startswith(begun) else []
    return word or [CompletionItem(begun, type="file")]


def _read_config_files(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> _ConfigInput:
    """Read the configuration files, and say which one cannot be read."""
    for path in value:
        try:
            _ConfigInput.from_cli_args(path)
        except (OSError, TypeError, ValueError) as cause:
            found = Path(path).is_file()
            msg = f"{path} is not a JSON object." if found else f"Config file not found: {path}"
            raise click.BadParameter(msg, ctx=ctx, param=param) from cause
    return _ConfigInput.from_cli_args(*value)


def _exit_with_code(*, about: bool, about_format: str, **options: Any) -> None:  # noqa: ANN401 - as `_invoke` takes them
    """Do what the command line asks for, and exit with its code."""
    if about:
        info = TargetSegmentObjects._get_about_info()  # noqa: SLF001 - as the SDK does
        click.echo(FORMATS[about_format](info))
        sys.exit(0)
    TargetSegmentObjects.print_version(print_fn=TargetSegmentObjects.logger.info)
    sys.exit(_invoke(**options))


def _invoke(
    *,
    config: _ConfigInput,
    is_check: bool,
    is_dry_run: bool,
    file_input: IO[bytes] | None,
    sandbox_warehouse: Path | None,
) -> int:
    """Check, dry-run or load; return the exit code."""
    if is_check and is_dry_run:
        msg = "--check and --dry-run exclude each other: one calls Segment, the other does not."
        raise click.UsageError(msg)
    if is_dry_run:
        target = TargetSegmentObjects(config=add_placeholder_key(_merge_environment(config)))
        return run_dry(target, file_input)
    if sandbox_warehouse is not None:
        return _run_in_sandbox(config, file_input, sandbox_warehouse, is_check=is_check)
    target = TargetSegmentObjects(config=config.config, parse_env_config=config.parse_env)
    return _check(target) if is_check else load(target, file_input)


def _merge_environment(config: _ConfigInput) -> dict[str, Any]:
    """Return the settings of the files and, where asked for, of the environment."""
    environment = TargetSegmentObjects.read_environment() if config.parse_env else {}
    return {**config.config, **environment}


def _check(target: TargetSegmentObjects) -> int:
    is_passed = check(target.settings, click.echo, user_agent=target.user_agent)
    click.echo("All is well." if is_passed else "Something is not well.")
    return 0 if is_passed else 1


def _run_in_sandbox(
    config: _ConfigInput, lines: IO[bytes] | None, warehouse: Path, *, is_check: bool
) -> int:
    """Run against a local stand-in for Segment, and show what landed."""
    try:
        sandbox_class = sandbox.load_sandbox()
        from rich.console import Console  # noqa: PLC0415 - not before it is needed

        # Comes with the extra, too.
        from target_segment_objects.sandbox.report import print_report  # noqa: PLC0415

        with sandbox_class(warehouse) as running:
            # These win over what is configured: the sandbox's objects must not go to Segment.
            forced = {"api_url": running.url, "write_key": _SANDBOX_KEY}
            target = TargetSegmentObjects(config=_merge_environment(config) | forced)
            if is_check:
                return _check(target)
            code = load(target, lines)
            print_report(running.warehouse, Console(stderr=True))
    except (sandbox.SandboxNotInstalledError, sandbox.WarehouseError) as problem:
        TargetSegmentObjects.logger.error("%s", problem)
        return 1
    return code
