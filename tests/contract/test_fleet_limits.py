"""Limits that the whole fleet keeps: rates and concurrency, asked by many workers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from jobclaim.fleet.limits import FleetLimits
from jobclaim.fleet.rates import HORIZON_MS, Coming, RateLimit
from jobclaim.jobs import Job, JobRepo, StoreUnavailable
from jobclaim.jobs.clock import system_clock
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint, unique_name
from tests.support.recovery import Bench, Requests, bench_settings

TEN_A_SECOND = RateLimit.parse("10/s")

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def shared(dynamodb_local: Endpoint) -> Bench:
    """Tables for all tests of this module; each uses names of its own."""
    return Bench(dynamodb_local.client(max_pool_connections=64), bench_settings(), ManualClock(system_clock()))


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.clock = ManualClock(system_clock())  # DynamoDB Local deletes what expired by the machine's clock
    shared.repo = shared.new_repo()
    return shared


def limits(bench: Bench) -> FleetLimits:
    """A worker process's own view: nothing is shared but the table."""
    return FleetLimits.of(bench.new_repo())


def turns(bench: Bench, name: str, limit: RateLimit, count: int) -> list[int]:
    """Turns given to callers in parallel, milliseconds from now."""
    fleet = [limits(bench) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda n: fleet[n % 8].reserve(name, limit), range(count)))
    assert all(turn.reserved for turn in given)
    return sorted(turn.at - bench.clock() for turn in given)


# --- rates
def test_callers_at_the_same_moment_get_turns_one_interval_apart(bench: Bench) -> None:
    assert turns(bench, unique_name("r"), TEN_A_SECOND, 40) == [100 * n for n in range(40)]


def test_a_burst_starts_at_once_and_the_rest_at_the_rate(bench: Bench) -> None:
    given = turns(bench, unique_name("r"), RateLimit.parse("10/s", burst=5), 12)
    assert given == [0] * 5 + [100 * n for n in range(1, 8)]


def test_after_a_quiet_time_there_is_one_burst_and_no_more(bench: Bench) -> None:
    name, limit = unique_name("r"), RateLimit.parse("10/s", burst=3)
    turns(bench, name, limit, 10)
    bench.clock.advance(3600)
    assert turns(bench, name, limit, 5) == [0, 0, 0, 100, 200]


def test_in_no_window_more_start_than_burst_and_rate_allow(bench: Bench) -> None:
    name, limit = unique_name("r"), RateLimit.parse("5/s", burst=4)
    starts: list[int] = []
    for pause in (0.0, 0.05, 0.3, 0.0, 1.7, 0.2):
        bench.clock.advance(pause)
        starts += [at + bench.clock() for at in turns(bench, name, limit, 6)]
    starts.sort()
    for first, at in enumerate(starts):
        within_a_second = [each for each in starts[first:] if each < at + 1000]
        assert len(within_a_second) <= 4 + 5


def test_different_names_do_not_wait_for_each_other(bench: Bench) -> None:
    assert turns(bench, unique_name("a"), TEN_A_SECOND, 1) == turns(bench, unique_name("b"), TEN_A_SECOND, 1) == [0]


def test_a_turn_costs_one_request_under_load_and_after_a_quiet_time(bench: Bench) -> None:
    name, fleet = unique_name("r"), limits(bench)
    fleet.reserve(name, TEN_A_SECOND)
    fleet.reserve(name, TEN_A_SECOND)
    with Requests(bench.client) as requests:
        fleet.reserve(name, TEN_A_SECOND)
        assert requests.counts == {"UpdateItem": 1}
        bench.clock.advance(60)
        fleet.reserve(name, TEN_A_SECOND)
        assert requests.counts == {"UpdateItem": 2}


def test_turns_are_not_given_out_beyond_the_horizon(bench: Bench) -> None:
    name, limit = unique_name("r"), RateLimit(interval_us=HORIZON_MS * 1000)
    fleet = limits(bench)
    given = [fleet.reserve(name, limit) for _ in range(4)]
    assert [turn.reserved for turn in given] == [True, True, False, False]
    assert {turn.at - bench.clock() for turn in given[2:]} == {HORIZON_MS}


PROMPT, LATE, HOLDER = Coming(), Coming(late=True), Coming(holder=True, late=True)


def test_a_turn_that_its_holder_has_not_come_for_goes_to_who_comes(bench: Bench) -> None:
    name, fleet = unique_name("r"), limits(bench)
    turns(bench, name, TEN_A_SECOND, 30)
    bench.clock.advance(1)
    assert not limits(bench).reserve(name, TEN_A_SECOND, PROMPT).starts, "holders come within seconds, it is theirs"
    assert limits(bench).reserve(name, TEN_A_SECOND, LATE).starts
    assert fleet.reserve(name, TEN_A_SECOND, HOLDER).at == bench.clock() + 100
    bench.clock.advance(0.1)
    assert fleet.reserve(name, TEN_A_SECOND, HOLDER).starts


def test_of_holders_that_all_come_late_at_once_no_more_start_than_may(bench: Bench) -> None:
    name, patient = unique_name("r"), Coming(patience_ms=1000, holder=True, late=True)
    turns(bench, name, TEN_A_SECOND, 40)
    bench.clock.advance(600)
    fleet = [limits(bench) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda n: fleet[n % 8].reserve(name, TEN_A_SECOND, patient), range(40)))
    now = bench.clock()
    assert sorted(turn.at - now for turn in given if turn.starts) == [100 * n for n in range(11)]
    assert sorted(turn.at - now for turn in given if not turn.starts) == [100 * n for n in range(1, 30)]


@pytest.mark.parametrize("coming", [PROMPT, LATE, HOLDER])
def test_a_worker_whose_clock_is_an_hour_ahead_holds_nobody_up(bench: Bench, coming: Coming) -> None:
    name, ahead = unique_name("r"), bench.new_repo()
    ahead.clock = lambda: bench.clock() + 3_600_000
    wrong, right = FleetLimits.of(ahead), limits(bench)
    for _ in range(3):
        wrong.reserve(name, TEN_A_SECOND, coming)
    given = [right.reserve(name, TEN_A_SECOND, coming).at - bench.clock() for _ in range(3)]
    assert given[0] == 0
    assert max(given) <= 300


# --- concurrency
def running(bench: Bench, count: int) -> list[tuple[JobRepo, Job]]:
    """Jobs that workers have claimed."""
    return [bench.claimed(unique_name("j")) for _ in range(count)]


def test_of_32_jobs_that_start_at_once_as_many_enter_as_may(bench: Bench) -> None:
    name, jobs = unique_name("k"), running(bench, 32)
    fleet = [limits(bench) for _ in jobs]
    with ThreadPoolExecutor(32) as pool:
        entered = list(pool.map(lambda n: fleet[n].enter(name, 3, jobs[n][1]), range(32)))
    assert sum(entered) == 3


def test_who_leaves_makes_room_for_exactly_one(bench: Bench) -> None:
    name, fleet = unique_name("k"), limits(bench)
    (_, first), (_, second), (_, third) = running(bench, 3)
    assert fleet.enter(name, 1, first)
    assert not fleet.enter(name, 1, second)
    fleet.leave(name, first)
    assert fleet.enter(name, 1, second)
    assert not fleet.enter(name, 1, third)


@pytest.mark.parametrize("end", ["failed", "orphan", "gone"])
def test_a_holder_that_crashed_does_not_hold_its_place_for_ever(bench: Bench, end: str) -> None:
    name, fleet = unique_name("k"), limits(bench)
    owner, crashed = bench.claimed(unique_name("j"))
    assert fleet.enter(name, 1, crashed)
    if end == "failed":
        owner.update_status(crashed.job_id, "FAILED", error="killed")
    elif end == "orphan":
        bench.clock.advance(crashed.lease_ms / 1000 + 1)
        bench.sweep()
    else:
        bench.client.delete_item(TableName=bench.settings.job_table, Key={"job_id": {"S": crashed.job_id}})
    _, waiting = bench.claimed(unique_name("j"))
    assert fleet.enter(name, 1, waiting)


def test_the_next_attempt_of_a_crashed_job_takes_its_place_and_the_zombie_cannot_give_it_away(bench: Bench) -> None:
    name, fleet = unique_name("k"), limits(bench)
    owner, zombie = bench.claimed(unique_name("j"))
    assert fleet.enter(name, 1, zombie)
    owner.reschedule(zombie.job_id)
    again = bench.new_repo().claim_job(zombie.job_id)
    assert again is not None
    assert fleet.enter(name, 1, again)
    fleet.leave(name, zombie)
    _, other = bench.claimed(unique_name("j"))
    assert not fleet.enter(name, 1, other)


def test_a_late_request_of_an_older_attempt_does_not_free_the_slot_of_the_current_one(bench: Bench) -> None:
    name, fleet = unique_name("k"), limits(bench)
    owner, zombie = bench.claimed(unique_name("j"))
    owner.reschedule(zombie.job_id)
    again = bench.new_repo().claim_job(zombie.job_id)
    assert again is not None
    assert fleet.enter(name, 1, again)
    assert not fleet.enter(name, 1, zombie)
    fleet.leave(name, zombie)
    _, other = bench.claimed(unique_name("j"))
    assert not limits(bench).enter(name, 1, other)


def test_entering_twice_is_entering_once(bench: Bench) -> None:
    name, fleet = unique_name("k"), limits(bench)
    (_, first), (_, second) = running(bench, 2)
    assert fleet.enter(name, 2, first)
    assert fleet.enter(name, 2, first)
    assert fleet.enter(name, 2, second)


@pytest.mark.parametrize("odd", [{"S": "a text"}, {"N": "1"}, {"L": []}, {"NULL": True}])
def test_a_record_that_is_no_map_is_replaced_and_keeps_the_limit(bench: Bench, odd: Any) -> None:
    name, fleet = unique_name("k"), limits(bench)
    record = {"worker_id": {"S": f"#running/{name}"}, "holders": odd}
    bench.client.put_item(TableName=bench.settings.fleet_table, Item=record)
    (_, first), (_, second) = running(bench, 2)
    fleet.leave(name, first)
    assert [fleet.enter(name, 1, job) for job in (first, first, second)] == [True, True, False]


def test_room_costs_one_request(bench: Bench) -> None:
    name, fleet = unique_name("k"), limits(bench)
    (_, first), (_, second) = running(bench, 2)
    fleet.enter(name, 2, first)
    with Requests(bench.client) as requests:
        fleet.enter(name, 2, second)
        fleet.leave(name, second)
        assert requests.counts == {"UpdateItem": 2}


@pytest.mark.parametrize("limit", [1, 100])
def test_a_refusal_costs_two_requests_at_most_however_many_run_and_wait(bench: Bench, limit: int) -> None:
    name, fleet = unique_name("k"), [limits(bench) for _ in range(4)]
    holders = [bench.claimed(unique_name("j"))[1] for _ in range(limit)]
    assert all(fleet[0].enter(name, limit, job) for job in holders)
    waiting = [replace(holders[0], job_id=f"w{n}", claim_token=f"t{n}") for n in range(400)]
    with Requests(bench.client) as requests:
        assert not any(fleet[n % 4].enter(name, limit, job) for n, job in enumerate(waiting))
        assert requests.counts == {"UpdateItem": 400, "BatchGetItem": 4}, "each process looks once a second"
        bench.clock.advance(1)
        assert not fleet[0].enter(name, limit, waiting[0])
        assert requests.counts == {"UpdateItem": 401, "BatchGetItem": 5}


def test_of_many_that_find_a_crashed_holder_one_takes_its_place(bench: Bench) -> None:
    name = unique_name("k")
    held = running(bench, 20)
    assert all(limits(bench).enter(name, 20, job) for _, job in held)
    for owner, crashed in held[:2]:
        owner.update_status(crashed.job_id, "FAILED", error="killed")
    waiting = [job for _, job in running(bench, 8)]
    fleet = [limits(bench) for _ in waiting]
    with ThreadPoolExecutor(8) as pool:
        entered = list(pool.map(lambda n: fleet[n].enter(name, 20, waiting[n]), range(8)))
    assert 1 <= sum(entered) <= 2


def test_recovery_takes_no_limit_for_a_worker(bench: Bench) -> None:
    fleet = limits(bench)
    fleet.reserve(unique_name("r"), TEN_A_SECOND)
    fleet.enter(unique_name("k"), 1, running(bench, 1)[0][1])
    bench.clock.advance(600)
    assert bench.sweep().dead_workers == 0


def test_a_missing_table_is_said_so(bench: Bench) -> None:
    nowhere: Any = FleetLimits(
        lambda: bench.client, "nowhere", read_tokens=lambda _: {}, clock=bench.clock, sleep=lambda _: None
    )
    with pytest.raises(StoreUnavailable, match="ResourceNotFoundException"):
        nowhere.reserve("r", TEN_A_SECOND)
