"""A person pauses a queue, sees what it holds, resumes it, and runs a schedule by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobclaim.jobs import JobStatus
from tests.browser.conftest import Shop
from tests.support.browser import visiting
from tests.support.story_tasks import deliver
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
LIVE_MS = 30_000


def test_a_person_pauses_a_queue_and_its_job_waits_until_it_is_resumed(
    shop: Shop, browser: Browser, tmp_path: Path
) -> None:
    done = tmp_path / "arrived"
    done.touch()
    with visiting(browser, shop.url) as ann:
        page = ann.open("queues")
        row = page.locator("tr", has=page.locator("a[href*='queue=default']")).first
        row.get_by_text("Pause queue…").click()
        row.locator("input[name=reason]").fill("the street is closed")
        row.locator("select[name=lasts]").select_option("2h")
        row.get_by_role("button", name="Pause", exact=True).click()
        page.locator("tr", has_text="the street is closed").first.wait_for(timeout=LIVE_MS)
        assert ann.violations() == []
        wait_until(lambda: "pause.started" in shop.process.log(), 30, "the worker knows of it")

        result = deliver.delay(str(done))
        page.goto(f"{shop.url}job?id={result.id}")
        page.get_by_text("Held: queue default is paused by").wait_for(timeout=LIVE_MS)
        assert "the street is closed" in page.locator("main").inner_text()
        assert shop.repo.get_job(result.id).status is JobStatus.PENDING
        page.goto(shop.url)
        page.locator("main").get_by_text("queue default is paused by").first.wait_for(timeout=LIVE_MS)

        page.goto(f"{shop.url}job?id={result.id}")
        page.get_by_text("Resume queue…").click()
        page.get_by_role("button", name="Resume", exact=True).click()
        page.wait_for_url("**/job?id=*")
        page.locator("#badge").get_by_text("COMPLETED").wait_for(timeout=LIVE_MS)
        assert ann.complaints == []
        assert ann.violations() == []


def test_a_person_runs_a_schedule_now_and_follows_its_job(shop: Shop, browser: Browser) -> None:
    with visiting(browser, shop.url) as bob:
        page = bob.open("schedules")
        row = page.locator("tr", has_text="stocktaking").first
        row.get_by_text("Run now…").click()
        form = row.locator("form[action$='/schedule/run']")
        form.locator("input[name=reason]").fill("the auditor is here")
        form.get_by_role("button", name="Run now").click()
        page.wait_for_url("**/schedules?asked=stocktaking")
        page.get_by_role("status").locator("a").first.click()
        page.locator("#badge").get_by_text("COMPLETED").wait_for(timeout=LIVE_MS)
        assert "-by-hand" in page.url
        assert bob.complaints == []
        assert bob.violations() == []
