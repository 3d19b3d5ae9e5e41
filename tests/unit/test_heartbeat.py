"""The heartbeat: what it writes, when, what it does when it cannot, and the commands that come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.settings import Settings
from jobclaim.workers.process.heartbeat import BeatPace, Heartbeat
from jobclaim.workers.state import worker
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock
from tests.support.waiting import wait_until

ABOUT = WorkerRecord(
    worker_id="vm:1:ab", started_at=1, queues=("default",), version="1", host="vm", pid=7, concurrency=2
)


class Fleet:
    """Stands for the fleet table: counts writes, and fails while told to."""

    def __init__(self) -> None:
        self.written: list[WorkerRecord] = []
        self.forgotten: list[tuple[str, ...]] = []
        self.commands: dict[str, str] = {}
        self.broken = False
        self.error: Exception = EndpointConnectionError(endpoint_url="http://fleet")

    def beat(self, record: WorkerRecord, done: Sequence[str] = ()) -> WorkerRecord:
        if self.broken:
            raise self.error
        self.written.append(record)
        self.forgotten.append(tuple(done))
        for job_id in done:
            self.commands.pop(job_id, None)
        return WorkerRecord(worker_id=record.worker_id, commands=dict(self.commands))


@pytest.fixture(autouse=True)
def _own_worker() -> Iterator[None]:
    worker.begin()
    yield
    worker.end()


@pytest.fixture
def records(clock: ManualClock) -> FleetRecords:
    return FleetRecords.of(model_repo(Settings(), clock))


def heartbeat(fleet: Any, running: list[str], carry_out: Any = lambda record: (), **pace: float) -> Heartbeat:
    chosen = BeatPace(**{"interval": 10.0, "open_for": 50.0, **pace})
    return Heartbeat(fleet, ABOUT, lambda: running, carry_out, pace=chosen, clock=lambda: 1_000)


# --- pace
@pytest.mark.parametrize(
    ("failures", "news", "seconds"),
    [(0, False, 10), (0, True, 1), (1, False, 1), (2, True, 2), (4, False, 8), (9, False, 10)],
)
def test_news_hurries_and_failures_are_repeated_ever_more_slowly(failures: int, news: bool, seconds: float) -> None:
    assert BeatPace(interval=10, open_for=50).pause(failures=failures, news=news) == seconds


def test_jobs_that_start_are_written_once_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobclaim.workers.process.heartbeat.SHORTEST_PAUSE", 3.0)  # a slow machine's second
    fleet, running = Fleet(), list[str]()
    beating = heartbeat(fleet, running)
    beating.start()
    wait_until(lambda: fleet.written, 30, "the first heartbeat")
    for n in range(20):
        running.append(f"job-{n}")
        beating.report_start()
    wait_until(lambda: len(fleet.written) == 2, 30, "the second heartbeat")
    beating.stop(5)
    assert [len(record.jobs) for record in fleet.written] == [0, 20]


def test_a_job_that_has_ended_already_is_not_worth_a_write() -> None:
    fleet = Fleet()
    beating = heartbeat(fleet, [])
    beating.start()
    wait_until(lambda: fleet.written, 30, "the first heartbeat")
    beating.report_start()
    assert not threading.Event().wait(1.3)
    beating.stop(5)
    assert len(fleet.written) == 1


# --- the gate
def test_each_success_opens_the_gate_and_a_failure_leaves_it_to_close() -> None:
    fleet = Fleet()
    beating = heartbeat(fleet, [], open_for=0.2)
    assert not worker.current().may_claim()
    assert beating.beat()
    assert worker.current().may_claim()
    fleet.broken = True
    assert not beating.beat()
    wait_until(lambda: not worker.current().may_claim(), 30, "the gate has closed")
    fleet.broken = False
    assert beating.beat()
    assert worker.current().may_claim()


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="http://fleet"),
        RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
        PermissionError("/var/run/secrets/token"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_heartbeat_raises_the_thread_goes_on_and_opens_the_gate_again(error: Exception) -> None:
    fleet = Fleet()
    fleet.broken, fleet.error = True, error
    beating = heartbeat(fleet, [])
    beating.start()
    wait_until(lambda: beating._failures, 30, "the first heartbeat failed")
    assert not worker.current().may_claim()
    fleet.broken = False
    wait_until(lambda: fleet.written, 30, "it is tried again")
    wait_until(lambda: worker.current().may_claim(), 30, "claims are made again")
    beating.stop(5)


def test_running_jobs_that_cannot_be_told_do_not_end_the_thread() -> None:
    fleet, broken = Fleet(), [True]

    def running() -> list[str]:
        if broken:
            raise KeyError
        return ["j"]

    beating = Heartbeat(fleet, ABOUT, running, lambda _: (), pace=BeatPace(10.0, 50.0), clock=lambda: 1_000)  # type: ignore[arg-type]
    beating.start()
    wait_until(lambda: beating._failures, 30, "the first heartbeat failed")
    broken.clear()
    wait_until(lambda: fleet.written, 30, "it is tried again")
    beating.stop(5)
    assert fleet.written[0].jobs == ("j",)


# --- commands
def test_a_command_that_was_carried_out_is_forgotten_with_the_next_write() -> None:
    fleet = Fleet()
    fleet.commands["j"] = CANCEL
    seen: list[dict[str, str]] = []

    def carry_out(record: WorkerRecord) -> list[str]:
        seen.append(dict(record.commands))
        return list(record.commands)

    beating = heartbeat(fleet, [], carry_out)
    beating.beat()
    beating.beat()
    assert seen == [{"j": CANCEL}, {}]
    assert fleet.forgotten == [(), ("j",)]


def test_a_command_that_fails_comes_again() -> None:
    fleet = Fleet()
    fleet.commands["j"] = CANCEL

    def carry_out(record: WorkerRecord) -> list[str]:
        raise RuntimeError("no")

    beating = heartbeat(fleet, [], carry_out)
    assert beating.beat()
    beating.beat()
    assert fleet.forgotten == [(), ()]


# --- the table
def test_a_record_comes_back_as_written_with_the_commands_of_others(records: FleetRecords) -> None:
    records.beat(ABOUT)
    asked = records.ask(ABOUT.worker_id, "any#id of 'a' job", CANCEL)
    assert asked is not None
    mine = WorkerRecord(worker_id=ABOUT.worker_id, seen_at=5, jobs=("a", "b"))
    answer = records.beat(mine)
    assert (answer.seen_at, answer.jobs, answer.commands) == (5, ("a", "b"), {"any#id of 'a' job": CANCEL})
    assert records.beat(mine, ["any#id of 'a' job"]).commands == {}


def test_nothing_is_left_for_a_worker_without_a_record(records: FleetRecords) -> None:
    assert records.ask("nobody", "j", CANCEL) is None
    assert records.ask_to_drain("nobody") is None
    assert records.all() == []


def test_a_worker_whose_record_was_removed_comes_back_with_its_next_heartbeat(records: FleetRecords) -> None:
    records.beat(ABOUT)
    records.remove(ABOUT.worker_id)
    assert records.beat(ABOUT, ["gone"]).commands == {}
    assert [record.worker_id for record in records.all()] == [ABOUT.worker_id]


def test_a_late_heartbeat_does_not_put_the_clock_back(records: FleetRecords) -> None:
    newest = replace(ABOUT, seen_at=ABOUT.seen_at + 20_000)
    records.beat(newest)
    assert records.beat(ABOUT).seen_at == newest.seen_at
    assert [record.seen_at for record in records.all()] == [newest.seen_at]


def test_a_farewell_brings_the_commands_that_came_last(records: FleetRecords) -> None:
    records.beat(ABOUT)
    records.ask(ABOUT.worker_id, "j", CANCEL)
    last = records.remove(ABOUT.worker_id)
    assert last is not None
    assert last.commands == {"j": CANCEL}
    assert records.remove(ABOUT.worker_id) is None
