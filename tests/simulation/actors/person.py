"""People: what they decide about a job that they have looked at."""

from __future__ import annotations

from typing import Final

from jobclaim.fleet.workers import FleetRecords
from jobclaim.jobs import Job, JobError, JobRepo
from jobclaim.jobs.idempotency import IdempotencyService, store_result
from jobclaim.jobs.model import DeadState
from jobclaim.recovery import dead
from jobclaim.workers.cancel import cancel
from tests.simulation.actors.stage import KEYS, Stage
from tests.simulation.line import Process
from tests.simulation.queues import TASK
from tests.simulation.scenario import CROWDED, FAULTY_MS


def meddle(stage: Stage, process: Process) -> None:
    """Do what people do, a few times, while there are faults."""
    crowded = stage.scenario.theme in CROWDED
    for _ in range(process.random.randint(1, 12 if crowded else 5)):
        process.pause(process.random.randrange(FAULTY_MS // (8 if crowded else 3)))
        if process.shared.world.calm:
            return
        try:
            repo = process.repo()
            job = repo.get_job(_chosen(stage, process))
            if "cancels" in stage.scenario.dimensions and process.random.random() < 0.5:
                _insist_on_cancel(stage, process, repo, job)
                continue
            acts = (LETTER_ACTS if stage.scenario.theme == "letters" else ACTS).get(str(job.status))
            if acts:
                process.random.choice(acts)(stage, process, repo, job)
        except JobError as error:
            process.note(f"in vain: {type(error).__name__}")


def _insist_on_cancel(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    answer = cancel(repo, job.job_id, send=lambda told: stage.publish(process, told))
    process.note(f"{job.job_id[:12]}: {answer}")
    stage.oracle.answered(process, job, str(answer))


def _key(stage: Stage, process: Process) -> str:
    return process.random.choice(KEYS[:1] if stage.scenario.dense else KEYS)


def _chosen(stage: Stage, process: Process) -> str:
    return process.random.choice(stage.job_ids or ["nothing"])


def _cancel(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    repo.cancel_job(job.job_id)


def _retry(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    stage.publish(process, repo.retry_job(job.job_id))


def _settle(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    if job.dead_state in (DeadState.WAITING, DeadState.SCHEDULED):
        dead.settle(repo, job, process.random.choice(("resolve", "abandon")), by=process.name)


def _start_again(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    after = dead.retry(repo, job, by=process.name)
    if after is not None:
        stage.publish(process, after)


def _clear(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    IdempotencyService(repo).clear_idempotency_key(TASK, _key(stage, process))


def _record(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    store_result(repo, TASK, _key(stage, process), process.name)


def _ask_to_cancel(stage: Stage, process: Process, repo: JobRepo, job: Job) -> None:
    if job.worker_id:
        FleetRecords.of(repo).ask(job.worker_id, job.job_id, "cancel")


ACTS: Final = {
    "PENDING": (_cancel, _record, _record),
    "PROCESSING": (_ask_to_cancel, _retry),
    "COMPLETED": (_clear, _record),
    "FAILED": (_retry, _start_again, _settle, _settle, _record),
    "CANCELLED": (_record, _retry),
}
LETTER_ACTS: Final = {"FAILED": (_retry, _start_again, _settle, _settle), "COMPLETED": (_clear,)}
