"""Jobs whose puts are made at the same time: each is created, found or refused as if it were submitted by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pycurl
import pytest

from jobclaim.jobs import IdempotencyMismatch, InvalidInput, Job, JobNotFound, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.repo.joining import NewJob, begin
from jobclaim.jobs.storage.bundle import Bundle, Tried
from jobclaim.jobs.storage.table import JobTable
from jobclaim.jobs.storage.written import Written
from tests.contract.stores import Store

LARGE = "x" * 5_000
"""A payload with an item of its own."""


def calls(repo: JobRepo, *payloads: Any, **options: Any) -> list[Callable[[], Job]]:
    """Return calls that create jobs ``j0``, ``j1``, ... with these payloads."""
    return [
        partial(repo.create_job, "t", payload, job_id=f"j{number}", **options)
        for number, payload in enumerate(payloads)
    ]


def begun(repo: JobRepo, those: Sequence[Callable[[], Job]]) -> list[Job | Exception]:
    """Make calls together, and return what came of each."""
    finish, _ = begin(repo, those)
    return finish()


def test_each_call_has_the_outcome_that_it_would_have_alone(store: Store) -> None:
    repo = store.repo()
    repo.create_job("t", 1, job_id="j1")
    repo.create_job("t", "other", job_id="j2")
    outcomes = begun(repo, [*calls(repo, 0, 1, 2, None, LARGE), partial(repo.create_job, "t", job_id="")])
    new, equal, different, empty, large, refused = outcomes
    assert isinstance(different, IdempotencyMismatch)
    assert isinstance(refused, InvalidInput)
    jobs = [job for job in (new, equal, empty, large) if isinstance(job, Job)]
    assert [(job.job_id, job.created, job.payload) for job in jobs] == [
        ("j0", True, 0),
        ("j1", False, 1),
        ("j3", True, None),
        ("j4", True, LARGE),
    ]
    assert [repo.get_job(job.job_id).payload for job in jobs] == [0, 1, None, LARGE]
    assert repo.get_job("j3").result is None


def test_an_ended_job_with_the_same_key_is_run_anew(store: Store) -> None:
    repo = store.repo()
    failed = repo.create_job("t", 1, idempotency_key="k")
    repo.claim_job(failed.job_id)
    repo.update_status(failed.job_id, JobStatus.FAILED, error="no")
    (again, other) = begun(repo, [partial(repo.create_job, "t", 1, idempotency_key=key) for key in ("k", "l")])
    assert isinstance(again, Job)
    assert isinstance(other, Job)
    assert (again.job_id, again.created, other.created) == (failed.job_id, True, True)
    assert repo.get_job(failed.job_id).status is JobStatus.PENDING


@pytest.mark.real
@pytest.mark.parametrize("arrives", [True, False])
def test_puts_whose_answers_are_lost_count_once(
    atomic_store: Store, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    start, finish, lost = Bundle.start, Bundle.finish, list[int]()

    def begin_to_lose(self: Bundle, requests: Sequence[Any], longest_ms: int) -> None:
        lost.append(len(requests))
        start(self, requests if arrives else [], longest_ms)

    def lose(self: Bundle) -> list[Tried]:
        finish(self)
        return [pycurl.error(pycurl.E_GOT_NOTHING, "lost")] * lost[-1]

    monkeypatch.setattr(Bundle, "start", begin_to_lose)
    monkeypatch.setattr(Bundle, "finish", lose)
    repo = atomic_store.repo()
    outcomes = begun(repo, calls(repo, *range(20)))
    assert [isinstance(job, Job) and job.created for job in outcomes] == [True] * 20
    assert (lost, len(atomic_store.items())) == ([20], 20)


@pytest.mark.real
def test_a_store_that_is_away_is_the_outcome_of_each(atomic_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OSError("no credentials")

    repo = atomic_store.repo()
    with monkeypatch.context() as outage:
        outage.setattr(atomic_store.line._signed, "headers", away)
        outcomes = begun(repo, calls(repo, 1, 2))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2


def test_a_job_that_a_calls_own_code_creates_is_written_too(store: Store) -> None:
    repo = store.repo()

    def call() -> Job:
        repo.create_job("t", "beside", job_id="beside")
        return repo.create_job("t", "own", job_id="own")

    def refused() -> Job:
        repo.create_job("t", "before", job_id="before")
        raise InvalidInput("no")

    (own, error) = begun(repo, [call, refused])
    assert isinstance(own, Job)
    assert (own.job_id, own.payload, type(error)) == ("own", "own", InvalidInput)
    assert [repo.get_job(name).payload for name in ("own", "beside", "before")] == ["own", "beside", "before"]


def test_a_payload_in_s3_is_apart_too() -> None:
    stored = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING, payload={"mark": 1})
    assert [NewJob(stored, payload, None, print).is_payload_apart for payload in (stored.payload, "x")] == [False, True]


@pytest.mark.parametrize(("payloads", "apart"), [((1, 2), False), ((1, LARGE), True), ((), False)])
def test_payloads_that_are_written_by_themselves_are_told(store: Store, payloads: tuple[Any, ...], apart: bool) -> None:
    assert begin(store.repo(), calls(store.repo(), *payloads))[1] is apart


def test_a_put_that_was_begun_is_not_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobTable, "puts", lambda _, jobs: [lambda: Written(True, None, 1)] * len(jobs))
    repo = store.repo()
    outcomes = begun(repo, calls(repo, 1, 2))
    assert [isinstance(job, Job) and job.created for job in outcomes] == [True, True]
    with pytest.raises(JobNotFound):
        repo.get_job("j0")
