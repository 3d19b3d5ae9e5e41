"""Test durable work while messages are copied and responses lost: effects, steps, progress, waits and transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from jobclaim import EffectRefused, JobRepo, JobStatus, ResumeRefused
from jobclaim.verify.checks import PROBED, CheckResult
from jobclaim.verify.deployment import Deployment
from jobclaim.verify.evidence import bodies
from jobclaim.verify.faults import MESSAGE_COPIED, RESPONSE_LOST
from jobclaim.verify.injector import FaultInjector
from jobclaim.verify.probes import exists
from jobclaim.verify.waiting import wait_until

JOB_COUNT: Final = 6
WAIT_SECONDS: Final = 60.0
FIRST, SECOND = "the first answer", "the second answer"


def durable(deployment: Deployment, app: Any) -> list[CheckResult]:
    """Run jobs that fail once after a step, wait for a resume that is sent twice, and add to a counter by an effect."""
    deployment.queue.choose_fault = FaultInjector(1, {MESSAGE_COPIED: 0.5})
    deployment.table.choose_fault = FaultInjector(2, {RESPONSE_LOST: 0.1})
    try:
        found = _run(deployment, app)
    finally:
        deployment.queue.choose_fault = deployment.table.choose_fault = FaultInjector(0, {})
    return found


def _run(deployment: Deployment, app: Any) -> list[CheckResult]:
    violations: dict[str, list[str]] = {code: [] for code in ("effects", "steps", "progress", "waits")}
    arguments = {"number": 1, "table": deployment.notes_table}
    ids = [app.tasks["verify.durable"].apply_async(kwargs=arguments).id for _ in range(JOB_COUNT)]
    for job_id in ids:
        try:
            wait_until(partial(_waits, deployment, job_id), WAIT_SECONDS, "it waits for its answer")
            violations["waits"] += _resume_twice(deployment.direct, job_id)
            wait_until(partial(_is_ended, deployment, job_id), WAIT_SECONDS, "it ends")
        except TimeoutError as error:
            violations["waits"].append(f"{job_id}: {error}")
    steps = Counter(line.job_id for line in bodies(deployment.evidence, "step"))
    for job_id in ids:
        job = deployment.direct.get_job(job_id)
        if job.status is not JobStatus.COMPLETED or job.result.get("answer") != FIRST:
            violations["waits"].append(f"{job_id} is {job.status} with {job.result}")
        if job.progress is None or job.progress.done != job.charged:
            violations["progress"].append(f"{job_id} says {job.progress} after {job.charged} attempts")
        if steps[job_id] != 1:
            violations["steps"].append(f"the step of {job_id} ran {steps[job_id]} times, and no process died")
        if (effects := _effect_count(deployment, job_id)) != 1:
            violations["effects"].append(f"the effect of {job_id} was made {effects} times")
    return [CheckResult(code, PROBED[code], JOB_COUNT, found) for code, found in violations.items()]


def transactions(deployment: Deployment, make_repo: Callable[[], JobRepo]) -> CheckResult:
    """Write jobs together with rows of this program's table: both are written, or neither if a row is refused."""
    violations = []
    for n in range(JOB_COUNT):
        for row_is_there in (False, True):
            job_id, row = f"with-{n}-{row_is_there}", f"row-{n}"
            # Refused if the row exists; what was written is checked below.
            with suppress(EffectRefused), make_repo().transaction() as tx:
                tx.put(
                    TableName=deployment.notes_table,
                    Item={"name": row, "of": job_id},
                    ConditionExpression="attribute_not_exists(#name)",
                    ExpressionAttributeNames={"#name": "name"},
                )
                tx.create_job("verify.nobody", None, job_id=job_id, queue="default")
            written = exists(deployment.direct, job_id)
            if written is row_is_there:
                violations.append(f"{job_id} is {'there' if written else 'missing'}")
            if written:
                deployment.direct.cancel_job(job_id)
    return CheckResult("transactions", PROBED["transactions"], 2 * JOB_COUNT, violations)


def _resume_twice(repo: JobRepo, job_id: str) -> list[str]:
    repo.resume(job_id, "answer", FIRST)
    try:
        repo.resume(job_id, "answer", SECOND)
    except ResumeRefused:
        return []
    return [f"{job_id} took a second answer"]


def _is_ended(deployment: Deployment, job_id: str) -> bool:
    return not deployment.direct.get_job(job_id).status.is_open


def _waits(deployment: Deployment, job_id: str) -> bool:
    return deployment.direct.get_job(job_id).waiting is not None


def _effect_count(deployment: Deployment, job_id: str) -> int:
    row = deployment.dynamodb.get_item(
        TableName=deployment.notes_table, Key={"name": {"S": job_id}}, ConsistentRead=True
    )
    return int(row.get("Item", {}).get("times", {"N": "0"})["N"])
