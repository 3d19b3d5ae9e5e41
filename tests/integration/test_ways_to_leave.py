"""Every way to leave a body ends the attempt, with the exception that was raised: one real worker, three paths."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from celery import Celery, states
from celery.app.trace import build_tracer

from jobclaim.jobs import FailureKind, Job, JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.leaving_tasks import ERRORS, leave
from tests.support.processes import ManagedProcess
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
PATHS = ("leaving.job", "leaving.plain", "leaving.block")
HTTPX, HERE = "httpx.HTTPStatusError", "tests.support.leaving_tasks."
EXTERNAL, PERMANENT, TRANSIENT = FailureKind.EXTERNAL, FailureKind.PERMANENT, FailureKind.TRANSIENT
CONFIGURATION, ORPHANED, TIMEOUT = FailureKind.CONFIGURATION, FailureKind.ORPHANED, FailureKind.TIMEOUT


class End(NamedTuple):
    """What a job comes to."""

    status: JobStatus
    exception: str = ""
    kind: FailureKind | None = None
    message: str = ""
    attempt: int = 1
    charged: int = 1


def failed(exception: str, kind: FailureKind = PERMANENT, message: str = "", **more: int) -> End:
    return End(JobStatus.FAILED, exception, kind, message, **more)


CANCELLED = End(JobStatus.CANCELLED, "", FailureKind.CANCELLED)
SECOND = End(JobStatus.COMPLETED, attempt=2, charged=2)
ROWS: dict[str, End] = {
    "httpx 503": failed(HTTPX, EXTERNAL, "503"),
    "httpx 404": failed(HTTPX, PERMANENT, "404"),
    "urllib": failed("urllib.error.HTTPError", EXTERNAL, "HTTP Error 503: down"),
    "required": failed(HERE + "NeedsCode", PERMANENT, "code 4 at here"),
    "kind as text": failed(HERE + "Service", EXTERNAL, "code 5 at there"),
    "kind by property": failed(HERE + "ByProperty", TRANSIENT, "code 1 at there"),
    "kind as enum": failed("ValueError", CONFIGURATION, "v"),
    "wrong kind": failed(HERE + "WrongKind", PERMANENT, "code 6 at there"),
    "group": failed("ExceptionGroup", EXTERNAL, "both (2 sub-exceptions)"),
    "mixed group": failed("ExceptionGroup", PERMANENT, "both (2 sub-exceptions)"),
    "mute": failed(HERE + "Mute", PERMANENT, "(its __str__ raised RuntimeError)"),
    "unreducible": failed(HERE + "Unreducible", PERMANENT, "odd"),
    "only here": failed(HERE + "OnlyHere", PERMANENT, "odd"),
    "lock": failed("ConnectionError", TRANSIENT, "reset"),
    "socket": failed("TimeoutError", TRANSIENT, "slow"),
    "function": failed("ValueError", PERMANENT, "odd"),
    "caused": failed("RuntimeError", EXTERNAL, "the sync failed"),
    "caused twice": failed("RuntimeError", EXTERNAL, "the sync failed"),
    "local class": failed("nowhere.Made", PERMANENT, "odd"),
    "exit": failed("SystemExit", PERMANENT, "3"),
    "interrupt": failed("KeyboardInterrupt"),
    "generator exit": failed("GeneratorExit"),
    "cancelled": failed("asyncio.exceptions.CancelledError", FailureKind.CANCELLED),
    "own base": failed(HERE + "Quit", PERMANENT, "enough"),
    "base group": failed("BaseExceptionGroup", PERMANENT, "both (2 sub-exceptions)"),
    "shutdown": failed("celery.exceptions.WorkerShutdown", PERMANENT, "0"),
    "terminate": failed("celery.exceptions.WorkerTerminate", PERMANENT, "1"),
    "memory": failed("MemoryError", CONFIGURATION, "a large list"),
    "recursion": failed("RecursionError", PERMANENT, "deep"),
    "stop iteration": failed("StopIteration", PERMANENT, "no more"),
    "soft limit by hand": failed("billiard.exceptions.SoftTimeLimitExceeded", TIMEOUT),
    "ignore": CANCELLED._replace(message="its task raised Ignore: not needed"),
    "own ignore": CANCELLED._replace(message="its task raised Withdrawn: not needed"),
    "reject": failed("celery.exceptions.Reject", PERMANENT, "broken"),
    "reject an error": failed(HTTPX, EXTERNAL, "503"),
    "unknown predicate": failed(HERE + "Unwanted", PERMANENT, "odd"),
    "requeue": End(JobStatus.COMPLETED, attempt=2, charged=1),
    "retry": SECOND,
    "retry raised": SECOND,
    "retry not raised": SECOND,
    "no retries": failed(HTTPX, EXTERNAL, "503"),
    "update": failed("OutOfStock", PERMANENT, "sold out"),
    "update with error": failed(HTTPX, EXTERNAL, "503"),
    "update success": End(JobStatus.COMPLETED),
    "update progress": CANCELLED._replace(message="its task raised Ignore"),
    "replace": End(JobStatus.COMPLETED),
    "_exit": failed("billiard.exceptions.WorkerLostError", ORPHANED),
    "exit in a thread": End(JobStatus.COMPLETED),
    "not json": failed("", PERMANENT),
    "swallowed": End(JobStatus.COMPLETED),
    "return": End(JobStatus.COMPLETED),
}
ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
NO_TRACEBACK = ("not json", "ignore", "own ignore", "update", "update progress", "_exit", "reject an error")


@pytest.fixture(scope="module")
def world(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """All rows on all paths, beside a job that runs all the while; given are the jobs and their worker."""
    folder = tmp_path_factory.mktemp("leaving")
    with deployed(
        dynamodb_local, elasticmq, folder, task_modules=("tests.support.leaving_tasks",), run_dir=str(folder)
    ) as stack:
        app = create_app(stack.settings)
        worker = stack.worker("worker", "-c", "4", "-Q", "default")
        flag = folder / "flag"
        ids = {(path, way): _submit(app, path, [way]) for way in ROWS for path in PATHS}
        beside = _submit(app, "leaving.sibling", [str(flag)])
        jobs = _ended(stack, list(ids.values()))
        flag.touch()
        stack.wait_for([beside], JobStatus.COMPLETED, 30)
        yield _World(stack, app, worker, {row: jobs.get(job_id) for row, job_id in ids.items()}, beside)


class _World(NamedTuple):
    stack: Stack
    app: Any
    worker: ManagedProcess
    jobs: dict[tuple[str, str], Any]
    beside: str


def _submit(app: Any, task: str, args: list[Any]) -> str:
    job = app.jobclaim.repo.create_job(task, {"args": args, "kwargs": {}})
    publish(app, job)
    return str(job.job_id)


def _ended(stack: Stack, ids: list[str]) -> dict[str, Job]:
    """Wait until all have ended; those that do not are shown as they are."""

    def done() -> dict[str, Job] | None:
        jobs = stack.repo.table.get_many(ids)
        return jobs if all(job.status in ENDED for job in jobs.values()) else None

    try:
        return wait_until(done, 150, "all jobs have ended", poll=0.5) or {}
    except TimeoutError:
        return stack.repo.table.get_many(ids)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", ROWS)
def test_each_way_out_of_a_body_ends_its_job(world: _World, way: str, path: str) -> None:
    job, wanted = world.jobs[path, way], ROWS[way]
    failure = job.failure if job.status is not JobStatus.COMPLETED else None
    found = End(job.status, attempt=job.attempt, charged=job.charged)
    if failure:
        found = found._replace(exception=failure.exception, kind=failure.kind, message=failure.message)
    if not wanted.message:
        found = found._replace(message="")
    if not wanted.exception:
        found = found._replace(exception="")
    assert found == wanted
    if failure and way not in NO_TRACEBACK:
        assert "in leave" in failure.traceback
        assert failure.where.startswith("support/leaving_tasks.py:") or way == "no retries"


def test_the_worker_and_its_other_jobs_go_on(world: _World) -> None:
    beside = world.stack.repo.get_job(world.beside)
    assert (beside.status, beside.attempt) == (JobStatus.COMPLETED, 1)
    assert world.worker.log().count(" ready.") == 1
    assert world.worker.running


@pytest.mark.parametrize("way", [way for way, end in ROWS.items() if end.status is JobStatus.FAILED])
def test_get_raises_what_can_be_printed(world: _World, way: str) -> None:
    job = world.jobs["leaving.job", way]
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        world.app.AsyncResult(job.job_id).get(timeout=5)
    shown = f"{type(raised.value).__name__}: {raised.value}"
    assert job.failure.exception.rpartition(".")[2] in shown
    assert job.failure.message in shown


IN_ITS_PROCESS = (*ERRORS, "memory", "recursion", "stop iteration", "unknown predicate", "no retries", "return")
"""Ways whose end Celery's tracer itself tells: the others end its process, or record nothing."""


@pytest.mark.parametrize("way", [*IN_ITS_PROCESS, "update success"])
def test_plain_celery_ends_a_task_in_the_same_state(way: str) -> None:
    celerys = Celery("yardstick", broker="memory://", backend="cache+memory://", set_as_current=False)

    @celerys.task(bind=True, name="yardstick.body", shared=False)
    def body(self: Any) -> Any:
        return leave(self, way, SimpleNamespace(attempt=1))

    build_tracer(body.name, body, app=celerys)("one", [], {}, {"id": "one", "delivery_info": {}})
    state = celerys.backend.get_task_meta("one")["status"]
    assert {states.SUCCESS: JobStatus.COMPLETED, states.FAILURE: JobStatus.FAILED}[state] is ROWS[way].status
