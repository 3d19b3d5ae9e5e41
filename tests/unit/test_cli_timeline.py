"""What `jobclaim show` tells about a job's past and its next step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobclaim.cli.job_view import draw_job
from jobclaim.fleet.workers import WorkerRecord
from jobclaim.jobs import Attempt, Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.kept import Release
from jobclaim.jobs.protocol.releases import Held
from jobclaim.settings import Settings
from jobclaim.views.holds import WORDS
from jobclaim.views.records import job_record, remark_on
from jobclaim.views.timeline import timeline, waiting_reason

NOW = 1_750_000_000_000
SETTINGS = Settings()
PENDING = Job(
    job_id="a",
    task="t",
    queue="default",
    status=JobStatus.PENDING,
    max_attempts=3,
    created_at=NOW - 5_000,
    available_at=NOW - 5_000,
    dispatched_at=NOW - 5_000,
    dispatches=1,
    payload={"args": ["secret"], "kwargs": {}},
)
RUNNING = replace(
    PENDING,
    status=JobStatus.PROCESSING,
    attempt=1,
    charged=1,
    claimed_at=NOW - 4_000,
    lease_expires_at=NOW + 10_000,
    worker_id="host:7:ab",
    claim_token="sesame",
)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which no cell wraps."""
    monkeypatch.setenv("COLUMNS", "200")


def reason(job: Job, now: int = NOW) -> str:
    """Say why the job waits."""
    return waiting_reason(job, now, SETTINGS)


def test_a_job_that_waits_for_a_worker_says_when_recovery_steps_in() -> None:
    assert reason(PENDING) == (
        "Due for 5.0 s and not claimed: 1 message sent, and a worker of queue 'default' will claim it; "
        "otherwise recovery sends another one in 1 min 55 s."
    )


def test_a_job_nobody_takes_asks_for_worker_and_recovery() -> None:
    told = reason(replace(PENDING, dispatches=2), NOW + 600_000)
    assert "2 messages sent" in told
    assert "check that a worker listens to queue 'default' and that recovery runs" in told


LIVE = WorkerRecord(worker_id="host:7:ab", queues=("default",), concurrency=2)


@pytest.mark.parametrize(
    ("live", "told"),
    [
        ([], "no live worker listens to queue 'default'; `jobclaim worker run -q default` starts one"),
        ([replace(LIVE, queues=("mail",))], "no live worker listens to queue 'default'"),
        ([replace(LIVE, drain=True)], "every worker of queue 'default' is stopping"),
        ([replace(LIVE, jobs=("a", "b"))], "all 2 processes of queue 'default' are busy"),
        ([replace(LIVE, jobs=("a", "b")), replace(LIVE, jobs=("c",))], "a worker of queue 'default' will claim it"),
        ([replace(LIVE, jobs=("a",)), replace(LIVE, drain=True)], "a worker of queue 'default' will claim it"),
    ],
)
def test_a_job_that_nobody_can_take_says_what_its_queue_lacks(live: list[WorkerRecord], told: str) -> None:
    assert told in waiting_reason(PENDING, NOW, SETTINGS, live=live)


def test_a_scheduled_job_says_when_it_is_due_and_where_its_message_is() -> None:
    soon = replace(PENDING, available_at=NOW + 60_000)
    assert reason(soon).startswith("Due in 1 min")
    assert "waits in SQS" in reason(soon)
    assert "recovery sends its message" in reason(replace(soon, dispatches=0))


HELD = replace(
    PENDING,
    attempt=2,
    charged=1,
    available_at=NOW + 7_000,
    released=Release(held="rate-limit", reason="the rate limit of 1/m is used up", at=NOW, attempt=2),
    history=(
        Attempt(
            attempt=2, outcome="release", ended_at=NOW, held="rate-limit", reason="the rate limit of 1/m is used up"
        ),
    ),
)


def test_a_held_job_names_its_hold_what_to_do_and_when_it_starts() -> None:
    assert reason(HELD) == (
        "Held by its rate limit: the rate limit of 1/m is used up. A higher `rate_limit` of its task lets more jobs "
        "start. Due in 7.0 s (2025-06-15 15:06:47Z); its message waits in SQS."
    )
    assert "Due for" in reason(HELD, NOW + 10_000)


def test_a_held_job_counts_what_is_charged_and_shows_no_failure() -> None:
    shown = drawn(HELD)
    assert "1 of 3 charged, 2 claimed" in shown
    assert "attempt 2 released, uncharged" in shown
    assert "failure" not in shown
    row = job_record(HELD)
    assert remark_on(row, NOW) == "held by its rate limit, due in 7.0 s"
    assert (row["charged"], row["released"]["held"], row["history"][0]["failure"]) == (1, "rate-limit", None)


def test_every_hold_has_its_words() -> None:
    assert WORDS.keys() == {str(held) for held in Held}


def test_a_hold_that_a_later_version_writes_is_told_with_its_reason() -> None:
    later = replace(HELD, released=Release(held="full-moon", reason="wait for dawn", at=NOW, attempt=2))
    assert reason(later).startswith("Released uncharged: wait for dawn. Due")


def test_a_job_of_an_unknown_queue_says_so() -> None:
    assert "'gone' is not in the settings" in reason(replace(PENDING, queue="gone"))


def test_a_running_job_says_where_and_how_long_its_lease_lasts() -> None:
    assert reason(RUNNING) == "Running in host:7:ab; its lease ends in 10 s."


@pytest.mark.parametrize(
    ("changes", "then"),
    [
        ({"on_orphan": "retry"}, "started again"),
        ({"on_orphan": "fail"}, "FAILED"),
        ({"on_orphan": "retry", "charged": 3}, "FAILED"),
    ],
)
def test_an_orphan_says_what_recovery_will_do(changes: dict[str, object], then: str) -> None:
    assert then in reason(replace(RUNNING, **changes), NOW + 20_000)  # type: ignore[arg-type]


def test_a_failed_job_says_how_to_start_it_again() -> None:
    assert "`jobclaim retry a`" in reason(replace(RUNNING, status=JobStatus.FAILED))


def recovered() -> Job:
    """Make a job whose first attempt was orphaned and whose second completed."""
    lost = Failure(kind=FailureKind.ORPHANED, message="its worker was lost")
    first = Attempt(
        attempt=1,
        outcome="orphan-retry",
        worker_id="host:1:aa",
        claimed_at=NOW - 90_000,
        ended_at=NOW - 50_000,
        failure=lost,
    )
    return replace(
        RUNNING, status=JobStatus.COMPLETED, attempt=2, history=(first,), created_at=NOW - 95_000, finished_at=NOW
    )


def test_the_timeline_tells_every_attempt_in_order() -> None:
    moments = timeline(recovered())
    assert [moment.what for moment in moments] == [
        "submitted",
        "attempt 1 claimed",
        "attempt 1 ended: orphan-retry",
        "attempt 2 claimed",
        "COMPLETED",
    ]
    assert "host:1:aa" in moments[1].detail
    assert moments[2].detail == "ORPHANED: its worker was lost"
    assert "host:7:ab" in moments[3].detail


def test_a_failed_attempt_in_the_history_is_not_told_twice() -> None:
    first = Attempt(attempt=1, outcome="fail", claimed_at=NOW - 4_000, ended_at=NOW)
    failed = replace(RUNNING, status=JobStatus.FAILED, history=(first,), finished_at=NOW)
    assert [moment.what for moment in timeline(failed)].count("attempt 1 claimed") == 1


def test_a_message_sent_again_is_told() -> None:
    moments = timeline(replace(PENDING, dispatches=2, dispatched_at=NOW))
    assert moments[-1].what == "dispatched again"


def drawn(job: Job, **options: Any) -> str:
    """Draw a job as text."""
    return draw_job(job, reason(job), now=NOW, **options)


def test_the_drawing_shows_the_payload_only_when_asked_and_the_token_never() -> None:
    assert "secret" not in drawn(RUNNING)
    assert "secret" in drawn(RUNNING, payload=True)
    assert "sesame" not in drawn(RUNNING, payload=True)


def test_square_brackets_in_users_text_are_text() -> None:
    failure = Failure(
        kind=FailureKind.PERMANENT, message="[red]no such[/red] [key]", exception="KeyError", traceback="in [0]"
    )
    shown = drawn(replace(RUNNING, status=JobStatus.FAILED, failure=failure, finished_at=NOW))
    assert "[red]no such[/red] [key]" in shown
    assert "in [0]" in shown
