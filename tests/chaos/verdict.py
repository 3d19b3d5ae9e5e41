"""What the evidence shows: rules that each hold or fail, and why. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from jobclaim.jobs import FailureKind, Job, JobStatus
from tests.chaos.values import value_of

SHOWN: Final = 5
"""Offenders that a broken rule names."""
CUT_OFF: Final = frozenset({FailureKind.ORPHANED, FailureKind.TIMEOUT})
"""How a job may fail to which chaos happened: its worker was lost, or it was held up past its limit."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A job whose submission was accepted.

    Attributes
    ----------
    task : str
        Name without ``chaos.``.
    number : int
        Argument of its call, or of the first step's.
    after : str
        Job that it follows in a chain; it is made only when that one completes.
    """

    job_id: str
    task: str
    number: int
    after: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """A body that started, as it says itself."""

    job_id: str
    attempt: int
    token: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a run leaves.

    Attributes
    ----------
    planned : int
        Jobs that the plan's calls make.
    jobs : mapping
        As they are at the end, by id.
    unfinished : sequence of str
        Calls that were never accepted.
    died : sequence of str
        Processes that ended although nobody had killed them, or that did not end well when they were asked to.
    findings : sequence of str
        Of ``jobclaim.governance.reconcile``.
    left_open : int
        Open jobs that it saw.
    processes : int
        Workers and recoveries that were started.
    struck : mapping
        How often each kind of fault happened, those that never did among them.
    """

    planned: int
    promises: Sequence[Promise]
    jobs: Mapping[str, Job]
    starts: Sequence[Start]
    unfinished: Sequence[str] = ()
    died: Sequence[str] = ()
    findings: Sequence[str] = ()
    left_open: int = 0
    processes: int = 0
    struck: Mapping[str, int] = field(default_factory=dict)
    by_id: Mapping[str, Promise] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {promise.job_id: promise for promise in self.promises})

    @property
    def known(self) -> Iterator[tuple[Promise, Job]]:
        """The promised jobs that there are."""
        return ((promise, self.jobs[job_id]) for job_id, promise in self.by_id.items() if job_id in self.jobs)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and who broke it."""

    name: str
    looked_at: int
    offenders: Sequence[str]

    @property
    def held(self) -> bool:
        """Whether nobody broke it, and there was somebody who might have."""
        return self.looked_at > 0 and not self.offenders

    def finding(self) -> str:
        """Tell in a line what was found."""
        if not self.looked_at:
            return "nothing to look at"
        if not self.offenders:
            return f"{self.looked_at:,} looked at"
        more = len(self.offenders) - SHOWN
        return (
            f"{len(self.offenders):,} of {self.looked_at:,}: "
            + "; ".join(self.offenders[:SHOWN])
            + (f"; and {more:,} more" if more > 0 else "")
        )


Check: TypeAlias = Callable[[Evidence], Rule]


def judge(evidence: Evidence) -> list[Rule]:
    """Check every rule."""
    return [check(evidence) for check in CHECKS]


def nothing_is_lost(evidence: Evidence) -> Rule:
    """Every accepted job is in the table; a chain's second step need not be, where the first one failed."""

    def may_be_missing(promise: Promise) -> bool:
        before = evidence.jobs.get(promise.after)
        return before is not None and before.status is JobStatus.FAILED

    lost = [
        job_id
        for job_id, promise in evidence.by_id.items()
        if job_id not in evidence.jobs and not may_be_missing(promise)
    ]
    too_few = len(evidence.by_id) < evidence.planned
    short = [f"{len(evidence.by_id):,} promised of {evidence.planned:,} planned"] if too_few else []
    return Rule("Nothing is lost", len(evidence.by_id), [*evidence.unfinished, *short, *lost])


def once_per_attempt(evidence: Evidence) -> Rule:
    """An attempt's body starts at most once, and never without a claim."""
    times = Counter((start.job_id, start.attempt) for start in evidence.starts)
    twice = [f"{job_id} attempt {attempt}: {count} times" for (job_id, attempt), count in times.items() if count > 1]
    unclaimed = [
        f"{job_id} attempt {attempt}: never claimed"
        for job_id, attempt in times
        if job_id not in evidence.jobs or attempt > evidence.jobs[job_id].attempt
    ]
    return Rule("No body starts twice per attempt", len(times), twice + unclaimed)


def nothing_is_open(evidence: Evidence) -> Rule:
    """Every job has ended, and no retry of it is still to come."""
    still = [f"{job.job_id} is {job.status}" for job in evidence.jobs.values() if job.status.is_open]
    due = [f"{job.job_id} is to be started again" for job in evidence.jobs.values() if job.retry_at]
    others = [f"{evidence.left_open} open in the index"] if evidence.left_open else []
    return Rule("No job is open at the end", len(evidence.jobs), still + due + others)


def results_match(evidence: Evidence) -> Rule:
    """A completed job has the value of its arguments, written by its last attempt, whose body is known to have run."""
    done = [(promise, job) for promise, job in evidence.known if job.status is JobStatus.COMPLETED]
    started = {(start.job_id, start.attempt): start.token for start in evidence.starts}
    offenders = []
    for promise, job in done:
        expected = {"value": expected_value(promise), "attempt": job.attempt}
        if job.result != expected:
            offenders.append(f"{job.job_id} has {job.result}, not {expected}")
        elif started.get((job.job_id, job.attempt)) != job.claim_token:
            offenders.append(f"{job.job_id} completed, and no body of its last claim started")
    return Rule("Results match", len(done), offenders)


def ends_are_explained(evidence: Evidence) -> Rule:
    """A job fails only where chaos cut it off, or where its body always fails; nothing is cancelled or given up."""
    ended = [(promise, job) for promise, job in evidence.known if not job.status.is_open]
    return Rule(
        "Every end is explained", len(ended), [text for pair in ended if (text := _unexplained(*pair, evidence))]
    )


def _unexplained(promise: Promise, job: Job, evidence: Evidence) -> str:
    if job.status is JobStatus.COMPLETED:
        return f"{job.job_id} completed, and its body never returns" if promise.task == "doomed" else ""
    kind = job.failure.kind if job.failure else None
    told = f"{job.job_id} ({promise.task}) is {job.status}, {kind}: {job.failure.message if job.failure else ''}"
    if job.status is not JobStatus.FAILED:
        return told
    if kind in CUT_OFF:
        may_go_on = job.on_orphan == "retry" and job.charged < job.max_attempts and kind is FailureKind.ORPHANED
        return f"{told}; attempts were left" if may_go_on else ""
    before = evidence.jobs.get(promise.after)
    if before is not None and before.status is JobStatus.FAILED and not job.attempt:
        return ""  # told that the step before it failed
    return "" if promise.task == "doomed" and kind is FailureKind.EXTERNAL else told


def attempts_are_accounted_for(evidence: Evidence) -> Rule:
    """Each attempt but the last ended once, and as its job's history says; none is charged over the maximum."""
    offenders = []
    for job in evidence.jobs.values():
        ended = Counter(attempt.attempt for attempt in job.history)
        offenders += [f"{job.job_id} attempt {number} ended {n} times" for number, n in ended.items() if n > 1]
        if job.status is JobStatus.COMPLETED and job.attempt in ended:
            offenders.append(f"{job.job_id} attempt {job.attempt} had ended before it completed")
        offenders += [f"{job.job_id} attempt {number} left no trace" for number in _untold(job, ended)]
        if job.charged > job.max_attempts:
            offenders.append(f"{job.job_id} was charged {job.charged} of {job.max_attempts} attempts")
    return Rule("Every attempt is accounted for", len(evidence.jobs), offenders)


def _untold(job: Job, ended: Mapping[int, int]) -> Iterator[int]:
    """Attempts that the history should tell of; it keeps ten, and of several releases in a row the last."""
    released = {attempt.attempt for attempt in job.history if attempt.outcome == "release"}
    if not ended:
        yield from range(1, job.attempt)
        return
    first = min(ended) if len(job.history) >= 10 else 1
    for number in range(first, job.attempt):
        follower = min((later for later in ended if later > number), default=None)
        if number not in ended and follower not in released:
            yield number


def processes_live(evidence: Evidence) -> Rule:
    """No fault of a service ends a process, and one that is asked to end does so in good order."""
    return Rule("Workers survive every fault of a service", evidence.processes, list(evidence.died))


def reconcile_is_clean(evidence: Evidence) -> Rule:
    """Table and queues agree."""
    return Rule("Reconcile finds nothing", len(evidence.jobs), list(evidence.findings))


def chaos_it_was(evidence: Evidence) -> Rule:
    """Every kind of fault happened, else the run shows nothing."""
    return Rule(
        "Every kind of fault happened", len(evidence.struck), [kind for kind, n in evidence.struck.items() if not n]
    )


CHECKS: Final[tuple[Check, ...]] = (
    nothing_is_lost,
    once_per_attempt,
    nothing_is_open,
    results_match,
    ends_are_explained,
    attempts_are_accounted_for,
    processes_live,
    reconcile_is_clean,
    chaos_it_was,
)


def expected_value(promise: Promise) -> int:
    """Give the value that a job must have."""
    return value_of(value_of(promise.number)) if promise.task == "then" else value_of(promise.number)
