"""A clock that was ahead and was put right: what it has written holds nothing up."""

from __future__ import annotations

from dataclasses import replace

from jobclaim.fleet.breaker import Breaker, Breakers
from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.recovery import sweep
from jobclaim.settings import QueueSpec
from tests.contract.stores import Store, contract_settings
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock
from tests.support.endpoints import unique_name

DAY = 86_400.0
HOUR = 3_600.0
LIMIT = 3


def a_store() -> Store:
    """A store of this process, with a fleet table of its own."""
    clock = ManualClock()
    settings = contract_settings(
        fleet_table=unique_name("fleet"), queues=(QueueSpec(name="default"),), alert_waiting=LIMIT
    )
    return Store("model", ModelClient(clock), clock, settings=settings)


def test_a_pass_by_a_clock_a_day_ahead_hides_no_job_from_the_next_ones() -> None:
    store = a_store()
    store.settings = store.settings.model_copy(update={"index_shards": 1})
    store.pending(available_at=store.clock() + round((DAY + 300) * 1000))
    store.clock.advance(DAY)
    sweep(store.repo(), send=lambda job, delay: None, backlog=lambda queue: 0)
    store.clock.put_back(DAY)
    job = store.pending(available_at=store.clock() + 1_200_000)
    starts: dict[str, float] = {}

    while store.clock() < job.available_at and job.job_id not in starts:
        store.clock.advance(10)
        sweep(
            store.repo(),
            send=lambda job, delay: starts.update({job.job_id: store.clock() + delay * 1000}),
            backlog=lambda queue: 0,
        )

    assert starts[job.job_id] == job.available_at


def test_a_workers_heartbeats_count_again_once_its_clock_is_right() -> None:
    store = a_store()
    records = FleetRecords.of(store.repo())
    about = WorkerRecord(worker_id="w1", seen_at=store.clock() + 3_600_000)
    records.beat(about)
    records.ask("w1", "j1", CANCEL)

    right = replace(about, seen_at=store.clock(), jobs=("j2",))
    answer = records.beat(right, done=["j1"])

    assert (answer.seen_at, answer.jobs, dict(answer.commands)) == (store.clock(), ("j2",), {})
    assert records.get("w1") == answer


def test_progress_goes_on_being_written() -> None:
    store = a_store()
    store.clock.advance(HOUR)
    owner, claim = store.claimed()
    owner.progress(claim.job_id, 1, 10)
    store.clock.put_back(HOUR)

    owner.progress(claim.job_id, 2, 10)

    progress = store.repo().get_job(claim.job_id).progress
    assert progress is not None
    assert progress.done == 2


def test_a_process_does_not_trust_what_it_read_of_a_breaker_for_an_hour() -> None:
    store = a_store()
    breaker, breakers = Breaker(name="mail", failures=1), Breakers.of(store.repo())
    store.clock.advance(HOUR)
    assert breakers.ask(breaker) == 0
    store.clock.put_back(HOUR)

    Breakers.of(store.repo()).failed(breaker)

    assert breakers.ask(breaker) > store.clock()
