"""What a call of a task writes and sends, seen by a caller: moto holds the jobs, a list catches the messages."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import shared_task

from jobclaim.jobs import IdempotencyMismatch, InvalidInput, JobStatus, PayloadTooLarge
from jobclaim.settings import Settings
from jobclaim.workers import IdempotentTask, JobTask, create_app, with_idempotency
from jobclaim.workers.messages.message import HEADER
from jobclaim.workers.submission.dispatch import publish
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

MINUTE_MS = 60_000


@shared_task(base=JobTask, name="unit.plain")
def plain(a: int, b: int = 2) -> None:
    """A job."""


@shared_task(base=JobTask, name="unit.expiring", expires=30)
def expiring() -> None:
    """A job that is wanted for half a minute."""


@shared_task(base=JobTask, name="unit.endless", max_retries=None)
def endless() -> None:
    """A job without an end of retries."""


@shared_task(base=IdempotentTask, name="unit.equal", idempotency_ttl="email")
def equal(a: int, b: int = 2) -> None:
    """One job for equal calls."""


@with_idempotency(scope="user")
@shared_task(name="unit.per_user", max_retries=7)
def per_user(user_id: int, a: int = 0) -> None:
    """One job for equal calls of a user."""


@with_idempotency(key_from=lambda arguments: arguments["name"].lower())
@shared_task(base=JobTask, bind=True, name="unit.by_name", rate_limit="5/m")
def by_name(self: Any, name: str) -> None:
    """One job for a name, however it is spelt."""


class Desk:
    """An app whose messages go into a list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
        settings = Settings()
        self.clock = clock
        self.app = create_app(settings)
        self.repo = model_repo(settings, clock)
        self.app.jobclaim.use(settings, self.repo)
        self.sent: list[dict[str, Any]] = []
        self.broken = False
        monkeypatch.setattr(self.app, "send_task", self._send)

    def _send(self, name: str, **options: Any) -> Any:
        if self.broken:
            raise ConnectionError("SQS is away")
        self.sent.append({"name": name, **options})
        return self.app.AsyncResult(options["task_id"])

    def call(self, task: Any, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """Call a task; give its job as it is now."""
        result = self.app.tasks[task.name].apply_async(args, kwargs, **options)
        return self.repo.get_job(result.id)

    def finish(self, job: Any, result: Any) -> None:
        """Do a worker's work."""
        self.repo.claim_job(job.job_id)
        self.repo.update_status(job.job_id, "COMPLETED", result=result)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> Desk:
    return Desk(monkeypatch, clock)


# --- messages
def test_a_message_says_the_jobs_id_and_attempt_and_no_argument(desk: Desk) -> None:
    job = desk.call(plain, 41)
    (message,) = desk.sent
    assert (message["args"], message["kwargs"]) == ([job.job_id], {})
    assert message["headers"] == {HEADER: {"job_id": job.job_id, "attempt": 0}}


def test_every_message_of_a_job_carries_what_the_call_asked_for(desk: Desk) -> None:
    link = desk.app.tasks[plain.name].s(5)
    job = desk.call(plain, 1, link=link, time_limit=100, soft_time_limit=90, headers={"trace": "t1"}, shadow="s")
    publish(desk.app, job)
    for message in desk.sent:
        assert (message["time_limit"], message["soft_time_limit"], message["shadow"]) == (100, 90, "s")
        assert message["headers"]["trace"] == "t1"
        assert message["link"][0]["args"] == [5]
    assert job.lease_ms == (100 + desk.app.jobclaim.settings.lease_grace_seconds) * 1000


def test_a_message_never_expires_by_itself_for_the_job_would_wait_for_ever(desk: Desk) -> None:
    desk.call(expiring)
    assert desk.sent[0]["expires"] is None


def test_links_too_large_for_an_item_are_refused_before_anything_is_written(desk: Desk) -> None:
    with pytest.raises(PayloadTooLarge, match="linked tasks"):
        desk.call(plain, 1, link=desk.app.tasks[plain.name].s(secrets.token_hex(200_000)))
    assert desk.sent == []


def test_a_message_that_is_not_sent_leaves_a_job_that_recovery_sends(desk: Desk) -> None:
    desk.broken = True
    job = desk.call(plain, 1)
    assert (job.status, job.dispatches) == (JobStatus.PENDING, 1)


@pytest.mark.parametrize("call", [{"args": ()}, {"args": (1, 2, 3)}, {"args": (1,), "kwargs": {"c": 1}}])
def test_arguments_that_do_not_fit_are_refused(desk: Desk, call: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        desk.app.tasks[plain.name].apply_async(**call)
    assert desk.sent == []


# --- times
@pytest.mark.parametrize(("countdown", "delay"), [(0.2, 1), (59.0, 59), (900, 900)])
def test_up_to_15_minutes_sqs_keeps_the_message_back(desk: Desk, countdown: float, delay: int) -> None:
    job = desk.call(plain, 1, countdown=countdown)
    assert desk.sent[0]["DelaySeconds"] == delay
    assert job.available_at - desk.clock() == round(countdown * 1000)


@pytest.mark.parametrize("minutes", [15.1, 60, 60 * 24 * 365])
def test_beyond_that_the_job_waits_in_dynamodb_and_no_message_is_sent(desk: Desk, minutes: float) -> None:
    eta = datetime.fromtimestamp(desk.clock() / 1000, UTC) + timedelta(minutes=minutes)
    job = desk.call(plain, 1, eta=eta)
    assert desk.sent == []
    assert job.dispatches == 0
    assert job.available_at - desk.clock() == round(minutes * MINUTE_MS)


def test_a_call_or_its_task_may_say_until_when_it_is_wanted(desk: Desk) -> None:
    assert desk.call(plain, 1, expires=90).start_by == desk.clock() + 90_000
    assert desk.call(expiring).start_by == desk.clock() + 30_000
    assert desk.call(expiring, expires=5).start_by == desk.clock() + 5_000
    assert desk.call(plain, 1).start_by == 0


@pytest.mark.parametrize("option", [{"countdown": 60 * 60 * 24 * 401}, {"eta": "soon"}, {"time_limit": 2000},
                                    {"queue": "defualt"}, {"expires": "x"}])  # fmt: skip
def test_what_cannot_be_kept_is_refused_and_nothing_is_sent(desk: Desk, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        desk.call(plain, 1, **option)
    assert desk.sent == []


# --- attempts
def test_a_job_has_one_attempt_more_than_its_task_has_retries(desk: Desk) -> None:
    assert desk.call(plain, 1).max_attempts == 4
    assert desk.call(equal, 1).max_attempts == 4
    assert desk.call(per_user, 1).max_attempts == 8
    assert desk.call(endless).max_attempts == 1_000_000


# --- equal calls
def test_equal_calls_are_one_job_and_one_message(desk: Desk) -> None:
    jobs = [desk.call(equal, 1), desk.call(equal, 1, 2), desk.call(equal, kwargs={"b": 2.0, "a": 1})]
    assert len({job.job_id for job in jobs}) == len(desk.sent) == 1
    assert desk.app.tasks[equal.name].generate_task_id(b=2, a=1) == jobs[0].job_id


def test_a_finished_call_answers_with_its_result_without_another_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.finish(desk.call(equal, 1), {"done": 1})
    result = desk.app.tasks[equal.name].apply_async((1,))
    monkeypatch.setattr(desk.repo, "get_job", lambda _: pytest.fail("the job was read again"))
    assert result.get() == {"done": 1}


def test_after_its_window_a_call_runs_anew(desk: Desk) -> None:
    desk.finish(desk.call(equal, 1), 1)
    desk.clock.advance(2 * 3600 - 1)
    desk.call(equal, 1)
    assert len(desk.sent) == 1
    desk.clock.advance(1)
    assert desk.call(equal, 1).status is JobStatus.PENDING
    assert len(desk.sent) == 2


def test_a_call_may_bring_its_own_key_and_window(desk: Desk) -> None:
    one = desk.call(plain, 1, idempotency_key="invoice-7", idempotency_ttl=60)
    same = desk.call(plain, 1, idempotency_key="invoice-7")
    assert (one.job_id, one.idempotency_key, one.idempotency_ttl) == (same.job_id, "invoice-7", 60)
    with pytest.raises(IdempotencyMismatch, match="used for other arguments"):
        desk.call(plain, 2, idempotency_key="invoice-7")
    assert len(desk.sent) == 1


def test_the_same_key_of_two_users_is_two_jobs(desk: Desk) -> None:
    jobs = [desk.call(per_user, user, idempotency_key="report") for user in (1, 2)]
    assert jobs[0].job_id != jobs[1].job_id


def test_a_call_without_the_scopes_owner_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="does not name an owner"):
        desk.call(per_user, None)


def test_a_call_whose_id_was_chosen_before_is_itself(desk: Desk) -> None:
    jobs = [desk.call(equal, 1, task_id=chosen) for chosen in ("step-1", "step-2")]
    assert [job.job_id for job in jobs] == ["step-1", "step-2"]


def test_a_decorated_task_keeps_its_own_options_and_base(desk: Desk) -> None:
    tasks = [desk.app.tasks[task.name] for task in (per_user, by_name)]
    assert [task.max_retries for task in tasks] == [7, 3]
    assert [tuple(task.autoretry_for) if hasattr(task, "autoretry_for") else () for task in tasks] == [(), ()]
    assert tasks[1].rate_limit == "5/m"
    assert {task.time_limit for task in tasks} == {1800}
    assert all(isinstance(task, JobTask) for task in tasks)


def test_a_key_from_a_function_makes_calls_one_that_differ_in_what_it_ignores(desk: Desk) -> None:
    assert desk.call(by_name, "Ada").job_id == desk.call(by_name, "ADA").job_id
    assert len(desk.sent) == 1


def test_the_decorator_below_shared_task_says_where_it_belongs() -> None:
    def body() -> None:
        """No task yet."""

    with pytest.raises(TypeError, match="above @shared_task"):
        with_idempotency()(body)
    with pytest.raises(InvalidInput, match="idempotency_scope='usr'"):
        with_idempotency(scope="usr")


# --- results by hand
def test_a_result_can_be_looked_up_and_stored_by_the_id_of_its_call(desk: Desk) -> None:
    task = desk.app.tasks[equal.name]
    job_id = task.generate_task_id(9)
    assert task.get_cached_result(job_id) is None
    task.cache_result(job_id, {"from": "elsewhere"}, ttl=60)
    assert task.get_cached_result(job_id) == {"from": "elsewhere"}
    assert desk.call(equal, 9).result == {"from": "elsewhere"}
    assert desk.sent == []
    desk.clock.advance(60)
    assert task.get_cached_result(job_id) is None
    assert desk.call(equal, 9).status is JobStatus.PENDING


def test_a_failure_is_never_a_cached_result(desk: Desk) -> None:
    job = desk.call(equal, 1)
    desk.repo.claim_job(job.job_id)
    desk.repo.update_status(job.job_id, "FAILED", error="x")
    assert desk.app.tasks[equal.name].get_cached_result(job.job_id) is None
    assert desk.call(equal, 1).status is JobStatus.PENDING
