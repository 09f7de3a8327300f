"""Finds the sandbox that serves a warehouse: its address is in a small file beside the warehouse.

DuckDB lets no second process read a file that is open for writing, so `show` asks the server.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3

from target_segment_objects.loopback import is_loopback
from target_segment_objects.sandbox.errors import WarehouseError
from target_segment_objects.sandbox.private_files import read_own_file, replace_file
from target_segment_objects.sandbox.wording import escape_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CONNECT_TIMEOUT_SECONDS: Final = 5
_READ_TIMEOUT_SECONDS: Final = 600
"""The server may first finish a load."""

_MAX_ADDRESS_BYTES: Final = 10_000
_MAX_REPORT_BYTES: Final = 64_000_000
_MAX_ERROR_CHARACTERS: Final = 2_000

_COLOR: Final = re.compile(r"(\x1b\[[0-9;]*m)")
"""The only escape sequence of a report: what rich writes before and after a colored text."""


@contextmanager
def publish_address(warehouse: Path, url: str, token: str) -> Iterator[None]:
    """Write the file while the sandbox runs.

    A reader of its page must have the token. Another sandbox that gets the address later has
    another one.

    Raises:
        WarehouseError: The file cannot be written.
    """
    path = _address_path(warehouse)
    replace_file(path, json.dumps({"url": url, "token": token}).encode())
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def fetch_report(
    warehouse: Path, *, rows: int, width: int, color_system: str | None, is_terminal: bool = False
) -> str | None:
    """Return the report on a warehouse from the sandbox that serves it, or `None` if none does.

    Another program may have the address of a killed sandbox. So its answer is bounded, and nothing
    in it can control the terminal.

    Raises:
        WarehouseError: The sandbox cannot load a session.
    """
    query = {"rows": rows, "width": width, "color": color_system}
    text = _fetch_text(warehouse, "/report.txt", {**query, "terminal": 1 if is_terminal else None})
    return None if text is None else _escape_report(text)


def fetch_json_report(warehouse: Path, *, rows: int) -> str | None:
    """Return the report as JSON from the sandbox that serves a warehouse, or `None` if none does.

    Raises:
        WarehouseError: The sandbox cannot load a session.
    """
    text = _fetch_text(warehouse, "/report.json", {"rows": rows})
    try:
        return None if text is None else json.dumps(json.loads(text), indent=2)  # in ASCII
    except (ValueError, RecursionError):  # another program has the address
        return None


def _fetch_text(warehouse: Path, path: str, query: Mapping[str, str | int | None]) -> str | None:
    answer = _ask_server(warehouse, path, query)
    if answer is None:
        return None
    if answer.status == requests.codes.unavailable:
        raise WarehouseError(escape_text(answer.text, _MAX_ERROR_CHARACTERS))
    return answer.text if answer.status == requests.codes.ok else None


def find_server(warehouse: Path) -> str | None:
    """Return the address of the sandbox that serves a warehouse, or `None` if none does."""
    answer = _ask_server(warehouse, "/static/icon.svg", {})
    return None if answer is None or answer.status != requests.codes.ok else answer.url


class _Answer(NamedTuple):
    """What the program at an address of a sandbox says. It may be another one."""

    url: str
    status: int
    text: str


def _ask_server(
    warehouse: Path, path: str, query: Mapping[str, str | int | None]
) -> _Answer | None:
    """Return the answer of the sandbox that serves a warehouse, cut off where it is too large."""
    address = _read_address(warehouse)
    if address is None:
        return None
    url, token = address
    try:
        with (
            requests.Session() as session,
            _open_response(session, f"{url}{path}", {"token": token, **query}) as response,
        ):
            body = response.raw.read(_MAX_REPORT_BYTES, decode_content=False)
            return _Answer(url, response.status_code, body.decode(errors="replace"))
    except (OSError, urllib3.exceptions.HTTPError):  # nobody listens; the end is missing
        return None


def _open_response(
    session: requests.Session, url: str, query: Mapping[str, str | int | None]
) -> requests.Response:
    session.trust_env = False  # no proxy
    return session.get(
        url,
        params=query,
        timeout=(_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS),
        headers={"Accept-Encoding": "identity"},
        allow_redirects=False,
        stream=True,
    )


def _read_address(warehouse: Path) -> tuple[str, str] | None:
    """Return the address and the token of the sandbox that serves a warehouse, on this machine."""
    content = read_own_file(_address_path(warehouse), _MAX_ADDRESS_BYTES)
    try:
        match json.loads(content or b""):
            case {"url": str(url), "token": str(token)}:
                address = urlsplit(url)
                is_own = address.scheme == "http" and is_loopback(address.hostname or "")
                return (url, token) if is_own else None
    except (ValueError, RecursionError):
        pass
    return None


def _escape_report(text: str) -> str:
    """Escape what is not printable, but colors and line breaks."""
    return "\n".join(map(_escape_line, text.split("\n")))


def _escape_line(line: str) -> str:
    # The parts with an odd number are those that the pattern has found.
    parts = _COLOR.split(line)
    parts[::2] = map(escape_text, parts[::2])
    return "".join(parts)


def _address_path(warehouse: Path) -> Path:
    return warehouse.with_name(f"{warehouse.name}.server.json")
