"""What a class of tasks must not hide: such a task is refused when it is submitted, and no worker starts with it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.worker.request import Request

from jobclaim.fleet.breaker import Breaker
from jobclaim.jobs import InvalidInput
from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.workers import JobTask, create_app, with_idempotency
from jobclaim.workers.handle import handle_of
from jobclaim.workers.process.request import JobRequest
from jobclaim.workers.sealed import Sealed, declared
from jobclaim.workers.time_limits import problems

REFUSED: dict[str, dict[str, Any]] = {
    "backend": {"backend": object()},
    "Strategy": {"Strategy": "shop.requests:strategy"},
    "request": {"request": property(lambda _: None)},
    "jobclaim": {"jobclaim": None},
    "_claim": {"_claim": lambda _: None},
    "_start": {"_start": lambda *_: None},
    "_make_room": {"_make_room": lambda _: None},
    "its Request": {"Request": type("Mine", (JobRequest,), {})},
}
ALLOWED: dict[str, dict[str, Any]] = {
    "hooks": {"before_start": lambda *_: None, "__call__": lambda self, *_: self.run()},
    "a Request": {"Request": Request},
    "a private name of its own": {"_customer": None},
    "documentation": {"__doc__": "What it does."},
}


def nothing() -> None:
    """Do nothing."""


def task_of(app: Celery, members: dict[str, Any]) -> Any:
    base = type("Base", (JobTask,), {"abstract": True, **members})
    return app.task(base=base, name=f"shop.{uuid4().hex}", shared=False)(nothing)


@pytest.fixture(scope="module")
def app() -> Celery:
    return create_app(Settings())


@pytest.mark.parametrize("name", REFUSED)
def test_a_class_that_hides_what_is_ours_is_refused_by_name(app: Celery, name: str) -> None:
    task = task_of(app, REFUSED[name])
    [problem] = problems([task], handle_of(app))
    assert task.name in problem
    assert f"class {__name__}.Base" in problem
    assert name in problem
    with pytest.raises(InvalidInput, match=f"Base.*{name}"):
        task.delay()


def test_a_hook_on_the_task_itself_is_refused(app: Celery) -> None:
    task = task_of(app, {})
    task.before_start = lambda *_: None
    assert "before_start is set on the task itself" in problems([task], handle_of(app))[0]


def test_classes_that_hide_nothing_of_ours_run(jobclaim: Harness) -> None:
    tasks = [task_of(jobclaim.app, members) for members in ALLOWED.values()]
    assert problems(tasks, handle_of(jobclaim.app)) == []
    ids = [task.delay().id for task in tasks]
    jobclaim.drain()
    assert {jobclaim.job(job_id).status for job_id in ids} == {"COMPLETED"}


def test_breaker_and_slots_hold_whatever_a_class_overrides(jobclaim: Harness) -> None:
    class Down(JobTask):
        name = f"shop.{uuid4().hex}"
        breaker = Breaker(name=uuid4().hex, failures=1)
        concurrency_key = "customer"

        def before_start(self, *_: Any) -> None:
            """Hide the claim."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.run(*args, **kwargs)

        def after_return(self, *_: Any) -> None:
            """Hide the end."""

        def run(self, customer: str) -> None:
            raise Unreachable(customer)

    task = jobclaim.app.register_task(Down())
    ids = [task.delay("same").id for _ in range(2)]
    for _ in ids:
        jobclaim.deliver(jobclaim.messages.popleft())
    jobs = [jobclaim.job(job_id) for job_id in ids]
    assert [(job.status, job.attempt, job.charged) for job in jobs] == [("PENDING", 1, 0)] * 2
    assert all("breaker" in str(job.released) for job in jobs)  # not a slot that was never freed


class Unreachable(Exception):
    """A service's own error."""

    failure_kind = "EXTERNAL"


class Starts(JobTask):
    """Hides the hook."""

    abstract = True

    def before_start(self, *_: Any) -> None:
        """Do nothing."""


def test_every_way_to_make_a_task_seals_its_class(jobclaim: Harness) -> None:
    class ByClass(Starts):
        name = "shop.by_class"

        def run(self) -> str:
            return str(self.request.job.job_id)

    by_class = jobclaim.app.register_task(ByClass())
    decorated = with_idempotency()(jobclaim.app.task(name="shop.decorated", shared=False)(nothing))
    converted = with_idempotency()(jobclaim.app.task(base=Starts, name="shop.converted", shared=False)(nothing))
    for name in ("shop.by_class", "shop.decorated", "shop.converted"):
        task = jobclaim.app.tasks[name]
        assert type(task).__mro__[1] is Sealed
        assert isinstance(task, JobTask)
    assert declared(type(by_class)) is ByClass
    ids = [task.delay().id for task in (by_class, decorated, converted)]
    jobclaim.drain()
    assert [jobclaim.job(job_id).attempt for job_id in ids] == [1, 1, 1]


def test_an_apps_own_class_of_tasks_is_sealed_too(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobclaim.app, "Task", Starts)
    task = jobclaim.app.task(name="shop.of_app", shared=False)(nothing)
    job_id = task.delay().id
    jobclaim.drain()
    assert jobclaim.job(job_id).attempt == 1
