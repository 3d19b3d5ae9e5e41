"""The figures of docs/scale.md are those that the code gives, and what the document says of them holds."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from bench.scale.__main__ import DOCUMENT, JOBS, filled, paper_tables, passes_table, tables
from bench.scale.crowd import Clock, Crowd, CrowdedTable
from bench.scale.paper import (
    LISTED_WRITES_PER_JOB,
    OPEN_WRITES_PER_JOB,
    TABLE_WRITES_PER_JOB,
    Load,
    in_flight,
    most_jobs,
    partitions,
)
from bench.scale.passes import CASES, JOB, Case, passed, scaled_settings
from jobclaim.infra.cost import EMPTY_POLLS_PER_HOUR, WRITE_UNITS_PER_JOB
from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.jobs.encoding.schema import open_key
from jobclaim.settings import Settings
from jobclaim.workers.transport.idle import polls_per_hour
from tests.support.volume import THOROUGH

BY_NAME = {case.name: case for case in CASES}
ENDED = BY_NAME["ended; the fleet is busy"]
LOST = BY_NAME["waiting, all messages are lost"]
BACKLOG = BY_NAME["waiting, the queue has a backlog"]
SMALL = scaled_settings(2, sweep_page_size=10, sweep_pages_per_shard=3)


@pytest.mark.thorough
def test_the_document_holds_the_figures_that_the_code_gives() -> None:
    """All of them in `make thorough`; in `make test` those that no pass has to be made for."""
    text = DOCUMENT.read_text()

    assert filled(text, tables() if THOROUGH else paper_tables()) == text, "run `python -m bench.scale --write`"


def test_the_document_holds_the_figures_of_passes_that_handle_few_jobs() -> None:
    rows = passes_table(CASES[:3]).splitlines()

    assert set(rows) <= set(DOCUMENT.read_text().splitlines()), "run `python -m bench.scale --write`"


# --- on paper
def test_the_parts_of_a_job_s_price_add_up_to_what_is_measured() -> None:
    assert TABLE_WRITES_PER_JOB + OPEN_WRITES_PER_JOB + LISTED_WRITES_PER_JOB == WRITE_UNITS_PER_JOB


def test_the_shards_of_the_plan_carry_its_rate_and_half_of_them_do_not() -> None:
    load = Load()

    assert most_jobs(load.shards // 2) < load.jobs <= most_jobs(load.shards)
    assert partitions(load.index_writes) <= 2 * load.shards, "each shard has a key of open and one of completed jobs"


def test_long_bodies_fill_the_queue_s_flight_only_with_late_acknowledgement() -> None:
    short, long = Load(body_seconds=1), Load(body_seconds=60)

    assert in_flight(short, acks_late=False) == in_flight(long, acks_late=False) < 120_000
    assert in_flight(long, acks_late=True) > 120_000


@pytest.mark.parametrize(("queues", "processes"), [(1, 1), (2, 4), (4, 8), (8, 16)])
def test_an_idle_worker_polls_as_often_as_the_prices_say(queues: int, processes: int) -> None:
    assert polls_per_hour(queues, processes, Settings()) / queues == pytest.approx(EMPTY_POLLS_PER_HOUR, rel=0.03)


# --- the crowded table
@pytest.fixture
def clock() -> Clock:
    return Clock()


def waiting(clock: Clock, count: int) -> list[Crowd]:
    return BACKLOG.crowds(count, clock.now)


def test_pages_of_a_crowd_give_every_entry_once_and_in_order(clock: Clock) -> None:
    repo = JobRepo(CrowdedTable(SMALL, clock, waiting(clock, 1_000), []), settings=SMALL, clock=clock)
    found, after = [], None
    while page := repo.table.entries(open_key(JOB.queue, 1), limit=37, after=after):
        found += page
        after = page[-1]

    assert len({entry.job_id for entry in found}) == len(found) == 500
    assert all((one.at, one.job_id) < (two.at, two.job_id) for one, two in pairwise(found))


def test_a_page_far_inside_a_hundred_million_entries_is_that_of_its_time(clock: Clock) -> None:
    repo = JobRepo(CrowdedTable(SMALL, clock, waiting(clock, JOBS), []), settings=SMALL, clock=clock)
    since = clock.now - 2_400_000

    page = repo.table.entries(open_key(JOB.queue, 0), limit=5, since=since, up_to=clock.now)

    assert len(page) == 5
    assert {entry.at for entry in page} == {since}
    assert {repo.get_job(entry.job_id).available_at for entry in page} == {since}


def test_what_was_written_is_read_again_and_leaves_its_place(clock: Clock) -> None:
    repo = JobRepo(CrowdedTable(SMALL, clock, waiting(clock, 4), []), settings=SMALL, clock=clock)
    first = repo.table.entries(open_key(JOB.queue, 0), limit=10)[0].job_id

    repo.cancel_job(first)

    assert repo.get_job(first).status is JobStatus.CANCELLED
    assert first not in [entry.job_id for entry in repo.table.entries(open_key(JOB.queue, 0), limit=10)]


# --- passes
@pytest.mark.parametrize("case", [ENDED, BACKLOG, LOST], ids=lambda case: case.name)
def test_a_pass_asks_the_same_of_a_hundred_million_jobs_as_of_a_million(case: Case) -> None:
    few, many = (passed(case, jobs, SMALL) for jobs in (1_000_000, JOBS))

    assert few.asked == many.asked
    assert few.report.counts() == many.report.counts()


def test_a_pass_reads_no_more_than_its_pages_of_each_shard() -> None:
    done = passed(LOST, JOBS, SMALL)

    assert done.report.examined == 2 * 3 * 10
    assert done.asked.requests == Counter(query=done.asked.requests["query"], **REQUESTS)
    # three pages of each shard that is behind; one look of each of the others: ahead, recovery's queue, retries
    assert done.asked.requests["query"] == 2 * 3 + 2 + 4 + 2


REQUESTS = {"scan": 1, "batch_get_item": 6, "update_item": 60, "send": 60, "put_item": 1}


def test_finished_jobs_and_those_that_run_in_time_are_not_read() -> None:
    done = passed(ENDED, JOBS, SMALL)

    assert done.report.examined == 0
    assert set(done.asked.requests) == {"scan", "query"}


def test_a_dead_worker_s_jobs_are_settled_in_the_first_pass_at_any_size() -> None:
    done = passed(BY_NAME["as above, with 10 orphans and a lost worker of 8 jobs"], JOBS, scaled_settings(4))

    assert (done.report.orphaned, done.report.retried) == (18, 18)
