"""Tags: words by which people find a job, on every path of submission and for its whole life."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, shared_task

from jobclaim.jobs import InvalidInput, Job
from jobclaim.jobs.checks import MAX_TAGS, tags
from jobclaim.jobs.encoding.item import from_item
from jobclaim.testing import Harness
from jobclaim.views.records import job_record
from jobclaim.workers import JobTask
from jobclaim.workers.submission.attributes import problems
from jobclaim.workers.submission.by_name import submit


@shared_task(base=JobTask, bind=True, name="tagged.import", tags=("import",), max_retries=1, default_retry_delay=0)
def import_(self: Any, number: int = 0) -> None:
    """Fail once, then wait once."""
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    self.sleep(1)


@shared_task(base=JobTask, name="tagged.next")
def following(number: Any = 0) -> None:
    """Follow."""


@shared_task(name="tagged.plain", claims=True, tags=("nightly",))
def plain(job_id: str) -> None:
    """Claim by hand."""


def stored(jobclaim: Harness, job_id: str) -> tuple[str, ...]:
    return jobclaim.repo.get_job(job_id).tags


def test_a_calls_tags_are_added_to_its_tasks_and_kept_by_retries_waits_and_a_persons_retry(jobclaim: Harness) -> None:
    job_id = import_.apply_async((1,), tags=["customer:42", "import"]).id
    assert stored(jobclaim, job_id) == ("import", "customer:42")
    jobclaim.drain()
    jobclaim.travel(5)
    jobclaim.recover()
    jobclaim.drain()
    job = jobclaim.repo.get_job(job_id)
    assert (job.attempt >= 2, job.tags) == (True, ("import", "customer:42"))
    assert job_record(job)["tags"] == ["import", "customer:42"]


def test_every_way_to_submit_takes_tags(jobclaim: Harness) -> None:
    by_hand = jobclaim.repo.create_job("tagged.plain", {}, tags=("a", "a", "b"))
    assert by_hand.tags == ("a", "b")
    with jobclaim.repo.transaction() as together:
        planned = together.create_job("tagged.plain", {}, tags=["c"])
    many: list[Job] = []
    following.submit_many([1, 2], tags=["batch:7"], each=lambda _, job: many.append(job))
    step = following.si(1).set(tags=["step"])
    last = chain(following.si(0), step).apply_async()
    jobclaim.drain()
    assert stored(jobclaim, planned.job_id) == ("c",)
    assert [job.tags for job in many] == [("batch:7",)] * 2
    assert stored(jobclaim, last.id) == ("step",)
    for name, words in (("tagged.next", ("cli",)), ("tagged.plain", ("nightly", "cli"))):
        assert submit(jobclaim.app, jobclaim.repo, name, [], {}, tags=["cli"]).tags == words


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("vip", r"write tags=\['vip'\]"),
        (7, "must be a list of strings"),
        ([""], "1 to 64 ASCII"),
        (["two words"], "write it like customer:42"),
        (["\u202eevil"], "ASCII"),
        (["x" * 65], "1 to 64"),
        ([None], "must be text"),
        ([["a"]], "must be text"),
        ([f"t{n}" for n in range(MAX_TAGS + 1)], "11 tags were given, at most 10"),
    ],
)
def test_bad_tags_are_refused_before_anything_is_written(jobclaim: Harness, given: Any, says: str) -> None:
    for call in (
        lambda: following.apply_async((1,), tags=given),
        lambda: jobclaim.repo.create_job("tagged.next", tags=given),
    ):
        with pytest.raises(InvalidInput, match=says):
            call()
    assert jobclaim.submitted == []


def test_a_task_with_bad_tags_is_named_before_a_worker_starts(jobclaim: Harness) -> None:
    task = jobclaim.app.task(base=JobTask, name="tagged.bad", shared=False, tags=("two words",))(following.run)
    del jobclaim.app.tasks["tagged.bad"]  # other tests start workers of this app
    assert ["two words" in problem for problem in problems(task)] == [True]


def test_the_most_tags_take_little_room_and_an_item_without_any_reads_as_none() -> None:
    assert len(str(tags([f"{n:064}" for n in range(MAX_TAGS)]))) < 1_000
    item: dict[str, Any] = {name: {"S": "x"} for name in ("job_id", "task", "queue")} | {"status": {"S": "PENDING"}}
    assert from_item(item).tags == ()
    assert from_item({**item, "tags": {"S": '["a"]'}}).tags == ("a",)
