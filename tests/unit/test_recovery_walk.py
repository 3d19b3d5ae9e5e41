"""A walk along a partition whose reads fail: what it counts, where the next one continues, when a pass stops."""

from __future__ import annotations

from typing import Any

from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.recovery.walk import READ_FAILURES, PassBudget, Stretch, Walker
from tests.support.clock import START_MS, ManualClock

FIRST, SECOND = IndexEntry("a", START_MS), IndexEntry("b", START_MS + 1)


class Table:
    """One partition with two entries; reads fail while they are told to."""

    def __init__(self) -> None:
        self.fails = False

    def entries(self, *_: Any, limit: int, after: IndexEntry | None, **__: Any) -> list[IndexEntry]:
        """Give a page."""
        if self.fails:
            raise StoreUnavailable("no answer")
        rows = [FIRST, SECOND]
        return rows[rows.index(after) + 1 :][:limit] if after else rows[:limit]

    def get_many(self, job_ids: list[str]) -> dict[str, Any]:
        """Give jobs."""
        return {job_id: job_id for job_id in job_ids}


def walk(table: Table, budget: PassBudget, *, handle: Any = lambda _: True, pages: int = 9) -> Stretch:
    made: Any = table
    return Walker(made, handle, budget, 1).walk("p", after=None, since=None, up_to=START_MS + 9, pages=pages)


def test_reads_that_fail_in_a_row_end_the_pass_and_one_that_succeeds_forgives_them(clock: ManualClock) -> None:
    table, budget = Table(), PassBudget(clock, START_MS + 1_000)
    table.fails = True
    for _ in range(READ_FAILURES - 1):
        assert walk(table, budget) == Stretch(None, None, finished=False, failures=1)
    assert not budget.exhausted()

    table.fails = False
    assert walk(table, budget, pages=1) == Stretch(FIRST, FIRST, finished=False)
    assert budget.read_failures == 0

    table.fails = True
    assert [walk(table, budget).failures for _ in range(READ_FAILURES + 1)] == [1] * READ_FAILURES + [0]
    assert budget.exhausted()


def test_a_walk_goes_on_behind_what_failed_and_says_from_where_to_read_again(clock: ManualClock) -> None:
    budget = PassBudget(clock, START_MS + 1_000)

    assert walk(Table(), budget, handle=lambda job: job != "b") == Stretch(SECOND, FIRST, finished=True)
    assert walk(Table(), budget, handle=lambda job: job != "a") == Stretch(SECOND, None, finished=True)


def test_a_walk_ends_with_the_time_of_its_pass(clock: ManualClock) -> None:
    budget = PassBudget(clock, START_MS + 1_000)

    def slow(_: Any) -> bool:
        clock.advance(1)
        return True

    assert walk(Table(), budget, handle=slow) == Stretch(FIRST, FIRST, finished=False)


def test_a_walk_goes_on_among_entries_of_its_last_millisecond(clock: ManualClock) -> None:
    table: Any = Table()
    walker = Walker(table, lambda _: True, PassBudget(clock, START_MS + 1_000), 1)

    assert walker.walk("p", after=FIRST, since=None, up_to=FIRST.at, pages=9) == Stretch(SECOND, SECOND, finished=True)
