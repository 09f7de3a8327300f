"""The page in the docs: words written by hand, and between markers what the commands put there."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGES: Final = ("singer-sdk", "msgspec", "jsonschema-rs", "isal")


def replace(page: Path, section: str, text: str) -> None:
    """Put a text between a section's markers.

    Raises:
        ValueError: The page has no such section.
    """
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        msg = f"{page} has no section {section!r}"
        raise ValueError(msg)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    ruler = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))


def machine() -> str:
    """Return in a sentence where and when figures were made."""
    packages = [f"{name} {version}" for name in _PACKAGES if (version := _version(name))]
    return (
        f"{datetime.now(tz=timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores of {_processor()}, "
        f"{platform.system()}, Python {platform.python_version()}, {', '.join(packages)}"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the processor's name, which Python knows on some systems only."""
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        described = ""
    found = re.search(r"^model name\s*: (.+)$", described, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
