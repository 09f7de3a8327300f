"""The options of the command, where their defaults come from, and what a mistyped one may mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from singer_sdk.plugin_base import SingerCommand

from target_segment_objects.cli.about import FORMATS
from target_segment_objects.cli.config_files import (
    ENVIRONMENT,
    ConfigFileError,
    may_be_file_name,
    read_config_files,
)
from target_segment_objects.settings.environment import ACCEPT_DELETES, SANDBOX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_objects.cli.config_files import ConfigInput


class OptionsCommand(SingerCommand):
    """Refuses arguments without an option, and says which one may have been meant."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line.

        Raises:
            UsageError: It is not valid.
        """
        extra = super().parse_args(ctx, args)
        if extra and not ctx.resilient_parsing:
            raise click.UsageError(_describe_extra_argument(extra[0]), ctx)
        return extra


def _describe_extra_argument(value: str) -> str:
    """Return an error that does not repeat what may hold the write key."""
    if not may_be_file_name(value):
        return "Got an unexpected argument. Settings can only be in a file or in the environment."
    option = ""
    if value.upper() == ENVIRONMENT:
        option, value = "--config", ENVIRONMENT
    elif value.endswith(".json"):
        option = "--config"
    elif Path(value).is_file():
        option = "--input"
    hint = f" Did you mean {option} {value}?" if option else ""
    return f"Got unexpected argument ({value}).{hint}"


class ExpandedPath(click.Path):
    """A path in which `~` stands for the home folder, as in the settings."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ANN401 - as click's
        """Expand and check a path."""
        return Path(str(super().convert(os.path.expanduser(value), param, ctx)))  # noqa: PTH111 - Path's fails for an unknown user


def list_options() -> list[click.Option]:
    """Return the options, new ones each time."""
    return [
        click.Option(
            ["--config"],
            multiple=True,
            is_eager=True,
            callback=_read_config_option,
            metavar="FILE|ENV",
            shell_complete=_complete_config,
            help="A JSON file with settings, or ENV for settings from the environment. Can be "
            "repeated: later files override earlier ones, and the environment overrides files.",
        ),
        click.Option(
            ["--about"], is_flag=True, help="Describe the target and its settings, and exit."
        ),
        click.Option(
            ["--format", "output_format"],
            type=click.Choice(FORMATS, case_sensitive=False),
            help="Output format of --about or --dry-run, which has no Markdown. The default is "
            "text; JSON is for programs.",
        ),
        click.Option(
            ["--input", "file_input"],
            type=click.File("rb"),
            help="Read messages from this file instead of standard input. It may be gzipped.",
        ),
        click.Option(
            ["--check", "is_check"],
            is_flag=True,
            help="Check that the spool folder, the dead-letter file and the ledger can be written "
            "and that Segment accepts the write key, and exit. Starts a bulk session and finishes "
            "it empty. Reads no input.",
        ),
        click.Option(
            ["--dry-run", "is_dry_run"],
            is_flag=True,
            help="Read, map and validate the input, and report on standard output what each stream "
            "would become and how many API calls a run would make. Sends nothing, writes no STATE "
            "and no dead-letter file. Needs no write key.",
        ),
        click.Option(
            ["--details", "shows_all"],
            is_flag=True,
            help="With --dry-run: show what every stream would become. Otherwise, of more than "
            "five streams, only those with warnings, rejects or schema violations are shown.",
        ),
        click.Option(
            ["--sandbox", "sandbox_warehouse"],
            type=ExpandedPath(dir_okay=False),
            envvar=SANDBOX,
            show_envvar=True,
            help="Load into a local sandbox instead of Segment, with this DuckDB file as its "
            "warehouse, and show the result. Needs no Segment account.",
        ),
        click.Option(
            ["--open", "open_page"],
            is_flag=True,
            help="With --sandbox: open a page in the browser that shows the load and the "
            "warehouse, and serve it after the load until Ctrl-C.",
        ),
        click.Option(
            ["--accept-deletes"],
            is_flag=True,
            envvar=ACCEPT_DELETES,
            show_envvar=True,
            help="Let this run mark more rows as deleted than deleted_limit_percent allows. With "
            "the settings ledger_path and deleted_records.",
        ),
    ]


def _complete_config(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer ENV, or else file names."""
    if incomplete and "ENV".startswith(incomplete):
        return [CompletionItem("ENV")]
    return [CompletionItem(incomplete, type="file")]


def _read_config_option(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> ConfigInput:
    """Read the configuration files."""
    try:
        return read_config_files(value)
    except ConfigFileError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from error


def build_default_map(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the defaults that variables give to options; the process's may be among them."""
    given = {
        "sandbox_warehouse": variables.get(SANDBOX),
        "accept_deletes": variables.get(ACCEPT_DELETES),
    }
    return {name: value for name, value in given.items() if value}
