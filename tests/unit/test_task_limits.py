"""Time limits and routes of tasks, checked before a worker starts; and leave to start under the fleet's limits."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.fleet.rates import RateLimit
from jobclaim.jobs import InvalidInput, Job, JobStatus
from jobclaim.settings import QUEUE_PRESETS, Limits, QueueSpec, Settings
from jobclaim.workers import EmailTask, JobTask, create_app
from jobclaim.workers.attempt.admission import FIRST_WAIT_MS, LONGEST_WAIT_MS, backoff_ms, concurrency_name, has_turn
from jobclaim.workers.time_limits import check_call, problems, time_limits

USUAL = Limits(soft=80, hard=100)
SETTINGS = Settings(
    queues=(QueueSpec(name="default", soft_limit=80, hard_limit=100), QueueSpec(name="slow")),
    tasks={"t.slow": {"queue": "slow"}, "t.exempt": {"hard_limit": 300}, "reports.*": {"queue": "slow"}},
)


def body() -> None:
    """A task's body."""


@pytest.fixture
def app() -> Any:
    return create_app(SETTINGS)


@pytest.mark.parametrize(
    ("soft", "hard", "both"),
    [(None, None, (80, 100)), (10, 20, (10, 20)), (10, None, (10, 100)), (None, 50, (40, 50)), (None, 1, (1, 1)),
     (None, 1000, (80, 1000))],
)  # fmt: skip
def test_limits_of_a_task_are_its_own_completed_by_those_of_its_queue(
    soft: int | None, hard: int | None, both: tuple[int, int]
) -> None:
    assert time_limits(soft, hard, USUAL) == Limits(soft=both[0], hard=both[1])


def test_a_task_without_limits_has_those_of_its_queue_not_of_the_default_queue(app: Any) -> None:
    slow = app.task(name="t.slow", base=JobTask, shared=False)(body)
    plain = app.task(name="t.plain", base=JobTask, shared=False)(body)
    report = app.task(name="reports.yearly", base=JobTask, shared=False)(body)
    assert [(task.soft_time_limit, task.time_limit) for task in (slow, plain, report)] == [
        (1680, 1800),
        (80, 100),
        (1680, 1800),
    ]
    assert report.queue_name() == "slow"


def test_a_task_that_lowers_the_hard_limit_of_its_class_gets_a_soft_limit_below_it(app: Any) -> None:
    app.task(name="t.mail", base=EmailTask, shared=False, time_limit=50)(body)
    task = app.tasks["t.mail"]
    assert (task.soft_time_limit, task.time_limit) == (40, 50)


def faults(app: Any, name: str = "t.any", **options: Any) -> str:
    app.task(name=name, base=JobTask, shared=False, **options)(body)
    return "\n".join(problems([app.tasks[name]], app.jobclaim))


def test_a_sound_task_has_no_fault(app: Any) -> None:
    assert faults(app, time_limit=100, soft_time_limit=90, rate_limit="10/m", concurrency_key=len) == ""


def test_a_task_may_run_as_long_as_the_longest_of_its_queue(app: Any) -> None:
    assert faults(app, time_limit=300) == ""  # settings give t.exempt as much, so the queue's visibility timeout does


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"time_limit": 301}, "time_limit=301 is above 300 s, the longest hard limit of queue 'default'"),
        ({"soft_time_limit": 60, "time_limit": 50}, "soft_time_limit=60 must be below time_limit=50"),
        ({"queue": "defualt"}, "did you mean 'default'"),
        ({"rate_limit": "fast"}, "rate 'fast'"),
        ({"rate_limit": "1/s", "rate_burst": 0}, "burst 0"),
        ({"concurrency_key": "a", "concurrency_limit": 0}, "concurrency_limit=0"),
    ],
)
def test_a_fault_is_named_with_task_value_and_remedy(app: Any, options: dict[str, Any], complaint: str) -> None:
    found = faults(app, **options)
    assert complaint in found
    assert "'t.any'" in found


def test_a_call_may_not_ask_for_more_time_than_its_queue_has() -> None:
    check_call("t", "default", 300, SETTINGS)
    check_call("t", "default", None, SETTINGS)
    with pytest.raises(InvalidInput, match="time_limit=301"):
        check_call("t", "default", 301, SETTINGS)


def test_a_call_with_a_soft_limit_above_its_hard_one_is_refused(app: Any) -> None:
    task = app.task(base=JobTask, name="t.limited", shared=False, time_limit=60, soft_time_limit=50)(body)
    for options in ({"soft_time_limit": 61}, {"soft_time_limit": 20, "time_limit": 10}):
        with pytest.raises(InvalidInput, match=r"soft_time_limit=.* must be below time_limit=.*lower soft_time_limit"):
            task.apply_async((), **options)


# --- presets
def test_the_priority_preset_has_the_promised_waits() -> None:
    rows = {queue.name: (queue.priority, queue.sla_seconds) for queue in QUEUE_PRESETS["priority"]}
    assert rows == {
        "critical": (10, 2),
        "high_priority": (8, 3),
        "email": (7, 5),
        "reports": (6, 60),
        "external_api": (5, 10),
        "maintenance": (3, 300),
    }


@pytest.mark.parametrize("preset", ["documents", "service", "priority"])
def test_a_preset_stands_beside_the_queues_that_are_given_and_one_of_the_same_name_gives_way(preset: Any) -> None:
    first = QUEUE_PRESETS[preset][0].name
    settings = Settings(queue_preset=preset, queues=(QueueSpec(name="default"), QueueSpec(name=first, priority=1)))
    assert set(settings.queue_names) == {"default", "recovery", *(queue.name for queue in QUEUE_PRESETS[preset])}
    assert settings.queue(first).priority == 1


def test_queues_and_routes_of_the_app_come_from_the_settings(app: Any) -> None:
    assert {queue.name: queue.routing_key for queue in app.conf.task_queues} == {
        name: name for name in SETTINGS.queue_names
    }
    assert app.amqp.router.route({}, "reports.yearly")["queue"].name == "slow"


# --- leave to start
@pytest.mark.parametrize(
    ("text", "interval"), [("10/s", 100_000), ("90/m", 666_667), ("1/h", 3_600_000_000), (4, 250_000)]
)
def test_a_rate_is_written_as_celery_writes_it(text: Any, interval: int) -> None:
    assert RateLimit.parse(text) == RateLimit(interval)


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "1/d", "5000/s", "a/s", None])
def test_a_rate_that_is_none_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInput, match="write '10/s'"):
        RateLimit.parse(text)


@pytest.mark.parametrize(("burst", "valid"), [(0, False), (1, True), (100_000, True), (100_001, False), (True, False)])
def test_a_burst_is_a_number_within_its_bounds(burst: int, valid: bool) -> None:
    if valid:
        assert RateLimit.parse("10/s", burst) == RateLimit(100_000, burst)
    else:
        with pytest.raises(InvalidInput, match=f"with burst {burst}"):
            RateLimit.parse("10/s", burst)


def job(**values: Any) -> Job:
    return Job(job_id="j", task="t", queue="default", status=JobStatus.PROCESSING, **values)


@pytest.mark.parametrize(
    ("now", "fits"), [(8_000, False), (9_500, True), (10_000, True), (15_000, True), (15_001, False)]
)
def test_a_turn_holds_for_a_few_seconds_only(now: int, fits: bool) -> None:
    assert has_turn(job(slot=10_000), now) is fits
    assert not has_turn(job(), now)


def test_a_job_that_is_held_waits_longer_each_time_up_to_a_bound() -> None:
    waits = [backoff_ms(times, draw=lambda: 1.0) for times in range(1, 9)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (FIRST_WAIT_MS, LONGEST_WAIT_MS)
    assert backoff_ms(3, draw=lambda: 0.0) == backoff_ms(3, draw=lambda: 1.0) / 2


class Limited:
    name = "t"
    concurrency_group = None
    concurrency_key: Any = "tenant"


def test_equal_values_count_against_one_key_and_no_value_against_none() -> None:
    assert concurrency_name(Limited, lambda: {"tenant": 1}) == concurrency_name(Limited, lambda: {"tenant": 1.0})
    assert concurrency_name(Limited, lambda: {"tenant": 1}) != concurrency_name(Limited, lambda: {"tenant": "1"})
    assert concurrency_name(Limited, lambda: {"tenant": None}) == concurrency_name(Limited, dict) == ""
    assert len(concurrency_name(Limited, lambda: {"tenant": "x" * 5000})) < 100
