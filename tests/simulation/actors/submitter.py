"""Submitters: a job at some time, again where no answer came, and now and then an equal one."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from jobclaim.jobs import AlreadySubmitted, IdempotencyMismatch, Job, JobRepo, StoreUnavailable
from tests.simulation.actors.stage import KEYS, Stage
from tests.simulation.judge.effects import of_submission, once
from tests.simulation.line import Process
from tests.simulation.queues import TASK
from tests.simulation.scenario import FAULTY_MS


def submit(stage: Stage, process: Process) -> None:
    """Submit one job at some time, again where no answer came, and now and then an equal one."""
    random = process.random
    process.pause(random.randrange(FAULTY_MS // 2))
    options = _options(stage, process)
    named = random.random() < 0.7
    for _ in range(random.choice((1, 1, 2, 3))):
        ahead = random.choice((0, 0, 0, 10_000, 950_000 if stage.scenario.far else 30_000))
        times = {"available_at": process.clock() + ahead} if ahead else {}
        if not ahead and random.random() < 0.2:
            times = {"start_by": process.clock() + random.choice((500, 4_000, 20_000))}
        make = _made_with_effects if stage.oracle.with_effects else _made
        job = _submitted(process.repo(), {**options, **times}, make)
        if job is not None:
            stage.oracle.submitted(job)
            stage.job_ids.append(job.job_id)
            process.note(f"{job.job_id[:12]}: {'submitted' if job.created else 'is there already'}")
            if job.created:
                stage.publish(process, job, named=named)
        process.pause(random.randrange(FAULTY_MS // 3))


def _options(stage: Stage, process: Process) -> dict[str, object]:
    random = process.random
    options: dict[str, object] = {
        "max_attempts": 1 if stage.scenario.theme == "letters" else random.choice((1, 2, 3)),
        "on_orphan": random.choice(("fail", "retry", "retry")),
        "idempotency_key" if random.random() < 0.5 else "job_id": random.choice(KEYS),
    }
    if stage.scenario.dense:
        options = {**options, "idempotency_key": KEYS[0]}
        options.pop("job_id", None)
    if "job_id" in options:
        options["job_id"] = process.name
    queues = list(stage.queues)
    if len(queues) > 1:
        options["queue"] = queues[crc32(str(options).encode()) % len(queues)]
    if stage.scenario.dimensions & {"large", "beside"}:
        options["payload"] = stage.oracle.payload_of(str(options.get("job_id", options.get("idempotency_key"))))
    return options


def _made(repo: JobRepo, options: dict[str, object]) -> Job:
    return repo.create_job(TASK, **options)  # type: ignore[arg-type]


def _made_with_effects(repo: JobRepo, options: dict[str, object]) -> Job:
    with repo.transaction() as tx:
        job = tx.create_job(TASK, **options)
        tx.update(**once(of_submission(job.job_id)))
    return tx.written[job.job_id]


def _submitted(
    repo: JobRepo, options: dict[str, object], make: Callable[[JobRepo, dict[str, object]], Job]
) -> Job | None:
    for _ in range(2):
        try:
            return make(repo, options)
        except AlreadySubmitted as same:
            existing: Job = same.jobs[0]
            return existing
        except StoreUnavailable:
            continue
        except IdempotencyMismatch:  # a person has recorded a result, of work without arguments, under the key
            return None
    return None
