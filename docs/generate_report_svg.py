"""Generate `sandbox.svg`, the picture in the README: the report after the first command.

Run it from the root of the repository, with the extra `sandbox` installed:

    python docs/generate_report_svg.py
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

from target_segment_objects.sandbox.terminal_report import print_report
from target_segment_objects.sandbox.warehouse.database import Warehouse

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "samples" / "nycflights13.singer.gz"
COLUMNS = 96
ROWS = 2


def main() -> None:
    """Load the sample, and draw the report of the sandbox."""
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
            print_report(warehouse, console, rows=ROWS, is_terminal=True)
    # Without web fonts: the picture loads nothing from elsewhere.
    template = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    template = template.replace("Fira Code, monospace", "monospace")
    title = "target-segment-objects --sandbox warehouse.duckdb"
    svg = console.export_svg(title=title, code_format=template, unique_id="sandbox")
    lines = [line.rstrip() for line in svg.splitlines()]
    (HERE / "sandbox.svg").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
