"""One run: processes, submitters and strikes; then the drain, the probes, the evidence and the verdict."""

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
from jobclaim.verify import durable, probes, weather
from jobclaim.verify import evidence as records
from jobclaim.verify.busy import Busy
from jobclaim.verify.crew import Crew
from jobclaim.verify.faults import ANSWER_LOST, ASTRAY, COPIED, EARLY, MISADDRESSED, OLD
from jobclaim.verify.monkey import Monkey
from jobclaim.verify.plan import Plan, Scale
from jobclaim.verify.promises import NEVER, Evidence, Promise, Rule
from jobclaim.verify.report import Figures
from jobclaim.verify.stage import TICK_SECONDS, Stage
from jobclaim.verify.submitters import Submitters

SUBMIT_LATE_SECONDS: Final = 120.0
"""How long no call may be accepted, once the faults are over, before submitters are given up."""
LOOK_SECONDS: Final = 0.5
READERS: Final = 4
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cast:
    """The actors of a run."""

    app: Any
    crew: Crew
    monkey: Monkey
    submitters: Submitters
    secret: str


def run(stage: Stage, plan: Plan, seconds: float, scale: Scale, say: Say) -> tuple[Evidence, Figures]:
    """Carry out a plan, and return the evidence to judge."""
    say("starting workers, recovery and beat")
    empty = probes.reads_of_a_pass(stage, "recover-empty")
    began = time.monotonic()
    zombies = probes.Zombies(partial(JobRepo.from_settings, stage.direct.settings))
    cast = _cast(stage, plan, scale)
    cast.submitters.start()
    cast.monkey.run(plan.strikes, seconds, _progress(say, cast, seconds), Event())
    calm = time.monotonic()
    say("faults are over, draining")
    accepted = cast.submitters.join(SUBMIT_LATE_SECONDS)
    unfinished = [] if accepted else [*cast.submitters.broken, "submitters did not come to their end"]
    acted = [*_probe(stage, cast, scale, say), *zombies.rise(scale.drain)]
    jobs = drain(stage.direct, cast.submitters.promises, scale.drain, cast.crew.replace_the_dead)
    drained_in = time.monotonic() - calm
    cast.crew.stop_all()
    cast.app.jobclaim.flush()  # while the endpoints still answer
    beats_for = time.monotonic() - began
    say("everything has ended, looking at what is left")
    acted.append(probes.pass_costs(empty, probes.reads_of_a_pass(stage, "recover-full"), len(jobs)))
    logs = records.read_logs((member.process.log_path for member in cast.crew.members), cast.secret)
    found = Evidence(
        planned=plan.jobs,
        promises=list(cast.submitters.promises),
        jobs=jobs,
        starts=records.bodies(stage.evidence, "start"),
        ends=records.bodies(stage.evidence, "end"),
        unfinished=unfinished,
        died=cast.crew.died,
        findings=_reconciled(stage),
        left_open=[job.job_id for job in _open_jobs(stage.direct)],
        processes=len(cast.crew.members),
        struck={str(strike.kind): cast.monkey.struck[strike.kind] for strike in plan.strikes},
        hits=_named(stage.table.failed, stage.queue.failed),
        workers={
            member.process.pid: (member.struck_at, member.killed_at)
            for member in cast.crew.members
            if member.struck_at or member.killed_at
        },
        trouble=cast.monkey.trouble,
        lost_claims=logs.lost_claims,
        log_lines=logs.lines,
        secrets=logs.secrets,
        seconds=beats_for,
        tick_seconds=TICK_SECONDS,
        dead_after_ms=1000 * scale.dead_after,
        completed_days=stage.settings.completed_retention_days,
        probes=acted,
    )
    figures = Figures(
        plan.seed,
        seconds / 60,
        drained_in,
        missed=cast.monkey.missed.total(),
        hits=found.hits,
        told=logs.told | {"calls refused and made again": cast.submitters.refused},
        requests=_named(stage.table.requests, stage.queue.requests),
    )
    return found, figures


def _cast(stage: Stage, plan: Plan, scale: Scale) -> Cast:
    """Start all processes while nothing fails, then begin to inject faults."""
    crew = Crew(stage, scale)
    app = Celery("jobclaim-verify", set_as_current=False)
    jobclaim.install(app, stage.settings)
    app.loader.import_default_modules()
    crew.start_all()
    skies = (
        weather.Weather(plan.seed, weather.of([ANSWER_LOST])),
        weather.Weather(~plan.seed, weather.of([COPIED, ASTRAY, ANSWER_LOST, OLD, MISADDRESSED, EARLY])),
    )
    stage.table.weather, stage.queue.weather = skies
    monkey = Monkey(crew, stage.table, stage.queue, skies, Busy(stage.direct, stage.evidence))
    secret = f"secret{plan.seed}argument"
    return Cast(app, crew, monkey, Submitters(app, plan.calls, f"c{plan.seed}", secret), secret)


def _probe(stage: Stage, cast: Cast, scale: Scale, say: Say) -> list[Rule]:
    """Run the probes that need live workers and no faults."""
    say("acting in calm: bad input, decisions, costs, durable work, cancels, a kill")
    again = partial(JobRepo.from_settings, stage.direct.settings)
    waiting = [promise.job_id for promise in cast.submitters.promises if promise.task in NEVER]
    return [
        probes.bad_input(stage.direct),
        probes.decisions(again),
        probes.costs(stage),
        *durable.durable(stage, cast.app),
        durable.transactions(stage, again),
        probes.cancelling(stage, cast.app, waiting, scale.hard_limit - 2),
        probes.lost_worker(stage, cast.app, cast.crew, scale.hard_limit - 2),
    ]


def drain(
    repo: JobRepo, promises: Sequence[Promise], timeout: float, each_look: Callable[[], object]
) -> dict[str, Job]:
    """Wait until all jobs have ended and none has a retry ahead, or until the time is up; return all jobs."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not _open_jobs(repo) and not _due_again(repo):
            found = _read(repo, promises)
            if not any(job.status.is_open or job.retry_at for job in found.values()):
                return found
        each_look()
        time.sleep(LOOK_SECONDS)
    return _read(repo, promises)


def _read(repo: JobRepo, promises: Sequence[Promise]) -> dict[str, Job]:
    def one(job_id: str) -> Job | None:
        try:
            return repo.get_job(job_id)
        except JobNotFound:
            return None

    ids = list(dict.fromkeys(promise.job_id for promise in promises))
    with ThreadPoolExecutor(READERS) as threads:
        return {job.job_id: job for job in threads.map(one, ids) if job is not None}


def _open_jobs(repo: JobRepo) -> list[Job]:
    """List the open jobs except ticks, which never stop coming. A chord is open as a job of its own."""
    found = [job for status in JobStatus if status.is_open for job in repo.list_jobs(status, limit=100).jobs]
    return [job for job in found if job.task != "verify.tick"]


def _due_again(repo: JobRepo) -> bool:
    cursor = None
    while True:
        page = repo.list_jobs(JobStatus.FAILED, limit=200, cursor=cursor)
        if any(job.retry_at for job in page.jobs):
            return True
        if page.cursor is None:
            return False
        cursor = page.cursor


def _reconciled(stage: Stage) -> list[str]:
    status, output = stage.jobclaim("audit", "audit", "--reconcile")
    return [] if status == 0 else [f"exit {status}: {output[-500:]}"]


def _progress(say: Say, cast: Cast, seconds: float) -> Callable[[float], None]:
    told = [0.0]

    def tell(now: float) -> None:
        if now - told[0] >= 30:
            told[0] = now
            accepted, strikes = len(cast.submitters.promises), cast.monkey.struck.total()
            say(f"{now:.0f} of {seconds:.0f} s: {accepted:,} accepted, {strikes} strikes")

    return tell


def _named(table: Counter[str], queue: Counter[str]) -> dict[str, int]:
    return {f"DynamoDB {name}": count for name, count in table.items()} | {
        f"SQS {name}": count for name, count in queue.items()
    }
