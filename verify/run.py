"""One run: processes, submitters and faults; then the drain, the probes, the evidence and the verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, Final

from celery import Celery

import jobclaim
from jobclaim import Job, JobNotFound, JobRepo, JobStatus
from jobclaim.verify import durable, injector, probes
from jobclaim.verify import evidence as records
from jobclaim.verify.busy_processes import BusyProcesses
from jobclaim.verify.checks import NEVER_RUN, AcceptedJob, CheckResult, Evidence
from jobclaim.verify.deployment import TICK_SECONDS, Deployment
from jobclaim.verify.faults import (
    MESSAGE_COPIED,
    MESSAGE_EARLY,
    MESSAGE_LOST,
    MESSAGE_MISADDRESSED,
    MESSAGE_REPLAYED,
    RESPONSE_LOST,
)
from jobclaim.verify.fleet import ProcessFleet
from jobclaim.verify.plan import Plan, Scale
from jobclaim.verify.report import Figures
from jobclaim.verify.scheduler import FaultScheduler
from jobclaim.verify.submitters import Submitters

SUBMIT_TIMEOUT_SECONDS: Final = 120.0
"""How long no call may be accepted, once the faults are over, before submitters are given up."""
POLL_SECONDS: Final = 0.5
READERS: Final = 4
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunContext:
    """The parts of a run."""

    app: Any
    fleet: ProcessFleet
    scheduler: FaultScheduler
    submitters: Submitters
    secret: str


def run(deployment: Deployment, plan: Plan, seconds: float, scale: Scale, notify: Notify) -> tuple[Evidence, Figures]:
    """Carry out a plan, and return the evidence to judge."""
    notify("starting workers, recovery and beat")
    reads_when_empty = probes.reads_of_a_pass(deployment, "recover-empty")
    began = time.monotonic()
    zombies = probes.Zombies(partial(JobRepo.from_settings, deployment.direct.settings))
    context = _start(deployment, plan, scale)
    with context.submitters:
        context.scheduler.run(plan.schedule, seconds, _progress(notify, context, seconds), Event())
        faults_ended_at = time.monotonic()
        notify("faults are over, draining")
        accepted = context.submitters.join(SUBMIT_TIMEOUT_SECONDS)
    unfinished = [] if accepted else [*context.submitters.errors, "submitters did not come to their end"]
    probe_results = [*_run_probes(deployment, context, scale, notify), *zombies.complete(scale.drain)]
    jobs = drain(deployment.direct, context.submitters.accepted, scale.drain, context.fleet.replace_ended)
    drained_in = time.monotonic() - faults_ended_at
    context.fleet.stop_all()
    context.app.jobclaim.flush()  # while the endpoints still answer
    schedule_seconds = time.monotonic() - began
    notify("everything has ended, looking at what is left")
    probe_results.append(
        probes.pass_costs(reads_when_empty, probes.reads_of_a_pass(deployment, "recover-full"), len(jobs))
    )
    logs = records.read_logs((member.process.log_path for member in context.fleet.members), context.secret)
    evidence = Evidence(
        planned=plan.jobs,
        accepted=list(context.submitters.accepted),
        jobs=jobs,
        starts=records.bodies(deployment.evidence, "start"),
        ends=records.bodies(deployment.evidence, "end"),
        unfinished=unfinished,
        unexpected_exits=context.fleet.unexpected_exits,
        findings=_audit_findings(deployment),
        left_open=[job.job_id for job in _open_jobs(deployment.direct)],
        processes=len(context.fleet.members),
        injected={str(scheduled.kind): context.scheduler.injected[scheduled.kind] for scheduled in plan.schedule},
        injected_requests=_by_service(deployment.table.failed, deployment.queue.failed),
        workers={
            member.process.pid: (member.first_fault_at, member.killed_at)
            for member in context.fleet.members
            if member.first_fault_at or member.killed_at
        },
        disturbances=context.scheduler.disturbances,
        lost_claims=logs.lost_claims,
        log_lines=logs.lines,
        secrets=logs.secrets,
        seconds=schedule_seconds,
        tick_seconds=TICK_SECONDS,
        dead_after_ms=1000 * scale.dead_after,
        completed_days=deployment.settings.completed_retention_days,
        probes=probe_results,
    )
    figures = Figures(
        plan.seed,
        seconds / 60,
        drained_in,
        without_target=context.scheduler.without_target.total(),
        injected_requests=evidence.injected_requests,
        event_counts=logs.event_counts | {"calls refused and repeated": context.submitters.refused},
        requests=_by_service(deployment.table.requests, deployment.queue.requests),
    )
    return evidence, figures


def _start(deployment: Deployment, plan: Plan, scale: Scale) -> RunContext:
    """Start all processes while nothing fails, then begin to inject faults."""
    fleet = ProcessFleet(deployment, scale)
    app = Celery("jobclaim-verify", set_as_current=False)
    jobclaim.install(app, deployment.settings)
    app.loader.import_default_modules()
    fleet.start_all()
    injectors = (
        injector.FaultInjector(plan.seed, injector.background_shares([RESPONSE_LOST])),
        injector.FaultInjector(
            ~plan.seed,
            injector.background_shares(
                [MESSAGE_COPIED, MESSAGE_LOST, RESPONSE_LOST, MESSAGE_REPLAYED, MESSAGE_MISADDRESSED, MESSAGE_EARLY]
            ),
        ),
    )
    deployment.table.choose_fault, deployment.queue.choose_fault = injectors
    scheduler = FaultScheduler(
        fleet, deployment.table, deployment.queue, injectors, BusyProcesses(deployment.direct, deployment.evidence)
    )
    secret = f"secret{plan.seed}argument"
    return RunContext(app, fleet, scheduler, Submitters(app, plan.calls, f"c{plan.seed}", secret), secret)


def _run_probes(deployment: Deployment, context: RunContext, scale: Scale, notify: Notify) -> list[CheckResult]:
    """Run the probes that need live workers and no faults."""
    notify("faults are off: bad input, decisions, costs, durable work, cancels, a kill")
    make_repo = partial(JobRepo.from_settings, deployment.direct.settings)
    waiting = [accepted.job_id for accepted in context.submitters.accepted if accepted.task in NEVER_RUN]
    return [
        probes.bad_input(deployment.direct),
        probes.decisions(make_repo),
        probes.costs(deployment),
        *durable.durable(deployment, context.app),
        durable.transactions(deployment, make_repo),
        probes.cancel(deployment, context.app, waiting, scale.hard_limit - 2),
        probes.lost_worker(deployment, context.app, context.fleet, scale.hard_limit - 2),
    ]


def drain(
    repo: JobRepo, accepted: Sequence[AcceptedJob], timeout: float, on_poll: Callable[[], object]
) -> dict[str, Job]:
    """Wait until all jobs have ended and none has a retry ahead, or until the time is up; return all jobs."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not _open_jobs(repo) and not _has_scheduled_retry(repo):
            jobs = _read(repo, accepted)
            if not any(job.status.is_open or job.retry_at for job in jobs.values()):
                return jobs
        on_poll()
        time.sleep(POLL_SECONDS)
    return _read(repo, accepted)


def _read(repo: JobRepo, accepted: Sequence[AcceptedJob]) -> dict[str, Job]:
    def get_job(job_id: str) -> Job | None:
        try:
            return repo.get_job(job_id)
        except JobNotFound:
            return None

    ids = list(dict.fromkeys(one.job_id for one in accepted))
    with ThreadPoolExecutor(READERS) as threads:
        return {job.job_id: job for job in threads.map(get_job, ids) if job is not None}


def _open_jobs(repo: JobRepo) -> list[Job]:
    """List the open jobs except ticks, which never stop coming. A chord is open as a job of its own."""
    jobs = [job for status in JobStatus if status.is_open for job in repo.list_jobs(status, limit=100).jobs]
    return [job for job in jobs if job.task != "verify.tick"]


def _has_scheduled_retry(repo: JobRepo) -> bool:
    cursor = None
    while True:
        page = repo.list_jobs(JobStatus.FAILED, limit=200, cursor=cursor)
        if any(job.retry_at for job in page.jobs):
            return True
        if page.cursor is None:
            return False
        cursor = page.cursor


def _audit_findings(deployment: Deployment) -> list[str]:
    status, output = deployment.jobclaim("audit", "audit", "--reconcile")
    return [] if status == 0 else [f"exit {status}: {output[-500:]}"]


def _progress(notify: Notify, context: RunContext, seconds: float) -> Callable[[float], None]:
    reported_at = [0.0]

    def report(now: float) -> None:
        if now - reported_at[0] >= 30:
            reported_at[0] = now
            accepted, faults = len(context.submitters.accepted), context.scheduler.injected.total()
            notify(f"{now:.0f} of {seconds:.0f} s: {accepted:,} accepted, {faults} faults")

    return report


def _by_service(table: Counter[str], queue: Counter[str]) -> dict[str, int]:
    return {f"DynamoDB {name}": count for name, count in table.items()} | {
        f"SQS {name}": count for name, count in queue.items()
    }
