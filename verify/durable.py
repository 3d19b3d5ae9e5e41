"""Test durable work while messages are copied and responses lost: effects, steps, progress, waits and transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from jobclaim import EffectRefused, JobNotFound, JobRepo, JobStatus, ResumeRefused
from jobclaim.verify.evidence import bodies
from jobclaim.verify.faults import ANSWER_LOST, COPIED
from jobclaim.verify.promises import PROBED, Rule
from jobclaim.verify.stage import Stage
from jobclaim.verify.waiting import wait_until
from jobclaim.verify.weather import Weather

JOBS: Final = 6
PATIENCE: Final = 60.0
FIRST, SECOND = "the first answer", "the second answer"


def durable(stage: Stage, app: Any) -> list[Rule]:
    """Run jobs that fail once after a step, wait for a resume that is sent twice, and add to a counter by an effect."""
    stage.queue.weather = Weather(1, {COPIED: 0.5})
    stage.table.weather = Weather(2, {ANSWER_LOST: 0.1})
    try:
        found = _run(stage, app)
    finally:
        stage.queue.weather = stage.table.weather = Weather(0, {})
    return found


def _run(stage: Stage, app: Any) -> list[Rule]:
    wrong: dict[str, list[str]] = {code: [] for code in ("effects", "steps", "progress", "waits")}
    arguments = {"number": 1, "table": stage.notes_table}
    ids = [app.tasks["verify.durable"].apply_async(kwargs=arguments).id for _ in range(JOBS)]
    for job_id in ids:
        try:
            wait_until(partial(_waits, stage, job_id), PATIENCE, "it waits for its answer")
            wrong["waits"] += _answered_twice(stage.direct, job_id)
            wait_until(partial(_has_ended, stage, job_id), PATIENCE, "it ends")
        except TimeoutError as error:
            wrong["waits"].append(f"{job_id}: {error}")
    steps = Counter(line.job_id for line in bodies(stage.evidence, "step"))
    for job_id in ids:
        job = stage.direct.get_job(job_id)
        if job.status is not JobStatus.COMPLETED or job.result.get("answer") != FIRST:
            wrong["waits"].append(f"{job_id} is {job.status} with {job.result}")
        if job.progress is None or job.progress.done != job.charged:
            wrong["progress"].append(f"{job_id} says {job.progress} after {job.charged} attempts")
        if steps[job_id] != 1:
            wrong["steps"].append(f"the step of {job_id} ran {steps[job_id]} times, and no process died")
        if (made := _counted(stage, job_id)) != 1:
            wrong["effects"].append(f"the effect of {job_id} was made {made} times")
    return [Rule(code, PROBED[code], JOBS, offenders) for code, offenders in wrong.items()]


def transactions(stage: Stage, make: Callable[[], JobRepo]) -> Rule:
    """Write jobs together with rows of this program's table: both are written, or neither if a row is refused."""
    offenders = []
    for n in range(JOBS):
        for row_is_there in (False, True):
            job_id, row = f"with-{n}-{row_is_there}", f"row-{n}"
            # Refused if the row exists; what was written is checked below.
            with suppress(EffectRefused), make().transaction() as tx:
                tx.put(
                    TableName=stage.notes_table,
                    Item={"name": row, "of": job_id},
                    ConditionExpression="attribute_not_exists(#name)",
                    ExpressionAttributeNames={"#name": "name"},
                )
                tx.create_job("verify.nobody", None, job_id=job_id, queue="default")
            written = _exists(stage.direct, job_id)
            if written is row_is_there:
                offenders.append(f"{job_id} is {'there' if written else 'missing'}")
            if written:
                stage.direct.cancel_job(job_id)
    return Rule("transactions", PROBED["transactions"], 2 * JOBS, offenders)


def _answered_twice(repo: JobRepo, job_id: str) -> list[str]:
    repo.resume(job_id, "answer", FIRST)
    try:
        repo.resume(job_id, "answer", SECOND)
    except ResumeRefused:
        return []
    return [f"{job_id} took a second answer"]


def _has_ended(stage: Stage, job_id: str) -> bool:
    return not stage.direct.get_job(job_id).status.is_open


def _waits(stage: Stage, job_id: str) -> bool:
    return stage.direct.get_job(job_id).waiting is not None


def _counted(stage: Stage, job_id: str) -> int:
    row = stage.dynamodb.get_item(TableName=stage.notes_table, Key={"name": {"S": job_id}}, ConsistentRead=True)
    return int(row.get("Item", {}).get("times", {"N": "0"})["N"])


def _exists(repo: JobRepo, job_id: str) -> bool:
    try:
        repo.get_job(job_id)
    except JobNotFound:
        return False
    return True
