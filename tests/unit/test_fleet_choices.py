"""Where the fleet's limits and breakers draw their lines: one side starts, the other waits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobclaim.fleet.breaker import KEPT_SECONDS, PREFIX, TRUSTED_MS, Breaker, Breakers, BreakerState, state_in
from jobclaim.fleet.rates import Coming as Asks
from jobclaim.fleet.rates import RateLimit, Seen, Turn, next_step
from jobclaim.jobs import InvalidInput, Job, JobStatus
from jobclaim.jobs.protocol.releases import Held
from jobclaim.workers.attempt import admission
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock

NOW = 4_000_000_000_000_000
SECOND = 1_000_000
NEWCOMER = Asks()
LIMIT = RateLimit.parse("1/s", burst=3)
BANK = Breaker(name="bank", failures=2, window_seconds=60, open_seconds=30, probe_seconds=10)


def step(seen: Seen, coming: Asks = NEWCOMER) -> Any:
    found = next_step(seen, LIMIT, NOW, coming)
    assert found is not None
    return found


# --- rates
def test_the_largest_rate_and_the_largest_burst_are_accepted_and_true_is_no_burst() -> None:
    assert RateLimit.parse("1000/s", burst=100_000) == RateLimit(1_000, 100_000)
    for burst in (True, 100_001, 0):
        with pytest.raises(InvalidInput):
            RateLimit.parse("1000/s", burst=burst)


@pytest.mark.parametrize(("used", "starts"), [(0, True), (2 * SECOND, True), (2 * SECOND + 1, False)])
def test_a_newcomer_starts_within_the_burst_and_moves_both_times(used: int, starts: bool) -> None:
    found = step(Seen(spent=NOW + used, tat=NOW + used, since=NOW))

    assert found.starts is starts
    assert "tat" in found.expression


@pytest.mark.parametrize(("used", "starts"), [(2 * SECOND, True), (2 * SECOND + 1, False)])
def test_a_holder_starts_within_the_burst_and_leaves_the_promised_turns_alone(used: int, starts: bool) -> None:
    found = step(Seen(spent=NOW + used, tat=NOW + used, since=NOW), Asks(holder=True))

    assert found.starts is starts
    assert "tat" not in found.expression


def test_a_start_begins_when_the_burst_before_it_is_over() -> None:
    found = step(Seen(spent=NOW + 2 * SECOND), Asks(holder=True))

    assert found.at(Seen(spent=NOW + 5 * SECOND)) == NOW + 2 * SECOND
    assert found.at(Seen(spent=NOW + 3 * SECOND)) == NOW


@pytest.mark.parametrize(("ahead", "starts"), [(122, False), (124, True)])
def test_starts_beyond_what_any_clock_can_have_used_are_ignored(ahead: int, starts: bool) -> None:
    assert step(Seen(spent=NOW + ahead * SECOND), Asks(holder=True)).starts is starts


def test_turns_that_a_clock_half_a_minute_ahead_has_promised_count() -> None:
    found = step(Seen(spent=NOW + 10 * SECOND, tat=NOW + 20 * SECOND, since=NOW + 30 * SECOND))

    assert (found.starts, found.expression) == (False, "SET tat = tat + :step")
    assert found.values[":ahead"] == NOW + 60 * SECOND


# --- admission
@pytest.mark.parametrize(("soft", "hard", "patience"), [(None, 100, 10_000), (50, 100, 5_000), (None, None, 6_000)])
def test_a_job_waits_in_its_process_for_a_tenth_of_its_limit(soft: Any, hard: Any, patience: int) -> None:
    asked: list[Asks] = []

    def reserve(_: str, __: RateLimit, coming: Asks) -> Turn:
        asked.append(coming)
        return Turn(at=9, reserved=True)

    limits: Any = SimpleNamespace(longest_patience_ms=60_000, reserve=reserve)
    task = SimpleNamespace(name="t", rate_limit="1/m", rate_burst=1, soft_time_limit=soft, time_limit=hard)
    job = Job(job_id="j", task="t", queue="q", status=JobStatus.PROCESSING, slot=1, attempt=3)

    hold = admission.ask(task, job, "", limits, now=10**12)

    assert asked == [Asks(patience, holder=True, late=True)]
    assert hold is not None
    assert (hold.until, hold.slot) == (9, 9)


def test_a_concurrency_key_may_be_a_function_of_the_arguments() -> None:
    task = SimpleNamespace(name="t", concurrency_key=lambda values: values["a"] + 1, concurrency_group=None)

    assert admission.concurrency_name(task, lambda: {"a": 1}) == "t/2"


# --- breakers
@pytest.fixture
def client() -> ModelClient:
    made = ModelClient(ManualClock())
    made.make_tables("jobs", "fleet")
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def breakers(client: ModelClient, clock: ManualClock) -> Breakers:
    return Breakers(lambda: client, "fleet", clock=clock, sleep=lambda _: None)


def opened(client: ModelClient, clock: ManualClock) -> Breakers:
    one = breakers(client, clock)
    assert [one.failed(BANK), one.failed(BANK)] == [0, clock() + 30_000]
    return one


class Counted:
    """A client that counts requests."""

    def __init__(self, client: ModelClient) -> None:
        self._client, self.asked = client, list[str]()

    def __getattr__(self, operation: str) -> Any:
        self.asked.append(operation)
        return getattr(self._client, operation)


def test_one_failure_may_be_enough_and_half_a_second_is_a_time() -> None:
    assert Breaker(name="bank", failures=1, open_seconds=0.5).failures == 1


def test_a_process_learns_of_an_opening_when_what_it_read_is_old(client: ModelClient, clock: ManualClock) -> None:
    late = breakers(client, clock)
    assert late.ask(BANK) == 0
    opened(client, clock)
    clock.advance(TRUSTED_MS / 1000)

    assert late.ask(BANK) > clock()


def test_a_probe_that_fails_after_a_quiet_time_opens_it_again(client: ModelClient, clock: ManualClock) -> None:
    one = opened(client, clock)
    clock.advance(BANK.window_seconds + 1)
    assert one.ask(BANK) == 0

    assert one.failed(BANK) == clock() + 30_000


@pytest.mark.parametrize(("later", "opens"), [(60, True), (60.001, False)])
def test_failures_count_together_within_a_window_of_the_first(
    client: ModelClient, clock: ManualClock, later: float, opens: bool
) -> None:
    one = breakers(client, clock)
    one.failed(BANK)
    clock.advance(later)

    assert (one.failed(BANK) > 0) is opens


def test_a_success_costs_a_request_only_after_a_failure(client: ModelClient, clock: ManualClock) -> None:
    counted = Counted(client)
    one = breakers(counted, clock)  # type: ignore[arg-type]
    one.ask(BANK)
    one.succeeded(BANK)
    assert counted.asked == ["get_item"]
    one.failed(BANK)
    del counted.asked[:]

    one.succeeded(BANK)
    one.succeeded(BANK)

    assert counted.asked == ["update_item"]


def test_only_a_probe_that_succeeds_says_that_it_closed(client: ModelClient, clock: ManualClock) -> None:
    one, other = opened(client, clock), breakers(client, clock)
    clock.advance(30)
    with capture_logs() as logs:
        assert one.ask(BANK) == 0
        assert other.ask(BANK) > 0, "it knows the same opening"
        one.succeeded(BANK)
        other.succeeded(BANK)  # refused: it is closed already
        one.failed(BANK)
        one.succeeded(BANK)  # nothing was open

    assert [line["event"] for line in logs] == ["breaker.closed"]


def test_a_breaker_that_opens_for_long_stays_open_for_that_long(client: ModelClient, clock: ManualClock) -> None:
    slow = replace(BANK, open_seconds=3_600)
    one, other = breakers(client, clock), breakers(client, clock)
    until = clock() + 3_600_000
    assert [one.failed(slow), one.failed(slow)] == [0, until]
    assert one.ask(slow) == other.ask(slow) == until

    clock.advance(3_599)
    assert one.ask(slow) == other.ask(slow) == clock() + 1_000


def probing(client: ModelClient, clock: ManualClock) -> tuple[Breakers, Breakers]:
    """Give a process that probes, and one that read shortly before that the breaker was open."""
    one = opened(client, clock)
    clock.advance(30 - TRUSTED_MS / 2000)
    other = breakers(client, clock)
    assert other.ask(BANK) > 0
    clock.advance(TRUSTED_MS / 2000)
    assert one.ask(BANK) == 0
    return one, other


def test_a_call_may_be_made_where_another_process_has_closed_the_breaker(
    client: ModelClient, clock: ManualClock
) -> None:
    one, other = probing(client, clock)
    one.succeeded(BANK)

    counted = Counted(client)
    other._client = lambda: counted
    assert other.ask(BANK) == 0, "what it read is young, so it asks to be the probe, and is told"
    assert other.ask(BANK) == 0, "and remembers"
    assert counted.asked == ["update_item"]


def test_who_may_not_probe_is_told_until_when_another_process_has_opened_it_again(
    client: ModelClient, clock: ManualClock
) -> None:
    one, other = probing(client, clock)
    until = one.failed(BANK)

    assert other.ask(BANK) == until == clock() + 30_000


@pytest.mark.parametrize(
    ("item", "state"),
    [({}, "closed"), ({"streak": 1}, "closed"), ({"open_until": 11}, "open"), ({"open_until": 10}, "half open")],
)
def test_a_breaker_is_open_until_its_time_and_then_half_open(item: dict[str, int], state: str) -> None:
    stored = {name: {"N": str(value)} for name, value in item.items()}

    shown = state_in("bank", stored, now=10)

    assert shown == BreakerState("bank", state, item.get("streak", 0), item.get("open_until", 0))


def test_an_opening_is_logged_once_and_its_record_outlasts_it(client: ModelClient, clock: ManualClock) -> None:
    with capture_logs() as logs:
        opened(client, clock)

    assert [line["event"] for line in logs] == ["breaker.opened"]
    item = client.get_item(TableName="fleet", Key={"worker_id": {"S": f"{PREFIX}bank"}})["Item"]
    assert int(item["expires_at"]["N"]) == clock() // 1000 + KEPT_SECONDS


def test_a_success_of_a_service_that_was_never_asked_about_costs_nothing(
    client: ModelClient, clock: ManualClock
) -> None:
    counted = Counted(client)

    breakers(counted, clock).succeeded(BANK)  # type: ignore[arg-type]

    assert counted.asked == []


# --- limits at a start
class Asked:
    """The limits of a fleet: what was asked of them, and what they say."""

    def __init__(self, turn: Turn, *, room: bool = True, now: int = 10**12) -> None:
        self.asked: list[Any] = []
        self.turn, self.room, self.at = turn, room, now
        self.longest_patience_ms = 60_000

    def enter(self, name: str, limit: int, job: Job) -> bool:
        self.asked.append(("enter", name, limit))
        return self.room

    def leave(self, name: str, job: Job) -> None:
        self.asked.append(("leave", name))

    def reserve(self, name: str, limit: RateLimit, coming: Asks) -> Turn:
        self.asked.append(coming)
        return self.turn

    def wait_until(self, at: int) -> None:
        self.asked.append(("wait", at))
        self.at = max(self.at, at)

    def now(self) -> int:
        return self.at


PENDING = Job(job_id="j", task="t", queue="q", status=JobStatus.PROCESSING, attempt=3, lease_expires_at=10**12 + 500)
START = Turn(10**12 + 400, reserved=True, starts=True)


def asked(limits: Asked, job: Job = PENDING, name: str = "t/1", **task: Any) -> Any:
    usual = {"name": "t", "rate_limit": "1/m", "rate_burst": 1, "soft_time_limit": 600, "time_limit": 900}
    made: Any = limits
    return admission.ask(SimpleNamespace(concurrency_limit=2, **{**usual, **task}), job, name, made, now=10**12)


def test_a_start_is_waited_for_and_keeps_its_slot() -> None:
    limits = Asked(START)

    assert asked(limits) is None
    assert limits.asked == [("enter", "t/1", 2), Asks(), ("wait", START.at)]


@pytest.mark.parametrize(("name", "left"), [("t/1", [("leave", "t/1")]), ("", [])])
@pytest.mark.parametrize("rate", ["1/m", None])
def test_a_start_that_comes_when_the_lease_is_over_is_none_and_frees_the_slot(
    name: str, left: list[Any], rate: str | None
) -> None:
    job = replace(PENDING, lease_expires_at=10**12 + 400)
    limits = Asked(START, now=10**12 + 400 * (not rate))

    hold = asked(limits, job, name, rate_limit=rate)

    assert (hold.until, hold.slot, hold.held) == (10**12 + 400, 0, Held.LATE)
    assert [one for one in limits.asked if one == ("leave", "t/1")] == left


@pytest.mark.parametrize("reserved", [True, False])
def test_a_job_that_waits_for_its_turn_frees_its_slot_and_keeps_the_turn_that_is_its_own(reserved: bool) -> None:
    limits = Asked(Turn(10**12 + 9_000, reserved=reserved))

    hold = asked(limits)

    assert (hold.until, hold.slot, hold.held) == (10**12 + 9_000, (10**12 + 9_000) * reserved, Held.RATE_LIMIT)
    assert limits.asked[-1] == ("leave", "t/1")


def test_a_job_without_a_slot_asks_for_no_start_and_waits_longer_each_time() -> None:
    limits = Asked(START, room=False)

    hold = asked(limits, replace(PENDING, charged=1))

    assert limits.asked == [("enter", "t/1", 2)]
    assert (hold.slot, hold.held) == (0, Held.CONCURRENCY_LIMIT)
    assert 1_000 <= hold.until - 10**12 <= 2_000
    waits = [admission.backoff_ms(times, draw=lambda: 1.0) for times in (0, 1, 2, 3, 6, 40)]
    assert waits == [1_000, 1_000, 2_000, 4_000, 30_000, 30_000]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Asks()),
        ({"claimed_at": 5_001}, Asks()),
        ({"claimed_at": 5_002}, Asks(8_000, holder=False, late=True)),
        ({"slot": 10**12 + 1_000}, Asks(8_000, holder=True)),
        ({"slot": 10**12 + 1_001}, Asks(8_000, holder=True, late=True)),
        ({"slot": 10**12 - 5_000}, Asks(8_000, holder=True)),
        ({"slot": 10**12 - 5_001}, Asks(8_000, holder=True, late=True)),
        ({"slot": 10**12, "attempt": 2}, Asks(60_000, holder=True)),
        ({"slot": 10**12, "attempt": 2, "charged": 1}, Asks(8_000, holder=True)),
    ],
)
def test_how_a_job_asks_follows_from_its_turn_and_its_message(values: dict[str, Any], expected: Asks) -> None:
    job = replace(PENDING, **{"attempt": 1, "available_at": 1, **values})

    assert admission.coming_of(job, RateLimit.parse("0.5/s"), 10**12, 60_000) == expected
