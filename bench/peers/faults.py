"""Three faults on DynamoDB Local and ElasticMQ, judged by the bodies' evidence and by the result of a repeated call.

::

    duplicate   three copies of one message: two at once, one when the work is over    ▶ body starts once
    crash       kill -9 of the worker and its processes while the body runs            ▶ the work is done, or a failure
                                                                                         is on record where it is asked
    equal       one call submitted twice, before any worker runs                       ▶ body starts once

Visibility timeouts, leases and heartbeats are seconds here instead of minutes, for all peers.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bench.peers.catalog import Peer, queue_of
from bench.peers.endpoints import Endpoints
from bench.stub import ROOT
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_until

VISIBILITY_SECONDS: Final = 8
PATIENCE_SECONDS: Final = 27.0
"""Time allowed for a killed worker's work to be done again: three visibility timeouts and the body's own time."""
STILL_SECONDS: Final = 2.0
BODY_SECONDS: Final = 2.0
PROCESSES: Final = 2
SETTINGS: Final = {
    "JOBCLAIM_HEARTBEAT_SECONDS": "1",
    "JOBCLAIM_WORKER_DEAD_AFTER_SECONDS": "5",
    "JOBCLAIM_WAIT_TIME_SECONDS": "1",
    "BENCH_VISIBILITY": str(VISIBILITY_SECONDS),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a peer under a fault.

    Attributes
    ----------
    what : str
        Short description for the table.
    seen : dict
        The evidence: body starts and ends, results of the callers.
    """

    passed: bool
    what: str
    seen: dict[str, Any]


def judge(endpoints: Endpoints, peer: Peer) -> dict[str, Verdict]:
    """Test one peer under the three faults, each with its own call."""
    endpoints.prepare(peer, visibility=VISIBILITY_SECONDS)
    return {
        "duplicate": _duplicate(endpoints, peer),
        "crash": _crash(endpoints, peer),
        "equal": _equal(endpoints, peer),
    }


# --- the faults
def _duplicate(endpoints: Endpoints, peer: Peer) -> Verdict:
    name = f"duplicate-{peer.key}"
    _call(endpoints, peer, name)
    message = _take(endpoints, peer)
    _send(endpoints, peer, message, 2)
    with _working(endpoints, peer):
        _until_ended(endpoints, peer, name)
        _until_still(endpoints, peer)
        _send(endpoints, peer, message, 1)
        _until_still(endpoints, peer)
    seen = _evidence(endpoints, peer, name)
    times = seen["start"]
    return Verdict(times == 1, "once" if times == 1 else f"runs {times} times", dict(seen))


def _crash(endpoints: Endpoints, peer: Peer) -> Verdict:
    name = f"crash-{peer.key}"
    _call(endpoints, peer, name)
    with _working(endpoints, peer) as worker:
        wait_until(lambda: _evidence(endpoints, peer, name)["start"], 30, f"the body of {name} starts", poll=0.02)
        worker.send_group(signal.SIGKILL)
    began = time.monotonic()
    with _working(endpoints, peer, "second"):
        with suppress(TimeoutError):
            _until_ended(endpoints, peer, name, PATIENCE_SECONDS)
        seen: dict[str, Any] = dict(_evidence(endpoints, peer, name), seconds=round(time.monotonic() - began, 1))
        left = _messages(endpoints, peer)
        seen["asked_again"] = _call(endpoints, peer, name)
        _until_still(endpoints, peer, left)
    return crash_verdict(seen, starts_in_the_end=_evidence(endpoints, peer, name)["start"])


def crash_verdict(seen: dict[str, Any], starts_in_the_end: int) -> Verdict:
    """Check the result of a kill -9: whether the work was done elsewhere or lost, and whether a repeated call helps."""
    if seen.get("end"):
        return Verdict(True, "runs again", seen)
    stuck = starts_in_the_end == seen["start"]
    return Verdict(False, "lost, and an equal call does not run" if stuck else "lost", seen)


def _equal(endpoints: Endpoints, peer: Peer) -> Verdict:
    name, left = f"equal-{peer.key}", _messages(endpoints, peer)
    answers = [_call(endpoints, peer, name), _call(endpoints, peer, name)]
    with _working(endpoints, peer):
        _until_ended(endpoints, peer, name)
        _until_still(endpoints, peer, left)
        together = _evidence(endpoints, peer, name)["start"]
        answers.append(_call(endpoints, peer, name))
        _until_still(endpoints, peer, left)
    seen = _evidence(endpoints, peer, name)
    return equal_verdict(together, dict(seen, callers=answers))


def equal_verdict(together: int, seen: dict[str, Any]) -> Verdict:
    """Check two equal calls that wait at the same time, and describe a third one after they have ended.

    Raises `ValueError` if more than the third one started a body after the first two had been counted.
    """
    if seen["start"] > together + 1:
        raise ValueError(f"{together} bodies were counted too early: {seen}")
    if together != 1:
        return Verdict(False, "both run", seen)
    if seen["start"] > 1:
        return Verdict(True, "one run; a later call runs again", seen)
    known = "SUCCESS" in seen["callers"][-1]
    return Verdict(True, "one run; a later call gets its result" if known else "one run; a later call is dropped", seen)


# --- helpers
def _call(endpoints: Endpoints, peer: Peer, name: str) -> str:
    (answer,) = endpoints.submit(peer, "call", name, str(BODY_SECONDS), "1", **SETTINGS)
    return str(answer)


@contextmanager
def _working(endpoints: Endpoints, peer: Peer, name: str = "worker") -> Iterator[ManagedProcess]:
    """Run a worker until the block ends, and for jobclaim its recovery."""
    with ExitStack() as exits:
        if peer.is_ours:
            recovery = [sys.executable, "-m", "jobclaim", "recover", "--every", "1"]
            environment = endpoints.environment(peer, **SETTINGS)
            exits.enter_context(
                ManagedProcess("recovery", recovery, log_dir=endpoints.folder, env=environment, cwd=ROOT)
            )
        worker = endpoints.worker(peer, PROCESSES, name, **SETTINGS)
        exits.callback(worker.stop)
        yield worker


def _evidence(endpoints: Endpoints, peer: Peer, name: str) -> Counter[str]:
    """Return the starts and ends of the bodies of one call."""
    path = endpoints.evidence(peer)
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter({"start": 0, "end": 0}) + Counter(line.split()[0] for line in lines if line.split()[1] == name)


def _until_ended(endpoints: Endpoints, peer: Peer, name: str, seconds: float = 40) -> None:
    wait_until(lambda: _evidence(endpoints, peer, name)["end"], seconds, f"a body of {name} ends")


def _until_still(endpoints: Endpoints, peer: Peer, left: int = 0) -> None:
    """Wait until the queue is empty and no body has started or ended for a while.

    A message that a worker has taken and not started is not visible, but it is in the queue. ``left`` messages may stay
    there: those that a killed worker had taken.
    """
    before: list[Any] = [None, time.monotonic()]

    def still() -> bool:
        path = endpoints.evidence(peer)
        now = (path.read_text() if path.exists() else "", _messages(endpoints, peer))
        if now != before[0] or now[1] > left:
            before[:] = [now, time.monotonic()]
        running = Counter(line.split()[0] for line in now[0].splitlines())
        unfinished = running["start"] > running["end"]
        return bool(time.monotonic() - before[1] > STILL_SECONDS + BODY_SECONDS * unfinished)

    wait_until(still, 60, f"{peer.key} has nothing more to do", poll=0.2)


def _messages(endpoints: Endpoints, peer: Peer) -> int:
    """Return the messages of the queue, visible or not."""
    answer = endpoints.client("sqs").get_queue_attributes(QueueUrl=_url(endpoints, peer), AttributeNames=["All"])
    names = ("", "NotVisible", "Delayed")
    return sum(int(answer["Attributes"].get(f"ApproximateNumberOfMessages{name}", 0)) for name in names)


def _url(endpoints: Endpoints, peer: Peer) -> str:
    return f"{endpoints.sqs}/000000000000/{queue_of(peer)[1]}"


def _take(endpoints: Endpoints, peer: Peer) -> dict[str, Any]:
    """Receive the only message of the queue, as it is on the wire."""
    sqs, url = endpoints.client("sqs"), _url(endpoints, peer)
    answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, MessageAttributeNames=["All"])
    (message,) = answer["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return dict(message)


def _send(endpoints: Endpoints, peer: Peer, message: dict[str, Any], copies: int) -> None:
    attributes = message.get("MessageAttributes")
    more = {"MessageAttributes": attributes} if attributes else {}
    for _ in range(copies):
        endpoints.client("sqs").send_message(QueueUrl=_url(endpoints, peer), MessageBody=message["Body"], **more)
