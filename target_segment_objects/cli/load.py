"""The main job: load the input, show how far the run is, and report how it ended."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Protocol

from target_segment_objects import exit_codes
from target_segment_objects.cli import input_warnings
from target_segment_objects.exceptions import (
    ConfigurationError,
    OutputError,
    SegmentObjectsError,
    SpoolError,
)
from target_segment_objects.plurals import format_count
from target_segment_objects.reporting import summary
from target_segment_objects.reporting.log_handlers import has_short_lines, is_terminal
from target_segment_objects.reporting.progress import Progress, ProgressSnapshot
from target_segment_objects.run.output import SegmentOutput, open_dead_letters

if TYPE_CHECKING:
    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.reporting.stats import CollectionStats
    from target_segment_objects.run.context import RunContext
    from target_segment_objects.run.output import LedgerBinding
    from target_segment_objects.segment.api import BulkApi
    from target_segment_objects.singer.run import RunOutcome
    from target_segment_objects.target import TargetSegmentObjects


class LoadResult(Protocol):
    """Shows where the objects of a run are now."""

    def print_details(self) -> None:
        """Print what is where."""

    def print_verdict(self) -> None:
        """Print on a terminal, as the last lines, whether all of it is there."""


def load_input(
    target: TargetSegmentObjects,
    file_input: IO[bytes] | None,
    *,
    api: BulkApi | None = None,
    ledger: LedgerBinding | None = None,
    result: LoadResult | None = None,
    hides_state: bool = False,
) -> int:
    """Load the input into Segment, and report how it went.

    Args:
        target: The target, with its settings.
        file_input: The Singer messages; None for standard input.
        api: Carries out the API calls; None for Segment's own API.
        ledger: How the run uses a ledger, if the settings have one.
        result: Shows where the objects are now, before the errors are logged: they come last.
        hides_state: Whether STATE is counted instead of written.

    Returns:
        The exit code of the process.
    """

    def log_session(report: SessionReport) -> None:
        summary.log_session(report, target.logger, target.metrics_logger)

    progress = Progress(lambda: take_snapshot(target.context), sys.stderr, target.logger)
    output = SegmentOutput(
        target.settings,
        user_agent=target.user_agent,
        api=api,
        ledger=ledger,
        log_session=log_session,
        pause_display=progress.paused,
        hides_state=hides_state,
    )
    try:
        _require_streams(target, file_input)
        target.prepare_run(output)
    except SegmentObjectsError as error:
        output.close()
        target.logger.error("%s", describe_problem(error))
        return find_exit_code(error)
    began = time.monotonic()
    with progress:
        outcome = target.run(file_input)
        seconds = time.monotonic() - began
        if not outcome.was_aborted:  # else a thread may hold delivery's lock for ever
            _emit_metrics(target, outcome, seconds)
    summary_seconds = None if outcome.was_aborted else seconds
    if is_terminal(sys.stderr):
        _print_end(target, summary_seconds, output.hidden_states, result)
    else:
        _log_end(target, summary_seconds, output.hidden_states, result)
    if outcome.is_complete:
        log_input_warnings(target)
    _log_problems(target, outcome)
    return outcome.exit_code


def describe_problem(problem: Exception) -> str:
    """Return the message, with the setting of the command that may help.

    The classes of the Python API know no settings.
    """
    is_spool = isinstance(problem, SpoolError) and not problem.names_setting
    return f"{problem} Or set spool_dir to another folder." if is_spool else str(problem)


def find_exit_code(error: SegmentObjectsError) -> int:
    """Return the exit code for an error that comes before the input is read."""
    return exit_codes.USAGE_ERROR if isinstance(error, ConfigurationError) else 1


def _require_streams(target: TargetSegmentObjects, file_input: IO[bytes] | None) -> None:
    """Check the input and standard output before anything is sent.

    Raises:
        ConfigurationError: The input is the dead-letter file.
        OutputError: There is no standard output.
    """
    if sys.stdout is None:
        msg = "Standard output is closed, so STATE cannot be written. Redirect it to a file."
        raise OutputError(msg)
    source = target.message_reader.default_input if file_input is None else file_input
    rejects = open_dead_letters(target.settings)
    if rejects is not None and rejects.is_same_file(source):
        msg = (
            "dead_letter_path is the file that is read. Rename the file and load it under its new "
            "name: records that are rejected again go to a new file."
        )
        raise ConfigurationError(msg)
    if file_input is None and source.isatty():
        target.logger.info(input_warnings.WAITING)


def log_input_warnings(target: TargetSegmentObjects) -> int:
    """Warn of a complete input that was empty, or lacked streams that the settings name.

    Returns:
        The number of warnings.
    """
    if target.message_reader.line_number == 0:
        target.logger.warning(input_warnings.EMPTY)
        return 1
    stream_maps = target.mapper.stream_maps
    warnings = list(
        input_warnings.missing_stream_warnings(
            target.settings.collection_map,
            target.config.get("stream_maps") or {},
            target.settings.full_table_streams if target.settings.ledger_path else (),
            sources=stream_maps.keys(),
            streams={stream.stream_alias for streams in stream_maps.values() for stream in streams},
        )
    )
    for warning in warnings:
        target.logger.warning("%s", warning)
    return len(warnings)


def take_snapshot(context: RunContext, *, verb: str = "sent") -> ProgressSnapshot:
    """Return how far a run is."""
    status = context.delivery.get_status()
    stats = context.stats
    return ProgressSnapshot(
        read=stats.records_read,
        sent=stats.objects_sent,
        sessions=status.sessions,
        uploaded_bytes=status.uploaded_bytes,
        oldest_seconds=status.oldest_seconds,
        verb=verb,
    )


def count_collections(context: RunContext) -> dict[str, CollectionStats]:
    """Return the counts of each collection, with what is not delivered."""
    return context.stats.get_collections(context.delivery.get_status().outstanding)


def _emit_metrics(target: TargetSegmentObjects, outcome: RunOutcome, seconds: float) -> None:
    stats, collections = target.context.stats, count_collections(target.context)
    summary.emit_metrics(
        stats,
        collections,
        seconds=seconds,
        is_complete=outcome.is_complete,
        metrics_logger=target.metrics_logger,
    )
    if not has_short_lines(sys.stderr):
        target.logger.info("%s", summary.describe_totals(stats, collections, seconds=seconds))


def _log_problems(target: TargetSegmentObjects, outcome: RunOutcome) -> None:
    logger = target.logger
    rejected, path = target.context.stats.records_rejected, target.settings.dead_letter_file
    is_written = not any(
        isinstance(problem, SpoolError) and problem.path == path for problem in outcome.problems
    )
    if rejected and path is not None and is_written and not outcome.was_aborted:
        verb = "is" if rejected == 1 else "are"
        logger.warning("%s %s in %s.", format_count(rejected, "invalid record"), verb, path)
    for problem in outcome.problems:
        logger.error("%s", describe_problem(problem))
    if outcome.was_aborted:
        logger.error("Aborted: objects of unfinished sessions are not in Segment.")


def _log_end(
    target: TargetSegmentObjects,
    seconds: float | None,
    hidden_states: int,
    result: LoadResult | None,
) -> None:
    """Log the counts of each collection, unless the run was aborted; then show the result."""
    if seconds is not None:
        summary.log_collections(count_collections(target.context), target.logger)
    if hidden_states:
        target.logger.info("%s", _describe_hidden_states(hidden_states))
    if result is not None:
        result.print_details()


def _print_end(
    target: TargetSegmentObjects,
    seconds: float | None,
    hidden_states: int,
    result: LoadResult | None,
) -> None:
    """Print the end of a run on a terminal: what says most comes last, where it stays in sight."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, for a terminal only

    if result is not None:
        result.print_details()
    if seconds is not None and target.logger.isEnabledFor(logging.INFO):
        stats, collections = target.context.stats, count_collections(target.context)
        with suppress(OSError):  # the terminal is gone
            console = Console(stderr=True, highlight=False)
            if result is not None:
                console.print()
            summary.print_summary(collections, console, seconds=seconds)
            if has_short_lines(sys.stderr):
                summary.print_totals(stats, collections, console, seconds=seconds)
            if hidden_states:
                console.print(_describe_hidden_states(hidden_states))
    if result is not None:
        result.print_verdict()


def _describe_hidden_states(count: int) -> str:
    messages = format_count(count, "STATE message")
    return f"{messages} not shown; redirect standard output to a file to keep STATE."
