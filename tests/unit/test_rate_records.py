"""One request on a rate's record: what it starts or promises follows from the record, to the microsecond."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from jobclaim.fleet.rates import HORIZON_MS, LONGEST_PATIENCE_MS, UNUSED_MS, Coming, RateLimit, Turn
from jobclaim.fleet.starts import KEPT_SECONDS, Rates
from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.errors import InvalidInput
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock
from tests.support.recovery import failing

STEP = 2_000_000
PATIENCE = 3_000
COMINGS = (Coming(), Coming(holder=True), Coming(late=True), Coming(PATIENCE, holder=True))
ABOUT = (-UNUSED_MS * 1000, 0, STEP, 2 * STEP, PATIENCE * 1000, 2 * STEP + PATIENCE * 1000)
"""Where decisions change, microseconds from now."""
TIMES = (None, *(at + by for at in ABOUT for by in (-1, 0, 1)))


class Record:
    """A rate's record, and what a process that has not seen it makes of it."""

    def __init__(self, clock: ManualClock, burst: int, step: int = STEP, **times: int | None) -> None:
        self.client = ModelClient(clock)
        self.client.make_table("fleet", "worker_id")
        self.now, self.limit, self.requests = clock() * 1000, RateLimit(step, burst), 0
        self.rates = Rates(lambda: self, "fleet", clock=clock, sleep=clock.advance)
        held = {name: {"N": str(self.now + at)} for name, at in times.items() if at is not None}
        if held:
            self.client.put_item(TableName="fleet", Item={"worker_id": {"S": "#rate/r"}, **held})

    def update_item(self, **request: Any) -> Any:
        """Count a request and carry it out."""
        self.requests += 1
        return self.client.update_item(**request)

    def times(self) -> dict[str, int]:
        """Give the times that are stored, from now."""
        item = self.client.get_item(TableName="fleet", Key={"worker_id": {"S": "#rate/r"}})["Item"]
        return {name: int(item[name]["N"]) - self.now for name in ("spent", "tat", "again") if name in item}


@pytest.mark.parametrize(("burst", "coming"), list(product((1, 3), COMINGS)))
def test_whatever_a_record_holds_two_requests_move_the_right_one_of_its_times_by_an_interval(
    clock: ManualClock, burst: int, coming: Coming
) -> None:
    for spent, tat in product(TIMES, TIMES):
        record = Record(clock, burst, spent=spent, tat=tat, since=0 if tat is not None else None)
        turn, after = record.rates.reserve("r", record.limit, coming), record.times()

        told = (spent, tat, turn, after)
        least = max(0, (spent or 0) - (burst - 1) * STEP)
        assert turn.reserved, told
        assert record.requests <= 2, told
        if turn.starts:
            assert after["spent"] >= max(spent or 0, 0) + STEP, told
            assert after["spent"] <= max(spent or 0, tat or 0, 0) + STEP, told
            assert turn.at * 1000 - record.now >= least, told
            assert least <= coming.patience_ms * 1000, told
        elif coming.holder:
            assert after["again"] == STEP, told
        else:
            step = round(STEP / 1.5) if coming.late else STEP
            assert after["tat"] == max(spent or 0, tat or 0, 0) + step, told
            assert after.get("spent", 0) == (spent or 0), told
            turn_us = max(spent or 0, tat or 0, 0) - (burst - 1) * STEP
            assert turn.at == clock() - (-turn_us // 1000), told


@pytest.mark.parametrize(("beyond", "believed"), [(0, True), (1, False)])
def test_a_start_further_ahead_than_any_clock_is_not_believed(clock: ManualClock, beyond: int, believed: bool) -> None:
    latest = STEP + (LONGEST_PATIENCE_MS + BELIEVED_AHEAD_MS) * 1000
    for coming in (Coming(), Coming(holder=True)):
        record = Record(clock, 1, spent=latest + beyond)

        turn = record.rates.reserve("r", record.limit, coming)

        assert (turn.starts, record.requests <= 2) == (not believed, True)
        assert record.times()["spent"] == (latest if believed else STEP)


@pytest.mark.parametrize(("beyond", "believed"), [(0, True), (1, False)])
def test_turns_that_a_clock_ahead_has_promised_are_not_believed(
    clock: ManualClock, beyond: int, believed: bool
) -> None:
    later = STEP + 1_000
    record = Record(clock, 1, tat=10 * STEP, since=later + BELIEVED_AHEAD_MS * 1000 + beyond)
    assert record.rates.reserve("r", record.limit, Coming(holder=True)).starts, "which looks at no turn"
    clock.advance(later / 1_000_000)

    turn = record.rates.reserve("r", record.limit)

    assert (turn.starts, record.requests) == (not believed, 2)
    assert record.times()["tat"] == (11 * STEP if believed else later + STEP)


@pytest.mark.parametrize("again", [None, -1, 0, 1, STEP])
def test_a_holder_that_finds_no_start_asks_again_an_interval_after_those_before_it(
    clock: ManualClock, again: int | None
) -> None:
    record = Record(clock, 1, spent=STEP, again=again)

    turn = record.rates.reserve("r", record.limit, Coming(holder=True))

    assert (turn.reserved, turn.starts, record.requests <= 3) == (True, False, True)
    assert record.times()["again"] == max(again or 0, 0) + STEP


@pytest.mark.parametrize(("step", "latest"), [(60_000_000, 6_000_000_000), (STEP, 900_000_000)])
@pytest.mark.parametrize(("beyond", "believed"), [(0, True), (1, False)])
def test_a_hundred_intervals_or_a_quarter_of_an_hour_of_holders_that_ask_again_are_believed(
    clock: ManualClock, step: int, latest: int, beyond: int, believed: bool
) -> None:
    record = Record(clock, 1, step, spent=step, again=latest + beyond)

    assert record.rates.reserve("r", record.limit, Coming(holder=True)).reserved
    assert record.times()["again"] == (latest if believed else 0) + step


@pytest.mark.parametrize(("rate", "interval_us"), [("1000/s", 1_000), (1e-5, 10**11)])
def test_the_bounds_of_a_rate_are_rates(rate: str | float, interval_us: int) -> None:
    assert RateLimit.parse(rate) == RateLimit(interval_us)


@pytest.mark.parametrize("rate", ["1001/s", "1000.5/s", "0.000009/s"])
def test_what_is_beyond_the_bounds_of_a_rate_is_refused(rate: str) -> None:
    with pytest.raises(InvalidInput, match="at most 1000/s"):
        RateLimit.parse(rate)


def test_a_holder_that_starts_leaves_an_interval_to_the_next_one(clock: ManualClock) -> None:
    record, holder = Record(clock, 1), Coming(holder=True)

    assert record.rates.reserve("r", record.limit, holder).starts
    assert not record.rates.reserve("r", record.limit, holder).starts
    clock.advance(STEP / 1_000_000)
    assert record.rates.reserve("r", record.limit, holder).starts


def test_a_record_is_kept_for_days_after_its_last_use(clock: ManualClock) -> None:
    record = Record(clock, 1)
    record.rates.reserve("r", record.limit)

    item = record.client.get_item(TableName="fleet", Key={"worker_id": {"S": "#rate/r"}})["Item"]
    assert int(item["expires_at"]["N"]) == clock() // 1000 + KEPT_SECONDS


def test_no_turn_is_given_beyond_the_horizon(clock: ManualClock) -> None:
    record = Record(clock, 1, spent=STEP, tat=HORIZON_MS * 1000 + 1, since=0)

    turn = record.rates.reserve("r", record.limit)

    assert (turn.at, turn.reserved) == (clock() + HORIZON_MS, False)


def test_the_wait_for_a_start_ends_with_it_and_one_that_is_past_is_not_waited_for(clock: ManualClock) -> None:
    record, before = Record(clock, 1), clock()

    record.rates.wait_until(before + 700)
    record.rates.wait_until(before)

    assert clock() == before + 700


@pytest.mark.parametrize(("beyond", "starts"), [(-1, True), (0, True), (1, False)])
def test_a_start_that_nobody_came_for_is_free_after_a_while_for_a_job_without_a_turn(
    clock: ManualClock, beyond: int, starts: bool
) -> None:
    record = Record(clock, 1, spent=-UNUSED_MS * 1000 + beyond, tat=10 * STEP, since=0)

    assert record.rates.reserve("r", record.limit).starts is starts


def test_who_knows_an_older_record_starts_no_more_than_the_burst_allows(clock: ManualClock) -> None:
    record = Record(clock, 3)
    other = Rates(lambda: record.client, "fleet", clock=clock, sleep=clock.advance)

    turns = [by.reserve("r", record.limit) for by in (record.rates, other, other, record.rates)]

    assert [turn.starts for turn in turns] == [True, True, True, False]


@pytest.mark.parametrize(("step", "later"), [(2_500_000, 2_500), (100_000, 1_000)])
def test_who_is_always_overtaken_asks_again_after_an_interval_or_a_second(
    clock: ManualClock, step: int, later: int
) -> None:
    record = Record(clock, 1, step)
    record.rates._client = lambda: failing(
        record.client, "update_item", lambda _: True, "ConditionalCheckFailedException"
    )

    assert record.rates.reserve("r", record.limit) == Turn(clock() + later, reserved=False)
