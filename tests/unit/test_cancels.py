"""Cancelling by a filter: what is meant, what is left alone, and how one goes on after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.fleet.audit import Audit
from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.jobs import Job, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.protocol import lifecycle
from jobclaim.recovery import cancels as module
from jobclaim.recovery import many
from jobclaim.recovery.cancels import Cancels, OpenJobs
from jobclaim.workers.cancel import BY_A_PERSON, Answer
from tests.contract.stores import Store
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock

BOTH = (JobStatus.PENDING, JobStatus.PROCESSING)


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store("model", ModelClient(clock), clock)


@pytest.fixture
def repo(store: Store) -> JobRepo:
    return store.repo()


def submitted(repo: JobRepo, count: int, **options: Any) -> list[Job]:
    return [repo.create_job(options.get("task", "report.make"), queue=options.get("queue", "ai")) for _ in range(count)]


def states(repo: JobRepo, jobs: list[Job]) -> list[str]:
    return [str(repo.get_job(job.job_id).status) for job in jobs]


def reports(repo: JobRepo) -> OpenJobs:
    return OpenJobs(what="queue=ai task=report.*", queues=("ai",), fits=lambda job: job.task == "report.make")


def test_only_what_matches_is_cancelled_with_its_reason_and_in_the_trail(repo: JobRepo) -> None:
    mine, other_task, other_queue = (
        submitted(repo, 3),
        submitted(repo, 1, task="bill"),
        submitted(repo, 1, queue="email"),
    )

    report = Cancels(repo).act(reports(repo), by="ada", reason="sent twice")

    assert (report.matched, report.done, report.requested, report.refused) == (3, 3, 0, [])
    assert states(repo, [*mine, *other_task, *other_queue]) == ["CANCELLED"] * 3 + ["PENDING"] * 2
    failure = repo.get_job(mine[0].job_id).failure
    assert failure is not None
    assert failure.message == "cancelled by ada: sent twice"
    [entry] = Audit.of(repo).entries()
    assert (entry.verb, entry.by, entry.what, entry.why, entry.done) == (
        "cancel",
        "ada",
        "queue=ai task=report.*",
        "sent twice",
        3,
    )


def test_a_preview_counts_groups_and_names_a_sample_and_changes_nothing(repo: JobRepo) -> None:
    jobs = [*submitted(repo, 7), *submitted(repo, 2, task="bill")]
    found = Cancels(repo).preview(OpenJobs(what="queue=ai", queues=("ai",)))
    assert (found.count, found.complete, len(found.sample)) == (9, True, 5)
    assert found.groups == {("report.make", "ai", "PENDING"): 7, ("bill", "ai", "PENDING"): 2}
    assert set(states(repo, jobs)) == {"PENDING"}


def test_a_preview_of_a_long_queue_stops_and_says_so(repo: JobRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    submitted(repo, 8)
    found = Cancels(repo).preview(reports(repo), at_most=4)
    assert not found.complete
    assert 0 < found.count < 8


def test_what_is_submitted_after_the_beginning_is_left_alone(repo: JobRepo, clock: ManualClock) -> None:
    before, later = submitted(repo, 2), list[Job]()

    def submit_more(_: Any) -> None:
        clock.advance(1)
        later.extend(submitted(repo, 1))

    report = Cancels(repo).act(reports(repo), progress=submit_more)
    assert (report.done, states(repo, before)) == (2, ["CANCELLED"] * 2)
    assert set(states(repo, later)) == {"PENDING"}
    again = Cancels(repo).act(replace(reports(repo), submitted_before=before[0].created_at))
    assert again.matched == 0


def test_a_job_that_is_claimed_meanwhile_is_refused_and_not_asked_to_end(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = submitted(repo, 1)
    cancels = Cancels(repo)
    real = cancels.find

    def claimed_after_it_was_read(wanted: OpenJobs) -> Iterator[Job]:
        found = list(real(wanted))
        assert repo.claim_job(job.job_id, worker_id="w1") is not None
        yield from found

    monkeypatch.setattr(cancels, "find", claimed_after_it_was_read)
    report = cancels.act(reports(repo))
    assert (report.done, report.refused) == (
        0,
        [(job.job_id, f"job {job.job_id!r} is PROCESSING by now and was left alone")],
    )
    assert repo.get_job(job.job_id).status is JobStatus.PROCESSING


def test_running_jobs_are_requested_from_their_workers_only_if_they_are_meant(
    repo: JobRepo, clock: ManualClock
) -> None:
    waiting, running = submitted(repo, 2)
    repo.claim_job(running.job_id, worker_id="w1")
    fleet = FleetRecords.of(repo)
    fleet.beat(WorkerRecord(worker_id="w1", seen_at=clock(), started_at=clock(), jobs=(running.job_id,)))

    assert [job.job_id for job in Cancels(repo).find(reports(repo))] == [waiting.job_id]
    report = Cancels(repo).act(replace(reports(repo), states=BOTH))

    assert (report.done, report.requested) == (2, 1)
    assert states(repo, [waiting, running]) == ["CANCELLED", "PROCESSING"]
    record = fleet.get("w1")
    assert record is not None
    assert record.commands == {running.job_id: CANCEL}


def test_a_limit_and_a_rate_are_kept(repo: JobRepo, clock: ManualClock) -> None:
    jobs = submitted(repo, 4)
    report = Cancels(repo, sleep=clock.advance, timer=lambda: clock() / 1000).act(reports(repo), limit=3, rate=0.5)
    assert (report.done, report.limited) == (3, True)
    assert clock() - jobs[0].created_at == 4_000
    assert states(repo, jobs).count("PENDING") == 1


def test_an_interrupted_one_knows_how_far_it_came_and_a_repetition_does_the_rest(repo: JobRepo) -> None:
    jobs, report = submitted(repo, 4), module.CancelReport()
    wanted = Cancels(repo).ending(reports(repo))

    def interrupt(so_far: module.CancelReport) -> None:
        if so_far.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cancels(repo).act(wanted, progress=interrupt, report=report)
    assert (report.done, states(repo, jobs).count("CANCELLED")) == (2, 2)
    [entry] = Audit.of(repo).entries()
    assert (entry.verb, entry.done) == ("cancel", 2)
    assert Cancels(repo).act(wanted).done == 2
    assert set(states(repo, jobs)) == {"CANCELLED"}


def test_an_outage_ends_it_at_once(repo: JobRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(repo, 3)
    report = module.CancelReport()

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("DynamoDB is away")

    monkeypatch.setattr(module, "cancel", away)
    with pytest.raises(StoreUnavailable):
        Cancels(repo).act(reports(repo), report=report)
    assert (report.matched, report.done, report.refused) == (1, 0, [])


def test_a_hundred_jobs_cost_two_reads_and_a_write_each(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = store.repo(settings=store.settings.model_copy(update={"index_shards": 1}))
    submitted(repo, 100)
    asked: list[str] = []
    real = type(store.client)

    class Counting(real):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            if name in ("query", "batch_get_item", "get_item", "update_item", "put_item"):
                asked.append(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(store.client, "__class__", Counting)
    Cancels(repo).act(OpenJobs(what="queue=ai", queues=("ai",)))
    assert asked.count("query") <= 3, "the end, a page, and the empty one after it"
    assert asked.count("batch_get_item") == 1
    assert asked.count("get_item") == 0
    assert asked.count("update_item") <= 100 + 2, "and the entry of the trail"


@pytest.mark.parametrize(
    ("by", "reason", "stored"),
    [
        ("ada", "sent twice", "cancelled by ada: sent twice"),
        ("ada", "", "cancelled by ada"),
        ("", "sent twice", "sent twice"),
        ("", "", BY_A_PERSON),
    ],
)
def test_the_reason_is_stored_with_each_job(repo: JobRepo, by: str, reason: str, stored: str) -> None:
    [job] = submitted(repo, 1)
    done: list[str] = []
    Cancels(repo).act(reports(repo), by=by, reason=reason, on_done=done.append)
    failure = repo.get_job(job.job_id).failure
    assert failure is not None
    assert (failure.message, done) == (stored, [job.job_id])


def test_each_job_is_cancelled_as_it_was_read_and_its_links_are_told_through_the_given_send(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submitted(repo, 2)
    asked: list[dict[str, Any]] = []
    sent: list[tuple[str, float]] = []

    def cancel(_: JobRepo, job_id: str, **how: Any) -> Answer:
        asked.append({"job_id": job_id, **how})
        if how["send"]:
            how["send"](how["read"])
        return Answer.REQUESTED if job_id == jobs[0].job_id else Answer.CANCELLED

    monkeypatch.setattr(module, "cancel", cancel)
    report = Cancels(repo, send=lambda job, delay: sent.append((job.job_id, delay))).act(reports(repo), reason="x")

    assert (report.done, report.requested) == (2, 1)
    assert sorted(sent) == sorted((job.job_id, 0.0) for job in jobs)
    assert {one["reason"] for one in asked} == {"x"}
    assert {one["only"] for one in asked} == {(JobStatus.PENDING,)}
    assert [one["read"].job_id for one in asked] == [one["job_id"] for one in asked]
    assert len({id(one["records"]) for one in asked}) == 1
    Cancels(repo).act(reports(repo))
    assert asked[-1]["send"] is None


def test_a_preview_stops_with_the_page_that_reaches_its_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = store.repo(settings=store.settings.model_copy(update={"index_shards": 1}))
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(many, "PAGE", 2)
    submitted(repo, 8)
    found = [Cancels(repo).preview(reports(repo), at_most=bound) for bound in (3, 4, 5, 20)]
    assert [(one.count, one.complete) for one in found] == [(4, False), (4, False), (6, False), (8, True)]


def test_jobs_of_all_queues_are_found_and_none_that_expired_or_came_after_the_time_that_was_given(
    repo: JobRepo, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [*submitted(repo, 1), *submitted(repo, 1, queue="email")]
    clock.advance(1)
    submitted(repo, 2)
    cancels, wanted = Cancels(repo), OpenJobs(what="all", submitted_before=clock() - 1_000)
    assert {job.job_id for job in cancels.find(wanted)} == {job.job_id for job in first}
    assert sum(1 for _ in cancels.find(OpenJobs(what="all", submitted_before=clock() + 9_000))) == 4
    monkeypatch.setattr(lifecycle, "is_gone", lambda job, now: job.job_id == first[0].job_id)
    assert sum(1 for _ in cancels.find(wanted)) == 1


def test_a_job_that_has_left_the_index_and_is_not_there_is_passed_over(repo: JobRepo) -> None:
    jobs = submitted(repo, 3)
    real = repo.table.get_many
    with patch.object(repo.table, "get_many", lambda ids: real([one for one in ids if one != jobs[0].job_id])):
        assert {job.job_id for job in Cancels(repo).find(reports(repo))} == {job.job_id for job in jobs[1:]}


def test_the_end_of_each_part_is_asked_for_with_its_last_entry(repo: JobRepo) -> None:
    submitted(repo, 3)
    with patch.object(repo.table, "entries", wraps=repo.table.entries) as entries:
        assert sum(1 for _ in Cancels(repo).find(reports(repo))) == 3
    assert [one.kwargs for one in entries.call_args_list][:2] == [{"limit": 1, "newest_first": True}] * 2
