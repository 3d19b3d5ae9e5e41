"""SQS's dead-letter queues: what is read, sent again and deleted, on a queue that is only written down."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from jobclaim.jobs import InvalidInput
from jobclaim.recovery.dead import queues
from jobclaim.recovery.dead.queues import (
    BATCH,
    EMPTY_ANSWERS,
    HIDE_SECONDS,
    DeadMessage,
    DeadQueue,
    DeadQueues,
    summary,
)
from jobclaim.settings import QueueSpec, Settings

MAIL, MAIL_DLQ = "https://sqs/mail", "https://sqs/jobclaim-mail-dlq"
GIVEN = "https://sqs.us-east-1.amazonaws.com/1/given"
SETTINGS = Settings(
    _env_file=None,
    default_queue="mail",
    queues=(QueueSpec(name="mail"), QueueSpec(name="given"), QueueSpec(name="none")),
    queue_urls={"given": GIVEN},
)
NOW = 1_000


class QueueDoesNotExist(Exception):
    """As boto3's."""


def message(name: str, *, sent_at: int = NOW, **more: Any) -> dict[str, Any]:
    """A message as SQS gives it."""
    attributes = {"SentTimestamp": str(sent_at), "ApproximateReceiveCount": "3"}
    return {
        "MessageId": name,
        "ReceiptHandle": f"r-{name}",
        "Body": f"body of {name}",
        "Attributes": attributes,
        **more,
    }


@dataclass
class Sqs:
    """SQS with one dead-letter queue, each of whose answers is one of ``answers``; the calls that change something."""

    answers: list[list[dict[str, Any]]] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    exceptions: Any = None

    def __post_init__(self) -> None:
        self.exceptions = type("Exceptions", (), {"QueueDoesNotExist": QueueDoesNotExist})

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:  # noqa: N803
        known = {"jobclaim-mail": MAIL, "jobclaim-mail-dlq": MAIL_DLQ}
        if QueueName not in known:
            raise QueueDoesNotExist
        return {"QueueUrl": known[QueueName]}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:  # noqa: N803
        if QueueUrl not in (MAIL_DLQ, f"{GIVEN}-dlq"):
            raise QueueDoesNotExist
        if AttributeNames == ["QueueArn"]:
            return {"Attributes": {"QueueArn": "arn"}}
        return {"Attributes": {AttributeNames[0]: "5"} | ({AttributeNames[1]: "2"} if QueueUrl == MAIL_DLQ else {})}

    def receive_message(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        found = self.answers.pop(0) if self.answers else []
        return {"Messages": found} if found else {}

    def send_message(self, **request: Any) -> None:
        self.calls.append(("send", *request.values()))

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        self.calls.append(("delete", QueueUrl, ReceiptHandle))

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:  # noqa: N803
        self.calls.append(("show", QueueUrl, ReceiptHandle, VisibilityTimeout))

    def did(self, what: str) -> list[str]:
        """The receipts of the calls of one kind."""
        return [call[2] for call in self.calls if call[0] == what]


def dead(*answers: list[dict[str, Any]]) -> tuple[DeadQueues, Sqs]:
    sqs = Sqs(list(answers))
    return DeadQueues(SETTINGS, sqs, clock=lambda: NOW), sqs


def test_each_queue_that_has_one_is_counted() -> None:
    assert dead()[0].all() == [
        DeadQueue(queue="mail", name="jobclaim-mail-dlq", messages=5, in_flight=2),
        DeadQueue(queue="given", name="given-dlq", messages=5, in_flight=0),
    ]


def test_without_a_client_one_is_made_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        queues, "client", lambda settings, service: {(SETTINGS.region, "sqs"): Sqs()}[settings.region, service]
    )
    assert [each.queue for each in DeadQueues(SETTINGS).all()] == ["mail", "given"]


@pytest.mark.parametrize(
    ("queue", "remedy"),
    [("none", "'jobclaim-none-dlq'; run `jobclaim up` to create it"), ("never", "queue 'never' is not")],
)
def test_a_queue_without_one_and_one_that_is_not_configured_are_refused(queue: str, remedy: str) -> None:
    with pytest.raises(InvalidInput, match=remedy):
        dead()[0].inspect(queue)


def test_what_is_inspected_is_released_at_once_and_no_more_is_read_than_was_asked_for() -> None:
    letters, sqs = dead([message(f"m{n}") for n in range(10)], [message("m10"), message("m11")])

    assert [each.message_id for each in letters.inspect("mail", limit=12)] == [f"m{n}" for n in range(12)]
    assert sqs.calls == [("show", MAIL_DLQ, f"r-m{n}", 0) for n in range(12)]
    assert [(asked["MaxNumberOfMessages"], asked["VisibilityTimeout"]) for asked in sqs.asked] == [
        (BATCH, HIDE_SECONDS),
        (2, HIDE_SECONDS),
    ]
    assert sqs.asked[0] == {
        "QueueUrl": MAIL_DLQ,
        "MaxNumberOfMessages": 10,
        "VisibilityTimeout": 120,
        "WaitTimeSeconds": 0,
        "AttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
        "MessageAttributeNames": ["All"],
    }


def test_a_queue_counts_as_empty_after_answers_in_a_row_without_anything_new() -> None:
    one, two = message("m1"), message("m2")
    letters, sqs = dead([], [one], [], [two, one], [one], [])

    assert [each.message_id for each in letters.inspect("mail")] == ["m1", "m2"]
    assert len(sqs.asked) == 4 + EMPTY_ANSWERS


def test_all_that_was_there_is_sent_again_with_its_attributes_before_it_is_deleted() -> None:
    reason = {"Reason": {"StringValue": "no task", "DataType": "String"}}
    letters, sqs = dead([message("old", MessageAttributes=reason), message("new", sent_at=NOW + 1)])
    ticks: list[int] = []

    report = letters.redrive("mail", tick=lambda: ticks.append(len(sqs.calls)))

    assert (report.seen, report.done, ticks) == (2, 1, [2])
    assert sqs.calls == [
        ("send", MAIL, "body of old", reason),
        ("delete", MAIL_DLQ, "r-old"),
        ("show", MAIL_DLQ, "r-new", 0),
    ]


def test_a_message_of_a_given_queue_goes_to_its_url() -> None:
    letters, sqs = dead([message("m")])
    letters.redrive("given")
    assert sqs.calls == [("send", GIVEN, "body of m", {}), ("delete", f"{GIVEN}-dlq", "r-m")]


def test_only_those_that_are_named_are_moved_and_the_search_ends_with_the_last() -> None:
    letters, sqs = dead([message("m1"), message("m2", sent_at=NOW + 1), message("m3")], [message("m4")])

    report = letters.discard("mail", ["m2"])

    assert (report.seen, report.done) == (3, 1)
    assert (sqs.did("delete"), sqs.did("show")) == (["r-m2"], ["r-m1", "r-m3"])
    assert len(sqs.asked) == 1


def test_a_limit_is_for_all_and_not_for_those_that_are_named() -> None:
    letters, sqs = dead([message(f"m{n}") for n in range(3)])
    assert letters.discard("mail", limit=3).done == 3
    assert [asked["MaxNumberOfMessages"] for asked in sqs.asked] == [3]

    letters, sqs = dead([message("m0"), message("m1")], [message("m2")])
    assert letters.discard("mail", ["m2"], limit=1).done == 1


@pytest.mark.parametrize("move", ["redrive", "discard"])
def test_so_many_are_moved_without_a_limit(move: str) -> None:
    letters, _ = dead(*[[message(f"m{10 * page + n}") for n in range(10)] for page in range(1001)])
    assert getattr(letters, move)("mail").done == 10_000


def test_what_was_kept_is_released_although_a_move_fails() -> None:
    letters, sqs = dead([message("new", sent_at=NOW + 1), message("old")])

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        letters.redrive("mail", tick=fail)
    assert sqs.did("show") == ["r-new"]


def body(headers: object) -> str:
    return json.dumps({"body": "args", "headers": headers})


IN_BASE64 = base64.b64encode(body({"task": "t", "id": "c"}).encode()).decode()


@pytest.mark.parametrize(
    ("text", "task", "job_id"),
    [
        (body({"task": "t", "id": "c", "jobclaim": {"job_id": "j"}}), "t", "j"),
        (body({"task": "t", "id": "c", "jobclaim": "v2"}), "t", "c"),
        (body({"task": None, "id": None}), "", ""),
        (body({"jobclaim": {}}), "", ""),
        (body([1]), "", ""),
        (IN_BASE64, "t", "c"),
        ("ü", "", ""),
        ("[]", "", ""),
        ("{}", "", ""),
        ("=", "", ""),
        (f"{IN_BASE64}\n", "", ""),
    ],
)
def test_a_message_is_summed_up_without_its_arguments(text: str, task: str, job_id: str) -> None:
    given = message("m", Body=text, MessageAttributes={"Reason": {"StringValue": "why"}})

    assert summary("mail", given) == DeadMessage(
        message_id="m",
        queue="mail",
        sent_at=NOW,
        received=3,
        bytes=len(text.encode()),
        task=task,
        job_id=job_id,
        reason="why",
    )


def test_a_message_without_attributes_is_summed_up() -> None:
    assert summary("mail", {"MessageId": "m", "Body": "x"}) == DeadMessage(
        message_id="m", queue="mail", sent_at=0, received=0, bytes=1
    )
