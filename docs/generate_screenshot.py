"""Generate `sandbox-page.png`, the picture of the sandbox's page, in a headless Chromium.

Run it from the root of the repository, with the extra `dev`, Chromium and chromedriver installed:

    python -m docs.generate_screenshot
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from target_segment_objects.sandbox.server import Sandbox
from tests.support.bare_http import BareClient, object_line
from tests.support.browser import running_browser

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "samples" / "nycflights13.singer.gz"
WIDTH, HEIGHT = 1000, 1190
SCALE = 1.2
ROWS_PER_SESSION = 1500


def main() -> None:
    """Load the sample and some objects with mistakes, and take the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Sandbox(folder / "warehouse.duckdb", serve_page=True) as sandbox:
            load_mistakes(BareClient(sandbox.url))
            load_sample(folder, sandbox.url)
            picture = take_picture(folder / "profile", sandbox.page_url)
    (HERE / "sandbox-page.png").write_bytes(picture)


def load_mistakes(client: BareClient) -> None:
    """Load orders of which one is rejected, and one loses its fraction."""
    sync_id = client.start_session()
    lines = object_line({"total": 20, "customer": "Ada"}, object_id="1001", collection="orders")
    client.upload_lines(sync_id, lines + object_line({"items": ["a"]}, collection="orders"))
    lines += object_line({"total": 12.5, "customer": "Zoë"}, object_id="1002", collection="orders")
    client.upload_lines(sync_id, lines)
    client.keep_alive(sync_id)
    client.finish_session(sync_id)


def load_sample(folder: Path, url: str) -> None:
    """Load the sample with the target, in several sessions."""
    config = folder / "config.json"
    settings = {"write_key": "any", "api_url": url, "batch_size_rows": ROWS_PER_SESSION}
    config.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "target_segment_objects", "--config", str(config)]
    subprocess.run(  # noqa: S603 - our own command
        [*command, "--input", str(SAMPLE)], check=True, capture_output=True
    )


def take_picture(profile: Path, url: str) -> bytes:
    """Return the first page as a PNG."""
    with running_browser(profile) as browser:
        browser.emulate(width=WIDTH, height=HEIGHT)
        browser.driver.get(url)
        browser.driver.set_script_timeout(10)
        browser.driver.execute_async_script("setTimeout(arguments[0], 1500)")  # an update later
        view = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": SCALE}
        picture = browser.run_command("Page.captureScreenshot", {"format": "png", "clip": view})
    return base64.b64decode(picture["data"])


if __name__ == "__main__":
    main()
