"""Bodies with steps and waits that kill their own process at every statement, each once a job."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from celery import current_app, shared_task

from jobclaim.workers import JobTask
from tests.support.stack import EVIDENCE

POINTS = ("begin", "before charge", "in charge", "after charge", "after label", "end")
"""Where the order below is cut off, in the order in which it comes to them."""


def note(job_id: str, what: str) -> None:
    """Do something that the outside world sees."""
    with Path(os.environ[EVIDENCE]).open("a", encoding="utf-8") as file:
        file.write(f"{job_id} {what}\n")


def dies_at(job_id: str, point: str) -> None:
    """Kill this process, the first time that the job comes to this point."""
    mark = Path(f"{os.environ[EVIDENCE]}.{job_id}.{point.replace(' ', '-')}")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def charge(job_id: str) -> str:
    """Charge, and die before that can be recorded."""
    note(job_id, "charge")
    dies_at(job_id, "in charge")
    return f"charged {job_id}"


def label(job_id: str) -> str:
    """Print a label."""
    note(job_id, "label")
    return f"label {job_id}"


async def mail(job_id: str) -> str:
    """Send a mail."""
    await asyncio.sleep(0)
    note(job_id, "mail")
    return "sent"


def _order(job: Any, job_id: str) -> list[str]:
    dies_at(job_id, "begin")
    note(job_id, "body")
    dies_at(job_id, "before charge")
    charged = job.step("charge", charge, job_id)
    dies_at(job_id, "after charge")
    job.progress(1, 2, checkpoint=charged, flush=True)
    labelled = job.step("label", label, job_id)
    dies_at(job_id, "after label")
    job.step("mail", mail, job_id)
    dies_at(job_id, "end")
    return [charged, labelled]


@shared_task(base=JobTask, bind=True, name="killed.order", on_orphan="retry")
def order(self: Any) -> list[str]:
    """Charge, label, mail."""
    return _order(self, self.request.job.job_id)


@shared_task(name="killed.plain_order", claims=True)
def plain_order(job_id: str) -> str:
    """Do the same under a claim of its own."""
    with current_app.jobclaim.repo.claimed(job_id) as job:
        if job is not None:
            job.set_result(_order(job, job_id))
    return "left"


@shared_task(base=JobTask, bind=True, name="killed.approve")
def approve(self: Any) -> Any:
    """Wait for an approval between two steps."""
    job_id = self.request.job.job_id
    self.step("ask", label, job_id)
    payload = self.wait_for("approval", timeout=3600)
    self.step("pay", label, job_id)
    return payload


@shared_task(base=JobTask, bind=True, name="killed.nap")
def nap(self: Any) -> str:
    """Sleep some seconds without a process."""
    self.sleep(2)
    return "awake"
