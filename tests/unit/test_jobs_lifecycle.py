"""What each move makes of a job, and the difference that is sent to DynamoDB."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.encoding.changes import changes
from jobclaim.jobs.encoding.item import place, to_attributes
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.kept import Release
from jobclaim.jobs.model import HISTORY_LIMIT
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.changed import changed
from jobclaim.jobs.protocol.lifecycle import Retention
from jobclaim.jobs.transitions import TRANSITIONS, Move
from tests.unit.jobs_strategies import jobs

NOW = 1_750_000_000_000
RETENTION = Retention(completed=7_000, dead=30_000)
ORPHANED = Failure(kind=FailureKind.ORPHANED, message="the worker is gone", traceback="where it was", at=NOW)


def pending(**fields: Any) -> Job:
    return Job(**{"job_id": "j", "task": "t", "queue": "q", "status": JobStatus.PENDING, "max_attempts": 3, **fields})


def claimed(**fields: Any) -> Job:
    mine = {"claim_token": "mine", "worker_id": "w1", "claimed_at": NOW, "lease_expires_at": NOW + 60_000}
    return pending(**{"status": JobStatus.PROCESSING, "attempt": 1, "charged": 1, **mine, **fields})


def failed(job: Job, move: Move = Move.FAIL, at: int = NOW + 5) -> Job:
    return lifecycle.ended_badly(job, move, JobStatus.FAILED, ORPHANED, at, RETENTION)


# --- changes
@given(jobs(st.just("j")), jobs(st.just("j")), st.integers(1, 8), st.booleans())
def test_the_changes_make_the_stored_item_of_one_job_that_of_the_other(
    before: Job, after: Job, shards: int, index_completed: bool
) -> None:
    def stored(job: Job) -> dict[str, Any]:
        return to_attributes(job) | place(job, shards=shards, index_completed=index_completed)

    item = stored(before)
    for name, change in changes(before, after, shards=shards, index_completed=index_completed).items():
        item.pop(name, None)
        if change is not None:
            item[name] = change
    item["status"] = str(after.status)  # the move's own

    assert item == stored(after)


@pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), ([0], [False]), ({"a": 0.0}, {"a": -0.0})])
def test_values_that_only_python_takes_for_equal_are_stored_anew(old: Any, new: Any) -> None:
    difference = changes(pending(payload=old), pending(payload=new), shards=1, index_completed=False)

    assert difference == {"payload": json.dumps(new, separators=(",", ":"))}


def test_a_value_that_is_stored_alike_is_not_sent() -> None:
    old, new = pending(payload=[1, 2], start_by=int("9000")), pending(payload=(1, 2), start_by=int("9000"))

    assert not changes(old, new, shards=1, index_completed=False)


def test_completing_a_job_neither_sends_its_payload_again_nor_touches_the_claim() -> None:
    job = claimed(payload={"large": "x" * 1000}, history=failed(claimed()).history)

    sent = changes(job, lifecycle.completed(job, 1, NOW, RETENTION), shards=4, index_completed=False)

    assert set(sent) == {"result", "finished_at", "expires_at", "state_key", "state_at"}
    assert sent["state_key"] is sent["state_at"] is None


# --- ends
def test_a_completed_job_is_kept_for_the_longer_of_retention_and_window() -> None:
    plain = lifecycle.completed(claimed(), None, NOW, RETENTION)
    idempotent = lifecycle.completed(claimed(idempotency_ttl=20.0), None, NOW, RETENTION)

    assert plain.expires_at * 1000 == NOW + 7_000
    assert idempotent.expires_at * 1000 == NOW + 20_000


def test_a_window_that_is_given_at_the_end_replaces_the_one_of_the_submission() -> None:
    done = lifecycle.completed(claimed(idempotency_ttl=20.0), None, NOW, RETENTION, window=30.0)

    assert (done.idempotency_ttl, done.expires_at) == (30.0, (NOW + 30_000) // 1000)


@given(st.integers(NOW, NOW + 10_000), st.floats(0.001, 1e6))
def test_a_job_is_there_for_as_long_as_it_answers_equal_submissions(now: int, window: float) -> None:
    done = lifecycle.completed(claimed(idempotency_ttl=window), None, now, Retention(completed=1, dead=1))

    last_answer = now + int(window * 1000) - 1
    assert lifecycle.answers_duplicate(done, last_answer)
    assert not lifecycle.is_gone(done, last_answer)


def test_a_failed_job_keeps_payload_failure_and_the_evidence_of_its_attempt() -> None:
    job = failed(claimed(payload=[1]), Move.ORPHAN_FAIL)

    assert (job.status, job.failure, job.payload, job.attempt) == (JobStatus.FAILED, ORPHANED, [1], 1)
    (entry,) = job.history
    assert (entry.outcome, entry.attempt, entry.worker_id, entry.claim_token) == ("orphan-fail", 1, "w1", "mine")
    assert (entry.claimed_at, entry.lease_expires_at, entry.ended_at) == (NOW, NOW + 60_000, NOW + 5)
    assert job.expires_at == (NOW + 5 + 30_000 + 999) // 1000


def test_the_history_keeps_the_last_ten_attempts_and_no_tracebacks() -> None:
    job = claimed()
    for attempt in range(1, 25):
        job = replace(job, status=JobStatus.PROCESSING, attempt=attempt)
        job = lifecycle.pending_again(job, Move.RETRY, ORPHANED, NOW, NOW, charge=True)

    assert [entry.attempt for entry in job.history] == list(range(25 - HISTORY_LIMIT, 25))
    assert all(entry.failure and not entry.failure.traceback for entry in job.history)
    assert job.failure == ORPHANED


def test_a_retry_stays_charged_and_a_release_is_given_back() -> None:
    retried = lifecycle.pending_again(claimed(), Move.RETRY, None, NOW, NOW, charge=True)
    released = lifecycle.pending_again(claimed(), Move.RELEASE, None, NOW, NOW, charge=False)

    assert (retried.charged, retried.attempts_left, retried.attempt) == (1, 2, 1)
    assert (released.charged, released.attempts_left, released.attempt) == (0, 3, 1)


@pytest.mark.parametrize(("seconds", "messages"), [(0, 1), (900, 1), (900.001, 0), (86_400, 0)])
def test_a_job_gets_its_message_at_once_when_sqs_can_hold_it_back_that_long(seconds: float, messages: int) -> None:
    at = NOW + round(seconds * 1000)

    assert lifecycle.pending_again(claimed(), Move.RETRY, None, NOW, at, charge=True).dispatches == messages
    assert lifecycle.revived(failed(claimed()), NOW, at).dispatches == messages


# --- attempts fence messages
@pytest.mark.parametrize(("move", "status"), [(Move.CANCEL, JobStatus.CANCELLED), (Move.GIVE_UP, JobStatus.FAILED)])
def test_a_message_for_an_attempt_that_was_called_off_cannot_start_a_later_run(move: Move, status: JobStatus) -> None:
    waiting = pending(attempt=2)  # its message, which names attempt 2, is still under way
    ended = lifecycle.ended_badly(waiting, move, status, None, NOW, RETENTION)

    assert lifecycle.resubmitted(ended, pending()).attempt > waiting.attempt
    assert lifecycle.revived(ended, NOW, NOW).attempt > waiting.attempt
    assert ended.history == ()


def test_a_revived_job_has_all_its_attempts_before_it_and_counts_on() -> None:
    job = lifecycle.revived(failed(claimed(attempt=3, charged=3)), NOW, NOW + 1)

    assert (job.status, job.attempt, job.charged, job.attempts_left) == (JobStatus.PENDING, 3, 0, 3)
    assert (job.finished_at, job.expires_at, job.available_at) == (0, 0, NOW + 1)


def test_a_resubmission_is_all_new_but_for_the_attempts_before_it() -> None:
    old = failed(claimed(payload="old", idempotency_key="k"))
    new = pending(payload="new", idempotency_key="k", created_at=NOW + 9)

    run = lifecycle.resubmitted(old, new)

    assert run == replace(new, attempt=1, history=old.history, submission=run.submission)
    assert run.submission not in (old.submission, new.submission)


# --- duplicates
@pytest.mark.parametrize("status", JobStatus)
def test_an_equal_submission_gets_an_open_job_or_one_completed_within_its_window(status: JobStatus) -> None:
    job = pending(status=status, finished_at=NOW, idempotency_ttl=5.0)

    within, after = (lifecycle.answers_duplicate(job, NOW + wait) for wait in (4_999, 5_000))

    assert within is (status.is_open or status is JobStatus.COMPLETED)
    assert after is status.is_open


# --- lost answers
ENDS = {
    Move.FAIL: lambda job, at: failed(job, Move.FAIL, at),
    Move.STOP: lambda job, at: lifecycle.ended_badly(job, Move.STOP, JobStatus.CANCELLED, ORPHANED, at, RETENTION),
    Move.RETRY: lambda job, at: lifecycle.pending_again(job, Move.RETRY, ORPHANED, at, at, charge=True),
    Move.RELEASE: lambda job, at: lifecycle.pending_again(job, Move.RELEASE, None, at, at, charge=False),
    Move.COMPLETE: lambda job, at: lifecycle.completed(job, {"rows": (1, 2)}, at, RETENTION),
}


@pytest.mark.parametrize("move", ENDS)
def test_my_own_end_of_an_attempt_is_recognised(move: Move) -> None:
    after = ENDS[move](claimed(), NOW)

    assert TRANSITIONS[move].recognises(after, after)


@pytest.mark.parametrize("move", [move for move in ENDS if move is not Move.COMPLETE])
def test_my_end_is_recognised_even_when_the_next_attempt_runs_already(move: Move) -> None:
    after = ENDS[move](claimed(), NOW)
    gone_on = replace(after, status=JobStatus.PROCESSING, claim_token="theirs", attempt=2)

    assert TRANSITIONS[move].recognises(gone_on, after)


@pytest.mark.parametrize("move", ENDS)
@pytest.mark.parametrize("acted", [Move.ORPHAN_FAIL, Move.ORPHAN_RETRY])
def test_what_recovery_did_to_my_attempt_is_not_taken_for_mine(move: Move, acted: Move) -> None:
    if acted is Move.ORPHAN_FAIL:
        stored = failed(claimed(), Move.ORPHAN_FAIL, NOW)
    else:
        stored = lifecycle.pending_again(claimed(), Move.ORPHAN_RETRY, ORPHANED, NOW, NOW, charge=True)

    assert stored.claim_token == "mine"
    assert not TRANSITIONS[move].recognises(stored, ENDS[move](claimed(), NOW))


@pytest.mark.parametrize("move", ENDS)
def test_another_attempts_end_is_not_taken_for_mine(move: Move) -> None:
    theirs = ENDS[move](claimed(claim_token="theirs"), NOW)

    assert not TRANSITIONS[move].recognises(theirs, ENDS[move](claimed(), NOW))


@pytest.mark.parametrize("move", ENDS)
def test_the_same_end_said_again_later_is_the_same(move: Move) -> None:
    assert TRANSITIONS[move].recognises(ENDS[move](claimed(), NOW), ENDS[move](claimed(), NOW + 1))


def test_another_failure_of_the_same_attempt_is_not_taken_for_mine() -> None:
    stored = lifecycle.ended_badly(
        claimed(), Move.FAIL, JobStatus.FAILED, replace(ORPHANED, message="other"), NOW, RETENTION
    )

    assert not TRANSITIONS[Move.FAIL].recognises(stored, failed(claimed(), at=NOW))


def test_a_completion_with_another_result_is_not_taken_for_mine() -> None:
    stored = lifecycle.completed(claimed(), True, NOW, RETENTION)

    assert not TRANSITIONS[Move.COMPLETE].recognises(stored, lifecycle.completed(claimed(), 1, NOW, RETENTION))


def test_a_changed_job_is_what_dataclasses_would_make_of_it() -> None:
    job = claimed(payload={"a": [1]}, tags=("one",))
    values: dict[str, Any] = {"status": JobStatus.COMPLETED, "result": 7, "finished_at": 5, "created": False}
    assert changed(job, **values) == replace(job, **values)
    assert changed(job, **values).created is False
    assert job.status is JobStatus.PROCESSING
    with pytest.raises(KeyError, match="no_field"):
        changed(job, no_field=1)


def test_a_release_keeps_the_failure_of_the_attempt_before_it() -> None:
    before = Failure(kind=FailureKind.TRANSIENT, message="busy")
    job, held = claimed(failure=before), Release(held="caller", reason="later", at=NOW)

    again = lifecycle.pending_again(job, Move.RELEASE, None, NOW, NOW, charge=False, released=held)

    assert (again.failure, again.released) == (before, held)


def test_a_message_sent_again_keeps_what_held_the_last_one_unless_that_is_known_anew() -> None:
    held, anew = (Release(held="caller", reason=reason, at=NOW) for reason in ("later", "anew"))
    job = pending(released=held, dispatches=1)

    assert [lifecycle.dispatched(job, NOW, known).released for known in (None, anew)] == [held, anew]


@pytest.mark.parametrize(("started", "slot", "kept"), [(False, 0, 5), (False, 7, 7), (True, 0, 0), (True, 7, 7)])
def test_a_reserved_turn_is_kept_until_a_body_begins(started: bool, slot: int, kept: int) -> None:
    job = claimed(slot=5)

    again = lifecycle.pending_again(job, Move.RELEASE, None, NOW, NOW, charge=False, started=started, slot=slot)

    assert again.slot == kept


def test_a_payload_that_moves_to_another_item_of_its_own_is_a_change() -> None:
    one, other = ({LARGE_MARK: {"key": key, "bytes": 1}} for key in ("one", "other"))
    job = pending(payload="large", payload_mark=one)

    found = changes(job, replace(job, payload_mark=other), shards=1, index_completed=False)

    assert (list(found), changes(job, job, shards=1, index_completed=False)) == (["payload"], {})
