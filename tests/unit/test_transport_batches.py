"""Batches of deletes: full ones go at once, the last few soon."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from jobclaim.workers.transport.batches import Batcher, release
from tests.support.waiting import wait_until


class Queue:
    """Takes batches as SQS does."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, url: str, entries: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
        self.batches.append([entry["ReceiptHandle"] for entry in entries])
        return {}

    def receipts(self) -> list[str]:
        """Give all receipts so far."""
        return [receipt for batch in self.batches for receipt in batch]

    def has(self, receipt: str) -> bool:
        """Whether a receipt has come."""
        return receipt in self.receipts()


@pytest.fixture
def queue() -> Queue:
    """An empty queue."""
    return Queue()


@pytest.fixture
def batcher(queue: Queue) -> Iterator[Batcher]:
    """A batcher on that queue, which has been idle since its first batch."""
    made = Batcher("deleting messages", queue, linger=0.05)
    made.put("url", "first")
    wait_until(lambda: queue.batches, 30, "the first batch is sent")
    yield made
    made.close()


def test_fewer_than_a_full_batch_are_sent_when_they_have_waited(batcher: Batcher, queue: Queue) -> None:
    for receipt in "abc":
        batcher.put("url", receipt)
    wait_until(
        lambda: queue.receipts() == ["first", "a", "b", "c"], 30, lambda: f"all are sent, not only {queue.batches}"
    )


def test_each_idle_time_ends_with_the_next_receipt(batcher: Batcher, queue: Queue) -> None:
    for number in range(5):
        batcher.put("url", str(number))
        wait_until(partial(queue.has, str(number)), 30, f"receipt {number} is sent")


def test_receipts_of_two_queues_travel_apart(batcher: Batcher, queue: Queue) -> None:
    batcher.put("url", "a")
    batcher.put("other", "b")
    wait_until(lambda: ["a"] in queue.batches and ["b"] in queue.batches, 30, lambda: f"both are sent: {queue.batches}")


def test_many_are_sent_by_tens(batcher: Batcher, queue: Queue) -> None:
    for number in range(25):
        batcher.put("url", str(number))
    wait_until(lambda: len(queue.receipts()) == 26, 30, "all are sent")
    assert max(map(len, queue.batches)) <= 10
    assert queue.receipts()[1:] == [str(number) for number in range(25)]


def test_a_forked_child_does_not_speak_for_its_parent(batcher: Batcher, queue: Queue) -> None:
    batcher.put("url", "of the parent")
    child = os.fork()
    if child == 0:
        batcher.put("url", "of the child")
        batcher.close()
        os._exit(0 if not queue.has("of the child") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    wait_until(lambda: queue.has("of the parent"), 30, "the parent's own is sent")


def test_a_batch_that_fails_is_sent_again_without_what_succeeded() -> None:
    calls: list[list[str]] = []

    def flaky(url: str, entries: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
        calls.append([entry["ReceiptHandle"] for entry in entries])
        if len(calls) == 1:
            raise ConnectionError("down")
        return (
            {"Failed": [{"Id": entries[-1]["Id"], "Code": "InternalError", "SenderFault": False}]}
            if len(calls) == 2
            else {}
        )

    full = list("abcdefghij")  # goes at once, so that the machine's pace does not divide it
    batcher = Batcher("deleting messages", flaky, linger=60)
    for receipt in full:
        batcher.put("url", receipt)
    wait_until(lambda: len(calls) == 3, 30, lambda: f"three requests, not {calls}")
    batcher.close()
    assert calls == [full, full, ["j"]]


def test_a_receipt_that_sqs_does_not_know_is_not_tried_again() -> None:
    calls: list[int] = []

    def refusing(url: str, entries: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
        calls.append(len(entries))
        return {"Failed": [{"Id": "0", "Code": "ReceiptHandleIsInvalid", "SenderFault": True}]}

    batcher = Batcher("deleting messages", refusing, linger=0.01)
    batcher.put("url", "stale")
    batcher.close()
    assert calls == [1]


def test_closing_sends_what_waits_and_gives_up_in_time(queue: Queue) -> None:
    batcher = Batcher("deleting messages", queue, linger=60)
    batcher.put("url", "last")
    batcher.close()
    assert queue.receipts() == ["last"]

    def down(url: str, entries: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
        raise ConnectionError("down")

    stuck = Batcher("deleting messages", down, linger=0.01)
    stuck.put("url", "lost")
    began = time.monotonic()
    stuck.close(seconds=0.5)
    assert time.monotonic() - began < 30


def test_giving_back_makes_messages_visible_at_once() -> None:
    class Client:
        def change_message_visibility_batch(self, **request: Any) -> Mapping[str, Any]:
            self.request = request
            return {}

    client = Client()
    entry = {"Id": "0", "ReceiptHandle": "r"}
    release(lambda: client)("url", [entry])
    assert client.request == {"QueueUrl": "url", "Entries": [{**entry, "VisibilityTimeout": 0}]}

    release(lambda: client, after_seconds=25)("url", [entry])  # those of a queue that was just paused
    assert client.request == {"QueueUrl": "url", "Entries": [{**entry, "VisibilityTimeout": 25}]}
