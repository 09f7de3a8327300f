"""Load a tap into Segment every night, with an asset for each group of streams."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg

GROUPS = ["accounts", "orders"]  # a folder each, with the catalog.json of its streams
FOLDER = Path(os.environ.get("SEGMENT_LOADS", Path(__file__).parent)).resolve()
COMMANDS = {
    "LOG": "-",
    "TAP": "tap-x --config ../tap.json --catalog catalog.json",
    "TARGET": "target-segment-objects --config ../config.json",
}
USAGE_ERROR = 2


def build_asset(group: str) -> dg.AssetsDefinition:
    """Return the asset of a group: its streams, loaded from their last STATE."""

    @dg.asset(
        name=group,
        group_name="segment",
        pool="segment",  # for all loads with the same write key
        retry_policy=dg.RetryPolicy(max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL),
    )
    def load_group() -> dg.MaterializeResult:
        code, metadata = run_load(FOLDER / group)
        if code != 0:
            raise dg.Failure(
                "The load failed: see the log of this step",
                metadata={"exit code": code, **metadata},
                allow_retries=code != USAGE_ERROR,
            )
        return dg.MaterializeResult(metadata=metadata)

    return load_group


def run_load(folder: Path) -> tuple[int, dict[str, float]]:
    """Run load.sh for a folder; return its exit code and the metadata of the run."""
    metadata: dict[str, float] = {}
    with subprocess.Popen(
        [FOLDER / "load.sh", folder],
        env=os.environ | COMMANDS,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            for line in process.stderr or ():
                sys.stderr.write(line)  # Dagster keeps it with the step
                metadata |= read_metric(line)
        except BaseException:  # the run was cancelled
            os.killpg(process.pid, signal.SIGTERM)
            sys.stderr.writelines(process.stderr or ())  # until the target has delivered the rest
            raise
    return process.returncode, metadata | read_exit_codes(folder)


def read_metric(line: str) -> dict[str, float]:
    """Return the metadata that a log line of the target has: objects and seconds."""
    _, found, text = line.partition("METRIC: ")
    metric = json.loads(text) if found else {"metric": None}
    if metric["metric"] == "batch_count":
        return {f"objects sent to {metric['tags']['collection']}": metric["tags"]["objects_sent"]}
    if metric["metric"] == "job_duration":
        tags = metric["tags"]
        return {
            "dagster/row_count": tags["objects_sent"],
            "objects rejected": tags["objects_rejected"],
            "sessions": tags["sessions"],
            "seconds": metric["value"],
        }
    return {}


def read_exit_codes(folder: Path) -> dict[str, float]:
    """Return the exit codes of tap and target in the last run."""
    files = {name: folder / f"{name}.exit" for name in ("tap", "target")}
    return {
        f"exit code of the {name}": int(path.read_text())
        for name, path in files.items()
        if path.exists()
    }


job = dg.define_asset_job("load_segment", dg.AssetSelection.groups("segment"))
defs = dg.Definitions(
    assets=[build_asset(group) for group in GROUPS],
    jobs=[job],
    schedules=[dg.ScheduleDefinition(job=job, cron_schedule="0 3 * * *")],
    executor=dg.multiprocess_executor.configured({"max_concurrent": 4}),  # workers
)
