"""The benchmark page in the docs: text written by hand, and generated sections between markers."""

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


def replace_section(page: Path, section: str, text: str) -> None:
    """Replace the text between the markers of a section.

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


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    ruler = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))


def describe_machine() -> str:
    """Return the date, the machine and the versions of a run."""
    packages = [f"{name} {version}" for name in _PACKAGES if (version := _find_version(name))]
    return (
        f"{datetime.now(tz=timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores of {_processor_name()}, "
        f"{platform.system()}, Python {platform.python_version()}, {', '.join(packages)}"
    )


def _find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    """Return the name of the processor; `platform` does not know it on every system."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        cpuinfo = ""
    model = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    return model[1] if model else platform.processor() or platform.machine()
