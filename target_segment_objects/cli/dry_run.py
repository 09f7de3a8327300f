"""`--dry-run`: a run that sends nothing, and a report of what it would send.

It is the code of a real run with another output: records are read, mapped, validated and put into
batch files, and delivery hands these to sessions, whose calls do nothing. So the counts of objects,
sessions and bytes are those of a run. No STATE and no dead-letter file is written; a record that
cannot be sent is counted, and reading goes on.
"""

from __future__ import annotations

import gzip
import itertools
import shutil
import sys
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec

from target_segment_objects.cli.dry_run_json import render_json
from target_segment_objects.cli.dry_run_overview import render_overview, render_totals
from target_segment_objects.cli.dry_run_report import DryRunReport, StreamPlan, render_details
from target_segment_objects.cli.load import (
    count_collections,
    describe_problem,
    find_exit_code,
    log_input_warnings,
    take_snapshot,
)
from target_segment_objects.exceptions import SegmentObjectsError
from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.log_handlers import is_terminal
from target_segment_objects.reporting.progress import Progress
from target_segment_objects.reporting.tables import wrap_line
from target_segment_objects.run.output import (
    LedgerBinding,
    MappedStream,
    RejectedRecord,
    RunOutput,
)

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.run.context import RunContext
    from target_segment_objects.singer.run import RunOutcome
    from target_segment_objects.target import TargetSegmentObjects

PLACEHOLDER_KEY: Final = "dry-run"
"""The write key where none is set: the settings need one, and nothing uses it."""

_MAX_REASONS: Final = 20  # of a stream; the records with others are counted together
_OTHER_REASONS: Final = "further reasons"
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)


class DryRun(RunOutput):
    """The output of a run that sends nothing: collects what a run would do.

    Attributes:
        report: What was collected.

    Args:
        ledger: How the run uses a ledger, of which it changes a copy alone.
    """

    stops_at_reject_limit = False

    def __init__(self, ledger: LedgerBinding | None = None) -> None:
        super().__init__(NullApi(self), ledger or LedgerBinding(is_read_only=True))
        self.report = DryRunReport()

    def add_object(self, line: bytes) -> None:
        """Note the types of an object's properties that had no value before."""
        decoded = _DECODER.decode(line)
        columns = self.report.columns.setdefault(decoded["collection"], {})
        for name, value in decoded["properties"].items():
            if value is not None and name not in columns:
                columns[name] = float if isinstance(value, Decimal) else type(value)

    def log_stream(self, mapped: MappedStream) -> None:
        """Note how the stream would be mapped."""
        plan = self.report.streams.get(mapped.name)
        if plan is None:
            plan = StreamPlan(mapped.source, mapped.mapper)
            self.report.streams[mapped.name] = plan
        elif plan.mapper is not mapped.mapper:
            plan.replace_mapper(mapped.mapper)
        plan.key_properties = mapped.key_properties

    def log_session(self, report: SessionReport) -> None:
        """Note the parts."""
        self.report.parts[report.collection] += len(report.part_ids)

    def reject_record(self, rejected: RejectedRecord) -> None:
        """Count the reason, and read on."""
        error = rejected.error
        prefix = "" if error.field is None else f"property '{error.field}': "
        reasons = self.report.streams[error.stream].reject_reasons
        reason = f"{prefix}{error.reason}"
        if reason not in reasons and len(reasons) >= _MAX_REASONS:
            reason = _OTHER_REASONS
        reasons[reason] += 1


class NullApi:
    """Accepts sessions and parts as Segment would, and shows the objects to the dry run."""

    def __init__(self, dry_run: DryRun) -> None:
        self._dry_run = dry_run
        self._numbers = itertools.count(1)

    def start(self) -> str:
        """Start a session."""
        return f"dry-run-{next(self._numbers)}"

    def upload(self, sync_id: str, file: Path, **_: object) -> str:
        """Read a part instead of sending it."""
        with gzip.open(file) as lines:
            for line in lines:
                self._dry_run.add_object(line)
        return sync_id

    def keep_alive(self, sync_id: str) -> None:
        """Do nothing."""

    def finish(self, sync_id: str, error: str = "", **_: object) -> None:
        """Do nothing."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """Do nothing."""


def run_dry(
    target: TargetSegmentObjects,
    file_input: IO[bytes] | None,
    *,
    output_format: str,
    shows_all: bool,
    ledger: LedgerBinding,
) -> int:
    """Read to the end, and print what a run would have done to standard output.

    Args:
        target: The target, with its settings.
        file_input: The Singer messages; None for standard input.
        output_format: The format of the report: "text" or "json".
        shows_all: Whether the text has the details of all streams.
        ledger: How a run would use a ledger, if the settings have one.

    Returns:
        The exit code that a run would have.
    """
    logger = target.logger
    checks_key = target.settings.write_key != PLACEHOLDER_KEY
    dry_run = DryRun(msgspec.structs.replace(ledger, checks_key=checks_key, is_read_only=True))
    try:
        context = target.prepare_run(dry_run)
    except SegmentObjectsError as error:
        logger.error("%s", describe_problem(error))
        return find_exit_code(error)
    with Progress(lambda: take_snapshot(context, verb="mapped"), sys.stderr, logger):
        outcome = target.run(file_input, rest="Reporting")
    if outcome.was_aborted:
        logger.error("Aborted.")
        return outcome.exit_code
    input_warnings = log_input_warnings(target) if outcome.is_complete else 0
    problems = _list_problems(context, outcome)
    code = outcome.exit_code or (1 if problems else 0)
    collections = count_collections(context)
    if output_format == "json":
        lines = [
            render_json(
                dry_run.report, context.stats, collections, exit_code=code, problems=problems
            )
        ]
    else:
        found = (dry_run.report, context.stats, collections)
        width = _measure_terminal()
        lines = [
            *render_overview(*found, width=width),
            "",
            *render_details(*found, shows_all=shows_all),
            *render_totals(*found, input_warnings=input_warnings),
        ]
        lines = [part for line in "\n".join(lines).split("\n") for part in wrap_line(line, width)]
    try:
        _print_lines(lines)
    except BrokenPipeError:
        raise  # the reader has seen enough: click exits
    except OSError as cause:
        reason = cause.strerror or cause
        problems.append(f"The report cannot be written to standard output: {reason}.")
        code = code or 1
    for problem in problems:
        logger.error("%s", problem)
    return code


def _list_problems(context: RunContext, outcome: RunOutcome) -> list[str]:
    problems = [describe_problem(problem) for problem in outcome.problems]
    rejected = context.stats.records_rejected
    if rejected and context.settings.invalid_records == "fail":
        problems.append(
            f"{format_count(rejected, 'record')} cannot be sent. A run would end at the first of "
            'them (invalid_records is "fail").'
        )
    return problems


def _measure_terminal() -> int | None:
    """Return the width of standard output; None if it is not a terminal."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def _print_lines(lines: list[str]) -> None:
    """Print lines; what the encoding of standard output does not have is escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        click.echo(line.encode(encoding, "backslashreplace").decode(encoding))


def add_placeholder_key(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that has a write key."""
    return config if config.get("write_key") else {**config, "write_key": PLACEHOLDER_KEY}
