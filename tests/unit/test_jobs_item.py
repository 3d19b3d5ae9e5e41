"""A job as a DynamoDB item and back, and how much of an item's room a job can take."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.item import (
    DECODERS,
    LATEST_MS,
    attribute,
    from_item,
    is_absent,
    number_in,
    place,
    to_attributes,
)
from jobclaim.jobs.errors import JobUnreadable
from jobclaim.jobs.failures.description import bounded
from jobclaim.jobs.model import HISTORY_LIMIT, DeadState
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.transitions import Move
from jobclaim.settings import ITEM_BUDGET
from tests.unit.jobs_strategies import FIELDS, fullest_job, jobs, longest_failure

DYNAMODB_ITEM_LIMIT = 400 * 1024
RETENTION = lifecycle.Retention(completed=1000, dead=1000)


def as_item(job: Job) -> dict[str, dict[str, str]]:
    return {name: attribute(value) for name, value in to_attributes(job).items()}


@given(jobs())
def test_a_job_survives_its_item_whatever_it_holds(job: Job) -> None:
    read = from_item(as_item(job))

    assert read == job
    assert codec.encode([read.payload, read.result]) == codec.encode([job.payload, job.result])  # 1 is not True


@given(jobs())
def test_an_item_holds_text_and_numbers_only(job: Job) -> None:
    for typed in as_item(job).values():
        ((kind, value),) = typed.items()
        assert kind in ("S", "N")
        assert isinstance(value, str)
        assert kind == "S" or float(value) >= 0


@given(jobs(), st.dictionaries(st.text(min_size=1).filter(lambda name: name not in DECODERS), st.integers()))
def test_attributes_of_a_newer_version_are_passed_over(job: Job, unknown: dict[str, int]) -> None:
    added: dict[str, dict[str, Any]] = {name: {"L": [{"N": str(value)}]} for name, value in unknown.items()}

    assert from_item({**added, **as_item(job)}) == job


def test_a_failure_kind_and_fields_of_a_newer_version_do_not_make_a_job_unreadable() -> None:
    failure = {"kind": "COSMIC_RAY", "message": "bit flipped", "energy": 5}
    item = {
        **as_item(Job(job_id="j", task="t", queue="q", status=JobStatus.FAILED)),
        "failure": {"S": json.dumps(failure)},
        "history": {"S": json.dumps([{"attempt": 1, "outcome": "fail", "failure": failure, "star": "Vega"}])},
    }

    job = from_item(item)

    assert job.failure == Failure(kind=FailureKind.PERMANENT, message="bit flipped")
    assert (job.history[0].outcome, job.history[0].failure) == ("fail", job.failure)


@pytest.mark.parametrize("empty", [(), [], {}, "", 0, False, 0.0])
def test_an_empty_payload_is_a_payload_and_not_nothing(empty: Any) -> None:
    job = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING, payload=empty, result=empty)

    read = from_item(as_item(job))

    assert codec.encode([read.payload, read.result]) == codec.encode([empty, empty])


def test_what_conditions_and_sums_refer_to_is_stored_even_at_zero() -> None:
    stored = to_attributes(Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING))

    assert {name for name, value in stored.items() if value == 0} >= {"attempt", "charged", "dispatches", "lease_ms"}


@pytest.mark.parametrize(
    ("status", "listed", "key", "at"),
    [
        (JobStatus.PENDING, False, "OPEN#ai#", 20),
        (JobStatus.PROCESSING, False, "OPEN#ai#", 20),
        (JobStatus.FAILED, False, "FAILED#", 30),
        (JobStatus.CANCELLED, False, "CANCELLED#", 30),
        (JobStatus.COMPLETED, True, "COMPLETED#", 30),
        (JobStatus.COMPLETED, False, None, None),
    ],
)
def test_a_job_stands_in_the_index_where_its_state_says(
    status: JobStatus, listed: bool, key: str | None, at: int | None
) -> None:
    job = Job(job_id="j", task="t", queue="ai", status=status, available_at=20, finished_at=30)

    found = place(job, shards=4, index_completed=listed)

    assert found.get("state_at") == at
    assert str(found.get("state_key")).startswith(key) if key else found == {}


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({}, 90_000),
        ({"unsent": 1}, 35_000),
        ({"start_by": 99_000}, 45_000),
        ({"unsent": 1, "start_by": 99_000}, 35_000),
        ({"unsent": 1, "available_at": 9}, 1),
        ({"status": JobStatus.PROCESSING, "start_by": 99_000}, 45_000),
    ],
)
def test_a_job_that_recovery_must_find_early_stands_before_its_time(fields: dict[str, Any], at: int) -> None:
    job = Job(
        **{"job_id": "j", "task": "t", "queue": "q", "status": JobStatus.PENDING, "available_at": 90_000, **fields}
    )

    assert place(job, shards=1, index_completed=False)["state_at"] == at


@pytest.mark.parametrize("dead_state", DeadState)
@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.CANCELLED])
def test_what_followed_a_failure_does_not_move_a_job_that_ended_otherwise_since(
    status: JobStatus, dead_state: DeadState
) -> None:
    job = Job(job_id="j", task="t", queue="q", status=status, finished_at=30, dead_state=dead_state)

    assert place(job, shards=1, index_completed=True) == {"state_key": f"{status}#0", "state_at": 30}


def test_a_payload_that_is_stored_elsewhere_is_its_mark_and_empty_lists_take_no_room() -> None:
    job = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING, payload=[1], payload_mark={"x": 2}, result=3)
    stored = to_attributes(job)

    assert (stored["payload"], stored["result"]) == ('{"x":2}', "3")
    assert is_absent("history", ())
    assert not is_absent("payload", ())


@pytest.mark.parametrize(("at", "readable"), [(-1, False), (0, True), (LATEST_MS, True), (LATEST_MS + 1, False)])
def test_a_time_that_cannot_be_shown_makes_an_item_unreadable(at: int, readable: bool) -> None:
    item = as_item(Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING)) | {"start_by": {"N": str(at)}}

    with nullcontext() if readable else pytest.raises(JobUnreadable, match="start_by"):
        assert from_item(item).start_by == at
    assert number_in({"start_by": {"N": "soon"}}, "start_by") == number_in({}, "start_by") == 0


@pytest.mark.parametrize("missing", ["task", "queue", "status"])
def test_an_item_without_what_every_job_has_is_named_by_what_it_lacks(missing: str) -> None:
    item = as_item(Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING))
    del item[missing]

    with pytest.raises(JobUnreadable, match=missing):
        from_item(item)


def test_these_tests_know_every_field_of_a_job() -> None:
    """A new field must be stored, take part in the properties above, and have its room in the fullest item."""
    stored = {field.name for field in fields(Job)} - {"created", "payload_mark"}
    default = Job(job_id="", task="", queue="", status=JobStatus.PENDING)
    fullest = fullest_job("x", 1000)

    assert set(DECODERS) == stored
    assert {name for name in stored if getattr(fullest, name) == getattr(default, name)} == {"result"}, (
        "a running job has no result; the tests below give it one"
    )
    assert set(FIELDS) == stored


def _size(job: Job) -> int:
    """Size of the item as DynamoDB counts it: names and text in UTF-8, numbers by their digits, here generously."""
    stored = to_attributes(job) | place(job, shards=64, index_completed=True)
    return sum(
        len(name.encode()) + (len(value.encode()) if isinstance(value, str) else 21) for name, value in stored.items()
    )


@pytest.mark.parametrize("character", ["x", '"', "\u00e9", "\u6f22", "\U0001f980"])
def test_the_fullest_job_there_can_be_still_fits_into_an_item_when_it_completes(character: str) -> None:
    job = fullest_job(character, ITEM_BUDGET // 2)
    result = "y" * (ITEM_BUDGET // 2 - 2)

    assert _size(lifecycle.completed(job, result, 10**14, RETENTION)) < DYNAMODB_ITEM_LIMIT


@pytest.mark.parametrize("character", ["x", '"', "\u00e9", "\u6f22", "\U0001f980"])
def test_the_fullest_job_there_can_be_still_fits_into_an_item_when_it_fails(character: str) -> None:
    job = fullest_job(character, ITEM_BUDGET - 1)
    failed = lifecycle.ended_badly(job, Move.FAIL, JobStatus.FAILED, longest_failure(character), 10**14, RETENTION)

    assert len(failed.history) == HISTORY_LIMIT
    assert _size(failed) < DYNAMODB_ITEM_LIMIT


@given(st.text(alphabet='\x00\x1f"\\aé漢🦀', max_size=50_000))
def test_a_failure_takes_no_more_room_than_its_limits_whatever_it_says(text: str) -> None:
    failure = bounded(Failure(kind=FailureKind.PERMANENT, exception=text, message=text, traceback=text))

    assert len(codec.encode_failure(failure).encode()) < 15_000
    assert text.startswith(failure.message)
    assert text.endswith(failure.traceback)
