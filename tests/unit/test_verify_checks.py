"""The verdict of a run can fail: each check is fed evidence that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.model import Attempt
from jobclaim.verify.checks import (
    CHECKS,
    AcceptedJob,
    CheckResult,
    Evidence,
    Start,
    audit,
    canvas,
    deploys,
    equal_submissions,
    evaluate,
    every_job_ends,
    explained_ends,
    faults,
    healthy_attempt,
    in_time,
    limits,
    lost_answer,
    lost_worker,
    misaddressed_message,
    no_arguments_in_logs,
    nothing_lost,
    old_message,
    one_body,
    one_end,
    orphans,
    processes_survive,
    results,
    ticks,
    unsent,
)
from jobclaim.verify.values import value_of

DAY = 86_400


def completed(job_id: str = "a", number: int = 1, attempt: int = 1, **changes: Any) -> Job:
    """A job as it should end."""
    job = Job(
        job_id=job_id,
        task="verify.quick",
        queue="default",
        status=JobStatus.COMPLETED,
        attempt=attempt,
        charged=attempt,
        max_attempts=6,
        result={"value": value_of(number), "attempt": attempt},
        claim_token=f"{job_id}-{attempt}",
        expires_at=8 * DAY,
        history=tuple(Attempt(attempt=past, outcome="retry") for past in range(1, attempt)),
    )
    return replace(job, **changes)


def failed(kind: FailureKind, job_id: str = "a", **changes: Any) -> Job:
    """A job that failed in its first attempt."""
    ended = {
        "status": JobStatus.FAILED,
        "result": None,
        "failure": Failure(kind=kind, message="m"),
        "history": (Attempt(attempt=1, outcome="fail"),),
    }
    return completed(job_id, **(ended | changes))


HITS = (
    "SQS message copied",
    "SQS message lost",
    "SQS old message replayed",
    "SQS message of another task forged",
    "DynamoDB response lost",
)


def evidence(*jobs: Job, **changes: Any) -> Evidence:
    """What a good run of these jobs leaves, each the first of its number."""
    starts = [
        Start(job.job_id, n, f"{job.job_id}-{n}", at=n, task=job.task)
        for job in jobs
        for n in range(1, job.attempt + 1)
    ]
    good: dict[str, Any] = {
        "planned": len(jobs),
        "accepted": [AcceptedJob(job.job_id, "quick", 1) for job in jobs],
        "jobs": {job.job_id: job for job in jobs},
        "starts": starts,
        "processes": 3,
        "injected": {"kill": 1},
        "injected_requests": dict.fromkeys(HITS, 1),
    }
    return Evidence(**(good | changes))


def test_a_good_run_breaks_no_promise() -> None:
    found = evidence(completed("a"), completed("b", attempt=3))
    assert [(result.code, result.finding()) for result in evaluate(found) if result.state == "broken"] == []


def test_a_run_without_anything_tests_nothing() -> None:
    assert {result.state for result in evaluate(evidence(processes=0, injected={}, injected_requests={}))} == {
        "untested"
    }


Broken = tuple[Callable[[Evidence], CheckResult], Evidence, str]
DONE = completed("a")
ORPHANED = Failure(kind=FailureKind.ORPHANED, message="its worker is lost")
KILLED: dict[str, Any] = {"worker_id": "host:7:x", "claimed_at": 1_000, "ended_at": 76_000}
BROKEN: dict[str, Broken] = {
    "a job that is not in the table is lost": (nothing_lost, evidence(DONE, jobs={}), "a"),
    "a call that nobody accepted is lost": (nothing_lost, evidence(DONE, unfinished=["call 7"]), "call 7"),
    "fewer jobs than planned": (nothing_lost, evidence(DONE, planned=2), "1 accepted of 2"),
    "a second step is lost though the first one completed": (
        nothing_lost,
        evidence(DONE, accepted=[AcceptedJob("a", "first", 1), AcceptedJob("b", "then", 1, after=("a",))]),
        "b",
    ),
    "two bodies in an attempt": (
        one_body,
        evidence(DONE, starts=[Start("a", 1, "x"), Start("a", 1, "x")]),
        "a attempt 1: 2 times",
    ),
    "two bodies in an attempt under two claims": (
        one_body,
        evidence(DONE, starts=[Start("a", 1, "x"), Start("a", 1, "y")]),
        "2 times",
    ),
    "a body of an attempt that was never claimed": (
        one_body,
        evidence(DONE, starts=[Start("a", 2, "x")]),
        "never claimed",
    ),
    "a body of a job that there is not": (
        one_body,
        evidence(accepted=[AcceptedJob("z", "quick", 1)], starts=[Start("z", 1, "x")]),
        "never claimed",
    ),
    "a job that waits": (every_job_ends, evidence(completed(status=JobStatus.PENDING)), "a is PENDING"),
    "a job that runs": (every_job_ends, evidence(completed(status=JobStatus.PROCESSING)), "a is PROCESSING"),
    "a job whose retry is to come": (
        every_job_ends,
        evidence(failed(FailureKind.EXTERNAL, retry_at=1)),
        "started again",
    ),
    "an open job that nobody submitted": (every_job_ends, evidence(DONE, left_open=["z"]), "z is open"),
    "another job's result": (one_end, evidence(completed(number=2)), "not {'value': 4"),
    "a zombie's result": (
        one_end,
        evidence(completed(attempt=2, result={"value": value_of(1), "attempt": 1})),
        "'attempt': 2",
    ),
    "a result without a body": (one_end, evidence(DONE, starts=[]), "no body"),
    "a result under another claim than the body's": (
        one_end,
        evidence(DONE, starts=[Start("a", 1, "other")]),
        "no body",
    ),
    "a failure of its own in a body that never fails": (
        explained_ends,
        evidence(failed(FailureKind.PERMANENT)),
        "PERMANENT",
    ),
    "a job that no message brought to a claim": (
        explained_ends,
        evidence(failed(FailureKind.CONFIGURATION)),
        "CONFIGURATION",
    ),
    "a cancelled job": (
        explained_ends,
        evidence(failed(FailureKind.CANCELLED, status=JobStatus.CANCELLED)),
        "CANCELLED",
    ),
    "an orphan that was to be tried again": (
        explained_ends,
        evidence(failed(FailureKind.ORPHANED, on_orphan="retry")),
        "attempts were left",
    ),
    "a body that never returns and completed": (
        explained_ends,
        evidence(DONE, accepted=[AcceptedJob("a", "doomed", 1)]),
        "never returns",
    ),
    "an attempt that left no trace": (
        every_job_ends,
        evidence(completed(attempt=3, history=(Attempt(attempt=1, outcome="retry"),))),
        "attempt 2 left no trace",
    ),
    "an attempt that ended twice": (
        every_job_ends,
        evidence(completed(attempt=2, history=(Attempt(attempt=1, outcome="retry"),) * 2)),
        "attempt 1 ended 2 times",
    ),
    "a zombie that completed a job which had ended": (
        every_job_ends,
        evidence(completed(history=(Attempt(attempt=1, outcome="orphan-fail"),))),
        "had ended before",
    ),
    "more attempts than allowed": (every_job_ends, evidence(completed(charged=7)), "7 of 6"),
    "a worker that ended by itself": (processes_survive, evidence(DONE, unexpected_exits=["worker-1"]), "worker-1"),
    "a finding of reconcile": (audit, evidence(DONE, findings=["no-message: a"]), "no-message"),
    "a process that did not end when it was asked to": (
        deploys,
        evidence(DONE, unexpected_exits=["asked to end, ended with -9: worker-2"]),
        "ended with -9",
    ),
    "an attempt that was claimed before the one before it ended": (
        old_message,
        evidence(
            completed(
                attempt=2, claimed_at=9, history=(Attempt(attempt=1, outcome="retry", claimed_at=1, ended_at=10),)
            )
        ),
        "attempt 2 was claimed before attempt 1",
    ),
    "a body of another task": (
        misaddressed_message,
        evidence(DONE, starts=[Start("a", 1, "a-1", 1, "verify.trap")]),
        "verify.trap ran job a of verify.quick",
    ),
    "a body minutes before its time": (
        misaddressed_message,
        evidence(DONE, accepted=[AcceptedJob("a", "later", 1)]),
        "minutes before its time",
    ),
    "a winner that was told that it had lost": (
        lost_answer,
        evidence(DONE, lost_claims=[("a", 1)]),
        "its result stands",
    ),
    "an orphan that was tried again though it must not be": (
        orphans,
        evidence(completed(attempt=2, history=(Attempt(attempt=1, outcome="orphan-retry", failure=ORPHANED),))),
        "a was tried again",
    ),
    "a killed worker's job that was found late": (
        lost_worker,
        evidence(
            failed(FailureKind.ORPHANED, history=(Attempt(attempt=1, outcome="orphan-fail", **KILLED),)),
            workers={7: (5_000, 5_000)},
        ),
        "a after 71 s",
    ),
    "an orphan of a worker that no fault hit": (
        healthy_attempt,
        evidence(failed(FailureKind.ORPHANED, history=(Attempt(attempt=1, outcome="orphan-fail", **KILLED),))),
        "a attempt 1 of host:7:x",
    ),
    "an orphan of a worker that a fault hit afterwards": (
        healthy_attempt,
        evidence(
            failed(FailureKind.ORPHANED, history=(Attempt(attempt=1, outcome="orphan-fail", **KILLED),)),
            workers={7: (80_000, 0)},
        ),
        "a attempt 1",
    ),
    "a body before its time": (
        in_time,
        evidence(completed(created_at=1_000), accepted=[AcceptedJob("a", "timed", 1, countdown=2, called_at=1_001)]),
        "a started 3.0 s early",
    ),
    "a claim after it expired": (
        in_time,
        evidence(completed(created_at=1_000, claimed_at=4_000), accepted=[AcceptedJob("a", "expiring", 1, expires=2)]),
        "a was claimed 1.0 s after",
    ),
    "two jobs of equal calls": (
        equal_submissions,
        evidence(DONE, completed("b"), accepted=[AcceptedJob("a", "once", 1), AcceptedJob("b", "once", 1)]),
        "call 1 became 2 jobs",
    ),
    "a result that is not kept": (results, evidence(completed(finished_at=1_000, expires_at=DAY)), "kept for 1.0 days"),
    "a second step that is missing": (
        canvas,
        evidence(DONE, accepted=[AcceptedJob("a", "first", 1), AcceptedJob("b", "then", 1, after=("a",))]),
        "b is missing",
    ),
    "a chord's body with one member's value": (
        canvas,
        evidence(
            DONE,
            completed("b"),
            completed("c", result={"value": value_of(value_of(1)), "attempt": 1}),
            accepted=[
                AcceptedJob("a", "first", 1),
                AcceptedJob("b", "first", 1),
                AcceptedJob("c", "all", 1, after=("a", "b")),
            ],
        ),
        "c has",
    ),
    "ticks that are doubled": (
        ticks,
        evidence(seconds=10, starts=[Start(f"t{n}", 1, "x", n, "verify.tick") for n in range(6)]),
        "6 jobs of at most 4 ticks",
    ),
    "a job that was given up": (unsent, evidence(failed(FailureKind.CONFIGURATION)), "a: m"),
    "three limited bodies at once": (
        limits,
        evidence(
            starts=[Start(job, 1, "x", 1, "verify.limited") for job in "abc"],
            ends=[Start(job, 1, "x", 5, "verify.limited") for job in "abc"],
        ),
        "3 at once",
    ),
    "an argument in a log line": (no_arguments_in_logs, evidence(DONE, log_lines=9, secrets=["secret1"]), "secret1"),
    "a fault that never happened": (faults, evidence(DONE, injected={"kill": 1, "freeze": 0}), "freeze"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_promise_is_broken_by(name: str) -> None:
    check, broken, told = BROKEN[name]
    result = check(broken)
    assert result.state == "broken"
    assert told in result.finding()
    assert [each.code for each in evaluate(broken) if each.state == "broken"].count(result.code) == 1


def test_every_promise_can_be_broken() -> None:
    assert {check for check, _, _ in BROKEN.values()} == set(CHECKS)


def test_cut_off_jobs_may_fail() -> None:
    ended = evidence(
        failed(FailureKind.ORPHANED),
        failed(FailureKind.TIMEOUT, "b"),
        failed(FailureKind.ORPHANED, "c", on_orphan="retry", charged=6),
    )
    assert explained_ends(ended).held


def test_a_doomed_job_may_fail_by_itself() -> None:
    assert explained_ends(evidence(failed(FailureKind.EXTERNAL), accepted=[AcceptedJob("a", "doomed", 1)])).held


def test_the_second_step_after_a_failed_one_may_be_missing_or_told() -> None:
    accepted = [AcceptedJob("a", "first", 1), AcceptedJob("b", "then", 1, after=("a",))]
    first = failed(FailureKind.ORPHANED)
    assert nothing_lost(evidence(first, accepted=accepted)).held
    told = failed(FailureKind.PERMANENT, "b", attempt=0)
    assert explained_ends(evidence(first, told, accepted=accepted)).held


def test_a_release_takes_the_place_of_the_release_before_it() -> None:
    history = (Attempt(attempt=1, outcome="retry"), Attempt(attempt=3, outcome="release"))
    assert every_job_ends(evidence(completed(attempt=4, history=history))).held


def test_a_history_keeps_the_last_ten() -> None:
    history = tuple(Attempt(attempt=n, outcome="retry") for n in range(3, 13))
    assert every_job_ends(evidence(completed(attempt=13, charged=5, history=history))).held


def test_many_offenders_are_counted_and_a_few_are_named() -> None:
    ids = [f"job-{n}" for n in range(20)]
    finding = nothing_lost(evidence(*[completed(job_id) for job_id in ids], jobs={})).finding()
    assert finding.startswith("20 times: job-0; ")
    assert finding.endswith("and 15 more")
