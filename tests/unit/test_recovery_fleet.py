"""The fleet table as recovery reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobclaim.jobs import StoreUnavailable
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.recovery import Cursor, LostWorker
from jobclaim.recovery.cursor import Mark
from tests.support.clock import ManualClock
from tests.support.recovery import Bench, bench_settings, failing, store


@pytest.fixture
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store("model", request) as client:
        yield Bench(client, bench_settings(), clock)


def test_a_silent_worker_is_dead_after_a_minute_and_known_with_its_jobs(bench: Bench) -> None:
    seen_at = bench.clock()
    bench.beat("w1", queues=["slow", "default"], job_ids=["b", "a"])
    bench.clock.advance(59.999)
    assert bench.fleet.read().dead == {}
    bench.clock.advance(0.001)
    assert bench.fleet.read().dead == {
        "w1": LostWorker(
            worker_id="w1",
            seen_at=seen_at,
            lost_at=seen_at + 60_000,
            queues=("default", "slow"),
            job_ids=("a", "b"),
        )
    }


@pytest.mark.parametrize("several", [{"SS": ["a", "b"]}, {"L": [{"S": "a"}, {"S": "b"}]}])
def test_lists_and_sets_are_read_alike(bench: Bench, several: dict[str, Any]) -> None:
    item = {"worker_id": {"S": "w1"}, "seen_at": {"N": "1"}, "jobs": several, "queues": several}
    bench.client.put_item(TableName=bench.settings.fleet_table, Item=item)
    worker = bench.fleet.read().dead["w1"]
    assert worker.job_ids == worker.queues == ("a", "b")


def test_a_worker_that_names_no_queues_may_have_listened_on_any(bench: Bench) -> None:
    item = {"worker_id": {"S": "w1"}, "seen_at": {"N": "1"}}
    bench.client.put_item(TableName=bench.settings.fleet_table, Item=item)
    worker = bench.fleet.read().dead["w1"]
    assert worker.listened_on("default")
    assert worker.listened_on("slow")


@pytest.mark.parametrize("record", [{}, {"seen_at": {"S": "yesterday"}}, {"state": {"S": "open"}}])
def test_records_without_a_heartbeat_are_no_workers(bench: Bench, record: dict[str, Any]) -> None:
    bench.client.put_item(TableName=bench.settings.fleet_table, Item={"worker_id": {"S": "breaker"}, **record})
    assert bench.fleet.read().dead == {}


ODD: dict[str, dict[str, Any]] = {
    "commands are no map": {"commands": {"S": "cancel"}},
    "commands are a list": {"commands": {"L": [{"S": "cancel"}]}},
    "jobs are a number": {"jobs": {"N": "7"}},
    "queues are true": {"queues": {"BOOL": True}},
    "a time is a word": {"started_at": {"S": "yesterday"}},
    "numbers are lists": {"pid": {"L": []}, "concurrency": {"SS": ["2"]}},
    "texts are numbers": {"version": {"N": "2"}, "host": {"N": "7"}, "tasks": {"L": []}},
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_record_ends_no_pass_and_its_worker_is_dead_like_others(bench: Bench, odd: str) -> None:
    bench.client.put_item(
        TableName=bench.settings.fleet_table, Item={"worker_id": {"S": "w1"}, "seen_at": {"N": "1"}, **ODD[odd]}
    )
    bench.beat("w2", job_ids=["j"])
    bench.claimed("j", worker_id="w2")
    bench.clock.advance(60)
    dead = bench.fleet.read().dead
    assert (dead["w1"].job_ids, dead["w1"].cancelled, dead["w2"].job_ids) == ((), frozenset(), ("j",))
    assert bench.sweep().orphaned == 1


def test_the_cursor_comes_back_as_it_was_saved(bench: Bench) -> None:
    cursor = Cursor({"OPEN#default#0": Mark(overdue=IndexEntry("j", 7), round_since=9)})
    bench.fleet.save(cursor)
    view = bench.fleet.read()
    assert view.cursor == cursor
    assert view.dead == {}


def test_only_the_record_that_was_read_is_removed(bench: Bench) -> None:
    bench.beat("w1")
    bench.clock.advance(60)
    worker = bench.fleet.read().dead["w1"]
    bench.beat("w1")
    assert not bench.fleet.remove_unseen(worker.worker_id, worker.seen_at)
    assert bench.workers() == {"w1"}
    bench.clock.advance(60)
    worker = bench.fleet.read().dead["w1"]
    assert bench.fleet.remove_unseen(worker.worker_id, worker.seen_at)
    assert bench.workers() == set()


def test_a_missing_table_is_named_as_what_it_is(bench: Bench) -> None:
    bench.client.delete_table(TableName=bench.settings.fleet_table)
    with pytest.raises(StoreUnavailable, match="jobclaim up"):
        bench.fleet.read()


def test_throttling_of_the_fleet_table_ends_no_pass(bench: Bench) -> None:
    bench.claimed("j")
    bench.clock.advance(1860)
    for operation in ("scan", "put_item", "delete_item"):
        bench.sweep(bench.new_repo(failing(bench.client, operation, lambda _: True)))
    assert bench.status("j") == "FAILED"
