"""Whoever may only send messages, and knows a job's id, does not decide what runs, when, or what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from celery import shared_task

from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.jobs.repo.claiming import EARLY_MS
from jobclaim.testing import Harness
from jobclaim.testing.harness import Message
from jobclaim.workers import JobTask
from jobclaim.workers.messages.message import headers
from jobclaim.workers.process.poison import PoisonHandler
from jobclaim.workers.transport.poisoned import Poisoned

MONTH_MS = 30 * 86_400_000
RAN: list[str] = []
SMUGGLED: dict[str, Any] = {"task": "strange.refund", "args": [], "kwargs": {}, "options": {}, "immutable": True}


@shared_task(base=JobTask, bind=True, name="strange.charge")
def charge(self: Any, order: int = 0) -> int:
    """Be what was submitted."""
    RAN.append("charge")
    return order


@shared_task(base=JobTask, bind=True, name="strange.refund")
def refund(self: Any, order: int = 0) -> None:
    """Be what the stranger wants."""
    RAN.append("refund")


@shared_task(bind=True, name="strange.plain")
def plain(self: Any, job_id: str) -> None:
    """Claim in the body."""
    repo: JobRepo = self.app.jobclaim.repo
    if repo.claim_job(job_id) is not None:
        RAN.append("plain")
        repo.update_status(job_id, "COMPLETED")


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def forged(job: Job, task: str, **options: Any) -> Message:
    """Make a message that names the job."""
    options["headers"] = headers(job)
    return Message(task, job.job_id, [job.job_id], {}, "default", 0, options)


def submitted(jobclaim: Harness, task: str = "strange.charge", **options: Any) -> Job:
    return jobclaim.repo.create_job(task, {"args": [1], "kwargs": {}}, queue="default", **options)


@pytest.mark.parametrize("task", ["strange.refund", "strange.plain"])
def test_a_message_does_not_run_another_task_on_a_jobs_arguments(jobclaim: Harness, task: str) -> None:
    job = submitted(jobclaim)
    jobclaim.deliver(forged(job, task))
    assert RAN == []
    assert jobclaim.job(job).status is JobStatus.PENDING
    assert jobclaim.job(job).attempt == 0


@pytest.mark.parametrize("task", ["strange.charge", "strange.plain"])
def test_a_message_of_the_jobs_own_task_runs_it(jobclaim: Harness, task: str) -> None:
    job = submitted(jobclaim, task)
    jobclaim.deliver(forged(job, task))
    assert [task.removeprefix("strange.")] == RAN
    assert jobclaim.job(job).status is JobStatus.COMPLETED


def test_a_plain_message_with_the_id_of_another_tasks_job_does_not_run_on_it(jobclaim: Harness) -> None:
    job = submitted(jobclaim)
    jobclaim.deliver(Message("strange.refund", job.job_id, [], {}, "default", 0, {}))
    assert RAN == []
    assert jobclaim.job(job).status is JobStatus.PENDING


@pytest.mark.parametrize("task", ["strange.charge", "strange.plain"])
def test_a_message_does_not_start_a_job_that_is_due_next_month(jobclaim: Harness, task: str) -> None:
    job = submitted(jobclaim, task, available_at=jobclaim.clock() + MONTH_MS)
    jobclaim.deliver(forged(job, task))
    assert RAN == []
    assert jobclaim.job(job).status is JobStatus.PENDING
    assert not jobclaim.messages, "recovery sends it in time"


def test_a_message_that_came_early_comes_again_in_time(jobclaim: Harness) -> None:
    job = submitted(jobclaim, available_at=jobclaim.clock() + 2 * EARLY_MS)
    jobclaim.deliver(forged(job, "strange.charge"))
    assert RAN == []
    assert len(jobclaim.messages) == 1
    jobclaim.drain()
    assert RAN == []
    jobclaim.travel(2 * EARLY_MS / 1000)
    jobclaim.drain()
    assert RAN == ["charge"]


def test_a_stale_message_of_a_waiting_job_sends_none(jobclaim: Harness) -> None:
    job = submitted(jobclaim, available_at=jobclaim.clock() + 2 * EARLY_MS)
    stale = Message(
        charge.name, job.job_id, [], {}, "default", 0, {"headers": {"jobclaim": {"job_id": job.job_id, "attempt": 7}}}
    )
    jobclaim.deliver(stale)
    assert not jobclaim.messages


def test_clocks_may_differ_a_little(jobclaim: Harness) -> None:
    job = submitted(jobclaim, available_at=jobclaim.clock() + EARLY_MS - 5_000)
    jobclaim.deliver(forged(job, "strange.charge"))
    assert RAN == ["charge"]


@pytest.mark.parametrize("option", ["link", "chain"])
def test_smuggled_links_do_not_run(jobclaim: Harness, option: str) -> None:
    job = submitted(jobclaim)
    jobclaim.deliver(forged(job, "strange.charge", **{option: [SMUGGLED]}))
    jobclaim.drain()
    assert RAN == ["charge"]


def test_a_jobs_own_links_run(jobclaim: Harness) -> None:
    charge.apply_async((1,), link=refund.si(1))
    message = jobclaim.messages.popleft()
    jobclaim.deliver(replace(message, options={"headers": message.options["headers"]}))
    jobclaim.drain()
    assert RAN == ["charge", "refund"]


class Kept(list[str]):
    """An SQS client that keeps reasons."""

    def send_message(self, *, MessageAttributes: dict[str, Any], **_: Any) -> None:  # noqa: N803 - boto3's names
        self.append(MessageAttributes["Reason"]["StringValue"])


@pytest.mark.parametrize("task", ["strange.refund", "strange.unknown", ""])
@pytest.mark.parametrize("unregistered", [True, False])
def test_a_poison_message_does_not_fail_a_job_of_another_task(jobclaim: Harness, task: str, unregistered: bool) -> None:
    job, kept = submitted(jobclaim), Kept()
    desk = PoisonHandler(jobclaim.app, lambda: kept, lambda *_: None)
    desk.handle(Poisoned("default", "http://q", "r", "x", "broken", {"task": task, **headers(job)}, unregistered))
    assert jobclaim.job(job).status is JobStatus.PENDING
    assert (jobclaim.job(job).attempt, kept) == (0, ["broken"])


def test_a_poison_message_does_not_fail_a_job_before_its_time(jobclaim: Harness) -> None:
    job, kept = submitted(jobclaim, available_at=jobclaim.clock() + MONTH_MS), Kept()
    desk = PoisonHandler(jobclaim.app, lambda: kept, lambda *_: None)
    desk.handle(Poisoned("default", "http://q", "r", "x", "broken", {"task": charge.name, **headers(job)}))
    assert jobclaim.job(job).status is JobStatus.PENDING
    assert kept == ["broken"]
