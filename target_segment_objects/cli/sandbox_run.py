"""A run with `--sandbox`: load into a local sandbox, and show the result.

With `--open`, the sandbox also serves a page, from the start of the load until Ctrl-C.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec

from target_segment_objects import exit_codes, sandbox
from target_segment_objects.cli.load import load_input
from target_segment_objects.reporting.log_handlers import is_terminal
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rich.console import Console

    from target_segment_objects.run.output import LedgerBinding
    from target_segment_objects.sandbox.server import Sandbox
    from target_segment_objects.sandbox.warehouse.database import Warehouse

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
                return _load_and_serve(
                    target, file_input, running, ledger, _OpenSandbox(running, warehouse)
                )

            # Only a stopped sandbox has recorded its unfinished sessions.
            result = _StoppedSandbox(warehouse, stop=stack.close)
            return load_input(
                target, file_input, ledger=ledger, result=result, hides_state=_hides_state()
            )
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
    result: _OpenSandbox,
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
        result=result,
        hides_state=_hides_state(),
    )
    if code > exit_codes.SIGNAL_BASE:  # the user has already asked to stop
        return code
    with catch_stop_signals() as wait_until_stopped:
        click.echo(f"Still serving {running.page_url}. Press Ctrl-C to stop.", err=True)
        wait_until_stopped()
    return code


def _hides_state() -> bool:
    """Return whether STATE would be on a terminal, between what the user wants to see."""
    return sys.stdout is not None and sys.stdout.isatty()


class _StoppedSandbox:
    """Shows the warehouse of a sandbox that served the load alone.

    Args:
        path: The warehouse.
        stop: Stops the sandbox.
    """

    def __init__(self, path: Path, *, stop: Callable[[], None]) -> None:
        self._path = path
        self._stop = stop

    def print_details(self) -> None:
        """Stop the sandbox, and print the report; on a terminal without the verdict."""
        self._stop()
        with self._open_warehouse() as warehouse:
            _print_report(warehouse)

    def print_verdict(self) -> None:
        """Print the verdict, the file, and the commands to look inside."""
        from target_segment_objects.sandbox import verdict  # noqa: PLC0415 - not before it is needed

        console = _open_console()
        console.print()
        with self._open_warehouse() as warehouse:
            verdict.print_verdict(warehouse, console)
            example = verdict.find_largest_collection(warehouse)
        verdict.print_next_steps(self._path, console, collection=example)

    def _open_warehouse(self) -> Warehouse:
        # Comes with the extra.
        from target_segment_objects.sandbox.warehouse.database import Warehouse  # noqa: PLC0415

        return Warehouse.open(self._path, read_only=True)


class _OpenSandbox:
    """Shows the warehouse of a sandbox whose page stays open. The target's sessions have ended.

    Args:
        running: The sandbox.
        path: Its warehouse.
    """

    def __init__(self, running: Sandbox, path: Path) -> None:
        self._running = running
        self._path = path

    def print_details(self) -> None:
        """Print the report; on a terminal without the verdict."""
        self._running.record_open_sessions()
        _print_report(self._running.warehouse)

    def print_verdict(self) -> None:
        """Print the verdict and the file. The address of the page follows."""
        from target_segment_objects.sandbox import verdict  # noqa: PLC0415 - not before it is needed

        console = _open_console()
        console.print()
        verdict.print_verdict(self._running.warehouse, console)
        verdict.print_next_steps(self._path, console, is_served=True)


def _print_report(warehouse: Warehouse) -> None:
    from target_segment_objects.sandbox import terminal_report  # noqa: PLC0415 - comes with the extra

    if is_terminal(sys.stderr):
        terminal_report.print_details(warehouse, _open_console())
    else:
        terminal_report.print_report(warehouse, _open_console())


def _open_console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - not before it is needed

    return Console(stderr=True)
