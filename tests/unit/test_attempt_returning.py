"""Releases before the end of an attempt: which jobs a limit holds, and what a retry asks of Celery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from celery import Task, shared_task
from celery.exceptions import Ignore, Reject
from structlog.testing import capture_logs

from jobclaim.jobs import (
    InvalidInput,
    Job,
    JobCancelled,
    JobError,
    JobStatus,
    RetryPolicy,
    RetryRule,
    StoreUnavailable,
)
from jobclaim.jobs.protocol.releases import Held
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.attempt import admission
from jobclaim.workers.attempt.admission import Hold
from jobclaim.workers.attempt.returning import ReturningTask, _constant

NOW = 5_000_000
JOB = Job(
    job_id="j",
    task="t",
    queue="mail",
    status=JobStatus.PROCESSING,
    claim_token="token",
    charged=2,
    payload={"args": [1], "kwargs": {"two": 2}},
)
BROKEN = ValueError("it broke")


def a_task(**attributes: Any) -> Any:
    """A task whose own methods are the real ones and whose surroundings write down what is asked of them."""
    task: Any = MagicMock(rate_limit=None, concurrency_key=None, retry_policy=None)
    task.name = "t"
    task.app.timezone = UTC
    task.request = SimpleNamespace(job=JOB, called_directly=False)
    task._job = JOB
    task.jobclaim.repo.clock.return_value = NOW
    for name, value in attributes.items():
        setattr(task, name, value)
    return task


def released(task: Any) -> dict[str, Any]:
    """Give what a job is released with."""
    (release,) = task._release_claimed.call_args.args
    assert release.func is task.jobclaim.repo.release
    found: dict[str, Any] = release.keywords
    return found


# --- limits
@pytest.fixture
def hold() -> Iterator[MagicMock]:
    """The answer of the limits."""
    with (
        patch.object(admission, "ask", return_value=None) as ask,
        patch.object(admission, "concurrency_name", return_value="by mail"),
    ):
        yield ask


@pytest.mark.parametrize(("limits", "asked"), [({}, 0), ({"rate_limit": "1/s"}, 1), ({"concurrency_key": "mail"}, 1)])
def test_only_a_limited_task_asks_and_remembers_its_slot(hold: MagicMock, limits: dict[str, Any], asked: int) -> None:
    task = a_task(**limits)
    ReturningTask._admit(task, JOB)
    assert hold.call_count == asked
    assert getattr(task.request, "takes_place", "") == ("by mail" if asked else "")
    assert not task._release_claimed.called
    if asked:
        assert hold.call_args.args == (task, JOB, "by mail", task.jobclaim.limits, NOW)


def test_a_job_that_a_limit_holds_is_released_before_its_body_begins(hold: MagicMock) -> None:
    hold.return_value = Hold(NOW + 9, 7, "too many", Held.RATE_LIMIT)
    task = a_task(rate_limit="1/s")
    with pytest.raises(Ignore, match="too many"):
        ReturningTask._admit(task, JOB)
    assert released(task) == {
        "available_at": NOW + 9,
        "reason": "too many",
        "held": Held.RATE_LIMIT,
        "started": False,
        "slot": 7,
    }
    assert not hasattr(task.request, "takes_place")


def test_a_job_whose_limits_cannot_be_read_waits(hold: MagicMock) -> None:
    hold.side_effect = StoreUnavailable("away")
    task = a_task(rate_limit="1/s")
    with pytest.raises(Ignore, match="could not be read"):
        ReturningTask._admit(task, JOB)
    given = released(task)
    assert (given["available_at"], given["slot"], given["held"]) == (NOW + admission.LONGEST_WAIT_MS, 0, Held.STORE)


@pytest.mark.parametrize("error", [None, JobError("gone")])
def test_a_slot_is_given_back_once_and_an_error_of_it_is_logged(error: Exception | None) -> None:
    task = a_task()
    task.request.takes_place = "by mail"
    task.jobclaim.limits.leave.side_effect = error
    with capture_logs() as lines:
        for _ in range(2):
            ReturningTask._make_room(task)
    assert [one.args for one in task.jobclaim.limits.leave.call_args_list] == [("by mail", JOB)]
    assert [line["event"] for line in lines] == ["limits.slot_not_released"] * (error is not None)
    ReturningTask._make_room(a_task())


def test_arguments_that_do_not_fit_have_no_values() -> None:
    def run(one: int, two: int = 0) -> None: ...

    def other() -> None: ...

    assert ReturningTask._values(a_task(run=run)) == {"one": 1, "two": 2}
    assert ReturningTask._values(a_task(run=other)) == {}


# --- retries
@shared_task(base=JobTask, bind=True, name="returning.any")
def any_task(self: Any) -> None:
    """Do nothing."""


class Asked:
    """A running job's task, and what was asked of Celery's own retry."""

    def __init__(self, task: Any, reason: Any) -> None:
        self.task, self.reason = task, reason
        self.calls: list[Any] = []
        self.during: list[Any] = []
        self.count = MagicMock()

    def __call__(self, _: Any, *args: Any, **kwargs: Any) -> str:
        request = self.task.request
        self.calls.append((args, kwargs))
        self.during.append((request.is_retrying, request.retry_cause))
        if self.reason is not None:
            raise Reject(self.reason)
        return "again"


@pytest.fixture
def asked(jobclaim: Harness, request: pytest.FixtureRequest) -> Iterator[Asked]:
    task: Any = any_task._get_current_object()
    found = Asked(task, getattr(request, "param", None))
    task.push_request(called_directly=False, id="c")
    task.request.job = JOB
    with (
        patch.object(Task, "retry", lambda self, *args, **kwargs: found(self, *args, **kwargs)),  # noqa: PLW0108 - bound
        patch.object(task, "_count_for_service", found.count),
    ):
        yield found
    task.pop_request()


def during(error: BaseException | None, act: Callable[[], Any]) -> Any:
    """Act while an error is being handled."""
    if error is None:
        return act()
    try:
        raise error
    except BaseException:  # noqa: BLE001 - raised above
        return act()


ETA = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("handled", [None, BROKEN])
def test_a_retry_is_celerys_with_all_that_was_said_and_knows_its_cause(asked: Asked, handled: Exception | None) -> None:
    task, given = asked.task, KeyError("given")
    assert during(handled, lambda: task.retry([1], {"a": 2}, given, False, ETA, 5, 7)) == "again"
    assert during(handled, lambda: task.retry(countdown=3)) == "again"
    assert asked.calls == [
        (([1], {"a": 2}, given, False), {"max_retries": 7, "eta": ETA, "countdown": 5}),
        ((None, None, None, True), {"max_retries": None, "eta": None, "countdown": 3}),
    ]
    assert asked.during == [(True, given), (True, handled)]
    assert task.request.is_retrying is False
    assert [one.args for one in asked.count.call_args_list] == [(given,), (handled,)]


@pytest.mark.parametrize("request_of", [{"called_directly": True}, {"job": None}])
def test_without_a_job_a_retry_is_celerys_alone(asked: Asked, request_of: dict[str, Any]) -> None:
    vars(asked.task.request).update(is_retrying="untouched", retry_cause=None, **request_of)
    asked.task.retry(eta=ETA, countdown=5, queue="mail")
    assert asked.calls == [
        ((None, None, None, True), {"max_retries": None, "queue": "mail", "eta": ETA, "countdown": 5})
    ]
    assert asked.during == [("untouched", None)]


@pytest.mark.parametrize("given", [True, False])
def test_a_cancelled_body_is_not_retried(asked: Asked, given: bool) -> None:
    cancelled = JobCancelled("stop")
    with pytest.raises(JobCancelled):
        during(None if given else cancelled, lambda: asked.task.retry(exc=cancelled if given else None))
    assert asked.calls == []


def test_an_option_that_a_retry_cannot_have_is_refused(asked: Asked) -> None:
    with pytest.raises(InvalidInput):
        asked.task.retry(idempotency_key="k")
    assert asked.calls == []


@pytest.mark.parametrize("asked", [StoreUnavailable("away"), BROKEN], indirect=True)
def test_a_retry_that_was_not_written_ends_the_body(asked: Asked) -> None:
    with pytest.raises(Ignore if isinstance(asked.reason, JobError) else ValueError):
        asked.task.retry()
    assert asked.task.request.is_retrying is False


@pytest.mark.parametrize(
    ("options", "countdown"), [({}, 10.0), ({"countdown": 1}, 1), ({"eta": ETA}, None), ({"countdown": 0}, 0)]
)
def test_a_policy_gives_the_delay_of_a_retry_without_one(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], countdown: float | None
) -> None:
    rule = RetryRule((ValueError,), RetryPolicy(base=5, factor=2, full_jitter=False))
    policy = RetryPolicy(max_attempts=1, base=3, factor=2, full_jitter=False, rules=(rule,))
    monkeypatch.setattr(type(asked.task), "retry_policy", policy)
    during(BROKEN, lambda: asked.task.retry(**options))
    asked.task.retry(exc=BROKEN, **options)
    assert [call[1]["countdown"] for call in asked.calls] == [countdown] * 2


def test_a_policy_that_does_not_retry_an_error_raises_it_and_without_one_retries(asked: Asked) -> None:
    never = RetryPolicy(base=3, full_jitter=False, rules=(RetryRule((ValueError,), None),))
    task = a_task(retry_policy=never)
    with pytest.raises(ValueError, match="it broke"):
        ReturningTask._policy_delay(task, BROKEN)
    assert ReturningTask._policy_delay(task, None) == never.decide(None, JOB.charged).delay


# --- classes
POLICY = RetryPolicy(max_attempts=4, base=3, factor=2)


def test_what_another_base_class_does_with_a_subclass_is_done() -> None:
    seen: list[dict[str, Any]] = []

    class Hooked(Task):
        abstract = True

        def __init_subclass__(cls, **options: Any) -> None:
            seen.append(options)

    class Both(ReturningTask, Hooked, option=1):
        abstract = True

    assert (seen, Both.abstract) == ([{"option": 1}], True)


def test_a_class_with_a_policy_is_retried_as_it_says_unless_it_says_otherwise_itself() -> None:
    class ByPolicy(ReturningTask):
        abstract = True
        retry_policy = POLICY

    class Own(ReturningTask):
        abstract = True
        retry_policy = RetryPolicy(max_attempts=None)
        autoretry_for = (KeyError,)

    class Few(ByPolicy):
        abstract = True
        retry_policy = POLICY
        max_retries = 1

    class Constant(ByPolicy):
        abstract = True
        default_retry_delay = 9

    class NoPolicy(ReturningTask):
        abstract = True
        default_retry_delay = 9

    assert (ByPolicy.max_retries, ByPolicy.autoretry_for) == (3, (Exception,))
    assert (Own.max_retries, Own.autoretry_for) == (None, (KeyError,))
    assert Few.max_retries == 1
    assert (Constant.max_retries, NoPolicy.retry_policy) == (3, None)
    assert Constant.retry_policy == _constant(POLICY, 9)
    assert _constant(POLICY, 9) == RetryPolicy(max_attempts=4, base=9, factor=1, ceiling=9, full_jitter=False)
