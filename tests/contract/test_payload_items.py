"""A payload that is too large for its job's item: in an item beside it, read by who runs the job and by nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobclaim.jobs import IdempotencyMismatch, Job, JobRepo, JobStatus, OffloadLost, StoreUnavailable
from jobclaim.jobs.encoding.marks import is_in_table
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.repo.pruning import prune
from jobclaim.jobs.storage.note_keys import SEPARATOR
from jobclaim.recovery import sweep
from jobclaim.recovery.dead import DeadLetters
from jobclaim.views.job_filter import JobFilter, filtered_page
from tests.contract.conftest import MODEL, open_store
from tests.contract.stores import LossyClient, Store

DAY = 86_400
LARGE = {"text": "x" * 5_000}
OTHER = {"text": "y" * 5_000}


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The simulation's store alone: for what takes many passes."""
    with open_store(MODEL, request) as opened:
        yield opened


def submitted(store: Store, payload: Any = LARGE, **options: Any) -> Job:
    return store.repo().create_job("tasks.work", payload, **options)


def beside(store: Store) -> dict[str, dict[str, Any]]:
    """Payload items by key."""
    return {key: item for key, item in store.items().items() if key.startswith(f"payload{SEPARATOR}")}


def only(store: Store) -> dict[str, Any]:
    (item,) = beside(store).values()
    return item


def ends_at(store: Store) -> int:
    return int(only(store)["expires_at"]["N"])


def stored_payload(store: Store, job_id: str) -> Any:
    item = store.item(job_id)
    assert item is not None
    return json.loads(item["payload"]["S"])


def swept(store: Store, *, backlog: int = 0) -> Any:
    return sweep(store.repo(), send=lambda job, delay: None, backlog=lambda queue: backlog)


# --- where it is
def test_who_runs_or_reads_the_job_gets_it_and_the_item_holds_a_mark(store: Store) -> None:
    job = submitted(store)
    assert job.payload == LARGE
    assert stored_payload(store, job.job_id).keys() == {LARGE_MARK}
    owner = store.repo()
    claimed = owner.claim_job(job.job_id)
    assert claimed is not None
    assert [claimed.payload, owner.get_job(job.job_id).payload] == [LARGE, LARGE]
    done = owner.update_status(job.job_id, "COMPLETED", result=1)
    assert [done.payload, store.repo().get_job(job.job_id).payload] == [LARGE, LARGE]
    assert (len(store.item(job.job_id) or {}) > 0, len(beside(store))) == (True, 1)


def test_one_that_just_fits_stays_in_the_jobs_item(store: Store) -> None:
    most = store.settings.inline_payload_bytes - len('{"text":""}')
    fits, over = submitted(store, {"text": "x" * most}), submitted(store, {"text": "é" * most})
    assert stored_payload(store, fits.job_id) == fits.payload
    assert LARGE_MARK in stored_payload(store, over.job_id)
    assert store.repo().get_job(over.job_id).payload == over.payload


def test_lists_and_bulk_decisions_do_not_read_it(store: Store) -> None:
    waiting = submitted(store)
    repo, everything = store.repo(), JobFilter.of(task="tasks.*", kind=None, worker_id=None, since_ms=None)
    listed = [
        repo.list_jobs("PENDING"),
        filtered_page(repo, "PENDING", everything, now=store.clock(), queue=None, limit=10, cursor=None),
    ]
    for page in listed:
        (job,) = page.jobs
        assert job.job_id == waiting.job_id
        assert job.payload.keys() == {LARGE_MARK}
    assert repo.get_job(waiting.job_id, large=False).payload.keys() == {LARGE_MARK}


def test_a_cancellation_does_not_read_it(store: Store) -> None:
    job = submitted(store)

    cancelled = store.repo().cancel_job(job.job_id)

    assert is_in_table(cancelled.payload)
    assert store.repo().get_job(job.job_id).payload == LARGE


# --- submitting again
def test_equal_submissions_leave_one_payload(store: Store) -> None:
    first, again = (submitted(store, idempotency_key="k") for _ in range(2))
    assert (again.created, again.job_id, again.payload) == (False, first.job_id, LARGE)
    assert len(beside(store)) == 1


def test_an_equal_submission_for_an_earlier_time_does_not_shorten_its_life(store: Store) -> None:
    submitted(store, idempotency_key="k", available_at=store.clock() + 200 * DAY * 1000)
    later = ends_at(store)
    submitted(store, idempotency_key="k")
    assert ends_at(store) == later > store.clock() // 1000 + 200 * DAY


def test_a_chosen_id_is_held_to_its_payload(store: Store) -> None:
    submitted(store, job_id="j")
    assert submitted(store, job_id="j").created is False
    with pytest.raises(IdempotencyMismatch, match="another payload"):
        submitted(store, OTHER, job_id="j")
    key = next(key for key, item in beside(store).items() if "x" in item["text"]["S"])
    store.client.delete_item(TableName=store.settings.job_table, Key={"job_id": {"S": key}})
    with pytest.raises(IdempotencyMismatch, match="another payload"):
        submitted(store, OTHER, job_id="j")


def test_a_run_anew_with_another_payload_leaves_the_run_before_alone(store: Store) -> None:
    owner = store.repo()
    first = submitted(store, idempotency_key="k", fingerprint="same")
    owner.claim_job(first.job_id)
    owner.update_status(first.job_id, "FAILED", error="no")
    anew = submitted(store, OTHER, idempotency_key="k", fingerprint="same")
    assert (anew.created, anew.job_id) == (True, first.job_id)
    claimed = owner.claim_job(first.job_id)
    assert claimed is not None
    assert claimed.payload == OTHER
    assert len(beside(store)) == 2


def test_a_submission_that_fails_half_way_leaves_a_payload_that_ends(store: Store) -> None:
    line = LossyClient(store.client)
    line.lose_after(1, times=6, arrives=False)
    with pytest.raises(StoreUnavailable):
        store.repo(line).create_job("tasks.work", LARGE, job_id="j")
    assert store.item("j") is None
    assert store.clock() // 1000 < ends_at(store) <= store.clock() // 1000 + 15 * DAY
    store.clock.advance(16 * DAY)
    assert prune(store.repo(), per_second=1e6).deleted == 1


# --- attempts and retries
def test_every_attempt_gets_it_also_after_a_crash_and_a_persons_retry(store: Store) -> None:
    job, owner = submitted(store, on_orphan="retry", max_attempts=2), store.repo()
    owner.claim_job(job.job_id)
    store.clock.advance(7200)
    assert swept(store).retried == 1
    assert getattr(owner.claim_job(job.job_id), "payload", None) == LARGE
    owner.update_status(job.job_id, "FAILED", error="no")
    assert store.repo().retry_job(job.job_id).payload == LARGE
    assert getattr(owner.claim_job(job.job_id), "payload", None) == LARGE
    owner.release(job.job_id)
    assert store.repo().cancel_job(job.job_id).status is JobStatus.CANCELLED
    assert len(beside(store)) == 1


@pytest.mark.parametrize(("payload", "items"), [(OTHER, 2), ({"text": "small"}, 1)])
def test_a_retry_with_another_payload_runs_on_that_one(store: Store, payload: Any, items: int) -> None:
    job, owner = submitted(store), store.repo()
    owner.claim_job(job.job_id)
    assert owner.reschedule(job.job_id, payload=payload).status is JobStatus.PENDING
    claimed = store.repo().claim_job(job.job_id)
    assert claimed is not None
    assert claimed.payload == payload
    assert len(beside(store)) == items


def test_a_zombie_that_retries_with_another_payload_changes_nothing(store: Store) -> None:
    zombie, job = store.repo(), submitted(store, on_orphan="retry", max_attempts=3)
    zombie.claim_job(job.job_id)
    store.clock.advance(7200)
    swept(store)
    owner = store.repo()
    owner.claim_job(job.job_id)
    with pytest.raises(Exception, match="claim on job"):
        zombie.reschedule(job.job_id, payload=OTHER)
    assert owner.get_job(job.job_id).payload == LARGE


def test_dead_letters_start_again_with_it(store: Store) -> None:
    job, owner = submitted(store), store.repo()
    owner.claim_job(job.job_id)
    owner.update_status(job.job_id, "FAILED", error="no")
    sent: list[Job] = []
    report = DeadLetters(store.repo(), send=lambda job, delay: sent.append(job)).act("retry", [job.job_id], by="ann")
    assert (report.done, [one.job_id for one in sent]) == (1, [job.job_id])
    assert getattr(owner.claim_job(job.job_id), "payload", None) == LARGE


# --- how long it lasts
def _fails(repo: JobRepo, job: Job) -> Any:
    return repo.update_status(job.job_id, "FAILED", error="no")


def _waits_long(repo: JobRepo, job: Job) -> Any:
    return repo.reschedule(job.job_id, available_at=repo.clock() + 90 * DAY * 1000)


def _completes_late(repo: JobRepo, job: Job) -> Any:
    return repo.update_status(job.job_id, "COMPLETED", ttl=90 * DAY)


@pytest.mark.parametrize("end", [_fails, _waits_long, _completes_late])
def test_it_outlasts_its_job_whatever_becomes_of_it(store: Store, end: Callable[[JobRepo, Job], Any]) -> None:
    job, owner = submitted(store), store.repo()
    claimed = owner.claim_job(job.job_id)
    assert claimed is not None
    end(owner, claimed)
    after = store.repo().get_job(job.job_id)
    assert ends_at(store) > max(after.expires_at, after.available_at // 1000 + 6 * DAY)
    assert stored_payload(store, job.job_id)[LARGE_MARK]["until"] == ends_at(store)
    assert after.payload == LARGE


def test_recovery_keeps_the_payload_of_a_job_that_waits_for_months(model: Store) -> None:
    """Also where a backlog holds its messages back: the pass sends one more for its payload's sake."""
    job = submitted(model)
    for _ in range(25):
        model.clock.advance(4 * DAY)
        report = sweep(model.repo(), send=lambda job, delay: None, backlog=lambda queue: 5_000, redispatch_cap=0)
        assert (report.failed, ends_at(model) > model.clock() // 1000 + 6 * DAY) == (0, True)
    assert model.repo().get_job(job.job_id).payload == LARGE


def test_a_job_that_lives_as_long_as_most_has_its_payload_written_once(store: Store) -> None:
    job, owner = submitted(store), store.repo()
    first = ends_at(store)
    for _ in range(3):
        store.clock.advance(DAY)
        owner.claim_job(job.job_id)
        owner.reschedule(job.job_id)
    owner.claim_job(job.job_id)
    owner.update_status(job.job_id, "COMPLETED")
    assert ends_at(store) == first


# --- when it cannot be read
def test_one_that_is_gone_is_an_error_of_the_claim_and_a_mark_to_readers(store: Store) -> None:
    job, owner = submitted(store), store.repo()
    store.client.delete_item(TableName=store.settings.job_table, Key={"job_id": only(store)["job_id"]})
    assert store.repo().get_job(job.job_id).payload.keys() == {LARGE_MARK}
    with pytest.raises(OffloadLost, match=f"payload item of job '{job.job_id}' no longer exists"):
        owner.claim_job(job.job_id)
    assert owner.update_status(job.job_id, "FAILED", error="lost").status is JobStatus.FAILED


def test_one_that_was_changed_is_refused(store: Store) -> None:
    job = submitted(store)
    store.client.put_item(TableName=store.settings.job_table, Item=only(store) | {"text": {"S": '{"text":"z"}'}})
    with pytest.raises(OffloadLost, match="its hash differs"):
        store.repo().claim_job(job.job_id)


def test_a_claim_whose_payload_is_not_given_now_is_given_back_uncharged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, owner = submitted(store), store.repo()

    def out_of_order(*_: Any) -> Any:
        raise StoreUnavailable("DynamoDB did not answer")

    with monkeypatch.context() as patch:
        patch.setattr(owner.table.payloads, "get", out_of_order)
        with pytest.raises(StoreUnavailable):
            owner.claim_job(job.job_id)
    after = store.repo().get_job(job.job_id)
    assert (after.status, after.charged, after.payload) == (JobStatus.PENDING, 0, LARGE)
    assert after.releases == 0, "its body did not run"


# --- beside jobs of a release that had all payloads in the job's item
def former(store: Store) -> JobRepo:
    """A repo that keeps payloads where the first release did."""
    return store.repo(settings=store.settings.model_copy(update={"inline_payload_bytes": 200_000}))


def test_jobs_with_the_payload_inside_are_read_claimed_answered_and_retried(store: Store) -> None:
    job, repo, owner = former(store).create_job("tasks.work", LARGE, job_id="old"), store.repo(), store.repo()
    assert stored_payload(store, job.job_id) == LARGE
    assert repo.create_job("tasks.work", LARGE, job_id="old").created is False
    with pytest.raises(IdempotencyMismatch):
        repo.create_job("tasks.work", OTHER, job_id="old")
    assert getattr(owner.claim_job("old"), "payload", None) == LARGE
    owner.update_status("old", "FAILED", error="no")
    assert repo.retry_job("old").payload == LARGE
    assert [one.payload for one in repo.list_jobs("PENDING").jobs] == [LARGE]
    assert getattr(owner.claim_job("old"), "payload", None) == LARGE
    assert owner.update_status("old", "COMPLETED").payload == LARGE


def test_equal_calls_of_both_releases_are_one_job(store: Store) -> None:
    old = former(store).create_job("tasks.work", LARGE, idempotency_key="k")
    new = submitted(store, idempotency_key="k")
    assert (new.created, new.job_id) == (False, old.job_id)
    ours = submitted(store, idempotency_key="l")
    theirs = former(store).create_job("tasks.work", LARGE, idempotency_key="l")
    assert (theirs.created, theirs.job_id, theirs.payload) == (False, ours.job_id, LARGE)
