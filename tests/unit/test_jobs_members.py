"""What the members of a chord leave in the table, what it costs, and how long it lasts."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.jobs import JobRepo
from jobclaim.jobs.storage.members import ONE_NOTE, PART, PLANS_KEPT, Arrivals
from jobclaim.jobs.storage.notes import Kind, Notes, key
from tests.simulation.client import ModelClient
from tests.simulation.dynamodb import Database, size
from tests.support.clock import ManualClock
from tests.support.recovery import bench_settings, no_wait

SETTINGS = bench_settings()


class Line:
    """A client that counts requests; eventually consistent reads lag a minute behind."""

    def __init__(self, clock: ManualClock) -> None:
        self._client = ModelClient(clock)
        self.database = self._client._database = Database(clock, lambda: 60_000)
        self._client.make_tables(SETTINGS.job_table, SETTINGS.fleet_table)
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        self.requests += 1
        return getattr(self._client, name)

    def items(self) -> dict[str, Any]:
        """The notes by name, without kind and time."""
        kept = {name.split("\x1f", 1)[1]: item for name, item in self.database.items(SETTINGS.job_table).items()}
        return {
            name: {field: value for field, value in item.items() if field not in ("job_id", "expires_at")}
            for name, item in kept.items()
        }


@pytest.fixture
def line(clock: ManualClock) -> Line:
    return Line(clock)


def notes_of(line: Line, clock: ManualClock) -> Notes:
    """The notes as one process sees them."""
    return Notes.of(JobRepo(line, settings=SETTINGS, clock=clock, sleep=no_wait))


def names(members: int) -> list[str]:
    return [f"member-{number}" for number in range(members)]


@pytest.mark.parametrize(
    ("count", "expected", "complete"), [(0, 0, False), (1, 0, False), (0, 1, False), (1, 1, True), (2, 1, True)]
)
def test_a_chord_is_complete_when_as_many_came_as_are_expected(count: int, expected: int, complete: bool) -> None:
    assert Arrivals(count, expected).complete is complete


@pytest.mark.parametrize("members", [1, 2, ONE_NOTE, ONE_NOTE + 1, 130, 700])
def test_two_processes_count_each_member_once(line: Line, clock: ManualClock, members: int) -> None:
    coming, processes = names(members), [notes_of(line, clock), notes_of(line, clock)]
    processes[0].plan("chord", coming, seconds=60)
    assert not processes[0].is_announced("chord")
    processes[0].expect("chord", members, seconds=60)
    assert processes[0].is_announced("chord")
    for number, member in enumerate(coming[:-1] * 2):
        arrivals = processes[number % 2].arrive("chord", member, seconds=60)
        assert (arrivals.complete, arrivals.count < arrivals.expected) == (False, True)
    assert processes[1].arrived("chord", coming) == set(coming[:-1])
    assert not processes[0].arrivals("chord").complete
    last = processes[0].arrive("chord", coming[-1], seconds=60)
    parts = sum(1 for note in line.items() if note != "chord") or members
    assert last == processes[1].arrivals("chord") == Arrivals(parts, parts)
    assert processes[1].arrived("chord", [*coming, "another"]) == set(coming)
    assert all(size(item) <= 1024 for item in line.database.items(SETTINGS.job_table).values())


def test_a_part_that_is_not_full_counts_as_none_of_all(line: Line, clock: ManualClock) -> None:
    notes = notes_of(line, clock)
    notes.plan("chord", names(2 * PART), seconds=60)
    assert notes.arrive("chord", "member-0", seconds=60) == Arrivals(0, 2)


def test_a_chord_that_nobody_knows_has_no_arrivals(line: Line, clock: ManualClock) -> None:
    notes = notes_of(line, clock)
    assert notes.arrivals("none") == Arrivals(0, 0)
    assert not notes.is_announced("none")
    assert notes.arrived("none", ["member-0"]) == set()


def test_a_chord_of_one_note_is_stored_so_that_workers_of_every_release_count_alike(
    line: Line, clock: ManualClock
) -> None:
    notes = notes_of(line, clock)
    notes.plan("small", names(ONE_NOTE), seconds=60)
    assert line.requests == 0
    notes.arrive("small", "member-0", seconds=60)
    notes.expect("small", 2, seconds=60)
    assert line.items() == {"small": {"members": {"SS": ["ba3790e06fa452"]}, "expected": {"N": "2"}}}


def test_a_chord_of_parts_is_stored_so_that_workers_of_every_release_count_alike(
    line: Line, clock: ManualClock
) -> None:
    notes = notes_of(line, clock)
    notes.plan("large", names(130), seconds=60)
    assert line.items() == {"large": {"plan": {"S": "2d292c"}}}
    notes.arrive("large", "member-0", seconds=60)
    assert line.items() == {"large": {"plan": {"S": "2d292c"}}, "large\x1f0": {"members": {"SS": ["VtLyI1dg"]}}}


@pytest.mark.parametrize(("seconds", "kept"), [(0, 1), (0.2, 1), (1.6, 2), (60, 60)])
def test_a_note_lasts_for_its_seconds_counted_from_the_next_full_one(
    line: Line, clock: ManualClock, seconds: float, kept: int
) -> None:
    clock.advance(0.001)
    notes_of(line, clock).arrive("chord", "member-0", seconds=seconds)
    (item,) = line.database.items(SETTINGS.job_table).values()
    assert item["job_id"] == key(Kind.CHORD, "chord")["job_id"] == {"S": "chord\x1fchord"}
    assert item["expires_at"] == {"N": str(clock() // 1000 + 1 + kept)}


def test_a_process_asks_for_a_chords_plan_once_while_it_remembers_it(line: Line, clock: ManualClock) -> None:
    submitter, worker = notes_of(line, clock), notes_of(line, clock)
    chords = [f"chord-{number}" for number in range(PLANS_KEPT + 1)]

    def requests(chord: str) -> int:
        before = line.requests
        worker.arrive(chord, "member-0", seconds=60)
        return line.requests - before

    for chord in chords:
        submitter.plan(chord, names(2 * PART), seconds=60)
    assert [requests(chord) for chord in chords] == [2] * len(chords)
    assert [requests(chord) for chord in (chords[-1], chords[1], chords[0])] == [1, 1, 2]
