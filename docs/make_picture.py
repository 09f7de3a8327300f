"""Make `sandbox.svg`, the README's picture: what the first command shows in the end.

How to run, from the repository's root, in the environment of the README:

    python docs/make_picture.py
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from target_segment_objects.sandbox.report import print_report
from target_segment_objects.sandbox.warehouse import Warehouse

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "samples" / "nycflights13.singer.gz"
COLUMNS = 96
ROWS = 2


def main() -> None:
    """Load the sample, and draw what the sandbox shows of it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "warehouse.duckdb"
        command = [sys.executable, "-m", "target_segment_objects"]
        subprocess.run(  # noqa: S603 - our own command
            [*command, "--sandbox", str(file), "--input", str(SAMPLE)],
            check=True,
            capture_output=True,
        )
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        with Warehouse.open(file, read_only=True) as warehouse:
            print_report(warehouse, console, rows=ROWS)
    # Fonts are the reader's own: a picture fetches nothing.
    template = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    template = template.replace("Fira Code, monospace", "monospace")
    title = "target-segment-objects --sandbox warehouse.duckdb"
    svg = console.export_svg(title=title, code_format=template, unique_id="sandbox")
    lines = [line.rstrip() for line in svg.splitlines()]
    (HERE / "sandbox.svg").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
