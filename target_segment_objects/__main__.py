"""The command: what the shell calls, and `python -m target_segment_objects`.

The garbage collector is off while the SDK is imported, and what was imported is frozen: it would
otherwise look through some hundred modules several times, and once more when the process ends,
which is a good part of the time of a small load.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def main(import_command: Callable[[], Callable[[], None]] | None = None) -> None:
    """Run a command, and exit.

    Args:
        import_command: Imports a command and returns it; None for this package's.
    """
    gc.disable()
    run_command = (import_command or _import_command)()
    gc.freeze()
    gc.enable()
    run_command()


def _import_command() -> Callable[[], None]:
    from target_segment_objects.cli.command import run_command  # noqa: PLC0415 - see above

    return run_command


if __name__ == "__main__":
    main()
