"""A failed job walks its whole policy: recovery's retries, then a person; each step one conditional write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobclaim.jobs import FailureKind, IllegalTransition, InvalidInput, Job, JobRepo, JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.failures.dead import seal_policy
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.repo.rescue import revive
from jobclaim.recovery import many
from jobclaim.recovery.dead import DeadLetters, Filter, letters
from jobclaim.recovery.dead.healing import Healing, healing
from tests.support.clock import ManualClock
from tests.support.recovery import REAL, Bench, Requests, before, bench_settings, store

MINUTE, HOUR = 60, 3600


@pytest.fixture
def clock() -> ManualClock:
    """A clock that starts now: DynamoDB Local really deletes what expired by the machine's clock."""
    return ManualClock(system_clock())


@pytest.fixture(params=REAL)
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store(request.param, request) as client:
        yield Bench(client, bench_settings(index_shards=2), clock)


def fail(bench: Bench, job_id: str, kind: str = "TRANSIENT") -> Job:
    """Run the job's next attempt into a failure."""
    worker = bench.new_repo()
    assert worker.claim_job(job_id, worker_id="w1") is not None
    return worker.update_status(job_id, "FAILED", error="it broke", kind=FailureKind(kind))


def submitted(bench: Bench, job_id: str = "j", **options: Any) -> Job:
    return bench.repo.create_job("shop.charge", {"n": 1}, job_id=job_id, max_attempts=3, **options)


@pytest.mark.parametrize(
    ("kind", "delays"),
    [
        ("TRANSIENT", [5 * MINUTE, 20 * MINUTE, 80 * MINUTE, 320 * MINUTE, 1280 * MINUTE]),
        ("EXTERNAL", [1 * HOUR, 3 * HOUR, 9 * HOUR]),
        ("CONFIGURATION", [2 * HOUR]),
        ("PERMANENT", []),
        ("TIMEOUT", []),
        ("ORPHANED", []),
    ],
)
def test_a_failing_job_walks_its_whole_policy_and_then_waits_for_a_person(
    bench: Bench, kind: str, delays: list[int]
) -> None:
    submitted(bench)
    for number, delay in enumerate(delays):
        job = fail(bench, "j", kind)
        assert (job.dead_state, job.retry_at, job.dead_retries) == (
            DeadState.SCHEDULED,
            bench.clock() + delay * 1000,
            number,
        )
        bench.clock.advance(delay - 0.001)
        assert bench.sweep().revived == 0
        bench.clock.advance(0.001)
        with Requests(bench.client) as requests:
            report = bench.sweep()
        assert (report.revived, requests.counts["UpdateItem"]) == (1, 1)
        again = bench.repo.get_job("j")
        assert (again.status, again.dead_state, again.attempts_left) == (JobStatus.PENDING, DeadState.RETRYING, 1)
        assert bench.sent.messages[-1] == ("j", number + 1, 0.0)
        assert (again.decisions[-1].verb, again.decisions[-1].by) == ("retry", "recovery")
    job = fail(bench, "j", kind)
    assert (job.dead_state, job.retry_at, job.dead_retries) == (DeadState.WAITING, 0, len(delays))
    assert (job.payload, [past.attempt for past in job.history]) == ({"n": 1}, list(range(1, len(delays) + 2)))
    bench.clock.advance(20 * 24 * HOUR)
    assert bench.sweep().revived == 0

    again = bench.repo.retry_job("j", by="ada", reason="the bank is back")
    assert (again.dead_state, again.dead_retries, again.attempts_left) == (DeadState.RETRYING, 0, 3)
    assert (again.decisions[-1].by, again.decisions[-1].why) == ("ada", "the bank is back")
    worker = bench.new_repo()
    worker.claim_job("j")
    assert worker.update_status("j", "COMPLETED", result=1).dead_state == DeadState.RESOLVED
    assert bench.repo.get_job("j").dead_state == DeadState.RESOLVED


def test_automatic_retries_that_end_are_counted_and_nothing_else_is(bench: Bench) -> None:
    assert healing(bench.repo).rate is None
    for name in ("heals", "fails", "at_once", "by_hand"):
        submitted(bench, name)
    complete(bench, "at_once")
    for name in ("heals", "fails", "by_hand"):
        fail(bench, name)
    bench.repo.retry_job("by_hand", by="ada", reason="")
    complete(bench, "by_hand")
    assert healing(bench.repo).rate is None
    bench.clock.advance(5 * MINUTE)
    assert bench.sweep().revived == 2
    with Requests(bench.client) as requests:
        complete(bench, "heals")
    assert requests.counts["UpdateItem"] == 3  # claim, complete, count
    fail(bench, "fails")
    bench.clock.advance(20 * MINUTE)
    bench.sweep()
    complete(bench, "fails")
    assert healing(bench.repo) == Healing(healed=2, failed_again=1)
    assert healing(bench.repo).rate == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("seconds", "delays"), [(0, [0.0]), (600, [600.0]), (2 * HOUR, [])], ids=["at once", "by SQS", "by recovery"]
)
def test_a_delayed_retry_starts_when_it_is_due(bench: Bench, seconds: int, delays: list[float]) -> None:
    submitted(bench)
    fail(bench, "j", "PERMANENT")
    sent: list[float] = []
    dead = DeadLetters(bench.repo, send=lambda _, delay: sent.append(delay))
    at = bench.clock() + seconds * 1000
    report = dead.act("retry", ["j"], by="ada", at=at)
    job = bench.repo.get_job("j")
    assert (report.done, report.unsent, sent) == (1, 0, delays)
    assert (job.status, job.available_at, job.attempts_left) == (JobStatus.PENDING, at, 3)
    if not delays:
        bench.clock.advance(seconds - 1)
        assert [message[2] for message in swept(bench)] == [1.0]


def test_only_a_retry_has_a_time_and_it_must_be_one(bench: Bench) -> None:
    dead = DeadLetters(bench.repo, send=lambda *_: None)
    with pytest.raises(InvalidInput, match="is for retry only, abandon takes effect at once"):
        dead.act("abandon", ["j"], by="ada", at=bench.clock())
    with pytest.raises(InvalidInput, match="at="):
        dead.act("retry", ["j"], by="ada", at=10**18)


def complete(bench: Bench, job_id: str) -> None:
    """Run the job's next attempt to its end."""
    worker = bench.new_repo()
    assert worker.claim_job(job_id, worker_id="w1") is not None
    worker.update_status(job_id, "COMPLETED", result=1)


def swept(bench: Bench) -> list[tuple[str, int, float]]:
    """Messages that the next recovery pass sends."""
    before = len(bench.sent.messages)
    bench.sweep()
    return bench.sent.messages[before:]


def test_a_task_may_have_rules_of_its_own(bench: Bench) -> None:
    policy = seal_policy({"PERMANENT": {"retries": 2, "after_seconds": 10, "factor": 2}, "TRANSIENT": {"retries": 0}})
    submitted(bench, failure_policy=policy)
    submitted(bench, "k", failure_policy=policy)
    assert fail(bench, "j", "TRANSIENT").dead_state == DeadState.WAITING
    assert fail(bench, "k", "PERMANENT").retry_at == bench.clock() + 10_000


def test_two_passes_at_once_start_a_job_again_once(bench: Bench) -> None:
    submitted(bench)
    fail(bench, "j")
    bench.clock.advance(5 * MINUTE)
    slow = before(bench.client, "update_item", lambda: bench.sweep() if not bench.sent.messages else None)
    report = bench.sweep(bench.new_repo(slow))
    assert (report.revived, report.refused) == (0, 1)
    assert len(bench.sent.messages) == 1


def test_recovery_does_not_start_what_a_person_abandoned_a_moment_ago(bench: Bench) -> None:
    from jobclaim.recovery.dead import settle

    submitted(bench)
    read = fail(bench, "j")
    bench.clock.advance(5 * MINUTE)
    assert settle(bench.repo, read, "abandon", by="ada", why="nobody wants it") is not None
    assert revive(bench.repo, read) is None
    assert bench.sweep().revived == 0
    job = bench.repo.get_job("j")
    assert (job.status, job.dead_state, job.retry_at) == (JobStatus.FAILED, DeadState.ABANDONED, 0)


def test_a_retry_that_was_decided_on_an_old_view_is_refused(bench: Bench) -> None:
    submitted(bench)
    fail(bench, "j")
    bench.repo.retry_job("j")
    with pytest.raises(IllegalTransition):
        bench.repo.retry_job("j")


def test_a_failed_job_is_listed_wherever_it_stands(bench: Bench) -> None:
    from jobclaim.recovery.dead import settle

    for name, kind in (("waits", "PERMANENT"), ("scheduled", "TRANSIENT"), ("resolved", "PERMANENT")):
        submitted(bench, name)
        job = fail(bench, name, kind)
        if name == "resolved":
            settle(bench.repo, job, "resolve", by="ada", why="paid by hand")
    assert {job.job_id for job in bench.repo.list_jobs("FAILED").jobs} == {"waits", "scheduled", "resolved"}


def test_a_job_is_kept_beyond_its_last_automatic_retry(clock: ManualClock) -> None:
    with store("model", None) as client:  # type: ignore[arg-type]
        bench = Bench(client, bench_settings(dead_retention_days=0.01), clock)
        submitted(bench)
        job = fail(bench, "j", "EXTERNAL")
        assert job.expires_at * 1000 > job.retry_at


DUE_LATER = 5_000


@pytest.mark.real
def test_a_pass_costs_the_same_with_thousands_of_dead_jobs_that_are_not_due(
    request: pytest.FixtureRequest, clock: ManualClock
) -> None:
    with store("dynamodb-local", request) as client:
        bench = Bench(client, bench_settings(index_shards=4), clock)
        bench.sweep()
        nothing = cost(bench)
        load(bench)
        assert cost(bench) == nothing
        submitted(bench)
        fail(bench, "j")
        clock.advance(5 * MINUTE)
        assert bench.sweep().revived == 1


def load(bench: Bench) -> None:
    """Put dead jobs of which a pass could see no more than their place in the index."""
    table, later = bench.settings.job_table, str(bench.clock() + HOUR * 1000)
    for start in range(0, DUE_LATER, 25):
        requests = []
        for n in range(start, start + 25):
            place = "RETRY" if n % 2 else "FAILED"
            item = {"job_id": {"S": f"d{n}"}, "state_key": {"S": f"{place}#{n % 4}"}, "state_at": {"N": later}}
            requests.append({"PutRequest": {"Item": item}})
        assert not bench.client.batch_write_item(RequestItems={table: requests}).get("UnprocessedItems")


def cost(bench: Bench) -> tuple[int, float]:
    """Requests of one pass, and the read units that DynamoDB charges for them."""
    units = 0.0

    def count(parsed: dict[str, Any], **_: Any) -> None:
        nonlocal units
        consumed = parsed.get("ConsumedCapacity") or {}
        units += sum(row["CapacityUnits"] for row in (consumed if isinstance(consumed, list) else [consumed]) if row)

    def ask(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    events = bench.client.meta.events
    events.register("provide-client-params.dynamodb.*", ask, unique_id="ask")
    events.register("after-call.dynamodb.*", count, unique_id="count")
    try:
        with Requests(bench.client) as requests:
            bench.sweep()
    finally:
        events.unregister("provide-client-params.dynamodb.*", unique_id="ask")
        events.unregister("after-call.dynamodb.*", unique_id="count")
    return requests.total, units


# --- a retry of everything
ENOUGH = 40
"""Retries after which a test takes a retry of everything for endless."""


class FailingAgain:
    """Sends each message to a worker that runs it at once, into the same failure; its clock may be behind.

    Attributes
    ----------
    ran : list
        Ids of the jobs that it ran.
    """

    def __init__(self, bench: Bench, kind: str, behind_ms: int) -> None:
        self._bench, self._kind, self._behind_ms = bench, FailureKind(kind), behind_ms
        self.ran: list[str] = []

    def __call__(self, job: Job, _: float) -> None:
        self._bench.clock.advance(0.001)
        if len(self.ran) >= ENOUGH:
            return
        self.ran.append(job.job_id)
        worker = JobRepo(
            self._bench.client,
            settings=self._bench.settings,
            clock=lambda: self._bench.clock() - self._behind_ms,
            sleep=lambda _: None,
        )
        worker.claim_job(job.job_id)
        worker.update_status(job.job_id, "FAILED", error="it broke again", kind=self._kind)


@pytest.mark.parametrize("behind_ms", [0, 30_000])
@pytest.mark.parametrize("kind", ["PERMANENT", "TRANSIENT"])
def test_a_retry_of_everything_ends_although_jobs_fail_again_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str, behind_ms: int
) -> None:
    monkeypatch.setattr(many, "PAGE", 2)
    for number in range(6):
        submitted(bench, f"j{number}")
        fail(bench, f"j{number}", kind)
        bench.clock.advance(0.5)
    send = FailingAgain(bench, kind, behind_ms)
    report = letters.DeadLetters(bench.repo, send=send, sleep=lambda _: None).act("retry", Filter(), by="ada")
    assert (report.done, sorted(send.ran)) == (6, [f"j{number}" for number in range(6)])
