"""Workers' records in the fleet table in detail, on the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from jobclaim.fleet.workers import CANCEL, KEPT_SECONDS, FleetRecords, WorkerRecord, is_cancel_under_way, workers_in
from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import START_MS, ManualClock
from tests.support.fleet_records import stored

SETTINGS = Settings(_env_file=None)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def test_a_worker_is_lost_when_its_time_is_up() -> None:
    record = WorkerRecord(worker_id="w1", seen_at=1_000)
    assert [record.is_lost(1_000 + later, 60) for later in (59_999, 60_000)] == [False, True]
    stopping = replace(record, drain=True)
    assert [one.state(2_000, 60) for one in (record, stopping)] == ["alive", "stopping"]
    assert stopping.state(61_000, 60) == "dead"


FULL = WorkerRecord(
    worker_id="w1", seen_at=START_MS, started_at=START_MS - 5, queues=("a", "b"), jobs=("j1",), claims=("t1",),
    version="1.2", host="h", pid=7, concurrency=4, digest="d", node="celery@h", tasks="x",
)  # fmt: skip


def test_a_heartbeat_comes_back_as_it_was_written_and_is_kept_for_a_day(repo: JobRepo) -> None:
    records = FleetRecords.of(repo)
    assert records.beat(FULL) == FULL == records.get("w1")
    assert stored(repo, "w1")[schema.FLEET_TTL] == attribute(START_MS // 1000 + KEPT_SECONDS)
    assert records.beat(replace(FULL, worker_id="w2", claims=None)).claims is None
    assert records.remove("w1") == FULL
    assert (records.remove("w1"), records.get("w1")) == (None, None)


def test_commands_stay_until_they_are_done_and_drain_until_the_end(repo: JobRepo) -> None:
    records = FleetRecords.of(repo)
    assert (records.ask("w1", "j1", CANCEL), records.ask_to_drain("w1")) == (None, None)
    records.beat(FULL)
    asked = [records.ask("w1", job_id, CANCEL) for job_id in ("j1", "j2")][-1]
    drained = records.ask_to_drain("w1")
    assert asked is not None
    assert drained is not None
    assert (dict(asked.commands), drained.drain) == ({"j1": CANCEL, "j2": CANCEL}, True)
    after = records.beat(FULL, done=["j1"])
    assert (dict(after.commands), after.drain) == ({"j2": CANCEL}, True)
    assert dict(records.beat(replace(FULL, seen_at=START_MS + 1), done=["j2"]).commands) == {}


@pytest.mark.parametrize("done", [[], ["j1"]])
def test_a_late_heartbeat_gives_the_newer_record_and_one_far_ahead_is_replaced(repo: JobRepo, done: list[str]) -> None:
    records = FleetRecords.of(repo)
    newer = records.beat(replace(FULL, seen_at=START_MS + BELIEVED_AHEAD_MS))
    records.ask("w1", "j1", CANCEL)
    assert records.beat(FULL, done=done).seen_at == newer.seen_at
    right = replace(FULL, seen_at=START_MS - 1)
    assert records.beat(right, done=done).seen_at == right.seen_at
    assert dict(records.beat(right).commands) == ({} if done else {"j1": CANCEL})


def test_a_heartbeat_after_its_record_was_removed_makes_a_new_one_and_another_error_is_raised(repo: JobRepo) -> None:
    records = FleetRecords.of(repo)
    assert records.beat(FULL, done=["j1"]) == FULL
    bare = {"worker_id": attribute("w2"), "seen_at": attribute(START_MS)}
    repo.table.client().put_item(TableName=SETTINGS.fleet_table, Item=bare)
    second = replace(FULL, worker_id="w2")
    assert records.beat(second, done=["j1"]) == second, "an older record has no commands to remove"
    refused = ClientError({"Error": {"Code": "AccessDenied"}}, "UpdateItem")
    with patch.object(records, "_client") as client:
        client.return_value.update_item.side_effect = refused
        with pytest.raises(ClientError, match="AccessDenied"):
            records.beat(FULL, done=["j1"])
    assert client.return_value.update_item.call_count == 1


def test_only_workers_records_are_workers_and_they_come_longest_running_first(repo: JobRepo) -> None:
    records = FleetRecords.of(repo)
    for name, started in (("w3", 1), ("w1", 2), ("w2", 2)):
        records.beat(replace(FULL, worker_id=name, started_at=started))
    client = repo.table.client()
    for other in ({"worker_id": attribute("#ours"), "seen_at": attribute(1)}, {"worker_id": attribute("breaker")}):
        client.put_item(TableName=SETTINGS.fleet_table, Item=other)
    assert [record.worker_id for record in records.all()] == ["w3", "w1", "w2"]
    assert [record.worker_id for record in records.live(60)] == ["w3", "w1", "w2"]
    assert workers_in([{"worker_id": attribute("w1"), "seen_at": {"S": "x"}}]) == []
    assert records.get("breaker") is None


def test_a_scan_goes_on_to_its_last_page_with_its_consistency() -> None:
    one, two = {"n": attribute(1)}, {"n": attribute(2)}
    pages: list[dict[str, Any]] = [{"Items": [one], "LastEvaluatedKey": "k"}, {"Items": [two]}]
    asked: list[dict[str, Any]] = []

    class Client:
        def scan(self, **request: Any) -> dict[str, Any]:
            asked.append(dict(request))
            return pages[len(asked) - 1]

    records = FleetRecords(Client, "fleet", clock=lambda: 0, sleep=lambda _: None)
    assert list(records.pages(consistent=True)) == [([one], False), ([two], True)]
    first = {"TableName": "fleet", "ConsistentRead": True}
    assert asked == [first, {**first, "ExclusiveStartKey": "k"}]
    asked.clear()
    assert len(list(records.pages())) == 2
    assert asked[0]["ConsistentRead"] is False


def test_a_lost_workers_record_is_removed_only_if_it_is_the_one_that_was_read(repo: JobRepo) -> None:
    records = FleetRecords.of(repo)
    records.beat(FULL)
    assert [records.remove_unseen("w1", seen_at) for seen_at in (START_MS - 1, START_MS)] == [False, True]


@pytest.mark.parametrize(
    ("job", "under_way"),
    [
        ({}, True),
        ({"job_id": "j2"}, False),
        ({"worker_id": "w2"}, False),
        ({"worker_id": ""}, False),
        ({"status": JobStatus.PENDING}, False),
    ],
)
def test_a_cancellation_is_under_way_while_its_command_waits(
    repo: JobRepo, job: dict[str, Any], under_way: bool
) -> None:
    FleetRecords.of(repo).beat(FULL)
    FleetRecords.of(repo).ask("w1", "j1", CANCEL)
    FleetRecords.of(repo).ask("w1", "j2", "another")
    running = Job(job_id="j1", task="t", queue="q", status=JobStatus.PROCESSING, worker_id="w1")
    with patch.object(FleetRecords, "get", autospec=True, side_effect=FleetRecords.get) as get:
        assert is_cancel_under_way(repo, replace(running, **job)) is under_way
    assert get.call_count == (0 if {"status", "worker_id"} & job.keys() and job.get("worker_id") != "w2" else 1)
