"""What a refused write counts as, by the move, the number of tries, and the job that stands there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.model import Attempt
from jobclaim.jobs.storage.written import Written, judged, signed
from jobclaim.jobs.transitions import Move

CLAIMED = Job(job_id="j", task="t", queue="q", status=JobStatus.PROCESSING, attempt=1, claim_token="mine")
DONE = replace(CLAIMED, status=JobStatus.COMPLETED, result=1)
OTHER = replace(DONE, claim_token="another")
CALLED_OFF = replace(CLAIMED, status=JobStatus.CANCELLED, attempt=2, finished_at=5)


def test_a_write_that_was_made_gives_what_it_wrote() -> None:
    assert judged(Written(True), Move.COMPLETE, DONE) == Written(True, DONE)
    assert judged(Written(True, CLAIMED, 2), Move.CLAIM, replace(CLAIMED, task="")) == Written(True, CLAIMED, 2)


@pytest.mark.parametrize("tries", [1, 2])
def test_where_nothing_is_stored_nothing_was_written(tries: int) -> None:
    assert judged(Written(False, None, tries), Move.COMPLETE, DONE) == Written(False, None, tries)
    assert Written(False, DONE).made is None
    assert Written(True, DONE).made is DONE


@pytest.mark.parametrize("tries", [1, 2])
def test_an_owner_recognises_its_write_at_any_time_and_no_other_write(tries: int) -> None:
    assert judged(Written(False, DONE, tries), Move.COMPLETE, DONE) == Written(True, DONE, tries)
    assert judged(Written(False, OTHER, tries), Move.COMPLETE, DONE) == Written(False, OTHER, tries)


def test_whoever_else_wrote_recognises_it_after_a_try_without_an_answer_only() -> None:
    assert judged(Written(False, CALLED_OFF, 1), Move.CANCEL, CALLED_OFF) == Written(False, CALLED_OFF, 1)
    assert judged(Written(False, CALLED_OFF, 2), Move.CANCEL, CALLED_OFF) == Written(True, CALLED_OFF, 2)


def test_where_the_job_has_gone_on_the_writers_own_job_is_given() -> None:
    submitted = replace(CLAIMED, status=JobStatus.PENDING, attempt=0, submission="mine")
    running = replace(submitted, status=JobStatus.PROCESSING, attempt=1)
    redispatched = replace(submitted, dispatches=2)
    assert judged(Written(False, running, 2), Move.SUBMIT, submitted) == Written(True, submitted, 2)
    assert judged(Written(False, redispatched, 2), Move.SUBMIT, submitted) == Written(True, redispatched, 2)
    assert not judged(Written(False, replace(submitted, submission="next"), 2), Move.SUBMIT, submitted).applied


def test_a_move_is_marked_in_the_job_and_in_the_attempt_that_it_ended() -> None:
    first, second = (Attempt(attempt=number, outcome=Move.RETRY) for number in (1, 2))
    before, after = replace(CLAIMED, history=(first,)), replace(DONE, history=(first, second))

    assert signed(before, after, "n") == replace(after, nonce="n", history=(first, replace(second, nonce="n")))
    assert signed(CLAIMED, CALLED_OFF, "n") == replace(CALLED_OFF, nonce="n")
