"""Build the description that a package index shows: the README, with links that work there.

An index has no repository beside the description. If `[project.urls]` has `Repository`, a relative
link becomes a link to the file there, at the tag of the version. Otherwise it becomes plain text,
and an image is left out. Links to headings work as they are.

An older Python than the package needs is named in one line. pip 23 and older would resolve the
dependencies first, and list thousands of versions that this Python cannot have.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

CODE_BLOCK: Final = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(
    r"(?P<image>!?)\[(?P<text>[^]]*)\]\((?P<path>[^):#]+)(?P<anchor>#[^)]*)?\)"
)
"""A relative link or image, but not a link to a heading of the README itself."""


class DescriptionHook(MetadataHookInterface):
    """Sets the description of the package."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field `readme`.

        Raises:
            SystemExit: This Python is older than the package needs.
        """
        check_python(metadata["name"], metadata["requires-python"])
        repository = metadata.get("urls", {}).get("Repository")
        base = f"{repository.rstrip('/')}/blob/v{metadata['version']}" if repository else None
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": render_description(readme, base),
        }


def check_python(name: str, requirement: str) -> None:
    """End the build with one line if this Python is older than the package needs.

    Args:
        name: The name of the package.
        requirement: Its `requires-python`, such as `>=3.10`.

    Raises:
        SystemExit: It is older.
    """
    oldest = requirement.lstrip(">=")  # no newer method: an old Python runs this
    if sys.version_info < tuple(map(int, oldest.split("."))):
        message = f"{name} needs Python {oldest} or newer, and this is {platform.python_version()}."
        raise SystemExit(message)


def render_description(readme: str, base: str | None) -> str:
    """Return the README as a package index can show it.

    Args:
        readme: The text of the README.
        base: Address of the folder of the README, or None if it is not known.
    """

    def replace_link(link: re.Match[str]) -> str:
        if base is None:
            return "" if link["image"] else link["text"]
        end = "?raw=true" if link["image"] else link["anchor"] or ""
        return f"{link['image']}[{link['text']}]({base}/{link['path']}{end})"

    parts = CODE_BLOCK.split(readme)
    for index in range(0, len(parts), 2):  # the code blocks between are not changed
        parts[index] = LINK.sub(replace_link, parts[index])
    return "".join(parts)
