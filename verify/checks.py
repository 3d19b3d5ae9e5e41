"""The promises: each is a pure check of the evidence, with the result held, broken or untested.

Each row of ``docs/guarantees.md`` names its check by its code; checks that need an action are in
`jobclaim.verify.probes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Final, TypeAlias

from jobclaim import FailureKind, Job, JobStatus
from jobclaim.verify.values import value_of

SHOWN: Final = 5
"""Violations that a broken promise names."""
CAUSED_BY_FAULTS: Final = frozenset({FailureKind.ORPHANED, FailureKind.TIMEOUT})
"""Kinds of failure that faults may cause: the job's worker was lost, or the job was delayed past its limit."""
LOST_WORKER_MS: Final = 70_000
"""Time within which a lost worker's jobs are failed or retried."""
CONCURRENCY_LIMIT: Final = 2
"""Bodies of the limited task that may run at once."""
FOLLOWERS: Final = ("then", "all")
NEVER_RUN: Final = ("later",)


@dataclass(frozen=True, slots=True)
class AcceptedJob:
    """A job whose submission was accepted.

    Attributes
    ----------
    task : str
        Name without ``verify.``, or the kind of its call.
    number : int
        Argument of its call, or of the first step's.
    after : tuple of str
        Jobs that it follows; it is created only when all of them complete.
    countdown, expires : float
        Seconds from its submission before which, and after which, it must not start; 0 for none.
    called_at : int
        When its first call was made, epoch milliseconds: the job may have been written from then on.
    """

    job_id: str
    task: str
    number: int
    after: tuple[str, ...] = ()
    countdown: float = 0.0
    expires: float = 0.0
    called_at: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """A body's own record of its start or its end.

    Attributes
    ----------
    at : int
        Epoch milliseconds.
    task : str
        The task whose body it was.
    """

    job_id: str
    attempt: int
    token: str
    at: int = 0
    task: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A promise, how often it was tested, and what broke it.

    Attributes
    ----------
    code : str
        Name of the check in the table of guarantees.
    """

    code: str
    name: str
    tested: int
    violations: Sequence[str]

    @property
    def held(self) -> bool:
        """Whether it was tested and nothing broke it."""
        return self.tested > 0 and not self.violations

    @property
    def state(self) -> str:
        """``held``, ``broken`` or ``untested``."""
        return "broken" if self.violations else "held" if self.tested else "untested"

    def merged_with(self, other: CheckResult) -> CheckResult:
        """Add the result of another check of the same promise."""
        return replace(self, tested=self.tested + other.tested, violations=[*self.violations, *other.violations])

    def finding(self) -> str:
        """Describe in one line what broke it."""
        more = len(self.violations) - SHOWN
        named = "; ".join(self.violations[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
        return f"{len(self.violations):,} times: {named}" if self.violations else ""


@dataclass(frozen=True)
class Evidence:
    """All evidence of a run.

    Attributes
    ----------
    planned : int
        Jobs that the plan's calls make.
    accepted : sequence of AcceptedJob
        One for each accepted call, and those of a call of several jobs.
    jobs : mapping
        The jobs at the end of the run, by id.
    starts, ends : sequence of Start
        Records of bodies that started, and of bodies that ended normally.
    unfinished : sequence of str
        Calls that were never accepted.
    unexpected_exits : sequence of str
        Processes that ended without being killed, or that did not end properly when they were asked to.
    findings : sequence of str
        Findings of ``jobclaim audit --reconcile``.
    left_open : sequence of str
        Open jobs that are listed.
    processes : int
        Workers and recoveries that were started.
    injected, injected_requests : mapping
        How often each kind of fault happened; requests with an injected fault, by service and fault.
    workers : mapping
        By the process id of each worker that a fault hit: when it was hit first, and killed (0 for not), epoch ms.
    disturbances : sequence of pair
        Periods in which heartbeats may have failed although their workers were healthy, epoch milliseconds.
    lost_claims : sequence of pair
        Job and attempt of each claim that was lost according to the logs.
    log_lines, secrets : int, sequence of str
        Lines of all logs, and those that show an argument.
    seconds : float
        Seconds from the first possible tick of the schedule to the last.
    tick_seconds : float
    completed_days : float
        Retention of completed jobs.
    probes : sequence of CheckResult
    """

    planned: int
    accepted: Sequence[AcceptedJob]
    jobs: Mapping[str, Job]
    starts: Sequence[Start]
    ends: Sequence[Start] = ()
    unfinished: Sequence[str] = ()
    unexpected_exits: Sequence[str] = ()
    findings: Sequence[str] = ()
    left_open: Sequence[str] = ()
    processes: int = 0
    injected: Mapping[str, int] = field(default_factory=dict)
    injected_requests: Mapping[str, int] = field(default_factory=dict)
    workers: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    disturbances: Sequence[tuple[int, int]] = ()
    lost_claims: Sequence[tuple[str, int]] = ()
    log_lines: int = 0
    secrets: Sequence[str] = ()
    seconds: float = 0.0
    tick_seconds: float = 5.0
    dead_after_ms: int = 8_000
    completed_days: float = 7.0
    probes: Sequence[CheckResult] = ()

    @cached_property
    def by_id(self) -> Mapping[str, AcceptedJob]:
        """Accepted jobs by their id; equal calls have one."""
        return {accepted.job_id: accepted for accepted in self.accepted}

    @property
    def known(self) -> Iterator[tuple[AcceptedJob, Job]]:
        """The accepted jobs that exist."""
        return ((accepted, self.jobs[job_id]) for job_id, accepted in self.by_id.items() if job_id in self.jobs)

    @property
    def completed(self) -> list[tuple[AcceptedJob, Job]]:
        """The accepted jobs that completed."""
        return [(accepted, job) for accepted, job in self.known if job.status is JobStatus.COMPLETED]

    def count_injected(self, name: str) -> int:
        """Count the requests to any service that a fault hit."""
        return sum(count for fault, count in self.injected_requests.items() if fault.endswith(name))


PROBED: Final[Mapping[str, str]] = {
    "bad-input": "Bad input is refused before anything is written",
    "decisions": "A decision about an ended job applies to the end it was made for",
    "cancel": "A cancelled pending job never starts; a running one is stopped",
    "costs": "Requests per job are known",
    "effects": "Effects are made exactly once",
    "steps": "A finished step is not run again",
    "progress": "The last progress of an attempt that ended is stored",
    "waits": "A wait is resumed once, and ends",
    "transactions": "A job and the caller's writes are written together",
    "pass-costs": "Recovery's cost does not grow with finished jobs",
}
"""Promises that `jobclaim.verify.probes` tests, by code."""

Check: TypeAlias = Callable[[Evidence], CheckResult]


def evaluate(evidence: Evidence) -> list[CheckResult]:
    """Check every promise by the evidence, and add the results of the probes."""
    checked = [
        *(check(evidence) for check in CHECKS),
        *(CheckResult(code, name, 0, ()) for code, name in PROBED.items()),
    ]
    for found in evidence.probes:
        checked = [result.merged_with(found) if result.code == found.code else result for result in checked]
    return checked


def one_body(evidence: Evidence) -> CheckResult:
    """Check that an attempt's body starts at most once, and never without a claim."""
    times = Counter((start.job_id, start.attempt) for start in evidence.starts)
    twice = [f"{job_id} attempt {attempt}: {count} times" for (job_id, attempt), count in times.items() if count > 1]
    accepted = evidence.by_id
    unclaimed = [
        f"{job_id} attempt {attempt}: never claimed"
        for job_id, attempt in times
        if job_id in accepted and (job_id not in evidence.jobs or attempt > evidence.jobs[job_id].attempt)
    ]
    name = "One attempt's body starts at most once"
    return CheckResult("one-body", name, evidence.count_injected("message copied"), twice + unclaimed)


def old_message(evidence: Evidence) -> CheckResult:
    """Check that no attempt was claimed before the previous one had ended, although old messages were delivered."""
    violations = []
    for job in evidence.jobs.values():
        spans = [(past.attempt, past.claimed_at, past.ended_at) for past in job.history]
        if job.status is JobStatus.COMPLETED:
            spans.append((job.attempt, job.claimed_at, job.finished_at))
        violations += [
            f"{job.job_id} attempt {later[0]} was claimed before attempt {earlier[0]} had ended"
            for earlier, later in pairwise(spans)
            if later[1] < earlier[2]
        ]
    return CheckResult(
        "old-message",
        "An old message cannot start a later attempt",
        evidence.count_injected("old message replayed"),
        violations,
    )


def misaddressed_message(evidence: Evidence) -> CheckResult:
    """Check that a message decides neither what runs nor when."""
    tested = evidence.count_injected("message of another task forged") + evidence.count_injected(
        "message long before its time forged"
    )
    violations = [
        f"{start.task} ran job {start.job_id} of {evidence.jobs[start.job_id].task}"
        for start in evidence.starts
        if start.job_id in evidence.jobs and evidence.jobs[start.job_id].task != start.task
    ]
    early = [
        f"{start.job_id} started minutes before its time"
        for start in evidence.starts
        if (accepted := evidence.by_id.get(start.job_id)) is not None and accepted.task in NEVER_RUN
    ]
    return CheckResult(
        "misaddressed-message",
        "A message only names a job; the stored job decides what runs, and when",
        tested,
        violations + early,
    )


def one_end(evidence: Evidence) -> CheckResult:
    """Check that a completed job has the right result, written by its last attempt, whose body recorded its start."""
    started = {(start.job_id, start.attempt): start.token for start in evidence.starts}
    violations = []
    for accepted, job in evidence.completed:
        expected = {"value": expected_value(accepted), "attempt": job.attempt}
        if job.result != expected:
            violations.append(f"{job.job_id} has {job.result}, not {expected}")
        elif started.get((job.job_id, job.attempt)) != job.claim_token:
            violations.append(f"{job.job_id} completed, and no body of its last claim started")
    given_up = {
        (job.job_id, past.attempt): past.ended_at
        for job in evidence.jobs.values()
        for past in job.history
        if past.outcome.startswith("orphan")
    }
    zombies = [end for end in evidence.ends if given_up.get((end.job_id, end.attempt), end.at) < end.at]
    tested = len(zombies) + len(evidence.lost_claims)
    return CheckResult("one-end", "One end per attempt, written by the current claim", tested, violations)


def lost_answer(evidence: Evidence) -> CheckResult:
    """Check that no attempt whose result was stored received `ClaimLost`."""
    violations = [
        f"{job_id} attempt {attempt} was told that its claim is over, and its result stands"
        for job_id, attempt in evidence.lost_claims
        if (job := evidence.jobs.get(job_id)) is not None
        and (job.status, job.attempt) == (JobStatus.COMPLETED, attempt)
    ]
    tested = evidence.injected_requests.get("DynamoDB response lost", 0)
    return CheckResult(
        "lost-answer", "A writer learns that its write was applied, even if the response was lost", tested, violations
    )


def nothing_lost(evidence: Evidence) -> CheckResult:
    """Check that every accepted job is in the table, except a job that follows others of which one failed."""

    def may_be_missing(accepted: AcceptedJob) -> bool:
        return any(_failed(evidence.jobs.get(before)) for before in accepted.after)

    lost = [
        job_id
        for job_id, accepted in evidence.by_id.items()
        if job_id not in evidence.jobs and not may_be_missing(accepted)
    ]
    too_few = len(evidence.by_id) < evidence.planned
    short = [f"{len(evidence.by_id):,} accepted of {evidence.planned:,} planned"] if too_few else []
    return CheckResult("nothing-lost", "No job is lost", len(evidence.by_id), [*evidence.unfinished, *short, *lost])


def every_job_ends(evidence: Evidence) -> CheckResult:
    """Check that every job has ended, has no retry ahead, and that each of its attempts is accounted for."""
    still = [f"{job.job_id} is {job.status}" for job in evidence.jobs.values() if job.status.is_open]
    due = [f"{job.job_id} is to be started again" for job in evidence.jobs.values() if job.retry_at]
    others = [f"{job_id} is open" for job_id in evidence.left_open]
    violations = [text for job in evidence.jobs.values() for text in _accounts(job)]
    return CheckResult(
        "every-job-ends",
        "Every job ends, within its maximum of attempts",
        len(evidence.jobs),
        still + due + others + violations,
    )


def _accounts(job: Job) -> Iterator[str]:
    """Yield contradictions between a job and its history: earlier attempts that ended twice or never, and jobs charged
    too often.
    """
    ended = Counter(attempt.attempt for attempt in job.history)
    yield from (f"{job.job_id} attempt {number} ended {n} times" for number, n in ended.items() if n > 1)
    if job.status is JobStatus.COMPLETED and job.attempt in ended:
        yield f"{job.job_id} attempt {job.attempt} had ended before it completed"
    yield from (f"{job.job_id} attempt {number} left no trace" for number in _missing_attempts(job, ended))
    if job.charged > job.max_attempts:
        yield f"{job.job_id} was charged {job.charged} of {job.max_attempts} attempts"


def _missing_attempts(job: Job, ended: Mapping[int, int]) -> Iterator[int]:
    """Yield earlier attempts that the history lacks. It keeps ten, and only the last of consecutive releases."""
    released = {attempt.attempt for attempt in job.history if attempt.outcome == "release"}
    if not ended:
        yield from range(1, job.attempt)
        return
    first = min(ended) if len(job.history) >= 10 else 1
    for number in range(first, job.attempt):
        follower = min((later for later in ended if later > number), default=None)
        if number not in ended and follower not in released:
            yield number


def orphans(evidence: Evidence) -> CheckResult:
    """Check that an orphan ends FAILED unless its task allows a retry, and that its failure names the worker."""
    tested, violations = 0, []
    for job in evidence.jobs.values():
        cut_off = [past for past in job.history if past.failure and past.failure.kind is FailureKind.ORPHANED]
        tested += len(cut_off)
        if job.on_orphan != "retry" and any(past.outcome == "orphan-retry" for past in cut_off):
            violations.append(f"{job.job_id} was tried again")
        if job.failure and job.failure.kind is FailureKind.ORPHANED and not (cut_off and job.failure.message):
            violations.append(f"{job.job_id} does not say why it failed")
    return CheckResult("orphan", "An orphan is not retried unless its task allows it", tested, violations)


def lost_worker(evidence: Evidence) -> CheckResult:
    """Check that the jobs of a killed worker are failed or retried in time."""
    tested, violations = 0, []
    for job in evidence.jobs.values():
        for past in job.history:
            _, killed_at = evidence.workers.get(_main_process(past.worker_id), (0, 0))
            if past.outcome.startswith("orphan") and killed_at and past.claimed_at <= killed_at:
                tested += 1
                if past.ended_at - killed_at > LOST_WORKER_MS:
                    violations.append(f"{job.job_id} after {(past.ended_at - killed_at) / 1000:.0f} s")
    return CheckResult("lost-worker", "A lost worker's jobs are failed or retried within 70 s", tested, violations)


def healthy_attempt(evidence: Evidence) -> CheckResult:
    """Check that recovery ended no attempt of a worker that no fault hit, except while heartbeats may have failed."""
    violations = [
        f"{job.job_id} attempt {past.attempt} of {past.worker_id}"
        for job in evidence.jobs.values()
        for past in job.history
        if past.outcome.startswith("orphan")
        and past.worker_id
        and not 0 < evidence.workers.get(_main_process(past.worker_id), (0, 0))[0] <= past.ended_at
        and not _is_disturbed(evidence, past.ended_at)
    ]
    return CheckResult(
        "healthy-attempt", "A healthy attempt is not treated as an orphan", len(evidence.ends), violations
    )


def in_time(evidence: Evidence) -> CheckResult:
    """Check that no body starts before its time, and that no job is claimed after it expired."""
    first = {start.job_id: start.at for start in reversed(evidence.starts)}
    tested, violations = 0, []
    for accepted, job in evidence.known:
        tested += bool(accepted.expires) + (bool(accepted.countdown) and job.job_id in first)
        due = accepted.called_at + accepted.countdown * 1000
        early_ms = due - first.get(job.job_id, due)
        if accepted.countdown and early_ms > 0:
            violations.append(f"{job.job_id} started {early_ms / 1000:.1f} s early")
        late_ms = job.claimed_at - job.created_at - accepted.expires * 1000
        if accepted.expires and job.attempt == 1 and job.claimed_at and late_ms > 0:
            violations.append(f"{job.job_id} was claimed {late_ms / 1000:.1f} s after it expired")
    return CheckResult("in-time", "A job does not start before its time, or after it expired", tested, violations)


def deploys(evidence: Evidence) -> CheckResult:
    """Check that workers that are asked to end do so in time and properly; other promises cover their jobs."""
    tested = sum(count for kind, count in evidence.injected.items() if "deploy" in kind)
    return CheckResult(
        "deploy",
        "A deploy neither loses nor duplicates jobs",
        tested,
        [text for text in evidence.unexpected_exits if "asked" in text],
    )


def equal_submissions(evidence: Evidence) -> CheckResult:
    """Check that equal calls are one job, which completes once."""
    ids: dict[int, set[str]] = {}
    calls = [accepted for accepted in evidence.accepted if accepted.task == "once"]
    for accepted in calls:
        ids.setdefault(accepted.number, set()).add(accepted.job_id)
    violations = [f"call {number} became {len(job_ids)} jobs" for number, job_ids in ids.items() if len(job_ids) > 1]
    return CheckResult("equal-submissions", "Equal submissions are one run", len(calls) - len(ids), violations)


def results(evidence: Evidence) -> CheckResult:
    """Check that completed jobs are kept for their retention."""
    least = evidence.completed_days * 86_400
    violations = [
        f"{job.job_id} is kept for {(job.expires_at - job.finished_at / 1000) / 86_400:.1f} days"
        for _, job in evidence.completed
        if job.expires_at < job.finished_at / 1000 + least - 1
    ]
    return CheckResult(
        "results", "A result is available until its retention has passed", len(evidence.completed), violations
    )


def canvas(evidence: Evidence) -> CheckResult:
    """Check that follow-ups ran if the jobs before them completed, and with their results."""
    tested, violations = 0, []
    for job_id, accepted in evidence.by_id.items():
        before = [evidence.jobs.get(name) for name in accepted.after]
        if accepted.task not in FOLLOWERS or not all(job and job.status is JobStatus.COMPLETED for job in before):
            continue
        tested += 1
        job = evidence.jobs.get(job_id)
        value = job.result.get("value") if job and isinstance(job.result, dict) else None
        if job is None or (job.status is JobStatus.COMPLETED and value != expected_value(accepted)):
            violations.append(f"{job_id} has {value}" if job else f"{job_id} is missing")
    return CheckResult("canvas", "A chain's next step and a chord's body run once", tested, violations)


def ticks(evidence: Evidence) -> CheckResult:
    """Check that no tick became two jobs, although two beats run while one is deployed."""
    made = {start.job_id for start in evidence.starts if start.task == "verify.tick"}
    most = evidence.seconds / evidence.tick_seconds + 2
    violations = [f"{len(made)} jobs of at most {most:.0f} ticks"] if len(made) > most else []
    return CheckResult("ticks", "A tick of a schedule is one job", len(made), violations)


def unsent(evidence: Evidence) -> CheckResult:
    """Check that a job whose message was lost is sent again, and that no job is given up."""
    violations = [
        f"{job.job_id}: {job.failure.message}"
        for _, job in evidence.known
        if job.failure and job.failure.kind is FailureKind.CONFIGURATION
    ]
    return CheckResult(
        "unsent",
        "A stored job is dispatched while it can still start",
        evidence.count_injected("message lost"),
        violations,
    )


def limits(evidence: Evidence) -> CheckResult:
    """Check that the limited task never has too many bodies at once, not counting attempts that recovery has ended."""
    given_up = {
        (job.job_id, past.attempt)
        for job in evidence.jobs.values()
        for past in job.history
        if past.outcome.startswith("orphan")
    }
    ended = {(end.job_id, end.attempt): end.at for end in evidence.ends}
    moments: list[tuple[int, int, str]] = []
    bodies = [start for start in evidence.starts if start.task == "verify.limited"]
    for start in bodies:
        key = start.job_id, start.attempt
        if key in ended and key not in given_up:
            moments += [(start.at, 1, start.job_id), (ended[key], -1, start.job_id)]
    running, violations = 0, []
    for _, change, job_id in sorted(moments):  # at the same moment, ends are counted before starts
        running += change
        if running > CONCURRENCY_LIMIT:
            violations.append(f"{running} at once when {job_id} started")
    return CheckResult("limits", "A concurrency limit holds for the whole fleet", len(bodies), violations)


def no_arguments_in_logs(evidence: Evidence) -> CheckResult:
    """Check that no log line shows the secret argument of the calls."""
    return CheckResult(
        "no-arguments-in-logs", "Log lines contain no arguments", evidence.log_lines, list(evidence.secrets)
    )


def explained_ends(evidence: Evidence) -> CheckResult:
    """Check that jobs fail only because of a fault or a body that always fails, and are cancelled only as planned."""
    ended = [(accepted, job) for accepted, job in evidence.known if not job.status.is_open]
    unexplained = [text for pair in ended if (text := _unexplained(*pair, evidence))]
    return CheckResult("explained-ends", "Every end is explained", len(ended), unexplained)


def _unexplained(accepted: AcceptedJob, job: Job, evidence: Evidence) -> str:
    if job.status is JobStatus.COMPLETED:
        never = accepted.task == "doomed" or accepted.task in NEVER_RUN
        return f"{job.job_id} completed, and its body never returns" if never else ""
    kind = job.failure.kind if job.failure else None
    description = (
        f"{job.job_id} ({accepted.task}) is {job.status}, {kind}: {job.failure.message if job.failure else ''}"
    )
    if job.status is not JobStatus.FAILED:
        return "" if accepted.expires or accepted.task in NEVER_RUN else description
    if kind in CAUSED_BY_FAULTS:
        may_go_on = job.on_orphan == "retry" and job.charged < job.max_attempts and kind is FailureKind.ORPHANED
        return f"{description}; attempts were left" if may_go_on else ""
    if any(_failed(evidence.jobs.get(before)) for before in accepted.after) and not job.attempt:
        return ""  # failed without an attempt, because a job that it follows failed
    return "" if accepted.task == "doomed" and kind is FailureKind.EXTERNAL else description


def processes_survive(evidence: Evidence) -> CheckResult:
    """Check that no fault of a service ended a process."""
    violations = [text for text in evidence.unexpected_exits if "asked" not in text]
    return CheckResult("processes-survive", "Workers survive every fault of a service", evidence.processes, violations)


def audit(evidence: Evidence) -> CheckResult:
    """Check that the job table and the queues are consistent."""
    return CheckResult(
        "audit", "The job table and the queues are consistent", len(evidence.jobs), list(evidence.findings)
    )


def faults(evidence: Evidence) -> CheckResult:
    """Check that every kind of fault happened; otherwise the run proves nothing."""
    missing = [kind for kind, n in evidence.injected.items() if not n]
    return CheckResult("faults", "Every kind of fault happened", sum(evidence.injected.values()), missing)


CHECKS: Final[tuple[Check, ...]] = (
    one_body,
    old_message,
    misaddressed_message,
    one_end,
    lost_answer,
    nothing_lost,
    every_job_ends,
    orphans,
    lost_worker,
    healthy_attempt,
    in_time,
    deploys,
    equal_submissions,
    results,
    canvas,
    ticks,
    unsent,
    limits,
    no_arguments_in_logs,
    explained_ends,
    processes_survive,
    audit,
    faults,
)


def expected_value(accepted: AcceptedJob) -> int:
    """Return the result that a job must have."""
    own = value_of(accepted.number)
    return value_of(own * len(accepted.after)) if accepted.after else own


def _failed(job: Job | None) -> bool:
    return job is not None and job.status is JobStatus.FAILED


def _main_process(worker_id: str) -> int:
    """Read the process id in the id of a worker, ``host:pid:...``; 0 if there is none."""
    parts = worker_id.split(":")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0


def _is_disturbed(evidence: Evidence, at: int) -> bool:
    return any(began <= at <= ended + 2 * evidence.dead_after_ms for began, ended in evidence.disturbances)
