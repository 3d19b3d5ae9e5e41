"""Promises that are tested after the faults have stopped, by an action and a check of its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final

from jobclaim import ClaimLost, IllegalTransition, InvalidInput, JobError, JobNotFound, JobRepo, JobStatus
from jobclaim.verify.checks import LOST_WORKER_MS, PROBED, CheckResult
from jobclaim.verify.deployment import Deployment
from jobclaim.verify.fleet import ProcessFleet
from jobclaim.verify.proxy import FaultyProxy, proxied
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


def bad_input(repo: JobRepo) -> CheckResult:
    """Submit invalid jobs: each must be refused, and nothing written."""
    violations = []
    for n, (what, asked) in enumerate(BAD.items()):
        job_id = f"bad-{n}"
        try:
            repo.create_job(**{"task": "verify.quick", "queue": "default", "job_id": job_id, **asked})
            violations.append(f"{what} was accepted")
        except InvalidInput:
            if exists(repo, job_id):
                violations.append(f"{what} was refused and written")
    return _result("bad-input", len(BAD), violations)


def decisions(make_repo: Callable[[], JobRepo]) -> CheckResult:
    """Let two people retry the same failed job at once: exactly one must succeed."""
    violations = []
    for n in range(ROUNDS):
        owner, job_id = make_repo(), f"decide-{n}"
        owner.create_job("verify.nobody", None, job_id=job_id, queue="default")
        owner.claim_job(job_id)
        owner.update_status(job_id, "FAILED", error="to be decided on")
        succeeded = _concurrently([make_repo(), make_repo()], partial(_retry, job_id))
        if succeeded != 1:
            violations.append(f"{succeeded} of two retries of one failure were accepted")
        owner.cancel_job(job_id)
    return _result("decisions", ROUNDS, violations)


def cancel(deployment: Deployment, app: Any, waiting: list[str], seconds: float) -> CheckResult:
    """Cancel jobs that are due far in the future, and a running one: none may complete.

    Parameters
    ----------
    waiting : list of str
        Jobs that are due long after the run.
    seconds : float
        Duration of the body that is cancelled while it runs.
    """
    left = [job_id for job_id in waiting if not _cancelled(deployment, job_id)]
    violations = [f"{job_id} was not cancelled" for job_id in left]
    job_id = app.tasks["verify.slow"].apply_async(kwargs={"number": 1, "seconds": seconds}).id
    try:
        wait_until(lambda: _status(deployment, job_id) is JobStatus.PROCESSING, 30, "the job to be cancelled runs")
        app.control.revoke(job_id, terminate=True)
        wait_until(lambda: not _status(deployment, job_id).is_open, CANCEL_SECONDS, "it is stopped")
    except TimeoutError as error:
        violations.append(f"{job_id}: {error}")
    if (status := _status(deployment, job_id)) is not JobStatus.CANCELLED:
        violations.append(f"{job_id} ran, was to be cancelled, and is {status}")
    return _result("cancel", len(waiting) + 1, violations)


def _cancelled(deployment: Deployment, job_id: str) -> bool:
    try:
        return deployment.direct.cancel_job(job_id).status is JobStatus.CANCELLED
    except IllegalTransition:
        return False


def lost_worker(deployment: Deployment, app: Any, fleet: ProcessFleet, seconds: float) -> CheckResult:
    """Kill the worker that runs a job: another attempt must follow in time."""
    job_id = app.tasks["verify.slow"].apply_async(kwargs={"number": 1, "seconds": seconds}).id
    try:
        wait_until(
            lambda: _status(deployment, job_id) is JobStatus.PROCESSING, 30, "the job of the worker to be killed runs"
        )
        holder = int(deployment.direct.get_job(job_id).worker_id.split(":")[1])
        fleet.kill(next(member for member in fleet.members if member.process.pid == holder))
        wait_until(
            lambda: bool(deployment.direct.get_job(job_id).history), LOST_WORKER_MS / 1000, "its attempt is given up"
        )
    except TimeoutError as error:
        return CheckResult("lost-worker", "", 1, [f"{job_id}: {error}"])
    return CheckResult("lost-worker", "", 1, [])


class Zombies:
    """Claims whose owner is silent until recovery has ended them, and then tries to complete them.

    Outside a worker only the lease bounds a claim, so no process has to be frozen at the right moment.
    """

    def __init__(self, make_repo: Callable[[], JobRepo]) -> None:
        self._owner = make_repo()
        self._ids = [f"zombie-{n}" for n in range(ROUNDS)]
        for job_id in self._ids:
            self._owner.create_job("verify.nobody", None, job_id=job_id, queue="default")
            self._owner.claim_job(job_id)

    def _wait_for_exit(self, job_id: str, timeout: float) -> None:
        wait_until(lambda: not self._owner.get_job(job_id).status.is_open, timeout, f"{job_id} is given up")

    def complete(self, timeout: float) -> list[CheckResult]:
        """Wait until recovery has ended all of them, then try to complete each: it must be refused, and change
        nothing.
        """
        violations = []
        for job_id in self._ids:
            try:
                self._wait_for_exit(job_id, timeout)
                self._owner.update_status(job_id, "COMPLETED", result="too late")
                violations.append(f"{job_id} completed after it was given up")
            except ClaimLost:
                if self._owner.get_job(job_id).status is not JobStatus.FAILED:
                    violations.append(f"{job_id} is not as recovery left it")
            except TimeoutError as error:
                violations.append(f"{job_id}: {error}")
        return [CheckResult("one-end", "", ROUNDS, violations), CheckResult("orphan", "", ROUNDS, [])]


def costs(deployment: Deployment) -> CheckResult:
    """Count the requests of jobs that are submitted, claimed and completed, through a separate proxy."""
    settings = deployment.direct.settings
    with proxied(str(settings.dynamodb_endpoint_url)) as (proxy, url):
        repo = JobRepo.from_settings(settings.model_copy(update={"dynamodb_endpoint_url": url}))
        for n in range(ROUNDS):
            job_id = f"cost-{n}"
            repo.create_job("verify.nobody", {"n": n}, job_id=job_id, queue="default")
            repo.claim_job(job_id)
            repo.update_status(job_id, "COMPLETED", result=n)
        requests = _requests(proxy, settings.job_table)
    expected = {name: count * ROUNDS for name, count in REQUESTS.items()}
    violations = [] if requests == expected else [f"{ROUNDS} jobs took {requests}, not {expected}"]
    return _result("costs", ROUNDS, violations)


def reads_of_a_pass(deployment: Deployment, name: str) -> int:
    """Count the reads of the job table that one pass of recovery makes."""
    before = _requests(deployment.table, deployment.settings.job_table)
    deployment.jobclaim(name, "recover")
    after = _requests(deployment.table, deployment.settings.job_table)
    return sum(after.get(operation, 0) - before.get(operation, 0) for operation in READS)


def pass_costs(empty: int, after: int, finished: int) -> CheckResult:
    """Compare a pass over the empty table with one over a table of finished jobs."""
    violations = [f"{after} reads with {finished:,} finished jobs, {empty} without"] if after > empty else []
    return _result("pass-costs", finished if empty else 0, violations)


def _retry(job_id: str, repo: JobRepo) -> Any:
    return repo.retry_job(job_id)


def _result(code: str, tested: int, violations: list[str]) -> CheckResult:
    return CheckResult(code, PROBED[code], tested, violations)


def _concurrently(repos: list[JobRepo], act: Callable[[JobRepo], Any]) -> int:
    """Let all repos act at the same time; return how many succeeded."""
    barrier, succeeded = threading.Barrier(len(repos)), list[bool]()

    def one(repo: JobRepo) -> None:
        barrier.wait()
        try:
            act(repo)
        except IllegalTransition:
            return
        succeeded.append(True)

    threads = [threading.Thread(target=one, args=(repo,)) for repo in repos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(succeeded)


def _requests(proxy: FaultyProxy, table: str) -> dict[str, int]:
    return {operation: count for (operation, name), count in proxy.by_table.items() if name == table}


def _status(deployment: Deployment, job_id: str) -> JobStatus:
    return deployment.direct.get_job(job_id).status


def exists(repo: JobRepo, job_id: str) -> bool:
    """Return whether a job is stored; one that cannot be read is."""
    try:
        repo.get_job(job_id)
    except JobNotFound:
        return False
    except JobError:
        return True
    return True
