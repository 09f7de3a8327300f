"""Shared by the tests of the sandbox."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.warehouse.database import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator


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
