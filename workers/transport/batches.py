"""Batch requests to SQS, from a thread: the event loop never waits for a DeleteMessage."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from jobclaim.jobs.log import get_logger
from jobclaim.workers.transport.outage import Outage

log = get_logger("jobclaim.transport")

BATCH: Final = 10
"""Limit of entries in a batch request (AWS, "Amazon SQS message quotas")."""
LINGER_SECONDS: Final = 0.1
TRIES: Final = 20
"""Tries of one batch: with the backoff between them, about 45 seconds."""
CLOSE_SECONDS: Final = 5.0

Request = Callable[[str, Sequence[dict[str, Any]]], Mapping[str, Any]]
"""Makes one batch request on a queue's URL with these entries; returns SQS's answer."""


def delete(client: Any) -> Request:
    """Make requests that delete messages."""
    return lambda url, entries: client().delete_message_batch(QueueUrl=url, Entries=entries)


def release(client: Any, after_seconds: int = 0) -> Request:
    """Make requests that release messages: they are visible to every worker at once, or after some seconds."""

    def request(url: str, entries: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
        visible = [{**entry, "VisibilityTimeout": after_seconds} for entry in entries]
        answer: Mapping[str, Any] = client().change_message_visibility_batch(QueueUrl=url, Entries=visible)
        return answer

    return request


class Batcher:
    """Collects receipts and sends them in batches: when ten wait, or the first has waited for 100 ms.

    A batch that fails is retried with backoff, then dropped with a log line. That is harmless: SQS redelivers a message
    that was not deleted, and its claim is refused; one that was not released is redelivered when its visibility timeout
    ends.

    The thread starts with the first receipt. A forked child has no thread and must not act for its parent: there, every
    method does nothing.
    """

    def __init__(self, what: str, request: Request, linger: float = LINGER_SECONDS) -> None:
        self._what = what
        self._request = request
        self._linger = linger
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: dict[str, list[str]] = defaultdict(list)
        self._oldest = 0.0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._outage = Outage(what)

    def put(self, queue_url: str, receipt: str) -> None:
        """Add a message; return at once."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            if not any(self._waiting.values()):
                self._oldest = time.monotonic()
            self._waiting[queue_url].append(receipt)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"jobclaim {self._what}", daemon=True)
                self._thread.start()
            count = len(self._waiting[queue_url])
            if count == 1 or count >= BATCH or self._closing:
                self._changed.notify()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send the waiting receipts; give up after so many seconds."""
        if os.getpid() != self._pid or self._thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            left = sum(map(len, self._waiting.values()))
        if left or self._thread.is_alive():
            log.warning("sqs.requests_skipped", request=self._what, left=left)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_time():
                    self._changed.wait(self._pause())  # computed each time, because the first receipt starts the clock
                batches = self._take()
                if not batches and self._closing:
                    return
            for url, receipts in batches:
                self._send(url, receipts)

    def _pause(self) -> float | None:
        if not any(self._waiting.values()):
            return None
        return max(0.0, self._oldest + self._linger - time.monotonic())

    def _is_time(self) -> bool:
        if self._closing or any(len(receipts) >= BATCH for receipts in self._waiting.values()):
            return True
        return any(self._waiting.values()) and time.monotonic() >= self._oldest + self._linger

    def _take(self) -> list[tuple[str, list[str]]]:
        """Take full batches, and the rest when it is due."""
        due = self._closing or time.monotonic() >= self._oldest + self._linger
        taken = []
        for url, receipts in self._waiting.items():
            while len(receipts) >= BATCH or (receipts and due):
                taken.append((url, receipts[:BATCH]))
                del receipts[:BATCH]
        self._oldest = time.monotonic()
        return taken

    def _send(self, url: str, receipts: Sequence[str]) -> None:
        left = list(receipts)
        for _ in range(TRIES):
            left, reason = self._try(url, left)
            if not left:
                return self._outage.succeeded()
            pause = self._outage.failed(reason)
            time.sleep(min(pause, self._linger) if self._closing else pause)
        log.warning("sqs.request_abandoned", request=self._what, messages=len(left), reason=reason)
        return None

    def _try(self, url: str, receipts: Sequence[str]) -> tuple[list[str], str]:
        """Make one request; return the receipts that it failed for, and why."""
        entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)]
        try:
            answer = self._request(url, entries)
        except Exception as error:  # noqa: BLE001 - the thread must outlive every error of SQS, boto3 and the network
            return list(receipts), f"{type(error).__name__}: {error}"
        failed = [entry for entry in answer.get("Failed", ()) if not entry.get("SenderFault")]
        reason = failed[0].get("Code", "?") if failed else ""
        return [receipts[int(entry["Id"])] for entry in failed], reason
