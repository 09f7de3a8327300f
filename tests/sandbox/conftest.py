"""Shared by the tests of the sandbox: one that runs for a module, and its client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.server import Sandbox
from tests.support.bare_http import BareClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for the tests that only check responses."""
    with Sandbox(tmp_path_factory.mktemp("shared") / "warehouse.duckdb") as sandbox:
        yield sandbox


@pytest.fixture
def client(shared_sandbox: Sandbox) -> BareClient:
    """A client of the shared sandbox."""
    return BareClient(shared_sandbox.url)


@pytest.fixture
def session_folder(tmp_path: Path) -> Path:
    """The folder where a sandbox keeps uploaded files."""
    return tmp_path / "w.duckdb.sessions"
