"""One request at a time: what each asks for, how it goes on after a short answer, and what it counts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from jobclaim.jobs import JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.encoding.schema import open_key
from jobclaim.jobs.storage.reads import BATCH_ROUNDS, IndexEntry
from jobclaim.jobs.storage.resilience import FIRST_WAIT_SECONDS
from jobclaim.jobs.storage.table import JobTable
from jobclaim.jobs.transitions import Move
from jobclaim.settings import Settings
from tests.simulation.client import ModelClient, model_repo
from tests.support.clock import ManualClock
from tests.support.recovery import failing

SETTINGS = Settings(_env_file=None, index_shards=1)
NAME = SETTINGS.job_table
Answers = list[dict[str, Any]]


class Line:
    """A client that notes its requests and cuts its answers short.

    Parameters
    ----------
    short : int
        Answers of BatchGetItem that leave every key unread; of Query, answers that bring one row.
    """

    def __init__(self, client: ModelClient, short: int = 0) -> None:
        self._client, self._short = client, short
        self.asked: Answers = []

    def batch_get_item(self, **request: Any) -> Any:
        self.asked.append(request["RequestItems"][NAME])
        if self._short:
            self._short -= 1
            return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}
        return self._client.batch_get_item(**request)

    def get_item(self, **request: Any) -> Any:
        self.asked.append(request)
        return self._client.get_item(**request)

    def query(self, **request: Any) -> Any:
        self.asked.append(dict(request))
        if self._short:
            self._short -= 1
            request["Limit"] = 1
        return self._client.query(**request)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def table(line: Any, clock: ManualClock, slept: list[float] | None = None) -> JobTable:
    sleep = clock.advance if slept is None else slept.append
    return JobTable(lambda: line, NAME, clock=clock, shards=1, index_completed=False, sleep=sleep)


# --- reads
def test_jobs_are_read_as_cheaply_as_asked_for_and_nothing_is_read_for_no_job(
    repo: JobRepo, clock: ManualClock
) -> None:
    repo.create_job("t", job_id="j")
    line = Line(repo.table.client())
    one = table(line, clock)

    assert (one.items([]), one.get_many([]), line.asked) == ([], {}, [])
    assert [len(one.items(["j", "k"])), len(one.get_many(["j"])), len(one.get_many(["j"], consistent=True))] == [1] * 3
    assert [asked["ConsistentRead"] for asked in line.asked] == [False, False, True]


def test_a_job_that_is_read_alone_is_read_as_it_is_now(repo: JobRepo, clock: ManualClock) -> None:
    line = Line(repo.table.client())

    assert table(line, clock).get("j") is None
    assert [asked["ConsistentRead"] for asked in line.asked] == [True]


def test_keys_that_were_left_unread_are_asked_for_again_after_growing_waits(
    repo: JobRepo, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    repo.create_job("t", job_id="j")
    slept: list[float] = []

    assert list(table(Line(repo.table.client(), 3), clock, slept).get_many(["j"])) == ["j"]
    assert slept == [FIRST_WAIT_SECONDS * factor for factor in (1, 2, 4)]

    with pytest.raises(StoreUnavailable, match="unprocessed keys"):
        table(Line(repo.table.client(), BATCH_ROUNDS), clock).get_many(["j"])


def test_tokens_are_read_as_they_are_now_and_keys_left_unread_are_left_out(repo: JobRepo, clock: ManualClock) -> None:
    for job_id in ("waits", "runs", "ended"):
        repo.create_job("t", job_id=job_id)
    repo.claim_job("ended")
    repo.update_status("ended", "COMPLETED")
    claim = repo.claim_job("runs")
    assert claim is not None
    line = Line(repo.table.client())

    found = table(line, clock).tokens_of(["waits", "runs", "ended", "none"])

    assert found == {"waits": "", "runs": claim.claim_token, "ended": "", "none": ""}
    assert line.asked[0]["ConsistentRead"] is True
    assert table(Line(repo.table.client(), 1), clock).tokens_of(["waits", "runs"]) == {}


def test_a_page_that_was_cut_short_is_filled_by_further_ones_and_no_more_is_asked_for(
    repo: JobRepo, clock: ManualClock
) -> None:
    for n in range(5):
        repo.create_job("t", job_id=f"j{n}")
    line = Line(repo.table.client(), 2)

    page = table(line, clock).entries(open_key("default", 0), limit=4)

    assert [entry.job_id for entry in page] == ["j0", "j1", "j2", "j3"]
    assert [asked["Limit"] for asked in line.asked] == [4, 3, 2]


def test_a_page_cannot_begin_outside_of_its_times(repo: JobRepo) -> None:
    with pytest.raises(StoreUnavailable, match="outside query boundaries"):
        repo.table.entries(open_key("default", 0), limit=1, after=IndexEntry("j", 4), since=5, up_to=9)


# --- writes
def test_a_request_that_is_made_again_waits_as_the_table_waits(repo: JobRepo, clock: ManualClock) -> None:
    slept: list[float] = []
    line = failing(repo.table.client(), "get_item", lambda _: not slept)

    assert table(line, clock, slept).get("j") is None
    assert len(slept) == 1


def test_moves_are_told_of_and_a_new_job_is_none(repo: JobRepo) -> None:
    told: list[tuple[Move, JobStatus, JobStatus]] = []

    def note(move: Move, before: Any, after: Any) -> None:
        told.append((move, before.status, after.status))

    repo.table.on_move = note
    repo.create_job("t", job_id="j")
    job = repo.get_job("j")
    repo.cancel_job("j", read=job)
    assert not repo.table.apply(job, Move.DISPATCH, job).applied

    assert told == [(Move.CANCEL, JobStatus.PENDING, JobStatus.CANCELLED)]


def test_a_write_that_is_refused_at_once_was_tried_once(repo: JobRepo) -> None:
    """Otherwise it might be taken for one's own, of a try whose answer was lost."""
    job = repo.create_job("t", job_id="j")
    repo.claim_job("j")

    assert repo.table.apply(job, Move.DISPATCH, job).tries == 1
