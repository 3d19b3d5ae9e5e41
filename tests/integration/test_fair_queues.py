"""`fair_by`, `MessageGroupId` and message attributes as a real SQS-compatible server gets them with every message."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import Celery, shared_task
from celery.app.trace import build_tracer

from jobclaim import sweep
from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.protocol.claims import new_token
from jobclaim.workers import JobTask, apps, create_app
from jobclaim.workers.messages.message import TOKEN, headers
from jobclaim.workers.scope import contained
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed

pytestmark = pytest.mark.real
TIER = {"tier": {"DataType": "String", "StringValue": "gold"}}


@shared_task(base=JobTask, bind=True, name="fair.work", fair_by="tenant_id")
def work(self: Any, tenant_id: str) -> None:
    """Be retried."""
    raise self.retry(exc=ConnectionError("away"), countdown=0)


@shared_task(base=JobTask, name="fair.other")
def other() -> None:
    """Have no group by itself."""


class Queue:
    """The queue, and what is taken from it."""

    def __init__(self, stack: Stack, sqs: Endpoint) -> None:
        self.stack, self.sqs = stack, sqs.client()
        self.app: Celery = create_app(stack.settings)
        self.app.set_current()
        self.url = self.sqs.get_queue_url(QueueName=stack.settings.physical_name("default"))["QueueUrl"]

    def take(self, count: int = 1) -> list[tuple[str | None, str | None]]:
        """Receive so many messages; give the group and the tier of each, sorted."""
        found: list[tuple[str | None, str | None]] = []
        while len(found) < count:
            answer = self.sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=5,
                MessageSystemAttributeNames=["MessageGroupId"],
                MessageAttributeNames=["All"],
            )
            assert answer.get("Messages"), f"{len(found)} of {count} messages came"
            for message in answer["Messages"]:
                tier = message.get("MessageAttributes", {}).get("tier", {}).get("StringValue")
                found.append((message.get("Attributes", {}).get("MessageGroupId"), tier))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return sorted(found, key=str)

    def run(self, job: Job) -> None:
        """Run the attempt that the job's message is for, as a worker's child does."""
        task = self.app.tasks[job.task]
        request = {"id": job.job_id, "task": job.task, "is_eager": False, "hostname": "here", TOKEN: new_token()}
        tracer = contained(build_tracer(job.task, task, app=self.app), task)
        tracer(job.job_id, [job.job_id], {}, {**request, "delivery_info": {}, **headers(job)})


@pytest.fixture(scope="module")
def queue(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    with deployed(dynamodb_local, elasticmq, tmp_path_factory.mktemp("fair")) as stack:
        yield Queue(stack, elasticmq)


@pytest.mark.parametrize(
    ("task", "options", "group", "tier"),
    [
        pytest.param(work, {}, "acme", None, id="fair_by"),
        pytest.param(work, {"MessageGroupId": "vip"}, "vip", None, id="the call's group before the task's"),
        pytest.param(other, {}, None, None, id="neither"),
        pytest.param(other, {"MessageGroupId": "g", "message_attributes": TIER}, "g", "gold", id="both"),
    ],
)
def test_group_and_attributes_are_on_the_first_message_and_on_recoverys(
    queue: Queue, task: Any, options: Any, group: Any, tier: Any
) -> None:
    args = ("acme",) if task is work else ()
    task.apply_async(args, **options)
    assert queue.take() == [(group, tier)]
    ahead = JobRepo.from_settings(queue.stack.settings, clock=lambda: queue.stack.repo.clock() + 3_600_000)
    assert sweep(ahead, send=partial(apps.send, queue.stack.settings)).redispatched == 1
    assert queue.take() == [(group, tier)]
    for job in queue.stack.repo.list_jobs("PENDING").jobs:
        queue.stack.repo.cancel_job(job.job_id)


def test_group_and_attributes_are_kept_over_retries_by_the_task_and_by_a_person(queue: Queue) -> None:
    job_id = work.apply_async(("acme",), message_attributes=TIER).id
    assert queue.take() == [("acme", "gold")]
    queue.run(queue.stack.repo.get_job(job_id))
    assert queue.take() == [("acme", "gold")]
    for _ in range(3):
        queue.run(queue.stack.repo.get_job(job_id))
    assert queue.stack.repo.get_job(job_id).status == "FAILED"
    assert set(queue.take(2)) == {("acme", "gold")}
    apps.send(queue.stack.settings, queue.stack.repo.retry_job(job_id))
    assert queue.take() == [("acme", "gold")]


def test_each_job_of_a_batch_has_its_own_group(queue: Queue) -> None:
    work.submit_many([("a",), ("b",), ("a",)], message_attributes=TIER)
    assert queue.take(3) == [("a", "gold"), ("a", "gold"), ("b", "gold")]


def test_stamps_are_on_the_message(queue: Queue) -> None:
    stamped = work.s("acme")
    stamped.stamp(region="eu")
    stamped.apply_async()
    [message] = queue.sqs.receive_message(QueueUrl=queue.url, WaitTimeSeconds=5)["Messages"]
    headers_sent = json.loads(base64.b64decode(message["Body"]))["headers"]
    assert (headers_sent["stamps"], headers_sent["stamped_headers"]) == ({"region": "eu"}, ["region"])
