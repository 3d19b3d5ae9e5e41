"""What is paused now, as it is stored, and how often a process asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from jobclaim.fleet.pauses import Subject, pause
from jobclaim.jobs import Job, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.storage.pauses import FRESH_SHARE, KnownPauses, Pause, PauseKind, Pauses, pauses_in
from tests.simulation.client import ModelClient
from tests.simulation.dynamodb import Database
from tests.support.clock import ManualClock
from tests.support.recovery import bench_settings, no_wait

LAG_MS = 5_000
MAIL = Subject(PauseKind.QUEUE, "mail")
SETTINGS = bench_settings(heartbeat_seconds=10, queues=({"name": "default"}, {"name": "mail"}))
FRESH = 10 * FRESH_SHARE


def a_pause(kind: str, name: str, since: int = 1, until: int = 0) -> Pause:
    return Pause(kind=kind, name=name, by="ann", reason="because", since=since, until=until)


KNOWN = Pauses(
    (
        a_pause("task", "mail", since=5),
        a_pause("queue", "mail", since=4, until=100),
        a_pause("queue", "ai", since=3, until=200),
        a_pause("task", "report", since=2, until=100),
        a_pause("schedule", "nightly"),
    ),
    7,
)


class Line:
    """A client that counts the reads and breaks when told to; eventually consistent reads lag behind."""

    def __init__(self, clock: ManualClock) -> None:
        self._client = ModelClient(clock)
        self._client._database = Database(clock, lambda: LAG_MS)
        self._client.make_tables(SETTINGS.job_table, SETTINGS.fleet_table)
        self.broken = False
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_item(self, **request: Any) -> Any:
        self.reads += 1
        if self.broken:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetItem")
        return self._client.get_item(**request)


@pytest.fixture
def line(clock: ManualClock) -> Line:
    return Line(clock)


@pytest.fixture
def known(line: Line, clock: ManualClock) -> KnownPauses:
    """What one process knows."""
    return KnownPauses.of(a_repo(line, clock))


def a_repo(line: Line, clock: ManualClock) -> JobRepo:
    return JobRepo(line, settings=SETTINGS, clock=clock, sleep=no_wait)


def stop(line: Line, clock: ManualClock) -> None:
    pause(a_repo(line, clock), MAIL, by="ann", reason="because")
    line.reads = 0


# --- what holds
def test_the_pauses_that_hold_come_oldest_first() -> None:
    assert [one.subject for one in KNOWN.active(99)] == [
        "schedule nightly",
        "task report",
        "queue ai",
        "queue mail",
        "task mail",
    ]
    assert [one.subject for one in KNOWN.active(100)] == ["schedule nightly", "queue ai", "task mail"]


@pytest.mark.parametrize(
    ("task", "queue", "held"),
    [
        ("mail", "ai", "task mail"),
        ("other", "ai", "queue ai"),
        ("report", "mail", None),
        ("other", "default", None),
        ("nightly", "default", None),
    ],
)
def test_a_job_is_held_by_its_tasks_pause_before_its_queues(task: str, queue: str, held: str | None) -> None:
    found = KNOWN.holding(Job(job_id="j", task=task, queue=queue, status=JobStatus.PENDING), 100)
    assert (found.subject if found else None) == held


@pytest.mark.parametrize(
    ("kind", "name", "now", "ended"),
    [
        (PauseKind.QUEUE, "mail", 100, 100),
        (PauseKind.QUEUE, "mail", 99, 0),
        (PauseKind.QUEUE, "ai", 100, 0),
        (PauseKind.TASK, "mail", 100, 0),
        (PauseKind.QUEUE, "report", 100, 0),
        (PauseKind.TASK, "report", 100, 100),
    ],
)
def test_the_end_of_a_pause_is_known_once_it_has_ended(kind: PauseKind, name: str, now: int, ended: int) -> None:
    assert KNOWN.ended_at(kind, name, now) == ended


def test_claims_are_barred_from_what_is_paused() -> None:
    assert Pauses().barred(1) == {}
    assert KNOWN.barred(99) == {"queue": ("ai", "mail"), "task": ("mail", "report")}
    assert KNOWN.barred(200) == {"task": ("mail",)}
    assert KNOWN.barred(99, queues=False) == {"task": ("mail", "report")}


# --- as they are stored
def test_pauses_are_stored_compactly_and_read_back() -> None:
    one = Pauses((a_pause("queue", "mäil"),), 3)
    stored = '[{"kind":"queue","name":"mäil","by":"ann","reason":"because","since":1,"until":0,"ended_by":""}]'
    assert one.encode() == stored
    assert Pauses.decode(stored, 3) == one
    assert Pauses.decode(KNOWN.encode(), 7) == KNOWN


def test_the_pauses_are_found_among_the_records_of_the_fleet() -> None:
    worker = {schema.FLEET_KEY: {"S": "w1"}, "pauses": {"S": "[]"}}
    record = {schema.FLEET_KEY: {"S": "#pauses"}, "pauses": {"S": KNOWN.encode()}, "version": {"N": "7"}}
    assert pauses_in([worker, record]) == KNOWN
    assert pauses_in([worker]) == Pauses()


# --- how often they are read
@pytest.mark.parametrize(("later", "reads"), [(0, 1), (FRESH - 0.001, 1), (FRESH, 2), (10, 2), (-0.001, 2)], ids=str)
def test_an_answer_is_trusted_for_nearly_a_heartbeat_interval(
    line: Line, known: KnownPauses, clock: ManualClock, later: float, reads: int
) -> None:
    known.current()
    if later < 0:
        clock.put_back(-later)
    else:
        clock.advance(later)
    known.current()
    assert line.reads == reads


def test_a_pause_holds_as_soon_as_it_is_written(line: Line, known: KnownPauses, clock: ManualClock) -> None:
    clock.advance(2 * LAG_MS / 1000)
    stop(line, clock)
    assert [one.subject for one in known.current().known] == ["queue mail"]


def test_a_workers_children_read_nothing(line: Line, known: KnownPauses) -> None:
    known.shared = lambda: KNOWN
    assert known.current() is KNOWN
    assert line.reads == 0


# --- where they cannot be read
def test_without_any_answer_a_program_goes_on_and_a_worker_asks_again_at_once(line: Line, known: KnownPauses) -> None:
    line.broken = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            known.current(needed=True)
    assert line.reads == 2
    assert known.current() == Pauses()
    assert known.current() == Pauses()
    assert line.reads == 3


@pytest.mark.parametrize("needed", [True, False])
def test_the_last_answer_stands(line: Line, known: KnownPauses, clock: ManualClock, needed: bool) -> None:
    stop(line, clock)
    before = known.current()
    line.broken = True
    clock.advance(FRESH)
    assert known.current(needed=needed) is before
    assert line.reads == 2
    assert known.current(needed=needed) is before
    assert line.reads == 2, "it is asked again after the next interval"


def test_each_outage_is_logged_once(line: Line, known: KnownPauses, clock: ManualClock) -> None:
    def logged() -> int:
        clock.advance(FRESH)
        with capture_logs() as lines:
            known.current()
        return [one["event"] for one in lines].count("pauses.unavailable")

    told = []
    for broken in (True, True, False, True, True):
        line.broken = broken
        told.append(logged())
    assert told == [1, 0, 0, 1, 0]
