"""Dead letters in Python: which match, and how they are grouped, counted and found, on the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.jobs import FailureKind, InvalidInput, Job, JobRepo, JobStatus
from jobclaim.jobs.model import DeadState, Failure
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.jobs.storage.table import JobTable
from jobclaim.recovery import many
from jobclaim.recovery.dead import DeadLetters, Filter, Group, grouped, settle, state_of
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import START_MS, ManualClock
from tests.support.failed_jobs import failed

SETTINGS = Settings(_env_file=None, index_shards=2)
DAY = 86_400
FAILURE = Failure(
    kind=FailureKind.PERMANENT, exception="shop.Broken", message="it broke", where="a.py:f", fingerprint="f1"
)
DEAD = Job(job_id="j", task="shop.charge", queue="mail", status=JobStatus.FAILED, finished_at=5, failure=FAILURE)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def ids(jobs: Any) -> list[str]:
    return sorted(job.job_id for job in jobs)


# --- which match
@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"task": "shop.charge"}, True),
        ({"task": "shop"}, False),
        ({"queue": "mail"}, True),
        ({"queue": "default"}, False),
        ({"kind": "PERMANENT"}, True),
        ({"kind": "TIMEOUT"}, False),
        ({"exception": "shop.Broken"}, True),
        ({"exception": "Broken"}, True),
        ({"exception": "shop"}, False),
        ({"fingerprint": "f1"}, True),
        ({"fingerprint": "f"}, False),
        ({"since": 5, "until": 5}, True),
        ({"since": 6}, False),
        ({"until": 4}, False),
        ({"states": (DeadState.WAITING,)}, True),
        ({"states": (DeadState.SCHEDULED,)}, False),
    ],
)
def test_a_filter_matches_by_each_of_its_fields(wanted: dict[str, Any], fits: bool) -> None:
    assert Filter(**wanted).fits(DEAD) is fits


def test_only_a_failed_job_matches_and_one_without_a_failure_by_nothing_of_it() -> None:
    bare = replace(DEAD, failure=None)
    assert Filter().fits(bare)
    wanted: list[dict[str, Any]] = [{"kind": "PERMANENT"}, {"exception": "Broken"}, {"fingerprint": "f1"}]
    assert not any(Filter(**one).fits(bare) for one in wanted)
    assert not Filter(states=tuple(DeadState)).fits(
        replace(DEAD, status=JobStatus.CANCELLED, dead_state=DeadState.WAITING)
    )


@pytest.mark.parametrize("wanted", [{"kind": "BAD"}, {"since": 3, "until": 2}])
def test_a_filter_that_can_match_nothing_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Filter(**wanted)


def test_what_an_older_version_failed_is_waiting_and_another_job_has_no_state() -> None:
    assert state_of(DEAD) == DeadState.WAITING
    assert state_of(replace(DEAD, dead_state=DeadState.RESOLVED)) == DeadState.RESOLVED
    assert state_of(replace(DEAD, status=JobStatus.PENDING)) == ""


# --- groups and counts
def test_letters_are_grouped_by_their_fingerprints_and_the_largest_comes_first() -> None:
    late = replace(DEAD, job_id="k", task="shop.refund", finished_at=7, failure=replace(FAILURE, message="another"))
    early = replace(DEAD, job_id="l", finished_at=3)
    last = replace(DEAD, job_id="n", finished_at=6, failure=replace(FAILURE, message="a third"))
    bare = replace(DEAD, job_id="m", failure=None)
    known = {"kind": "PERMANENT", "exception": "shop.Broken", "where": "a.py:f", "fingerprint": "f1"}
    none = {"kind": "", "exception": "", "where": "", "fingerprint": "", "message": ""}

    assert grouped([bare, DEAD, late, early, last]) == [
        Group(**known, task="several", count=4, first_at=3, last_at=7, sample="j", message="it broke"),
        Group(**none, task="shop.charge", count=1, first_at=5, last_at=5, sample="m"),
    ]
    assert [group.task for group in grouped([DEAD, early])] == ["shop.charge"]


def test_letters_are_counted_by_state_kind_task_queue_and_window(repo: JobRepo) -> None:
    failed(repo, "a", "b")
    failed(repo, "c", kind=FailureKind.TRANSIENT)

    assert DeadLetters(repo).stats(Filter(), window_ms=1_000) == {
        "state": {"WAITING": 2, "SCHEDULED": 1},
        "kind": {"PERMANENT": 2, "TRANSIENT": 1},
        "task": {"shop.charge": 3},
        "queue": {"default": 3},
        "window": {str(START_MS): 3},
    }
    hour = START_MS // 3_600_000 * 3_600_000
    assert DeadLetters(repo).stats(Filter())["window"] == {str(hour): 3}
    assert DeadLetters(repo).groups(Filter())[0].count == 2


def test_a_failure_that_is_unknown_is_counted_as_such(repo: JobRepo) -> None:
    failed(repo, "a")
    with patch.object(DeadLetters, "find", lambda *_: [replace(DEAD, failure=None)]):
        assert DeadLetters(repo).stats(Filter())["kind"] == {"?": 1}


@pytest.mark.parametrize(("at_most", "found"), [(1, 1), (3, 3), (9, 6)])
def test_those_that_wait_are_counted_up_to_a_limit(repo: JobRepo, at_most: int, found: int) -> None:
    failed(repo, *"abcdef")
    failed(repo, "g", kind=FailureKind.TRANSIENT)
    asked: list[int] = []
    real = JobTable.entries

    def entries(table: JobTable, key: str, *, limit: int) -> list[IndexEntry]:
        asked.append(limit)
        return real(table, key, limit=limit)

    with patch.object(JobTable, "entries", entries):
        assert DeadLetters(repo).waiting(at_most=at_most) == found
    assert asked[0] == at_most
    assert sum(asked) <= 2 * at_most


def test_the_oldest_is_the_one_that_has_waited_longest(repo: JobRepo, clock: ManualClock) -> None:
    assert DeadLetters(repo).oldest() is None
    for job_id in "abcd":
        failed(repo, job_id)
        clock.advance(1)
    assert DeadLetters(repo).oldest() == IndexEntry("a", START_MS)


def test_all_states_are_found_and_only_in_their_own_parts_of_the_index(repo: JobRepo) -> None:
    waits, resolved, abandoned = failed(repo, "waits", "resolved", "abandoned")
    failed(repo, "scheduled", kind=FailureKind.TRANSIENT)
    assert settle(repo, resolved, "resolve", by="ada")
    assert settle(repo, abandoned, "abandon", by="ada")
    found = {state: ids(DeadLetters(repo).find(Filter(states=(state,)))) for state in DeadState}

    assert {state: names for state, names in found.items() if names} == {
        DeadState.WAITING: ["waits"],
        DeadState.SCHEDULED: ["scheduled"],
        DeadState.RESOLVED: ["resolved"],
        DeadState.ABANDONED: ["abandoned"],
    }
    assert DeadLetters(repo).count(Filter()) == 2
    assert waits.job_id == "waits"


def test_letters_are_read_in_pages_up_to_the_end_of_the_window_and_without_those_that_expired(
    repo: JobRepo, clock: ManualClock
) -> None:
    repo = JobRepo(repo.table.client(), settings=SETTINGS.model_copy(update={"index_shards": 1}), clock=clock)
    for job_id in "abcde":
        failed(repo, job_id)
        clock.advance(1)
    looked: list[list[str]] = []
    real = JobTable.get_many

    def get_many(table: JobTable, job_ids: list[str]) -> dict[str, Job]:
        looked.append(job_ids)
        return real(table, job_ids)

    with patch.object(many, "PAGE", 2), patch.object(JobTable, "get_many", get_many):
        assert ids(DeadLetters(repo).find(Filter(until=START_MS + 2_000))) == list("abc")
        assert looked == [["a", "b"], ["c"]]
        looked.clear()
        assert ids(DeadLetters(repo).find(Filter())) == list("abcde")
        assert looked == [["a", "b"], ["c", "d"], ["e"]]
    with patch.object(lifecycle, "is_gone", lambda job, now: job.job_id == "b"):
        assert ids(DeadLetters(repo).find(Filter())) == list("acde")
    with patch.object(JobTable, "get_many", lambda table, job_ids: real(table, job_ids[1:])):
        assert ids(DeadLetters(repo).find(Filter())) == list("bcde")


def test_what_is_scheduled_is_found_by_when_it_failed_and_not_by_when_it_starts_again(
    repo: JobRepo, clock: ManualClock
) -> None:
    failed(repo, "scheduled", kind=FailureKind.TRANSIENT)
    assert ids(DeadLetters(repo).find(Filter(until=clock()))) == ["scheduled"]
