"""What one pass of recovery does, on each store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobclaim.jobs import ClaimLost, FailureKind, Job, JobStatus
from jobclaim.recovery import sweep
from jobclaim.settings import QueueSpec, Settings
from jobclaim.workers import apps
from tests.support.clock import ManualClock
from tests.support.recovery import MODEL_AND_REAL, Bench, before, bench_settings, failing, store

LEASE = 1800 + 60  # seconds: hard limit and grace of the default queue
QUEUES = (QueueSpec(name="default"), QueueSpec(name="slow"))


@pytest.fixture(params=MODEL_AND_REAL)
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store(request.param, request) as client:
        yield Bench(client, bench_settings(queues=QUEUES, index_shards=2), clock)


# --- orphans by lease
def test_a_running_job_is_left_alone_until_its_lease_is_over(bench: Bench) -> None:
    bench.claimed("j")
    bench.clock.advance(LEASE - 0.001)
    assert bench.sweep().orphaned == 0
    assert bench.status("j") is JobStatus.PROCESSING


def test_an_orphan_fails_with_its_evidence(bench: Bench) -> None:
    _, claim = bench.claimed("j", worker_id="w7")
    bench.clock.advance(LEASE)
    report = bench.sweep()
    assert (report.orphaned, report.retried, report.refused) == (1, 0, 0)
    job = bench.repo.get_job("j")
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.ORPHANED
    assert "'w7'" in job.failure.message
    assert job.payload == {"n": 1}
    assert [(past.outcome, past.claim_token) for past in job.history] == [("orphan-fail", claim.claim_token)]
    assert [listed.job_id for listed in bench.repo.list_jobs("FAILED").jobs] == ["j"]
    assert bench.sent.messages == []


def test_an_orphan_that_may_be_tried_again_is_pending_and_sent_at_once(bench: Bench) -> None:
    bench.claimed("j", on_orphan="retry")
    bench.clock.advance(LEASE)
    report = bench.sweep()
    assert (report.orphaned, report.retried) == (1, 1)
    job = bench.repo.get_job("j")
    assert (job.status, job.attempt, job.charged, job.available_at) == (JobStatus.PENDING, 1, 1, bench.clock())
    assert bench.sent.messages == [("j", 1, 0.0)]
    assert bench.new_repo().claim_job("j", attempt=1) is not None


def test_an_orphan_is_tried_no_more_often_than_its_attempts_allow(bench: Bench) -> None:
    bench.claimed("j", on_orphan="retry", max_attempts=2)
    bench.clock.advance(LEASE)
    bench.sweep()
    assert bench.new_repo().claim_job("j", attempt=1) is not None
    bench.clock.advance(LEASE)
    report = bench.sweep()
    assert (report.orphaned, report.retried) == (1, 0)
    assert bench.status("j") is JobStatus.FAILED
    assert len(bench.sent.messages) == 1


@pytest.mark.parametrize("on_orphan", ["fail", "retry"])
def test_a_zombie_cannot_overwrite_what_recovery_did(bench: Bench, on_orphan: Any) -> None:
    zombie, _ = bench.claimed("j", on_orphan=on_orphan)
    bench.clock.advance(LEASE)
    bench.sweep()
    before = bench.repo.get_job("j")
    with pytest.raises(ClaimLost):
        zombie.update_status("j", "COMPLETED", result="too late")
    assert bench.repo.get_job("j") == before


def test_a_result_that_arrived_first_is_not_touched(bench: Bench) -> None:
    worker, _ = bench.claimed("j")
    bench.clock.advance(LEASE)
    late = before(bench.client, "update_item", lambda: worker.update_status("j", "COMPLETED"))
    report = bench.sweep(bench.new_repo(late))
    assert (report.orphaned, report.refused) == (0, 1)
    assert bench.status("j") is JobStatus.COMPLETED


def test_a_short_lease_is_found_when_it_is_over_and_not_after_the_redispatch_delay(bench: Bench) -> None:
    bench.claimed("j", hard_limit=5)
    bench.clock.advance(65)
    assert bench.sweep().orphaned == 1


def test_a_second_pass_finds_nothing_to_do(bench: Bench) -> None:
    bench.claimed("j")
    bench.clock.advance(LEASE)
    bench.sweep()
    report = bench.sweep()
    assert (report.orphaned, report.examined, report.refused) == (0, 0, 0)


# --- lost messages
def test_a_lost_message_is_sent_again_after_growing_waits(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j")
    sent_at = []
    start = bench.clock()
    for _ in range(40):
        bench.clock.advance(30)
        if bench.sweep().redispatched:
            sent_at.append((bench.clock() - start) // 1000)
    assert sent_at == [120, 360, 840]  # 120, 240 and 480 s after the one before
    assert bench.sent.messages == [("j", 0, 0.0)] * 3


def test_a_job_that_was_claimed_meanwhile_gets_no_message(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j")
    bench.clock.advance(120)
    worker = bench.new_repo()
    early = before(bench.client, "update_item", lambda: worker.claim_job("j"))
    report = bench.sweep(bench.new_repo(early))
    assert (report.redispatched, report.refused) == (0, 1)
    assert bench.sent.messages == []


def test_a_message_nobody_ever_claims_ends_the_job_as_a_fault_of_configuration(bench: Bench) -> None:
    bench.repo.create_job("tasks.unknown", job_id="j")
    given_up = 0
    for _ in range(13):
        bench.clock.advance(43_200)
        given_up += bench.sweep().given_up
        if given_up:
            break
    assert given_up == 1
    job = bench.repo.get_job("j")
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CONFIGURATION
    assert "tasks.unknown" in job.failure.message
    assert len(bench.sent.messages) == 11  # the submitter's own was the first of twelve
    assert bench.new_repo().claim_job("j") is None


def test_a_job_that_merely_waits_in_a_backlog_is_never_given_up(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j")
    bench.waiting["default"] = 100_000
    for _ in range(20):
        bench.clock.advance(43_200)
        assert bench.sweep().given_up == 0
    assert bench.status("j") is JobStatus.PENDING


def test_messages_are_repeated_sparingly_while_a_queue_has_a_backlog(bench: Bench) -> None:
    for n in range(8):
        bench.repo.create_job("tasks.work", job_id=f"j{n}")
        bench.repo.create_job("tasks.work", job_id=f"s{n}", queue="slow")
    bench.clock.advance(120)
    bench.waiting["default"] = 500
    report = bench.sweep(redispatch_cap=3)
    assert (report.redispatched, report.held) == (3 + 8, 5)
    assert len({job_id for job_id, _, _ in bench.sent.messages if job_id.startswith("s")}) == 8
    bench.waiting["default"] = 0
    assert bench.sweep(redispatch_cap=3).redispatched == 5


def test_a_backlog_that_cannot_be_measured_counts_as_one(bench: Bench) -> None:
    def broken(queue: str) -> int:
        raise ConnectionError(queue)

    for n in range(4):
        bench.repo.create_job("tasks.work", job_id=f"j{n}")
    bench.clock.advance(120)
    report = bench.sweep(backlog=broken, redispatch_cap=1)
    assert (report.redispatched, report.held, report.failed) == (1, 3, 0)


def test_the_backlog_is_asked_for_once_per_queue_and_only_when_it_matters(bench: Bench) -> None:
    asked: list[str] = []

    def backlog(queue: str) -> int:
        asked.append(queue)
        return 1

    bench.claimed("running")
    for n in range(3):
        bench.repo.create_job("tasks.work", job_id=f"j{n}")
    bench.clock.advance(100)
    bench.sweep(backlog=backlog)
    assert asked == []
    bench.clock.advance(20)
    bench.sweep(backlog=backlog)
    assert asked == ["default"]


# --- far ahead
def test_a_job_far_ahead_is_sent_once_and_starts_within_a_second_of_its_time(bench: Bench) -> None:
    due = bench.clock() + 25 * 60_000 + 321
    bench.repo.create_job("tasks.work", job_id="j", available_at=due)
    starts = []
    for _ in range(52):
        bench.clock.advance(29.9)
        bench.sweep()
        starts += [bench.clock() + delay * 1000 for _, _, delay in bench.sent.messages]
        bench.sent.messages.clear()
    assert len(starts) == 1
    assert 0 <= starts[0] - due < 1_000


def test_a_job_far_ahead_costs_a_pass_nothing_until_it_comes_near(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j", available_at=bench.clock() + 86_400_000)
    for _ in range(3):
        bench.clock.advance(3_600)
        assert bench.sweep().examined == 0


def test_a_job_that_comes_near_is_looked_at_once(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j", available_at=bench.clock() + 1_000_000)
    bench.clock.advance(410)
    examined = []
    for _ in range(10):
        examined.append(bench.sweep().examined)
        bench.clock.advance(30)
    assert examined == [1] + [0] * 9


def test_a_cancelled_job_far_ahead_is_never_sent(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j", available_at=bench.clock() + 1_000_000)
    bench.repo.cancel_job("j")
    bench.clock.advance(500)
    assert bench.sweep().scheduled == 0
    assert bench.sent.messages == []


def test_a_job_that_came_due_while_recovery_was_down_is_sent(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j", available_at=bench.clock() + 1_000_000)
    bench.clock.advance(2_000)
    assert bench.sweep().scheduled == 1
    assert bench.sent.messages == [("j", 0, 0.0)]


def test_a_first_message_that_was_not_sent_is_made_up_for(bench: Bench) -> None:
    due = bench.clock() + 1_000_000
    bench.repo.create_job("tasks.work", job_id="j", available_at=due)
    bench.clock.advance(500)
    bench.sent.broken = True
    assert bench.sweep().unsent == 1
    bench.sent.broken = False
    bench.clock.advance(620)  # two minutes after its time
    assert bench.sweep().redispatched == 1
    assert bench.sent.messages == [("j", 0, 0.0)]


def test_first_messages_held_back_while_sqs_is_down_still_come_in_time(bench: Bench) -> None:
    due = bench.clock() + 1_000_000
    for n in range(9):
        bench.repo.create_job("tasks.work", job_id=f"j{n}", available_at=due)
    bench.clock.advance(500)
    bench.sent.broken = True
    down = bench.sweep()
    assert (down.unsent, down.held) == (5, 4)
    bench.sent.broken = False
    bench.clock.advance(30)
    assert bench.sweep().scheduled == 4
    assert {bench.clock() + delay * 1000 for _, _, delay in bench.sent.messages} == {due}


# --- whatever happens
def test_nothing_is_ever_sent_for_a_job_that_failed(bench: Bench) -> None:
    bench.claimed("fails")
    bench.claimed("again", on_orphan="retry")
    bench.repo.create_job("tasks.work", job_id="waits")
    for _ in range(60):  # its rule starts a job once more that nobody claimed
        bench.clock.advance(21_600)
        bench.sweep()
        failed = {job.job_id for job in bench.repo.list_jobs("FAILED").jobs}
        assert not failed & {job_id for job_id, _, _ in bench.sent.messages}
        bench.sent.messages.clear()
    assert failed == {"fails", "again", "waits"}


def test_one_failing_write_keeps_no_other_job_waiting(bench: Bench) -> None:
    for n in range(5):
        bench.claimed(f"j{n}")
    bench.clock.advance(LEASE)
    broken = failing(bench.client, "update_item", lambda request: request["Key"]["job_id"]["S"] == "j2")
    report = bench.sweep(bench.new_repo(broken))
    assert (report.orphaned, report.failed) == (4, 1)
    assert bench.status("j2") is JobStatus.PROCESSING
    assert bench.sweep().orphaned == 1


def test_sends_that_fail_stop_neither_the_pass_nor_the_orphans(bench: Bench) -> None:
    for n in range(10):
        bench.repo.create_job("tasks.work", job_id=f"p{n}")
    bench.claimed("orphan", hard_limit=30)
    bench.clock.advance(120)
    bench.sent.broken = True
    report = bench.sweep()
    assert report.orphaned == 1
    assert bench.sent.tried == report.unsent == 5  # then the pass takes SQS for down and leaves the others alone
    assert report.held == 5
    bench.sent.broken = False
    bench.clock.advance(240)
    assert bench.sweep().redispatched == 10


def test_sends_that_fail_now_and_then_are_no_outage(bench: Bench) -> None:
    tries: list[str] = []

    def flaky(job: Job, delay_seconds: float) -> None:
        tries.append(job.job_id)
        if len(tries) % 2:
            raise ConnectionError("SQS is away")

    for n in range(20):
        bench.repo.create_job("tasks.work", job_id=f"j{n}")
    bench.clock.advance(120)
    report = bench.sweep(send=flaky)
    assert (report.redispatched, report.unsent, report.held) == (10, 10, 0)


def test_reads_that_are_throttled_end_the_pass_soon_and_the_next_one_makes_up_for_it(bench: Bench) -> None:
    for n in range(5):
        bench.claimed(f"j{n}")
    bench.clock.advance(LEASE)
    queries: list[int] = []
    broken = failing(bench.client, "query", lambda request: True)
    report = bench.sweep(bench.new_repo(before(broken, "query", lambda: queries.append(1))))
    assert report.failed == 3
    assert report.truncated > 0
    assert len(queries) == 3 * 3  # three tries each; then DynamoDB is taken for down
    assert bench.sweep().orphaned == 5


def test_an_item_that_nobody_can_read_keeps_no_other_job_waiting(bench: Bench) -> None:
    bench.claimed("good")
    bench.claimed("bad")
    bench.client.update_item(
        TableName=bench.settings.job_table,
        Key={"job_id": {"S": "bad"}},
        UpdateExpression="SET payload = :p",
        ExpressionAttributeValues={":p": {"S": "{not json"}},
    )
    bench.clock.advance(LEASE)
    assert bench.sweep().orphaned == 1
    assert bench.status("good") is JobStatus.FAILED


def test_a_pass_needs_nothing_but_the_repo(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, float]] = []

    def send(settings: Settings, job: Job, delay_seconds: float = 0.0) -> None:
        assert settings == bench.repo.settings
        sent.append((job.job_id, delay_seconds))

    monkeypatch.setattr(apps, "send", send)
    bench.claimed("orphan", on_orphan="retry")
    bench.clock.advance(LEASE)
    report = sweep(bench.repo)
    assert (report.orphaned, report.retried) == (1, 1)
    assert sent == [("orphan", 0.0)]


def test_a_pass_without_a_fleet_table_finds_orphans_all_the_same(bench: Bench) -> None:
    bench.client.delete_table(TableName=bench.settings.fleet_table)
    bench.claimed("j")
    bench.clock.advance(LEASE)
    assert bench.sweep().orphaned == 1
