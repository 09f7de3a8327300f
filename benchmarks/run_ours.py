"""Start the target of `ours` as its command does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable


def _import_benchmark() -> Callable[[], None]:
    from benchmarks.ours import run_benchmark  # noqa: PLC0415 - not before `main` asks for it

    return run_benchmark


if __name__ == "__main__":
    main(_import_benchmark)
