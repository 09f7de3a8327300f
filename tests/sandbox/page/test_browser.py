"""The page in a real browser: it is safe and live, and everybody can use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from target_segment_objects.sandbox.server import Sandbox
from tests.support import wait_for
from tests.support.bare_http import BareClient, object_line
from tests.support.browser import Browser, find_browser, running_browser

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_browser() is None, reason="chromium and chromedriver are not installed"
    ),
]

CHECKS = Path(__file__).with_name("checks.js").read_text(encoding="utf-8")
ATTACK = "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 2'>"
LONG_ID = "x" * 100
QUERY = f"SELECT *, '{ATTACK.replace(chr(39), chr(39) * 2)}' AS \"{ATTACK}\" FROM users"  # noqa: S608 - a query is what is tested


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of this module."""
    with running_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Site:
    """A sandbox with everything that a page can show."""

    url: str
    page_url: str
    paths: tuple[str, ...]
    client: BareClient


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve sessions of each kind, losses, rejections, markup, and long ids, names and values."""
    path = tmp_path_factory.mktemp("site") / "w.duckdb"
    with Sandbox(path, serve_page=True) as sandbox:
        client = BareClient(sandbox.url)
        wide = {f"a_column_with_a_long_name_{number}": number for number in range(60)}
        client.load_files(
            object_line({ATTACK: ATTACK, "n": 1, "cut": "é" * 600}, object_id=ATTACK)
            + object_line({"n": 1.5, "long": "y" * 500}, object_id=LONG_ID)
            + b"".join(object_line({"n": n}, object_id=f"row {n}") for n in range(60))
            + object_line(wide, collection="z" * 100)
        )
        client.load_files(object_line({ATTACK: None, "n": 2}, object_id=ATTACK))
        failed = client.start_session()
        client.upload_lines(failed, object_line({"a": {ATTACK: 1}}))
        client.keep_alive(failed)
        client.finish_session(failed, f"{ATTACK} {LONG_ID}")
        client.upload_lines(client.start_session(), object_line())
        client.send_request("/v0/" + quote(ATTACK) + LONG_ID)
        paths = (
            "/",
            "/collections",
            "/collections/users",
            "/collections/users?id=row&page=2",
            f"/collections/users/object?id={quote(ATTACK, safe='')}",
            f"/collections/users/object?id={LONG_ID}",
            f"/collections/{'z' * 100}",
            "/sessions",
            f"/sessions/{failed}",
            "/requests",
            "/requests?rejected",
            "/requests/1",
            "/collections?name=us&sort=objects",
            "/sql",
            f"/sql?sql={quote(QUERY)}",
            "/nothing",
        )
        yield Site(sandbox.url, sandbox.page_url, paths, client)


@pytest.fixture(scope="module", autouse=True)
def _page_was_opened(browser: Browser, site: Site) -> None:
    """Open the address with the token once, which the browser keeps in a cookie."""
    browser.driver.get(site.page_url)


def open_page(browser: Browser, site: Site, path: str) -> None:
    """Open a page at the size of a desktop, in light colors."""
    browser.emulate()
    browser.driver.get(site.url + path)


def press(browser: Browser, *keys: str) -> None:
    """Press keys, one after the other."""
    ActionChains(browser.driver).send_keys(*keys).perform()


def focused(browser: Browser, expression: str) -> Any:  # noqa: ANN401 - any JSON
    """Return a property of the focused element."""
    return browser.evaluate(f"return document.activeElement.{expression}")


def text_of(browser: Browser, selector: str) -> str:
    """Return the visible text of an element."""
    return str(browser.evaluate("return document.querySelector(arguments[0]).innerText", selector))


# Safety


def test_nothing_is_blocked_or_injected(browser: Browser, site: Site) -> None:
    """Every page keeps the Content-Security-Policy, and markup in what was sent is text."""
    browser.read_log()
    for path in site.paths:
        open_page(browser, site, path)
        assert browser.evaluate("return window.attacked ?? null") is None, path
        assert browser.evaluate("return document.scripts.length") == 1, path
        assert browser.evaluate("return document.images.length") == 0, path
        log = [line for line in browser.read_log() if not line.startswith(f"{site.url}/nothing")]
        assert log == [], path
    open_page(browser, site, site.paths[4])
    assert text_of(browser, "h1") == ATTACK


def test_policy_blocks_what_would_be_injected(browser: Browser, site: Site) -> None:
    """If markup got into a page in spite of the escaping, its script would not run."""
    open_page(browser, site, "/")
    browser.read_log()
    browser.evaluate("document.querySelector('main').innerHTML = arguments[0]", ATTACK)
    wait_for(lambda: any("Content Security Policy" in line for line in browser.read_log()))
    assert browser.evaluate("return window.attacked ?? null") is None


def test_nothing_is_requested_from_elsewhere(browser: Browser, site: Site) -> None:
    """All that a page loads comes from the sandbox."""
    for path in site.paths:
        open_page(browser, site, path)
        names = browser.evaluate("return performance.getEntriesByType('resource').map(e => e.name)")
        assert len(names) >= 2  # style and script
        assert all(name.startswith(f"{site.url}/") for name in names)


# Layout


@pytest.mark.parametrize("width", [400, 1200])
def test_page_does_not_scroll_sideways(browser: Browser, site: Site, width: int) -> None:
    """On a phone, too, only wide tables scroll, each by itself."""
    for path in site.paths:
        open_page(browser, site, path)
        browser.emulate(width=width)
        assert browser.evaluate("return document.documentElement.scrollWidth") == width, path
        clipped = browser.evaluate(
            """return [...document.querySelectorAll('main *')].filter(e =>
                 !e.closest('.scroll, .sr, svg')
                 && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
               ).map(e => e.outerHTML.slice(0, 100))"""
        )
        assert clipped == [], path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast(browser: Browser, site: Site, *, dark: bool) -> None:
    """All text has the contrast of WCAG 2.2 AA, 4.5 to 1, in the scheme that the user prefers."""
    for path in site.paths:
        open_page(browser, site, path)
        browser.emulate(dark=dark)
        brightness = browser.evaluate(
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (max(brightness) < 60) == dark
        contrasts = browser.evaluate(f"{CHECKS} return measureContrasts()")
        assert len(contrasts) > 8
        assert [found for found in contrasts if found[0] < 4.5] == [], path


@pytest.mark.parametrize("width", [400, 1200])
def test_id_stays_in_sight(browser: Browser, site: Site, width: int) -> None:
    """The id of a row is at the left of the table however far that is scrolled, and covers it."""
    open_page(browser, site, f"/collections/{'z' * 100}")
    browser.emulate(width=width)
    moved, covered = browser.evaluate(
        """const table = document.querySelector('.scroll');
           const id = table.querySelector('tbody th');
           const before = id.getBoundingClientRect();
           table.scrollLeft = 500;
           const after = id.getBoundingClientRect();
           const top = document.elementFromPoint(after.left + 3, after.top + after.height / 2);
           return [[table.scrollLeft, after.left - before.left], id.contains(top)]"""
    )
    assert moved == [500, 0]
    assert covered


def test_underlines_are_below_underscores(browser: Browser, site: Site) -> None:
    """The line under a link is at least as low as the lowest part of a letter of its font."""
    for path in ("/collections", "/sessions"):
        open_page(browser, site, path)
        gaps = browser.evaluate(
            """const pen = document.createElement('canvas').getContext('2d');
               return [...document.querySelectorAll('main .mono a, main a.mono')].map(a => {
                 const style = getComputedStyle(a);
                 pen.font = style.font;
                 const depth = pen.measureText('_').actualBoundingBoxDescent;
                 return parseFloat(style.textUnderlineOffset) - depth;
               })"""
        )
        assert gaps
        assert min(gaps) > 0


def test_first_line_links_to_the_problems(browser: Browser, site: Site) -> None:
    """A link of the first line goes to its section, which is above the collections."""
    for name in ("missing", "losses", "rejections"):
        open_page(browser, site, "/")
        browser.driver.find_element(By.ID, f"to-{name}").click()
        assert browser.driver.current_url.endswith(f"#{name}-title")
        top = f"return document.getElementById('{name}-title').getBoundingClientRect().top"
        assert 0 <= browser.evaluate(top) <= 900


# Structure and keyboard


def test_structure(browser: Browser, site: Site) -> None:
    """Language, title, landmarks, headings, labels and names are there for a screen reader."""
    for path in site.paths:
        open_page(browser, site, path)
        browser.emulate(width=400)
        assert browser.evaluate(f"{CHECKS} return findFaults()") == [], path


def test_keyboard_reaches_everything(browser: Browser, site: Site) -> None:
    """Tab stops at each link, field and button, in the order of the page, visibly."""
    for path in ("/", "/collections", "/collections/users", "/sql"):
        open_page(browser, site, path)
        count = browser.evaluate(
            "return [...document.querySelectorAll('a, button, input, textarea, [tabindex=\"0\"]')]"
            ".filter(e => !e.hidden && e.type !== 'hidden').length"
        )
        places = []
        for _ in range(count):
            press(browser, Keys.TAB)
            assert focused(browser, "tagName") != "BODY"
            assert browser.evaluate(
                "return getComputedStyle(document.activeElement).outlineStyle"
            ) == ("solid")
            places.append(
                browser.evaluate(
                    "const all = [...document.querySelectorAll('*')];"
                    "return all.indexOf(document.activeElement)"
                )
            )
        assert len(set(places)) == count
        press(browser, Keys.TAB)
        assert focused(browser, "tagName") == "BODY"


def test_keyboard_from_overview_to_object(browser: Browser, site: Site) -> None:
    """The first Tab offers to skip the navigation; a search and a link need Enter only."""
    open_page(browser, site, "/collections/users")
    press(browser, Keys.TAB)
    assert focused(browser, "innerText") == "Skip to content"
    assert focused(browser, "getBoundingClientRect().top") >= 0
    press(browser, Keys.ENTER)
    wait_for(lambda: focused(browser, "id") == "main")
    press(browser, *[Keys.TAB] * 5)  # past the list of collections, the query and two downloads
    assert focused(browser, "id") == "id"
    press(browser, "row 42", Keys.ENTER)
    wait_for(lambda: "id=row+42" in browser.driver.current_url)
    browser.driver.find_element(By.LINK_TEXT, "row 42").send_keys(Keys.ENTER)
    wait_for(lambda: "/object?id=row%2042" in browser.driver.current_url)
    assert text_of(browser, "h1") == "row 42"


def test_query_with_the_keyboard(browser: Browser, site: Site) -> None:
    """Ctrl+Enter runs the query in the box; Enter is a new line; the box keeps the query."""
    open_page(browser, site, "/sql")
    box = browser.driver.find_element(By.ID, "sql")
    box.send_keys("SELECT 6 * 7", Keys.ENTER, "AS answer", Keys.CONTROL + Keys.ENTER)
    wait_for(lambda: "/sql?sql=" in browser.driver.current_url)
    assert "answer\n42" in text_of(browser, ".rows")
    assert browser.evaluate("return document.getElementById('sql').value") == (
        "SELECT 6 * 7\nAS answer"
    )


# Live


def test_page_follows_a_load(browser: Browser, site: Site) -> None:
    """A session appears, grows and is loaded without a reload; what has the focus keeps it."""
    open_page(browser, site, "/")
    browser.evaluate("window.stays = true")
    sync_id = site.client.start_session()

    def read_session() -> str:
        # In one step: an update may replace the element between two.
        link = f"document.getElementById('s-{sync_id}')"
        return str(browser.evaluate(f"return {link}?.closest('li').innerText ?? ''"))

    wait_for(lambda: "open" in read_session())
    browser.evaluate(f"document.getElementById('s-{sync_id}').focus()")
    site.client.upload_lines(sync_id, object_line(collection="live"))
    wait_for(lambda: "1 part" in read_session())
    assert focused(browser, "id") == f"s-{sync_id}"
    site.client.finish_session(sync_id)
    wait_for(lambda: "loaded in" in read_session())
    assert "live" in text_of(browser, "#collections")
    assert focused(browser, "id") == f"s-{sync_id}"
    assert browser.evaluate("return window.stays") is True


def test_updates_can_be_paused(browser: Browser, site: Site) -> None:
    """The button stops the updates, says so, and starts them again."""
    open_page(browser, site, "/requests")
    button = browser.driver.find_element(By.ID, "live")
    assert button.text == "Live"
    button.send_keys(Keys.ENTER)
    assert (button.text, button.get_attribute("aria-pressed")) == ("Paused", "true")
    loads = "return performance.getEntriesByType('resource').length"
    before = browser.evaluate(loads)
    browser.driver.set_script_timeout(10)
    browser.driver.execute_async_script("setTimeout(arguments[0], 1500)")
    assert browser.evaluate(loads) <= before + 1  # that was already on its way
    button.send_keys(Keys.ENTER)
    wait_for(lambda: browser.evaluate(loads) > before + 1)
    assert button.text == "Live"


def test_without_javascript(browser: Browser, site: Site) -> None:
    """Everything but the updates works without JavaScript."""
    browser.run_command("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.get(f"{site.url}/collections/users")
        assert not browser.driver.find_element(By.ID, "live").is_displayed()
        browser.driver.find_element(By.ID, "id").send_keys("row 17", Keys.ENTER)
        wait_for(lambda: "id=row+17" in browser.driver.current_url)
        assert "1 to 1 of 1" in text_of(browser, "main")
    finally:
        browser.run_command("Emulation.setScriptExecutionDisabled", {"value": False})
