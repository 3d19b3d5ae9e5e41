"""Real workers on AWS's DynamoDB Local and a real SQS server: every message twice, each body once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

JOBS = 200

pytestmark = pytest.mark.real


def _submit(app: Any, stack: Stack, count: int) -> list[str]:
    jobs = [app.jobclaim.repo.create_job("tests.note", {"args": [number], "kwargs": {}}) for number in range(count)]
    for job in jobs:
        publish(app, job)
        publish(app, job)
    return [job.job_id for job in jobs]


def test_every_message_sent_twice_runs_each_body_once(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    with deployed(dynamodb_local, elasticmq, tmp_path) as stack:
        app = create_app(stack.settings)
        job_ids = _submit(app, stack, JOBS)
        workers = [stack.worker(name, "-Q", "default", "-c", "2") for name in ("one", "two")]
        jobs = stack.wait_for(job_ids, JobStatus.COMPLETED, 180)
        assert [jobs[job_id].result for job_id in job_ids] == [2 * number for number in range(JOBS)]
        assert {job.attempt for job in jobs.values()} == {1}
        queue = app.conf.broker_transport_options["predefined_queues"]["default"]["url"]
        _wait_until_empty(elasticmq.client(), queue)
        for worker in workers:
            assert worker.stop(30) == 0
        assert stack.bodies() == {(job_id, 1): 1 for job_id in job_ids}
        refused = sum(worker.log().count('"claim.refused"') for worker in workers)
        assert refused == JOBS


def _wait_until_empty(sqs: Any, url: str) -> None:

    def empty() -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return all(int(attributes[name]) == 0 for name in names)

    wait_until(empty, 120, f"{url} is empty", poll=0.2)
