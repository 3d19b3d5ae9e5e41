"""Every row of the table of moves: applied once over a line that loses answers, and a success for whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from jobclaim.jobs import Failure, FailureKind, Job, JobRepo, JobStatus
from jobclaim.jobs.idempotency import IdempotencyService, store_result
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.repo.running import Running
from jobclaim.jobs.transitions import TRANSITIONS, Move
from jobclaim.recovery.dead import decisions
from tests.contract.stores import LEDGER, LossyClient, Store, TwiceClient, entry

TASK, KEY = "tasks.work", "k"
ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")


@dataclass(frozen=True, slots=True)
class Way:
    """How a job comes to need a move, and who makes it; ``made`` gives what its caller takes for success."""

    needed: Callable[[Store], Job]
    made: Callable[[JobRepo, Job], object]


def claimed(store: Store) -> Job:
    return store.claimed()[1]


def waiting(store: Store) -> Job:
    """A job that waits without a worker."""
    owner, job = store.claimed()
    assert owner.wait_for(job.job_id, "go", timeout=3600) is None
    return store.repo().get_job(job.job_id)


def running(repo: JobRepo, job: Job) -> Running:
    return repo.running(job.job_id, token=job.claim_token)


def progressed(repo: JobRepo, job: Job) -> Job:
    run = running(repo, job)
    run.progress(1, 2)
    return run.job


def _ends(status: str, **outcome: Any) -> Way:
    return Way(claimed, lambda repo, job: repo.update_status(job.job_id, status, token=job.claim_token, **outcome))


def _rescued(rescued: Callable[[JobRepo, Job, Failure], Job | None], needed: Callable[[Store], Job] = claimed) -> Way:
    return Way(needed, lambda repo, job: rescued(repo, job, ORPHANED))


def completed_with(repo: JobRepo, job: Job) -> Job:
    return repo.update_status(
        job.job_id, "COMPLETED", result=[1], token=job.claim_token, effects=[entry(LEDGER, job.job_id)]
    )


def submitted_with(repo: JobRepo, job: Job) -> bool:
    with repo.transaction() as tx:
        tx.put(TableName=LEDGER, Item={"id": f"order-{job.job_id}"}, ConditionExpression="attribute_not_exists(id)")
        return tx.create_job(TASK, {"n": 1}, idempotency_key=KEY).created


WAYS: Final[Mapping[Move, Way]] = {
    Move.SUBMIT: Way(
        lambda store: store.failed(idempotency_key=KEY),
        lambda repo, job: repo.create_job(TASK, {"n": 1}, idempotency_key=KEY).created,
    ),
    Move.SUBMIT_WITH_WRITES: Way(lambda store: store.failed(idempotency_key=KEY), submitted_with),
    Move.CLAIM: Way(Store.pending, lambda repo, job: repo.claim_job(job.job_id, attempt=job.attempt)),
    Move.COMPLETE: _ends("COMPLETED", result=[1]),
    Move.COMPLETE_WITH_EFFECTS: Way(claimed, completed_with),
    Move.FAIL: _ends("FAILED", error=ValueError("no")),
    Move.STOP: _ends("CANCELLED"),
    Move.RETRY: Way(claimed, lambda repo, job: repo.reschedule(job.job_id, error="busy", token=job.claim_token)),
    Move.RELEASE: Way(claimed, lambda repo, job: repo.release(job.job_id, reason="stop", token=job.claim_token)),
    Move.ORPHAN_FAIL: _rescued(rescue.orphan_fail),
    Move.ORPHAN_RETRY: _rescued(rescue.orphan_retry),
    Move.ORPHAN_STOP: _rescued(rescue.orphan_stop),
    Move.CANCEL: Way(Store.pending, rescue.expire),
    Move.GIVE_UP: _rescued(rescue.give_up, Store.pending),
    Move.DISPATCH: Way(Store.pending, rescue.dispatch),
    Move.REVIVE: Way(Store.failed, lambda repo, job: decisions.retry(repo, job, by="ann")),
    Move.RESOLVE: Way(Store.failed, lambda repo, job: decisions.settle(repo, job, "resolve", by="ann")),
    Move.ABANDON: Way(Store.failed, lambda repo, job: decisions.settle(repo, job, "abandon", by="ann")),
    Move.RECORD: Way(
        lambda store: store.failed(idempotency_key=KEY),
        lambda repo, job: store_result(repo, TASK, KEY, [1]).created,
    ),
    Move.FORGET: Way(
        lambda store: store.completed(idempotency_key=KEY),
        lambda repo, job: IdempotencyService(repo).clear_idempotency_key(TASK, KEY),
    ),
    Move.STEP: Way(claimed, lambda repo, job: running(repo, job).step("one", len, "abc")),
    Move.PROGRESS: Way(claimed, progressed),
    Move.NOTE: Way(claimed, lambda repo, job: running(repo, job).wait_token("go")),
    Move.WAIT: Way(claimed, lambda repo, job: running(repo, job).wait("go", timeout=3600) is None),
    Move.RESUME: Way(waiting, lambda repo, job: repo.resume(job.job_id, "go", {"ok": True})),
    Move.RESUME_EARLY: Way(claimed, lambda repo, job: repo.resume(job.job_id, "go", {"ok": True})),
}
FROM_NOTHING: Final = {
    Move.SUBMIT: WAYS[Move.SUBMIT].made,
    Move.SUBMIT_WITH_WRITES: WAYS[Move.SUBMIT_WITH_WRITES].made,
    Move.RECORD: WAYS[Move.RECORD].made,
}
BAD_LINES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "answer lost": LossyClient,
    "answer lost twice": lambda client: LossyClient(client, times=2),
    "request lost": lambda client: LossyClient(client, arrives=False),
    "sent twice": TwiceClient,
}


def test_every_move_has_its_way_here_and_those_that_create_a_job_too() -> None:
    assert set(WAYS) == set(TRANSITIONS) == set(Move)
    assert set(FROM_NOTHING) == {move for move in Move if TRANSITIONS[move].creates}


@pytest.mark.parametrize("bad_line", BAD_LINES)
@pytest.mark.parametrize("move", Move)
def test_a_move_over_a_bad_line_is_made_once_and_is_a_success(store: Store, move: Move, bad_line: str) -> None:
    way = WAYS[move]
    job = store.repo().table.get(way.needed(store).job_id)
    assert job is not None
    store.clock.advance(1)

    made = way.made(store.repo(BAD_LINES[bad_line](store.line)), job)

    assert made, "its caller takes it for refused"
    stored = store.repo().get_job(job.job_id)
    assert stored.status is TRANSITIONS[move].target
    item = store.item(job.job_id)
    assert item is not None
    assert ("expires_at" in item) is not stored.status.is_open, "DynamoDB deletes what has an expiry"
    assert stored.attempt - job.attempt == (move in (Move.CLAIM, Move.CANCEL, Move.GIVE_UP))
    assert stored.dispatches - job.dispatches == (move in (Move.DISPATCH, Move.RESUME)) - (move is Move.WAIT)
    assert stored.step_count - job.step_count == (move is Move.STEP)
    assert stored.wait_changes - job.wait_changes == (move in (Move.NOTE, Move.WAIT, Move.RESUME, Move.RESUME_EARLY))
    assert len(stored.decisions) - len(job.decisions) == (move in (Move.REVIVE, Move.RESOLVE, Move.ABANDON))
    if isinstance(made, Job):
        assert made == stored


@pytest.mark.parametrize("bad_line", BAD_LINES)
@pytest.mark.parametrize("move", FROM_NOTHING)
def test_a_job_that_is_made_over_a_bad_line_is_ones_own(store: Store, move: Move, bad_line: str) -> None:
    nothing = Job(job_id="", task=TASK, queue="default", status=JobStatus.PENDING)

    assert FROM_NOTHING[move](store.repo(BAD_LINES[bad_line](store.line)), nothing)
    assert len(store.items()) == 1


@pytest.mark.parametrize("move", Move)
def test_a_row_recognises_its_own_write_and_no_other_jobs(store: Store, move: Move) -> None:
    way, row = WAYS[move], TRANSITIONS[move]
    job = store.repo().get_job(way.needed(store).job_id)
    way.made(store.repo(), job)
    stored = store.repo().get_job(job.job_id)

    assert row.recognises(stored, stored) is (move is not Move.FORGET)  # which is not refused while its run stands
    assert not row.recognises(job, stored)


def test_a_move_that_creates_nothing_needs_a_job(store: Store) -> None:
    with pytest.raises(KeyError, match="needs a job that was read before"):
        store.repo().table.apply(None, Move.CANCEL, store.pending())


def test_a_decision_counts_though_another_one_was_made_since(store: Store) -> None:
    failed = store.repo().get_job(store.failed().job_id)
    line = LossyClient(store.line, meanwhile=lambda: store.repo().retry_job(failed.job_id))

    after = decisions.settle(store.repo(line), failed, "resolve", by="ann")

    assert after is not None
    assert (after.status, after.dead_state) == (JobStatus.FAILED, DeadState.RESOLVED)
    assert [decision.verb for decision in store.repo().get_job(failed.job_id).decisions] == ["resolve", "retry"]


def test_a_decision_of_another_person_is_not_taken_for_ones_own(store: Store) -> None:
    failed = store.repo().get_job(store.failed().job_id)
    line = LossyClient(
        store.line, arrives=False, meanwhile=lambda: decisions.settle(store.repo(), failed, "resolve", by="bob")
    )

    assert decisions.settle(store.repo(line), failed, "resolve", by="ann") is None


def test_the_same_decision_at_the_same_millisecond_counts_once(store: Store) -> None:
    failed = store.repo().get_job(store.failed().job_id)

    assert decisions.settle(store.repo(), failed, "resolve", by="ann") is not None
    assert decisions.settle(store.repo(), failed, "resolve", by="ann") is None


def test_a_run_that_an_emptied_key_let_in_is_not_cancelled_by_the_lost_answer(store: Store) -> None:
    store.completed(idempotency_key=KEY)
    runs: list[Job] = []
    line = LossyClient(store.line, meanwhile=lambda: runs.append(store.pending(idempotency_key=KEY)))

    assert IdempotencyService(store.repo(line)).clear_idempotency_key(TASK, KEY)

    assert runs[0].created
    assert replace(store.repo().get_job(runs[0].job_id), created=True) == runs[0]
