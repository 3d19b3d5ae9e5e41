"""A host's own app, whose task classes override what Celery calls, each without ``super()``."""

from __future__ import annotations

import os
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from celery import Celery, Task, shared_task
from celery.worker.request import Request

import jobclaim
from jobclaim.settings import Settings
from jobclaim.workers import ExternalAPITask, IdempotentTask, JobTask
from tests.support.tasks import leave_evidence


class FlaskTask(JobTask):
    """As Flask's guide has it: the body in the app's context."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


app = Celery("host", task_cls=FlaskTask)
jobclaim.install(app, Settings())
SEEN: Final = os.environ.get("HOOKS_SEEN", os.devnull)


def seen(what: str) -> None:
    """Leave a line that a hook of the user's was called."""
    with Path(SEEN).open("a") as lines:
        lines.write(f"{what}\n")


class Starts(JobTask):
    """Its own ``before_start``."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        seen(f"before_start {args}")


class CallsUp(JobTask):
    """A ``__call__`` that goes on to Celery's."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Task.__call__(self, *args, **kwargs)


class Hooks:
    """A mixin that knows no Celery, and hides everything."""

    def before_start(self, *_: Any) -> None:
        seen("mixin before_start")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)  # type: ignore[attr-defined]

    def on_success(self, *_: Any) -> None:
        seen("mixin on_success")

    def on_failure(self, *_: Any) -> None:
        seen("mixin on_failure")

    def on_retry(self, *_: Any) -> None:
        seen("mixin on_retry")

    def after_return(self, *_: Any) -> None:
        seen("mixin after_return")


class Mixed(Hooks, JobTask):
    abstract = True
    concurrency_key = "way"


class Once(Hooks, IdempotentTask):
    abstract = True
    autoretry_for = ()


class Raises(JobTask):
    """Each of its hooks fails."""

    abstract = True

    def on_success(self, *_: Any) -> None:
        raise RuntimeError("on_success")

    def on_failure(self, *_: Any) -> None:
        raise RuntimeError("on_failure")

    def on_retry(self, *_: Any) -> None:
        raise MemoryError("on_retry")

    def after_return(self, *_: Any) -> None:
        raise SystemExit("after_return")


class OwnRequest(Request):
    """Does nothing about how a task ends."""

    def on_success(self, *_: Any, **__: Any) -> None:
        seen("request on_success")

    def on_failure(self, *_: Any, **__: Any) -> None:
        seen("request on_failure")

    def on_timeout(self, *_: Any, **__: Any) -> None:
        seen("request on_timeout")


class Requested(JobTask):
    abstract = True
    Request: Any = OwnRequest


class Plain(Hooks, Task):
    """A task that is not a `JobTask`, with everything of its own."""

    abstract = True
    Request: Any = OwnRequest


class Sends(JobTask):
    """Submits and retries past jobclaim."""

    abstract = True

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("queue", "default")
        return Task.apply_async(self, *args, **kwargs)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        return Task.retry(self, *args, **kwargs)

    def update_state(self, *_: Any, **__: Any) -> None:
        seen("update_state")


class Runs(JobTask):
    """Wraps its own body."""

    abstract = True

    def __init__(self) -> None:
        self.run: Any = wraps(self.run)(partial(_within, self.run))


def _within(body: Any, *args: Any, **kwargs: Any) -> Any:
    return body(*args, **kwargs)


class Guarded(Hooks, ExternalAPITask):
    abstract = True
    breaker = "hooked"
    autoretry_for = ()


def act(self: Task, way: str, job: Any = None) -> str:
    """Leave a line of evidence, then do what the test wants."""
    job = job or self.request.job
    leave_evidence(SimpleNamespace(request=SimpleNamespace(job=job)))
    match way:
        case "fails":
            raise LookupError("nothing there")
        case "retries" if job.attempt == 1:
            raise self.retry(countdown=0)
        case "is killed":
            os.kill(os.getpid(), 9)
    return way


BASES: Final = {
    "starts": Starts,
    "calls_up": CallsUp,
    "flask": FlaskTask,
    "mixed": Mixed,
    "once": Once,
    "raises": Raises,
    "requested": Requested,
    "sends": Sends,
    "runs": Runs,
    "guarded": Guarded,
}
for _name, _base in BASES.items():
    shared_task(base=_base, bind=True, name=f"hooked.{_name}", max_retries=2)(act)
app.task(bind=True, name="hooked.app_task", max_retries=2)(act)


@shared_task(base=Plain, bind=True, name="hooked.plain", max_retries=2)
def plain(self: Any, job_id: str) -> None:
    """Claim in the body."""
    with app.jobclaim.repo.claimed(job_id) as job:
        if job is not None:
            job.set_result(act(self, job.payload["args"][0], job.job))
