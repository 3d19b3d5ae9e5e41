"""What a batch reports when some of it goes wrong, and that repeating it repairs exactly that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from celery import shared_task

from jobclaim.jobs import IdempotencyMismatch, InvalidInput, InvalidPayload, JobStatus
from jobclaim.jobs.repo.joining import begin
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.messages.envelope import unseal
from jobclaim.workers.submission import batch_messages, bulk
from jobclaim.workers.submission.bulk import WINDOW, as_call
from tests.support.waiting import wait_until

LARGE = "x" * 5_000
"""A payload with an item of its own."""
ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@shared_task(base=JobTask, bind=True, name="bulk.note")
def note(self: Any, value: Any, factor: int = 1) -> Any:
    """Note the value."""
    ran.append(value)
    return value


@shared_task(base=IdempotentTask, bind=True, name="bulk.once")
def once(self: Any, value: Any) -> Any:
    """Note the value, once."""
    ran.append(value)
    return value


@shared_task(base=JobTask, bind=True, name="bulk.outer")
def outer(self: Any) -> None:
    """Submit from a body."""
    note.submit_many([1])


def test_elements_are_read_as_calls() -> None:
    assert as_call((1, 2)) == ([1, 2], {})
    assert as_call({"value": 1}) == ([], {"value": 1})
    assert as_call("word") == (["word"], {})


def test_every_call_gets_a_job_and_a_message(jobclaim: Harness) -> None:
    positions: list[int] = []
    report = note.submit_many(
        [(1,), {"value": 2, "factor": 3}, 3], each=lambda position, job: positions.append(position), threads=1
    )
    assert (report.submitted, report.failed, report.ok, positions) == (3, 0, True, [0, 1, 2])
    jobclaim.drain()
    assert ran == [1, 2, 3]


def test_jobclaim_is_asked_for_before_the_connection(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the default app of a program without one of its own, asking installs it: else it connects to RabbitMQ."""
    order: list[str] = []
    connect, handle = note.app.connection_for_write, note.jobclaim

    def connecting() -> Any:
        order.append("connection")
        return connect()

    def asked(_: Any) -> Any:
        order.append("jobclaim")
        return handle

    monkeypatch.setattr(note.app, "connection_for_write", connecting)
    monkeypatch.setattr(note.__class__, "jobclaim", property(asked))
    note.submit_many([1], threads=1)
    assert order[0] == "jobclaim"


def test_calls_that_are_refused_are_named_and_the_others_go_on(jobclaim: Harness) -> None:
    report = note.submit_many([1, (1, 2, 3, 4), {1}, 4], threads=1)
    assert (report.submitted, report.failed, report.ok) == (2, 2, False)
    assert [failure.position for failure in report.failures] == [1, 2]
    assert isinstance(report.failures[0].error, TypeError)
    assert isinstance(report.failures[1].error, InvalidPayload)


def test_a_repeated_batch_adds_only_what_was_missing(jobclaim: Harness) -> None:
    first = note.submit_many([1, {1}, 3], threads=1)
    jobclaim.drain()
    again = note.submit_many([1, "text", 3], batch=first.batch, threads=1)
    assert (again.submitted, again.duplicates, again.failed) == (1, 2, 0)
    jobclaim.drain()
    assert ran == [1, 3, "text"]


def test_a_batch_name_reused_for_other_calls_is_a_failure_not_the_old_result(jobclaim: Harness) -> None:
    note.submit_many([1, 2, 3], batch="monday", threads=1)
    jobclaim.drain()
    report = note.submit_many([1, {"value": 2, "factor": 1}, 4], batch="monday", threads=1)
    assert (report.duplicates, report.failed, report.ok) == (2, 1, False)
    assert isinstance(report.failures[0].error, IdempotencyMismatch)
    jobclaim.drain()
    assert ran == [1, 2, 3]


def test_a_repeated_batch_sends_messages_that_were_lost(jobclaim: Harness) -> None:
    first = note.submit_many([1, 2], threads=1)
    jobclaim.messages.clear()
    note.submit_many([1, 2], batch=first.batch, threads=1)
    jobclaim.drain()
    assert ran == [1, 2]


@pytest.mark.parametrize("key", [None, "k"])
def test_equal_calls_of_another_batch_send_messages_that_were_lost(jobclaim: Harness, key: str | None) -> None:
    task, options = (once, {}) if key is None else (note, {"idempotency_key": key})
    task.submit_many([1], threads=1, **options)
    jobclaim.messages.clear()
    jobclaim.travel(6)
    reports = [task.submit_many([1], threads=1, **options) for _ in range(2)]
    assert [report.duplicates for report in reports] == [1, 1]
    assert len(jobclaim.messages) == 1, "one of them counts it"
    jobclaim.drain()
    assert ran == [1]


def test_idempotent_calls_are_one_in_a_batch_too(jobclaim: Harness) -> None:
    report = once.submit_many([1, 1, 2], threads=1)
    assert (report.submitted, report.duplicates) == (2, 1)
    jobclaim.drain()
    assert ran == [1, 2]


def test_a_batch_may_be_for_later(jobclaim: Harness) -> None:
    note.submit_many([1], countdown=120, threads=1)
    jobclaim.drain()
    assert ran == []
    jobclaim.travel(121)
    jobclaim.drain()
    assert ran == [1]


def test_a_batch_tells_its_progress(jobclaim: Harness) -> None:
    totals: list[int] = []
    note.submit_many(range(25), progress=lambda report: totals.append(report.total), threads=1)
    assert totals == [10, 20, 25]


def test_nonsense_is_refused_before_anything_is_written(jobclaim: Harness) -> None:
    with pytest.raises(InvalidInput, match=r"^threads=0 must be at least 1$"):
        note.submit_many([1], threads=0)
    with pytest.raises(InvalidInput, match=r"^batch='' must be text"):
        note.submit_many([1], batch="")
    assert jobclaim.submitted == []


def test_the_calls_are_read_as_far_ahead_as_the_window_allows(jobclaim: Harness) -> None:
    read, ahead = 0, list[int]()

    def calls() -> Iterator[int]:
        nonlocal read
        while read < 300:
            read += 1
            yield read

    report = note.submit_many(calls(), each=lambda position, _: ahead.append(read - position), threads=1)
    assert (report.submitted, len(ahead)) == (300, 300)
    assert max(ahead) == WINDOW


@pytest.mark.parametrize(
    ("value", "client_begins", "sizes"), [("x", True, {32}), ("x", False, {1}), (LARGE, True, {1, 32})]
)
def test_jobs_are_written_together_where_one_thread_can(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch, value: str, client_begins: bool, sizes: set[int]
) -> None:
    groups: list[int] = []

    def noted(repo: Any, puts: Any) -> Any:
        groups.append(len(puts))
        return begin(repo, puts)

    monkeypatch.setattr(bulk, "begin", noted)
    monkeypatch.setattr(bulk, "can_begin", lambda _: client_begins)
    report = note.submit_many([value] * 3 * WINDOW, threads=1)
    assert (report.submitted, sum(groups), set(groups)) == (3 * WINDOW, 3 * WINDOW, sizes)
    assert groups.count(32) == 1 or sizes != {1, 32}


def test_answers_are_read_while_the_caller_takes_its_time(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would count as lost after the client's timeout."""
    finished: list[int] = []

    def noted(repo: Any, puts: Any) -> Any:
        finish, apart = begin(repo, puts)

        def counted() -> Any:
            outcomes = finish()
            finished.append(len(outcomes))
            return outcomes

        return counted, apart

    def each(position: int, _: Any) -> None:
        if position == 0:
            wait_until(lambda: sum(finished) == WINDOW, 30, "all puts that are under way are finished")

    monkeypatch.setattr(bulk, "begin", noted)
    monkeypatch.setattr(bulk, "can_begin", lambda _: True)
    assert note.submit_many(range(WINDOW + 1), each=each).submitted == WINDOW + 1


def test_jobs_that_a_body_submits_name_its_own_as_their_parent(jobclaim: Harness) -> None:
    parent = outer.delay()
    jobclaim.drain()
    (child,) = jobclaim.submitted_of(note)
    assert unseal(child.envelope)["parent_id"] == parent.id
    assert ran == [1]


def test_an_error_that_is_not_of_one_call_ends_the_batch(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    create, reported = jobclaim.repo.create_job, list[int]()

    def broken(task: str, payload: Any, **options: Any) -> Any:
        if payload["args"] == [3]:
            raise ZeroDivisionError
        return create(task, payload, **options)

    monkeypatch.setattr(jobclaim.repo, "create_job", broken)
    with pytest.raises(ZeroDivisionError):
        note.submit_many(range(1, 6), each=lambda position, _: reported.append(position), threads=1)
    assert reported == [0, 1]


def test_a_job_that_a_calls_own_code_submits_is_written_by_itself(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_json = JobTask.to_json

    def auditing(self: Any, args: Any, kwargs: Any) -> Any:
        if self.name == note.name:
            once.delay(["audit", *args])
        return to_json(self, args, kwargs)

    monkeypatch.setattr(JobTask, "to_json", auditing)
    assert note.submit_many([1, 2, 3], threads=1).submitted == 3
    jobclaim.drain()
    assert sorted(map(str, ran)) == ["1", "2", "3", "['audit', 1]", "['audit', 2]", "['audit', 3]"]


def test_a_failure_in_the_report_keeps_no_frames(jobclaim: Harness) -> None:
    """They hold the payloads of all the calls that were made with its own."""
    report = note.submit_many([1, {"nope": 1}, "x" * 1_000_000], threads=1)
    assert [failure.position for failure in report.failures] == [1, 2]
    errors: list[BaseException | None] = [failure.error for failure in report.failures]
    while errors:
        if (error := errors.pop()) is not None:
            assert error.__traceback__ is None
            errors += [error.__cause__, error.__context__]


class Sqs:
    """Answers SendMessageBatch as it is told."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.asked.append([entry["Id"] for entry in Entries])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        failed = [{"Id": number, "SenderFault": sender} for number, sender in answer.items()]
        return {"Successful": [{"Id": e["Id"]} for e in Entries if e["Id"] not in answer], "Failed": failed}


@pytest.mark.parametrize(
    ("answers", "sent", "asked"),
    [
        ([{}], 3, [["0", "1", "2"]]),
        ([{"1": False}, {}], 3, [["0", "1", "2"], ["1"]]),
        ([{"1": True}], 2, [["0", "1", "2"]]),
        ([{"0": False}, {"0": False}, {"0": False}], 2, [["0", "1", "2"], ["0"], ["0"]]),
        ([EndpointConnectionError(endpoint_url="http://x")], 0, [["0", "1", "2"]]),
    ],
)
def test_entries_that_sqs_failed_by_itself_are_sent_again(
    answers: list[Any], sent: int, asked: list[list[str]]
) -> None:
    sqs = Sqs(*answers)
    entries = [{"MessageBody": str(number)} for number in range(3)]
    assert batch_messages.begin(sqs, [("url", entries)])() == sent
    assert sqs.asked == asked


def test_messages_that_cannot_be_sent_leave_their_jobs_to_recovery(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no queue")

    with monkeypatch.context() as patch:
        patch.setattr(batch_messages, "publish", refuse)
        report = note.submit_many([1, 2], threads=1)
    assert (report.submitted, report.unsent, report.ok) == (2, 2, True)
    jobclaim.travel(300)
    jobclaim.recover()
    jobclaim.drain()
    assert sorted(ran) == [1, 2]
    assert jobclaim.states() == {JobStatus.COMPLETED: 2}
