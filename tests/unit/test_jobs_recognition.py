"""A refused write is recognised as one's own by exactly this, and by nothing that another writer may have left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs import recognition as by
from jobclaim.jobs.kept import Progress, Step, Wait
from jobclaim.jobs.model import Attempt, Decision
from jobclaim.jobs.recognition import Recognition

WHY = Failure(kind=FailureKind.TRANSIENT, message="m", exception="E", at=5)
ENDED = Attempt(attempt=2, outcome="retry", worker_id="w", claim_token="mine", claimed_at=1, ended_at=9, failure=WHY)
LATER = Attempt(attempt=3, outcome="retry", claim_token="next", ended_at=20)
STEP = Step(name="one", function="f", arguments="a", result=1)
WAIT = Wait(name="answer", since=1, until=2, nonce="n", announced=True)
JOB = Job(
    job_id="j",
    task="t",
    queue="q",
    status=JobStatus.PROCESSING,
    attempt=2,
    claim_token="mine",
    submission="s",
    result={"value": 1},
    effects="2:digest",
    history=(ENDED,),
    steps=(STEP,),
    progress=Progress(done=1),
    checkpoint={"at": 1},
    waits=(WAIT,),
    wait_changes=3,
    finished_at=9,
    failure=WHY,
    dispatches=2,
    dispatched_at=7,
    nonce="random",
    decisions=(Decision(verb="retry", by="ada", at=1),),
)
DONE = replace(JOB, status=JobStatus.COMPLETED)
WAITS = replace(JOB, status=JobStatus.PENDING)
OTHER_TOKEN: dict[str, Any] = {"claim_token": "another"}
OTHER_NONCE: dict[str, Any] = {"nonce": "another"}
NEXT_ATTEMPT: dict[str, Any] = {"attempt": 3}
NEXT_RUN: dict[str, Any] = {"submission": "another"}


def history(**changes: Any) -> dict[str, Any]:
    return {"history": (replace(ENDED, **changes),)}


def waits(**changes: Any) -> dict[str, Any]:
    return {"waits": (replace(WAIT, **changes),)}


ROWS: list[tuple[Recognition, Job, list[dict[str, Any]], list[dict[str, Any]]]] = [
    (by.same_claim, JOB, [NEXT_RUN], [OTHER_TOKEN, {"status": JobStatus.PENDING}]),
    (
        by.same_result,
        DONE,
        [{"history": ()}],
        [
            OTHER_TOKEN,
            {"status": JobStatus.FAILED},
            {"result": {"value": True}},
            {"result": {"value": 1.0}},
            {"effects": ""},
        ],
    ),
    (
        by.same_end,
        JOB,
        [
            {},
            {"history": (ENDED, LATER)},
            history(ended_at=10),
            history(failure=replace(WHY, at=6)),
            {"status": JobStatus.COMPLETED, **OTHER_TOKEN},
        ],
        [
            {"history": ()},
            history(outcome="release"),
            history(attempt=3),
            history(claim_token="another"),
            history(failure=replace(WHY, message="another")),
            history(failure=None),
        ],
    ),
    (
        by.same_step,
        JOB,
        [{"steps": (STEP, replace(STEP, name="two"))}],
        [{"steps": ()}, {"steps": (replace(STEP, result=2),)}, OTHER_TOKEN, {"status": JobStatus.PENDING}],
    ),
    (
        by.same_progress,
        JOB,
        [{"steps": ()}],
        [
            {"progress": Progress(done=2)},
            {"checkpoint": {"at": 2}},
            {"checkpoint": {"at": True}},
            OTHER_TOKEN,
            {"status": JobStatus.PENDING},
        ],
    ),
    (
        by.same_note,
        JOB,
        [
            {"wait_changes": 4},
            waits(resumed_at=5, payload="p", by="ada", nonce="m"),
            {"waits": (replace(WAIT, name="another"), WAIT)},
        ],
        [
            {"wait_changes": 2},
            {"waits": ()},
            waits(since=0),
            waits(until=0),
            waits(timed_out=True),
            waits(announced=False),
            OTHER_TOKEN,
            {"status": JobStatus.PENDING},
        ],
    ),
    (
        by.same_resume,
        JOB,
        [
            {"status": JobStatus.FAILED, **NEXT_RUN, **NEXT_ATTEMPT},
            {"waits": (WAIT, replace(WAIT, name="b", nonce="b"))},
        ],
        [{"waits": ()}, waits(nonce="another")],
    ),
    (
        by.same_rescue,
        JOB,
        [{"history": (ENDED, LATER)}, {"status": JobStatus.FAILED}, {**OTHER_NONCE, **NEXT_ATTEMPT}],
        [
            {"history": ()},
            history(ended_at=10),
            history(failure=replace(WHY, at=6)),
            history(nonce="another"),
            {**history(nonce="another"), **NEXT_ATTEMPT},
        ],
    ),
    (
        by.same_call_off,
        JOB,
        [{"dispatches": 5}],
        [NEXT_ATTEMPT, NEXT_RUN, {"status": JobStatus.PENDING}, OTHER_NONCE],
    ),
    (
        by.same_dispatch,
        WAITS,
        [{"unsent": 1}],
        [NEXT_ATTEMPT, NEXT_RUN, {"status": JobStatus.PROCESSING}, {"dispatches": 3}, OTHER_NONCE],
    ),
    (by.same_submission, JOB, [{"status": JobStatus.FAILED, **NEXT_ATTEMPT}], [NEXT_RUN]),
    (
        by.same_decision,
        JOB,
        [{"decisions": (*JOB.decisions, Decision(verb="retry", by="bob", at=2))}, NEXT_RUN],
        [{"decisions": ()}, {"decisions": (replace(JOB.decisions[0], by="bob"),)}],
    ),
    (by.run_is_over, JOB, [NEXT_RUN], [{}, NEXT_ATTEMPT]),
    (by.is_same_state, JOB, [{"steps": ()}], [NEXT_ATTEMPT, NEXT_RUN, {"status": JobStatus.PENDING}]),
]
NAMES = [row[0].__name__ for row in ROWS]


@pytest.mark.parametrize(("recognise", "after", "mine", "others"), ROWS, ids=NAMES)
def test_a_write_is_recognised_whatever_has_happened_since_and_another_is_not(
    recognise: Recognition, after: Job, mine: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    assert [recognise(replace(after, **changes), after) for changes in mine] == [True] * len(mine)
    assert [recognise(replace(after, **changes), after) for changes in others] == [False] * len(others)


def test_every_recognition_has_a_row() -> None:
    assert {name for name in vars(by) if getattr(getattr(by, name), "__module__", "") == by.__name__} == {
        *NAMES,
        "_has_waits",
        "_run",
        "_timeless",
    }


def test_ends_without_a_failure_are_told_apart_by_their_moves() -> None:
    plain = replace(JOB, history=(replace(ENDED, failure=None),))
    assert by.same_end(plain, plain)
    assert not by.same_end(JOB, plain)
    assert not by.same_end(plain, JOB)
