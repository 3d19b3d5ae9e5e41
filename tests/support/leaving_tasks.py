"""Bodies that end in every way that Python and Celery know, each on three paths: a `JobTask`, a claim, a block."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import Any, Final

import httpx
from celery import shared_task
from celery.exceptions import (
    Ignore,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskPredicate,
    WorkerShutdown,
    WorkerTerminate,
)

from jobclaim.jobs import SKIPPED, FailureKind, JobRepo
from jobclaim.settings import Settings
from jobclaim.workers import JobTask

repo = JobRepo.from_settings(Settings())


class Quit(BaseException):
    """Neither an `Exception` nor one of Python's."""


class Withdrawn(Ignore):
    """A host's own kind of `Ignore`."""


class Unwanted(TaskPredicate):
    """A predicate that Celery does not know."""


class NeedsCode(Exception):
    """Asks for more than pickling gives back."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"code {code} at {where}")
        self.code = code


class Service(NeedsCode):
    """Says itself what it means, as text."""

    failure_kind = "EXTERNAL"


class ByProperty(NeedsCode):
    """Says what it means by its code."""

    @property
    def failure_kind(self) -> str:
        return "TRANSIENT" if self.code == 1 else "PERMANENT"


class WrongKind(NeedsCode):
    failure_kind = "EXTRENAL"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Unreducible(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("not this one")


class OnlyHere(Exception):
    """Can be unpickled in the process that raised it, and nowhere else."""

    def __reduce__(self) -> Any:
        return _only_in, (os.getpid(),)


def _only_in(pid: int) -> Exception:
    if pid != os.getpid():
        raise ImportError("no module named 'plugin'")
    return OnlyHere()


def status_error(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://rates.example/")
    return httpx.HTTPStatusError(f"{status}", request=request, response=httpx.Response(status, request=request))


def _with(error: Exception, **attributes: Any) -> Exception:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _caused(cause: Exception) -> Exception:
    error = RuntimeError("the sync failed")
    error.__cause__ = cause
    return error


ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "httpx 503": lambda: status_error(503),
    "httpx 404": lambda: status_error(404),
    "urllib": lambda: urllib.error.HTTPError("http://rates.example/", 503, "down", Message(), None),
    "required": lambda: NeedsCode(4, where="here"),
    "kind as text": lambda: Service(5, where="there"),
    "kind by property": lambda: ByProperty(1, where="there"),
    "kind as enum": lambda: _with(ValueError("v"), failure_kind=FailureKind.CONFIGURATION, lock=threading.Lock()),
    "wrong kind": lambda: WrongKind(6, where="there"),
    "group": lambda: ExceptionGroup("both", [status_error(503), status_error(502)]),
    "mixed group": lambda: ExceptionGroup("both", [status_error(503), NeedsCode(1, where="here")]),
    "mute": Mute,
    "unreducible": lambda: Unreducible("odd"),
    "only here": lambda: OnlyHere("odd"),
    "lock": lambda: _with(ConnectionError("reset"), lock=threading.Lock()),
    "socket": lambda: _with(TimeoutError("slow"), socket=socket.socket()),
    "function": lambda: _with(ValueError("odd"), call=lambda: None),
    "caused": lambda: _caused(status_error(503)),
    "caused twice": lambda: _caused(_caused(status_error(502))),
    "local class": lambda: type("Made", (ValueError,), {"__module__": "nowhere"})("odd"),
}
"""What does not survive pickling, or not everywhere."""

ENDS: Final[dict[str, Callable[[], BaseException]]] = {
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "own base": lambda: Quit("enough"),
    "base group": lambda: BaseExceptionGroup("both", [Quit("one"), ValueError("two")]),
    "shutdown": lambda: WorkerShutdown(0),
    "terminate": lambda: WorkerTerminate(1),
    "memory": lambda: MemoryError("a large list"),
    "recursion": lambda: RecursionError("deep"),
    "stop iteration": lambda: StopIteration("no more"),
    "soft limit by hand": SoftTimeLimitExceeded,
    "ignore": lambda: Ignore("not needed"),
    "own ignore": lambda: Withdrawn("not needed"),
    "reject": lambda: Reject("broken", requeue=False),
    "reject an error": lambda: Reject(status_error(503), requeue=False),
    "unknown predicate": lambda: Unwanted("odd"),
}
"""What is raised to leave a body at once."""


def _update(state: str, meta: Any) -> Callable[[Any], Any]:
    def act(task: Any) -> Any:
        task.update_state(state=state, meta=meta() if callable(meta) else meta)
        raise Ignore

    return act


def _retry(**options: Any) -> Callable[[Any], Any]:
    return lambda task: task.retry(exc=status_error(503), countdown=0, **options)


def _exit_in_thread(_: Any) -> None:
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()


def _swallow(_: Any) -> str:
    with suppress(SoftTimeLimitExceeded):
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(10)
    return "in time"


FIRST: Final[dict[str, Callable[[Any], Any]]] = {
    "requeue": lambda _: _raise(Reject("not now", requeue=True)),
    "retry": _retry(),
    "retry raised": lambda _: _raise(Retry("once more", exc=status_error(503))),
    "retry not raised": _retry(throw=False),
}
"""What the first attempt does; the second one returns."""
ACTS: Final[dict[str, Callable[[Any], Any]]] = {
    "no retries": _retry(max_retries=0),
    "update": _update("FAILURE", {"exc_type": "OutOfStock", "exc_message": "sold out", "sku": 4}),
    "update with error": _update("FAILURE", lambda: status_error(503)),
    "update success": _update("SUCCESS", {"rows": 4}),
    "update progress": _update("PROGRESS", {"rows": 4}),
    "replace": lambda task: task.replace(task.app.signature("leaving.last", queue="default")),
    "_exit": lambda _: os._exit(0),
    "exit in a thread": _exit_in_thread,
    "not json": lambda _: object(),
    "swallowed": _swallow,
}


def _raise(error: BaseException) -> None:
    raise error


def leave(task: Any, way: str, job: Any) -> Any:
    """Leave the body that way."""
    if made := (ERRORS | ENDS).get(way):
        raise made()
    if job.attempt == 1 and way in FIRST:
        FIRST[way](task)
    if way in ACTS:
        return ACTS[way](task)
    return {"attempt": job.attempt}


@shared_task(base=JobTask, bind=True, name="leaving.job", max_retries=2)
def by_job_task(self: Any, way: str) -> Any:
    """The worker claims before the body."""
    return leave(self, way, self.request.job)


@shared_task(bind=True, name="leaving.plain", max_retries=2)
def by_claim(self: Any, job_id: str) -> Any:
    """The body claims, and leaves what it raises to the worker."""
    job = repo.claim_job(job_id)
    if job is None:
        return SKIPPED
    result = leave(self, job.payload["args"][0], job)
    if repo.get_job(job_id).claim_token == job.claim_token:
        repo.update_status(job_id, "COMPLETED", result=result)
    return None


@shared_task(bind=True, name="leaving.block", max_retries=2)
def by_block(self: Any, job_id: str) -> Any:
    """The block ends the job."""
    with repo.claimed(job_id) as job:
        if job is None:
            return SKIPPED
        job.set_result(leave(self, job.payload["args"][0], job.job))
    return None


@shared_task(name="leaving.last")
def last() -> str:
    """Take another task's place."""
    return "last"


@shared_task(base=JobTask, name="leaving.sibling")
def sibling(path: str) -> str:
    """Run beside the others until a file exists."""
    deadline = time.monotonic() + 300
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return "seen"
