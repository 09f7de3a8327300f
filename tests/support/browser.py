"""A headless Chromium from the system, through chromedriver. Downloads nothing."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # it runs as root in containers
    "--disable-dev-shm-usage",  # it is small in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def find_browser() -> tuple[str, str] | None:
    """Return the paths of Chromium and chromedriver, if both are there."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """A browser with one tab."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def emulate(self, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and the color scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.run_command("Emulation.setDeviceMetricsOverride", metrics)
        self.run_command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run_command(self, name: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
        """Run a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def evaluate(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - any JSON
        """Run a function body in the page, and return its result."""
        return self.driver.execute_script(script, *arguments)

    def read_log(self) -> list[str]:
        """Return the messages of the console since the last call."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in log]


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Run the system's Chromium with a new profile, in an empty folder.

    Raises:
        RuntimeError: There is none.
    """
    found = find_browser()
    if found is None:
        message = "chromium and chromedriver are not installed"
        raise RuntimeError(message)
    options = ChromeOptions()
    options.binary_location, driver_path = found
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(driver_path))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
