"""The command line: its options, its manual, and what each mode runs.

It extends the SDK's command. Each mode returns the exit code of the process.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec
from click.core import ParameterSource
from singer_sdk.exceptions import ConfigValidationError

from target_segment_objects import exit_codes
from target_segment_objects.cli.about import format_about
from target_segment_objects.cli.load import load_input
from target_segment_objects.cli.options import OptionsCommand, build_default_map, list_options
from target_segment_objects.reporting.log_handlers import (
    LOG_CONFIG_VARIABLE,
    LoggingConfigError,
    find_log_level,
    set_up_log_handlers,
)
from target_segment_objects.run.output import LedgerBinding
from target_segment_objects.settings.config_validation import accept_deletes_warning
from target_segment_objects.settings.environment import Environment, load_environment
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.cli.config_files import ConfigInput

_DRY_RUN_FORMATS: Final = ("text", "json")

_HELP: Final = """\
Load Singer messages from standard input into Segment.

Each stream becomes a collection of Segment's Objects Bulk API. Each record becomes an object,
whose id is made of its key properties. Batches are sent in order, each as a bulk session. STATE is
written to standard output once Segment has accepted the records it covers. The log goes to
standard error.
"""

_MANUAL: Final = """\
Examples:

\b
  tap-x | target-segment-objects --config config.json >> state.json
      Load the output of a tap. Its next run starts from the last line of
      state.json.
  target-segment-objects --check --config config.json
      Check the settings, the folders and the write key.
  target-segment-objects --dry-run --input records.singer
      Show how the records of a file would be mapped. Send nothing.
  target-segment-objects --sandbox warehouse.duckdb --input records.singer
      Load into a local sandbox instead of Segment, and show the result. With
      --open, watch it in the browser.
  TARGET_SEGMENT_OBJECTS_WRITE_KEY=KEY target-segment-objects --config=ENV
      Read the settings from the environment.

Exit codes:

\b
{exit_codes}

Environment:

\b
  TARGET_SEGMENT_OBJECTS_*
      With --config=ENV, one variable for each setting: its name in upper
      case, for example TARGET_SEGMENT_OBJECTS_WRITE_KEY. --about lists them.
  TARGET_SEGMENT_OBJECTS_LOGLEVEL, or LOGLEVEL
      DEBUG, INFO (the default), WARNING or ERROR. With WARNING there is no
      progress, no summary and no METRIC line.
  .env
      A file in the current folder for the TARGET_SEGMENT_OBJECTS_ variables
      that are not set. Only you or root may be able to write it.
  SINGER_SDK_LOG_CONFIG
      A YAML file for Python's logging.config, for example for JSON logs.
  HTTPS_PROXY, NO_PROXY
      The proxy for calls to Segment.
  NO_COLOR
      Do not use colours on a terminal.

Files:

\b
  spool_dir
      The folder for batch files that wait to be sent. The default is the
      system's temporary folder. Each run removes its files at the end.
  dead_letter_path
      Rejected records, with invalid_records "dead_letter". The file is Singer
      input: fix the cause, then load it with --input.
  ledger_path
      What Segment has accepted, so that a run sends only what has changed.
      segment-objects-ledger shows it.

Signals:

\b
  The first SIGINT (Ctrl-C), SIGTERM or SIGHUP stops reading and delivers what
  was read. Another one, a second later or more, aborts the open sessions and
  the run.
"""


def run_command() -> None:
    """Run the command line of this process, and exit."""
    try:
        command = build_command()
    except LoggingConfigError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(exit_codes.USAGE_ERROR)
    command()


def build_command() -> click.Command:
    """Return the command, and set up logging.

    Raises:
        LoggingConfigError: A variable for logging is not valid.
    """
    environment = load_environment()
    level = find_log_level(environment.variables)
    sdk_command = _create_sdk_command()
    set_up_log_handlers(sys.stderr, level)
    options = list_options()
    replaced = {name for option in options for name in option.opts}
    codes = "\n".join(f"  {code:<5}{meaning}" for code, meaning in exit_codes.MEANINGS.items())
    return OptionsCommand(
        sdk_command.name,
        callback=functools.partial(_exit_with_code, environment),
        params=[
            *(param for param in sdk_command.params if replaced.isdisjoint(param.opts)),
            *options,
        ],
        help=_HELP,
        epilog=_MANUAL.format(exit_codes=codes),
        context_settings={
            "help_option_names": ["-h", "--help"],
            "default_map": build_default_map(environment.variables),
        },
        logger=TargetSegmentObjects.logger,
    )


def _create_sdk_command() -> click.Command:
    """Return the SDK's command. The SDK sets its logging up meanwhile."""
    try:
        return TargetSegmentObjects.cli
    except Exception as cause:  # whatever the user's logging configuration imports and calls
        path = os.environ.get(LOG_CONFIG_VARIABLE)
        if path is None:
            raise
        reason = " ".join(str(cause).split()) or type(cause).__name__
        msg = f"{LOG_CONFIG_VARIABLE} cannot be {path!r}: {reason}"
        raise LoggingConfigError(msg) from cause


def _exit_with_code(
    environment: Environment,
    *,
    about: bool,
    output_format: str | None,
    config: ConfigInput,
    **options: Any,  # noqa: ANN401 - as `_invoke` takes them
) -> None:
    """Do what the command line asks for, and exit with its code."""
    _refuse_conflicts(about=about, output_format=output_format, **options)
    output_format = output_format or "text"
    if about:
        info = TargetSegmentObjects._get_about_info()  # noqa: SLF001 - as the SDK does
        click.echo(format_about(info, output_format))
        sys.exit(0)
    logger = TargetSegmentObjects.logger
    TargetSegmentObjects.print_version(print_fn=logger.info)
    try:
        if file_use := environment.describe_file_use(with_settings=config.parse_env):
            logger.info("%s", file_use)
        # Later than the files, so that the environment wins.
        given = TargetSegmentObjects.read_environment(environment) if config.parse_env else {}
        code = _invoke(
            {**config.config, **given},
            adopt_command=_describe_adopt_command(config, environment),
            output_format=output_format,
            **options,
        )
    except ConfigValidationError as invalid:  # the SDK would add a line without information
        for error in invalid.errors:
            logger.error("%s", error)
        code = exit_codes.USAGE_ERROR
    sys.exit(code)


def _describe_adopt_command(config: ConfigInput, environment: Environment) -> str:
    """Return the command that has a ledger adopt the write key of this run; {path} is its file."""
    loader = environment.variables.get("MELTANO_LOADER_NAME")
    if loader:  # Meltano removes its configuration file after the run
        return f"meltano invoke {loader}:ledger-adopt-key"
    options = " ".join(f"--config {shlex.quote(path)}" for path in config.paths)
    return f"segment-objects-ledger adopt-key {{path}} {options}".rstrip()


def _refuse_conflicts(
    *,
    about: bool,
    output_format: str | None,
    is_check: bool,
    is_dry_run: bool,
    shows_all: bool,
    sandbox_warehouse: Path | None,
    open_page: bool,
    **_: object,
) -> None:
    """Raise a usage error for options that cannot be used together."""
    # A dry run ignores a sandbox that the environment sets for all runs.
    source = click.get_current_context().get_parameter_source("sandbox_warehouse")
    if is_check and is_dry_run:
        msg = "--check and --dry-run cannot be used together."
    elif is_dry_run and source is ParameterSource.COMMANDLINE:
        msg = "--dry-run and --sandbox cannot be used together: a dry run loads nothing."
    elif open_page and (sandbox_warehouse is None or is_check or is_dry_run):
        msg = "--open can only be used with --sandbox, and for a load."
    elif shows_all and (not is_dry_run or output_format == "json"):
        msg = "--details can only be used with --dry-run, and for text: JSON has all details."
    elif output_format is None or about:
        return
    elif not is_dry_run:
        msg = "--format can only be used with --about or --dry-run."
    elif output_format not in _DRY_RUN_FORMATS:
        msg = f"--dry-run has the formats {' and '.join(_DRY_RUN_FORMATS)}, not {output_format}."
    else:
        return
    raise click.UsageError(msg)


def _invoke(  # noqa: PLR0913 - the options of the command
    config: dict[str, Any],
    *,
    adopt_command: str,
    output_format: str,
    is_check: bool,
    is_dry_run: bool,
    shows_all: bool,
    file_input: IO[bytes] | None,
    sandbox_warehouse: Path | None,
    open_page: bool,
    accept_deletes: bool,
) -> int:
    """Check, dry-run or load; return the exit code.

    What only some modes need is imported here or below: every load waits for the other imports.
    """
    warning = accept_deletes_warning(config) if accept_deletes and not is_check else None
    if warning:
        TargetSegmentObjects.logger.warning("%s", warning)
    ledger = LedgerBinding(accept_deletes=accept_deletes, adopt_command=adopt_command)
    if is_dry_run:
        from target_segment_objects.cli.dry_run import (  # noqa: PLC0415
            add_placeholder_key,
            run_dry,
        )

        target = TargetSegmentObjects(config=add_placeholder_key(config))
        ledger = _bind_to_sandbox(ledger, sandbox_warehouse)
        return run_dry(
            target, file_input, output_format=output_format, shows_all=shows_all, ledger=ledger
        )
    if sandbox_warehouse is not None:
        from target_segment_objects.cli.sandbox_run import run_in_sandbox  # noqa: PLC0415

        return run_in_sandbox(
            config,
            file_input,
            sandbox_warehouse,
            check=_check if is_check else None,
            open_page=open_page,
            ledger=ledger,
        )
    target = TargetSegmentObjects(config=config)
    return _check(target, ledger) if is_check else load_input(target, file_input, ledger=ledger)


def _bind_to_sandbox(ledger: LedgerBinding, warehouse: Path | None) -> LedgerBinding:
    """Return how a dry run uses the ledger of runs that load into a sandbox, if there is one."""
    from target_segment_objects.cli.sandbox_run import name_sandbox  # noqa: PLC0415

    if warehouse is None:
        return ledger
    return msgspec.structs.replace(ledger, destination=name_sandbox(warehouse))


def _check(target: TargetSegmentObjects, ledger: LedgerBinding) -> int:
    from target_segment_objects.cli.check import run_checks  # noqa: PLC0415 - see `_invoke`

    passed = run_checks(
        target.settings,
        click.echo,
        user_agent=target.user_agent,
        ledger=ledger,
    )
    return 0 if passed else 1
