"""What a job costs, in requests and capacity units, as DynamoDB itself counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from jobclaim.jobs import EffectRefused, Failure, FailureKind, Job, JobRepo
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.encoding.schema import INDEX
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.storage.lean import LeanClient
from jobclaim.jobs.storage.pauses import Pauses
from jobclaim.recovery import SweepReport, sweep
from tests.contract.stores import Store, entry
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint

pytestmark = pytest.mark.real

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")
KILOBYTE = 1024


class Bill:
    """What a client's requests cost: taken from the answers by botocore's own events."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.table = 0.0
        self.index = 0.0
        self.reads = 0

    def ask(self, params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "INDEXES"

    def collect(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        self.requests[model.name] += 1
        for part in _parts(parsed.get("ConsumedCapacity", {})):
            self.table += part.get("Table", {}).get("CapacityUnits", 0)
            self.index += part.get("GlobalSecondaryIndexes", {}).get(INDEX, {}).get("CapacityUnits", 0)
            if model.name in ("GetItem", "Query", "BatchGetItem", "Scan"):
                self.reads += 1

    @property
    def written(self) -> list[float]:
        """Write units: in the table, in the index."""
        assert self.reads == 0
        return [self.table, self.index]


def _parts(consumed: Any) -> list[dict[str, Any]]:
    return consumed if isinstance(consumed, list) else [consumed]


@contextmanager
def billed(store: Store) -> Iterator[Bill]:
    """Collect the cost of all that happens in the block."""
    bill, events = Bill(), store.client.meta.events
    events.register("before-parameter-build.dynamodb", bill.ask)
    events.register("after-call.dynamodb", bill.collect)
    try:
        yield bill
    finally:
        events.unregister("before-parameter-build.dynamodb", bill.ask)
        events.unregister("after-call.dynamodb", bill.collect)


def plain(store: Store) -> JobRepo:
    """A repo on boto3's client, whose hooks tell the cost; it knows the pauses. Completed jobs are not listed."""
    return paying(store, listed=False)


def paying(store: Store, *, listed: bool) -> JobRepo:
    """The same, with or without a list of completed jobs."""
    repo = store.repo(store.client, store.settings.model_copy(update={"index_completed": listed}))
    repo.pauses.shared = Pauses
    return repo


def claimed(repo: JobRepo) -> Job:
    job = repo.create_job("tasks.work", {"n": 1})
    claim = repo.claim_job(job.job_id, attempt=0)
    assert claim is not None
    return claim


def test_creating_a_job_costs_two_write_units_one_of_them_in_the_index(atomic_store: Store) -> None:
    with billed(atomic_store) as bill:
        plain(atomic_store).create_job("tasks.work", {"n": 1})

    assert bill.written == [1, 1]
    assert bill.requests == {"PutItem": 1}


def test_a_claim_costs_one_write_unit_and_none_in_the_index(atomic_store: Store) -> None:
    repo = plain(atomic_store)
    job = repo.create_job("tasks.work", {"n": 1})

    with billed(atomic_store) as bill:
        assert repo.claim_job(job.job_id, celery_task_id=job.job_id, worker_id="host:1:abcd", attempt=0) is not None

    assert bill.written == [1, 0]
    assert bill.requests == {"UpdateItem": 1}


def test_a_program_outside_a_worker_reads_the_pauses_with_its_first_claim_in_a_heartbeat(atomic_store: Store) -> None:
    repo = atomic_store.repo(atomic_store.client)
    jobs = [repo.create_job("tasks.work", {"n": n}) for n in range(3)]

    with billed(atomic_store) as bill:
        for job in jobs:
            assert repo.claim_job(job.job_id) is not None

    assert bill.requests == {"UpdateItem": 3, "GetItem": 1}


@pytest.mark.parametrize(("listed", "index"), [(True, 2), (False, 1)])
def test_completing_a_job_costs_three_write_units_and_two_where_completed_jobs_are_not_listed(
    atomic_store: Store, listed: bool, index: int
) -> None:
    repo = paying(atomic_store, listed=listed)
    job = claimed(repo)

    with billed(atomic_store) as bill:
        repo.update_status(job.job_id, "COMPLETED", result={"rows": 3})

    assert bill.written == [1, index]
    assert bill.requests == {"UpdateItem": 1}


def test_completed_jobs_are_listed_by_default(atomic_store: Store) -> None:
    done = atomic_store.completed(1)

    assert atomic_store.repo().list_jobs("COMPLETED").jobs == (done,)


@pytest.mark.parametrize(("listed", "index"), [(True, 3), (False, 2)])
def test_a_job_of_one_kilobyte_costs_three_requests_six_write_units_and_no_read_in_its_whole_life(
    atomic_store: Store, listed: bool, index: int
) -> None:
    repo = paying(atomic_store, listed=listed)
    with billed(atomic_store) as bill:
        job = repo.create_job("tasks.work", {"text": "x" * 300}, idempotency_key="order-4711")
        claim = repo.claim_job(job.job_id, celery_task_id=job.job_id, worker_id="host:1:abcd", attempt=0)
        assert claim is not None
        repo.update_status(job.job_id, "COMPLETED", result={"rows": 3})

    assert bill.requests == {"PutItem": 1, "UpdateItem": 2}
    assert bill.written == [3, index]
    item = atomic_store.item(job.job_id)
    assert item is not None
    assert KILOBYTE * 0.8 < _size(item) <= KILOBYTE, "the figures are those of a full kilobyte"


def _size(item: dict[str, dict[str, str]]) -> int:
    return sum(len(name) + (len(typed["S"]) if "S" in typed else 8) for name, typed in item.items())


def entries(count: int = 1) -> list[dict[str, Any]]:
    return [entry(name=f"entry-{number}") for number in range(count)]


@pytest.mark.parametrize(("listed", "index"), [(True, 4), (False, 2)])
def test_a_completion_with_an_effect_costs_twice_its_units_and_two_for_the_effect(
    atomic_store: Store, listed: bool, index: int
) -> None:
    """DynamoDB Local counts one item a table of a transaction; AWS counts each, so one is what is measured here."""
    repo = paying(atomic_store, listed=listed)
    job = claimed(repo)

    with billed(atomic_store) as bill:
        repo.update_status(job.job_id, "COMPLETED", result={"rows": 3}, effects=entries())

    assert bill.written == [2 + 2, index]
    assert bill.requests == {"TransactWriteItems": 1}


def test_ninety_nine_effects_are_one_request(atomic_store: Store) -> None:
    repo = plain(atomic_store)
    job = claimed(repo)

    with billed(atomic_store) as bill:
        repo.update_status(job.job_id, "COMPLETED", effects=entries(99))

    assert bill.requests == {"TransactWriteItems": 1}
    assert len(atomic_store.ledger()) == 99


def test_refused_effects_cost_as_much_and_no_read(atomic_store: Store) -> None:
    repo = plain(atomic_store)
    job = claimed(repo)
    repo.update_status(job.job_id, "COMPLETED", effects=entries())
    second = claimed(repo)

    with billed(atomic_store) as bill, pytest.raises(EffectRefused):
        repo.update_status(second.job_id, "COMPLETED", effects=entries())

    assert bill.requests == {"TransactWriteItems": 1}
    assert bill.reads == 0


def test_a_submission_with_a_write_costs_four_units_and_two_for_the_write(atomic_store: Store) -> None:
    repo = plain(atomic_store)

    with billed(atomic_store) as bill, repo.transaction() as tx:
        tx.extend(entries())
        tx.create_job("tasks.work", {"n": 1})

    assert bill.written == [2 + 2, 2]
    assert bill.requests == {"TransactWriteItems": 1}


def test_the_statistics_of_runs_cost_one_write_for_their_task_and_one_for_all_tasks(atomic_store: Store) -> None:
    repo = plain(atomic_store)
    for index in (2, 0):  # an item's first write puts it into the index, once a day
        for _ in range(3):
            repo.update_status(claimed(repo).job_id, "COMPLETED")

        with billed(atomic_store) as bill:
            repo.statistics.flush()

        assert bill.written == [2, index]
        assert bill.requests == {"UpdateItem": 2}


Act = Callable[[JobRepo, Job], object]
OTHER_MOVES: dict[str, tuple[Act, list[float]]] = {
    "fail": (lambda repo, job: repo.update_status(job.job_id, "FAILED", error="no"), [1, 2]),
    "retry at another time": (
        lambda repo, job: repo.reschedule(job.job_id, available_at=repo.clock() + 60_000),
        [1, 2],
    ),
    "release": (lambda repo, job: repo.release(job.job_id, available_at=repo.clock() + 60_000), [1, 2]),
    "orphan fails": (lambda repo, job: rescue.orphan_fail(repo, job, ORPHANED), [1, 2]),
}


@pytest.mark.parametrize("move", OTHER_MOVES)
def test_every_other_move_is_one_request_and_at_most_three_write_units(atomic_store: Store, move: str) -> None:
    repo = plain(atomic_store)
    job = claimed(repo)
    act, expected = OTHER_MOVES[move]
    atomic_store.clock.advance(1)

    with billed(atomic_store) as bill:
        act(repo, job)

    assert bill.written == expected
    assert bill.requests == {"UpdateItem": 1}


# --- large payloads, in an item of their own
LARGE_BYTES = 190_000
UNITS_OF_ONE = 186
"""Write units of an item with such a payload: one a kilobyte, its key and end included."""
READ_UNITS_OF_ONE = 47.0
"""Read units, consistently: one for 4 KB."""


def test_a_large_payload_is_written_once_and_read_once_in_its_jobs_whole_life(atomic_store: Store) -> None:
    """Inside the job's item it would be written three times: 563 write units in three requests, not 191 in five."""
    repo = plain(atomic_store)
    with billed(atomic_store) as bill:
        job = repo.create_job("tasks.work", {"text": "x" * LARGE_BYTES})
    assert (bill.requests, bill.written) == ({"PutItem": 2}, [UNITS_OF_ONE + 1, 1])

    with billed(atomic_store) as bill:
        claimed = repo.claim_job(job.job_id, attempt=0)
    assert claimed is not None
    assert (bill.requests, bill.table, bill.index) == ({"UpdateItem": 1, "GetItem": 1}, 1 + READ_UNITS_OF_ONE, 0)

    with billed(atomic_store) as bill:
        repo.update_status(job.job_id, "COMPLETED", result={"rows": 3})
    assert (bill.requests, bill.written) == ({"UpdateItem": 1}, [1, 1])


@pytest.mark.parametrize("move", OTHER_MOVES)
def test_no_other_move_writes_a_large_payload_again_but_a_failure_that_keeps_it_longer(
    atomic_store: Store, move: str
) -> None:
    repo = plain(atomic_store)
    claim = repo.claim_job(repo.create_job("tasks.work", {"text": "x" * LARGE_BYTES}).job_id)
    assert claim is not None
    act, expected = OTHER_MOVES[move]
    atomic_store.clock.advance(1)

    with billed(atomic_store) as bill:
        act(repo, claim)

    longer = UNITS_OF_ONE if "fail" in move else 0
    assert bill.written == [expected[0] + longer, expected[1]]


WAITING = 400


@pytest.fixture(scope="module")
def passes(dynamodb_local: Endpoint) -> dict[int, tuple[Bill, SweepReport, Bill]]:
    """By bytes of their payloads: what a pass over 400 waiting jobs costs, what it says, and what a list costs."""
    found = {}
    for size in (200, LARGE_BYTES):
        store = Store("passes", dynamodb_local.client(max_pool_connections=16), ManualClock(system_clock()))
        submit = partial(store.repo(LeanClient.of(store.client)).create_job, "t", "x" * size)
        with ThreadPoolExecutor(
            4
        ) as threads:  # the same ids each time: they choose the shards, whose reads are rounded up
            list(threads.map(lambda n, submit=submit: submit(job_id=f"waiting-{n}"), range(WAITING)))
        store.clock.advance(3600)
        repo = plain(store)
        with billed(store) as passed:
            report = sweep(repo, send=lambda job, delay: None, backlog=lambda queue: 0)
        with billed(store) as listed:
            assert len(repo.list_jobs("PENDING", limit=1000).jobs) == WAITING
        store.client.delete_table(TableName=store.settings.job_table)
        found[size] = passed, report, listed
    return found


def test_a_pass_over_waiting_jobs_costs_the_same_however_large_their_payloads(
    passes: dict[int, tuple[Bill, SweepReport, Bill]],
) -> None:
    small, report, _ = passes[200]
    large, same, _ = passes[LARGE_BYTES]

    assert report.redispatched == same.redispatched == WAITING
    assert (large.requests, large.table, large.index) == (small.requests, small.table, small.index)
    assert small.requests["UpdateItem"] == WAITING
    assert small.table == WAITING * (0.5 + 1), "half a read unit each to look at it, and one write unit each to send it"


def test_a_list_of_waiting_jobs_costs_the_same_however_large_their_payloads(
    passes: dict[int, tuple[Bill, SweepReport, Bill]],
) -> None:
    small, large = passes[200][2], passes[LARGE_BYTES][2]

    assert (large.requests, large.table, large.index) == (small.requests, small.table, small.index)
    assert small.table == WAITING * 0.5


def test_a_refused_claim_is_one_request(atomic_store: Store) -> None:
    """A refused write is billed by the size of what stands in its way, but its answer does not say so."""
    repo = plain(atomic_store)
    job = claimed(repo)

    with billed(atomic_store) as bill:
        assert repo.claim_job(job.job_id) is None

    assert bill.requests == {"UpdateItem": 1}


def test_a_refused_duplicate_is_one_request_and_brings_the_result(atomic_store: Store) -> None:
    done = atomic_store.completed({"rows": 3}, idempotency_key="k")

    with billed(atomic_store) as bill:
        again = plain(atomic_store).create_job("tasks.work", {"n": 1}, idempotency_key="k")

    assert (again.created, again.result) == (False, done.result)
    assert bill.requests == {"PutItem": 1}


LASTING: dict[str, tuple[Act, list[float]]] = {
    "a step": (lambda repo, job: repo.step(job.job_id, "charge", len, "abc"), [1, 0]),
    "ten steps": (lambda repo, job: [repo.step(job.job_id, f"s{n}", len, "abc") for n in range(10)], [13, 0]),
    "a report of progress": (lambda repo, job: repo.progress(job.job_id, 1, 2, "half", checkpoint=1), [1, 0]),
    "the token of a wait": (lambda repo, job: repo.wait_token(job.job_id, "approval"), [1, 0]),
    "a wait": (lambda repo, job: repo.wait_for(job.job_id, "approval", timeout=3600), [1, 2]),
    "a sleep": (lambda repo, job: repo.sleep_until(job.job_id, repo.clock() + 3_600_000), [1, 2]),
    "a read and a resume before the wait": (lambda repo, job: repo.resume(job.job_id, "approval", True), [2, 0]),
}


@pytest.mark.parametrize("act", LASTING)
def test_what_outlasts_an_attempt_costs_a_request_each_and_units_by_the_items_size(
    atomic_store: Store, act: str
) -> None:
    repo = plain(atomic_store)
    job = claimed(repo)
    done, expected = LASTING[act]

    with billed(atomic_store) as bill:
        done(repo, job)

    assert [bill.table, bill.index] == expected
    assert bill.requests["UpdateItem"] == (10 if act == "ten steps" else 1)
    assert set(bill.requests) - {"UpdateItem"} <= ({"GetItem"} if "resume" in act else set())


def test_a_resume_of_a_waiting_job_costs_a_read_and_three_write_units(atomic_store: Store) -> None:
    repo = plain(atomic_store)
    job = claimed(repo)
    repo.wait_for(job.job_id, "approval", timeout=3600)

    with billed(atomic_store) as bill:
        repo.resume(job.job_id, "approval", True)

    assert bill.requests == {"GetItem": 1, "UpdateItem": 1}
    assert bill.index == 2  # it moves in the index: out of its deadline, to now


def test_a_finished_step_and_a_resume_that_came_cost_nothing_in_the_next_attempt(atomic_store: Store) -> None:
    repo = plain(atomic_store)
    job = claimed(repo)
    repo.step(job.job_id, "charge", len, "abc")
    repo.wait_for(job.job_id, "approval")
    repo.resume(job.job_id, "approval", True)
    assert repo.claim_job(job.job_id) is not None

    with billed(atomic_store) as bill:
        assert repo.step(job.job_id, "charge", len, "abc") == 3
        assert repo.wait_for(job.job_id, "approval") is not None

    assert not bill.requests


def test_progress_that_is_told_all_the_time_costs_a_write_in_its_time_and_nothing_at_the_end(
    atomic_store: Store,
) -> None:
    repo = plain(atomic_store)
    job = claimed(repo)

    with billed(atomic_store) as bill:
        for n in range(1000):
            repo.progress(job.job_id, n, 1000, checkpoint=n)
        repo.update_status(job.job_id, "COMPLETED")

    assert bill.requests == {"UpdateItem": 2}
    assert bill.written == [2, 1]


def test_a_job_that_keeps_nothing_stores_nothing_of_it(atomic_store: Store) -> None:
    done = atomic_store.completed(1)

    item = atomic_store.item(done.job_id)
    assert item is not None
    assert not {name for name in item if name.startswith(("step", "wait", "progress", "checkpoint"))}
