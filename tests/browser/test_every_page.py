"""Every page in both themes: nothing that keeps people out, no error, nothing asked of others, nothing blocked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from jobclaim.jobs import JobStatus
from jobclaim.jobs.storage.statistics import HOUR_MS, Code, requests
from tests.browser.conftest import Shop
from tests.support.browser import Theme, Visitor, visiting
from tests.support.hostile import PROBE, fill
from tests.support.story_tasks import add_tax, deliver, invoice, pick, price
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
LISTS = ("jobs", "jobs?status=COMPLETED", "jobs?status=FAILED")
PAGES = ("", *LISTS, "dead", "tasks", "task?name=shop.price", "queues", "workers", "schedules", "reconcile", "audit")
THEMES: tuple[Theme, ...] = ("light", "dark")
PHONE = 390
SPY = "window.xss = () => { window.stolen = true; };"


@pytest.fixture(scope="module")
def pages(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Addresses of all pages, with jobs in every state behind them."""
    folder = tmp_path_factory.mktemp("pages")
    running, failed = deliver.delay(str(folder / "arrived")), pick.delay(str(folder / "none"), "pears")
    chained = (price.s(500) | add_tax.s() | invoice.s()).apply_async()
    waiting = price.apply_async((1,), countdown=600)
    wanted = {
        running.id: JobStatus.PROCESSING,
        failed.id: JobStatus.FAILED,
        chained.id: JobStatus.COMPLETED,
        waiting.id: JobStatus.PENDING,
    }

    def states() -> dict[str, JobStatus]:
        return {job_id: job.status for job_id, job in shop.repo.table.get_many(list(wanted)).items()}

    wait_until(lambda: states() == wanted, 60, lambda: f"{wanted}, not {states()}")
    hour, codes = shop.repo.clock() // HOUR_MS, {Code.COMPLETED: 90, Code.RETRIED: 30, f"{Code.DURATION}9": 90}
    week = {(hour - 30, "shop.price", str(Code.COMPLETED)): 400}
    numbers = week | {(hour, "shop.price", str(code)): number for code, number in codes.items()}
    for request in requests(numbers, shop.repo.table.name):
        shop.repo.table.client().update_item(**request)
    fingerprint = getattr(shop.repo.get_job(failed.id).failure, "fingerprint", "")
    act = f"dead/act?verb=retry&fingerprint={fingerprint}&kind=PERMANENT"
    yield (
        *PAGES,
        "jobs/cancel?queue=default",
        "submit",
        f"job/edit?id={failed.id}",
        *(f"job?id={job_id}" for job_id in wanted),
        act,
        "dead/operation?key=gone",
        "job?id=none",
        "nowhere",
    )
    (folder / "arrived").touch()


def faults(visitor: Visitor, *, colors_only: bool = False) -> list[str]:
    """Everything that is wrong with the page that is open; a 404 is told on the console, and that is right."""
    found = [line for line in visitor.complaints if "status of 404" not in line]
    found += visitor.violations()
    barriers = visitor.barriers(colors_only=colors_only)
    found += [f"{rule['impact']} {rule['id']}: {rule['help']} {rule['nodes']}" for rule in barriers]
    visitor.complaints.clear()
    return found


def test_nothing_serious_is_found_on_any_page_in_either_theme(
    shop: Shop, browser: Browser, pages: tuple[str, ...]
) -> None:
    """Takes 20 s: axe-core goes through every page, and through its colors twice."""
    wrong: dict[tuple[str, str], list[str]] = {}
    with visiting(browser, shop.url) as visitor:
        for path in pages:
            page = visitor.open(path)
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)
                assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (theme == "dark")
                if found := faults(visitor, colors_only=theme != THEMES[0]):
                    wrong[path, theme] = found
            assert "This view cost" in page.locator("footer.foot").inner_text()
    assert wrong == {}


def test_a_telephone_shows_every_page_without_scrolling_sideways(
    shop: Shop, browser: Browser, pages: tuple[str, ...]
) -> None:
    with visiting(browser, shop.url, width=PHONE) as visitor:
        wide = {
            path: width
            for path in pages
            if (width := visitor.open(path).evaluate("document.documentElement.scrollWidth")) > PHONE
        }
    assert wide == {}


def test_a_live_page_refreshes_itself_without_a_fault(shop: Shop, browser: Browser) -> None:
    with visiting(browser, shop.url, motion="no-preference") as visitor:
        page = visitor.open("jobs")
        for _ in range(2):
            with page.expect_response("**/jobs"):
                pass
        assert faults(visitor) == []


def test_a_paused_page_asks_for_nothing(shop: Shop, browser: Browser) -> None:
    with visiting(browser, shop.url) as visitor:
        page = visitor.open("jobs")
        with page.expect_response("**/jobs"):
            pass
        page.keyboard.press("p")
        page.locator("#live-switch[aria-pressed=true]").wait_for()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(5_000)  # what must not come has no event to wait for
        assert asked == []


def test_the_keyboard_is_enough(shop: Shop, browser: Browser) -> None:
    with visiting(browser, shop.url) as visitor:
        page = visitor.open("queues")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.keyboard.press("g")
        page.keyboard.press("j")
        page.wait_for_url("**/jobs")
        assert faults(visitor) == []


def test_markup_in_jobs_workers_and_breakers_does_nothing_in_a_browser(shop: Shop, browser: Browser) -> None:
    """Takes 15 s: every page, and one of each job that holds markup, is loaded by a browser."""
    jobs = fill(shop.repo)
    with visiting(browser, shop.url) as visitor:
        visitor.page.add_init_script(SPY)
        addresses = [*PAGES, *(f"job?id={quote(job.job_id)}" for job in jobs), f"jobs?task={quote(PROBE)}"]
        for path in addresses:
            page = visitor.open(path)
            assert page.evaluate("window.stolen") is None, path
            assert page.locator("xss-probe").count() == 0, path
            assert visitor.violations() == [], path
            assert [line for line in visitor.complaints if "status of 404" not in line] == [], path
        assert PROBE in visitor.open(f"job?id={quote(jobs[0].job_id)}").locator("body").inner_text()
