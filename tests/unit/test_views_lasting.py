"""Progress, waits and steps as people and programs see them."""

from __future__ import annotations

import pytest

from jobclaim.jobs import Job, JobStatus, kept
from jobclaim.jobs.kept import Progress, Step, Wait
from jobclaim.settings import Settings
from jobclaim.views import lasting
from jobclaim.views.records import job_record, remark_on
from jobclaim.views.timeline import timeline, waiting_reason

NOW = 1_800_000_000_000
HALF = Progress(done=500, total=1000, message="rows", attempt=1, at=NOW, first_done=0, first_at=NOW - 10_000)


def job(status: JobStatus = JobStatus.PROCESSING, **changes: object) -> Job:
    return Job(**{"job_id": "j", "task": "t", "queue": "default", "status": status, "attempt": 1, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (HALF, "[##########----------] 50% · 500 of 1,000 · 50/s · 10 s left · rows"),
        (Progress(done=3, at=NOW), "3"),
        (Progress(message="starting", at=NOW), "starting"),
        (Progress(state="SENDING", meta={"who": "ann"}, at=NOW), "SENDING"),
        (Progress(done=0.25, total=1, at=NOW), "[#####---------------] 25% · 0.25 of 1"),
        (Progress(done=5, total=4, at=NOW), "[####################] 100% · 5 of 4"),
    ],
)
def test_progress_is_said_as_far_as_the_body_told_it(progress: Progress, words: str) -> None:
    assert lasting.progress_in_words(progress, NOW) == words


def test_a_list_says_how_far_a_job_is_and_what_it_waits_for() -> None:
    running = job_record(job(progress=HALF, lease_expires_at=NOW + 1000))
    wait = Wait(name="approval", since=NOW - 60_000, until=NOW + 3_600_000)
    waiting = job_record(job(JobStatus.PENDING, waits=(wait,), waits_for="approval"))
    asleep = job_record(job(JobStatus.PENDING, waits=(Wait(name="sleep/1", until=NOW),), waits_for="sleep/1"))

    assert remark_on(running, NOW) == "50% of 1,000 done"
    assert remark_on(waiting, NOW).startswith("waits for approval since ")
    assert remark_on(asleep, NOW).startswith("sleeps until ")
    assert (waiting["waits_for"], waiting["waits_since_ms"]) == ("approval", NOW - 60_000)


def test_a_jobs_next_and_its_life_tell_of_waits_and_steps() -> None:
    waits = (
        Wait(name="first", since=NOW - 9, resumed_at=NOW - 5, by="ann"),
        Wait(name="approval", since=NOW, until=NOW + 3_600_000),
    )
    steps = (Step(name="charge", function="f", arguments="", at=NOW - 8, took_ms=1500),)
    waiting = job(JobStatus.PENDING, waits=waits, waits_for="approval", steps=steps, created_at=NOW - 100)

    assert waiting_reason(waiting, NOW, Settings()).endswith("`jobclaim resume j approval` starts it again.")
    assert [(moment.what, moment.detail) for moment in timeline(waiting)][2:4] == [
        ("step charge finished", "in 1.5 s"),
        ("resumed: first", "by ann"),
    ]


def test_values_are_in_the_record_only_where_they_were_asked_for() -> None:
    kept_job = job(checkpoint={"row": 7}, steps=(Step(name="s", function="f", arguments="", result="secret"),))

    assert job_record(kept_job)["checkpoint"] == {"redacted": True, "bytes": 9}
    assert job_record(kept_job, payload=True)["checkpoint"] == {"row": 7}
    assert "secret" not in str(job_record(kept_job, payload=True))
    assert job_record(job())["checkpoint"] is None


def test_names_of_sleeps_are_known_here_too() -> None:
    assert lasting.SLEEP == kept.SLEEP


@pytest.mark.parametrize(
    ("kept", "words", "record"),
    [
        ("", "", None),
        ("1:ab", "1 write", {"count": 1, "first": []}),
        ("3:ab", "3 writes", {"count": 3, "first": []}),
        (
            '2:ab [["put","ledger","id=7"]]',
            "put ledger id=7; 1 more",
            {"count": 2, "first": [{"kind": "put", "table": "ledger", "key": "id=7"}]},
        ),
    ],
)
def test_effects_are_shown_by_kind_table_and_key(kept: str, words: str, record: object) -> None:
    done = job(JobStatus.COMPLETED, effects=kept)
    assert lasting.effects_in_words(done) == words
    assert lasting.lasting_record(done, payload=False)["effects"] == record
