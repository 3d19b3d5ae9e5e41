"""The verdict of the chaos run can fail: each rule is fed evidence that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.model import Attempt
from tests.chaos.values import value_of
from tests.chaos.verdict import (
    Evidence,
    Promise,
    Rule,
    Start,
    attempts_are_accounted_for,
    chaos_it_was,
    ends_are_explained,
    judge,
    nothing_is_lost,
    nothing_is_open,
    once_per_attempt,
    processes_live,
    reconcile_is_clean,
    results_match,
)


def completed(job_id: str = "a", number: int = 1, attempt: int = 1, **changes: Any) -> Job:
    """A job as it should end."""
    job = Job(
        job_id=job_id,
        task="chaos.quick",
        queue="default",
        status=JobStatus.COMPLETED,
        attempt=attempt,
        charged=attempt,
        max_attempts=6,
        result={"value": value_of(number), "attempt": attempt},
        claim_token=f"{job_id}-{attempt}",
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


def evidence(*jobs: Job, **changes: Any) -> Evidence:
    """What a good run of these jobs leaves, each the first of its number."""
    starts = [Start(job.job_id, n, f"{job.job_id}-{n}") for job in jobs for n in range(1, job.attempt + 1)]
    good: dict[str, Any] = {
        "planned": len(jobs),
        "promises": [Promise(job.job_id, "quick", 1) for job in jobs],
        "jobs": {job.job_id: job for job in jobs},
        "starts": starts,
        "processes": 3,
        "struck": {"kill": 1},
    }
    return Evidence(**(good | changes))


def test_a_good_run_breaks_no_rule() -> None:
    assert [rule for rule in judge(evidence(completed("a"), completed("b", attempt=3))) if not rule.held] == []


def test_a_run_without_anything_shows_nothing() -> None:
    assert not any(rule.held for rule in judge(evidence(processes=0, struck={})))


Broken = tuple[Callable[[Evidence], Rule], Evidence, str]
DONE = completed("a")
BROKEN: dict[str, Broken] = {
    "a job that is not in the table is lost": (nothing_is_lost, evidence(DONE, jobs={}), "a"),
    "a call that nobody accepted is lost": (nothing_is_lost, evidence(DONE, unfinished=["call 7"]), "call 7"),
    "fewer jobs than planned": (nothing_is_lost, evidence(DONE, planned=2), "1 promised of 2"),
    "a second step is lost though the first one completed": (
        nothing_is_lost,
        evidence(DONE, promises=[Promise("a", "first", 1), Promise("b", "then", 1, after="a")]),
        "b",
    ),
    "two bodies in an attempt": (
        once_per_attempt,
        evidence(DONE, starts=[Start("a", 1, "x"), Start("a", 1, "x")]),
        "a attempt 1: 2 times",
    ),
    "two bodies in an attempt under two claims": (
        once_per_attempt,
        evidence(DONE, starts=[Start("a", 1, "x"), Start("a", 1, "y")]),
        "2 times",
    ),
    "a body of an attempt that was never claimed": (
        once_per_attempt,
        evidence(DONE, starts=[Start("a", 2, "x")]),
        "never claimed",
    ),
    "a body of a job that there is not": (once_per_attempt, evidence(starts=[Start("z", 1, "x")]), "never claimed"),
    "a job that waits": (nothing_is_open, evidence(completed(status=JobStatus.PENDING)), "a is PENDING"),
    "a job that runs": (nothing_is_open, evidence(completed(status=JobStatus.PROCESSING)), "a is PROCESSING"),
    "a job whose retry is to come": (
        nothing_is_open,
        evidence(failed(FailureKind.EXTERNAL, retry_at=1)),
        "started again",
    ),
    "an open job that nobody submitted": (nothing_is_open, evidence(DONE, left_open=1), "1 open"),
    "another job's result": (results_match, evidence(completed(number=2)), "not {'value': 4"),
    "a zombie's result": (
        results_match,
        evidence(completed(attempt=2, result={"value": value_of(1), "attempt": 1})),
        "'attempt': 2",
    ),
    "a result without a body": (results_match, evidence(DONE, starts=[]), "no body"),
    "a result under another claim than the body's": (
        results_match,
        evidence(DONE, starts=[Start("a", 1, "other")]),
        "no body",
    ),
    "a failure of its own in a body that never fails": (
        ends_are_explained,
        evidence(failed(FailureKind.PERMANENT)),
        "PERMANENT",
    ),
    "a job that was given up": (ends_are_explained, evidence(failed(FailureKind.CONFIGURATION)), "CONFIGURATION"),
    "a cancelled job": (
        ends_are_explained,
        evidence(failed(FailureKind.CANCELLED, status=JobStatus.CANCELLED)),
        "CANCELLED",
    ),
    "an orphan that was to be tried again": (
        ends_are_explained,
        evidence(failed(FailureKind.ORPHANED, on_orphan="retry")),
        "attempts were left",
    ),
    "a body that never returns and completed": (
        ends_are_explained,
        evidence(DONE, promises=[Promise("a", "doomed", 1)]),
        "never returns",
    ),
    "an attempt that left no trace": (
        attempts_are_accounted_for,
        evidence(completed(attempt=3, history=(Attempt(attempt=1, outcome="retry"),))),
        "attempt 2 left no trace",
    ),
    "an attempt that ended twice": (
        attempts_are_accounted_for,
        evidence(completed(attempt=2, history=(Attempt(attempt=1, outcome="retry"),) * 2)),
        "attempt 1 ended 2 times",
    ),
    "a zombie that completed a job which had ended": (
        attempts_are_accounted_for,
        evidence(completed(history=(Attempt(attempt=1, outcome="orphan-fail"),))),
        "had ended before",
    ),
    "more attempts than allowed": (attempts_are_accounted_for, evidence(completed(charged=7)), "7 of 6"),
    "a worker that ended by itself": (processes_live, evidence(DONE, died=["worker-1"]), "worker-1"),
    "a finding of reconcile": (reconcile_is_clean, evidence(DONE, findings=["no-message: a"]), "no-message"),
    "a fault that never happened": (chaos_it_was, evidence(DONE, struck={"kill": 1, "freeze": 0}), "freeze"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_rule_is_broken_by(name: str) -> None:
    check, broken, told = BROKEN[name]
    rule = check(broken)
    assert not rule.held
    assert told in rule.finding()
    assert [each.name for each in judge(broken) if not each.held].count(rule.name) == 1


def test_cut_off_jobs_may_fail() -> None:
    ended = evidence(
        failed(FailureKind.ORPHANED),
        failed(FailureKind.TIMEOUT, "b"),
        failed(FailureKind.ORPHANED, "c", on_orphan="retry", charged=6),
    )
    assert ends_are_explained(ended).held


def test_a_doomed_job_may_fail_by_itself() -> None:
    assert ends_are_explained(evidence(failed(FailureKind.EXTERNAL), promises=[Promise("a", "doomed", 1)])).held


def test_the_second_step_after_a_failed_one_may_be_missing_or_told() -> None:
    promises = [Promise("a", "first", 1), Promise("b", "then", 1, after="a")]
    first = failed(FailureKind.ORPHANED)
    assert nothing_is_lost(evidence(first, promises=promises)).held
    told = failed(FailureKind.PERMANENT, "b", attempt=0)
    assert ends_are_explained(evidence(first, told, promises=promises)).held


def test_a_release_takes_the_place_of_the_release_before_it() -> None:
    history = (Attempt(attempt=1, outcome="retry"), Attempt(attempt=3, outcome="release"))
    assert attempts_are_accounted_for(evidence(completed(attempt=4, history=history))).held


def test_a_history_keeps_the_last_ten() -> None:
    history = tuple(Attempt(attempt=n, outcome="retry") for n in range(3, 13))
    assert attempts_are_accounted_for(evidence(completed(attempt=13, charged=5, history=history))).held


def test_many_offenders_are_counted_and_a_few_are_named() -> None:
    ids = [f"job-{n}" for n in range(20)]
    finding = nothing_is_lost(evidence(*[completed(job_id) for job_id in ids], jobs={})).finding()
    assert finding.startswith("20 of 20: job-0; ")
    assert finding.endswith("and 15 more")
