"""The Meltano project of the repository works as it stands: with the real Meltano and a real tap.

Meltano and its plugins get virtual environments of their own, in a copy of the project. The Hub is
out of reach: its address is a port of this machine on which nothing listens.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_segment_objects.sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
BIN = "Scripts" if os.name == "nt" else "bin"
SECONDS = 150
NAME = "target-segment-objects"
VARIANT = "original"
LOCK = Path("plugins", "loaders", f"{NAME}--{VARIANT}.lock")
NOT_COPIED = shutil.ignore_patterns(".*", "*.duckdb*", "__pycache__", "*.egg-info", "tests")


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the project, and the Meltano that works on it."""

    folder: Path
    meltano: Path
    environment: Mapping[str, str]

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a Meltano command, and return what it printed on both streams as one."""
        return subprocess.run(
            [self.meltano, *arguments],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )

    def must_run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a Meltano command that has to succeed."""
        done = self.run(*arguments, environment=environment)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project with Meltano and the plugins installed, as after a clone."""
    home = tmp_path_factory.mktemp("meltano")
    yield _installed(home)
    shutil.rmtree(home, ignore_errors=True)  # environments are large, and pytest keeps folders


def _installed(home: Path) -> Project:
    folder = home / "project"
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True, timeout=SECONDS)
    said = yaml.safe_load((folder / "meltano.yml").read_text(encoding="utf-8"))
    meltano = f"meltano{said['requires_meltano']}"
    subprocess.run(
        [home / "venv" / BIN / "python", "-m", "pip", "install", "--quiet", meltano],
        check=True,
        timeout=SECONDS,
    )
    made = Project(folder, home / "venv" / BIN / "meltano", _environment(home))
    printed = made.must_run("install")
    assert "Installed 2/2 plugins" in printed
    return made


def _environment(home: Path) -> dict[str, str]:
    """Return an environment without settings of ours or Meltano's, and with no Hub."""
    ours = ("MELTANO", "TARGET_", "TAP_", "VIRTUAL_ENV", "PYTHONPATH", "SEGMENT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return kept | {
        "MELTANO_HUB_API_ROOT": f"http://127.0.0.1:{port}",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
        "MELTANO_CLI_LOG_FORMAT": "uncolored",
        "PYTHONUTF8": "1",
        "XDG_STATE_HOME": str(home / "state"),
    }


def flights() -> list[dict[str, Any]]:
    """Return the records of the file that the project's tap reads."""
    lines = (SAMPLES / "laguardia.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_tap_s_file_is_of_the_sample() -> None:
    """Its lines are the sample's flights from LaGuardia on 9 February, as they are there."""
    with gzip.open(SAMPLES / "nycflights13.singer.gz", "rt", encoding="utf-8") as lines:
        messages = [json.loads(line) for line in lines]
    of_sample = [
        message["record"]
        for message in messages
        if message.get("stream") == "flights" and message["type"] == "RECORD"
    ]
    assert flights() == [
        record for record in of_sample if (record["day"], record["origin"]) == (9, "LGA")
    ]


@pytest.mark.meltano
def test_a_run_loads_the_sample_into_the_sandbox(project: Project) -> None:
    """One command loads every flight, and shows so; from its STATE, a second merges them again."""
    printed = project.must_run("run", "load-flights")
    assert "flights: 179 objects" in printed
    assert "Nothing was lost" in printed
    assert "No state was found" in printed
    assert "Incremental state has been updated" in printed
    assert "No state was found" not in project.must_run("run", "load-flights")
    columns = ["id", "carrier", "flight", "dest", "distance", "dep_time", "tailnum"]
    with duckdb.connect(project.folder / "flights.duckdb", read_only=True) as warehouse:
        rows = warehouse.sql(f"SELECT {', '.join(columns)} FROM flights").fetchall()  # noqa: S608
        sessions = warehouse.sql("SELECT objects FROM sandbox_metadata.sessions").fetchall()
    keys = ("year", "month", "day", "carrier", "flight", "origin")
    expected = [
        ("_".join(str(record[key]) for key in keys), *(record[name] for name in columns[1:]))
        for record in flights()
    ]
    assert sorted(rows, key=str) == sorted(expected, key=str)
    assert sessions == [(179,), (179,)]
    assert "flights: 179 objects" in project.must_run("invoke", f"{NAME}:show")
    for path in (Path("meltano.yml"), LOCK):  # using the project writes neither anew
        assert (project.folder / path).read_bytes() == (ROOT / path).read_bytes()


@pytest.mark.meltano
def test_meltano_s_test_of_the_loader_passes(project: Project) -> None:
    """Meltano's verdict is that its record was written; no line has a word that it fails over.

    Meltano ends the loader's process once more after it has ended, which fails by chance, with any
    loader, and leaves a traceback behind the verdict.
    """
    done = project.run("--environment=sandbox", "config", "test", NAME)
    assert "Test data was written to your target system." in done.stdout
    assert "Plugin configuration is invalid" not in done.stdout
    assert done.returncode == 0 or "ProcessLookupError" in done.stdout
    assert "meltano_test_stream: 1 object" in project.must_run("invoke", f"{NAME}:show")


@pytest.mark.meltano
def test_production_takes_its_settings_from_the_environment(
    project: Project, sandbox: Sandbox
) -> None:
    """In production, records go over HTTP to the address that is set, with the key that is set."""
    settings = {
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "key",
        "TARGET_SEGMENT_OBJECTS_COLLECTION_MAP": '{"flights": "departures"}',
        "TARGET_SEGMENT_OBJECTS_BATCH_MAX_AGE_SECONDS": "60",
        "TARGET_SEGMENT_OBJECTS_NULL_PROPERTIES": "omit",
    }
    command = ("--environment=production", "run", "load-flights")
    project.must_run(*command, environment=settings)
    assert sandbox.warehouse.collections() == ["departures"]
    assert sandbox.warehouse.count("departures") == 179
    without_key = project.run(*command, "--full-refresh")
    assert without_key.returncode == 1
    assert "write_key" in without_key.stdout


@pytest.mark.meltano
def test_every_setting_of_a_kind_comes_from_the_environment(project: Project) -> None:
    """A number, a choice, a switch, an object and a nested setting arrive as what they are."""
    given = {
        "REQUEST_TIMEOUT_SECONDS": "60",
        "KEEP_ALIVE_INTERVAL_SECONDS": "100",
        "BATCH_MAX_AGE_SECONDS": "20",
        "MAX_RETRIES": "3",
        "PLURALIZE_COLLECTIONS": "true",
        "INVALID_RECORDS": "dead_letter",
        "COLLECTION_MAP": r'{"public\\.orders": "orders"}',
        "BATCH_CONFIG_STORAGE_ROOT": "file://folder",
    }
    environment = {f"TARGET_SEGMENT_OBJECTS_{name}": text for name, text in given.items()}
    printed = project.must_run("invoke", "--dump=config", NAME, environment=environment)
    config = json.loads(printed[printed.index("{") :])
    expected = {
        "request_timeout_seconds": 60,
        "keep_alive_interval_seconds": 100,
        "batch_max_age_seconds": 20,
        "max_retries": 3,
        "pluralize_collections": True,
        "invalid_records": "dead_letter",
        "collection_map": {"public.orders": "orders"},
        "batch_config": {"storage": {"root": "file://folder"}},
    }
    assert {name: config.get(name) for name in expected} == expected


@pytest.mark.meltano
def test_meltano_locks_the_listing_as_the_repository_has_it(
    project: Project, tmp_path: Path
) -> None:
    """From a Hub that has the listing, Meltano writes the lock file that is here, byte for byte."""
    locked = (project.folder / LOCK).read_bytes()
    with hub() as address:
        project.must_run(
            *("lock", "--update", NAME),
            environment={"MELTANO_HUB_API_ROOT": address, "XDG_CACHE_HOME": str(tmp_path)},
        )
    assert (project.folder / LOCK).read_bytes() == locked


@contextmanager
def hub() -> Iterator[str]:
    """Serve the listing as the Hub's API does, and give the API's address."""
    path = ROOT / "plugins" / "hub" / "loaders" / NAME / f"{VARIANT}.yml"
    listing = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("domain_url", "keywords", "maintenance_status", "next_steps", "quality"):
        del listing[name]
    for name in ("settings_preamble", "usage"):
        del listing[name]
    listing["logo_url"] = f"https://hub.meltano.com{listing['logo_url']}"
    answers: dict[str, Any] = {f"/plugins/loaders/{NAME}--{VARIANT}": listing}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        variant = {"ref": f"{address}/plugins/loaders/{NAME}--{VARIANT}"}
        answers["/plugins/loaders/index"] = {
            NAME: {
                "logo_url": listing["logo_url"],
                "default_variant": VARIANT,
                "variants": {VARIANT: variant},
            }
        }
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield address
        finally:
            server.shutdown()
            thread.join()
