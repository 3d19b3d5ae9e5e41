"""Waits without a worker: nothing is held, one resume counts, and a deadline is told to the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from jobclaim.jobs import (
    ClaimLost,
    InvalidInput,
    Job,
    JobNotFound,
    JobRepo,
    JobStatus,
    ResumeRefused,
    Suspended,
    WaitTimeout,
)
from jobclaim.jobs.kept import MAX_WAITS, Wait
from jobclaim.recovery.decide import Dispatch, Figures, decide
from tests.contract.stores import LossyClient, Store, TwiceClient

HOUR = 3600.0


def waiting(store: Store, name: str = "approval", timeout: float | None = HOUR) -> Job:
    owner, job = store.claimed()
    assert owner.wait_for(job.job_id, name, timeout=timeout) is None
    return stored(store, job)


def stored(store: Store, job: Job) -> Job:
    return store.repo().get_job(job.job_id)


def next_attempt(store: Store, job: Job) -> tuple[JobRepo, Job]:
    owner = store.repo()
    claim = owner.claim_job(job.job_id, attempt=stored(store, job).attempt, when_due=True)
    assert claim is not None
    return owner, claim


def test_a_job_that_waits_holds_nothing_and_was_charged_nothing(store: Store) -> None:
    job = waiting(store)

    assert (job.status, job.attempt, job.charged, job.releases, job.dispatches) == (JobStatus.PENDING, 1, 0, 0, 0)
    assert job.available_at == store.clock() + 3_600_000
    assert (job.waits_for, job.expires_at, job.start_by) == ("approval", 0, 0)
    assert job.waiting is not None
    assert (job.waiting.since, job.waiting.until) == (store.clock(), store.clock() + 3_600_000)
    assert [entry.outcome for entry in job.history] == ["wait"]
    assert store.repo().claim_job(job.job_id, when_due=True) is None
    assert store.sent == []


def test_a_resume_starts_the_job_at_once_and_its_body_gets_the_payload(store: Store) -> None:
    job = waiting(store)
    store.clock.advance(60)

    resumed = store.repo().resume(job.job_id, "approval", {"by": "ann"}, by="ann")

    assert (resumed.status, resumed.available_at, resumed.dispatches) == (JobStatus.PENDING, store.clock(), 1)
    assert resumed.waiting is None
    known, before = resumed.wait_named("approval"), job.waiting
    assert known is not None
    assert before is not None
    assert (known.since, known.until) == (before.since, before.until)
    assert [sent.job_id for sent in store.sent] == [job.job_id]
    owner, claim = next_attempt(store, job)
    wait = owner.wait_for(job.job_id, "approval")
    assert wait is not None
    assert (wait.payload, wait.by, claim.charged) == ({"by": "ann"}, "ann", 1)
    assert owner.update_status(job.job_id, "COMPLETED").status is JobStatus.COMPLETED


def test_a_message_that_is_not_sent_is_recoverys(store: Store) -> None:
    job = waiting(store)
    repo = store.repo()

    def fail(_: Job) -> None:
        raise ConnectionError("no SQS")

    repo.sender = fail
    resumed = repo.resume(job.job_id, "approval")
    later = store.clock() + round(store.settings.redispatch_delay("default") * 1000)

    assert decide(resumed, later, Figures(store.settings)) == Dispatch(again=True)


def test_recovery_leaves_a_waiting_job_alone_until_its_deadline_is_near(store: Store) -> None:
    job = waiting(store)
    figures = Figures(store.settings)

    assert decide(job, store.clock() + 2_900_000, figures) is None
    assert decide(job, store.clock() + 3_100_000, figures) == Dispatch(again=False)


def test_a_deadline_is_told_to_the_body_and_stays_over(store: Store) -> None:
    job = waiting(store)
    store.clock.advance(HOUR)
    owner, _ = next_attempt(store, job)

    with pytest.raises(WaitTimeout, match="not resumed as 'approval' before its deadline"):
        owner.wait_for(job.job_id, "approval", timeout=HOUR)
    with pytest.raises(ResumeRefused, match="without a resume"):
        store.repo().resume(job.job_id, "approval")
    owner.reschedule(job.job_id)
    owner, _ = next_attempt(store, job)
    with pytest.raises(WaitTimeout):
        owner.wait_for(job.job_id, "approval", timeout=HOUR)


def test_a_retry_of_a_job_that_failed_of_its_deadline_waits_anew(store: Store) -> None:
    job = waiting(store)
    store.clock.advance(HOUR)
    owner, _ = next_attempt(store, job)
    with pytest.raises(WaitTimeout) as late:
        owner.wait_for(job.job_id, "approval")
    owner.update_status(job.job_id, "FAILED", error=late.value)
    store.repo().retry_job(job.job_id)

    owner, _ = next_attempt(store, job)

    assert owner.wait_for(job.job_id, "approval", timeout=HOUR) is None
    assert stored(store, job).available_at == store.clock() + 3_600_000


def test_a_deadline_begins_with_the_first_wait_and_survives_other_ends(store: Store) -> None:
    job = waiting(store)
    deadline = job.available_at
    store.clock.advance(HOUR - 60)  # its message came early, as far as clocks may differ
    owner, _ = next_attempt(store, job)

    assert owner.wait_for(job.job_id, "approval", timeout=HOUR) is None

    assert stored(store, job).available_at == deadline
    assert [sent.available_at for sent in store.sent] == [deadline]


def test_a_resume_before_the_wait_is_kept_for_it(store: Store) -> None:
    job = store.pending()
    store.repo().resume(job.job_id, "approval", 1)
    owner, claim = next_attempt(store, job)
    store.repo().resume(job.job_id, "second", 2)

    first, second = (owner.wait_for(job.job_id, name) for name in ("approval", "second"))

    assert first is not None
    assert second is not None
    assert (first.payload, second.payload, claim.status) == (1, 2, JobStatus.PROCESSING)
    assert store.sent == []


def test_a_resume_that_comes_between_the_look_and_the_wait_is_not_missed(store: Store) -> None:
    job = store.pending()
    meanwhile = lambda: store.repo().resume(job.job_id, "approval", "now")  # noqa: E731
    line = LossyClient(store.line, arrives=False, meanwhile=meanwhile)
    line.lose_after(1, arrives=False)
    owner = store.repo(line)
    assert owner.claim_job(job.job_id) is not None

    wait = owner.wait_for(job.job_id, "approval")

    assert wait is not None
    assert wait.payload == "now"
    assert stored(store, job).status is JobStatus.PROCESSING


def test_an_equal_resume_is_a_success_and_starts_nothing_and_another_is_refused(store: Store) -> None:
    job = waiting(store)
    store.repo().resume(job.job_id, "approval", {"ok": True})

    again = store.repo().resume(job.job_id, "approval", {"ok": True})

    assert (again.status, len(store.sent)) == (JobStatus.PENDING, 1)
    with pytest.raises(ResumeRefused, match="already resumed with another payload"):
        store.repo().resume(job.job_id, "approval", {"ok": False})
    next_attempt(store, job)[0].update_status(job.job_id, "COMPLETED")
    assert store.repo().resume(job.job_id, "approval", {"ok": True}).status is JobStatus.COMPLETED


def test_what_no_body_would_get_is_refused(store: Store) -> None:
    job = waiting(store)
    repo = store.repo()

    with pytest.raises(ResumeRefused, match="waits for 'approval', not for 'aproval'"):
        repo.resume(job.job_id, "aproval")
    with pytest.raises(ResumeRefused, match="COMPLETED; only an open job"):
        repo.resume(store.completed().job_id, "approval")
    with pytest.raises(JobNotFound):
        repo.resume("nothing", "approval")
    with pytest.raises(InvalidInput, match="reserved for sleeps"):
        repo.resume(job.job_id, "sleep/1")
    assert stored(store, job) == job


def test_a_name_whose_token_was_given_out_may_be_resumed_before_its_turn(store: Store) -> None:
    owner, job = store.claimed()
    token = owner.wait_token(job.job_id, "legal")
    owner.wait_for(job.job_id, "finance", timeout=600)
    store.sent.clear()  # the message that comes at its deadline

    store.repo().resume(job.job_id, "legal", "yes", token=token)

    assert (stored(store, job).waits_for, store.sent) == ("finance", []), "it is not started by that"
    store.repo().resume(job.job_id, "finance", "yes")
    assert [sent.job_id for sent in store.sent] == [job.job_id]
    owner, _ = next_attempt(store, job)
    assert [getattr(owner.wait_for(job.job_id, name), "payload", None) for name in ("finance", "legal")] == ["yes"] * 2


def test_a_token_opens_its_own_wait_alone_and_is_the_same_in_each_attempt(store: Store) -> None:
    owner, job = store.claimed()
    token = owner.wait_token(job.job_id, "approval")
    assert owner.wait_token(job.job_id, "approval") == token
    other = owner.wait_token(job.job_id, "legal")
    owner.reschedule(job.job_id)
    owner, _ = next_attempt(store, job)
    assert owner.wait_token(job.job_id, "approval") == token != other
    owner.wait_for(job.job_id, "approval")

    for wrong in (other, "x", "é" * 40, token[:-1]):
        with pytest.raises(ResumeRefused, match="token is not that of wait 'approval'"):
            store.repo().resume(job.job_id, "approval", token=wrong)
    foreign = waiting(store)
    with pytest.raises(ResumeRefused, match="token is not"):
        store.repo().resume(foreign.job_id, "approval", token=token)

    assert store.repo().resume(job.job_id, "approval", token=token).waiting is None
    assert token not in repr(stored(store, job))


def test_several_waits_in_one_body_are_each_resumed(store: Store) -> None:
    job = waiting(store, "page-0")
    for n in range(3):
        store.repo().resume(job.job_id, f"page-{n}", n)
        owner, _ = next_attempt(store, job)
        got = [owner.wait_for(job.job_id, f"page-{n}") for n in range(n + 2)]
        assert [wait.payload if wait else None for wait in got] == [*range(n + 1), None]

    assert [entry.outcome for entry in stored(store, job).history] == ["wait"]  # of several the last is kept
    assert stored(store, job).attempt == 4


def test_a_body_that_went_on_after_its_wait_is_stopped_at_its_next_write(store: Store) -> None:
    owner, job = store.claimed()
    running = owner.running(job.job_id)
    with pytest.raises(Suspended):
        running.wait_for("approval")

    for act in (lambda: running.step("one", len, ""), lambda: running.progress(1), lambda: running.wait_for("b")):
        with pytest.raises(ClaimLost, match="the job waits for 'approval'; let the body return"):
            act()


def test_a_sleep_ends_the_attempt_and_a_later_one_passes_it(store: Store) -> None:
    owner, job = store.claimed()
    wake = datetime.fromtimestamp((store.clock() + 7_200_000) / 1000, UTC)

    assert owner.sleep_until(job.job_id, wake) is False
    assert stored(store, job).available_at == store.clock() + 7_200_000
    assert store.sent == []
    store.clock.advance(7_200)
    owner, claim = next_attempt(store, job)
    running = owner.running(job.job_id)
    running.sleep_until(wake)
    with pytest.raises(Suspended):
        running.sleep(30)

    assert claim.charged == 1
    assert (stored(store, job).waits_for, len(store.sent)) == ("sleep/2", 1)  # SQS keeps that message back
    store.clock.advance(30)
    running = next_attempt(store, job)[0].running(job.job_id)
    running.sleep_until(wake)
    running.sleep(30)
    running.sleep(HOUR, name="named") if stored(store, job).wait_named("sleep/named") else None
    assert running.wake_at(store.clock() - 1, name="past")


def test_a_waiting_job_can_be_cancelled_and_then_takes_no_resume(store: Store) -> None:
    job = waiting(store)

    cancelled = store.repo().cancel_job(job.job_id)

    assert (cancelled.status, cancelled.waits_for, cancelled.waiting) == (JobStatus.CANCELLED, "", None)
    with pytest.raises(ResumeRefused):
        store.repo().resume(job.job_id, "approval")


def test_a_block_is_left_at_its_wait_and_run_from_its_beginning_when_it_is_resumed(store: Store) -> None:
    job, runs = store.pending(), list[str]()

    def body() -> None:
        with store.repo().claimed(job.job_id) as held:
            assert held is not None
            runs.append(held.step("once", str.upper, "a"))
            payload = held.wait_for("approval")
            held.set_result(payload)
        runs.append("after the block")

    body()
    assert stored(store, job).waits_for == "approval"
    store.repo().resume(job.job_id, "approval", "yes")
    body()

    assert (stored(store, job).status, stored(store, job).result) == (JobStatus.COMPLETED, "yes")
    assert runs == ["A", "after the block"] * 2


@pytest.mark.parametrize("bad_line", [LossyClient, lambda client: LossyClient(client, arrives=False), TwiceClient])
def test_a_resume_over_a_bad_line_counts_once_though_the_job_went_on(
    store: Store, bad_line: Callable[[Any], Any]
) -> None:
    job = waiting(store)
    line = bad_line(store.line)
    if isinstance(line, LossyClient) and line._arrives:
        line._meanwhile = lambda: next_attempt(store, job)

    store.repo(line).resume(job.job_id, "approval", 1)

    assert [(wait.payload, wait.resumed_at > 0) for wait in stored(store, job).waits] == [(1, True)]
    assert stored(store, job).wait_changes == 2


def test_of_two_resumes_at_once_one_counts(store: Store) -> None:
    job = waiting(store)
    line = LossyClient(
        store.line, arrives=False, meanwhile=lambda: store.repo().resume(job.job_id, "approval", "first")
    )

    with pytest.raises(ResumeRefused, match="already resumed"):
        store.repo(line).resume(job.job_id, "approval", "second")

    assert stored(store, job).waits[0].payload == "first"


def test_more_waits_than_a_job_may_have_are_refused(store: Store) -> None:
    owner, job = store.claimed()
    running = owner.running(job.job_id)
    running.job = replace(job, waits=tuple(Wait(name=str(n)) for n in range(MAX_WAITS)))

    with pytest.raises(InvalidInput, match=f"has {MAX_WAITS} waits"):
        running.wait("one more")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "soon", True, 401 * 86_400])
def test_a_timeout_that_is_none_is_refused(store: Store, timeout: Any) -> None:
    owner, job = store.claimed()

    with pytest.raises(InvalidInput, match="timeout="):
        owner.wait_for(job.job_id, "approval", timeout=timeout)
