"""Messages of plain Celery on a real worker: none is lost while DynamoDB is away, nor with a killed child."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.settings import DEAD_LETTER_SUFFIX, QueueSpec
from tests.support.endpoints import Endpoint
from tests.support.faults import BLACK_HOLE, FaultyProxy, faulty
from tests.support.poison import envelope, wire
from tests.support.processes import ManagedProcess
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real

SHORT_LIVED = QueueSpec(name="default", soft_limit=5, hard_limit=8, max_receive_count=50)
"""Visibility 16 s: a message that was kept comes back while the test still runs."""
BACK_SECONDS = 60
MESSAGES = 6


class Deployment:
    """A stack whose workers reach DynamoDB through a proxy, and a sender that knows nothing of jobs."""

    def __init__(self, stack: Stack, proxy: FaultyProxy, dynamodb: Endpoint, sqs: Endpoint) -> None:
        self.proxy, self.sqs = proxy, sqs.client()
        direct = stack.settings.model_copy(update={"dynamodb_endpoint_url": dynamodb.endpoint_url})
        stack.repo = JobRepo.from_settings(direct)
        self.stack = stack
        self.url = self.sqs.get_queue_url(QueueName=stack.settings.physical_name("default"))["QueueUrl"]

    def send(self, task: str = "tests.note") -> str:
        """Send a message as a caller did before the task was a `JobTask`; gives its task id."""
        task_id = str(uuid.uuid4())
        self.sqs.send_message(QueueUrl=self.url, MessageBody=wire(envelope(id=task_id, task=task)))
        return task_id

    def left(self, url: str) -> int:
        """Count messages, in flight or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def worker(self, processes: int) -> ManagedProcess:
        """Start a worker and see it do a job, so that its heartbeat is written."""
        made = self.stack.worker("worker", "-c", str(processes), "-Q", "default")
        self.stack.wait_for([self.send()], JobStatus.COMPLETED, 30)
        return made

    def assert_all_done(self, task_ids: list[str]) -> None:
        """Wait for the jobs of these messages, then see that each ran once and no message is left."""
        self.stack.wait_for(task_ids, JobStatus.COMPLETED, BACK_SECONDS)
        wait_until(lambda: self.left(self.url) == 0, BACK_SECONDS, "the queue is empty")
        assert self.left(self.url + DEAD_LETTER_SUFFIX) == 0
        assert set(self.stack.bodies().values()) == {1}
        assert {job_id for job_id, _ in self.stack.bodies()} >= set(task_ids)


@pytest.fixture
def deploy(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of its own."""
    short = {"queues": (SHORT_LIVED,), "stop_timeout_seconds": 2, "visibility_slack_seconds": 1}
    with (
        faulty(dynamodb_local) as (proxy, through),
        deployed(through, elasticmq, tmp_path, **short) as stack,
    ):
        yield Deployment(stack, proxy, dynamodb_local, elasticmq)


def test_plain_messages_that_arrive_while_dynamodb_is_away_all_run_once_it_is_back(deploy: Deployment) -> None:
    """Takes 15 s: a message that was tried in vain comes back after its visibility timeout."""
    worker = deploy.worker(2)
    deploy.proxy.refuse()
    sent = [deploy.send() for _ in range(MESSAGES)]
    wait_until(lambda: worker.log().count("message.kept") >= MESSAGES, 60, "each was tried in vain")
    deploy.proxy.accept()
    deploy.assert_all_done(sent)


def test_a_plain_message_outlives_the_child_that_was_to_make_a_job_of_it(deploy: Deployment) -> None:
    """Takes 15 s: the message of the killed child comes back after its visibility timeout."""
    deploy.worker(1)
    child = int(deploy.stack.evidence.read_text().split()[2])
    deploy.proxy.choose_fault = lambda operation: BLACK_HOLE if "Put" in operation or "Transact" in operation else None
    sent = deploy.send()
    wait_until(lambda: deploy.proxy.failed[BLACK_HOLE.name], 30, "the child writes the job")
    os.kill(child, signal.SIGKILL)
    deploy.proxy.choose_fault = lambda operation: None
    deploy.assert_all_done([sent])


def test_plain_messages_are_deleted_when_their_bodies_have_ended(deploy: Deployment) -> None:
    deploy.worker(2)
    deploy.assert_all_done([deploy.send() for _ in range(20)])


def test_what_can_never_be_a_job_is_kept_as_a_dead_letter(deploy: Deployment) -> None:
    deploy.worker(1)
    call = [[1], {}, {"callbacks": None, "errbacks": None}]
    named = "no id that a job may have" * 100
    deploy.sqs.send_message(QueueUrl=deploy.url, MessageBody=wire(envelope(call, id=named)))
    wait_until(lambda: deploy.left(deploy.url + DEAD_LETTER_SUFFIX) == 1, 30, "it is a dead letter")
    wait_until(lambda: deploy.left(deploy.url) == 0, 30, "its message is deleted")
