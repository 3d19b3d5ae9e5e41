"""The demo's verdict: every check holds on a good run, and every check can fail."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from jobclaim.cli.demo import verdict
from jobclaim.cli.demo.ledger import Body, Evidence
from jobclaim.jobs import Attempt, Job, JobStatus

KILLED, SECOND = "host:100:aaaa", "host:200:bbbb"


def job(job_id: str, **changes: object) -> Job:
    """Make a job that completed in its first attempt."""
    attempt = changes.get("attempt", 1)
    given = {"attempt": attempt, "result": {"attempt": attempt}, "dispatches": 1, **changes}
    return Job(job_id=job_id, task="demo.count", queue="default", **{"status": JobStatus.COMPLETED, **given})  # type: ignore[arg-type]


def good_run() -> Evidence:
    """Three jobs: a plain one with a duplicate, one whose message was lost, one whose worker was killed."""
    orphaned = Attempt(attempt=1, outcome="orphan-retry", worker_id=KILLED)
    return Evidence(
        wanted_jobs=3,
        wanted_duplicates=1,
        submitted=("plain", "lost", "orphan"),
        jobs={
            "plain": job("plain"),
            "lost": job("lost", dispatches=2),
            "orphan": job("orphan", attempt=2, history=(orphaned,)),
        },
        bodies=(
            Body("plain", 1, 101, KILLED),
            Body("orphan", 1, 102, KILLED),
            Body("orphan", 2, 201, SECOND),
            Body("lost", 1, 202, SECOND),
        ),
        refusals=Counter(plain=1),
        duplicates=Counter(plain=1),
        lost="lost",
        killed_pid=100,
        orphans=("orphan",),
        messages_left={"default": 0, "default-dlq": 0},
    )


def with_job(evidence: Evidence, job_id: str, **changes: object) -> Evidence:
    """Change one job of the evidence."""
    changed = replace(evidence.jobs[job_id], **changes)  # type: ignore[arg-type]
    return replace(evidence, jobs={**evidence.jobs, job_id: changed})


def failing(evidence: Evidence) -> set[str]:
    """Name the checks that fail."""
    return {check.__name__ for check in verdict.CHECKS if not check(evidence).held}


def test_a_good_run_passes_every_check() -> None:
    assert failing(good_run()) == set()


GOOD = good_run()
BROKEN = {
    "a job that was never stored": (
        replace(GOOD, jobs={k: v for k, v in GOOD.jobs.items() if k != "plain"}),
        "all_submitted",
    ),
    "fewer jobs than meant": (replace(GOOD, wanted_jobs=100), "all_submitted"),
    "a body that ran twice": (replace(GOOD, bodies=(*GOOD.bodies, Body("plain", 1, 201, SECOND))), "once_per_attempt"),
    "a body without a claim": (replace(GOOD, bodies=(*GOOD.bodies, Body("plain", 2, 201, SECOND))), "once_per_attempt"),
    "a body of an unknown job": (replace(GOOD, bodies=(*GOOD.bodies, Body("who", 1, 201, SECOND))), "once_per_attempt"),
    "no body at all": (replace(GOOD, bodies=()), "once_per_attempt"),
    "a duplicate nobody refused": (replace(GOOD, refusals=Counter()), "duplicates_refused"),
    "one copy refused of two": (
        replace(GOOD, wanted_duplicates=2, duplicates=Counter(plain=2)),
        "duplicates_refused",
    ),
    "refusals of another job": (replace(GOOD, refusals=Counter(lost=5)), "duplicates_refused"),
    "fewer duplicates than meant": (replace(GOOD, wanted_duplicates=30), "duplicates_refused"),
    "no worker killed": (replace(GOOD, orphans=()), "orphans_recovered"),
    "an orphan left failed": (with_job(GOOD, "orphan", status=JobStatus.FAILED), "orphans_recovered"),
    "an orphan that recovery never saw": (with_job(GOOD, "orphan", history=()), "orphans_recovered"),
    "an orphan done in its first attempt": (with_job(GOOD, "orphan", attempt=1), "orphans_recovered"),
    "an orphan done by the dead": (
        replace(GOOD, bodies=tuple(replace(body, worker=KILLED) for body in GOOD.bodies)),
        "orphans_recovered",
    ),
    "a lost message never sent again": (with_job(GOOD, "lost", dispatches=1), "lost_message_found"),
    "a lost job still pending": (with_job(GOOD, "lost", status=JobStatus.PENDING), "lost_message_found"),
    "a lost job that is gone": (replace(GOOD, lost="gone"), "lost_message_found"),
    "a failed job": (with_job(GOOD, "plain", status=JobStatus.FAILED), "all_completed"),
    "the result of an older attempt": (with_job(GOOD, "orphan", result={"attempt": 1}), "all_completed"),
    "a result that is missing": (with_job(GOOD, "plain", result=None), "all_completed"),
    "a job still processing": (with_job(GOOD, "plain", status=JobStatus.PROCESSING), "none_open"),
    "no job at all": (replace(GOOD, jobs={}), "none_open"),
    "one worker did it all": (
        replace(GOOD, bodies=tuple(replace(body, worker=SECOND) for body in GOOD.bodies)),
        "several_workers",
    ),
    "a message left": (replace(GOOD, messages_left={"default": 1, "default-dlq": 0}), "queues_empty"),
    "a dead letter": (replace(GOOD, messages_left={"default": 0, "default-dlq": 1}), "queues_empty"),
    "queues nobody looked at": (replace(GOOD, messages_left={}), "queues_empty"),
}


@pytest.mark.parametrize(("evidence", "check"), BROKEN.values(), ids=BROKEN.keys())
def test_each_fault_fails_its_check(evidence: Evidence, check: str) -> None:
    assert check in failing(evidence)


def test_every_check_has_a_fault_that_it_finds() -> None:
    assert {check for _, check in BROKEN.values()} == {check.__name__ for check in verdict.CHECKS}


def test_a_failed_claim_names_the_jobs() -> None:
    claims = verdict.judge(with_job(GOOD, "plain", status=JobStatus.PENDING))
    assert [claim.finding for claim in claims if claim.promise == "No job is left open"] == ["1 open; not so: plain"]


def test_figures_are_counted_from_the_evidence() -> None:
    assert verdict.figures(good_run()) == {
        "submitted": 3,
        "claimed": 4,
        "duplicates injected": 1,
        "claims refused": 1,
        "orphaned": 1,
        "re-dispatched": 1,
        "completed": 3,
        "bodies run in attempt 1": 3,
        "bodies run in attempt 2": 1,
        "most bodies in one attempt": 1,
    }


def test_figures_of_an_empty_run_are_zero() -> None:
    assert set(verdict.figures(Evidence(wanted_jobs=3, wanted_duplicates=1)).values()) == {0}
