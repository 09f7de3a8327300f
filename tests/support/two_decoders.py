"""Run the target with typed and with untyped decoding, and keep what it does."""

from __future__ import annotations

import copy
import gzip
import io
import json
import logging
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from target_segment_objects.cli.load import load_input
from target_segment_objects.sinks import SegmentObjectsSink
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from collections.abc import Iterable


class UntypedSink(SegmentObjectsSink):
    """A sink whose records are all decoded untyped."""

    use_types = False


DECODERS = (SegmentObjectsSink, UntypedSink)


class RecordingClient:
    """A client that keeps the files that it should upload."""

    def __init__(self) -> None:
        """Start without a file."""
        self.files: list[bytes] = []

    def start(self) -> str:
        """Start a session."""
        return "s"

    def upload(self, sync_id: str, file: Path, **_: object) -> str:  # noqa: ARG002 - the client's
        """Keep a file."""
        self.files.append(gzip.decompress(file.read_bytes()))
        return "p"

    def keep_alive(self, sync_id: str) -> None:
        """Accept."""

    def finish(self, sync_id: str, error: str = "", **_: object) -> None:
        """Accept."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """Accept."""

    def close(self) -> None:
        """Do nothing."""


class WarningRecorder(logging.Handler):
    """Keeps the messages of warnings."""

    def __init__(self) -> None:
        """Start without a message."""
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.messages.append(record.getMessage())


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        code: Its exit code.
        files: The files that it uploaded, sorted by collection.
        state: Its last STATE.
        warnings: The warnings, sorted: records that are decoded together are mapped together.
        rejected: The records of the dead-letter file, with the reasons.
        records: Number of records that it read, by stream.
        violating: Those that were sent although they do not match their schema.
        untyped_records: Those that were decoded untyped.
    """

    code: int
    files: list[bytes]
    state: list[str]
    warnings: list[str]
    rejected: list[tuple[Any, Any]]
    records: dict[str, int]
    violating: int
    untyped_records: dict[str, int] = field(compare=False)


def run_and_collect(
    lines: Iterable[bytes],
    decoder: type[SegmentObjectsSink],
    folder: Path | str,
    *,
    at_once: bool = True,
    **config: Any,  # noqa: ANN401 - settings of any type
) -> Outcome:
    """Run a target with a sink class, and return what it did.

    Args:
        lines: The input.
        decoder: The sink class.
        folder: Where the dead-letter file goes.
        at_once: Whether the lines are read together; if not, one after the other.
        **config: Settings.
    """

    class Target(TargetSegmentObjects):
        default_sink_class = decoder

    api = RecordingClient()
    rejects = Path(folder) / f"{decoder.__name__}.singer"
    handler = WarningRecorder()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        target = Target(
            config={
                "write_key": "k",
                "batch_size_rows": 3,
                "max_parallel_sessions": 1,
                "invalid_records": "dead_letter",
                "dead_letter_path": str(rejects),
                **copy.deepcopy(config),  # the SDK removes options from it
            }
        )
        with redirect_stdout(io.StringIO()) as output:
            content = b"".join(lines)
            file = io.BytesIO(content) if at_once else io.StringIO(content.decode())
            code = load_input(target, cast("IO[bytes]", file), api=api)
    finally:
        root.removeHandler(handler)
    return Outcome(
        code,
        # The sessions of two collections come in any order, those of one collection in theirs.
        files=sorted(api.files, key=_read_collection),
        state=output.getvalue().splitlines()[-1:],
        warnings=sorted(message.replace(str(rejects), "rejects") for message in handler.messages),
        rejected=_read_rejects(rejects),
        records={name: stream.read for name, stream in target.stats.streams.items()},
        violating=target.stats.records_violating,
        untyped_records={name: stream.untyped for name, stream in target.stats.streams.items()},
    )


def _read_collection(file: bytes) -> str:
    collection: str = json.loads(file.splitlines()[0])["collection"]
    return collection


def _read_rejects(file: Path) -> list[tuple[Any, Any]]:
    """Return the records of a dead-letter file, without the time of their rejection."""
    messages = map(json.loads, file.read_bytes().splitlines()) if file.exists() else ()
    return [
        (message["record"], {**message["rejected"], "at": None})
        for message in messages
        if message["type"] == "RECORD"
    ]
