"""Each move changes exactly these fields of a job in which no field has its default: none more, none less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.kept import Progress, Release, Step, Wait
from jobclaim.jobs.model import HISTORY_LIMIT, Attempt, DeadState, Decision
from jobclaim.jobs.protocol import durable, lifecycle
from jobclaim.jobs.protocol.lifecycle import SHORT_MESSAGE, SQS_LOOKAHEAD_MS, UNSURE_AFTER_MS, Retention
from jobclaim.jobs.transitions import Move

NOW = 1_750_000_000_500
KEPT = Retention(completed=7_000, dead=30_000, retry_after=lambda _job, kind: 60 if kind == "TRANSIENT" else None)
BROKEN = Failure(
    kind=FailureKind.TRANSIENT, message="m" * 300, exception="E", traceback="T", at=NOW, where="w", fingerprint="f"
)
SHORT = replace(BROKEN, message="m" * SHORT_MESSAGE, traceback="", where="")
PAST = Attempt(attempt=1, outcome="retry", claim_token="old")
RESUMED = Wait(name="resumed", since=1, until=2, resumed_at=3, payload="p", by="ada", nonce="n")
ASKED = Wait(name="asked", since=4, until=5, timed_out=True, announced=True)
FORGOTTEN = Wait(name="forgotten", since=6, until=7)
JOB = Job(
    job_id="j",
    task="t",
    queue="q",
    status=JobStatus.PROCESSING,
    attempt=4,
    charged=3,
    max_attempts=5,
    payload={"a": 1},
    result={"r": 1},
    created_at=1_000,
    available_at=2_000,
    claimed_at=3_000,
    lease_expires_at=NOW + 9_000,
    finished_at=4_000,
    claim_token="mine",
    worker_id="w",
    celery_task_id="c",
    failure=Failure(kind=FailureKind.EXTERNAL, message="before"),
    history=(PAST,),
    idempotency_key="k",
    idempotency_ttl=60,
    fingerprint="fp",
    submission="s",
    expires_at=77,
    dispatches=2,
    dispatched_at=5_000,
    on_orphan="retry",
    lease_ms=12_000,
    start_by=NOW + 500,
    slot=6_000,
    releases=8,
    envelope="e",
    retry_at=7_000,
    dead_retries=2,
    dead_state=DeadState.RETRYING,
    failure_policy="{}",
    decisions=(Decision(verb="retry", by="bob", why="because", at=1),),
    effects="digest",
    nonce="n",
    unsent=1,
    steps=(Step(name="one", function="f", arguments="a"),),
    step_count=1,
    waits=(RESUMED, ASKED, FORGOTTEN),
    wait_changes=9,
    wait_secret="secret",
    waits_for="asked",
    progress=Progress(done=1, total=2, attempt=4),
    checkpoint={"at": 3},
    tags=("a",),
    released=Release(held="caller", reason="not ready", at=1, attempt=4),
)


def entry(outcome: str, failure: Failure | None) -> Attempt:
    return Attempt(
        attempt=4,
        outcome=outcome,
        worker_id="w",
        claim_token="mine",
        claimed_at=3_000,
        lease_expires_at=NOW + 9_000,
        ended_at=NOW,
        failure=failure,
    )


def difference(before: Job, after: Job) -> dict[str, Any]:
    """Give the fields that a move changed, but for the random one."""
    names = [field.name for field in fields(Job)]
    found = {name: getattr(after, name) for name in names if getattr(before, name) != getattr(after, name)}
    if "submission" in found:
        assert found.pop("submission"), "a new run has an id of its own"
        found["submission"] = "another"
    return found


def expiry(kept_ms: int, now: int = NOW) -> int:
    return -(-(now + kept_ms) // 1000)


AGAIN: dict[str, Any] = {
    "status": JobStatus.PENDING,
    "failure": BROKEN,
    "waits_for": "",
    "slot": 0,
    "unsent": 0,
    "available_at": NOW + 5,
    "dispatches": 1,
    "dispatched_at": NOW,
}
OPENED: dict[str, Any] = {
    "status": JobStatus.PENDING,
    "retry_at": 0,
    "finished_at": 0,
    "expires_at": 0,
    "available_at": NOW + 5,
    "dispatches": 1,
    "dispatched_at": NOW,
    "submission": "another",
    "start_by": 0,
    "slot": 0,
    "releases": 0,
    "unsent": 0,
    "waits": (RESUMED, Wait(name="asked", announced=True)),
    "wait_changes": 10,
}
FAILED = replace(JOB, status=JobStatus.FAILED, dead_state=DeadState.WAITING)
WAITS = replace(JOB, status=JobStatus.PENDING)


def decided(verb: str, by: str, why: str) -> tuple[Decision, ...]:
    return (*JOB.decisions, Decision(verb=verb, by=by, why=why, at=NOW))


def again(move: Move, **changes: Any) -> Callable[[Job], Job]:
    asked: dict[str, Any] = {"available_at": NOW + 5, "charge": False, **changes}
    return lambda job: lifecycle.pending_again(job, move, BROKEN, NOW, asked.pop("available_at", NOW + 5), **asked)


MOVES: dict[str, tuple[Job, Callable[[Job], Job], dict[str, Any]]] = {
    "completed": (
        JOB,
        lambda job: lifecycle.completed(job, {"r": 2}, NOW, KEPT),
        {
            "status": JobStatus.COMPLETED,
            "result": {"r": 2},
            "failure": None,
            "waits_for": "",
            "finished_at": NOW,
            "expires_at": expiry(60_000),
            "dead_state": DeadState.RESOLVED,
            "unsent": 0,
        },
    ),
    "completed, never failed": (
        replace(JOB, dead_state="", idempotency_ttl=0, unsent=0, waits_for="", failure=None),
        lambda job: lifecycle.completed(job, {"r": 2}, NOW, KEPT),
        {"status": JobStatus.COMPLETED, "result": {"r": 2}, "finished_at": NOW, "expires_at": expiry(7_000)},
    ),
    "failed, to be retried by its rule": (
        JOB,
        lambda job: lifecycle.ended_badly(job, Move.FAIL, JobStatus.FAILED, BROKEN, NOW, KEPT),
        {
            "status": JobStatus.FAILED,
            "failure": BROKEN,
            "waits_for": "",
            "history": (PAST, entry("fail", SHORT)),
            "finished_at": NOW,
            "expires_at": expiry(30_000, NOW + 60_000),
            "retry_at": NOW + 60_000,
            "dead_state": DeadState.SCHEDULED,
        },
    ),
    "failed for good, without a reason": (
        JOB,
        lambda job: lifecycle.ended_badly(job, Move.FAIL, JobStatus.FAILED, None, NOW, KEPT),
        {
            "status": JobStatus.FAILED,
            "failure": None,
            "waits_for": "",
            "history": (PAST, entry("fail", None)),
            "finished_at": NOW,
            "expires_at": expiry(30_000),
            "retry_at": 0,
            "dead_state": DeadState.WAITING,
        },
    ),
    "cancelled while it runs": (
        JOB,
        lambda job: lifecycle.ended_badly(job, Move.STOP, JobStatus.CANCELLED, BROKEN, NOW, KEPT),
        {
            "status": JobStatus.CANCELLED,
            "failure": BROKEN,
            "waits_for": "",
            "history": (PAST, entry(str(Move.STOP), SHORT)),
            "finished_at": NOW,
            "expires_at": expiry(30_000),
            "dead_state": DeadState.ABANDONED,
        },
    ),
    "cancelled while it waits": (
        replace(WAITS, dead_state=""),
        lambda job: lifecycle.ended_badly(job, Move.CANCEL, JobStatus.CANCELLED, BROKEN, NOW, KEPT),
        {
            "status": JobStatus.CANCELLED,
            "attempt": 5,
            "failure": BROKEN,
            "waits_for": "",
            "finished_at": NOW,
            "expires_at": expiry(30_000),
        },
    ),
    "expired before it started": (
        replace(WAITS, start_by=NOW - 1),
        lambda job: lifecycle.late(job, NOW, KEPT),
        {
            "status": JobStatus.CANCELLED,
            "attempt": 5,
            "failure": Failure(
                kind=FailureKind.CANCELLED,
                message="it had not started by 2025-06-15T15:06:40.499+00:00, its `expires`; submit it again if it is "
                "still wanted",
                at=NOW,
            ),
            "waits_for": "",
            "finished_at": NOW,
            "expires_at": expiry(30_000),
            "dead_state": DeadState.ABANDONED,
        },
    ),
    "retried": (
        JOB,
        again(Move.RETRY, charge=True),
        {**AGAIN, "start_by": 0, "history": (PAST, entry("retry", SHORT))},
    ),
    "released by its body": (
        JOB,
        again(Move.RELEASE),
        {**AGAIN, "charged": 2, "start_by": 0, "releases": 9, "history": (PAST, entry("release", SHORT))},
    ),
    "released before its body": (
        JOB,
        again(Move.RELEASE, started=False, slot=NOW + 3),
        {**AGAIN, "charged": 2, "slot": NOW + 3, "history": (PAST, entry("release", SHORT))},
    ),
    "released before its body, with a turn from before": (
        JOB,
        again(Move.RELEASE, started=False),
        {
            **{name: value for name, value in AGAIN.items() if name != "slot"},
            "charged": 2,
            "history": (PAST, entry("release", SHORT)),
        },
    ),
    "released again": (
        replace(JOB, charged=0, history=(PAST, entry("release", None))),
        again(Move.RELEASE, available_at=NOW + SQS_LOOKAHEAD_MS + 1),
        {
            **AGAIN,
            "start_by": 0,
            "releases": 9,
            "history": (PAST, entry("release", SHORT)),
            "available_at": NOW + SQS_LOOKAHEAD_MS + 1,
            "dispatches": 0,
        },
    ),
    "retried by a person": (
        FAILED,
        lambda job: lifecycle.revived(job, NOW, NOW + 5, by="ada", why="mended"),
        {
            **OPENED,
            "charged": 0,
            "dead_retries": 0,
            "dead_state": DeadState.RETRYING,
            "decisions": decided("retry", "ada", "mended"),
        },
    ),
    "retried by its rule": (
        replace(FAILED, waits=()),
        lambda job: lifecycle.revived_by_rule(job, NOW),
        {
            **{name: value for name, value in OPENED.items() if not name.startswith("wait")},
            "available_at": NOW,
            "charged": 4,
            "dead_retries": 3,
            "dead_state": DeadState.RETRYING,
            "decisions": decided("retry", "recovery", "automatic retry 3 after EXTERNAL"),
        },
    ),
    "resolved": (
        FAILED,
        lambda job: lifecycle.concluded(job, Move.RESOLVE, NOW, KEPT, by="ada", why="by hand"),
        {
            "dead_state": DeadState.RESOLVED,
            "retry_at": 0,
            "expires_at": expiry(7_000),
            "decisions": decided(str(Move.RESOLVE), "ada", "by hand"),
        },
    ),
    "abandoned": (
        FAILED,
        lambda job: lifecycle.concluded(job, Move.ABANDON, NOW, KEPT, by="ada", why="old"),
        {
            "dead_state": DeadState.ABANDONED,
            "retry_at": 0,
            "expires_at": expiry(30_000),
            "decisions": decided(str(Move.ABANDON), "ada", "old"),
        },
    ),
    "dispatched": (
        WAITS,
        lambda job: lifecycle.dispatched(job, NOW),
        {"dispatches": 3, "dispatched_at": NOW, "unsent": 0},
    ),
    "dropped": (
        JOB,
        lambda job: lifecycle.dropped(job, NOW),
        {"idempotency_ttl": 0, "result": None, "expires_at": NOW // 1000},
    ),
    "run anew": (
        FAILED,
        lambda job: lifecycle.resubmitted(job, Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING)),
        difference(
            FAILED,
            Job(
                job_id="j",
                task="t",
                queue="q",
                status=JobStatus.PENDING,
                attempt=4,
                history=(PAST,),
                submission="new",
            ),
        ),
    ),
    "with a step": (
        JOB,
        lambda job: durable.with_step(job, Step(name="two", function="f", arguments="a")),
        {"steps": (*JOB.steps, Step(name="two", function="f", arguments="a")), "step_count": 2},
    ),
    "with a token that was asked for": (
        JOB,
        lambda job: durable.announced(job, "forgotten", "another"),
        {
            "wait_secret": "another",
            "waits": (RESUMED, ASKED, replace(FORGOTTEN, announced=True)),
            "wait_changes": 10,
        },
    ),
    "with a token of a new wait": (
        JOB,
        lambda job: durable.announced(job, "new", "secret"),
        {"waits": (*JOB.waits, Wait(name="new", announced=True)), "wait_changes": 10},
    ),
    "timed out": (
        JOB,
        lambda job: durable.timed_out(job, "forgotten"),
        {"waits": (RESUMED, ASKED, replace(FORGOTTEN, timed_out=True)), "wait_changes": 10},
    ),
    "timed out before it waited": (
        JOB,
        lambda job: durable.timed_out(job, "new"),
        {"waits": (*JOB.waits, Wait(name="new", timed_out=True)), "wait_changes": 10},
    ),
    "waiting": (
        JOB,
        lambda job: durable.waiting(job, "new", NOW, NOW + 5),
        {
            **AGAIN,
            "failure": None,
            "charged": 2,
            "start_by": 0,
            "history": (PAST, entry("wait", None)),
            "waits": (*JOB.waits, Wait(name="new", since=NOW, until=NOW + 5)),
            "wait_changes": 10,
            "waits_for": "new",
        },
    ),
    "waiting once more, past its deadline": (
        JOB,
        lambda job: durable.waiting(job, "forgotten", NOW, NOW - 5),
        {
            **AGAIN,
            "failure": None,
            "charged": 2,
            "start_by": 0,
            "history": (PAST, entry("wait", None)),
            "available_at": NOW,
            "waits": (RESUMED, ASKED, replace(FORGOTTEN, until=NOW - 5)),
            "wait_changes": 10,
            "waits_for": "forgotten",
        },
    ),
    "resumed while it waits": (
        WAITS,
        lambda job: durable.resumed(job, replace(ASKED, resumed_at=NOW), NOW),
        {
            "waits": (RESUMED, FORGOTTEN, replace(ASKED, resumed_at=NOW)),
            "wait_changes": 10,
            "waits_for": "",
            "available_at": NOW,
            "dispatches": 3,
            "dispatched_at": NOW,
        },
    ),
    "resumed with another name": (
        WAITS,
        lambda job: durable.resumed(job, replace(FORGOTTEN, resumed_at=NOW), NOW),
        {"waits": (RESUMED, ASKED, replace(FORGOTTEN, resumed_at=NOW)), "wait_changes": 10},
    ),
    "resumed while it runs": (
        JOB,
        lambda job: durable.resumed(job, replace(ASKED, resumed_at=NOW), NOW),
        {"waits": (RESUMED, FORGOTTEN, replace(ASKED, resumed_at=NOW)), "wait_changes": 10},
    ),
    "cleared": (
        JOB,
        durable.cleared,
        {
            "steps": (),
            "step_count": 0,
            "waits": (),
            "wait_changes": 10,
            "wait_secret": "",
            "progress": None,
            "checkpoint": None,
        },
    ),
    "cleared, without waits": (
        replace(JOB, waits=()),
        durable.cleared,
        {"steps": (), "step_count": 0, "wait_secret": "", "progress": None, "checkpoint": None},
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_move_changes_these_fields_and_no_other(name: str) -> None:
    before, move, expected = MOVES[name]
    past = {"released": None} if "status" in expected else {}  # what released it is past when its state changes
    assert difference(before, move(before)) == {**expected, **past}


def test_no_field_of_the_job_that_moves_has_its_default() -> None:
    plain = Job(job_id="x", task="x", queue="x", status=JobStatus.PENDING)
    apart = {"payload_mark", "created"}  # neither is stored
    assert {field.name for field in fields(Job)} - set(difference(plain, JOB)) - apart == set()


def test_a_charged_attempt_is_one_less_and_never_below_none() -> None:
    assert again(Move.RELEASE)(replace(JOB, charged=0)).charged == 0
    assert again(Move.RELEASE)(replace(JOB, charged=1)).charged == 0
    assert lifecycle.revived_by_rule(replace(FAILED, max_attempts=1), NOW).charged == 0


def test_of_many_attempts_the_last_ten_are_kept() -> None:
    many = tuple(replace(PAST, attempt=number) for number in range(1, 20))
    kept = again(Move.RETRY, charge=True)(replace(JOB, history=many)).history
    assert [attempt.attempt for attempt in kept] == [*range(20 - HISTORY_LIMIT + 1, 20), 4]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"dispatched_at": NOW - UNSURE_AFTER_MS}, True),
        ({"dispatched_at": NOW - UNSURE_AFTER_MS, "dispatches": 2}, True),
        ({"dispatched_at": NOW - UNSURE_AFTER_MS, "dispatches": 3}, False),
        ({"dispatched_at": NOW - UNSURE_AFTER_MS, "dispatches": 0}, False),
        ({"dispatched_at": NOW - UNSURE_AFTER_MS, "claimed_at": 1}, False),
        ({"dispatched_at": NOW - UNSURE_AFTER_MS, "status": JobStatus.PROCESSING}, False),
        ({"start_by": NOW + 9}, True),
        ({"start_by": NOW + 9, "dispatches": 2}, False),
        ({"start_by": NOW + 9, "dispatches": 2, "dispatched_at": NOW - UNSURE_AFTER_MS}, True),
    ],
)
def test_an_equal_submission_sends_again_what_may_not_have_been_sent(changes: dict[str, Any], expected: bool) -> None:
    plain: dict[str, Any] = {"claimed_at": 0, "dispatches": 1, "dispatched_at": NOW - UNSURE_AFTER_MS + 1}
    job = replace(WAITS, **{**plain, "start_by": 0, **changes})
    assert lifecycle.may_be_unsent(job, NOW, 12) is expected
    assert not lifecycle.may_be_unsent(job, NOW, 1), "recovery gives up at the first message"


@pytest.mark.parametrize(("start_by", "late"), [(0, False), (1, True), (NOW - 1, True), (NOW, False), (NOW + 1, False)])
def test_a_waiting_job_is_late_after_its_limit(start_by: int, late: bool) -> None:
    assert lifecycle.is_late(replace(WAITS, start_by=start_by), NOW) is late
    assert not lifecycle.is_late(replace(JOB, start_by=start_by), NOW)


@pytest.mark.parametrize(
    ("expires_at", "gone"), [(0, False), (NOW // 1000, True), (NOW // 1000 + 1, False), (-1, False)]
)
def test_a_job_is_gone_from_the_second_of_its_expiry(expires_at: int, gone: bool) -> None:
    assert lifecycle.is_gone(replace(JOB, expires_at=expires_at), NOW) is gone


@pytest.mark.parametrize(
    ("status", "finished_at", "answers"),
    [
        (JobStatus.PENDING, 0, True),
        (JobStatus.PROCESSING, 0, True),
        (JobStatus.COMPLETED, NOW - 59_999, True),
        (JobStatus.COMPLETED, NOW - 60_000, False),
        (JobStatus.FAILED, NOW, False),
        (JobStatus.CANCELLED, NOW, False),
    ],
)
def test_an_open_job_and_one_within_its_window_answer_equal_submissions(
    status: JobStatus, finished_at: int, answers: bool
) -> None:
    assert lifecycle.answers_duplicate(replace(JOB, status=status, finished_at=finished_at), NOW) is answers


def test_a_job_that_is_due_within_the_longest_delay_of_sqs_gets_its_message_at_once() -> None:
    assert lifecycle.first_dispatches(NOW + SQS_LOOKAHEAD_MS, NOW) == 1
    assert lifecycle.first_dispatches(NOW + SQS_LOOKAHEAD_MS + 1, NOW) == 0
