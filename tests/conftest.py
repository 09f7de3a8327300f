"""Shared by all tests: a running sandbox, the real command line, a clean environment.

Hypothesis takes its settings from the profile below: no test depends on how fast the machine is. A
test that needs other settings names only those that differ.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support import RUN_SECONDS, TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.support import RunTarget

hypothesis.settings.register_profile(
    "project", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest tests, so that no process waits for another at the end."""
    items.sort(key=lambda item: [not any(item.iter_markers(name)) for name in ("meltano", "slow")])


def pytest_xdist_auto_num_workers() -> int:
    """Use more processes than there are cores: many tests wait, for a server or for a pause."""
    return (os.cpu_count() or 1) + 2


def pytest_configure() -> None:
    """Set what the processes that tests start inherit: bytecode, and the default signal handlers.

    Without bytecode, as many containers have it, each process compiles what it imports: Meltano
    then takes 2.4 s to start instead of 0.9 s. A shell starts jobs in the background with SIGINT
    ignored, and nohup has SIGHUP ignored.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _own_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Give each test its temporary folder: a run reports what killed runs left in a shared one."""
    tmp_path_factory.getbasetemp()  # pytest's own folder must not be in that of the first test
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name in ("TMPDIR", "TEMP", "TMP"):
            monkeypatch.setenv(name, folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox with an empty warehouse."""
    with Sandbox(tmp_path / "warehouse.duckdb") as running:
        yield running


@pytest.fixture
def loading_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Sessions are not loaded before it is set."""
    gate = threading.Event()
    load_session = Warehouse.load_session

    def load_later(*arguments: object) -> None:
        assert gate.wait(60)
        load_session(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Warehouse, "load_session", load_later)
    yield gate
    gate.set()


@pytest.fixture
def run_target(tmp_path: Path) -> RunTarget:
    """Run the real command line in a process of its own."""

    def run(
        *arguments: str,
        lines: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        if config is not None:
            path = tmp_path / "config.json"
            path.write_text(json.dumps(dict(config)), encoding="utf-8")
            arguments = (*arguments, "--config", str(path))
        return subprocess.run(
            [*TARGET, *arguments],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=None if environment is None else dict(environment),
            cwd=tmp_path,
            timeout=RUN_SECONDS,
            check=False,
        )

    return run


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment, without settings of ours."""
    ours = ("TARGET_SEGMENT_OBJECTS_", "LOGLEVEL", "SINGER_SDK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
