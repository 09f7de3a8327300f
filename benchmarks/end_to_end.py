"""Run the target against a sandbox, with and without a slow network, to see what overlapping saves.

`python -m benchmarks.end_to_end` prints the table; `--page` also writes it to the docs.

For each input and network, three times are measured: preparing all batches (a client that answers
immediately), sending the prepared batches one session after the other, and the target itself, which
sends while it prepares and runs sessions of different collections in parallel. Each input has at
least four batches, because nothing is left to prepare while the last one is sent. A sandbox loads
objects while further ones are sent, and competes with the target for the same cores, so one network
leads to a server that only accepts.
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

from benchmarks import docs_page, inputs, outputs
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
class Network:
    """A network between the target and the sandbox.

    Attributes:
        name: Its name in tables.
        latency_seconds: Delay of each request.
        bytes_per_second: Bandwidth, shared by all requests.
        accepts_only: Whether it leads to a server that loads nothing.
    """

    name: str
    latency_seconds: float = 0.0
    bytes_per_second: float = math.inf
    accepts_only: bool = False


_RESPONSES: Final = {  # by call
    "start": (201, b'{"sync_id": "session"}'),
    "upload": (201, b'{"part_id": "part"}'),
    "keep-alive": (200, b"{}"),
    "finish": (202, b"{}"),
}


class SlowNetwork:
    """ASGI middleware that delays requests like a slow network."""

    def __init__(self, app: ASGIApp, network: Network) -> None:
        self._app = app
        self._network = network
        self._free_at = 0.0  # when everything received so far has been transmitted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request with delay."""

        async def receive_slowly() -> Message:
            message = await receive()
            await self._wait_for_bandwidth(len(message.get("body", b"")))
            return message

        await asyncio.sleep(self._network.latency_seconds)
        await self._app(scope, receive_slowly, send)

    async def _wait_for_bandwidth(self, size: int) -> None:
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + size / self._network.bytes_per_second
        await asyncio.sleep(self._free_at - now)


async def accept_requests(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond immediately, without loading anything: Segment loads after its response, too."""
    while (await receive()).get("more_body"):
        pass
    status, body = _RESPONSES[scope["path"].split("/")[2]]
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


@click.command(help=__doc__)
@bench_options
@click.option(
    "--latency", default=200, show_default=True, help="Latency of the slow network in ms."
)
@click.option(
    "--speed", default=20.0, show_default=True, help="Bandwidth of the slow network in MB/s."
)
def main(bench: Bench, *, latency: int, speed: float) -> None:
    """Measure all inputs and networks, and publish the table."""
    name = f"{latency} ms, {speed:g} MB/s"
    slow = (latency / 1000, speed * _MEGABYTE)
    networks = (
        Network("sandbox"),
        Network(f"{name}, sandbox", *slow),
        Network(name, *slow, accepts_only=True),
    )
    sources = [bench.prepare_input(shape) for shape in bench.shapes]
    if bench.has_all:
        sources.append(bench.prepare_input(inputs.A, streams=_STREAMS))
    header = ["", "prepare", "send", "prepare + send", "target", "saved", "records/s"]
    rows = [_measure_row(bench, source, network) for source in sources for network in networks]
    bench.publish_result(
        "end-to-end", f"{docs_page.describe_machine()}.\n\n{docs_page.format_table(header, rows)}"
    )


def _measure_row(bench: Bench, source: Input, network: Network) -> list[str]:
    batches = max(_BATCHES, source.streams)
    config = {**OURS.config, "batch_size_rows": max(1, source.records // batches)}
    measured = [_measure_times(bench, source, config, network) for _ in range(bench.rounds)]
    prepare, send, both = (statistics.median(times) for times in zip(*measured, strict=True))
    streams = f", {source.streams} streams" if source.streams > 1 else ""
    return [
        f"{source.name}{streams}; {network.name}",
        *(f"{seconds:.2f} s" for seconds in (prepare, send, prepare + send, both)),
        f"{1 - both / (prepare + send):.0%}",
        f"{source.records / both:,.0f}",
    ]


def _measure_times(
    bench: Bench, source: Input, config: dict[str, Any], network: Network
) -> tuple[float, float, float]:
    """Return the seconds to prepare, to send, and of the target, which does both."""
    prepared = bench.run_candidate(dataclasses.replace(OURS, config=config), source)
    with _create_sandbox(bench, network) as sandbox:
        began = time.perf_counter()
        client = Client("benchmark", api_url=sandbox.url)
        outputs.upload_files(sorted(prepared.output.iterdir()), client)
        client.close()
        send = time.perf_counter() - began
    with _create_sandbox(bench, network) as sandbox:
        target = dataclasses.replace(
            OURS,
            command=(
                *(sys.executable, "-m", "target_segment_objects"),
                *("--config", "{config}"),
            ),
            config={**config, "api_url": sandbox.url},
        )
        both = bench.run_candidate(target, source)
        if not network.accepts_only:
            _check_loaded(sandbox, source)
    return prepared.seconds, send, both.seconds


def _create_sandbox(bench: Bench, network: Network) -> Sandbox:
    """Return a sandbox that runs in this process, not in the target's."""
    warehouse = bench.empty_folder("sandbox") / "warehouse.duckdb"
    return Sandbox(
        warehouse,
        wrap=lambda app: SlowNetwork(accept_requests if network.accepts_only else app, network),
    )


def _check_loaded(sandbox: Sandbox, source: Input) -> None:
    """Check that all records were loaded."""
    loaded = sum(session.objects for session in sandbox.warehouse.sessions())
    if loaded != source.records:
        msg = f"{loaded} of {source.records} records of {source.path.name} were loaded"
        raise outputs.OutputsDifferError(msg)


if __name__ == "__main__":
    main()
