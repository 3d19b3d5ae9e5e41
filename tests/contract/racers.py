"""Processes that race to claim the same jobs; imported by each of them."""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess
from typing import Any

from jobclaim.jobs import JobRepo
from jobclaim.settings import Settings

BARRIER_SECONDS = 90.0


def race(settings: Settings, job_ids: list[str], celery_task_id: str, barrier: Any, results: Any) -> None:
    """Claim job after job, each at the same moment as all the other racers; report the claims that were granted."""
    repo = JobRepo.from_settings(settings)
    repo.table.get(job_ids[0])  # the connection is open before the start
    won = []
    for job_id in job_ids:
        barrier.wait(BARRIER_SECONDS)
        job = repo.claim_job(job_id, celery_task_id=celery_task_id)
        won += [(job.job_id, job.claim_token)] if job else []
    results.put(won)


def run_race(settings: Settings, job_ids: list[str], racers: int, seconds: float) -> list[list[tuple[str, str]]]:
    """Let fresh processes race; give what each of them won. They are ended by their handles whatever happens."""
    context = multiprocessing.get_context("forkserver")  # imports once what all of them need
    context.set_forkserver_preload([__name__])
    barrier, results = context.Barrier(racers), context.Queue()
    processes: list[BaseProcess] = [
        context.Process(target=race, args=(settings, job_ids, "the-same-delivery", barrier, results), daemon=True)
        for _ in range(racers)
    ]
    try:
        for process in processes:
            process.start()
        return [results.get(timeout=seconds) for _ in processes]
    finally:
        for process in processes:
            process.join(30)
            if process.is_alive():
                process.kill()
                process.join()
