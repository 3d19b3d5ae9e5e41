"""What a pass counts, says and gives back, act by act."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from jobclaim.jobs import FailureKind, Job, JobError, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.transitions import Move
from jobclaim.recovery import handling
from jobclaim.recovery.decide import Figures, decide
from jobclaim.recovery.handling import SEND_FAILURES, JobHandler, Messages
from jobclaim.settings import Settings
from jobclaim.workers.messages import links
from jobclaim.workers.telemetry import traces
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

SETTINGS = Settings(_env_file=None, max_dispatches=1, dead_letters={"TRANSIENT": {"retries": 1, "after_seconds": 1}})


class Line:
    """A queue that fails while it is told to."""

    def __init__(self) -> None:
        self.fails, self.sent = False, list[str]()

    def __call__(self, job: Job, _: float) -> None:
        if self.fails:
            raise ConnectionError
        self.sent.append(job.job_id)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def handler(repo: JobRepo, line: Line) -> JobHandler:
    return JobHandler(repo, Messages(line, lambda _: 0, 10), Figures(SETTINGS))


def test_only_failures_in_a_row_stop_a_pass_from_sending(repo: JobRepo) -> None:
    line = Line()
    messages, job = Messages(line, lambda _: 0, 10), repo.create_job("t", job_id="j")
    for _ in range(2):
        line.fails = True
        assert not any(messages.send(job, 0) for _ in range(SEND_FAILURES - 1))
        line.fails = False
        assert messages.may_send()
        assert messages.send(job, 0)


def test_an_orphan_leaves_a_trace_of_its_kind(repo: JobRepo, clock: ManualClock) -> None:
    repo.create_job("t", job_id="j")
    claim = repo.claim_job("j")
    assert claim is not None
    clock.advance(claim.lease_ms / 1000 + 1)

    with patch.object(traces, "crashed") as crashed:
        assert handler(repo, Line()).handle(repo.get_job("j"))

    assert crashed.call_args.args[1:] == (claim, "orphan")
    assert crashed.call_args.kwargs == {"at": clock(), "kind": "ORPHANED", "exception": "Orphaned"}


def test_an_orphan_without_a_time_of_its_claim_says_so(repo: JobRepo, clock: ManualClock) -> None:
    job = Job(job_id="j", task="t", queue="default", status=JobStatus.PROCESSING, lease_expires_at=1)

    found: Any = decide(job, clock(), Figures(SETTINGS))

    assert "claimed at an unknown time" in found.failure.message


def test_a_job_that_is_given_up_or_revived_is_done_with_and_counted_once(repo: JobRepo, clock: ManualClock) -> None:
    repo.create_job("t", job_id="late")
    clock.advance(100_000)
    one = handler(repo, Line())
    assert one.handle(repo.get_job("late"))
    assert repo.get_job("late").status is JobStatus.FAILED

    repo.create_job("t", job_id="dead")
    repo.claim_job("dead")
    repo.update_status("dead", "FAILED", error="no", kind=FailureKind.TRANSIENT)
    assert repo.get_job("dead").dead_state == DeadState.SCHEDULED
    clock.advance(10)
    assert one.handle(repo.get_job("dead"))

    assert (one.counts["given_up"], one.counts["revived"], one.counts["examined"]) == (1, 1, 2)


def test_a_retry_by_its_rule_waits_for_a_queue_that_answers(repo: JobRepo, clock: ManualClock) -> None:
    line = Line()
    messages = Messages(line, lambda _: 0, 10)
    one = JobHandler(repo, messages, Figures(SETTINGS))
    repo.create_job("t", job_id="dead")
    repo.claim_job("dead")
    repo.update_status("dead", "FAILED", error="no", kind=FailureKind.TRANSIENT)
    clock.advance(10)
    line.fails = True
    for _ in range(SEND_FAILURES):
        messages.send(repo.get_job("dead"), 0)

    assert one.handle(repo.get_job("dead")) is False, "it must be read again"
    assert (one.counts["held"], repo.get_job("dead").status) == (1, JobStatus.FAILED)


@pytest.mark.parametrize(
    ("error", "reason"), [(StoreUnavailable("the store is silent"), "the store is silent"), (ValueError("secret"), "")]
)
def test_a_job_that_cannot_be_settled_is_read_again_and_only_our_own_errors_are_quoted(
    repo: JobRepo, clock: ManualClock, error: JobError, reason: str
) -> None:
    repo.create_job("t", job_id="j")
    one = handler(repo, Line())
    with patch.object(handling, "decide", side_effect=error), capture_logs() as logs:
        assert one.handle(repo.get_job("j")) is False

    assert one.counts["failed"] == 1
    assert [(line["error"], line["reason"]) for line in logs] == [(type(error).__name__, reason)]


def orphan(repo: JobRepo, clock: ManualClock, **how: Any) -> Job:
    """A job whose claim is over."""
    repo.create_job("t", job_id="j", **how)
    claim = repo.claim_job("j")
    assert claim is not None
    clock.advance(claim.lease_ms / 1000 + 1)
    return repo.get_job("j")


def lost(repo: JobRepo, clock: ManualClock) -> Job:
    """A job whose message was lost."""
    job = repo.create_job("t", job_id="j")
    repo.table.apply(job, Move.DISPATCH, replace(job, dispatches=0))
    return repo.get_job("j")


def unclaimed(repo: JobRepo, clock: ManualClock) -> Job:
    """A job whose only message led to no claim."""
    job = repo.create_job("t", job_id="j")
    clock.advance(100_000)
    return job


def too_late(repo: JobRepo, clock: ManualClock) -> Job:
    """A job that is not to start any more."""
    job = repo.create_job("t", job_id="j", start_by=clock() + 10_000)
    clock.advance(11)
    return job


def due_again(repo: JobRepo, clock: ManualClock) -> Job:
    """A failed job whose rule starts it again."""
    repo.create_job("t", job_id="j")
    repo.claim_job("j")
    repo.update_status("j", "FAILED", error="no", kind=FailureKind.TRANSIENT)
    clock.advance(10)
    return repo.get_job("j")


CASES = [orphan, lost, unclaimed, too_late, due_again]


@pytest.mark.parametrize("case", CASES)
def test_what_another_pass_has_done_is_done_with_and_counted_as_refused(
    repo: JobRepo, clock: ManualClock, case: Any
) -> None:
    line, job = Line(), case(repo, clock)
    assert handler(repo, line).handle(job) is True
    sent, one = list(line.sent), handler(repo, line)

    assert one.handle(job) is True
    assert dict(one.counts) == {"examined": 1, "refused": 1}
    assert line.sent == sent


@pytest.mark.parametrize("case", CASES)
def test_what_a_pass_has_done_need_not_be_read_again(repo: JobRepo, clock: ManualClock, case: Any) -> None:
    one = handler(repo, Line())
    assert one.handle(case(repo, clock)) is True
    assert one.counts["refused"] == one.counts["failed"] == one.counts["unsent"] == 0


def test_a_queue_that_fails_is_left_alone_after_so_many_failures_in_a_row(repo: JobRepo, clock: ManualClock) -> None:
    line, job = Line(), orphan(repo, clock, on_orphan="retry", max_attempts=2)
    line.fails = True
    messages = Messages(line, lambda _: 0, 10)
    sends = [messages.may_send() and messages.send(job, 0) for _ in range(SEND_FAILURES + 2)]
    assert (sends, messages.may_send()) == ([False] * (SEND_FAILURES + 2), False)
    line.fails = False

    one = JobHandler(repo, messages, Figures(SETTINGS))
    assert one.handle(job) is True
    assert (one.counts["unsent"], line.sent) == (1, []), "the attempt is ended, its message comes with a later pass"


@pytest.mark.parametrize(("backlog", "sent"), [(0, 9), (1, 3)])
def test_a_queue_with_a_backlog_gets_as_many_repeated_messages_as_its_cap(backlog: int, sent: int) -> None:
    messages = Messages(Line(), lambda _: backlog, 3)

    assert sum(messages.may_send_again("q") for _ in range(9)) == sent


def test_a_message_that_merely_waits_is_sent_again_and_counted_as_one_that_was(
    repo: JobRepo, clock: ManualClock
) -> None:
    job, line = repo.create_job("t", job_id="j"), Line()
    other = repo.create_job("t", job_id="other")
    clock.advance(100_000)
    one = JobHandler(repo, Messages(line, lambda _: 1, 1), Figures(SETTINGS))

    assert [one.handle(job), one.handle(other)] == [True, True], "none must be read again soon"
    assert (one.counts["redispatched"], one.counts["held"], line.sent) == (1, 1, ["j"])


@pytest.mark.parametrize(
    ("case", "alerted"), [(orphan, True), (unclaimed, True), (too_late, False), (due_again, False), (lost, False)]
)
def test_a_job_that_recovery_has_failed_is_announced(
    repo: JobRepo, clock: ManualClock, case: Any, alerted: bool
) -> None:
    job = case(repo, clock)
    with patch.object(handling, "announce_failure") as announced:
        assert handler(repo, Line()).handle(job)

    assert [one.args for one in announced.call_args_list] == [(repo, repo.get_job("j"))] * alerted


@pytest.mark.parametrize("case", [orphan, unclaimed, too_late])
def test_what_follows_a_job_that_recovery_has_ended_is_told_of_it(repo: JobRepo, clock: ManualClock, case: Any) -> None:
    job, line = case(repo, clock), Line()
    with patch.object(links, "announcement", lambda _, after: replace(after, job_id=f"told {after.status}")):
        assert handler(repo, line).handle(job)

    assert line.sent == [f"told {repo.get_job('j').status}"]
