"""The command `segment-objects-sandbox`: run a local Segment, and show what it has loaded."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from target_segment_objects import sandbox
from target_segment_objects.loopback import is_loopback
from target_segment_objects.plurals import format_count
from target_segment_objects.sandbox.foreground import catch_stop_signals, open_browser

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

_REMOTE_WARNING: Final = (
    "Warning: other machines can reach this sandbox, without TLS. Anyone on the network can send "
    "objects, and who can read the traffic sees all that is sent and shown."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="target-segment-objects", message="%(prog)s %(version)s")
def main() -> None:
    """A local Segment: the Objects Bulk API, and a warehouse in a DuckDB file."""


@main.command("serve", short_help="Serve the API, and a page to look inside.")
@click.option(
    "--warehouse",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="DuckDB file to load into. Created if it is missing.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Must be a loopback address, unless --allow-remote is given.",
)
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Let other machines reach the sandbox, for example with --host 0.0.0.0 in a container. "
    "There is no TLS: anyone on the network can send objects, and who can read the traffic sees "
    "the write keys, the objects and the page.",
)
@click.option(
    "--write-key",
    envvar="SEGMENT_OBJECTS_SANDBOX_WRITE_KEY",
    show_envvar=True,
    metavar="KEY",
    help="The only write key to accept. Default: any. It is visible in the list of processes; the "
    "variable is not.",
)
@click.option(
    "--auth-form",
    type=click.Choice(["any", "user-name", "bare-key", "key-and-newline"]),
    default="any",
    show_default=True,
    help="What HTTP Basic must encode: `write_key:` (user-name), `write_key` (bare-key), the key "
    "and a newline (key-and-newline), or any of them, as Segment's documentation has all three.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option("--quiet", is_flag=True, help="Do not log the requests.")
def serve_api(
    *,
    warehouse: Path,
    port: int,
    host: str,
    allow_remote: bool,
    write_key: str | None,
    auth_form: str,
    open_page: bool,
    quiet: bool,
) -> None:
    """Serve the API until SIGINT (Ctrl-C) or SIGTERM, and log each request to standard error.

    What was accepted is loaded before the end. A second signal ends at once: the next start loads
    the rest.

    It also serves a page that shows collections, sessions and requests. The page needs the token in
    the address that is printed.
    """
    sandbox_class = _load_sandbox()
    from target_segment_objects.sandbox.credentials import AuthForm  # noqa: PLC0415 - slow
    from target_segment_objects.sandbox.request_log import print_request  # noqa: PLC0415 - may be missing

    try:
        with (
            catch_stop_signals() as wait_until_stopped,
            sandbox_class(
                warehouse,
                host=host,
                port=port,
                allow_remote=allow_remote,
                write_key=write_key or None,
                auth_form=AuthForm(auth_form),
                serve_page=True,
                on_request=None if quiet else print_request,
            ) as running,
        ):
            if not is_loopback(host):
                click.echo(_REMOTE_WARNING, err=True)
            click.echo(f"api_url: {running.url}")
            click.echo(f"Open {running.page_url} to look inside. Press Ctrl-C to stop.")
            if open_page:
                open_browser(running.make_single_use_url())
            wait_until_stopped()
            _say_what_is_loaded(running)
    except (socket.gaierror, UnicodeError) as error:
        msg = f"Unknown host: {host}. Choose another --host."
        raise click.ClickException(msg) from error
    except (ValueError, sandbox.WarehouseError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        # The error's own text repeats the address.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error
        message = f"Cannot listen on {host}:{port}: {reason}. Choose another --port or --host."
        raise click.ClickException(message) from error


@main.command("show", short_help="Show what has been loaded into a warehouse.")
@click.argument("warehouse", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option(
    "--rows",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Number of rows to show of each collection.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the report; JSON is for programs.",
)
@click.option(
    "--fail-on-loss",
    is_flag=True,
    help="Exit with 1 if an accepted object was not loaded or a value was changed, for CI. What "
    "only Redshift would cut off does not count.",
)
def show_warehouse(*, warehouse: Path, rows: int, output_format: str, fail_on_loss: bool) -> None:
    """Show what has been loaded into a warehouse, also while `serve` runs on it."""
    _load_sandbox()
    from target_segment_objects.sandbox.show import (  # noqa: PLC0415 - may be missing
        has_loss,
        show_json,
        show_text,
    )

    try:
        if output_format == "json":
            show_json(warehouse, rows=rows)
        else:
            show_text(warehouse, rows=rows)
        if fail_on_loss and has_loss(warehouse):
            msg = "Accepted objects are not in the warehouse as they were sent (--fail-on-loss)."
            raise click.ClickException(msg)
    except sandbox.WarehouseError as error:  # that of a sandbox that cannot load, too
        raise click.ClickException(str(error)) from error


def _say_what_is_loaded(running: Sandbox) -> None:
    """Say why the end of a server has to wait."""
    waiting = running.waiting_sessions
    if waiting:
        sessions = format_count(len(waiting), "accepted session")
        objects = format_count(sum(session.objects for session in waiting), "object")
        click.echo(
            f"Loading {sessions} with {objects} before the end. Press Ctrl-C again to stop now: "
            "nothing is lost, the next start loads them."
        )


def _load_sandbox() -> type[Sandbox]:
    try:
        return sandbox.load_sandbox()
    except sandbox.SandboxNotInstalledError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
