"""Steps, progress and waits as tasks use them, without a worker process."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import shared_task
from celery.contrib.abortable import AbortableAsyncResult, AbortableTask

from jobclaim.fleet.breaker import Breakers
from jobclaim.jobs import InvalidInput, InvalidPayload, JobStatus, ResumeRefused, StepMismatch, WaitTimeout
from jobclaim.testing import TIMES_OUT, Harness, resumed
from jobclaim.workers import IdempotentTask, JobTask

log: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    log.clear()
    yield
    log.clear()


def charge(order: str) -> dict[str, str]:
    log.append(f"charge {order}")
    return {"charge": order}


async def charge_later(order: str) -> str:
    log.append(f"charge {order} later")
    return order


@shared_task(base=JobTask, bind=True, name="lasting.order", max_retries=3, default_retry_delay=0)
def order(self: Any, number: str, crashes: int = 0) -> Any:
    """Charge once, whatever happens after that."""
    charged = self.step("charge", charge, number)
    if self.request.retries < crashes:
        raise self.retry(exc=ConnectionError("mail server"))
    self.step("later", charge_later, number)
    return charged


@shared_task(base=JobTask, bind=True, name="lasting.approve")
def approve(self: Any, number: str) -> Any:
    """Charge after an approval, whatever handlers the body has."""
    self.step("ask", charge, self.wait_token("approval")[:0] + number)
    try:
        answer = self.wait_for("approval", timeout=3600)
    except WaitTimeout:
        return "too late"
    except Exception:
        log.append("handled")
        raise
    return answer


@shared_task(base=JobTask, bind=True, name="lasting.nap")
def nap(self: Any) -> str:
    """Sleep twice."""
    self.sleep(86_400)
    self.sleep(60, name="second")
    return "awake"


@shared_task(base=JobTask, bind=True, name="lasting.load", max_retries=1, default_retry_delay=0)
def load(self: Any, rows: int, style: str = "own") -> Any:
    """Go on where the last attempt stopped."""
    start = self.request.job.checkpoint or 0
    for row in range(start, rows):
        log.append(row)
        if style == "celery":
            self.update_state(state="PROGRESS", meta={"current": row, "total": rows})
        else:
            self.progress(row + 1, rows, f"row {row}", checkpoint=row + 1)
        log.append(self.AsyncResult(self.request.id).state)
        log.append(self.AsyncResult(self.request.id).info)
        if row == 1 and not start:
            raise self.retry(exc=ConnectionError("cut"))
    return start


@shared_task(base=JobTask, bind=True, name="lasting.threads")
def in_threads(self: Any) -> Any:
    """Start steps in threads, some of which know nothing of the body."""
    with ThreadPoolExecutor(2) as pool:
        knows = pool.submit(contextvars.copy_context().run, self.step, "a", charge, "a")
        finds = pool.submit(self.step, "b", charge, "b")
        waits = pool.submit(self.wait_for, "approval")
        return [knows.result(), finds.result(), type(waits.exception()).__name__]


@shared_task(name="lasting.plain")
def plain(job_id: str) -> str:
    """Claim in the body."""
    from celery import current_app, current_task

    with current_app.jobclaim.repo.claimed(job_id) as job:
        assert job is not None
        job.step("charge", charge, job_id[:0] + "p")
        job.progress(1, 2, "half")
        current_task.update_state(state="SENDING", meta={"current": 1})
        log.append(current_app.AsyncResult(job_id).state)
        job.set_result(job.wait_for("approval"))
    return "left"


@shared_task(base=JobTask, bind=True, name="lasting.coroutine")
async def coroutine(self: Any) -> Any:
    """Do it all in an event loop."""
    first = await asyncio.gather(*(self.astep(f"charge-{n}", charge_later, str(n)) for n in range(2)))
    self.progress(1, 2)
    try:
        return [first, self.wait_for("approval")]
    except Exception:
        log.append("handled")
        raise


@shared_task(base=JobTask, bind=True, name="lasting.limited", concurrency_key="tenant", breaker="service")
def limited(self: Any, tenant: str) -> str:
    """Wait in the only place that its tenant has."""
    self.wait_for("go")
    return tenant


class Stoppable(JobTask, AbortableTask):
    """Celery's own abort on a job."""


class StoppableToo(AbortableTask, JobTask):
    """The same, mixed in the other way round."""


@shared_task(base=Stoppable, bind=True, name="lasting.stoppable")
def stoppable(self: Any) -> Any:
    """Say whether somebody wants an end."""
    return self.is_aborted()


@shared_task(base=StoppableToo, bind=True, name="lasting.stoppable_too")
def stoppable_too(self: Any) -> Any:
    """Say whether somebody wants an end."""
    return self.is_aborted()


def test_a_finished_step_is_not_run_again_by_a_retry(jobclaim: Harness) -> None:
    result = order.delay("o1", crashes=2)

    jobclaim.drain()

    assert result.get(timeout=1) == {"charge": "o1"}
    assert log == ["charge o1", "charge o1 later"]
    assert jobclaim.job(result).charged == 3


def test_a_lost_workers_steps_are_there_for_the_next_attempt(jobclaim: Harness) -> None:
    result = order.apply_async(("o1",))
    lost = jobclaim.abandon()
    jobclaim.repo.running(lost.job_id).step("charge", charge, "o1")
    jobclaim.travel(10_000)
    jobclaim.recover()
    jobclaim.retry(lost.job_id)

    jobclaim.drain()

    assert result.get(timeout=1) == {"charge": "o1"}
    assert log == ["charge o1", "charge o1 later"]


def test_a_job_waits_without_a_worker_and_goes_on_with_what_it_is_given(jobclaim: Harness) -> None:
    result = approve.delay("o1")
    jobclaim.drain()
    job = jobclaim.job(result)
    assert (job.status, job.charged, result.state, list(jobclaim.messages)) == (JobStatus.PENDING, 0, "WAITING", [])
    assert result.info == {"waits_for": "approval", "since": job.waits[0].since, "until": job.waits[0].until}

    jobclaim.repo.resume(job.job_id, "approval", {"by": "ann"})
    jobclaim.drain()

    assert result.get(timeout=1) == {"by": "ann"}
    assert log == ["charge o1"]
    with pytest.raises(ResumeRefused):
        jobclaim.repo.resume(job.job_id, "other")


def test_a_deadline_is_found_by_recovery_and_told_to_the_body(jobclaim: Harness) -> None:
    result = approve.delay("o1")
    jobclaim.drain()
    jobclaim.travel(2_900)
    assert jobclaim.recover().scheduled == 0
    jobclaim.travel(200)
    assert jobclaim.recover().scheduled == 1
    assert jobclaim.drain() == 0

    jobclaim.travel(501)
    jobclaim.drain()

    assert result.get(timeout=1) == "too late"


def test_a_sleep_of_a_day_and_one_of_a_minute(jobclaim: Harness) -> None:
    result = nap.delay()
    jobclaim.drain()
    assert (result.state, list(jobclaim.messages)) == ("WAITING", [])
    jobclaim.travel(86_100)
    jobclaim.recover()
    jobclaim.travel(301)
    jobclaim.drain()
    assert len(jobclaim.messages) == 1
    assert result.info["waits_for"] is None

    jobclaim.travel(60)
    jobclaim.drain()

    assert result.get(timeout=1) == "awake"
    assert jobclaim.job(result).charged == 1


def test_progress_is_the_results_state_and_a_checkpoint_lets_the_next_attempt_go_on(jobclaim: Harness) -> None:
    result = load.delay(4)

    jobclaim.drain()

    assert result.get(timeout=1) == 2
    first = {"done": 1, "total": 4, "message": "row 0"}
    assert log[:6] == [0, "PROGRESS", first, 1, "PROGRESS", first]  # of two in five seconds one is written
    assert [entry for entry in log if isinstance(entry, int)] == [0, 1, 2, 3]
    assert jobclaim.job(result).progress.message == "row 3"  # type: ignore[union-attr]


def test_celerys_own_update_state_is_progress_too(jobclaim: Harness) -> None:
    load.delay(1, "celery")

    jobclaim.drain()

    assert log == [0, "PROGRESS", {"current": 0, "total": 1}]


def test_steps_in_threads_belong_to_the_body_and_a_wait_in_one_is_refused(jobclaim: Harness) -> None:
    result = in_threads.delay()

    jobclaim.drain()

    assert result.get(timeout=1) == [{"charge": "a"}, {"charge": "b"}, "InvalidInput"]
    assert [step.name for step in jobclaim.job(result).steps] in (["a", "b"], ["b", "a"])


def test_a_task_that_claims_in_its_body_has_all_of_it_too(jobclaim: Harness) -> None:
    job = jobclaim.repo.create_job("lasting.plain", None, job_id="plain-1")
    jobclaim.publish(job)
    jobclaim.drain()
    assert jobclaim.job("plain-1").waits_for == "approval"
    told = jobclaim.job("plain-1").progress
    assert told is not None
    assert (told.state, log) == ("SENDING", ["charge p", "PROGRESS"])

    jobclaim.repo.resume("plain-1", "approval", "yes")
    jobclaim.drain()

    assert (jobclaim.job("plain-1").status, jobclaim.job("plain-1").result) == (JobStatus.COMPLETED, "yes")


def test_an_async_body_has_it_too_and_its_handlers_see_no_wait(jobclaim: Harness) -> None:
    result = coroutine.delay()
    jobclaim.drain()
    assert jobclaim.job(result).waits_for == "approval"

    jobclaim.repo.resume(result.id, "approval", "yes")
    jobclaim.drain()

    assert result.get(timeout=1) == [["0", "1"], "yes"]
    assert sorted(log) == ["charge 0 later", "charge 1 later"]


def test_a_wait_leaves_its_place_under_a_limit_and_tells_its_breaker_nothing(jobclaim: Harness) -> None:
    first, second = (limited.delay("t") for _ in range(2))
    jobclaim.drain()
    assert (first.state, second.state) == ("WAITING", "WAITING")

    for result in (first, second):
        jobclaim.repo.resume(result.id, "go")
    jobclaim.drain()

    assert [result.get(timeout=1) for result in (first, second)] == ["t", "t"]


def test_a_body_whose_lease_ended_while_its_breaker_was_asked_does_not_start(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = limited.delay("t")
    lease = jobclaim.job(result).lease_ms / 1000

    def slowly(*_: Any) -> int:
        jobclaim.travel(lease)
        return 0

    monkeypatch.setattr(Breakers, "ask", slowly)
    jobclaim.deliver(jobclaim.messages.pop())

    job = jobclaim.job(result)
    assert (job.status, job.charged, job.history[-1].outcome) == (JobStatus.PENDING, 0, "release")
    assert "its lease ended before its breaker" in str(job.released)


@pytest.mark.parametrize("task", [stoppable, stoppable_too])
def test_celerys_abort_is_a_cancel(jobclaim: Harness, task: Any) -> None:
    result = task.delay()
    assert isinstance(result, AbortableAsyncResult)

    result.abort()
    jobclaim.drain()

    assert jobclaim.job(result).status is JobStatus.CANCELLED
    running = task.delay()
    jobclaim.drain()
    assert running.get(timeout=1) is False


# --- without a job, on an app that jobclaim is installed on
@pytest.mark.usefixtures("jobclaim")
def test_eager_calls_have_the_same_values_and_the_same_refusals() -> None:
    assert order.apply(("o1",)).get() == {"charge": "o1"}
    assert log == ["charge o1", "charge o1 later"]

    @shared_task(base=JobTask, bind=True, name="lasting.eager")
    def eager(self: Any) -> Any:
        self.progress(1, 2, checkpoint=[1])
        self.sleep(60)
        first, again = (self.step("pair", divmod, 7, 2) for _ in range(2))
        with pytest.raises(StepMismatch):
            self.step("pair", divmod, 8, 2)
        with pytest.raises(InvalidPayload):
            self.step("set", set)
        with pytest.raises(InvalidInput, match="called without a value"):
            self.progress()
        return [first, again]

    assert eager.apply().get() == [[3, 1], [3, 1]]


@pytest.mark.usefixtures("jobclaim")
def test_an_eager_wait_gets_what_the_test_sets_and_says_so_where_it_sets_nothing() -> None:
    with resumed({"approval": {"by": "ann"}}):
        assert approve.apply(("o1",)).get() == {"by": "ann"}
    with resumed({"approval": TIMES_OUT}):
        assert approve.apply(("o1",)).get() == "too late"
    with pytest.raises(InvalidInput, match=r"jobclaim\.testing\.resumed\(\{'approval': \.\.\.\}\)"):
        approve.apply(("o1",)).get()


@pytest.mark.usefixtures("jobclaim")
def test_a_body_that_is_called_as_a_function_runs_its_steps() -> None:
    assert order.run("o1") == {"charge": "o1"}


def test_other_base_classes_have_it_too() -> None:
    assert {"step", "progress", "wait_for", "sleep", "sleep_until", "wait_token"} <= set(dir(IdempotentTask))
