"""The command: what the shell calls, and `python -m target_segment_objects`.

Python looks for garbage while the SDK is imported, finds none in some hundred modules, and does so
again when the process ends. For a small load that is a good part of its time, so it is told not to.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from singer_sdk import Target


def main(load: Callable[[], type[Target]] | None = None) -> None:
    """Run a target's command line, and exit.

    Args:
        load: Imports the target; None for ours.
    """
    gc.disable()
    target = (load or _load)()
    gc.freeze()  # what was imported stays
    gc.enable()
    target.cli()


def _load() -> type[Target]:
    from target_segment_objects.target import TargetSegmentObjects  # noqa: PLC0415 - see above

    return TargetSegmentObjects


if __name__ == "__main__":
    main()
