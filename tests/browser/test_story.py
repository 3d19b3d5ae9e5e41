"""People and a shop, all live: they mend a failure, stop what runs, follow a chain, pause a queue, run a schedule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from celery import chain

from jobclaim.fleet.audit import Audit
from jobclaim.jobs import JobStatus
from tests.browser.conftest import Shop
from tests.support.browser import visiting
from tests.support.story_tasks import add_tax, deliver, invoice, pick, price
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
LIVE_MS = 30_000


def test_jobs_flow_by_live_while_somebody_watches(shop: Shop, browser: Browser, tmp_path: Path) -> None:
    done = tmp_path / "arrived"
    with visiting(browser, shop.url) as ann:
        page = ann.open("jobs")
        result = deliver.delay(str(done))
        row = page.locator("tr", has=page.locator(f"a[href*='{result.id}']"))
        row.wait_for(timeout=LIVE_MS)
        row.get_by_text("PROCESSING").wait_for(timeout=LIVE_MS)
        done.touch()
        row.wait_for(state="detached", timeout=LIVE_MS)  # an open job no more
        page.goto(f"{shop.url}jobs?status=COMPLETED")
        page.locator(f"a[href*='{result.id}']").first.wait_for(timeout=LIVE_MS)
        assert ann.complaints == []
        assert ann.violations() == []


def test_a_person_retries_a_group_of_dead_letters_and_sees_it_complete(
    shop: Shop, browser: Browser, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    failing = [pick.delay(str(shelf), item).id for item in ("apples", "pears", "plums")]
    wait_until(lambda: all(shop.repo.get_job(job_id).status is JobStatus.FAILED for job_id in failing), 60, "all fail")
    with visiting(browser, shop.url) as ann:
        page = ann.open("dead")
        group = page.locator("tr, li, article, section.group, p", has_text="NotInStock").last
        group.wait_for(timeout=LIVE_MS)
        assert "shop.pick" in group.inner_text()
        assert re.search(r"\b3\b", group.inner_text())
        shelf.touch()  # the cause is mended, now they are tried again
        group.locator("a[href*='verb=retry']").click()
        page.wait_for_url("**/dead/act?**")
        assert "3" in page.locator("main").inner_text()
        page.locator("input[name=reason], textarea[name=reason]").fill("the shelf is full again")
        page.locator("form[action$='/dead/act/start'] button").first.click()
        page.wait_for_url("**/dead/operation?**")
        page.locator("#badge").get_by_text("done").wait_for(timeout=LIVE_MS)
        assert re.search(r"Done\s+3\s+are PENDING again", page.locator("main").inner_text())
        page.goto(f"{shop.url}job?id={failing[0]}")
        page.locator("#badge").get_by_text("COMPLETED").wait_for(timeout=LIVE_MS)
        told = page.locator("main").inner_text()
        assert "NotInStock" in told, "the attempt that failed is still told"
        assert "the shelf is full again" in told
        assert ann.complaints == []
        assert ann.violations() == []
    states = shop.repo.table.get_many
    wait_until(lambda: {job.status for job in states(failing).values()} == {JobStatus.COMPLETED}, 60, "all complete")
    entry = next(entry for entry in Audit.of(shop.repo).entries() if entry.verb.endswith("retry"))
    assert (entry.done, entry.why) == (3, "the shelf is full again")


def test_another_cancels_a_running_job_and_sees_when_it_is_done(shop: Shop, browser: Browser, tmp_path: Path) -> None:
    result = deliver.delay(str(tmp_path / "never"))
    with visiting(browser, shop.url) as bob:
        page = bob.open("jobs")
        link = page.locator(f"a[href*='{result.id}']").first
        link.wait_for(timeout=LIVE_MS)
        link.click()
        page.locator("#badge").get_by_text("PROCESSING").wait_for(timeout=LIVE_MS)
        page.get_by_text("Cancel…").click()
        cancel = page.locator("form[action$='/act']", has=page.locator("input[name=verb][value=cancel]"))
        cancel.locator("input[name=reason]").fill("the street is closed")
        cancel.locator("button").last.click()
        page.wait_for_url("**/job?**asked=cancel**")
        page.locator("main").get_by_text(re.compile("requested", re.IGNORECASE)).first.wait_for(timeout=LIVE_MS)
        page.locator("#badge").get_by_text("CANCELLED").wait_for(timeout=LIVE_MS)
        assert bob.complaints == []
        assert bob.violations() == []
    job = shop.repo.get_job(result.id)
    assert job.status is JobStatus.CANCELLED
    entry = next(entry for entry in Audit.of(shop.repo).entries() if entry.what == result.id)
    assert (entry.verb, entry.why, entry.done) == ("cancel", "the street is closed", 1)


def test_a_third_follows_a_chain_from_its_first_job_to_its_last(shop: Shop, browser: Browser) -> None:
    last = chain(price.s(1000), add_tax.s(), invoice.s()).apply_async()
    first = last.parent.parent.id
    with visiting(browser, shop.url) as eve:
        page = eve.open(f"job?id={first}")
        for job_id in (last.parent.id, last.id):
            link = page.locator(f"main a[href*='{job_id}']").first
            link.wait_for(timeout=LIVE_MS)
            link.click()
            page.wait_for_url(f"**/job?id={job_id}**")
        page.locator("#badge").get_by_text("COMPLETED").wait_for(timeout=LIVE_MS)
        page.locator("main").get_by_text("12.00 EUR").first.wait_for(timeout=LIVE_MS)
        assert page.locator(f"main a[href*='{first}']").count(), "and back to where it began"
        assert eve.complaints == []
        assert eve.violations() == []


def test_an_operator_submits_then_corrects_and_cancels_many(shop: Shop, browser: Browser, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    with visiting(browser, shop.url) as ann:
        page = ann.open("jobs")
        page.get_by_text("Submit a job…").click()
        page.wait_for_url("**/submit")
        page.fill("input[name=task]", "shop.pick")
        page.fill("textarea[name=args]", f'["{shelf}"]')
        page.locator("form button.primary").click()
        page.get_by_text("do not fit task").wait_for(timeout=LIVE_MS)
        ann.complaints.clear()  # the browser tells the answer 400 of what was refused
        page.fill("textarea[name=args]", f'["{shelf}", "figs"]')
        page.locator("form button.primary").click()
        page.wait_for_url("**/job?**asked=submit**")
        page.locator("#badge").get_by_text("FAILED").wait_for(timeout=LIVE_MS)
        old = page.url.partition("id=")[2].partition("&")[0]

        shelf.touch()
        page.get_by_text("Edit and retry…").click()
        page.wait_for_url("**/job/edit?**")
        payload = page.locator("textarea[name=payload]")
        assert "figs" in payload.input_value()
        payload.fill(payload.input_value().replace("figs", "dates"))
        page.check("input[name=resolve]")
        page.locator("form button.primary").click()
        page.wait_for_url("**/job?**asked=edit**")
        page.locator("#badge").get_by_text("COMPLETED").wait_for(timeout=LIVE_MS)
        page.locator("main").get_by_text("picked dates").first.wait_for(timeout=LIVE_MS)
        page.locator(f"main a[href*='{old}']").first.click()
        page.get_by_text("edited as").wait_for(timeout=LIVE_MS)
        page.locator("#badge").get_by_text("RESOLVED").wait_for(timeout=LIVE_MS)

        waiting = [price.apply_async((cents,), countdown=600).id for cents in range(3)]
        page.goto(f"{shop.url}jobs?task=shop.price&status=PENDING")
        page.get_by_text("Cancel these…").click()
        page.wait_for_url("**/jobs/cancel?**")
        page.get_by_text("Cancel 3 jobs").wait_for(timeout=LIVE_MS)
        page.fill("input[name=reason]", "wrong prices")
        page.locator("form[action$='/jobs/cancel/start'] button").first.click()
        page.wait_for_url("**/dead/operation?**")
        page.locator("#badge").get_by_text("done").wait_for(timeout=LIVE_MS)
        assert ann.complaints == []
        assert ann.violations() == []
    assert {str(shop.repo.get_job(job_id).status) for job_id in waiting} == {"CANCELLED"}
    trail = [(entry.verb, entry.face, entry.why) for entry in Audit.of(shop.repo).entries()]
    assert ("cancel", "dashboard", "wrong prices") in trail
    assert {"submit", "retry"} <= {verb for verb, _, _ in trail}


def test_reading_needs_no_javascript(shop: Shop, browser: Browser) -> None:
    result = price.delay(5)
    wait_until(lambda: shop.repo.get_job(result.id).status is JobStatus.COMPLETED, 60, "it completes")
    with visiting(browser, shop.url, javascript=False) as ann:
        page = ann.open("jobs?status=COMPLETED")
        page.locator(f"a[href*='{result.id}']").first.click()
        assert page.locator("#badge").inner_text() == "COMPLETED"
        for path in ("", "dead", "queues", "workers", "schedules", "reconcile", "audit"):
            answer = page.goto(shop.url + path)
            assert answer is not None
            assert answer.ok
            assert page.locator("h1").inner_text()
        assert ann.complaints == []


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
        shop.process.wait_for_line(r"worker +\| .*pause\.started", 30)  # the recovery worker is told too

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
