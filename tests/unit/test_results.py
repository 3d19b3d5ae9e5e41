"""A job as Celery's users see it: states, exceptions, waiting, forgetting, and how long a result lasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celery.exceptions import TimeoutError as ResultTimeout

from jobclaim.jobs import Failure, FailureKind, InvalidInput, Job, JobStatus
from jobclaim.jobs.storage.notes import SEPARATOR, Kind, Notes
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.attempt.exceptions import JobFailed, find_exception
from jobclaim.workers.results import stored
from jobclaim.workers.results.meta import error_of, meta_of, state_of

DONE = Job(job_id="a", task="t", queue="default", status=JobStatus.COMPLETED, result=1, finished_at=1_750_000_000_000)


class Outer:
    class Inner(Exception):
        """A class within a class."""


class Demanding(Exception):
    """Cannot be made of a message."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


@shared_task(base=JobTask, bind=True, name="results.echo")
def echo(self: Any, value: Any = None) -> Any:
    """Give the value back."""
    return value


@shared_task(base=JobTask, bind=True, name="results.broken", ignore_result=True)
def broken(self: Any) -> Any:
    """Give back what JSON does not know."""
    return object()


@shared_task(name="results.plain_note")
def plain_note(value: Any) -> Any:
    """Give the value back, as a plain task."""
    return value


def failed(exception: str = "", message: str = "m", kind: FailureKind = FailureKind.PERMANENT) -> Job:
    failure = Failure(kind=kind, exception=exception, message=message, traceback="tb", at=1)
    return replace(DONE, status=JobStatus.FAILED, result=None, failure=failure)


@pytest.mark.parametrize(
    ("job", "state"),
    [
        (replace(DONE, status=JobStatus.PENDING), "PENDING"),
        (replace(DONE, status=JobStatus.PENDING, attempt=1, charged=1), "RETRY"),
        (replace(DONE, status=JobStatus.PENDING, attempt=1, charged=0), "PENDING"),  # given back, not charged
        (replace(DONE, status=JobStatus.PROCESSING, attempt=2, charged=2), "STARTED"),
        (DONE, "SUCCESS"),
        (failed(), "FAILURE"),
        (replace(DONE, status=JobStatus.CANCELLED), "REVOKED"),
    ],
)
def test_each_state_of_a_job_is_one_of_celerys(job: Job, state: str) -> None:
    assert state_of(job) == state


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        ("ValueError", ValueError),
        ("tests.unit.test_results.Outer.Inner", Outer.Inner),
        ("billiard.exceptions.SoftTimeLimitExceeded", SoftTimeLimitExceeded),
        ("billiard.exceptions.TimeLimitExceeded", TimeLimitExceeded),
        ("jobclaim.jobs.errors.InvalidInput", InvalidInput),
    ],
)
def test_an_exception_comes_back_as_its_own_class(exception: str, expected: type[Exception]) -> None:
    error = error_of(failed(exception, "so it was"))
    assert type(error) is expected
    assert "so it was" in str(error)


def test_a_class_that_asks_for_more_than_a_message_is_made_all_the_same() -> None:
    error = error_of(failed("tests.unit.test_results.Demanding", "code 7"))
    assert type(error) is Demanding
    assert str(error) == "code 7"


@pytest.mark.parametrize("name", ["os.system", "not.imported.Error", "builtins.len", "", "sys"])
def test_a_name_that_is_no_exception_known_here_is_told_in_words(name: str) -> None:
    assert find_exception(name) is None
    assert isinstance(error_of(failed(name, "so it was")), JobFailed)


def test_an_orphan_and_a_cancel_have_celerys_own_classes() -> None:
    assert isinstance(error_of(failed(kind=FailureKind.ORPHANED)), WorkerLostError)
    assert isinstance(error_of(replace(DONE, status=JobStatus.CANCELLED)), TaskRevokedError)


def test_meta_tells_what_the_job_knows() -> None:
    meta = meta_of(replace(DONE, payload={"args": [1], "kwargs": {"b": 2}}, charged=3, worker_id="w"))
    assert (meta["result"], meta["args"], meta["kwargs"], meta["retries"], meta["worker"]) == (1, [1], {"b": 2}, 2, "w")
    assert meta["date_done"].isoformat() == "2025-06-15T15:06:40+00:00"


def test_waiting_asks_less_often_the_longer_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))
        now[0] += seconds

    monkeypatch.setattr("jobclaim.workers.results.stored.time.monotonic", lambda: now[0])
    monkeypatch.setattr("jobclaim.workers.results.stored.time.sleep", sleep)
    turns = sum(1 for _ in stored._pauses(100.0, 0.5, None))
    assert pauses[:3] == [0.05, 0.05, 0.05]
    assert max(pauses) == 5.0
    assert sum(pauses) == pytest.approx(100, abs=0.1)
    assert turns == len(pauses) + 1 < 90


def test_get_gives_up_when_its_time_is_over(jobclaim: Harness) -> None:
    result = echo.delay(1)
    with pytest.raises(ResultTimeout, match=r"did not end within 0\.1 s"):
        result.get(timeout=0.1)
    with pytest.raises(ResultTimeout):
        result.get(timeout=0)


def test_a_forgotten_result_is_gone_at_once(jobclaim: Harness) -> None:
    result = echo.delay(1)
    jobclaim.drain()
    assert result.get(timeout=1) == 1
    result.forget()
    assert jobclaim.app.AsyncResult(result.id).state == "PENDING"
    result.forget()


def test_an_open_job_cannot_be_forgotten(jobclaim: Harness) -> None:
    result = echo.delay(1)
    result.forget()
    jobclaim.drain()
    assert result.get(timeout=1) == 1


def test_results_of_jobs_and_plain_tasks_last_as_long_as_completed_jobs_are_kept(jobclaim: Harness) -> None:
    job, note = echo.delay(1), plain_note.delay(2)
    jobclaim.drain()
    seconds = jobclaim.app.jobclaim.settings.completed_retention_days * 86_400
    jobclaim.travel(seconds - 60)
    fresh = jobclaim.app.AsyncResult
    assert (fresh(job.id).state, fresh(note.id).state) == ("SUCCESS", "SUCCESS")
    jobclaim.app.backend._cache.clear()
    jobclaim.travel(120)
    assert (fresh(job.id).state, fresh(note.id).state) == ("PENDING", "PENDING")


def test_a_result_that_json_does_not_know_fails_the_job(jobclaim: Harness) -> None:
    result = broken.delay()
    jobclaim.drain()
    job = jobclaim.job(result)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert "cannot be stored" in job.failure.message


def test_results_of_many_are_read_together(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [echo.delay(number) for number in range(120)] + [plain_note.delay(-1)]
    jobclaim.drain()
    asked: list[int] = []
    own = jobclaim.repo.table.get_many

    def get_many(ids: Any, **options: Any) -> Any:
        asked.append(len(ids))
        return own(ids, **options)

    monkeypatch.setattr(jobclaim.repo.table, "get_many", get_many)
    found = dict(jobclaim.app.backend.get_many([result.id for result in results], timeout=5))
    assert [found[result.id]["result"] for result in results] == [*range(120), -1]
    assert asked == [121]


def test_a_note_is_no_job_to_anybody(jobclaim: Harness) -> None:
    notes = Notes.of(jobclaim.repo)
    notes.put(Kind.RESULT, "x", "text", seconds=60)
    key = f"result{SEPARATOR}x"
    with pytest.raises(InvalidInput, match="control character"):
        jobclaim.repo.get_job(key)
    with pytest.raises(InvalidInput, match="control character"):
        jobclaim.repo.create_job("t", job_id=key)
    for status in ("PENDING", "FAILED", "CANCELLED"):
        assert jobclaim.repo.list_jobs(status).jobs == ()


def test_a_note_is_over_at_its_time_and_can_be_written_anew(jobclaim: Harness) -> None:
    notes = Notes.of(jobclaim.repo)
    notes.put(Kind.GROUP, "g", "one", seconds=10)
    assert notes.get(Kind.GROUP, "g") == "one"
    jobclaim.travel(12)
    assert notes.get(Kind.GROUP, "g") is None
    notes.put(Kind.GROUP, "g", "two", seconds=10)
    assert notes.get_many(Kind.GROUP, ["g", "h"]) == {"g": "two"}
    notes.delete(Kind.GROUP, "g")
    assert notes.get(Kind.GROUP, "g") is None
