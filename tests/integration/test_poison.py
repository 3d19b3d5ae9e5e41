"""Messages that no worker can run: the worker lives, good jobs between them are done, nothing goes round for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import FailureKind, Job, JobStatus
from jobclaim.settings import DEAD_LETTER_SUFFIX, QueueSpec
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.poison import CORPUS, mutants
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real

MUTANTS = 150
SEED = 20


class Deployment:
    """A stack, and short words for what these tests send."""

    def __init__(self, stack: Stack, sqs: Endpoint) -> None:
        self.stack = stack
        self.app = create_app(stack.settings)
        self.sqs = sqs.client()
        self.url = self.sqs.get_queue_url(QueueName=stack.settings.physical_name("default"))["QueueUrl"]

    def send_raw(self, bodies: list[str]) -> None:
        """Send bodies as they are."""
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
            answer = self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)
            assert not answer.get("Failed"), answer["Failed"]

    def submit(self, task: str = "tests.note", payload: Any = None) -> str:
        """Write a job and send its message."""
        job = self.app.jobclaim.repo.create_job(task, payload or {"args": [1], "kwargs": {}})
        publish(self.app, job)
        return str(job.job_id)

    def depth(self, url: str) -> int:
        """Count messages, in flight or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def wait_until_empty(self) -> None:
        """Wait until nothing is left of what was sent."""
        wait_until(lambda: self.depth(self.url) == 0, 60, lambda: f"the queue is empty, not {self.depth(self.url)}")

    def dead_letters(self) -> list[dict[str, Any]]:
        """Receive everything that was kept."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.url + DEAD_LETTER_SUFFIX, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            if not answer.get("Messages"):
                return found
            found += answer["Messages"]

    def failed(self, job_id: str) -> Job:
        """Wait until a job is FAILED and give it."""
        return self.stack.wait_for([job_id], JobStatus.FAILED, 30)[job_id]


@pytest.fixture
def deploy(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of its own."""
    queue = QueueSpec(name="default", soft_limit=30, hard_limit=40)
    with deployed(dynamodb_local, elasticmq, tmp_path, queues=(queue,)) as stack:
        yield Deployment(stack, elasticmq)


def test_the_corpus_is_kept_as_dead_letters_and_the_good_jobs_between_are_done(deploy: Deployment) -> None:
    assert len(CORPUS) >= 40
    good = []
    for start in range(0, len(CORPUS), 8):
        good.append(deploy.submit())
        deploy.send_raw(list(CORPUS.values())[start : start + 8])
    worker = deploy.stack.worker("worker", "-c", "2", "-Q", "default")
    good.append(deploy.submit())

    deploy.stack.wait_for(good, JobStatus.COMPLETED, 60)
    deploy.wait_until_empty()
    assert worker.running, "it is the same process that was started"
    kept = deploy.dead_letters()
    named = {body: name for name, body in CORPUS.items()}
    assert sorted(named[letter["Body"]] for letter in kept) == sorted(CORPUS)
    assert all(letter["MessageAttributes"]["Reason"]["StringValue"] for letter in kept)
    assert set(deploy.stack.bodies().values()) == {1}
    assert len(deploy.stack.bodies()) == len(good)


def test_mutated_messages_end_and_the_good_jobs_between_are_done(deploy: Deployment) -> None:
    worker = deploy.stack.worker("worker", "-c", "2", "-Q", "default")
    good = []
    bodies = list(mutants(SEED, MUTANTS))
    for start in range(0, MUTANTS, 30):
        deploy.send_raw(bodies[start : start + 30])
        good.append(deploy.submit())
    deploy.stack.wait_for(good, JobStatus.COMPLETED, 60)
    deploy.wait_until_empty()
    assert worker.running, "it is the same process that was started"
    last = deploy.submit()
    deploy.stack.wait_for([last], JobStatus.COMPLETED, 40)


def test_a_new_task_is_left_to_the_workers_that_know_it_while_a_release_is_rolled_out(deploy: Deployment) -> None:
    old = deploy.stack.worker("old", "-c", "1", "-Q", "default")
    job_ids = [deploy.submit("tests.polite", {"args": [0.01], "kwargs": {}}) for _ in range(3)]
    wait_until(
        lambda: all(job.dispatches > 1 for job in deploy.stack.repo.table.get_many(job_ids).values()),
        30,
        "the old worker sends all three again",
    )
    env = {"JOBCLAIM_TASK_MODULES": '["tests.support.tasks", "tests.support.stopping"]'}
    deploy.stack.worker("new", "-c", "1", "-Q", "default", env=env)
    old.stop()  # else each message may meet it again, and waits twice as long for the next
    jobs = deploy.stack.wait_for(job_ids, JobStatus.COMPLETED, 180)
    assert {(job.attempt, job.charged) for job in jobs.values()} == {(1, 1)}
    assert old.log().count("task.unregistered") == 1, "it warns once of a task"
    deploy.wait_until_empty()
    assert deploy.dead_letters() == []


def test_a_job_of_a_task_that_no_worker_knows_fails_with_the_reason_after_its_last_message(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    queue = QueueSpec(name="default", soft_limit=30, hard_limit=40)
    with deployed(dynamodb_local, elasticmq, tmp_path, queues=(queue,), max_dispatches=2) as stack:
        deploy = Deployment(stack, elasticmq)
        job_id = deploy.submit("tests.of_next_week")
        deploy.stack.worker("worker", "-c", "1", "-Q", "default")
        job = deploy.failed(job_id)
        assert job.failure is not None
        assert (job.dispatches, job.failure.kind) == (2, FailureKind.CONFIGURATION)
        assert "'tests.of_next_week' is not registered in this worker" in job.failure.message
        deploy.wait_until_empty()
        assert deploy.dead_letters() == [], "the job holds everything"


def test_a_stale_message_of_an_unregistered_task_does_not_touch_the_later_attempt(deploy: Deployment) -> None:
    job = deploy.app.jobclaim.repo.create_job("tests.of_next_week", {})
    publish(deploy.app, job)
    claimed = deploy.app.jobclaim.repo.claim_job(job.job_id)
    assert claimed is not None
    deploy.stack.worker("worker", "-c", "1", "-Q", "default")
    deploy.wait_until_empty()
    assert deploy.app.jobclaim.repo.get_job(job.job_id).claim_token == claimed.claim_token


MISFITS: dict[str, Any] = {
    "too many": {"args": [1, 2, 3], "kwargs": {}},
    "another name": {"args": [], "kwargs": {"volume": 3}},
    "args no list": {"args": "ab", "kwargs": {}},
}


def test_a_payload_that_does_not_fit_the_task_fails_before_the_body(deploy: Deployment) -> None:
    job_ids = [deploy.submit("tests.polite", payload) for payload in MISFITS.values()]
    env = {"JOBCLAIM_TASK_MODULES": '["tests.support.tasks", "tests.support.stopping"]'}
    deploy.stack.worker("worker", "-c", "1", "-Q", "default", env=env)
    for job in deploy.stack.wait_for(job_ids, JobStatus.FAILED, 30).values():
        assert job.failure is not None
        assert job.failure.kind is FailureKind.CONFIGURATION
        assert "do not fit" in job.failure.message
    assert deploy.stack.bodies() == {}
