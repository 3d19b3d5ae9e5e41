"""Promises that are tested after the faults have stopped, by an action and a check of its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final

from jobclaim import ClaimLost, IllegalTransition, InvalidInput, JobError, JobNotFound, JobRepo, JobStatus
from jobclaim.verify.crew import Crew
from jobclaim.verify.promises import LOST_WORKER_MS, PROBED, Rule
from jobclaim.verify.proxy import FaultyProxy, proxied
from jobclaim.verify.stage import Stage
from jobclaim.verify.waiting import wait_until

ROUNDS: Final = 10
CANCEL_SECONDS: Final = 15.0
REQUESTS: Final = {"PutItem": 1, "UpdateItem": 2}
"""Of a job's whole life: submitted, claimed, completed."""
READS: Final = ("Query", "BatchGetItem", "Scan")

BAD: Final[dict[str, dict[str, Any]]] = {
    "an empty task": {"task": ""},
    "a payload that JSON does not know": {"payload": {"when": object()}},
    "a payload that is too large": {"payload": "x" * 300_000},
    "a queue that is not configured": {"queue": "nowhere"},
    "no attempt at all": {"max_attempts": 0},
    "a time without a zone": {"available_at": datetime(2030, 1, 1)},  # noqa: DTZ001 - that is what must be refused
    "an unknown word": {"on_orphan": "maybe"},
}


def bad_input(repo: JobRepo) -> Rule:
    """Submit invalid jobs: each must be refused, and nothing written."""
    offenders = []
    for n, (what, asked) in enumerate(BAD.items()):
        job_id = f"bad-{n}"
        try:
            repo.create_job(**{"task": "verify.quick", "queue": "default", "job_id": job_id, **asked})
            offenders.append(f"{what} was accepted")
        except InvalidInput:
            if _exists(repo, job_id):
                offenders.append(f"{what} was refused and written")
    return _rule("bad-input", len(BAD), offenders)


def decisions(make: Callable[[], JobRepo]) -> Rule:
    """Let two people retry the same failed job at once: exactly one must succeed."""
    offenders = []
    for n in range(ROUNDS):
        owner, job_id = make(), f"decide-{n}"
        owner.create_job("verify.nobody", None, job_id=job_id, queue="default")
        owner.claim_job(job_id)
        owner.update_status(job_id, "FAILED", error="to be decided on")
        done = _at_once([make(), make()], partial(_retry, job_id))
        if done != 1:
            offenders.append(f"{done} of two retries of one failure were accepted")
        owner.cancel_job(job_id)
    return _rule("decisions", ROUNDS, offenders)


def cancelling(stage: Stage, app: Any, waiting: list[str], seconds: float) -> Rule:
    """Cancel jobs that are due far in the future, and a running one: none may complete.

    Parameters
    ----------
    waiting : list of str
        Jobs that are due long after the run.
    seconds : float
        Duration of the body that is cancelled while it runs.
    """
    left = [job_id for job_id in waiting if not _cancelled(stage, job_id)]
    offenders = [f"{job_id} was not cancelled" for job_id in left]
    job_id = app.tasks["verify.slow"].apply_async(kwargs={"number": 1, "seconds": seconds}).id
    try:
        wait_until(lambda: _status(stage, job_id) is JobStatus.PROCESSING, 30, "the job to be cancelled runs")
        app.control.revoke(job_id, terminate=True)
        wait_until(lambda: not _status(stage, job_id).is_open, CANCEL_SECONDS, "it is stopped")
    except TimeoutError as error:
        offenders.append(f"{job_id}: {error}")
    if (status := _status(stage, job_id)) is not JobStatus.CANCELLED:
        offenders.append(f"{job_id} ran, was to be cancelled, and is {status}")
    return _rule("cancel", len(waiting) + 1, offenders)


def _cancelled(stage: Stage, job_id: str) -> bool:
    try:
        return stage.direct.cancel_job(job_id).status is JobStatus.CANCELLED
    except IllegalTransition:
        return False


def lost_worker(stage: Stage, app: Any, crew: Crew, seconds: float) -> Rule:
    """Kill the worker that runs a job: another attempt must follow in time."""
    job_id = app.tasks["verify.slow"].apply_async(kwargs={"number": 1, "seconds": seconds}).id
    try:
        wait_until(
            lambda: _status(stage, job_id) is JobStatus.PROCESSING, 30, "the job of the worker to be killed runs"
        )
        holder = int(stage.direct.get_job(job_id).worker_id.split(":")[1])
        crew.kill(next(member for member in crew.members if member.process.pid == holder))
        wait_until(lambda: bool(stage.direct.get_job(job_id).history), LOST_WORKER_MS / 1000, "its attempt is given up")
    except TimeoutError as error:
        return Rule("lost-worker", "", 1, [f"{job_id}: {error}"])
    return Rule("lost-worker", "", 1, [])


class Zombies:
    """Claims whose owner is silent until recovery has ended them, and then tries to complete them.

    Outside a worker only the lease bounds a claim, so no process has to be frozen at the right moment.
    """

    def __init__(self, make: Callable[[], JobRepo]) -> None:
        self._owner = make()
        self._ids = [f"zombie-{n}" for n in range(ROUNDS)]
        for job_id in self._ids:
            self._owner.create_job("verify.nobody", None, job_id=job_id, queue="default")
            self._owner.claim_job(job_id)

    def _await_end(self, job_id: str, patience: float) -> None:
        wait_until(lambda: not self._owner.get_job(job_id).status.is_open, patience, f"{job_id} is given up")

    def rise(self, patience: float) -> list[Rule]:
        """Wait until recovery has ended all of them, then try to complete each: it must be refused, and change
        nothing.
        """
        offenders = []
        for job_id in self._ids:
            try:
                self._await_end(job_id, patience)
                self._owner.update_status(job_id, "COMPLETED", result="too late")
                offenders.append(f"{job_id} completed after it was given up")
            except ClaimLost:
                if self._owner.get_job(job_id).status is not JobStatus.FAILED:
                    offenders.append(f"{job_id} is not as recovery left it")
            except TimeoutError as error:
                offenders.append(f"{job_id}: {error}")
        return [Rule("one-end", "", ROUNDS, offenders), Rule("orphan", "", ROUNDS, [])]


def costs(stage: Stage) -> Rule:
    """Count the requests of jobs that are submitted, claimed and completed, through a separate proxy."""
    settings = stage.direct.settings
    with proxied(str(settings.dynamodb_endpoint_url)) as (proxy, url):
        repo = JobRepo.from_settings(settings.model_copy(update={"dynamodb_endpoint_url": url}))
        for n in range(ROUNDS):
            job_id = f"cost-{n}"
            repo.create_job("verify.nobody", {"n": n}, job_id=job_id, queue="default")
            repo.claim_job(job_id)
            repo.update_status(job_id, "COMPLETED", result=n)
        made = _requests(proxy, settings.job_table)
    expected = {name: count * ROUNDS for name, count in REQUESTS.items()}
    offenders = [] if made == expected else [f"{ROUNDS} jobs took {made}, not {expected}"]
    return _rule("costs", ROUNDS, offenders)


def reads_of_a_pass(stage: Stage, name: str) -> int:
    """Count the reads of the job table that one pass of recovery makes."""
    before = _requests(stage.table, stage.settings.job_table)
    stage.jobclaim(name, "recover")
    after = _requests(stage.table, stage.settings.job_table)
    return sum(after.get(operation, 0) - before.get(operation, 0) for operation in READS)


def pass_costs(empty: int, after: int, finished: int) -> Rule:
    """Compare a pass over the empty table with one over a table of finished jobs."""
    offenders = [f"{after} reads with {finished:,} finished jobs, {empty} without"] if after > empty else []
    return _rule("pass-costs", finished if empty else 0, offenders)


def _retry(job_id: str, repo: JobRepo) -> Any:
    return repo.retry_job(job_id)


def _rule(code: str, tries: int, offenders: list[str]) -> Rule:
    return Rule(code, PROBED[code], tries, offenders)


def _at_once(repos: list[JobRepo], act: Callable[[JobRepo], Any]) -> int:
    """Let all repos act at the same time; return how many succeeded."""
    gate, done = threading.Barrier(len(repos)), list[bool]()

    def one(repo: JobRepo) -> None:
        gate.wait()
        try:
            act(repo)
        except IllegalTransition:
            return
        done.append(True)

    threads = [threading.Thread(target=one, args=(repo,)) for repo in repos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)


def _requests(proxy: FaultyProxy, table: str) -> dict[str, int]:
    return {operation: count for (operation, name), count in proxy.by_table.items() if name == table}


def _status(stage: Stage, job_id: str) -> JobStatus:
    return stage.direct.get_job(job_id).status


def _exists(repo: JobRepo, job_id: str) -> bool:
    try:
        repo.get_job(job_id)
    except JobNotFound:
        return False
    except JobError:
        return True
    return True
