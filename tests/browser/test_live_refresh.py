"""Pages that refresh themselves: they can be paused, hold still while somebody works in them, and work by keyboard."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import ROOT
from tests.support.browser import Visitor, visiting
from tests.support.warm import WarmProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.browser
TICK_MS = 2_000
"""How often the page of the workers asks for itself."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard on a shop's day, in a process of its own."""
    argv = [sys.executable, "-m", "tests.support.dashboard_data"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    folder: Path = tmp_path_factory.mktemp("data")
    with WarmProcess("data", argv, log_dir=folder, env=env, cwd=ROOT) as process:
        yield re.findall(r"http://\S+/", process.wait_for_line(r"The shop is at", 90))[0]


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Visitor]:
    """Somebody who has just opened the page of the workers."""
    with visiting(browser, address) as found:
        found.open("workers")
        yield found
        assert found.complaints == []
        assert found.violations() == []


def asked_again(visitor: Visitor) -> None:
    """Wait until the page has asked for itself and shows it."""
    with visitor.page.expect_response(lambda answer: answer.url.endswith("/workers"), timeout=15 * TICK_MS):
        pass


def asks_within(visitor: Visitor, milliseconds: int) -> int:
    """Count the page's requests for itself in a time: that none comes can only be seen by waiting."""
    seen: list[str] = []
    visitor.page.on("request", lambda request: seen.append(request.url))
    visitor.page.wait_for_timeout(milliseconds)
    return len(seen)


def test_a_page_that_is_looked_at_refreshes_itself_and_says_when(visitor: Visitor) -> None:
    asked_again(visitor)
    visitor.page.get_by_role("button", name=re.compile(r"Live \d\d:\d\d:\d\d")).wait_for()


def test_paused_it_asks_nobody_until_it_is_resumed(visitor: Visitor) -> None:
    visitor.page.keyboard.press("p")
    assert visitor.page.locator("#live-switch").get_attribute("aria-pressed") == "true"
    assert asks_within(visitor, 2 * TICK_MS) == 0
    visitor.page.locator("#live-switch").click()
    asked_again(visitor)


def test_it_holds_still_while_somebody_writes_a_reason(visitor: Visitor) -> None:
    visitor.page.get_by_text("Drain…").first.click()
    visitor.page.get_by_placeholder("Why").first.fill("a new disk")
    assert asks_within(visitor, 2 * TICK_MS) == 0
    assert visitor.page.get_by_placeholder("Why").first.input_value() == "a new disk"
    assert "Held" in visitor.page.locator("#live-switch").inner_text()


def test_a_server_that_fails_is_told_and_what_was_seen_stays(visitor: Visitor) -> None:
    visitor.page.route("**/workers", lambda route: route.fulfill(status=503, body="down"))
    visitor.page.get_by_role("button", name="Stale: answer 503").wait_for()
    assert visitor.page.get_by_text("batch-2b1d@ip-10-0-3-40").first.is_visible()
    visitor.page.unroute("**/workers")
    visitor.page.get_by_role("button", name=re.compile("Live")).wait_for()
    visitor.complaints[:] = [line for line in visitor.complaints if "503" not in line]


def test_the_keyboard_leads_everywhere_and_can_be_switched_off(visitor: Visitor) -> None:
    page = visitor.page
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/queues")
    page.keyboard.press("/")
    page.keyboard.type("documents.ocr-88231")
    page.keyboard.press("Enter")
    page.wait_for_url("**/job?id=documents.ocr-88231")
    page.keyboard.press("?")
    page.get_by_label("Keys are on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") is None


def test_a_theme_that_is_chosen_is_kept_and_beats_that_of_the_system(visitor: Visitor) -> None:
    page = visitor.page
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate(ground) != light


def test_the_first_stop_of_the_keyboard_skips_the_navigation(visitor: Visitor) -> None:
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.id") == "main"


def test_without_scripts_the_page_is_whole_and_offers_nothing_that_needs_them(browser: Browser, address: str) -> None:
    with visiting(browser, address, javascript=False) as found:
        page = found.open("workers")
        assert page.get_by_text("batch-2b1d@ip-10-0-3-40").first.is_visible()
        assert not page.locator("#theme").is_visible()
        assert not page.locator("#live-switch").is_visible()
        page.get_by_text("Drain…").first.click()
        assert page.get_by_role("button", name="Drain").first.is_visible()


def test_a_page_on_which_nothing_changes_any_more_says_so(visitor: Visitor) -> None:
    def over(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(' data-live hx-get=""', ""))

    visitor.page.route("**/workers", over)
    visitor.page.get_by_role("button", name="Nothing changes any more").wait_for()
    assert asks_within(visitor, 2 * TICK_MS) == 0
