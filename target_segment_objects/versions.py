"""The version of an installed package.

`importlib.metadata.version` parses all metadata, in which the README is, as an e-mail message. Each
run logs two versions and sends one, so this would take a noticeable part of its start.
"""

from __future__ import annotations

from importlib import metadata
from typing import Final

_FIELD: Final = "Version: "  # Core Metadata; the README comes after all fields


def find_version(package: str) -> str:
    """Return the version of an installed package.

    Raises:
        importlib.metadata.PackageNotFoundError: It is not installed.
    """
    distribution = metadata.distribution(package)
    for line in (distribution.read_text("METADATA") or "").splitlines():
        if line.startswith(_FIELD):
            return line.removeprefix(_FIELD).strip()
    return distribution.version  # of a format without METADATA
