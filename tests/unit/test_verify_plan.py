"""The plan of `jobclaim verify`: the same from the same seed, complete even when short."""

from __future__ import annotations

from collections import Counter

import pytest

from jobclaim.verify.injector import QUEUE, TABLE, FaultInjector
from jobclaim.verify.plan import CANCELLED_WITHIN_SECONDS, FREEZES, JOBS, LONG, SHORT, FaultKind, Plan, Scale, draw_plan
from tests.support.faults import MESSAGE_COPIED, MESSAGE_LOST, RESET

SHORT_SECONDS = 26.0


def short(seed: int) -> Plan:
    return draw_plan(seed, seconds=SHORT_SECONDS, jobs=300, scale=SHORT)


def test_a_seed_gives_one_plan_and_another_seed_another() -> None:
    assert short(7) == short(7)
    assert short(7) != short(8)


@pytest.mark.parametrize("seed", range(20))
def test_the_shortest_run_meets_every_kind_and_sees_freezes_end(seed: int) -> None:
    schedule = short(seed).schedule
    assert {scheduled.kind for scheduled in schedule} == set(FaultKind)
    first = {kind: min(scheduled.at for scheduled in schedule if scheduled.kind is kind) for kind in FREEZES}
    ends = [scheduled.at + scheduled.seconds for scheduled in schedule if scheduled.at in first.values()]
    assert max(ends) < SHORT_SECONDS


@pytest.mark.parametrize(("seconds", "scale"), [(SHORT_SECONDS, SHORT), (120.0, LONG), (1_200.0, LONG)])
def test_no_job_is_due_before_it_is_cancelled_after_the_faults(seconds: float, scale: Scale) -> None:
    later = [call for call in draw_plan(7, seconds=seconds, jobs=2_000, scale=scale).calls if call.task == "later"]
    assert later
    assert min(call.at + call.countdown for call in later) >= seconds + CANCELLED_WITHIN_SECONDS


@pytest.mark.parametrize("scale", [LONG, SHORT])
def test_a_freeze_outlasts_lease_and_heartbeats(scale: Scale) -> None:
    plan = draw_plan(1, seconds=300, jobs=10, scale=scale)
    zombies = [scheduled.seconds for scheduled in plan.schedule if scheduled.kind is FaultKind.FREEZE_UNTIL_LOST]
    frozen = [scheduled.seconds for scheduled in plan.schedule if scheduled.kind in FREEZES]
    assert min(set(frozen) - set(zombies)) > scale.lease
    assert scale.dead_after + 3 < min(zombies) <= max(zombies) < scale.hard_limit - 2


def test_a_plan_makes_as_many_jobs_as_asked_for() -> None:
    plan = draw_plan(3, seconds=60, jobs=1000, scale=LONG)
    numbers = {(call.task, call.number) for call in plan.calls}
    jobs = sum(JOBS.get(task, 1) for task, _ in numbers)
    assert jobs == plan.jobs == 1000


def test_calls_come_in_order_and_equal_ones_more_than_once() -> None:
    calls = draw_plan(3, seconds=60, jobs=1000, scale=LONG).calls
    assert [call.at for call in calls] == sorted(call.at for call in calls)
    assert 0 <= calls[0].at <= calls[-1].at <= 60
    times = Counter((call.task, call.number) for call in calls)
    assert {times[key] > 1 for key in times if key[0] == "once"} == {True}
    assert {times[key] for key in times if key[0] != "once"} == {1}


def test_every_kind_of_storm_has_its_fault() -> None:
    by_proxy = set(TABLE) | set(QUEUE)
    named = {kind for kind in FaultKind if kind.value.startswith(("DynamoDB", "SQS", "messages", "old messages"))}
    assert by_proxy == named - {FaultKind.TABLE_OUTAGE, FaultKind.QUEUE_OUTAGE}


def test_weather_hits_its_share_until_it_is_over() -> None:
    injected = FaultInjector(1, {})
    assert injected("UpdateItem") is None
    injected.begin(1, RESET, 0.5)
    hits = sum(injected("UpdateItem") is RESET for _ in range(1000))
    assert 400 < hits < 600
    injected.end(1)
    assert {injected("UpdateItem") for _ in range(100)} == {None}


def test_only_messages_are_copied_or_lost() -> None:
    injected = FaultInjector(1, {MESSAGE_COPIED: 1.0, MESSAGE_LOST: 1.0})
    assert injected("ReceiveMessage") is None
    assert injected("SendMessageBatch") is not None
    injected.clear()
    assert injected("SendMessage") is None
