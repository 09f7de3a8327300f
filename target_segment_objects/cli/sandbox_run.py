"""A run with `--sandbox`: load into a local sandbox, and show the result.

With `--open`, the sandbox also serves a page, from the start of the load until Ctrl-C.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec

from target_segment_objects import exit_codes, sandbox
from target_segment_objects.cli.load import load_input
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from target_segment_objects.run.output import LedgerBinding
    from target_segment_objects.sandbox.server import Sandbox

_SANDBOX_KEY: Final = "sandbox"


def run_in_sandbox(
    config: Mapping[str, Any],
    file_input: IO[bytes] | None,
    warehouse: Path,
    *,
    check: Callable[[TargetSegmentObjects, LedgerBinding], int] | None = None,
    open_page: bool = False,
    ledger: LedgerBinding,
) -> int:
    """Load into a sandbox that runs as long as this.

    Args:
        config: The settings. The sandbox's address and key win over theirs.
        file_input: The Singer messages; None for standard input.
        warehouse: The DuckDB file to load into.
        check: Called instead of a load, with the target and the use of a ledger; returns the exit
            code.
        open_page: Whether to open the sandbox's page, and to serve it after the load until Ctrl-C.
        ledger: How the run uses a ledger, if the settings have one.

    Returns:
        The exit code of the process: that of the load.
    """
    try:
        sandbox_class = sandbox.load_sandbox()
        with ExitStack() as stack:
            running = stack.enter_context(sandbox_class(warehouse, serve_page=open_page))
            # These win over what is configured: the sandbox's objects must not go to Segment.
            forced = {"api_url": running.url, "write_key": _SANDBOX_KEY}
            target = TargetSegmentObjects(config={**config, **forced})
            ledger = msgspec.structs.replace(ledger, destination=name_sandbox(warehouse))
            if check is not None:
                return check(target, ledger)
            if open_page:
                return _load_and_serve(target, file_input, running, ledger)

            def show_result() -> None:
                stack.close()  # only a stopped sandbox has recorded its unfinished sessions
                _print_report(warehouse)

            return load_input(target, file_input, ledger=ledger, show_result=show_result)
    except (sandbox.SandboxNotInstalledError, sandbox.WarehouseError) as problem:
        TargetSegmentObjects.logger.error("%s", problem)
        return 1


def name_sandbox(warehouse: Path) -> str:
    """Return what a ledger is bound to in a sandbox, whose address is another each time."""
    return f"the sandbox {warehouse.absolute()}"


def _load_and_serve(
    target: TargetSegmentObjects,
    file_input: IO[bytes] | None,
    running: Sandbox,
    ledger: LedgerBinding,
) -> int:
    """Load while the page is open, and serve it until the user has seen enough."""
    from target_segment_objects.sandbox.foreground import (  # noqa: PLC0415 - rarely used
        catch_stop_signals,
        open_browser,
    )

    # Not in the log, which may be at the level WARNING: without the address there is no page.
    click.echo(f"Sandbox: {running.page_url}", err=True)
    open_browser(running.make_single_use_url())
    code = load_input(
        target,
        file_input,
        ledger=ledger,
        show_result=lambda: _print_open_report(running),
    )
    if code > exit_codes.SIGNAL_BASE:  # the user has already asked to stop
        return code
    with catch_stop_signals() as wait_until_stopped:
        click.echo(f"Still serving {running.page_url}. Press Ctrl-C to stop.", err=True)
        wait_until_stopped()
    return code


def _print_report(warehouse: Path) -> None:
    from rich.console import Console  # noqa: PLC0415 - not before it is needed

    from target_segment_objects.sandbox.terminal_report import print_report  # noqa: PLC0415

    # Come with the extra, too.
    from target_segment_objects.sandbox.warehouse.database import Warehouse  # noqa: PLC0415

    with Warehouse.open(warehouse, read_only=True) as loaded:
        print_report(loaded, Console(stderr=True))


def _print_open_report(running: Sandbox) -> None:
    """Print the report on a warehouse that stays open. The target's sessions have all ended."""
    from rich.console import Console  # noqa: PLC0415 - not before it is needed

    from target_segment_objects.sandbox.terminal_report import print_report  # noqa: PLC0415

    running.record_open_sessions()
    print_report(running.warehouse, Console(stderr=True))
