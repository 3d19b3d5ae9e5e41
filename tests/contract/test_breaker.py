"""A breaker as two processes see it, on each store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from jobclaim.fleet.breaker import TRUSTED_MS, Breaker, Breakers, _key
from jobclaim.jobs import InvalidInput
from jobclaim.jobs.clock import system_clock
from tests.support.clock import ManualClock
from tests.support.recovery import REAL, Bench, Requests, bench_settings, store

BANK = Breaker(name="bank", failures=3, window_seconds=60, open_seconds=30, probe_seconds=10)
TRUSTED = TRUSTED_MS / 1000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(system_clock())


@pytest.fixture(params=REAL)
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store(request.param, request) as client:
        yield Bench(client, bench_settings(), clock)


def process(bench: Bench) -> Breakers:
    return Breakers.of(bench.new_repo())


def opened(bench: Bench) -> tuple[Breakers, Breakers]:
    """Two processes that both know the breaker open."""
    one, other = process(bench), process(bench)
    assert [one.failed(BANK) for _ in range(3)] == [0, 0, bench.clock() + 30_000]
    assert other.ask(BANK) == bench.clock() + 30_000
    return one, other


def test_failures_in_a_row_of_any_process_open_it_for_all(bench: Bench) -> None:
    one, other = process(bench), process(bench)
    assert (one.failed(BANK), other.failed(BANK)) == (0, 0)
    assert one.failed(BANK) == bench.clock() + 30_000
    assert process(bench).ask(BANK) == bench.clock() + 30_000


def test_first_failures_of_two_processes_at_one_moment_are_two(bench: Bench) -> None:
    one, other = process(bench), process(bench)
    write, first = one._write, [other]

    def late(verb: str, **request: Any) -> Any:
        applied = write(verb, **request)
        while first:  # the other process writes its failure after this one found no count
            first.pop().failed(BANK)
        return applied

    with mock.patch.object(one, "_write", late):
        one.failed(BANK)
    assert one.failed(BANK) == bench.clock() + 30_000


def test_a_success_in_between_starts_the_count_anew_and_so_does_time(bench: Bench) -> None:
    one = process(bench)
    one.failed(BANK)
    one.failed(BANK)
    one.succeeded(BANK)
    assert (one.failed(BANK), one.failed(BANK)) == (0, 0)
    bench.clock.advance(61)
    assert (one.failed(BANK), one.failed(BANK)) == (0, 0)


def test_a_process_that_has_not_heard_learns_from_its_first_failure(bench: Bench) -> None:
    late = process(bench)
    assert late.ask(BANK) == 0
    opened(bench)
    assert late.ask(BANK) == 0, "it trusts what it read"
    assert late.failed(BANK) == bench.clock() + 30_000
    assert late.ask(BANK) == bench.clock() + 30_000


def test_a_read_that_shows_the_time_before_it_opened_lets_nothing_through(bench: Bench) -> None:
    one, _ = opened(bench)
    bench.client.delete_item(TableName=bench.settings.fleet_table, Key=_key(BANK))
    bench.clock.advance(TRUSTED + 1)
    assert one.ask(BANK) == bench.clock() + 24_000


def test_one_probe_at_a_time_and_its_success_closes(bench: Bench) -> None:
    one, other = opened(bench)
    bench.clock.advance(30)
    assert one.ask(BANK) == 0
    assert other.ask(BANK) > bench.clock()
    one.succeeded(BANK)
    bench.clock.advance(TRUSTED)
    assert (one.ask(BANK), other.ask(BANK)) == (0, 0)
    assert one.failed(BANK) == 0, "the count begins anew"


def test_a_probe_may_take_long_without_a_second_one_beside_it(bench: Bench) -> None:
    slow = replace(BANK, probe_seconds=600)
    one, other = process(bench), process(bench)
    assert [one.failed(slow) for _ in range(3)][2] > bench.clock()
    bench.clock.advance(30)
    assert one.ask(slow) == 0
    assert other.ask(slow) > bench.clock()


def test_a_probe_that_fails_opens_it_again_at_once(bench: Bench) -> None:
    one, other = opened(bench)
    bench.clock.advance(30)
    assert one.ask(BANK) == 0
    assert one.failed(BANK) == bench.clock() + 30_000
    assert other.ask(BANK) >= bench.clock() + 30_000


def test_a_probe_whose_process_died_is_given_up(bench: Bench) -> None:
    one, other = opened(bench)
    bench.clock.advance(30)
    assert one.ask(BANK) == 0
    bench.clock.advance(10)
    assert other.ask(BANK) == 0


def test_a_call_from_before_the_outage_that_succeeds_late_does_not_close_it(bench: Bench) -> None:
    one, _ = opened(bench)
    one.succeeded(BANK)
    assert process(bench).ask(BANK) > 0


def test_a_thousand_questions_cost_one_read(bench: Bench) -> None:
    one = process(bench)
    with Requests(bench.client) as requests:
        for _ in range(1000):
            one.ask(BANK)
            one.succeeded(BANK)
    assert requests.total == 1
    one, _ = opened(bench)
    with Requests(bench.client) as requests:
        for _ in range(1000):
            one.ask(BANK)
    assert requests.total == 0


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"failures": 0}, {"failures": True}, {"open_seconds": 0}, {"window_seconds": 1e9}]
)
def test_nonsense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Breaker(**{"name": "bank", **options})  # type: ignore[arg-type]


# --- a clock that is ahead
def ahead(bench: Bench) -> Breakers:
    """A process whose clock is an hour ahead."""
    repo = bench.new_repo()
    repo.clock = lambda: bench.clock() + 3_600_000
    return Breakers.of(repo)


def test_a_breaker_that_a_clock_an_hour_ahead_has_opened_is_open_for_nobody_for_an_hour(bench: Bench) -> None:
    wrong, one, other = ahead(bench), process(bench), process(bench)
    for _ in range(3):
        wrong.failed(BANK)
    assert one.ask(BANK) == 0, "one probe"
    assert bench.clock() < other.ask(BANK) <= bench.clock() + 30_000
    one.succeeded(BANK)
    bench.clock.advance(TRUSTED)
    assert other.ask(BANK) == 0


def test_a_probe_of_a_clock_an_hour_ahead_is_given_up(bench: Bench) -> None:
    one, other = opened(bench)
    wrong = ahead(bench)
    assert wrong.ask(BANK) == 0, "to it the breaker is due"
    bench.clock.advance(30)
    assert other.ask(BANK) == 0
    assert one.failed(BANK) == bench.clock() + 30_000


def test_failures_that_a_clock_an_hour_ahead_has_counted_are_not_in_a_row_with_later_ones(bench: Bench) -> None:
    wrong, one = ahead(bench), process(bench)
    wrong.failed(BANK)
    bench.clock.advance(600)
    assert (one.failed(BANK), one.failed(BANK)) == (0, 0)
