"""Where the fleet's limits and breakers draw their lines: one side starts, the other waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobclaim.fleet.breaker import TRUSTED_MS, Breaker, Breakers
from jobclaim.fleet.rates import Coming as Asks
from jobclaim.fleet.rates import RateLimit, Seen, Turn, next_step
from jobclaim.jobs import InvalidInput, Job, JobStatus
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
