"""The paths of docs/diagnosis.md, each followed in its situation: at most two commands, or three clicks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, Final

import pytest
from starlette.testclient import TestClient

from jobclaim.cli.session import Session
from jobclaim.dashboard import Person, Role, create_app
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import FailureKind, Job, JobStatus
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.repo import rescue
from jobclaim.settings import ScheduleSpec
from tests.support.dashboard_data import MINUTE, SECOND, Shop
from tests.unit.test_cli_jobs import aws, make_session, run

__all__ = ["aws", "make_session"]  # fixtures

PAGE: Final = Path("docs/diagnosis.md")
WORKER: Final = "worker-1@ip-10-0-3-17"
ROW: Final = re.compile(r"^\| (a .+?) \| (`.+?) \| (.+?) \| .+ \|$", re.MULTILINE)


class Prepared:
    """A system in one situation, and the job that it is about."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.repo = session.repo
        self.shop = Shop(session.settings, session.repo.table.client(), session.now())
        self.job = "none"

    def submit(self, ago: float = MINUTE, **options: Any) -> Job:
        """Submit the job that the situation is about."""
        job = self.shop.submit(ago, "shop.charge", "mail", **options)
        self.job = job.job_id
        return job

    def ago(self, seconds: float) -> int:
        """Say when it was so many seconds before now."""
        return self.shop.now - round(seconds * SECOND)

    def lives(self, *jobs: str, queues: tuple[str, ...] = ("mail",)) -> None:
        """Have a worker with one process."""
        record = WorkerRecord(worker_id=WORKER, queues=queues, concurrency=1, jobs=jobs, version="2.0")
        now = self.session.now()
        FleetRecords.of(self.repo).beat(replace(record, seen_at=now, started_at=now - 10 * MINUTE))


def a_job_never_ran(system: Prepared) -> str:
    system.submit()
    system.lives(queues=("default",))
    return "no live worker listens to queue 'mail'"


def a_job_ran_twice(system: Prepared) -> str:
    job = system.submit(max_attempts=3)
    system.shop.claim(job, 50 * SECOND, "worker-7")
    system.shop.repo.reschedule(job.job_id, error=ConnectionError("the line broke"), available_at=system.ago(45))
    system.shop.claim(job, 40 * SECOND, WORKER)
    system.shop.end(job, 30 * SECOND, JobStatus.COMPLETED, result=1)
    return "the line broke"


def a_task_fails_since_a_deploy(system: Prepared) -> str:
    system.shop.statistics(8)
    for _ in range(3):
        job = system.shop.submit(MINUTE, "payments.capture", "mail")
        system.shop.claim(job, 50 * SECOND, WORKER)
        system.shop.end(job, 45 * SECOND, JobStatus.FAILED, error=KeyError("currency"))
    return "KeyError"


def a_queue_is_stuck(system: Prepared) -> str:
    system.submit(4 * MINUTE)
    running = system.shop.submit(5 * MINUTE, "shop.charge", "mail")
    system.shop.claim(running, 4 * MINUTE, WORKER)
    system.lives(running.job_id)
    return "4 min"


def a_job_is_held_by_a_limit(system: Prepared) -> str:
    job = system.submit()
    system.shop.claim(job, 50 * SECOND, WORKER)
    later = system.session.now() + MINUTE
    system.shop.repo.release(job.job_id, available_at=later, reason="10/m for shop.charge", held=Held.RATE_LIMIT)
    return "eld by its rate limit: 10/m for shop.charge"


def a_job_is_paused(system: Prepared) -> str:
    system.submit()
    run(system.session, "pause", "task", "shop.charge", "--reason", "wrong prices", "--by", "ada", "--unknown")
    return "task shop.charge is paused by ada until it is unpaused: wrong prices"


def a_job_lost_its_worker(system: Prepared) -> str:
    claimed = system.shop.claim(system.submit(5 * MINUTE), 4 * MINUTE, WORKER)
    system.shop.clock.at = system.ago(120)
    lost = describe(f"worker {WORKER} was not seen for 60 s", system.ago(120), FailureKind.ORPHANED)
    rescue.orphan_fail(system.shop.repo, claimed, lost)
    return f"worker {WORKER} was not seen for 60 s"


def a_job_was_cancelled(system: Prepared) -> str:
    job = system.submit()
    run(system.session, "cancel", job.job_id, "--reason", "sent to the wrong list")
    return "sent to the wrong list"


def a_dead_letter_healed_by_itself(system: Prepared) -> str:
    job = system.submit(90 * MINUTE, max_attempts=1)
    system.shop.claim(job, 89 * MINUTE, WORKER)
    failed = system.shop.end(job, 88 * MINUTE, JobStatus.FAILED, error=ConnectionError("the line broke"))
    system.shop.clock.at = failed.retry_at
    rescue.revive(system.shop.repo, failed)
    system.shop.claim(job, 10 * MINUTE, WORKER)
    system.shop.end(job, 9 * MINUTE, JobStatus.COMPLETED, result=1)
    return "retry by recovery"


def a_schedule_is_silent(system: Prepared) -> str:
    system.lives()
    return "no job"


SITUATIONS: Final[tuple[Callable[[Prepared], str], ...]] = (
    a_job_never_ran,
    a_job_ran_twice,
    a_task_fails_since_a_deploy,
    a_queue_is_stuck,
    a_job_is_held_by_a_limit,
    a_job_is_paused,
    a_job_lost_its_worker,
    a_job_was_cancelled,
    a_dead_letter_healed_by_itself,
    a_schedule_is_silent,
)
PATHS: Final = {row[1].replace(" ", "_"): row for row in ROW.finditer(PAGE.read_text())}


@pytest.fixture
def system(make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Tables and queues of its own, without a job."""
    monkeypatch.setenv("COLUMNS", "160")
    nightly = ScheduleSpec(task="shop.charge", every=600)
    return Prepared(make_session(index_completed=True, dashboard_results=True, schedules={"nightly": nightly}))


def test_every_row_of_the_page_has_its_situation() -> None:
    assert list(PATHS) == [situation.__name__ for situation in SITUATIONS]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_two_commands_lead_to_the_reason(situation: Callable[[Prepared], str], system: Prepared) -> None:
    reason = situation(system)
    commands = re.findall(r"`jobclaim (.+?)`", PATHS[situation.__name__][2])
    assert len(commands) <= 2
    told = [
        run(system.session, *shlex.split(command.replace("ID", system.job)), "-o", "table").stdout
        for command in commands
    ]
    if "ID" in commands[-1]:
        assert system.job in "".join(told[0].split()) or "show ID" not in commands[0]
    assert reason in " ".join(told[-1].split()), told


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_three_clicks_lead_to_the_reason(situation: Callable[[Prepared], str], system: Prepared) -> None:
    reason = situation(system)
    clicks = PATHS[situation.__name__][3].split(", ")
    assert len(clicks) <= 3
    app = create_app(system.session.settings, access=lambda scope: Person("ada", Role.OPERATOR))
    with TestClient(app, base_url="http://127.0.0.1:8484") as browser:
        page = browser.get("/").text
        for click in clicks:
            page = browser.get(target(page, click, system.job)).text
    assert reason in text_of(page), text_of(page)


def target(page: str, click: str, job_id: str) -> str:
    """Find where a link of the page leads: by its text, or the link to the job."""
    links = re.findall(r'<a [^>]*?href="([^"]+)"[^>]*>(.*?)</a>', page, re.DOTALL)
    wanted = [
        unescape(href)
        for href, inner in links
        if (job_id in href if click == "*the job*" else text_of(inner).strip().startswith(click))
    ]
    assert wanted, f"no link {click} among {[text_of(inner) for _, inner in links]}"
    return wanted[0]


def text_of(page: str) -> str:
    """Return the visible text of a page, in one line."""
    shown = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())
