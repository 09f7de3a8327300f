# /// script
# requires-python = ">=3.10"
# ///
"""Draw the logo for the Hub's listing: objects that move into a collection.

Run it from the repository's root:

    python plugins/generate_logo.py

It is a new drawing, because Segment's logo may not be redistributed.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

OUTPUT: Final = Path(__file__).parent / "hub" / "assets" / "logos" / "loaders"
SIDE: Final = 256
GREEN: Final = (56, 142, 110, 255)
DARK: Final = (32, 64, 74, 255)
TRANSPARENT: Final = (0, 0, 0, 0)

OBJECTS: Final = ((28, 40), (28, 104), (28, 168))
"""Left and top of each object, which is a square."""

OBJECT_SIDE: Final = 48
ARROW: Final = (92, 124, 148)
"""Where the shaft of an arrow begins, where its head begins, and where it ends."""

SHAFT: Final = 5
HEAD: Final = 16
"""Half the height of each."""

COLLECTION: Final = (164, 40, 228, 216)
"""Left, top, right and bottom."""


def get_colour(x: int, y: int) -> tuple[int, int, int, int]:
    """Return the red, green, blue and alpha of a pixel."""
    begin, neck, tip = ARROW
    for left, top in OBJECTS:
        if left <= x < left + OBJECT_SIDE and top <= y < top + OBJECT_SIDE:
            return GREEN
        middle = top + OBJECT_SIDE // 2
        if begin <= x < tip and abs(y - middle) < (SHAFT if x < neck else min(HEAD, tip - x)):
            return GREEN
    left, top, right, bottom = COLLECTION
    return DARK if left <= x < right and top <= y < bottom else TRANSPARENT


def render_png() -> bytes:
    """Return the picture as a PNG file."""
    rows = (
        b"\0" + bytes(value for x in range(SIDE) for value in get_colour(x, y)) for y in range(SIDE)
    )
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 6, 0, 0, 0)
    pixels = zlib.compress(b"".join(rows), 9)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


if __name__ == "__main__":
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "segment-objects.png").write_bytes(render_png())
