"""The smaller parts of the repo: what a job has room for, remembered bodies, lists by queue and time, and pruning."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from celery.exceptions import Retry
from structlog.testing import capture_logs

from jobclaim.jobs import (
    AlreadySubmitted,
    ClaimLost,
    Failure,
    FailureKind,
    IdempotencyMismatch,
    InvalidEffect,
    InvalidInput,
    InvalidPayload,
    Job,
    JobCancelled,
    JobRepo,
    JobStatus,
    PayloadTooLarge,
    StepMismatch,
    StoreUnavailable,
)
from jobclaim.jobs.encoding.item import UNSENT_EARLIER_MS
from jobclaim.jobs.encoding.kept import encode_progress, encode_steps
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.kept import Progress, Step
from jobclaim.jobs.protocol.lifecycle import SUBMIT_ROUNDS
from jobclaim.jobs.repo import room
from jobclaim.jobs.repo.announcing import announce_end
from jobclaim.jobs.repo.delivery import Delivery, current, enter, outside
from jobclaim.jobs.repo.joining import joining
from jobclaim.jobs.repo.keeping import Keeping
from jobclaim.jobs.repo.pruning import Pruned, prune
from jobclaim.jobs.repo.runs import Runs
from jobclaim.jobs.repo.scoped import RETRY
from jobclaim.jobs.repo.stepping import completed_now
from jobclaim.jobs.repo.transaction import PATIENCE_MS, Transaction
from jobclaim.jobs.storage.listing import state_keys
from jobclaim.jobs.storage.written import Written
from jobclaim.jobs.transitions import Move
from jobclaim.settings import ITEM_BUDGET, Settings
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock
from tests.support.one_job import claimed, one_job

NOTHING = len("[][]null")  # steps, waits and checkpoint of a job that keeps none
STEP = Step(name="s", function="f", arguments="a", result="r")
FAILURE = Failure(kind=FailureKind.PERMANENT, message="no")
HUGE = Step(name="s", function="f", arguments="a", result="r" * ITEM_BUDGET)


def job(**values: Any) -> Job:
    return Job(**{"job_id": "j", "task": "t", "queue": "q", "status": JobStatus.PROCESSING, **values})


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


# --- room
@pytest.mark.parametrize(
    ("keeps", "takes"),
    [
        ({}, 0),
        ({"checkpoint": "ä"}, len('"ä"'.encode()) - len("null")),
        ({"steps": (STEP,)}, len(encode_steps([STEP])) - len("[]")),
        ({"progress": Progress(done=1)}, len(encode_progress(Progress(done=1)))),
    ],
)
def test_what_a_job_keeps_leaves_that_much_less_room(keeps: dict[str, Any], takes: int) -> None:
    assert room.room(job(**keeps), settings(max_steps_bytes=5_000)) == 5_000 - NOTHING - takes


@pytest.mark.parametrize(
    ("payload", "mark", "limit"),
    [
        ("", None, 100_000),
        ("x" * (ITEM_BUDGET - 100_000), None, 100_000 - 50_000 - 2),
        ("x" * ITEM_BUDGET, {"x": 1}, 100_000),  # which is elsewhere
        ("x" * ITEM_BUDGET, None, 0),
    ],
)
def test_payload_and_result_have_their_room_first(payload: str, mark: Any, limit: int) -> None:
    asked = settings(max_steps_bytes=100_000, max_result_bytes=50_000)

    assert room.limit_of(job(payload=payload, payload_mark=mark), asked) == limit


def test_a_value_that_does_not_fit_is_refused_unless_it_may_go_elsewhere_and_its_mark_fits() -> None:
    tight, wide = (settings(max_steps_bytes=NOTHING + room.AROUND + more) for more in (0, 3))

    assert room.check(job(), 5, "x", wide) == room.check(job(), 123, "x", wide) == 3
    assert room.check(job(), 1234, "x", wide, elsewhere=True) == 3
    assert room.check(job(), 5, "x", tight, elsewhere=True) == 0
    for value, asked, elsewhere in ((1234, wide, False), (5, settings(max_steps_bytes=1_000), True)):
        with pytest.raises(PayloadTooLarge, match="for its steps, waits and checkpoint together"):
            room.check(job(), value, "x", asked, elsewhere=elsewhere)


def test_another_payload_has_what_the_steps_leave() -> None:
    asked = settings()

    assert room.for_payload(job(), asked) == asked.inline_payload_bytes
    assert room.for_payload(job(steps=(HUGE,)), asked) == 0


def test_one_more_than_the_most_is_refused() -> None:
    room.check_number(1, 2, "steps", "wait")
    with pytest.raises(InvalidInput, match="has 2 steps, and at most 2 are allowed; wait"):
        room.check_number(2, 2, "steps", "wait")


# --- runs
def test_bodies_are_remembered_by_their_claim_up_to_a_number_the_oldest_forgotten_first() -> None:
    runs: Runs[str] = Runs(capacity=2)
    for token in "ab":
        assert runs.keep(token, f"body of {token}") == f"body of {token}"
    assert runs.keep("a", "another") == "body of a"
    assert (runs.get("a"), runs.get("b")) == ("body of a", "body of b")

    runs.keep("c", "body of c")
    runs.forget("b")
    assert [runs.get(token) for token in "abc"] == [None, None, "body of c"]


# --- lists
def test_failed_jobs_are_listed_by_queue_time_and_condition_also_where_completed_ones_are_not(
    clock: ManualClock,
) -> None:
    repo = model_repo(settings(index_completed=False), clock)
    since = 0
    for number, queue in enumerate(("default", "recovery", "default")):
        clock.advance(1)
        since = clock() if number == 1 else since
        repo.create_job("t", job_id=str(number), queue=queue)
        assert repo.claim_job(str(number))
        repo.update_status(str(number), "FAILED", error="no")

    def listed(**asked: Any) -> list[str]:
        return [each.job_id for each in repo.list_jobs("FAILED", **asked).jobs]

    assert listed() == ["2", "1", "0"]
    assert listed(queue="default") == ["2", "0"]
    assert listed(since=since) == ["2", "1"]
    assert listed(where=lambda each: each.job_id != "2", queue="default") == ["0"]
    assert listed(where=lambda each: each.job_id != "2", limit=1) == ["1"]
    with pytest.raises(InvalidInput, match="completed jobs are not listed"):
        repo.list_jobs("COMPLETED")


# --- pruning
class Expired:
    """A client of a table with items that are past their retention, two on a page; one has changed meanwhile."""

    def __init__(self, *names: str, errors: tuple[Exception, ...] = ()) -> None:
        self.pages = [names[at : at + 2] for at in range(0, len(names), 2)]
        self.errors = list(errors)
        self.times: set[str] = set()
        self.deleted: list[str] = []

    def scan(self, **request: Any) -> dict[str, Any]:
        self.times.add(request["ExpressionAttributeValues"][":now"]["N"])
        at = request.get("ExclusiveStartKey", 0)
        more = {"LastEvaluatedKey": at + 1} if at + 1 < len(self.pages) else {}
        items = [{"job_id": {"S": name}, "expires_at": {"N": "5"}} for name in self.pages[at]]
        return {"Items": items, **more}

    def delete_item(self, **request: Any) -> None:
        if self.errors:
            raise self.errors.pop()
        name = request["Key"]["job_id"]["S"]
        if name == "changed":
            raise refused("ConditionalCheckFailedException")
        self.deleted.append(name)


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "because"}}, "DeleteItem")


def pruning(client: Expired, clock: ManualClock) -> tuple[JobRepo, list[float]]:
    slept: list[float] = []
    table = SimpleNamespace(name="jobs", client=lambda: client, sleep=slept.append)
    return cast("JobRepo", SimpleNamespace(table=table, clock=clock)), slept


def test_everything_past_its_retention_is_deleted_at_a_bounded_pace(clock: ManualClock) -> None:
    client, told = Expired("a", "changed", "b"), list[int]()
    repo, slept = pruning(client, clock)

    assert prune(repo, per_second=4, on_progress=told.append) == Pruned(seen=3, deleted=2, complete=True)
    assert (client.deleted, client.times) == (["a", "b"], {str(clock() // 1000)})
    assert (slept, told) == ([0.25] * 3, [1, 2, 3])


@pytest.mark.parametrize(
    ("asked", "found", "deleted"),
    [
        ({"limit": 2}, Pruned(seen=2, deleted=2, complete=False), ["a", "b"]),
        ({"limit": 3}, Pruned(seen=3, deleted=3, complete=True), ["a", "b", "c"]),
        ({"dry_run": True}, Pruned(seen=3, deleted=0, complete=True), []),
    ],
)
def test_a_prune_may_be_limited_or_only_look(
    clock: ManualClock, asked: dict[str, Any], found: Pruned, deleted: list[str]
) -> None:
    client = Expired("a", "b", "c")

    assert prune(pruning(client, clock)[0], **asked) == found
    assert client.deleted == deleted


def test_a_delete_is_made_again_after_a_transient_error_and_another_one_ends_the_run(clock: ManualClock) -> None:
    client = Expired("a", errors=(ReadTimeoutError(endpoint_url="http://x"),))
    repo, slept = pruning(client, clock)
    assert prune(repo).deleted == 1
    assert len(slept) == 2, "once for the error and once for the pace"

    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        prune(pruning(Expired("a", errors=(refused("AccessDenied"),)), clock)[0])


# --- what is made known of an end
class Counts:
    """Notes what is added to the fleet's counts."""

    def __init__(self) -> None:
        self.added: list[tuple[Any, ...]] = []

    def add(self, *what: Any) -> None:
        self.added.append(what)


@pytest.mark.parametrize(
    ("ended", "event", "counted"),
    [
        (job(status=JobStatus.COMPLETED), "job.completed", []),
        (job(status=JobStatus.COMPLETED, dead_retries=2), "job.completed", [({"healed": 1},)]),
        (job(status=JobStatus.CANCELLED, dead_retries=2), "job.cancelled", []),
        (job(status=JobStatus.FAILED, failure=FAILURE), "job.failed", []),
        (job(status=JobStatus.FAILED, failure=FAILURE, dead_retries=2), "job.failed", [({"failed_again": 1}, {})]),
        (
            job(status=JobStatus.FAILED, failure=FAILURE, task="critical"),
            "job.failed",
            [({"critical": 1}, {"last_task": "critical", "last_job": "j"})],
        ),
        (
            job(status=JobStatus.FAILED, failure=FAILURE, task="critical", dead_retries=2),
            "job.failed",
            [({"failed_again": 1, "critical": 1}, {"last_task": "critical", "last_job": "j"})],
        ),
    ],
    ids=["completed", "healed", "cancelled", "failed", "failed again", "critical", "critical again"],
)
def test_an_end_is_logged_with_its_duration_and_counted_where_it_ends_a_retry_or_is_critical(
    ended: Job, event: str, counted: list[Any]
) -> None:
    counts = Counts()
    repo = cast("JobRepo", SimpleNamespace(settings=settings(tasks={"critical": {"critical": True}}), counts=counts))

    with capture_logs() as lines:
        announce_end(repo, replace(ended, claimed_at=1_000, finished_at=2_234))
    assert [(line["event"], line["duration_seconds"]) for line in lines] == [(event, 1.234)]
    assert counts.added == counted


# --- deliveries and blocks
def test_outside_a_worker_nothing_is_known_of_messages_and_nothing_is_cancelled(clock: ManualClock) -> None:
    nowhere, repo = Delivery(), one_job(clock)

    assert (nowhere.may_claim(), nowhere.pauses(), nowhere.attempt_of("j"), nowhere.task_of("j")) == (
        True,
        None,
        None,
        "",
    )
    assert (nowhere.cancelled("token"), nowhere.sees_cancel(), nowhere.left(repo, job(), OSError())) == (False,) * 3


def test_a_claim_of_its_own_stands_outside_a_delivery_and_what_follows_in_it_again() -> None:
    def within() -> None:
        enter(delivery := Delivery())
        with outside():
            assert current() is not delivery
        assert current() is delivery

    contextvars.copy_context().run(within)


def test_a_block_claims_as_it_is_asked_to_and_is_told_of_no_cancel(clock: ManualClock) -> None:
    repo = one_job(clock)
    with repo.claimed("j", attempt=7) as stale:
        assert stale is None
    with repo.claimed("j", attempt=0, celery_task_id="message", worker_id="w") as held:
        assert held is not None
        assert (held.celery_task_id, held.worker_id, held.cancelled) == ("message", "w", False)
        assert repr(held).startswith("ClaimedJob(Job(job_id='j'")


class Odd(Exception):
    exc = KeyError("not a cause")


@pytest.mark.parametrize(
    ("error", "status", "exception"),
    [
        (JobCancelled("stop"), JobStatus.CANCELLED, "JobCancelled"),
        (Odd("no"), JobStatus.FAILED, "Odd"),
    ],
)
def test_a_block_ends_as_what_it_raises_says(
    clock: ManualClock, error: Exception, status: JobStatus, exception: str
) -> None:
    repo = one_job(clock)
    with pytest.raises(type(error)), repo.claimed("j"):
        raise error

    ended = repo.get_job("j")
    assert ended.failure is not None
    assert (ended.status, ended.failure.exception.rpartition(".")[2]) == (status, exception)


@pytest.mark.parametrize(
    ("error", "message"), [(Retry(exc=KeyError("busy")), "'busy'"), (Retry(message="again"), None)]
)
def test_a_block_keeps_why_it_is_tried_again(clock: ManualClock, error: Retry, message: str | None) -> None:
    repo = one_job(clock)
    with pytest.raises(Retry), repo.claimed("j"):
        raise error

    (past,) = repo.get_job("j").history
    assert (past.outcome, past.failure and past.failure.message) == ("retry", message)

    repo.create_job("t", job_id="last", max_attempts=1)
    with pytest.raises(Retry), repo.claimed("last"):
        raise error
    failed = repo.get_job("last")
    assert failed.failure is not None
    assert (failed.status, failed.failure.exception) == (JobStatus.FAILED, "KeyError" if message else RETRY)


def test_a_block_that_recorded_its_outcome_itself_raises_its_own_error_and_nothing_is_logged_of_it(
    clock: ManualClock,
) -> None:
    repo = one_job(clock)

    def work() -> None:
        with repo.claimed("j"):
            repo.update_status("j", "COMPLETED", result=5)
            raise KeyError

    with capture_logs() as lines, pytest.raises(KeyError):
        work()
    assert (repo.get_job("j").result, [line["log_level"] for line in lines]) == (5, ["info"] * len(lines))


def test_a_worker_may_record_the_outcome_of_a_block_in_its_place(clock: ManualClock) -> None:
    class Recording(Delivery):
        def left(self, *_: Any) -> bool:
            return True

    repo = one_job(clock)

    def within() -> None:
        enter(Recording())
        with pytest.raises(KeyError), repo.claimed("j"):
            raise KeyError

    contextvars.copy_context().run(within)
    assert repo.get_job("j").status is JobStatus.PROCESSING


def test_a_block_in_which_an_outer_job_waits_is_left_with_it(clock: ManualClock) -> None:
    repo, reached = one_job(clock), list[str]()
    repo.create_job("t", job_id="inner")
    with repo.claimed("j") as outer:
        assert outer is not None
        with repo.claimed("inner"):
            outer.wait_for("go")
        reached.append("after the inner block")

    assert reached == []
    assert (repo.get_job("j").waits_for, repo.get_job("inner").status) == ("go", JobStatus.FAILED)


# --- steps
def test_a_step_says_when_and_how_long_it_ran_and_a_result_that_looks_like_a_mark_is_refused(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, times = one_job(clock), iter([10.0, 11.5])
    claimed(repo)
    with monkeypatch.context() as patched:
        patched.setattr("jobclaim.jobs.repo.stepping.time.monotonic", lambda: next(times))
        assert repo.step("j", "s", len, "abc") == 3
    (step,) = repo.get_job("j").steps
    assert (step.at, step.took_ms, step.attempt, step.result) == (clock(), 1500, 1, 3)

    with pytest.raises(InvalidPayload, match="the result of step 'mark'"):
        repo.step("j", "mark", lambda: {LARGE_MARK: 5})


def test_an_asynchronous_step_of_an_asynchronous_job_is_refused_and_its_coroutine_closed() -> None:
    async def work() -> None:
        """Do nothing."""

    coroutine = work()

    async def body() -> None:
        with pytest.raises(InvalidInput, match=r"call `await self\.astep\('s'"):
            completed_now(coroutine, "s")
        with pytest.raises(InvalidInput, match=r"call `await self\.astep\('s'"):
            completed_now(asyncio.get_running_loop().create_future(), "s")
        assert completed_now(5, "s") == 5

    asyncio.run(body())
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert completed_now(asyncio.sleep(0, 7), "s") == 7


# --- the base
def test_a_repo_is_as_its_settings_say(clock: ManualClock) -> None:
    slept: list[float] = []
    given = settings(completed_retention_days=2, dead_retention_days=3, bucket="b")
    repo = JobRepo(settings=given, clock=clock, sleep=slept.append)

    assert (repo.retention.completed, repo.retention.dead) == (2 * 86_400_000, 3 * 86_400_000)
    assert (repo.table.name, JobRepo(None, "other", settings=given).table.name) == (given.job_table, "other")
    assert hasattr(repo.table.client(), "update_item")
    assert repo.table.sleep == slept.append
    assert repo.large._persistently.keywords == {"clock": clock, "sleep": slept.append, "service": "S3"}
    rule = given.dead_letter_rule("t", "TRANSIENT")
    assert repo.retention.retry_after(job(dead_retries=1), "TRANSIENT") == rule.delay_seconds(1)
    with pytest.raises(InvalidInput, match="queue 'elsewhere' is not among"):
        repo.create_job("t", queue="elsewhere")


def test_a_repo_is_made_of_settings_or_of_the_default_ones_and_counts_runs_where_they_say_so(
    clock: ManualClock,
) -> None:
    for counts in (True, False):
        given = settings(statistics=counts)
        repo = JobRepo.from_settings(given, client=object(), clock=clock)
        assert (repo.settings, repo.clock) == (given, clock)
        assert (repo.table.on_move == repo.statistics.moved) is counts
    assert isinstance(JobRepo(object()).settings, Settings)


def test_a_duplicate_is_a_submission_too(clock: ManualClock) -> None:
    repo, counted = one_job(clock), list[str]()
    repo.counts = cast("Any", SimpleNamespace(count=counted.append))
    repo.count_submission(created=True)
    repo.count_submission(created=False)

    assert counted == ["submitted", "submitted", "duplicates"]


def test_a_job_without_a_message_is_not_sent_and_others_are_by_their_settings(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, float]] = []
    sending = SimpleNamespace(send=lambda _, job, delay: sent.append((job.job_id, delay)))
    monkeypatch.setitem(sys.modules, "senders", cast("Any", sending))
    monkeypatch.setattr("jobclaim.jobs.repo.store.SENDER", "senders:send")
    repo = one_job(clock)

    assert repo.send(job(dispatches=0)) is False
    assert repo.send(job(dispatches=1, available_at=clock() + 2_500))
    assert repo.send(job(dispatches=1, available_at=clock() - 2_500))
    assert sent == [("j", 2.5), ("j", 0.0)]
    repo.sender = lambda each: dict[str, Any]()[each.job_id]
    assert repo.send(job(dispatches=1)) is False, "recovery sends it"


def test_a_flush_writes_counts_and_statistics_for_the_last_time(clock: ManualClock) -> None:
    repo, flushed = one_job(clock), list[Any]()
    for name in ("counts", "statistics"):
        setattr(repo, name, SimpleNamespace(flush=lambda *, last, name=name: flushed.append((name, last))))
    repo.flush()

    assert flushed == [("counts", True), ("statistics", True)]


def test_a_job_that_was_not_started_in_time_is_logged_by_who_ended_it(clock: ManualClock) -> None:
    repo = one_job(clock)
    late = repo.create_job("t", job_id="late", start_by=clock() + 1)
    clock.advance(1)
    with capture_logs() as lines:
        assert repo._end_late(late).status is JobStatus.CANCELLED
        assert [line["event"] for line in lines] == ["job.expired"]
        assert repo._end_late(late).status is JobStatus.CANCELLED
        assert repo._end_late(gone := replace(late, job_id="gone")) is gone
    assert len(lines) == 1


# --- transactions
def test_a_transaction_of_two_apps_is_refused_and_names_its_writes_as_its_own(clock: ManualClock) -> None:
    repo, other = one_job(clock), one_job(clock)
    with pytest.raises(InvalidInput, match="belongs to another app"), repo.transaction() as tx, joining(tx):
        other.create_job("t")
    with pytest.raises(InvalidEffect, match=r"^tx\.put "), repo.transaction() as tx:
        tx.put(TableName="t")


def test_an_asynchronous_block_is_over_when_it_ends_and_calls_follow_its_write(clock: ManualClock) -> None:
    repo, called = one_job(clock), list[str]()

    async def body() -> None:
        for job_id in ("a", "b"):
            async with repo.transaction() as tx:
                tx.create_job("t", job_id=job_id, settle=lambda job: called.append(job.job_id))
                assert "a" not in called or job_id == "b"
            with pytest.raises(InvalidEffect, match="too late"):
                tx.put(TableName="t", Item={"id": "1"})

    asyncio.run(body())
    repo.create_job("t", job_id="at once", settle=lambda job: called.append(job.job_id))
    assert called == ["a", "b", "at once"]
    assert repo.get_job("b").unsent == 1


def test_created_jobs_and_duplicates_of_a_transaction_are_counted(clock: ManualClock) -> None:
    repo, counted = one_job(clock), list[bool]()
    repo.count_submission = lambda *, created: counted.append(created)  # type: ignore[method-assign]
    with repo.transaction() as tx:
        tx.create_job("t", job_id="a")
        tx.create_job("t", job_id="b")
    with pytest.raises(AlreadySubmitted), repo.transaction() as tx:
        (tx.create_job("t", job_id="a"), tx.create_job("t", job_id="c"))
    with pytest.raises(IdempotencyMismatch), repo.transaction() as tx:
        tx.create_job("another", job_id="a")

    assert counted == [True, True, False]


def test_a_transaction_whose_jobs_change_at_each_try_is_given_up(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[int] = []

    def changed(table: Any, planned: Any, writes: Any, *, until: int) -> list[Written]:
        bounds.append(until)
        return [Written(False) for _ in planned]

    monkeypatch.setattr("jobclaim.jobs.repo.transaction.write_together", changed)
    with pytest.raises(StoreUnavailable, match="changed during each attempt"), one_job(clock).transaction() as tx:
        tx.create_job("t")
    assert bounds == [clock() + PATIENCE_MS] * SUBMIT_ROUNDS


def test_a_transaction_that_was_left_takes_no_more_and_has_room_for_a_hundred_operations(clock: ManualClock) -> None:
    repo = one_job(clock)
    later = int(clock()) + 10 * 86_400_000
    with pytest.raises(KeyError), repo.transaction() as tx:
        raise KeyError
    with pytest.raises(InvalidEffect, match="too late"):
        tx.put(TableName="t", Item={"id": "1"})

    full = Transaction(repo)
    assert full.create_job("t", available_at=later).unsent == 0
    full.extend({"Delete": {"TableName": "t", "Key": {"id": number}}} for number in range(99))
    with pytest.raises(InvalidEffect, match="the job does not fit"):
        full.create_job("t")
    with pytest.raises(InvalidInput, match="this transaction has no job"), Transaction() as tx:
        tx.put(TableName="t", Item={"id": "1"})


def test_an_equal_job_of_a_transaction_must_have_the_same_payload_and_an_ended_one_is_run_anew(
    clock: ManualClock,
) -> None:
    repo = one_job(clock)
    with pytest.raises(IdempotencyMismatch), repo.transaction() as tx:
        tx.create_job("t", {"another": "payload"}, job_id="j")
    ended = repo.create_job("t", idempotency_key="k").job_id
    assert repo.claim_job(ended)
    repo.update_status(ended, "FAILED", error="no")
    with repo.transaction() as tx:
        tx.create_job("t", idempotency_key="k")
    again = repo.get_job(ended)
    assert (again.status, again.attempt, again.submission) == (JobStatus.PENDING, 1, tx.written[ended].submission)


# --- what a list asks for
def test_a_list_asks_for_its_queues_and_for_no_earlier_time_than_it_needs(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        "jobclaim.jobs.repo.reading.list_page",
        lambda _, keys, *, searching, since, **__: asked.append((keys, searching, since)),
    )
    repo, shards = one_job(clock), settings().index_shards
    everywhere = state_keys(JobStatus.PENDING, ["default", "recovery"], shards)
    calls: list[dict[str, Any]] = [
        {},
        {"queue": "mail"},
        {"where": bool},
        {"since": 3},
        {"since": UNSENT_EARLIER_MS + 5},
    ]
    for call in calls:
        repo.list_jobs("PENDING", **call)
    repo.list_jobs("COMPLETED")

    assert [(keys == everywhere, searching, since) for keys, searching, since in asked] == [
        (True, False, None),
        (False, False, None),
        (True, True, None),
        (True, True, 0),
        (True, True, 5),
        (False, False, None),
    ]
    assert asked[1][0] == state_keys(JobStatus.PENDING, ["mail"], shards)


def test_a_job_is_read_with_its_large_values_unless_they_are_not_wanted(clock: ManualClock) -> None:
    repo = one_job(clock)
    repo.large = cast("Any", SimpleNamespace(readable=lambda job: replace(job, payload="read")))

    assert (repo.get_job("j").payload, repo.get_job("j", large=False).payload) == ("read", None)


# --- two processes with one claim
def test_what_another_process_with_the_claim_recorded_meanwhile_counts(clock: ManualClock) -> None:
    repo = one_job(clock)
    claim, ran = claimed(repo), list[int]()
    other = JobRepo(repo.table.client(), settings=repo.settings, clock=clock)
    mine, theirs = repo.running("j"), other.running("j", token=claim.claim_token)

    def elsewhere(*call: Any) -> None:
        thread = threading.Thread(target=theirs.step, args=call)
        thread.start()
        thread.join()

    def work() -> int:
        ran.append(1)
        result = len(ran) * 10
        if len(ran) == 1:
            elsewhere("third", work)
        return result

    assert (mine.step("first", len, "a"), theirs.step("second", len, "ab")) == (1, 2)
    assert mine.step("third", work) == 20, "as the other process, which was first, recorded it"
    with pytest.raises(StepMismatch):
        mine.step("fourth", elsewhere, "fourth", len, "abc")
    assert [step.name for step in repo.get_job("j").steps] == ["first", "second", "third", "fourth"]


def test_once_a_claim_is_known_to_be_over_no_step_runs(clock: ManualClock) -> None:
    repo, ran = one_job(clock), list[int]()
    claim = claimed(repo)
    mine = repo.running("j")
    JobRepo(repo.table.client(), settings=repo.settings, clock=clock).update_status(
        "j", "CANCELLED", token=claim.claim_token
    )
    for number in (1, 2):
        with pytest.raises(ClaimLost):
            mine.step(f"step {number}", ran.append, number)
    assert ran == [1]


def test_an_asynchronous_step_that_is_finished_is_not_inside_itself(clock: ManualClock) -> None:
    repo = one_job(clock)
    claimed(repo)

    async def body() -> list[int]:
        return [await repo.running("j").astep("s", len, "abc") for _ in range(2)]

    assert asyncio.run(body()) == [3, 3]


# --- what a body keeps
def keeping(clock: ManualClock, **asked: Any) -> tuple[Keeping, JobRepo]:
    repo = model_repo(settings(**asked), clock)
    repo.create_job("t", job_id="j", max_attempts=2)
    return Keeping(repo, claimed(repo), home=7), repo


def test_a_checkpoint_that_does_not_fit_is_left_out_of_an_end_and_one_of_a_completed_job_too(
    clock: ManualClock,
) -> None:
    kept, _ = keeping(clock, max_steps_bytes=5_000)
    kept.reports.tell(1, 2, "", "x" * 5_000, clock())
    waiting, done = replace(kept.job, status=JobStatus.PENDING), replace(kept.job, status=JobStatus.COMPLETED)

    with capture_logs() as lines:
        ends = [kept.with_last_report(waiting), kept.with_last_report(done)]
    assert [(end.progress, end.checkpoint) for end in ends] == [(kept.reports.progress, None)] * 2
    assert [line["event"] for line in lines] == ["checkpoint.not_written"]

    kept.reports.checkpoint = [1]
    assert [kept.with_last_report(end).checkpoint for end in (waiting, done)] == [[1], None]


def test_a_checkpoint_may_be_cleared_where_nothing_fits(clock: ManualClock) -> None:
    kept, _ = keeping(clock, max_steps_bytes=1_000)
    kept.reports.tell(None, None, "", None, clock())
    with capture_logs() as lines:
        assert kept.with_last_report(replace(kept.job, status=JobStatus.PENDING, checkpoint=5)).checkpoint is None
    assert lines == []


def test_a_checkpoint_takes_the_room_of_the_one_before_and_is_not_checked_where_there_is_a_bucket(
    clock: ManualClock,
) -> None:
    kept, repo = keeping(clock, max_steps_bytes=NOTHING + room.AROUND + 10)
    kept.job = replace(kept.job, checkpoint="x" * 10)
    kept._fits("y" * 8)
    kept._fits(10**30)
    with pytest.raises(PayloadTooLarge):
        kept._fits("y" * 20)
    with pytest.raises(PayloadTooLarge):
        kept._fitting("y" * 8, "the result of a step")
    kept.reports.checkpoint = "y" * 8
    assert kept.with_last_report(replace(kept.job, status=JobStatus.PENDING)).checkpoint == "y" * 8
    repo.large = cast("Any", SimpleNamespace(enabled=True))
    kept._fits("y" * 20)


@pytest.mark.parametrize("move", [Move.STEP, Move.PROGRESS])
def test_only_what_a_bodys_end_depends_on_is_written_until_the_lease_ends(clock: ManualClock, move: Move) -> None:
    kept, repo = keeping(clock)
    asked: list[int | None] = []
    kept.reports.tell(1, 2, "", ..., clock())

    def apply(_: Job, __: Move, after: Job, *, until: int | None) -> Written:
        asked.append(until)
        return Written(True, replace(after, nonce="stored")) if len(asked) == 1 else Written(False, None)

    repo.table.apply = apply  # type: ignore[method-assign, assignment]
    assert kept._write(move, kept.job)
    assert asked == [kept.job.lease_expires_at if move is Move.STEP else None]
    assert (kept.reports.progress, kept.job.nonce) == (None, "stored")
    with pytest.raises(ClaimLost):  # the job is gone
        kept._write(move, kept.job)
    assert kept._home == 7


def test_sleeps_without_a_name_are_numbered_in_the_order_of_the_body(clock: ManualClock) -> None:
    repo = one_job(clock)
    claimed(repo)
    assert not repo.sleep_until("j", clock() + 5_000)
    assert repo.get_job("j").waits_for == "sleep/1"
