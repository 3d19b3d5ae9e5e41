"""Steps: run at least once, recorded at most once, replayed without a run and without a read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel

from jobclaim.jobs import (
    ClaimLost,
    Failure,
    FailureKind,
    InvalidInput,
    InvalidPayload,
    Job,
    JobRepo,
    JobStatus,
    NotClaimed,
    PayloadTooLarge,
    StepMismatch,
)
from jobclaim.jobs.kept import MAX_STEPS, Step
from jobclaim.jobs.protocol import durable
from jobclaim.jobs.repo import rescue
from tests.contract.stores import LossyClient, Store, TwiceClient

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")


NOTHING: dict[str, str] = {}


class Charge(BaseModel):
    order: str
    cents: int


class Shop:
    """A service that remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def charge(self, order: str, cents: int = 5) -> dict[str, Any]:
        self.calls.append(order)
        return {"order": order, "cents": cents}

    def refuse(self, order: str) -> None:
        self.calls.append(order)
        raise ConnectionError("no answer")


def charge_model(order: str) -> Charge:
    return Charge(order=order, cents=7)


async def charge_later(order: str) -> str:
    await asyncio.sleep(0)
    return f"charged {order}"


def next_attempt(store: Store, job: Job) -> tuple[JobRepo, Job]:
    owner = store.repo()
    claim = owner.claim_job(job.job_id)
    assert claim is not None
    return owner, claim


ENDS: dict[str, Callable[[Store, JobRepo, Job], object]] = {
    "retry": lambda _store, owner, job: owner.reschedule(job.job_id, error="busy"),
    "release": lambda _store, owner, job: owner.release(job.job_id),
    "orphan retry": lambda store, _owner, job: rescue.orphan_retry(store.repo(), job, ORPHANED),
    "dead-letter retry": lambda store, owner, job: (
        owner.update_status(job.job_id, "FAILED", error=ValueError("no")),
        store.repo().retry_job(job.job_id),
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_later_attempt_gets_a_finished_step_without_running_it(store: Store, end: str) -> None:
    shop = Shop()
    owner, job = store.claimed()
    first = owner.step(job.job_id, "charge", shop.charge, "o1")
    ENDS[end](store, owner, job)

    owner, claim = next_attempt(store, job)

    assert owner.step(job.job_id, "charge", shop.charge, "o1") == first == {"order": "o1", "cents": 5}
    assert shop.calls == ["o1"]
    assert [(step.name, step.attempt) for step in claim.steps] == [("charge", 1)]


def test_a_retry_by_a_person_may_clear_the_steps(store: Store) -> None:
    shop = Shop()
    owner, job = store.claimed()
    owner.step(job.job_id, "charge", shop.charge, "o1")
    owner.progress(job.job_id, 1, 2, checkpoint={"row": 1})
    owner.update_status(job.job_id, "FAILED", error="no")
    store.repo().retry_job(job.job_id, clear_steps=True)

    owner, claim = next_attempt(store, job)
    owner.step(job.job_id, "charge", shop.charge, "o2")

    assert (claim.steps, claim.checkpoint, claim.progress) == ((), None, None)
    assert shop.calls == ["o1", "o2"]


def test_an_equal_submission_of_an_ended_job_starts_without_its_steps(store: Store) -> None:
    owner, job = store.claimed(idempotency_key="k")
    owner.step(job.job_id, "one", len, "abc")
    owner.progress(job.job_id, 1, 2, checkpoint=1, flush=True)
    owner.wait_token(job.job_id, "go")
    owner.update_status(job.job_id, "FAILED", error="no")

    again = store.pending(idempotency_key="k")

    stored = store.repo().get_job(again.job_id)
    assert again.created
    assert (stored.steps, stored.step_count, stored.waits, stored.checkpoint, stored.progress, stored.wait_secret) == (
        ((), 0, (), None, None, "")
    )


def test_a_function_that_raises_records_nothing(store: Store) -> None:
    shop = Shop()
    owner, job = store.claimed()

    for _ in range(2):
        with pytest.raises(ConnectionError):
            owner.step(job.job_id, "charge", shop.refuse, "o1")

    assert shop.calls == ["o1", "o1"]
    assert store.repo().get_job(job.job_id).steps == ()


def test_a_name_that_is_used_for_another_call_is_refused(store: Store) -> None:
    shop = Shop()
    owner, job = store.claimed()
    owner.step(job.job_id, "charge", shop.charge, "o1")

    with pytest.raises(StepMismatch, match=r"step 'charge' ran .*Shop.charge with other arguments in attempt 1"):
        owner.step(job.job_id, "charge", shop.charge, "o2")
    with pytest.raises(StepMismatch, match=r"step 'charge' ran .*Shop.charge, not .*Shop.refuse"):
        owner.step(job.job_id, "charge", shop.refuse, "o1")
    with pytest.raises(StepMismatch):
        owner.step(job.job_id, "charge", shop.charge, order="o1")

    assert shop.calls == ["o1"]


def test_steps_of_a_loop_have_names_of_their_own_in_any_order(store: Store) -> None:
    owner, job = store.claimed()
    for n in range(3):
        owner.step(job.job_id, f"page-{n}", pow, n, 2)
    owner.reschedule(job.job_id)

    owner, _ = next_attempt(store, job)

    assert [owner.step(job.job_id, f"page-{n}", pow, n, 2) for n in (2, 0, 1)] == [4, 0, 1]


def test_a_result_comes_back_in_its_type_in_the_first_attempt_and_later(store: Store) -> None:
    owner, job = store.claimed()
    first = owner.step(job.job_id, "model", charge_model, "o1")
    pair = owner.step(job.job_id, "pair", divmod, 7, 2)
    nothing = owner.step(job.job_id, "nothing", NOTHING.get, "x")
    owner.reschedule(job.job_id)

    owner, _ = next_attempt(store, job)

    assert owner.step(job.job_id, "model", charge_model, "o1") == first == Charge(order="o1", cents=7)
    assert owner.step(job.job_id, "pair", divmod, 7, 2) == pair == [3, 1]
    assert owner.step(job.job_id, "nothing", NOTHING.get, "x") is nothing is None


def test_an_asynchronous_function_is_run_to_its_end(store: Store) -> None:
    owner, job = store.claimed()
    running = owner.running(job.job_id)

    async def body() -> list[str]:
        with pytest.raises(InvalidInput, match=r"call `await self\.astep"):
            running.step("one", charge_later, "o1")
        return list(await asyncio.gather(*(running.astep("one", charge_later, "o1") for _ in range(3))))

    assert owner.step(job.job_id, "zero", charge_later, "o0") == "charged o0"
    assert asyncio.run(body()) == ["charged o1"] * 3
    assert store.repo().get_job(job.job_id).step_count == 2


def test_threads_that_begin_one_step_run_it_once(atomic_store: Store) -> None:
    shop, begun = Shop(), threading.Barrier(4)
    owner, job = atomic_store.claimed()

    def work(n: int) -> list[Any]:
        begun.wait(timeout=10)
        return [owner.step(job.job_id, name, shop.charge, name) for name in ("a", "b", f"own-{n}")]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert sorted(shop.calls) == ["a", "b", "own-0", "own-1", "own-2", "own-3"]
    assert atomic_store.repo().get_job(job.job_id).step_count == 6


def test_two_processes_with_one_claim_record_a_step_once_and_each_its_own(store: Store) -> None:
    owner, job = store.claimed()
    other = store.repo().running(job.job_id, token=job.claim_token)
    mine = owner.running(job.job_id)
    mine.step("mine", len, "a")

    assert other.step("theirs", len, "ab") == 2
    assert mine.step("theirs", len, "ab") == 2
    assert [step.name for step in store.repo().get_job(job.job_id).steps] == ["mine", "theirs"]


def test_a_step_inside_itself_is_refused(store: Store) -> None:
    owner, job = store.claimed()

    with pytest.raises(InvalidInput, match="started inside itself"):
        owner.step(job.job_id, "one", lambda: owner.step(job.job_id, "one", len, ""))
    assert owner.step(job.job_id, "outer", lambda: owner.step(job.job_id, "inner", len, "ab")) == 2


def test_a_zombie_records_no_step_and_learns_that_its_claim_is_over(store: Store) -> None:
    shop = Shop()
    zombie, job = store.claimed()
    assert rescue.orphan_retry(store.repo(), job, ORPHANED) is not None
    owner, _ = next_attempt(store, job)

    with pytest.raises(ClaimLost, match="PROCESSING in attempt 2"):
        zombie.step(job.job_id, "charge", shop.charge, "o1")
    with pytest.raises(NotClaimed):
        zombie.step(job.job_id, "charge", shop.charge, "o1")

    owner.step(job.job_id, "charge", shop.charge, "o1")
    assert shop.calls == ["o1", "o1"]
    assert [step.attempt for step in store.repo().get_job(job.job_id).steps] == [2]


def test_a_step_whose_answer_is_lost_while_the_claim_ends_counts_and_its_writer_learns_that(store: Store) -> None:
    shop = Shop()
    _, job = store.claimed()
    line = LossyClient(store.line, meanwhile=lambda: rescue.orphan_retry(store.repo(), job, ORPHANED))

    with pytest.raises(ClaimLost):
        store.repo(line).running(job.job_id, token=job.claim_token).step("charge", shop.charge, "o1")

    owner, _ = next_attempt(store, job)
    assert owner.step(job.job_id, "charge", shop.charge, "o1") == {"order": "o1", "cents": 5}
    assert shop.calls == ["o1"]


@pytest.mark.parametrize("bad_line", [LossyClient, lambda client: LossyClient(client, arrives=False), TwiceClient])
def test_a_step_over_a_bad_line_is_recorded_once(store: Store, bad_line: Callable[[Any], Any]) -> None:
    shop = Shop()
    _, job = store.claimed()
    running = store.repo(bad_line(store.line)).running(job.job_id, token=job.claim_token)

    for name in ("one", "two", "one"):
        running.step(name, shop.charge, name)

    assert shop.calls == ["one", "two"]
    assert [step.name for step in store.repo().get_job(job.job_id).steps] == ["one", "two"]


def test_more_steps_than_a_job_may_record_are_refused_before_they_run(store: Store) -> None:
    shop = Shop()
    owner, job = store.claimed()
    running = owner.running(job.job_id)
    full = job
    for n in range(MAX_STEPS):
        step = Step(name=str(n), function="f", arguments="")
        full = durable.with_step(full, step)
    running.job = full

    with pytest.raises(InvalidInput, match=f"has {MAX_STEPS} finished steps, and at most {MAX_STEPS} are allowed"):
        running.step("one more", shop.charge, "o1")
    assert shop.calls == []


def test_results_have_one_limit_together_and_the_error_says_which(store: Store) -> None:
    owner, job = store.claimed()
    owner.step(job.job_id, "half", "x".__mul__, 60_000)

    with pytest.raises(PayloadTooLarge, match=r"result of step 'rest' takes 50002 bytes.*JOBCLAIM_MAX_STEPS_BYTES"):
        owner.step(job.job_id, "rest", "x".__mul__, 50_000)
    with pytest.raises(InvalidPayload, match="result of step 'set' is of type set"):
        owner.step(job.job_id, "set", set)

    assert owner.update_status(job.job_id, "COMPLETED").status is JobStatus.COMPLETED


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", 5, None])
def test_a_name_that_cannot_be_one_is_refused(store: Store, name: Any) -> None:
    owner, job = store.claimed()

    with pytest.raises(InvalidInput, match="name of a step"):
        owner.step(job.job_id, name, len, "")


def test_what_cannot_be_called_is_refused_with_what_to_do(store: Store) -> None:
    owner, job = store.claimed()

    with pytest.raises(InvalidInput, match="pass the function and its arguments"):
        owner.step(job.job_id, "one", len("abc"))  # type: ignore[arg-type]


def test_arguments_that_json_cannot_carry_count_by_their_type(store: Store) -> None:
    owner, job = store.claimed()
    connection, other = object(), object()

    assert owner.step(job.job_id, "one", str.__len__, "abc") == 3
    assert owner.step(job.job_id, "id", lambda _: 1, connection) == 1
    with pytest.raises(StepMismatch):
        owner.step(job.job_id, "id", len, other)
