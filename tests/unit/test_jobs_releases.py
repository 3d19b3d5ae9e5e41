"""What holds a waiting job: the record of its last release, of the present attempt only, in both stored forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import Failure, FailureKind, InvalidInput, Job, JobStatus
from jobclaim.jobs.kept import Release
from jobclaim.jobs.model import Attempt
from jobclaim.jobs.protocol.releases import MAX_REASON, Held, current, last_failure, of_attempt, release_of

JOB = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING, attempt=3)
HELD = Release(held="rate-limit", reason="used up", at=7, attempt=3)
ENTRY: dict[str, Any] = {"attempt": 3, "outcome": "release", "ended_at": 7, "held": "rate-limit", "reason": "used up"}


def entry(**values: Any) -> Attempt:
    return Attempt(**{**ENTRY, **values})


def test_a_release_is_recorded_with_its_reason_its_time_and_the_attempt() -> None:
    assert release_of(JOB, Held.RATE_LIMIT, "used up", 7) == HELD
    assert len(release_of(JOB, "store", "x" * 9_999, 7).reason.encode()) <= MAX_REASON
    for held, reason in (("unheard of", "used up"), ("store", 7)):
        with pytest.raises(InvalidInput, match=repr(held if held != "store" else reason)):
            release_of(JOB, held, reason, 7)


def test_an_ended_attempt_says_what_released_it_also_as_an_older_version_wrote_it() -> None:
    told = Failure(kind=FailureKind.TRANSIENT, message="used up", at=7)

    assert of_attempt(entry()) == HELD
    assert of_attempt(entry(reason="", failure=told)) == HELD
    assert of_attempt(entry(reason="")) == replace(HELD, reason="")
    assert of_attempt(entry(outcome="retry")) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"released": HELD}, HELD),
        ({"released": HELD, "status": JobStatus.PROCESSING}, None),
        ({"released": replace(HELD, attempt=2)}, None),
        ({"history": (entry(),)}, HELD),
        ({"history": (entry(attempt=2),)}, None),
        ({"history": (entry(reason="before", attempt=2), entry())}, HELD),
        ({"released": replace(HELD, attempt=2), "history": (entry(),)}, HELD),
        ({}, None),
    ],
)
def test_a_waiting_job_is_held_by_what_released_its_present_attempt(values: Any, expected: Release | None) -> None:
    assert current(replace(JOB, **values)) == expected


def test_a_reason_that_an_older_version_stored_as_a_failure_is_none() -> None:
    told = Failure(kind=FailureKind.TRANSIENT, message="used up", at=7)

    assert last_failure(replace(JOB, failure=told, history=(entry(failure=told),))) is None
    assert last_failure(replace(JOB, failure=told, history=(entry(outcome="retry", failure=told),))) == told
    assert last_failure(replace(JOB, failure=replace(told, at=8), history=(entry(failure=told),))) is not None
    assert last_failure(replace(JOB, failure=told, history=(entry(),))) == told
    assert last_failure(replace(JOB, history=(entry(failure=told),))) is None
    assert last_failure(JOB) is None
