"""Lists of jobs by state: complete, in order, page after page, and never by a scan."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from jobclaim.jobs import InvalidInput, Job, JobRepo, JobStatus
from jobclaim.jobs.transitions import Move
from tests.contract.stores import QUEUES, Store, contract_settings

pytestmark = pytest.mark.embedded

QUEUE_NAMES = [queue.name for queue in QUEUES]
STATES = (
    [JobStatus.PENDING] * 5 + [JobStatus.PROCESSING] * 2 + [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.COMPLETED]
)


def many(count: int, now: int) -> list[Job]:
    """Jobs in all states and queues, whose times have nothing to do with their ids; some times are equal."""
    return [
        Job(
            job_id=f"job-{n:04}",
            task="tasks.work",
            queue=QUEUE_NAMES[n * 7 % 3],
            status=STATES[n % 10],
            attempt=n % 10 % 5,
            available_at=now + n * 389 % 500,
            finished_at=0 if STATES[n % 10].is_open else now + n * 389 % 300,
        )
        for n in range(count)
    ]


@pytest.fixture
def full(store: Store) -> tuple[JobRepo, list[Job]]:
    """A repo that lists completed jobs too, on a table with a thousand jobs; moto, which is slow at it, has fewer."""
    settings = store.settings.model_copy(update={"index_completed": True})
    repo, jobs = store.repo(settings=settings), many(100 if store.name == "moto" else 300, store.clock())
    with ThreadPoolExecutor(1 if store.name == "moto" else 8) as pool:
        assert all(written.applied for written in pool.map(partial(repo.table.apply, None, Move.SUBMIT), jobs))
    return repo, jobs


def pages(repo: JobRepo, status: str, limit: int, **options: Any) -> Iterator[tuple[Job, ...]]:
    cursor: str | None = None
    for _ in range(1100):
        page = repo.list_jobs(status, limit=limit, cursor=cursor, **options)
        assert len(page.jobs) <= limit
        yield page.jobs
        cursor = page.cursor
        if cursor is None:
            return
    raise AssertionError("the list does not end")


def test_hundreds_of_jobs_are_listed_by_state_and_queue_each_once_and_in_order(
    full: tuple[JobRepo, list[Job]],
) -> None:
    repo, jobs = full
    for status in JobStatus:
        for queue in [None, *QUEUE_NAMES]:
            wanted = [job for job in jobs if job.status is status and queue in (None, job.queue)]
            for limit in (30, 1000) if queue is None else (50,):
                listed = [job for page in pages(repo, status, limit, queue=queue) for job in page]

                assert len(listed) == len(wanted)
                assert sorted(listed, key=lambda job: job.job_id) == wanted
                times = [job.available_at if status.is_open else job.finished_at for job in listed]
                assert times == sorted(times, reverse=not status.is_open)


def test_open_jobs_come_by_their_due_time_and_ended_ones_newest_first(store: Store) -> None:
    later, sooner = (store.pending(available_at=store.clock() + wait) for wait in (5000, 1000))
    assert store.repo().list_jobs("PENDING").jobs == (sooner, later)

    first = store.failed()
    store.clock.advance(1)
    second = store.failed()
    assert store.repo().list_jobs("FAILED").jobs == (second, first)


def test_a_page_is_never_longer_than_asked_and_the_last_one_has_no_cursor(store: Store) -> None:
    for _ in range(5):
        store.pending()

    assert [len(page) for page in pages(store.repo(), "PENDING", 2)] in ([2, 2, 1], [2, 2, 1, 0])
    assert store.repo().list_jobs("PENDING", limit=6).cursor is None
    assert store.repo().list_jobs("FAILED").cursor is None


def test_jobs_that_move_on_while_one_turns_pages_do_not_break_the_list(store: Store) -> None:
    jobs = [store.pending() for _ in range(12)]
    repo = store.repo()
    page = repo.list_jobs("PENDING", limit=4)
    for job in jobs:
        repo.claim_job(job.job_id)
    store.client.delete_item(TableName=store.settings.job_table, Key={"job_id": {"S": page.jobs[-1].job_id}})

    rest = repo.list_jobs("PENDING", limit=100, cursor=page.cursor)

    assert (rest.jobs, rest.cursor) == ((), None)
    assert len(repo.list_jobs("PROCESSING", limit=100).jobs) == 11


def tampered(cursor: str) -> Iterator[Any]:
    raw = base64.urlsafe_b64decode(cursor)
    yield from (5, b"bytes", "", "nonsense", "!!!!", "\ud800", cursor[:-4], cursor[4:], cursor + "AAAA", "[" * 100_000)
    yield base64.urlsafe_b64encode(raw[:-2] + b"0]").decode()
    for body in (b"{}", b"[]", b"null", b"1", b"[" * 100_000, json.dumps({"OPEN#default#0": [1e999, ""]}).encode()):
        yield base64.urlsafe_b64encode(body).decode()
        yield base64.urlsafe_b64encode(raw[:8] + body).decode()


def test_a_cursor_that_was_tampered_with_is_refused(store: Store) -> None:
    for _ in range(3):
        store.pending()
    cursor = store.repo().list_jobs("PENDING", limit=1).cursor
    assert cursor is not None

    for bad in tampered(cursor):
        with pytest.raises(InvalidInput, match="does not continue this list"):
            store.repo().list_jobs("PENDING", cursor=bad)


def test_every_changed_character_of_a_cursor_is_noticed(store: Store) -> None:
    for _ in range(3):
        store.pending()
    repo = store.repo()
    cursor = repo.list_jobs("PENDING", limit=1).cursor
    assert cursor is not None

    for place in range(0, len(cursor.rstrip("=")), 5):
        other = "A" if cursor[place] != "A" else "B"
        with pytest.raises(InvalidInput):
            repo.list_jobs("PENDING", cursor=cursor[:place] + other + cursor[place + 1 :])


@pytest.mark.parametrize(
    "other", [("PROCESSING", None), ("FAILED", None), ("PENDING", "ai"), ("PENDING", "default"), ("CANCELLED", "ai")]
)
def test_a_cursor_continues_its_own_list_only(store: Store, other: tuple[str, str | None]) -> None:
    for _ in range(3):
        store.pending()
    cursor = store.repo().list_jobs("PENDING", limit=1).cursor
    status, queue = other

    with pytest.raises(InvalidInput, match="does not continue this list"):
        store.repo().list_jobs(status, queue=queue, cursor=cursor)


def test_a_cursor_does_not_continue_a_table_with_other_shards(store: Store) -> None:
    for _ in range(3):
        store.pending()
    cursor = store.repo().list_jobs("PENDING", limit=1).cursor
    resharded = store.settings.model_copy(update={"index_shards": 8})

    with pytest.raises(InvalidInput, match="queues or shards of this table have changed"):
        store.repo(settings=resharded).list_jobs("PENDING", cursor=cursor)


@pytest.mark.real
def test_a_page_of_the_index_that_ends_at_a_megabyte_is_read_to_its_end(atomic_store: Store) -> None:
    """DynamoDB ends an answer at 1 MB; ids of the longest kind reach that before the thousandth entry."""
    settings = contract_settings(job_table=atomic_store.settings.job_table, index_shards=1)
    repo = atomic_store.repo(settings=settings)
    for n in range(950):
        job = Job(
            job_id="🦀" * 251 + f"{n:04}", task="t", queue="default", status=JobStatus.PENDING, available_at=n + 1
        )
        repo.table.apply(None, Move.SUBMIT, job)

    page = repo.list_jobs("PENDING", limit=1000)

    assert (len(page.jobs), page.cursor) == (950, None)


def test_a_table_that_does_not_list_completed_jobs_says_so_and_what_lists_them(store: Store) -> None:
    store.completed(1)
    repo = store.repo(settings=store.settings.model_copy(update={"index_completed": False}))

    with pytest.raises(InvalidInput, match="JOBCLAIM_INDEX_COMPLETED=true"):
        repo.list_jobs("COMPLETED")
