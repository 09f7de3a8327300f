"""Start the target of `ours` as its command does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.__main__ import main

if TYPE_CHECKING:
    from benchmarks.ours import OurTarget


def _load() -> type[OurTarget]:
    from benchmarks.ours import OurTarget  # noqa: PLC0415 - not before `main` asks for it

    return OurTarget


if __name__ == "__main__":
    main(_load)
