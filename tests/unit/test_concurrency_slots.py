"""Slots under a concurrency key: who gets one, what a refusal reads, and what becomes of those left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from jobclaim.fleet.limits import KEYS_REMEMBERED, LOOK_AGAIN_MS, FleetLimits
from jobclaim.fleet.rates import LONGEST_PATIENCE_MS
from jobclaim.jobs import Job, JobStatus
from jobclaim.settings import Settings
from tests.simulation.client import ModelClient, model_repo
from tests.support.clock import START_MS, ManualClock
from tests.support.recovery import failing


class Fleet:
    """The record of one key, and the jobs that run: by id, the claim's token, or none if it does not run."""

    def __init__(self) -> None:
        self.now = START_MS
        self.client = ModelClient(lambda: self.now)
        self.client.make_table("fleet", "worker_id")
        self.running: dict[str, str] = {}
        self.requests: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def process(self) -> FleetLimits:
        """Give the limits as a process of its own knows them."""

        def ask(**request: Any) -> Any:
            self.requests.append("write")
            return self.client.update_item(**request)

        def read(job_ids: Sequence[str]) -> Mapping[str, str]:
            self.requests.append("read")
            self.meanwhile()
            return {job_id: self.running[job_id] for job_id in job_ids if job_id in self.running}

        line: Any = type("Line", (), {"update_item": staticmethod(ask)})
        return FleetLimits(lambda: line, "fleet", read_tokens=read, clock=lambda: self.now, sleep=lambda _: None)

    def job(self, name: str, token: str = "") -> Job:
        """Give a job that runs, under a claim."""
        token = token or f"{name}-1"
        self.running[name] = token
        return Job(job_id=name, task="t", queue="q", status=JobStatus.PROCESSING, claim_token=token)

    def holders(self) -> dict[str, str]:
        """Give who holds a slot."""
        item = self.client.get_item(TableName="fleet", Key={"worker_id": {"S": "#running/k"}})["Item"]
        return {job_id: token["S"] for job_id, token in item["holders"]["M"].items()}


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_as_many_enter_as_may_and_who_leaves_makes_room_for_one(fleet: Fleet) -> None:
    limits, jobs = fleet.process(), [fleet.job(name) for name in "abcd"]

    assert [limits.enter("k", 2, job) for job in jobs] == [True, True, False, False]
    limits.leave("k", jobs[0])
    assert fleet.holders() == {"b": "b-1"}
    assert [limits.enter("k", 2, job) for job in jobs[2:]] == [True, False]


def test_entering_again_is_one_request_and_changes_nothing(fleet: Fleet) -> None:
    limits, job = fleet.process(), fleet.job("a")
    assert limits.enter("k", 1, job)
    fleet.requests.clear()

    assert limits.enter("k", 1, job)
    assert (fleet.requests, fleet.holders()) == (["write"], {"a": "a-1"})


def test_a_claim_that_is_over_frees_no_slot_of_the_one_that_followed_it(fleet: Fleet) -> None:
    limits = fleet.process()
    assert limits.enter("k", 1, fleet.job("a", "a-2"))

    limits.leave("k", Job(job_id="a", task="t", queue="q", status=JobStatus.PROCESSING, claim_token="a-1"))

    assert fleet.holders() == {"a": "a-2"}


def test_the_next_attempt_takes_its_jobs_slot_and_the_lost_one_does_not_take_it_back(fleet: Fleet) -> None:
    limits, lost = fleet.process(), fleet.job("a", "a-1")
    assert limits.enter("k", 1, lost)
    current = fleet.job("a", "a-2")

    assert limits.enter("k", 1, current)
    assert not limits.enter("k", 1, lost)
    assert fleet.holders() == {"a": "a-2"}


def test_a_slot_that_was_freed_meanwhile_is_not_taken_unseen(fleet: Fleet) -> None:
    limits, lost = fleet.process(), fleet.job("a", "a-1")
    assert limits.enter("k", 1, lost)
    current, other = fleet.job("a", "a-2"), fleet.job("b")

    def freed() -> None:
        limits.leave("k", lost)
        assert fleet.process().enter("k", 1, other)

    fleet.meanwhile = freed

    assert not limits.enter("k", 1, current)
    assert fleet.holders() == {"b": "b-1"}


def test_a_slot_left_behind_goes_to_who_comes_and_one_whose_job_is_unknown_stays(fleet: Fleet) -> None:
    limits = fleet.process()
    assert all(limits.enter("k", 3, fleet.job(name)) for name in "abc")
    fleet.running["a"] = ""
    del fleet.running["b"]  # it could not be read

    assert fleet.process().enter("k", 3, fleet.job("d"))
    assert set(fleet.holders()) == {"b", "c", "d"}


def test_all_slots_left_behind_are_freed_at_once_and_the_limit_holds(fleet: Fleet) -> None:
    limits = fleet.process()
    assert all(limits.enter("k", 3, fleet.job(name)) for name in "abc")
    fleet.running["a"] = fleet.running["b"] = ""

    assert [fleet.process().enter("k", 3, fleet.job(name)) for name in "def"] == [True, True, False]
    assert set(fleet.holders()) == {"c", "d", "e"}


def test_a_slot_left_behind_under_a_limit_that_was_lowered_lets_no_job_in(fleet: Fleet) -> None:
    limits = fleet.process()
    assert all(limits.enter("k", 3, fleet.job(name)) for name in "abc")
    fleet.running["a"] = ""

    assert not fleet.process().enter("k", 2, fleet.job("d"))
    assert set(fleet.holders()) == {"a", "b", "c"}


def test_of_two_that_find_a_slot_left_behind_one_gets_it(fleet: Fleet) -> None:
    limits = fleet.process()
    assert limits.enter("k", 1, fleet.job("a"))
    fleet.running["a"] = ""
    first, second = fleet.job("b"), fleet.job("c")

    def overtake() -> None:
        fleet.meanwhile = lambda: None
        assert fleet.process().enter("k", 1, second)

    fleet.meanwhile = overtake

    assert not fleet.process().enter("k", 1, first)
    assert fleet.holders() == {"c": "c-1"}


def test_who_finds_a_record_neither_there_nor_not_there_waits(fleet: Fleet) -> None:
    limits = fleet.process()
    line = failing(fleet.client, "update_item", lambda _: True, "ConditionalCheckFailedException")
    limits._client = lambda: line

    assert limits.enter("k", 2, fleet.job("a")) is False


def test_a_process_remembers_so_many_keys_and_no_more(fleet: Fleet) -> None:
    limits = fleet.process()
    for n in range(KEYS_REMEMBERED + 1):
        limits._stale_holders(f"k{n}", {})
        assert len(limits._checked_at) <= KEYS_REMEMBERED


@pytest.mark.parametrize(
    ("later", "requests"),
    [(0, ["write"]), (LOOK_AGAIN_MS - 1, ["write"]), (LOOK_AGAIN_MS, ["write", "read"]), (-1, ["write", "read"])],
)
def test_a_refusal_looks_at_the_holders_once_a_second_and_anew_when_the_clock_was_put_back(
    fleet: Fleet, later: int, requests: list[str]
) -> None:
    limits = fleet.process()
    assert limits.enter("k", 1, fleet.job("a"))
    assert not limits.enter("k", 1, fleet.job("b"))
    fleet.requests.clear()
    fleet.now += later

    assert not limits.enter("k", 1, fleet.job("b"))
    assert fleet.requests == requests


def test_of_two_that_open_a_record_at_once_both_enter_if_both_may(fleet: Fleet) -> None:
    """The second finds the first one's record when it writes its own, and joins it."""
    first, second, limits = fleet.job("a"), fleet.job("b"), fleet.process()
    opening = limits._open

    def overtaken(name: str, job: Job) -> bool:
        assert fleet.process().enter(name, 2, first)
        return opening(name, job)

    limits._open = overtaken  # type: ignore[method-assign]

    assert limits.enter("k", 2, second)
    assert set(fleet.holders()) == {"a", "b"}


@pytest.mark.parametrize("stop", [25, 60, 110, 600])
def test_a_job_waits_in_its_process_for_half_of_what_a_stop_takes_at_most(clock: ManualClock, stop: int) -> None:
    settings = Settings(_env_file=None, stop_timeout_seconds=stop)
    repo = model_repo(settings, clock)
    repo.create_job("t", job_id="j")
    job = repo.claim_job("j")
    assert job is not None

    limits = FleetLimits.of(repo)

    assert limits.longest_patience_ms == min(LONGEST_PATIENCE_MS, settings.drain_seconds * 500)
    assert limits.enter("k", 1, job)
    before = clock()
    limits.wait_until(before + 5)
    assert clock() == before + 5
