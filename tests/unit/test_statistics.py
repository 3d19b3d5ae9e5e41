"""Statistics of runs: counted without a request of their own, read by task, hour and day, compared with their week."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.cli.commands.doctor import _with_jobs
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from jobclaim.fleet.statistics import MOST_TASKS, Figures, TaskRuns, read_task, read_tasks
from jobclaim.infra.doctor import Level, Snapshot, diagnose
from jobclaim.infra.doctor.snapshot import DeployedTable
from jobclaim.jobs import FailureKind, Job, JobRepo
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.protocol.histogram import EDGES, LAST, bucket_of, percentile
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.storage.statistics import HOUR_MS, OTHERS, Code, requests
from jobclaim.settings import Settings
from jobclaim.views.unusual import unusual
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock

TASK = "shop.charge"


class Counted:
    """A client that counts requests by operation."""

    def __init__(self, client: ModelClient) -> None:
        self._client = client
        self.requests: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., object]:
        self.requests[name] += 1
        return getattr(self._client, name)  # type: ignore[no-any-return]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_repo(clock: ManualClock) -> Callable[..., JobRepo]:
    """Make a repo on a table of its own."""

    def make(**fields: object) -> JobRepo:
        client, settings = ModelClient(clock), Settings(**fields)  # type: ignore[arg-type]
        client.make_tables(settings.job_table, settings.fleet_table)
        return JobRepo(Counted(client), settings=settings, clock=clock, sleep=clock.advance)

    return make


@pytest.fixture
def repo(make_repo: Callable[..., JobRepo]) -> JobRepo:
    return make_repo()


def claimed(repo: JobRepo, **options: object) -> Job:
    job = repo.claim_job(repo.create_job(TASK, **options).job_id)  # type: ignore[arg-type]
    assert job is not None
    return job


def day(repo: JobRepo, task: str = TASK) -> Figures:
    """What was written of the last 24 hours."""
    repo.flush()
    return read_task(repo.table, task, repo.clock()).last_day(repo.clock())


# --- the histogram
@given(st.lists(st.floats(1, 6e7), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_at_most_17_percent_off(durations: list[float], share: float) -> None:
    true = sorted(durations)[math.ceil(share * len(durations)) - 1]
    read = percentile(Counter(map(bucket_of, durations)), share)
    assert read is not None
    assert abs(read - true) <= 0.1716 * true + 0.5  # it is a whole number


def test_what_is_outside_of_the_scale_is_counted_at_its_ends() -> None:
    assert (bucket_of(0), bucket_of(10**12)) == (0, LAST)
    assert EDGES[LAST] > 18 * HOUR_MS
    assert percentile({}, 0.5) is None


# --- what is counted
def test_a_run_is_counted_by_its_outcome_its_wait_and_its_duration(repo: JobRepo, clock: ManualClock) -> None:
    job = repo.create_job(TASK)
    clock.advance(3)
    assert repo.claim_job(job.job_id)
    clock.advance(10)
    repo.update_status(job.job_id, "COMPLETED")
    found = day(repo)
    assert (found.runs, found.failures, found.failure_rate) == (1, 0, 0.0)
    assert found.wait(0.5) == pytest.approx(3000, rel=0.18)
    assert found.duration(0.5) == pytest.approx(10_000, rel=0.18)
    assert day(repo, "").runs == 1


def test_a_retried_job_is_two_runs_of_which_one_failed(repo: JobRepo) -> None:
    job = claimed(repo, max_attempts=3)
    repo.reschedule(job.job_id, error=ValueError("no"))
    repo.claim_job(job.job_id)
    repo.update_status(job.job_id, "COMPLETED")
    other = claimed(repo, max_attempts=2)
    repo.reschedule(other.job_id, error=ValueError("no"))
    repo.claim_job(other.job_id)
    repo.update_status(other.job_id, "FAILED", error=ValueError("no"))
    found = day(repo)
    assert (found.runs, found.failures, found.retry_success) == (4, 3, 0.5)


def test_a_release_and_a_cancelled_run_are_no_failures(repo: JobRepo, clock: ManualClock) -> None:
    job = claimed(repo)
    repo.release(job.job_id, reason="the worker stops")
    clock.advance(60)
    repo.claim_job(job.job_id)
    repo.update_status(job.job_id, "CANCELLED")
    found = day(repo)
    assert (found.runs, found.codes[Code.CANCELLED]) == (0, 1)


def test_what_recovery_ends_is_counted_too(repo: JobRepo) -> None:
    lost = describe("its worker was lost", repo.clock(), FailureKind.ORPHANED)
    rescue.orphan_retry(repo, claimed(repo), lost)
    rescue.orphan_fail(repo, claimed(repo), lost)
    rescue.orphan_stop(repo, claimed(repo), lost)
    rescue.give_up(repo, repo.create_job(TASK), lost)
    found = day(repo)
    assert (found.codes[Code.RETRIED], found.codes[Code.FAILED], found.codes[Code.CANCELLED]) == (1, 2, 1)
    assert found.duration(0.5) is None


def test_a_dead_letter_that_healed_by_itself_is_counted(repo: JobRepo, clock: ManualClock) -> None:
    job = claimed(repo)
    failed = repo.update_status(job.job_id, "FAILED", error=TimeoutError("later"))
    clock.advance(failed.retry_at / 1000 - clock() / 1000 + 1)
    assert rescue.revive(repo, failed)
    repo.claim_job(job.job_id)
    repo.update_status(job.job_id, "COMPLETED")
    assert (day(repo).codes[Code.HEALED], day(repo).healing) == (1, 1.0)


def test_switched_off_nothing_is_counted(make_repo: Callable[..., JobRepo]) -> None:
    repo = make_repo(statistics=False)
    repo.update_status(claimed(repo).job_id, "COMPLETED")
    assert day(repo).runs == 0


# --- what it costs
def test_a_thousand_jobs_cost_three_requests_more(repo: JobRepo) -> None:
    client = repo.table.client()
    for _ in range(1000):
        repo.update_status(claimed(repo).job_id, "COMPLETED")
    without = Counter(client.requests)
    repo.flush()
    assert (without["put_item"], without["update_item"]) == (1000, 2000)
    assert client.requests - without == {"update_item": 3}  # the task, all tasks, and the count of submissions


def test_a_days_item_of_a_busy_task_stays_below_six_kilobytes(clock: ManualClock) -> None:
    chance, hour = random.Random(1), clock() // HOUR_MS // 24 * 24
    numbers: Counter[tuple[int, str, str]] = Counter()
    for at in range(24):
        for _ in range(3600):
            numbers[hour + at, TASK, Code.COMPLETED] += 1
            numbers[hour + at, TASK, f"d{bucket_of(chance.lognormvariate(7, 0.5))}"] += 1
            numbers[hour + at, TASK, f"w{bucket_of(chance.lognormvariate(5, 0.5))}"] += 1
    sizes: Counter[str] = Counter()
    for request in requests(numbers, "jobs"):
        stored = request["ExpressionAttributeValues"].items()
        sizes[request["Key"]["job_id"]["S"]] += sum(len(name) + len(n.get("N", "")) // 2 + 1 for name, n in stored)
        assert len(request["UpdateExpression"]) < 4096
    assert max(sizes.values()) < 6 * 1024


def test_of_many_tasks_those_that_ran_most_have_items_of_their_own(repo: JobRepo, clock: ManualClock) -> None:
    hour = clock() // HOUR_MS
    numbers = {(hour, f"task-{n}", str(Code.COMPLETED)): n + 1 for n in range(MOST_TASKS + 50)}
    for request in requests(numbers, repo.table.name):
        repo.table.client().update_item(**request)
    found = read_tasks(repo.table, clock())
    assert (len(found.tasks), found.more) == (MOST_TASKS, True)
    assert day(repo, "").runs == sum(numbers.values())
    assert day(repo, OTHERS).runs == sum(range(1, 51))


# --- reading
def test_hours_and_days_are_told_apart(repo: JobRepo, clock: ManualClock) -> None:
    for hours in (0, 5, 30):
        clock.advance(hours * 3600)
        repo.update_status(claimed(repo).job_id, "COMPLETED")
    repo.flush()
    (task,) = read_tasks(repo.table, clock()).tasks
    assert task.last_day(clock()).runs == 1
    month = read_task(repo.table, TASK, clock())
    assert sum(figures.runs for _, figures in month.by_day(clock())) == 3
    assert [at for at, figures in month.by_hour(clock()) if figures.runs] == [clock() // HOUR_MS * HOUR_MS]


# --- what is unusual
NOW = 1_750_000_000_000


def runs(recent: tuple[int, int, int], week: tuple[int, int, int]) -> TaskRuns:
    """Runs of the current hour and of a day before: how many, how many of them failed, and their duration."""
    hour = NOW // HOUR_MS
    hours = {}
    for at, (number, failed, took) in ((hour, recent), (hour - 30, week)):
        codes = Counter({str(Code.COMPLETED): number - failed, str(Code.RETRIED): failed})
        hours[at] = Figures(codes, Counter({bucket_of(took): number - failed}))
    return TaskRuns(TASK, hours)


@pytest.mark.parametrize(
    ("recent", "week", "found"),
    [
        ((100, 12, 1000), (1000, 4, 1000), ["fails 12 % of its 100 runs since 14:00 UTC; 0.4 % over the week before"]),
        ((100, 4, 1000), (1000, 0, 1000), []),  # too few failures to mean anything
        ((1000, 19, 1000), (10_000, 100, 1000), []),  # certainly more, but not twice as many
        ((19, 19, 1000), (1000, 4, 1000), []),  # too few runs
        ((100, 50, 1000), (99, 4, 1000), []),  # no week to compare with
        ((100, 55, 1000), (1000, 500, 1000), []),  # it always fails
        (
            (100, 0, 12_000),
            (1000, 0, 4000),
            ["half of its runs take more than 13 s since 14:00 UTC; 3.4 s over the week before"],
        ),
        ((100, 0, 1400), (1000, 0, 1000), []),  # a factor that the buckets may make up
        ((100, 0, 40), (1000, 0, 4), []),  # a rise of a few milliseconds
    ],
)
def test_unusual_is_what_differs_clearly_from_the_week_before(
    recent: tuple[int, int, int], week: tuple[int, int, int], found: list[str]
) -> None:
    assert [one.text for one in unusual(runs(recent, week), NOW)] == found


def test_a_few_slow_runs_among_many_are_seen_by_their_95th_percentile() -> None:
    task = runs((200, 0, 1000), (1000, 0, 1000))
    task.hours[NOW // HOUR_MS].durations[bucket_of(60_000)] += 20
    (one,) = unusual(task, NOW)
    assert one.text.startswith("5 % of its runs take more than ")


# --- the command
def command(repo: JobRepo, *argv: str) -> str:
    session = Session()
    session.__dict__.update(settings=repo.settings, repo=repo)
    done = CliRunner().invoke(command_line, ["tasks", *argv], obj=session)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_lists_tasks_and_shows_one_by_hour_and_day(repo: JobRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    job = claimed(repo)
    repo.update_status(job.job_id, "COMPLETED")
    repo.update_status(claimed(repo).job_id, "FAILED", error=ValueError("no"))
    repo.flush()
    (row,) = json.loads(command(repo, "-o", "json"))["items"]
    assert (row["task"], row["runs"], row["failure_rate"], row["unusual"]) == (TASK, 2, 0.5, [])
    listed = command(repo, "-o", "table")
    assert TASK in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert len(command(repo, TASK, "-o", "jsonl").splitlines()) == 24
    assert len(command(repo, "--by", "day", "-o", "jsonl").splitlines()) == 30
    assert "50 %" in command(repo, TASK, "-o", "table")
    assert "Task 'none' has not run" in command(repo, "none", "-o", "table")


def test_the_doctor_names_a_task_that_is_unusual(repo: JobRepo, clock: ManualClock) -> None:
    session, hour = Session(), clock() // HOUR_MS
    session.__dict__.update(settings=repo.settings, repo=repo)
    numbers = {
        (hour - 30, TASK, str(Code.COMPLETED)): 1000,
        (hour, TASK, str(Code.COMPLETED)): 80,
        (hour, TASK, str(Code.RETRIED)): 20,
    }
    for request in requests(numbers, repo.table.name):
        repo.table.client().update_item(**request)
    seen = _with_jobs(session, Snapshot(tables={repo.settings.job_table: DeployedTable(key=("job_id",))}))
    (found,) = [finding for finding in diagnose(seen, repo.settings) if finding.subject == f"task {TASK}"]
    assert found.level is Level.WARN
    assert found.problem.startswith("fails 20 % of its 100 runs since ")
    assert _with_jobs(session, Snapshot()).unusual == ()
