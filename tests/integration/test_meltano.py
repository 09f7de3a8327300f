"""The Meltano project of the repository works with the real Meltano and a real tap.

Meltano and its plugins are installed once, into virtual environments of their own, in a copy of the
project. Nothing listens at the address of the Hub, so no test depends on it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import socket
import textwrap
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import yaml

from tests.support import record_line, schema_line, state_line
from tests.support.environments import create_environment, run_command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping

    from target_segment_objects.sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
TIMEOUT_SECONDS = 150
NAME = "target-segment-objects"
SETTING = "TARGET_SEGMENT_OBJECTS"
(LOADER,) = yaml.safe_load((ROOT / "meltano.yml").read_text("utf-8"))["plugins"]["loaders"]
VARIANT = LOADER["variant"]
LOCK = Path("plugins", "loaders", f"{NAME}--{VARIANT}.lock")
NEW_TAP = """\
  extractors:
  - name: tap-x
    namespace: tap_x
    executable: ./tap.sh
    capabilities: [state]
"""
NOT_COPIED = shutil.ignore_patterns(".*", "*.duckdb*", "__pycache__", "*.egg-info", "tests")


def installs_meltano(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs the installed project."""
    marked: Callable[..., None] = pytest.mark.meltano(pytest.mark.slow(test))
    return marked


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the project and an installed Meltano."""

    folder: Path
    meltano: Path
    environment: Mapping[str, str]

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a Meltano command; standard error is in its standard output."""
        return run_command(
            [self.meltano, *arguments],
            folder=self.folder,
            environment={**self.environment, **(environment or {})},
            timeout=TIMEOUT_SECONDS,
        )

    def run_shell(self, commands: str) -> str:
        """Run shell commands that must succeed, and return their output."""
        done = run_command(
            ["/bin/sh", "-eu", "-c", commands],
            folder=self.folder,
            environment=self.environment,
            timeout=TIMEOUT_SECONDS,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run_checked(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a Meltano command that must succeed, and return its output."""
        done = self.run(*arguments, environment=environment)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with Meltano and the plugins installed."""
    home = tmp_path_factory.mktemp("meltano")
    yield _install_project(home)
    shutil.rmtree(home, ignore_errors=True)  # environments are large and pytest keeps folders


def _install_project(home: Path) -> Project:
    folder = home / "project"
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    declared = yaml.safe_load((folder / "meltano.yml").read_text(encoding="utf-8"))
    commands = create_environment(home / "venv", f"meltano{declared['requires_meltano']}")
    installed = Project(folder, commands / "meltano", _make_environment(home))
    output = installed.run_checked("install")
    assert "Installed 2/2 plugins" in output
    return installed


def _make_environment(home: Path) -> dict[str, str]:
    """Return an environment without settings for the target or Meltano, and without the Hub."""
    removed = ("MELTANO", "TARGET_", "TAP_", "VIRTUAL_ENV", "PYTHONPATH", "SEGMENT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
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


def read_flights() -> list[dict[str, Any]]:
    """Return the records of the file that the tap of the project reads."""
    lines = (SAMPLES / "laguardia.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_file_of_the_tap_is_part_of_the_sample() -> None:
    """Its lines are the flights of the sample from LaGuardia on 9 February."""
    with gzip.open(SAMPLES / "nycflights13.singer.gz", "rt", encoding="utf-8") as lines:
        messages = [json.loads(line) for line in lines]
    sample = [
        message["record"]
        for message in messages
        if message.get("stream") == "flights" and message["type"] == "RECORD"
    ]
    assert read_flights() == [
        record for record in sample if (record["day"], record["origin"]) == (9, "LGA")
    ]


@installs_meltano
def test_run_loads_the_sample_into_the_sandbox(project: Project) -> None:
    """The first run loads and reports every flight; the second starts from STATE and merges."""
    output = project.run_checked("run", "load-flights")
    assert "flights: 179 objects" in output
    assert "no value was lost" in output
    assert "No state was found" in output
    assert "Incremental state has been updated" in output
    assert "No state was found" not in project.run_checked("run", "load-flights")
    columns = ["id", "carrier", "flight", "dest", "distance", "dep_time", "tailnum"]
    with duckdb.connect(project.folder / "flights.duckdb", read_only=True) as warehouse:
        rows = warehouse.sql(f"SELECT {', '.join(columns)} FROM flights").fetchall()  # noqa: S608
        sessions = warehouse.sql("SELECT objects FROM sandbox_metadata.sessions").fetchall()
    keys = ("year", "month", "day", "carrier", "flight", "origin")
    expected = [
        ("_".join(str(record[key]) for key in keys), *(record[name] for name in columns[1:]))
        for record in read_flights()
    ]
    assert sorted(rows, key=str) == sorted(expected, key=str)
    assert sessions == [(179,), (179,)]
    assert "flights: 179 objects" in project.run_checked("invoke", f"{NAME}:sandbox-show")
    for path in (Path("meltano.yml"), LOCK):  # using the project changes neither
        assert (project.folder / path).read_bytes() == (ROOT / path).read_bytes()


@installs_meltano
def test_meltano_config_test_passes(project: Project) -> None:
    """Meltano reports that its record was written.

    After that, Meltano stops the loader a second time and fails with a traceback, with any loader.
    """
    done = project.run("--environment=sandbox", "config", "test", NAME)
    assert "Test data was written to your target system." in done.stdout
    assert "Plugin configuration is invalid" not in done.stdout
    assert done.returncode == 0 or "ProcessLookupError" in done.stdout
    assert "meltano_test_stream: 1 object" in project.run_checked("invoke", f"{NAME}:sandbox-show")


@installs_meltano
def test_settings_of_production_come_from_the_environment(
    project: Project, sandbox: Sandbox
) -> None:
    """In production, records go over HTTP to the configured URL, with the configured key."""
    settings = {
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "key",
        "TARGET_SEGMENT_OBJECTS_COLLECTION_MAP": '{"flights": "departures"}',
        "TARGET_SEGMENT_OBJECTS_BATCH_MAX_AGE_SECONDS": "60",
        "TARGET_SEGMENT_OBJECTS_NULL_PROPERTIES": "omit",
    }
    command = ("--environment=production", "run", "load-flights")
    project.run_checked(*command, environment=settings)
    assert sandbox.warehouse.collections() == ["departures"]
    assert sandbox.warehouse.count("departures") == 179
    without_key = project.run(*command, "--full-refresh")
    assert without_key.returncode == 1
    assert "write_key" in without_key.stdout


@installs_meltano
def test_ledger_commands_use_the_configured_ledger(project: Project, sandbox: Sandbox) -> None:
    """They get the path and the write key from Meltano, and other arguments from the user."""
    settings = {
        f"{SETTING}_API_URL": sandbox.url,
        f"{SETTING}_WRITE_KEY": "key",
        f"{SETTING}_LEDGER_PATH": "ledger.sqlite",
    }

    def run_in_production(*arguments: str, **changed: str) -> str:
        command = ("--environment=production", *arguments)
        return project.run_checked(*command, environment=settings | changed)

    run_in_production("run", "load-flights", "--full-refresh")
    shown = run_in_production("invoke", f"{NAME}:ledger-show", "flights")
    assert re.search(r"^flights .* 179 ", shown, re.MULTILINE), shown
    assert run_in_production("invoke", f"{NAME}:ledger-export").count('"digest"') == 179
    resent = run_in_production("invoke", f"{NAME}:ledger-resend", "flights", "--yes")
    assert "The next run sends again what it reads of 179 objects." in resent
    run_in_production("run", "load-flights", "--full-refresh")
    assert [session.objects for session in sandbox.warehouse.sessions()] == [179, 179]
    new_key = {f"{SETTING}_WRITE_KEY": "new"}
    adopted = run_in_production("invoke", f"{NAME}:ledger-adopt-key", "--yes", **new_key)
    assert "The ledger accepts the new write key." in adopted
    forgotten = run_in_production("invoke", f"{NAME}:ledger-forget", "--yes")
    assert "Forgot 179 objects of all collections." in forgotten
    without = {f"{SETTING}_LEDGER_PATH": ""}
    done = project.run("invoke", f"{NAME}:ledger-show", environment=settings | without)
    assert done.returncode == 1
    assert f"unset environment variable '${SETTING}_LEDGER_PATH'" in done.stdout


@installs_meltano
def test_environment_sets_settings_of_every_kind(project: Project) -> None:
    """Numbers, options, booleans, objects and nested settings arrive with their types."""
    values = {
        "REQUEST_TIMEOUT_SECONDS": "60",
        "KEEP_ALIVE_INTERVAL_SECONDS": "100",
        "BATCH_MAX_AGE_SECONDS": "20",
        "MAX_RETRIES": "3",
        "PLURALIZE_COLLECTIONS": "true",
        "INVALID_RECORDS": "dead_letter",
        "COLLECTION_MAP": r'{"public\\.orders": "orders"}',
        "BATCH_CONFIG_STORAGE_ROOT": "file://folder",
    }
    environment = {f"TARGET_SEGMENT_OBJECTS_{name}": text for name, text in values.items()}
    output = project.run_checked("invoke", "--dump=config", NAME, environment=environment)
    config = json.loads(output[output.index("{") :])
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


@installs_meltano
def test_meltano_writes_the_lock_file_of_the_repository(project: Project, tmp_path: Path) -> None:
    """With a Hub that has the definition, Meltano writes this lock file byte for byte."""
    locked = (project.folder / LOCK).read_bytes()
    with serve_hub() as url:
        project.run_checked(
            *("lock", "--update", NAME),
            environment={"MELTANO_HUB_API_ROOT": url, "XDG_CACHE_HOME": str(tmp_path)},
        )
    assert (project.folder / LOCK).read_bytes() == locked


@installs_meltano
@pytest.mark.skipif(os.name != "posix", reason="the commands are for a POSIX shell")
def test_documented_commands_work_in_a_new_project(project: Project, tmp_path: Path) -> None:
    """docs/meltano.md from `meltano init` to a test of the loader; then the documented schedule."""
    add, install, run, _, config_test, _ = read_blocks("meltano.md")
    add_schedule, run_schedule = read_blocks("scheduling.md")
    new = make_new_project(project, tmp_path)
    new.run_shell(add)
    declared = (new.folder / "meltano.yml").read_text(encoding="utf-8")
    pip_url = f"pip_url: {project.folder}[sandbox]\n"
    declared, count = re.subn(r"pip_url: .+\n", pip_url, declared)
    assert count == 1
    (new.folder / "meltano.yml").write_text(
        declared.replace("plugins:\n", f"plugins:\n{NEW_TAP}", 1), encoding="utf-8"
    )
    new.run_shell(install)
    (new.folder / ".env").write_text(
        "TARGET_SEGMENT_OBJECTS_SANDBOX=warehouse.duckdb\n", encoding="utf-8"
    )
    assert "users: 1 object" in new.run_shell(run)
    new.run_shell(add_schedule)
    assert "users: 1 object" in new.run_shell(run_schedule)
    assert "--state" in (new.folder / "tap.calls").read_text(encoding="utf-8").splitlines()[-1]
    tested = new.run_shell(f"{config_test.strip()} || true")
    assert "Test data was written to your target system." in tested


@installs_meltano
@pytest.mark.skipif(os.name != "posix", reason="the commands are for a POSIX shell")
def test_example_recovers_from_a_failed_run(
    project: Project, sandbox: Sandbox, tmp_path: Path
) -> None:
    """examples/meltano: a refused run fails, the next loads everything, the one after has STATE."""
    add, run = read_blocks("../examples/meltano/README.md")
    shutil.copytree(ROOT / "examples" / "meltano", tmp_path / "new")
    new = Project(tmp_path / "new", project.meltano, make_shell_environment(project))
    new.run_shell(add)
    (new.folder / ".env").write_text(
        f"TARGET_SEGMENT_OBJECTS_WRITE_KEY=k\nTARGET_SEGMENT_OBJECTS_API_URL={sandbox.url}\n",
        encoding="utf-8",
    )
    refused = new.run(*run.split()[1:], environment={f"{SETTING}_API_URL": "http://127.0.0.1:9"})
    assert refused.returncode != 0
    assert "Loader failed" in refused.stdout
    assert "No state was found" in new.run_shell(run)
    assert sandbox.warehouse.count("users") == 2
    with (new.folder / "users.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": 3, "name": "Edsger"}\n')
    assert "No state was found" not in new.run_shell(run)
    assert sandbox.warehouse.count("users") == 3


def read_blocks(document: str) -> list[str]:
    """Return the shell blocks of a document."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return [textwrap.dedent(block) for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]


def make_shell_environment(project: Project) -> dict[str, str]:
    """Return the environment in which the documented commands find Meltano and the clone."""
    return {
        **project.environment,
        "CLONE": str(project.folder),
        "PATH": os.pathsep.join([str(project.meltano.parent), project.environment["PATH"]]),
    }


def make_new_project(project: Project, folder: Path) -> Project:
    """Run `meltano init`, and add a script that writes Singer messages as `tap-x`."""
    environment = make_shell_environment(project)
    Project(folder, project.meltano, environment).run_checked("init", "new", "--no-usage-stats")
    tap = folder / "new" / "tap.sh"
    lines = [
        schema_line("users", {"id": {"type": "integer"}}),
        record_line("users", {"id": 1}),
        state_line({"bookmarks": {"users": {"at": 1}}}),
    ]
    text = "\n".join(["#!/bin/sh", 'echo "$*" >> tap.calls', "cat <<'END'", *lines, "END", ""])
    tap.write_text(text, encoding="utf-8")
    tap.chmod(0o755)
    return Project(folder / "new", project.meltano, environment)


@contextmanager
def serve_hub() -> Iterator[str]:
    """Serve the definition as the API of the Hub does, and yield the URL of the API."""
    path = ROOT / "plugins" / "hub" / "loaders" / NAME / f"{VARIANT}.yml"
    listing = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("domain_url", "keywords", "maintenance_status", "next_steps", "quality"):
        del listing[name]
    for name in ("settings_preamble", "usage"):
        del listing[name]
    listing["logo_url"] = f"https://hub.meltano.com{listing['logo_url']}"
    responses: dict[str, Any] = {f"/plugins/loaders/{NAME}--{VARIANT}": listing}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(responses[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        variant = {"ref": f"{url}/plugins/loaders/{NAME}--{VARIANT}"}
        responses["/plugins/loaders/index"] = {
            NAME: {
                "logo_url": listing["logo_url"],
                "default_variant": VARIANT,
                "variants": {VARIANT: variant},
            }
        }
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()
