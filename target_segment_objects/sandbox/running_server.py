"""Finds the sandbox that serves a warehouse: its address is in a small file beside the warehouse.

DuckDB lets no second process read a file that is open for writing, so `show` asks the server.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import requests

from target_segment_objects.sandbox.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONNECT_TIMEOUT_SECONDS: Final = 5
_READ_TIMEOUT_SECONDS: Final = 600
"""The server may first finish a load."""


@contextmanager
def publish_address(warehouse: Path, url: str, token: str) -> Iterator[None]:
    """Write the file while the sandbox runs.

    Args:
        warehouse: The file of the warehouse.
        url: The address of the sandbox.
        token: What distinguishes it from another sandbox that has the address later.
    """
    path = _address_path(warehouse)
    path.write_text(json.dumps({"url": url, "token": token}), encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def fetch_report(warehouse: Path, *, rows: int, width: int, color_system: str | None) -> str | None:
    """Return the report on a warehouse from the sandbox that serves it, or `None` if none does.

    Args:
        warehouse: The file of the warehouse.
        rows: Number of rows to show of each collection.
        width: Characters of a line.
        color_system: How to color it, as rich names it; `None` for no colors.

    Raises:
        WarehouseError: The sandbox cannot load a session.
    """
    try:
        address = json.loads(_address_path(warehouse).read_text(encoding="utf-8"))
        query = {"token": address["token"], "rows": rows, "width": width, "color": color_system}
        with requests.Session() as session:
            session.trust_env = False  # no proxy
            response = session.get(
                f"{address['url']}/report.txt",
                params=query,
                timeout=(_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS),
                allow_redirects=False,
            )
    except (OSError, ValueError, KeyError, TypeError):  # no such file; a killed server's file
        return None
    if response.status_code == requests.codes.unavailable:
        raise WarehouseError(response.text)
    return response.text if response.status_code == requests.codes.ok else None


def _address_path(warehouse: Path) -> Path:
    return warehouse.with_name(f"{warehouse.name}.server.json")
