"""Searching jobs: by argument, error, tag, key, worker and time, in bounded requests that say what they read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from jobclaim.jobs import Attempt, Failure, FailureKind, Job, JobRepo, JobStatus
from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.views.humane import iso
from jobclaim.views.job_filter import JobFilter, looked_through
from tests.unit.dashboard.conftest import Board, board, cloud, make_board

__all__ = ["board", "cloud", "make_board"]  # fixtures

NOON = 1_795_867_200_000  # 2026-11-28T12:00:00Z
FAILURE = Failure(kind=FailureKind.TRANSIENT, exception="shop.Down", message="Connection reset", where="shop.py:pay")
JOB = Job(
    job_id="nightly@2026",
    task="shop.pay",
    queue="default",
    status=JobStatus.FAILED,
    payload={"args": [{"Customer": "Ada"}], "kwargs": {"amount": 7}},
    tags=("customer:42", "import"),
    idempotency_key="invoice-7",
    worker_id="w-2",
    failure=FAILURE,
    history=(Attempt(attempt=1, outcome="retry", worker_id="w-1", failure=replace(FAILURE, message="Timed out")),),
)


@pytest.mark.parametrize(
    ("criteria", "fits"),
    [
        ({"argument": "customer"}, True),
        ({"argument": '"amount":7'}, True),
        ({"argument": "grace"}, False),
        ({"error": "connection RESET"}, True),
        ({"error": "timed out"}, True),
        ({"error": "shop.Down"}, True),
        ({"error": "shop.py:pay"}, True),
        ({"error": "refused"}, False),
        ({"tags": ("import", "customer:42")}, True),
        ({"tags": ("import", "other")}, False),
        ({"key": "invoice-*"}, True),
        ({"key": "invoice-8"}, False),
        ({"worker_id": "w-1"}, True),
        ({"worker_id": "w-2"}, True),
        ({"worker_id": "w-3"}, False),
        ({"job_id": "nightly@*"}, True),
    ],
)
def test_a_filter_fits_what_it_says(criteria: dict[str, Any], fits: bool) -> None:
    assert JobFilter.of(**criteria).fits(JOB, 0) is fits


def test_what_was_looked_through_is_said_with_states_times_and_zone() -> None:
    span = (NOON + 180_000, NOON + 7_800_000)
    assert looked_through(2000, span, ["FAILED"]) == (
        "Looked through 2,000 FAILED jobs, due or ended from 2026-11-28 12:03:00 to 14:10:00 UTC"
    )
    assert looked_through(1, (NOON, NOON), ["PROCESSING", "PENDING"]) == (
        "Looked through 1 open job, due from 2026-11-28 12:00:00 to 12:00:00 UTC"
    )
    assert looked_through(0, None, ["COMPLETED"]) == "Looked through 0 COMPLETED jobs"


def jobs_of(repo: JobRepo) -> list[Job]:
    made = []
    for n in range(6):
        job = repo.create_job("shop.pay", {"args": [], "kwargs": {"invoice": n}}, tags=[f"customer:{n % 2}"])
        repo.claim_job(job.job_id, worker_id=f"w-{n}")
        made.append(repo.update_status(job.job_id, "FAILED", error=ValueError(f"declined {n}")))
    return made


def run(repo: JobRepo, *words: str) -> Any:
    session = type("Known", (Session,), {"repo": repo, "settings": Settings()})()
    return CliRunner().invoke(command_line, ["list", "-s", "failed", *words], obj=session)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--tag", "customer:1"), [1, 3, 5]),
        (("--argument", '"invoice":4'), [4]),
        (("--error", "DECLINED 2"), [2]),
        (("--worker", "w-3"), [3]),
        (("--tag", "customer:0", "--until", "now", "--since", "1h"), [0, 2, 4]),
        (("--since", "1h", "--until", "30m ago"), []),
    ],
)
def test_the_command_line_finds_and_says_what_it_read(
    jobclaim: Harness, words: tuple[str, ...], found: list[int]
) -> None:
    made = jobs_of(jobclaim.repo)
    result = run(jobclaim.repo, *words, "-o", "json")
    answer = json.loads(result.stdout)
    assert {row["job_id"] for row in answer["items"]} == {made[n].job_id for n in found}
    assert (answer["looked_at"], answer["cursors"]) == ({"FAILED": 6}, {})
    assert "Looked through 6 FAILED jobs" in run(jobclaim.repo, *words).stderr


def test_a_search_that_stops_goes_on_by_its_cursor(jobclaim: Harness) -> None:
    made = jobs_of(jobclaim.repo)
    first = json.loads(run(jobclaim.repo, "--tag", "customer:1", "-n", "2", "-o", "json").stdout)
    rest = json.loads(
        run(jobclaim.repo, "--tag", "customer:1", "--cursor", first["cursors"]["FAILED"], "-o", "json").stdout
    )
    ids = [row["job_id"] for row in first["items"] + rest["items"]]
    assert sorted(ids) == sorted(made[n].job_id for n in (1, 3, 5))
    assert len(set(ids)) == 3


def test_pages_and_the_api_find_the_same_and_say_what_they_read(board: Board) -> None:
    made = jobs_of(board.repo)
    asked = {"status": "FAILED", "tag": "customer:1", "since": "2h ago"}
    with board.browser() as browser:
        page, api = browser.get("/jobs", params=asked), browser.get("/api/v1/jobs", params=asked).json()
        late = browser.get("/api/v1/jobs", params={**asked, "after": "yesterday maybe"})
    assert {row["job_id"] for row in api["items"]} == {made[n].job_id for n in (1, 3, 5)}
    assert (api["looked_at"], api["looked_from"]) == (6, iso(made[0].finished_at))
    assert "Looked through 6 FAILED jobs" in page.text
    assert made[1].job_id in page.text
    assert made[2].job_id not in page.text
    assert (late.status_code, "write 10m, 2h ago" in late.text) == (400, True)


def test_a_search_tells_nothing_of_what_is_hidden(board: Board) -> None:
    board.job(payload={"args": [], "kwargs": {"invoice": 7, "secret": "swordfish"}})
    with board.browser() as browser:
        items = browser.get("/api/v1/jobs", params={"argument": "swordfish"}).json()["items"]
        names = browser.get("/api/v1/jobs", params={"argument": "invoice"}).json()["items"]
        cancel = browser.get("/jobs/cancel", params={"argument": "swordfish"})
    assert (items, len(names)) == ([], 1)
    assert "swordfish" not in str(names)
    assert cancel.status_code == 400


def test_these_jobs_are_cancelled_by_their_filter_and_most(board: Board) -> None:
    board.job(tags=["x"])
    with board.browser() as browser:
        preview = browser.get("/jobs/cancel", params={"tag": "x", "most": "5", "rate": "10"})
    assert preview.status_code == 200
