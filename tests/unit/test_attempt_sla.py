"""Whether a claim came later than its queue promises."""

from __future__ import annotations

import pytest

from jobclaim.jobs import Job, JobStatus
from jobclaim.settings import Settings
from jobclaim.specs.queues import QueueSpec
from jobclaim.workers.attempt import sla

SETTINGS = Settings(_env_file=None, queues=(QueueSpec(name="default"), QueueSpec(name="mail", sla_seconds=60)))


@pytest.mark.parametrize(
    ("queue", "waited", "missed"), [("mail", 60.0, False), ("mail", 60.001, True), ("gone", 1e9, False)]
)
def test_a_job_that_waited_longer_than_its_queue_promises_is_late(queue: str, waited: float, missed: bool) -> None:
    job = Job(job_id="j", task="t", queue=queue, status=JobStatus.PROCESSING)
    assert sla.is_missed(job, waited, SETTINGS) is missed
