"""Of beats that want to send the same tick of a plain task one gets to, and another one when that one is gone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobclaim.jobs import JobRepo
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.storage.tick_notes import STALE_MS, Taken, TickNotes
from tests.support.clock import ManualClock
from tests.support.recovery import MODEL_AND_REAL, REAL, Bench, bench_settings, store


@pytest.fixture(params=MODEL_AND_REAL)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with store(request.param, request) as client:
        yield Bench(client, bench_settings(), ManualClock(system_clock()))


def notes(repo: JobRepo) -> TickNotes:
    return TickNotes.of(repo)


@pytest.mark.parametrize("bench", REAL[:1], indirect=True)
def test_of_beats_in_parallel_one_takes_a_tick(bench: Bench) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: notes(bench.new_repo()).take("t", f"beat-{n}"), range(8)))
    assert sorted(taken) == [Taken.ELSEWHERE] * 7 + [Taken.MINE]


def test_whoever_took_a_tick_may_take_it_again(bench: Bench) -> None:
    assert [notes(bench.repo).take("t", "one") for _ in range(2)] == [Taken.MINE, Taken.MINE]


def test_a_tick_that_was_sent_is_nobodys(bench: Bench) -> None:
    one = notes(bench.repo)
    one.take("t", "one")
    one.mark_as_sent("t")
    bench.clock.advance(3600)
    assert [one.take("t", beat) for beat in ("one", "two")] == [Taken.SENT, Taken.SENT]
    assert one.take("later", "two") is Taken.MINE


@pytest.mark.parametrize("seconds", [STALE_MS / 1000 + 1, -STALE_MS / 1000 - 1], ids=["silent", "clock ahead"])
def test_a_tick_of_a_beat_that_is_gone_is_taken_by_another(bench: Bench, seconds: float) -> None:
    notes(bench.repo).take("t", "one")
    assert notes(bench.repo).take("t", "two") is Taken.ELSEWHERE
    then = ManualClock(bench.clock() + round(seconds * 1000))
    assert notes(JobRepo(bench.client, settings=bench.settings, clock=then)).take("t", "two") is Taken.MINE


def test_a_note_is_neither_a_job_nor_listed(bench: Bench) -> None:
    notes(bench.repo).take("t", "one")
    assert bench.repo.list_jobs("PENDING").jobs == ()
    assert bench.sweep().examined == 0
