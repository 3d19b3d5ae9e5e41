"""From the arguments of a submission to the job that is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import IdempotencyMismatch, InvalidInput, Job, JobStatus, PayloadTooLarge
from jobclaim.jobs.encoding.marks import digest
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.protocol.submission import (
    MAX_ENVELOPE,
    Submission,
    check_same_call,
    check_same_payload,
    id_for_key,
    lease_ms,
    new_job,
)
from jobclaim.settings import QueueSpec, Settings, TaskSpec
from tests.support.clock import ManualClock

SETTINGS = Settings(
    queues=(
        QueueSpec(name="default"),
        QueueSpec(name="slow", hard_limit=7200),
        QueueSpec(name="ai", lease_seconds=1900),
    ),
    tasks={"tasks.scan": TaskSpec(queue="slow", soft_limit=50, hard_limit=60)},
    max_attempts=4,
    on_orphan="retry",
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30)


def job_of(clock: ManualClock, **asked: Any) -> Job:
    return new_job(Submission(**{"task": "tasks.work", **asked}), SETTINGS, clock, any_queue=False)


def test_a_submission_gets_its_defaults_from_settings(clock: ManualClock) -> None:
    job = job_of(clock)

    assert (job.queue, job.max_attempts, job.on_orphan) == ("default", 4, "retry")
    assert (job.idempotency_key, job.idempotency_ttl, job.fingerprint) == ("", 0, "")
    assert (job.created_at, job.available_at, job.dispatched_at, job.dispatches) == (clock(), clock(), clock(), 1)


def test_a_task_goes_where_settings_route_it_with_the_lease_of_its_own_limit(clock: ManualClock) -> None:
    job = job_of(clock, task="tasks.scan")

    assert (job.queue, job.lease_ms) == ("slow", (60 + 60) * 1000)


@pytest.mark.parametrize(
    ("queue", "hard_limit", "seconds"),
    [
        ("default", None, 1860),
        ("slow", None, 7260),
        ("ai", None, 1900),
        ("ai", 60, 1900),
        ("ai", 1850, 1910),
        ("ai", 3600, 3660),
        ("gone", None, 1860),
    ],
)
def test_a_claim_lasts_longer_than_the_job_may_run(queue: str, hard_limit: int | None, seconds: int) -> None:
    assert lease_ms(hard_limit, queue, "tasks.work", SETTINGS) == seconds * 1000


def test_jobs_without_a_key_get_ids_of_their_own_and_equal_keys_the_same(clock: ManualClock) -> None:
    assert job_of(clock).job_id != job_of(clock).job_id
    assert job_of(clock, idempotency_key="k").job_id == job_of(clock, idempotency_key="k").job_id
    assert job_of(clock, idempotency_key="k").submission != job_of(clock, idempotency_key="k").submission


@given(NAMES, NAMES, NAMES, NAMES)
def test_different_tasks_and_keys_never_share_an_id(task: str, key: str, other_task: str, other_key: str) -> None:
    same = (task, key) == (other_task, other_key)

    assert (id_for_key(task, key) == id_for_key(other_task, other_key)) is same


def test_a_name_cannot_smuggle_in_a_part_of_a_key(clock: ManualClock) -> None:
    with pytest.raises(InvalidInput, match="control character"):
        job_of(clock, task="a\0b", idempotency_key="c")
    with pytest.raises(InvalidInput, match="control character"):
        job_of(clock, task="a", idempotency_key="b\0c")


def test_a_time_in_the_past_means_now(clock: ManualClock) -> None:
    assert job_of(clock, available_at=clock() - 5000).available_at == clock()


def test_a_job_that_is_due_too_far_ahead_for_sqs_has_no_message_yet(clock: ManualClock) -> None:
    assert job_of(clock, available_at=clock() + 900_000).dispatches == 1
    assert job_of(clock, available_at=clock() + 900_001).dispatches == 0


def test_the_fingerprint_of_arguments_tells_apart_what_python_takes_for_equal(clock: ManualClock) -> None:
    fingerprints = {job_of(clock, idempotency_key="k", payload=value).fingerprint for value in (1, 1.0, True, "1")}

    assert len(fingerprints) == 4


@pytest.mark.parametrize("queue", ["defualt", "unknown"])
def test_a_queue_that_settings_do_not_know_is_refused_with_those_they_know(clock: ManualClock, queue: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not among the queues .*default"):
        job_of(clock, queue=queue)


# --- every field
def test_what_is_asked_for_is_what_is_written(clock: ManualClock) -> None:
    asked = {
        "payload": {"a": 1},
        "queue": "ai",
        "idempotency_key": "k",
        "ttl": 7.5,
        "fingerprint": "f",
        "available_at": clock() + 900_001,
        "max_attempts": 2,
        "on_orphan": "fail",
        "hard_limit": 3600,
        "start_by": clock() + 950_000,
        "envelope": "links",
        "failure_policy": '{"critical":true,"EXTERNAL":{"retries":2}}',
    }
    job = job_of(clock, **asked)
    assert len(job.submission) == 12
    assert json.loads(job.failure_policy)["critical"] is True
    assert json.loads(job.failure_policy)["EXTERNAL"]["retries"] == 2
    assert replace(job, submission="", failure_policy="") == Job(
        job_id=id_for_key("tasks.work", "k"),
        task="tasks.work",
        queue="ai",
        status=JobStatus.PENDING,
        max_attempts=2,
        payload={"a": 1},
        created_at=clock(),
        available_at=clock() + 900_001,
        idempotency_key="k",
        idempotency_ttl=7.5,
        fingerprint="f",
        dispatched_at=clock(),
        dispatches=0,
        on_orphan="fail",
        lease_ms=3_660_000,
        start_by=clock() + 950_000,
        envelope="links",
    )


def test_what_is_not_asked_for_has_its_default(clock: ManualClock) -> None:
    job = job_of(clock)
    assert replace(job, job_id="", submission="") == Job(
        job_id="",
        task="tasks.work",
        queue="default",
        status=JobStatus.PENDING,
        max_attempts=4,
        created_at=clock(),
        available_at=clock(),
        dispatched_at=clock(),
        dispatches=1,
        on_orphan="retry",
        lease_ms=1_860_000,
    )


def test_a_key_alone_gets_the_window_of_the_settings_and_a_print_of_its_arguments(clock: ManualClock) -> None:
    job = job_of(clock, payload={"a": 1}, idempotency_key="k")
    assert job.idempotency_ttl == SETTINGS.idempotency_ttl_seconds
    assert job.fingerprint == hashlib.sha256(b'{"a":1}').hexdigest()[:16]
    assert job_of(clock, payload=None, text='{"a":1}', idempotency_key="k").fingerprint == job.fingerprint


@pytest.mark.parametrize("beyond", [0, 1])
def test_an_envelope_shares_what_is_left_of_the_payloads_bound(clock: ManualClock, beyond: int) -> None:
    room = MAX_ENVELOPE + SETTINGS.max_payload_bytes - len('"p"')
    asked = {"payload": "p", "envelope": "e" * (room + beyond)}
    if beyond:
        with pytest.raises(PayloadTooLarge, match=rf"takes {room + 1} bytes and its payload takes 3"):
            job_of(clock, **asked)
    else:
        assert len(job_of(clock, **asked).envelope) == room


def test_a_lone_half_of_a_pair_in_an_envelope_is_replaced(clock: ManualClock) -> None:
    assert job_of(clock, envelope="a\ud800").envelope == "a?"


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", {}),
        ("{}", {}),
        ('{"critical":false}', {}),
        ('{"critical":1}', {}),
        ('{"critical":true}', {"critical": True}),
    ],
)
def test_a_policy_is_sealed_anew(clock: ManualClock, text: str, rules: dict[str, Any]) -> None:
    assert json.loads(job_of(clock, failure_policy=text).failure_policy or "{}") == rules


@pytest.mark.parametrize(
    ("stored", "asked", "refused"),
    [("f", "f", False), ("f", "g", True), ("", "g", False), ("f", "", False)],
)
def test_another_call_under_the_same_key_is_refused(clock: ManualClock, stored: str, asked: str, refused: bool) -> None:
    existing = replace(job_of(clock, idempotency_key="k"), fingerprint=stored)
    call = replace(existing, fingerprint=asked)
    if refused:
        with pytest.raises(IdempotencyMismatch, match="other arguments"):
            check_same_call(existing, call)
    else:
        check_same_call(existing, call)
    with pytest.raises(IdempotencyMismatch, match="belongs to a job of task"):
        check_same_call(existing, replace(call, task="tasks.other", fingerprint=stored))


@pytest.mark.parametrize(("text", "same"), [('{"b": 2, "a": 1}', True), ('{"a":1}', False), ('{"a":1.0,"b":2}', False)])
def test_the_payload_of_a_chosen_id_is_compared_as_json(clock: ManualClock, text: str, same: bool) -> None:
    existing = job_of(clock, job_id="j", payload={"a": 1, "b": 2})
    if same:
        check_same_payload(existing, existing, text)
    else:
        with pytest.raises(IdempotencyMismatch, match="another payload"):
            check_same_payload(existing, existing, text)


def test_a_payload_that_could_not_be_read_is_compared_by_the_hash_in_its_mark(clock: ManualClock) -> None:
    known = replace(job_of(clock, job_id="j"), payload={LARGE_MARK: {"key": f"large/{digest('[1]')}", "bytes": 3}})

    check_same_payload(known, known, "[1]")
    with pytest.raises(IdempotencyMismatch):
        check_same_payload(known, known, "[2]")
