"""The command line: its options, its manual, and which of the target's ways a call takes.

What is there of the SDK's stays as it is; here is what is added. Each way returns the exit code of
the process.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import click
from click.shell_completion import CompletionItem

from target_segment_objects import sandbox
from target_segment_objects.cli import about
from target_segment_objects.cli.check import check

if TYPE_CHECKING:
    from singer_sdk.plugin_base import _ConfigInput

    from target_segment_objects.target import TargetSegmentObjects

    Target = type[TargetSegmentObjects]

_GZIP_MAGIC: Final = b"\x1f\x8b"
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


def extended(command: click.Command) -> click.Command:
    """Add to the SDK's command what is our own."""
    command.help = _HELP
    codes = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
    command.epilog = _MANUAL.format(exit_codes=codes)
    (config,) = (param for param in command.params if param.name == "config")
    ours = _options(config)
    replaced = {option.name for option in ours}
    command.params = [*(one for one in command.params if one.name not in replaced), *ours]
    return command


def _options(config: click.Parameter) -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            multiple=True,
            is_eager=True,
            callback=config.callback,
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
            type=click.Choice(list(about.FORMATS), case_sensitive=False),
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


def invoke(  # noqa: D417 - the options say the rest
    target: Target,
    given: _ConfigInput,
    *,
    about_format: str | None,
    is_check: bool,
    is_dry_run: bool,
    file_input: IO[bytes] | None,
    sandbox_warehouse: Path | None,
) -> int:
    """Take the way that the command line asks for.

    Args:
        target: The target's class.
        given: What the configuration files hold, and whether to read the environment.
        about_format: How to describe the target; None to do something else.

    Returns:
        The exit code of the process.
    """
    if about_format is not None:
        click.echo(about.FORMATS[about_format](target._get_about_info()))  # noqa: SLF001 - as the SDK does
        return 0
    if is_check and is_dry_run:
        msg = "--check and --dry-run are two ways: one asks Segment, the other does not."
        raise click.UsageError(msg)
    lines = _unzipped(file_input)
    if is_dry_run:
        from target_segment_objects.cli import dry_run  # noqa: PLC0415 - it knows the target

        config = dry_run.without_key(_complete(target, given))
        return dry_run.DryRun(config=config).run(lines)
    if sandbox_warehouse is not None:
        return _run_in_sandbox(target, given, lines, sandbox_warehouse, is_check=is_check)
    made = target(config=given.config, parse_env_config=given.parse_env)
    return _check(made) if is_check else made.run(lines)


def _complete(target: Target, given: _ConfigInput) -> dict[str, Any]:
    """Return the settings, those of the environment included, to put some more in."""
    return {**given.config, **(target._environment() if given.parse_env else {})}  # noqa: SLF001 - it is ours


def _check(target: TargetSegmentObjects) -> int:
    is_well = check(target.settings, click.echo, user_agent=target.user_agent)
    click.echo("All is well." if is_well else "Something is not well.")
    return 0 if is_well else 1


def _run_in_sandbox(
    target: Target,
    given: _ConfigInput,
    lines: IO[bytes] | None,
    warehouse: Path,
    *,
    is_check: bool,
) -> int:
    """Run against a local stand-in for Segment, and show what landed."""
    # Whatever is configured, these win: the sandbox's rows must not go to Segment.
    config = _complete(target, given)
    try:
        sandbox_class = sandbox.load_sandbox()
        from rich.console import Console  # noqa: PLC0415 - not before it is needed

        # What comes with the extra, too.
        from target_segment_objects.sandbox.report import print_report  # noqa: PLC0415

        with sandbox_class(warehouse) as running:
            config |= {"api_url": running.url, "write_key": _SANDBOX_KEY}
            made = target(config=config)
            if is_check:
                return _check(made)
            code = made.run(lines)
            print_report(running.warehouse, Console(stderr=True))
    except (sandbox.SandboxNotInstalledError, sandbox.WarehouseError) as problem:
        target.logger.error("%s", problem)
        return 1
    return code


def _unzipped(file: IO[bytes] | None) -> IO[bytes] | None:
    """Unzip a file that is gzipped, whatever its name."""
    peek = getattr(file, "peek", None)
    if file is None or peek is None or peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] != _GZIP_MAGIC:
        return file
    return cast("IO[bytes]", gzip.open(file))
