"""Running an ended job again with another payload: what is checked, what is linked, what stays as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from celery import shared_task
from pydantic import BaseModel

from jobclaim.jobs import IllegalTransition, InvalidInput, InvalidPayload, Job, JobStatus, StoreUnavailable
from jobclaim.jobs.storage.edits import KEPT, Edited, Edits
from jobclaim.recovery.dead import resolve_edited
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.messages.call import to_payload
from jobclaim.workers.submission.editing import retry_edited


class Order(BaseModel):
    number: int


@shared_task(base=JobTask, name="edit.pay", max_retries=0)
def pay(order: Order, note: Any = None) -> Any:
    """Fail for the number 1."""
    if order.number == 1:
        raise ValueError("the number is 1")
    return {"number": order.number, "note": note}


@shared_task(base=IdempotentTask, name="edit.once", idempotency_key_from=("day",))
def once(day: str, amount: int) -> int:
    return amount


@shared_task(name="edit.by_hand", claims=True)
def by_hand(job_id: str) -> None:
    """Stand for a task that makes its claim itself."""


def failed(jobclaim: Harness, note: Any = "first") -> Job:
    job = pay.delay({"number": 1}, note=note)
    jobclaim.drain()
    return jobclaim.job(job.id)


def edited(jobclaim: Harness, old: Job, payload: Any, **options: Any) -> Job:
    return retry_edited(jobclaim.app, jobclaim.repo, old.job_id, payload, **options).job


def test_a_new_job_runs_and_each_names_the_other_and_the_old_one_is_untouched(jobclaim: Harness) -> None:
    old = failed(jobclaim)
    new = edited(jobclaim, old, to_payload([{"number": 2}], {"note": "second"}))
    jobclaim.drain()
    assert jobclaim.job(new.job_id).result == {"number": 2, "note": "second"}
    assert jobclaim.job(old.job_id) == old
    links = Edits.of(jobclaim.repo)
    assert links.around(old.job_id) == Edited("", (new.job_id,))
    assert links.around(new.job_id) == Edited(old.job_id, ())
    again = edited(jobclaim, old, to_payload([{"number": 3}], {}))
    assert links.around(old.job_id).edited_as == (new.job_id, again.job_id)


def test_a_job_names_its_last_edited_retries_each_once_and_may_be_one_itself(jobclaim: Harness) -> None:
    links = Edits.of(jobclaim.repo)
    assert links.around("old") == Edited()
    for number in range(KEPT + 2):
        links.link("old", f"new-{number}", seconds=60)
    links.link("old", "new-5", seconds=60)
    links.link("new-5", "newer", seconds=60)
    assert links.around("old").edited_as == (
        *(f"new-{number}" for number in range(2, KEPT + 2) if number != 5),
        "new-5",
    )
    assert links.around("new-5") == Edited("old", ("newer",))
    assert links.around("newer") == Edited("new-5")


def test_values_that_json_lacks_are_kept(jobclaim: Harness) -> None:
    at = datetime(2030, 1, 31, tzinfo=UTC)
    old = failed(jobclaim, note=at)
    new = edited(jobclaim, old, to_payload([{"number": 2}], {"note": at}))
    assert jobclaim.job(new.job_id).payload["kwargs"]["note"] == at


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (to_payload([{"number": "two"}], {}), "number='two'"),
        (to_payload([], {}), "do not fit"),
        (to_payload([{"number": 2}], {"colour": 1}), "colour"),
        (to_payload([{"number": 2}], {"note": "[masked]"}), "placeholder of a hidden value"),
        (to_payload([{"number": 2}], {"note": ["a", {"b": "[hidden]"}]}), r"payload\['kwargs'\]\['note'\]\[1\]\['b'\]"),
        (to_payload([{"number": 1}], {"note": "first"}), "to run it unchanged"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_before_anything_is_written(
    jobclaim: Harness, payload: Any, reason: str
) -> None:
    old = failed(jobclaim)
    before = len(jobclaim.messages)
    with pytest.raises((InvalidInput, InvalidPayload), match=reason):
        edited(jobclaim, old, payload)
    assert len(jobclaim.messages) == before
    assert Edits.of(jobclaim.repo).around(old.job_id) == Edited()


def test_a_value_that_only_looks_like_a_placeholder_may_stay(jobclaim: Harness) -> None:
    old = failed(jobclaim, note="[masked]")
    assert edited(jobclaim, old, to_payload([{"number": 2}], {"note": "[masked]"})).created


def test_an_open_job_is_refused(jobclaim: Harness) -> None:
    job = pay.delay({"number": 2})
    with pytest.raises(IllegalTransition, match="is PENDING; only a job that has ended"):
        edited(jobclaim, jobclaim.job(job.id), to_payload([{"number": 3}], {}))


def test_an_edit_that_keeps_the_key_is_refused_and_one_with_another_key_runs(jobclaim: Harness) -> None:
    job = once.apply_async(("monday", 1), tags=["import"])
    jobclaim.repo.cancel_job(job.id)
    old = jobclaim.job(job.id)
    with pytest.raises(InvalidInput, match="take its place; pass another key"):
        edited(jobclaim, old, to_payload(["monday", 2], {}))
    assert jobclaim.job(job.id) == old
    new = edited(jobclaim, old, to_payload(["monday", 2], {}), key="monday, corrected")
    assert (new.created, new.idempotency_key == "", new.tags) == (True, False, ("import",))
    assert edited(jobclaim, old, to_payload(["tuesday", 2], {})).created


def test_an_edit_that_equals_another_job_submits_nothing(jobclaim: Harness) -> None:
    tuesday = once.delay("tuesday", 2)
    job = once.delay("monday", 1)
    jobclaim.repo.cancel_job(job.id)
    found = edited(jobclaim, jobclaim.job(job.id), to_payload(["tuesday", 2], {}))
    assert (found.job_id, found.created) == (tuesday.id, False)
    assert Edits.of(jobclaim.repo).around(job.id) == Edited()


def test_a_task_that_claims_itself_gets_the_whole_payload(jobclaim: Harness) -> None:
    job = jobclaim.repo.create_job("edit.by_hand", {"invoice": 1})
    jobclaim.repo.cancel_job(job.job_id)
    new = edited(jobclaim, job, {"invoice": 2})
    assert jobclaim.job(new.job_id).payload == {"invoice": 2}


def test_a_task_whose_code_is_not_here_runs_unchecked_with_the_old_jobs_settings(jobclaim: Harness) -> None:
    job = jobclaim.repo.create_job("elsewhere.work", {"n": 1}, max_attempts=7, on_orphan="retry")
    jobclaim.repo.cancel_job(job.job_id)
    made = retry_edited(jobclaim.app, jobclaim.repo, job.job_id, {"n": 2})
    assert (made.checked, made.job.max_attempts, made.job.on_orphan) == (False, 7, "retry")
    assert made.job.payload == {"n": 2}


def test_an_outage_after_the_write_does_not_invite_a_second_submission(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = failed(jobclaim)

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("DynamoDB is away")

    monkeypatch.setattr(Edits, "link", away)
    assert edited(jobclaim, old, to_payload([{"number": 2}], {})).created


def test_the_old_dead_letter_is_resolved_on_request(jobclaim: Harness) -> None:
    old = failed(jobclaim)
    new = edited(jobclaim, old, to_payload([{"number": 2}], {}))
    assert resolve_edited(jobclaim.repo, old.job_id, new, by="ada") == ""
    after = jobclaim.job(old.job_id)
    assert (after.status, after.dead_state, after.decisions[-1].by) == (JobStatus.FAILED, "RESOLVED", "ada")
    assert new.job_id in after.decisions[-1].why
    assert "not a dead letter" in resolve_edited(jobclaim.repo, new.job_id, new)
