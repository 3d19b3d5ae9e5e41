"""Which hours and days of the runs are read and added up, on the simulation's model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.fleet import statistics as module
from jobclaim.fleet.statistics import MOST_ENTRIES, MOST_TASKS, Figures, TaskRuns, read_task, read_tasks, total
from jobclaim.jobs import JobRepo
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.storage.reads import BATCH
from jobclaim.jobs.storage.statistics import DAY_MS, HOUR_MS, Code, requests
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import START_MS, ManualClock

NOW = START_MS // DAY_MS * DAY_MS + 7 * HOUR_MS + 5
HOUR, TODAY = NOW // HOUR_MS, NOW // DAY_MS


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(Settings(_env_file=None), clock)


def write(repo: JobRepo, hours: dict[int, int], *tasks: str, more: dict[str, int] | None = None) -> None:
    """Write completed runs of tasks, by hour since the epoch, and other numbers of the current hour."""
    numbers = {(hour, task, str(Code.COMPLETED)): n for task in tasks for hour, n in hours.items()}
    numbers |= {(HOUR, task, code): n for task in tasks for code, n in (more or {}).items()}
    for request in requests(numbers, repo.table.name):
        repo.table.client().update_item(**request)


def of(hours: dict[int, int]) -> TaskRuns:
    return TaskRuns("t", {hour: Figures(Counter({str(Code.COMPLETED): n})) for hour, n in hours.items()})


def test_rates_are_shares_and_unknown_without_runs() -> None:
    codes = {"c": 6, "f": 1, "r": 3, "x": 9, "s": 1, "t": 3, "g": 3, "b": 1}
    figures = Figures(Counter(codes))
    assert (figures.runs, figures.failures, figures.failure_rate) == (10, 4, 0.4)
    assert (figures.retry_success, figures.healing) == (0.25, 0.75)
    nothing = Figures()
    assert (nothing.failure_rate, nothing.retry_success, nothing.healing) == (None, None, None)
    assert (nothing.duration(0.5), nothing.wait(0.5)) == (None, None)


def test_figures_add_up() -> None:
    one = Figures(Counter(c=1), Counter({3: 2}), Counter({4: 1}))
    assert total([one, one]) == Figures(Counter(c=2), Counter({3: 4}), Counter({4: 2}))
    assert one == Figures(Counter(c=1), Counter({3: 2}), Counter({4: 1})), "the parts stay as they are"


def test_a_day_and_its_hours_end_with_the_current_one() -> None:
    runs = of({HOUR - 24: 1, HOUR - 23: 2, HOUR: 4, HOUR + 1: 8})
    assert runs.last_day(NOW).runs == 6
    assert runs.between(HOUR - 24, HOUR).runs == 3
    hours = runs.by_hour(NOW)
    assert [at for at, _ in hours] == [(HOUR - 23 + n) * HOUR_MS for n in range(24)]
    assert [figures.runs for _, figures in hours] == [2, *[0] * 22, 4]


def test_a_month_ends_with_today() -> None:
    runs = of({(TODAY - 30) * 24 + 23: 1, (TODAY - 29) * 24: 2, TODAY * 24 + 23: 4, TODAY * 24: 8, TODAY * 24 + 24: 16})
    days = runs.by_day(NOW)
    assert [at for at, _ in days] == [(TODAY - 29 + n) * DAY_MS for n in range(30)]
    assert [figures.runs for _, figures in days] == [2, *[0] * 28, 12]


def test_a_task_is_read_over_thirty_days_by_hour(repo: JobRepo) -> None:
    hours = {(TODAY - 30) * 24: 1, (TODAY - 29) * 24 + 5: 2, HOUR: 4}
    write(repo, hours, "t", more={f"{Code.DURATION}12": 3, f"{Code.WAIT}3": 5})
    found = read_task(repo.table, "t", NOW)
    assert found == TaskRuns(
        "t",
        {
            (TODAY - 29) * 24 + 5: Figures(Counter(c=2)),
            HOUR: Figures(Counter(c=4), Counter({12: 3}), Counter({3: 5})),
        },
    )
    assert read_task(repo.table, "", NOW).between(0, HOUR + 1).runs == 6


def test_the_list_has_all_tasks_that_ran_since_yesterday_with_nine_days_of_each(repo: JobRepo) -> None:
    write(repo, {(TODAY - 8) * 24: 1, (TODAY - 9) * 24: 16, (TODAY - 1) * 24: 2}, "b", "a")
    write(repo, {(TODAY - 2) * 24 + 23: 4}, "old")
    write(repo, {(TODAY + 1) * 24: 4}, "ahead")
    listed = read_tasks(repo.table, NOW)
    assert ([one.task for one in listed.tasks], listed.more) == (["a", "b"], False)
    assert [one.between(0, HOUR + 1).runs for one in listed.tasks] == [3, 3]


def test_those_that_ran_last_come_first_into_a_list_that_has_an_end(repo: JobRepo) -> None:
    write(repo, {TODAY * 24 - 1: 1}, "yesterday", "both")
    write(repo, {TODAY * 24: 1}, "today", "both")
    with patch.object(module, "MOST_TASKS", 2):
        listed = read_tasks(repo.table, NOW)
        assert ([one.task for one in listed.tasks], listed.more) == (["both", "today"], True)
    with patch.object(module, "MOST_TASKS", 3):
        assert not read_tasks(repo.table, NOW).more, "all three are on it"
    with patch.object(module, "MOST_ENTRIES", 3):
        listed = read_tasks(repo.table, NOW)
        assert ([one.task for one in listed.tasks], listed.more) == (["both", "today"], True)
    with patch.object(repo.table, "entries", wraps=repo.table.entries) as asked:
        read_tasks(repo.table, NOW)
    assert asked.call_args.args == (schema.RUNS,)
    assert asked.call_args.kwargs == {
        "limit": MOST_ENTRIES,
        "newest_first": True,
        "since": (TODAY - 1) * DAY_MS,
        "up_to": NOW,
    }


@pytest.mark.parametrize("count", [11, 12])
def test_items_are_read_in_full_batches_and_at_the_same_time_where_that_is_possible(repo: JobRepo, count: int) -> None:
    names = [f"t{n:02}" for n in range(count)]
    write(repo, {HOUR: 1}, *names)
    batches: list[int] = []

    def together(asks: Sequence[Callable[[], Any]]) -> list[Any]:
        batches.append(len(asks))
        return [ask() for ask in asks]

    with patch.object(repo.table, "items", wraps=repo.table.items) as items:
        listed = read_tasks(repo.table, NOW, together)
        assert listed == read_tasks(repo.table, NOW)
    assert [one.task for one in listed.tasks] == names
    sizes = [len(one.args[0]) for one in items.call_args_list]
    expected = [min(BATCH, 9 * count), *([9 * count - BATCH] if 9 * count > BATCH else [])]
    assert (sizes, batches) == (expected * 2, [len(expected)])
    assert count <= MOST_TASKS
