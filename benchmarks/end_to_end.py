"""Run the target against a sandbox, with and without a slow line, and see what overlapping hides.

`python -m benchmarks.end_to_end` prints the table, and with `--page` puts it into the docs.

For each input and line: how long it takes to prepare all batches (a client that answers at once),
to send them when they are ready, one session after the other, and how long the target takes, which
sends while it prepares, and sessions of different collections side by side. Each input makes at
least four batches, because while the last one is sent there is nothing left to prepare. A sandbox
loads before it answers Finish, and takes longer for that than the target for all its work; so there
is a line, too, with nothing but prompt answers at its end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks import inputs, outputs, page
from benchmarks.runs import OURS, bench_options
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment.client import Client

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from benchmarks.runs import Bench, Input

_BATCHES: Final = 4  # of an input of one stream
_STREAMS: Final = 8
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """A way to the sandbox.

    Attributes:
        name: What tables call it.
        latency_seconds: What each request takes at least.
        bytes_per_second: What all requests share.
        is_prompt: Whether nothing is loaded at its end.
    """

    name: str
    latency_seconds: float = 0.0
    bytes_per_second: float = math.inf
    is_prompt: bool = False


_ANSWERS: Final = {  # to each of the four calls
    "start": (201, b'{"sync_id": "session"}'),
    "upload": (201, b'{"part_id": "part"}'),
    "keep-alive": (200, b"{}"),
    "finish": (202, b"{}"),
}


class SlowLine:
    """Keeps a sandbox's requests as long as a line would."""

    def __init__(self, app: ASGIApp, line: Line) -> None:
        """Put a line before an application."""
        self._app = app
        self._line = line
        self._free_at = 0.0  # when all that has come so far is through the line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, later."""

        async def receive_slowly() -> Message:
            message = await receive()
            await self._carry(len(message.get("body", b"")))
            return message

        await asyncio.sleep(self._line.latency_seconds)
        await self._app(scope, receive_slowly, send)

    async def _carry(self, size: int) -> None:
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + size / self._line.bytes_per_second
        await asyncio.sleep(self._free_at - now)


async def prompt(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, as Segment does: it loads later what it was given."""
    while (await receive()).get("more_body"):
        pass
    status, body = _ANSWERS[scope["path"].split("/")[2]]
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


@click.command(help=__doc__)
@bench_options
@click.option("--latency", default=200, show_default=True, help="The slow line's, in ms.")
@click.option("--speed", default=20.0, show_default=True, help="The slow line's, in MB/s.")
def main(bench: Bench, *, latency: int, speed: float) -> None:
    """Measure, print, and put the table into the docs if that is wanted."""
    name = f"{latency} ms, {speed:g} MB/s"
    slow = (latency / 1000, speed * _MEGABYTE)
    lines = (Line("sandbox"), Line(f"{name}, sandbox", *slow), Line(name, *slow, is_prompt=True))
    sources = [bench.input(shape) for shape in bench.shapes]
    if bench.has_all:
        sources.append(bench.input(inputs.A, streams=_STREAMS))
    header = ["", "prepare", "send", "one after the other", "as it is", "saved", "records/s"]
    rows = [_row(bench, source, line) for source in sources for line in lines]
    bench.publish("end-to-end", f"{page.machine()}.\n\n{page.table(header, rows)}")


def _row(bench: Bench, source: Input, line: Line) -> list[str]:
    batches = max(_BATCHES, source.streams)
    config = {**OURS.config, "batch_size_rows": max(1, source.records // batches)}
    taken = [_measure(bench, source, config, line) for _ in range(bench.rounds)]
    prepare, send, both = (statistics.median(times) for times in zip(*taken, strict=True))
    streams = f", {source.streams} streams" if source.streams > 1 else ""
    return [
        f"{source.name}{streams}; {line.name}",
        *(f"{seconds:.2f} s" for seconds in (prepare, send, prepare + send, both)),
        f"{1 - both / (prepare + send):.0%}",
        f"{source.records / both:,.0f}",
    ]


def _measure(
    bench: Bench, source: Input, config: dict[str, Any], line: Line
) -> tuple[float, float, float]:
    """Return the seconds that it takes to prepare, to send, and to do both."""
    prepared = bench.run(dataclasses.replace(OURS, config=config), source)
    with _sandbox(bench, line) as sandbox:
        began = time.perf_counter()
        client = Client("benchmark", api_url=sandbox.url)
        outputs.upload(sorted(prepared.output.iterdir()), client)
        client.close()
        send = time.perf_counter() - began
    with _sandbox(bench, line) as sandbox:
        target = dataclasses.replace(
            OURS,
            command=(
                *(sys.executable, "-m", "target_segment_objects"),
                *("--config", "{config}"),
            ),
            config={**config, "api_url": sandbox.url},
        )
        both = bench.run(target, source)
        if not line.is_prompt:
            _check(sandbox, source)
    return prepared.seconds, send, both.seconds


def _sandbox(bench: Bench, line: Line) -> Sandbox:
    """Return a sandbox that runs in this process, and not in the target's."""
    warehouse = bench.empty_folder("sandbox") / "warehouse.duckdb"
    return Sandbox(warehouse, wrap=lambda app: SlowLine(prompt if line.is_prompt else app, line))


def _check(sandbox: Sandbox, source: Input) -> None:
    """Check that all records have landed."""
    landed = sum(session.objects for session in sandbox.warehouse.sessions())
    if landed != source.records:
        msg = f"{landed} of {source.records} records of {source.path.name} have landed"
        raise outputs.OutputsDifferError(msg)


if __name__ == "__main__":
    main()
