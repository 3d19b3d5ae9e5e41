"""What a process counts and writes now and then: the fleet's counts and the statistics of runs, request by request."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.protocol.histogram import bucket_of
from jobclaim.jobs.storage import pending
from jobclaim.jobs.storage.connect import client as connect
from jobclaim.jobs.storage.counters import Counters, with_timeout
from jobclaim.jobs.storage.lean import LeanClient
from jobclaim.jobs.storage.resilience import TRIES
from jobclaim.jobs.storage.statistics import DAY_MS, HOUR_MS, KEPT_DAYS, Statistics, key_of, task_of
from jobclaim.jobs.transitions import Move
from jobclaim.settings import Settings
from tests.support.clock import START_MS, ManualClock

TODAY = START_MS // DAY_MS
NOW = TODAY * DAY_MS + 7 * HOUR_MS + 12_345
HOUR = "h07"
TASK = "shop.charge"


class Line:
    """A client that takes requests, or fails while it is away."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[dict[str, Any]] = []

    def update_item(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if self.away:
            raise EndpointConnectionError(endpoint_url="http://dynamodb")
        return {}


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def waits() -> list[float]:
    """How long was waited between tries."""
    return []


@pytest.fixture
def counters(line: Line, waits: list[float]) -> Counters:
    return Counters(lambda: line, "fleet", clock=ManualClock(NOW), sleep=waits.append)


@pytest.fixture
def statistics(line: Line, waits: list[float]) -> Statistics:
    return Statistics(lambda: line, "jobs", clock=ManualClock(NOW), sleep=waits.append)


def ended(statistics: Statistics, move: Move = Move.COMPLETE, **before: Any) -> None:
    """Count the end of a run that took five seconds."""
    job = Job(job_id="j", task=TASK, queue="q", status=JobStatus.PROCESSING, **{"charged": 1, **before})
    statistics.moved(move, job, Job(job_id="j", task=TASK, queue="q", status=JobStatus.COMPLETED, finished_at=NOW))


Count = Callable[[], None]
Written = tuple[Counters | Statistics, Count, str]


@pytest.fixture(params=["counters", "statistics"])
def written(request: pytest.FixtureRequest, counters: Counters, statistics: Statistics) -> Written:
    """Each that is written so: what it counts, and the event of a write that failed."""
    if request.param == "counters":
        return counters, lambda: counters.count("submitted"), "counts.not_written"
    return statistics, lambda: ended(statistics), "statistics.not_written"


# --- both
def test_a_write_is_tried_again_and_at_the_end_of_the_process_once(
    written: Written, line: Line, waits: list[float]
) -> None:
    counts, count, _ = written
    line.away = True
    for last, tries in ((False, TRIES), (True, 1)):
        count()
        counts.flush(last=last)
        assert (len(line.asked), len(waits)) == (tries, tries - 1), "what was not written is dropped"
        line.asked.clear()
        waits.clear()
        counts.flush(last=last)
        assert line.asked == []


@pytest.mark.parametrize(
    "steps",
    [
        [("away", True), ("away", False), ("there", False), ("away", True)],
        [("last", False), ("away", False), ("there", False), ("last", False)],
    ],
)
def test_the_first_of_several_failures_is_logged_and_none_at_the_end_of_the_process(
    written: Written, line: Line, caplog: pytest.LogCaptureFixture, steps: list[tuple[str, bool]]
) -> None:
    counts, count, event = written
    for state, logged in steps:
        caplog.clear()
        line.away = state != "there"
        count()
        counts.flush(last=state == "last")
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [event] * logged


@pytest.mark.parametrize("away", [True, False])
@pytest.mark.parametrize("first", ["fleet", "jobs"])
def test_a_process_that_ends_writes_both_unless_the_first_fails(
    counters: Counters,
    statistics: Statistics,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    away: bool,
    first: str,
) -> None:
    both = {"fleet": counters._pending, "jobs": statistics._pending}
    monkeypatch.setattr(pending, "_by_process", {os.getpid(): dict.fromkeys([both[first], *both.values()])})
    counters.count("submitted")
    ended(statistics)
    line.away = away
    pending.write_all()
    assert {request["TableName"] for request in line.asked} == ({first} if away else {"fleet", "jobs"})


@pytest.mark.parametrize("is_lean", [True, False])
def test_boto3s_clients_try_once_and_for_some_seconds_and_others_are_asked_as_they_are(
    line: Line, monkeypatch: pytest.MonkeyPatch, is_lean: bool
) -> None:
    with mock_aws():
        boto = connect(Settings(), "dynamodb")
        client = LeanClient.of(boto) if is_lean else boto
        monkeypatch.setattr(LeanClient, "with_timeout", lambda self, seconds: (self.boto3s is boto, seconds))
        assert with_timeout(client, 3.0) == (True, 3.0)
    assert with_timeout(line, 3.0) is line


# --- the fleet's counts
def test_counts_and_notes_are_added_to_the_item_of_these_five_minutes_in_one_request(
    counters: Counters, line: Line
) -> None:
    counters.count("submitted")
    counters.count("submitted", 2)
    counters.flush()
    assert counters.add({"critical": 1}, {"task": TASK}) is True
    line.away = True
    assert counters.add({"critical": 1}) is False
    common = {"TableName": "fleet", "Key": {"worker_id": {"S": f"#tally#{NOW // 300_000 * 300_000}"}}}
    ttl = {":ttl": {"N": str(NOW // 1000 + 86_400)}}
    assert line.asked[:2] == [
        {
            **common,
            "UpdateExpression": "SET #ttl = :ttl ADD #submitted :submitted",
            "ExpressionAttributeNames": {"#ttl": "expires_at", "#submitted": "submitted"},
            "ExpressionAttributeValues": {**ttl, ":submitted": {"N": "3"}},
        },
        {
            **common,
            "UpdateExpression": "SET #ttl = :ttl, #task = :task ADD #critical :critical",
            "ExpressionAttributeNames": {"#ttl": "expires_at", "#critical": "critical", "#task": "task"},
            "ExpressionAttributeValues": {**ttl, ":critical": {"N": "1"}, ":task": {"S": TASK}},
        },
    ]


# --- the statistics of runs
@pytest.mark.parametrize(
    ("move", "before", "codes"),
    [
        (Move.COMPLETE, {}, "c"),
        (Move.COMPLETE_WITH_EFFECTS, {"charged": 2}, "cs"),
        (Move.COMPLETE, {"charged": 0}, "c"),
        (Move.COMPLETE, {"dead_retries": 1}, "csg"),
        (Move.FAIL, {}, "f"),
        (Move.FAIL, {"charged": 2}, "ft"),
        (Move.ORPHAN_FAIL, {"dead_retries": 2}, "ftb"),
        (Move.GIVE_UP, {"charged": 0}, "f"),
        (Move.RETRY, {"charged": 3, "dead_retries": 1}, "r"),
        (Move.ORPHAN_RETRY, {}, "r"),
        (Move.STOP, {"charged": 2, "dead_retries": 1}, "x"),
    ],
)
def test_a_run_counts_once_as_what_it_was(
    statistics: Statistics, line: Line, move: Move, before: dict[str, int], codes: str
) -> None:
    if ran := move is not Move.GIVE_UP:
        before = {**before, "available_at": NOW - 5_200, "claimed_at": NOW - 5_000}
    ended(statistics, move, **before)
    statistics.flush()
    of_all = {f":{HOUR}{code}": {"N": "1"} for code in codes}
    of_task = of_all | ({f":{HOUR}w{bucket_of(200)}": {"N": "1"}} if ran else {})
    if codes.startswith("c"):
        of_task[f":{HOUR}d{bucket_of(5_000)}"] = {"N": "1"}
    found = {}
    for request in line.asked:
        values = dict(request["ExpressionAttributeValues"])
        assert values.pop(":ttl") == {"N": str((TODAY + 1 + KEPT_DAYS) * DAY_MS // 1000)}
        assert (values.pop(":hash"), values.pop(":day")) == ({"S": "RUNS"}, {"N": str(TODAY * DAY_MS)})
        found[task_of(request["Key"]["job_id"]["S"])] = values
    assert found == {"": of_all, TASK: of_task}


@pytest.mark.parametrize("move", [Move.RELEASE, Move.CLAIM, Move.SUBMIT])
def test_what_ends_no_run_counts_nothing(statistics: Statistics, line: Line, move: Move) -> None:
    ended(statistics, move)
    statistics.flush()
    assert line.asked == []


@pytest.mark.parametrize("task", ["", TASK, "odd\x1fname"])
def test_the_key_of_a_days_runs_gives_its_task_back(task: str) -> None:
    key = key_of(TODAY, task)["job_id"]["S"]
    assert key == f"runs\x1f2096-10-02\x1f{task}"
    assert task_of(key) == task
