"""The command `segment-objects-ledger`: look at a ledger, and change what the next run does.

It locks the file while it changes it, as a run does. What only shows changes nothing.
"""

from __future__ import annotations

import itertools
import json
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from target_segment_objects.cli.ledger_report import (
    MAX_IDS_SHOWN,
    build_json,
    print_missing,
    print_report,
)
from target_segment_objects.exceptions import LedgerInUseError, SegmentObjectsError
from target_segment_objects.ledger import user_changes
from target_segment_objects.ledger.file import Destination, LedgerFile
from target_segment_objects.ledger.overview import export_objects, read_missing, read_overview
from target_segment_objects.ledger.read_only import read_ledger
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from target_segment_objects.settings import Settings

_EXPORT_LINES: Final = 1000  # written at once


class _LedgerCommands(click.Group):
    """Reports our errors in a line, with the exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click's
        """Run a command."""
        try:
            return super().invoke(ctx)
        except LedgerInUseError as error:
            msg = f"A load is using the ledger {error.path}. Run this again when it has ended."
            raise click.ClickException(msg) from error
        except SegmentObjectsError as error:
            raise click.ClickException(str(error)) from error


_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
_collection = click.argument("collection", required=False, metavar="[COLLECTION]")
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")


@click.group(cls=_LedgerCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="target-segment-objects", message="%(prog)s %(version)s")
def run_ledger_command() -> None:
    """Look at a ledger, the FILE of ledger_path, and change what the next run does with it.

    Run it while no load is using the ledger.
    """


@run_ledger_command.command("show", short_help="Show what is known, and how much is due.")
@_file
@_collection
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="JSON is for programs.",
)
def show_ledger(*, file: Path, collection: str | None, output_format: str) -> None:
    """Show what is known of each collection, and how many objects will be sent again.

    A known object is due when resend_after_days are over, or when it is not sure that Segment has
    it. A run that reads it sends it, even if it has not changed. With a COLLECTION, its properties
    are listed with the types that they were first sent with, and the ids of rows that are gone at
    the source: since when, and whether they are marked as deleted. The ledger is not changed.
    """
    with read_ledger(file) as connection:
        user_changes.require_collection(file, connection, collection)
        overview = read_overview(connection, collection, today=datetime.now(timezone.utc).date())
        limit = MAX_IDS_SHOWN if output_format == "text" else None
        missing = None if collection is None else read_missing(connection, collection, limit=limit)
    if output_format == "json":
        click.echo(json.dumps(build_json(overview, missing), indent=2))
        return
    print_report(file, overview, shows_properties=collection is not None)
    if missing is not None:
        print_missing(missing)


@run_ledger_command.command("forget", short_help="Start over with one collection, or with all.")
@_file
@_collection
@click.option(
    "--only",
    type=click.Choice(["objects", "types"]),
    help="Forget only which objects were sent and by which key properties, or only the names and "
    "types of the properties.",
)
@_yes
def forget_collection(*, file: Path, collection: str | None, only: str | None, yes: bool) -> None:
    """Start over with one COLLECTION, or with all.

    The next run sends all objects that it reads, accepts changed key properties, and names the
    properties anew, with their current types. Nothing is removed from Segment.
    """
    parts = {
        "objects": "which objects were sent",
        "types": "the names and types of the properties",
    }
    chosen = [parts[only]] if only else list(parts.values())
    _check_collection(file, collection)
    _confirm(f"Forget {' and '.join(chosen)} of {_name(collection)}?", yes=yes)
    with closing(LedgerFile.open_existing(file)) as ledger:
        if only != "types":
            count = user_changes.forget_objects(ledger, collection)
            click.echo(f"Forgot {format_count(count, 'object')} of {_name(collection)}.")
        if only != "objects":
            count = user_changes.forget_types(ledger, collection)
            click.echo(f"Forgot the type of {_count_properties(count)} of {_name(collection)}.")


@run_ledger_command.command("resend", short_help="Have the next run send everything that it reads.")
@_file
@_collection
@_yes
def resend_collection(*, file: Path, collection: str | None, yes: bool) -> None:
    """Have the next run send the objects of one COLLECTION, or of all, even if unchanged.

    It sends those that it reads. Names, types and key properties stay as they are. For a table
    that was emptied, or a source that has another writer.
    """
    _check_collection(file, collection)
    _confirm(f"Send all objects of {_name(collection)} again?", yes=yes)
    with closing(LedgerFile.open_existing(file)) as ledger:
        count = user_changes.resend_objects(ledger, collection)
    click.echo(f"The next run sends again what it reads of {format_count(count, 'object')}.")


@run_ledger_command.command("adopt-key", short_help="Accept the new write key of the same source.")
@_file
@click.option(
    "--config",
    multiple=True,
    default=("ENV",),
    metavar="FILE|ENV",
    help="Where the new write key is: as the option of target-segment-objects. The default is the "
    "environment.",
)
@_yes
def adopt_write_key(*, file: Path, config: tuple[str, ...], yes: bool) -> None:
    """Accept a new write key for the same source, whose old key was replaced.

    The next run skips what was sent with the old key. For another source, which has none of these
    objects, use another ledger.
    """
    settings = _read_settings(config)
    destination = Destination(settings.api_url, None)
    with read_ledger(file, destination):
        pass  # what is wrong is said before the question
    _confirm("Does the new write key belong to the same source?", yes=yes)
    with closing(LedgerFile.open_existing(file, destination)) as ledger:
        user_changes.adopt_key(ledger, settings.write_key)
    click.echo("The ledger accepts the new write key.")


@run_ledger_command.command("export", short_help="Write ids and digests as JSON lines.")
@_file
@_collection
def export_ledger(*, file: Path, collection: str | None) -> None:
    """Write what is known of each object as JSON lines to standard output.

    Ids, digests in hexadecimal, and the day on which an object was last sent. A digest is null if
    Segment may not have the object. The ledger is not changed.
    """
    with read_ledger(file) as connection:
        user_changes.require_collection(file, connection, collection)
        known = export_objects(connection, collection)
        while lines := [*itertools.islice(known, _EXPORT_LINES)]:
            click.echo(b"\n".join(lines))


def _read_settings(paths: tuple[str, ...]) -> Settings:
    """Return the settings as the target reads them."""
    # The SDK takes a second to import, and no other command needs it.
    from singer_sdk.exceptions import ConfigValidationError  # noqa: PLC0415

    from target_segment_objects.cli.config_files import (  # noqa: PLC0415
        ConfigFileError,
        read_config_files,
    )
    from target_segment_objects.settings.environment import load_environment  # noqa: PLC0415
    from target_segment_objects.target import TargetSegmentObjects  # noqa: PLC0415

    try:
        config = read_config_files(paths)
        environment = load_environment()
        if file_use := environment.describe_file_use(with_settings=config.parse_env):
            click.echo(file_use, err=True)
        given = TargetSegmentObjects.read_environment(environment) if config.parse_env else {}
        target = TargetSegmentObjects(config={**config.config, **given})
    except ConfigFileError as error:
        raise click.BadParameter(str(error), param_hint="--config") from error
    except ConfigValidationError as error:
        raise click.UsageError(" ".join(error.errors)) from error
    return target.settings


def _check_collection(file: Path, collection: str | None) -> None:
    """Say what is wrong before a question. While it waits, a load can use the ledger."""
    with read_ledger(file) as connection:
        user_changes.require_collection(file, connection, collection)


def _confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; a script has to say --yes.

    The question goes to standard output. Python would write it to standard error, which Meltano
    does not show before the line is complete.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        msg = "Standard input is not a terminal, so nobody can be asked. Give --yes to do it."
        raise click.UsageError(msg)
    click.echo(f"{question} [y/N]: ", nl=False)
    click.confirm("", prompt_suffix="", show_default=False, abort=True)


def _name(collection: str | None) -> str:
    return "all collections" if collection is None else collection


def _count_properties(count: int) -> str:
    return "1 property" if count == 1 else f"{count:,} properties"
