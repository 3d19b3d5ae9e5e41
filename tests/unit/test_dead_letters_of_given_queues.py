"""A queue that somebody else made and `queue_urls` names: everybody looks for its dead letters in the same place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from jobclaim.dashboard.queries.queues import _depth
from jobclaim.infra import provision
from jobclaim.infra.doctor import Finding, Level, diagnose, gather
from jobclaim.jobs import InvalidInput, JobRepo
from jobclaim.recovery.dead.queues import DeadQueues
from jobclaim.settings import QueueSpec, Settings, dead_letters_of
from jobclaim.views.queue_status import queue_statuses
from jobclaim.workers.process.poison import PoisonHandler
from jobclaim.workers.transport.poisoned import Poisoned


@dataclass
class World:
    sqs: Any
    dynamodb: Any
    home: str
    settings: Settings

    def poison(self) -> None:
        """A message that no worker can run, dealt with by the worker of that queue."""
        app: Any = SimpleNamespace(repo=JobRepo.from_settings(self.settings))
        desk = PoisonHandler(app, lambda: self.sqs, lambda url, receipt: None)
        desk.handle(Poisoned("mail", self.home, "r", "rubbish", "cannot be read", {}))

    def make_dead_letter_queue(self) -> str:
        return str(self.sqs.create_queue(QueueName="legacy-mail-dlq")["QueueUrl"])

    def doctor(self) -> list[Finding]:
        snapshot = gather(self.settings, dynamodb=self.dynamodb, sqs=self.sqs)
        return [each for each in diagnose(snapshot, self.settings) if each.subject == "queue mail"]


@pytest.fixture
def world() -> Iterator[World]:
    with mock_aws():
        session: Any = boto3.session.Session(region_name="us-east-1")
        sqs, dynamodb = session.client("sqs"), session.client("dynamodb")
        home = sqs.create_queue(QueueName="legacy-mail", Attributes={"VisibilityTimeout": "3600"})["QueueUrl"]
        settings = Settings(queues=(QueueSpec(name="default"), QueueSpec(name="mail")), queue_urls={"mail": home})
        provision(settings, dynamodb=dynamodb, sqs=sqs)
        yield World(sqs, dynamodb, home, settings)


def test_its_names_come_from_its_url() -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/legacy-mail"
    built = Settings(queues=(QueueSpec(name="default"), QueueSpec(name="mail")), queue_urls={"mail": url})
    assert built.physical_name("mail") == "legacy-mail"
    assert (built.dead_letter_name("mail"), built.dead_letter_url("mail")) == ("legacy-mail-dlq", f"{url}-dlq")
    assert (built.dead_letter_name("default"), built.dead_letter_url("default")) == ("jobclaim-default-dlq", None)
    assert dead_letters_of(url + "/") == f"{url}-dlq"


def test_a_long_name_of_somebody_elses_queue_is_not_refused() -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/" + "q" * 80
    assert Settings(queue_urls={"default": url}).physical_name("default") == "q" * 80


def test_poison_is_seen_sent_again_and_discarded_where_it_was_put(world: World) -> None:
    world.make_dead_letter_queue()
    world.poison()
    repo, dead = JobRepo.from_settings(world.settings), DeadQueues(world.settings, world.sqs)

    assert {row.queue: row.dead_letters for row in queue_statuses(repo, world.sqs, world.settings)}["mail"] == 1
    assert {(row.queue, row.name, row.messages) for row in dead.all()} >= {("mail", "legacy-mail-dlq", 1)}
    assert [message.queue for message in dead.inspect("mail")] == ["mail"]
    assert dead.redrive("mail").done == 1
    assert world.sqs.receive_message(QueueUrl=world.home)["Messages"][0]["Body"] == "rubbish"
    world.poison()
    assert dead.discard("mail").done == 1
    assert {row.queue: row.messages for row in dead.all()}["mail"] == 0


def test_a_redrive_of_everything_ends_when_messages_fail_again_at_once(world: World) -> None:
    world.make_dead_letter_queue()
    world.poison()
    first = DeadQueues(world.settings, world.sqs).inspect("mail")[0].sent_at
    dead = DeadQueues(world.settings, world.sqs, clock=lambda: first)

    report = dead.redrive("mail", limit=20, tick=world.poison)

    assert report.done < 20, "each of its copies came after it began"
    assert {row.queue: row.messages for row in dead.all()}["mail"] == 1


def test_the_dashboard_counts_it_too(world: World) -> None:
    world.make_dead_letter_queue()
    world.poison()

    class Services:
        settings, sqs = world.settings, world.sqs

    depth = _depth(Services(), "mail")  # type: ignore[arg-type]
    assert (depth.problem, depth.dead_letters) == ("", 1)


def test_without_a_dead_letter_queue_it_is_left_out_and_the_refusal_says_which_to_make(world: World) -> None:
    dead = DeadQueues(world.settings, world.sqs)
    assert "mail" not in {row.queue for row in dead.all()}
    with pytest.raises(InvalidInput, match="'legacy-mail-dlq'; create it, because `jobclaim up` does not change"):
        dead.redrive("mail")


def test_the_doctor_names_a_remedy_that_helps_and_is_content_once_it_was_followed(world: World) -> None:
    before = [each for each in world.doctor() if each.level is Level.FAIL]
    assert ["no redrive policy" in each.problem for each in before] == [True]
    for each in world.doctor():
        assert "legacy-mail-dlq" in each.fix or each.level is Level.OK
        assert "run `jobclaim up`" not in each.fix
    dead = world.make_dead_letter_queue()
    world.sqs.set_queue_attributes(QueueUrl=dead, Attributes={"MessageRetentionPeriod": "1209600"})
    arn = world.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
    world.sqs.set_queue_attributes(QueueUrl=world.home, Attributes={"RedrivePolicy": policy})
    after = world.doctor()
    assert Level.FAIL not in {each.level for each in after}
    assert "redrives after 5 deliveries to legacy-mail-dlq" in {each.problem for each in after}
