"""The recipe of docs/durable.md for SQL, word for word, on PostgreSQL: attempts that die, and zombies that do not."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from celery import shared_task

from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from tests.support.postgres import NoPostgres, postgres

pytestmark = pytest.mark.real
GUIDE = Path(__file__).parents[2] / "docs" / "durable.md"
plans: list[Callable[[Any], None]] = []


@shared_task(base=JobTask, bind=True, name="sql.process", on_orphan="retry", max_retries=3)
def process(self: Any) -> None:
    """Do what the test planned for this attempt."""
    plans[self.request.job.attempt - 1](self.request.job)


def blocks(language: str) -> str:
    section = GUIDE.read_text().partition("## SQL")[2].partition("\n## ")[0]
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL))


@pytest.fixture(scope="module")
def recipe() -> SimpleNamespace:
    names: dict[str, Any] = {}
    exec(compile(blocks("python"), str(GUIDE), "exec"), names)  # noqa: S102 - the guide's own text
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # a socket's path must be short
        try:
            with postgres(Path(folder)) as address:
                yield address
        except NoPostgres as missing:
            if os.environ.get("JOBCLAIM_REQUIRE_REAL") == "1":
                pytest.fail(f"JOBCLAIM_REQUIRE_REAL=1, but {missing}", pytrace=False)
            pytest.skip(str(missing))


@pytest.fixture
def database(server: str) -> Iterator[psycopg.Connection[Any]]:
    plans.clear()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS orders, charges")
        connection.execute(blocks("sql"))
        connection.execute("INSERT INTO orders (order_id) VALUES ('7')")
        yield connection


def order(database: psycopg.Connection[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = database.execute("SELECT state, charged, note, fence FROM orders").fetchone()
    assert row is not None
    return row


def test_an_attempt_that_died_after_its_commit_is_not_charged_again(
    jobclaim: Harness, database: psycopg.Connection[Any], recipe: SimpleNamespace
) -> None:
    answers: list[bool] = []

    def commit_and_die(job: Any) -> None:
        answers.append(recipe.charge(database, "7", 10, job))
        jobclaim.travel(7200)
        jobclaim.recover()

    plans.extend([commit_and_die, lambda job: answers.append(recipe.charge(database, "7", 10, job))])
    result = process.delay()
    jobclaim.drain()

    assert answers == [True, False]
    assert order(database)[:2] == ("paid", 10)
    assert (jobclaim.job(result).status, jobclaim.job(result).attempt) == (JobStatus.COMPLETED, 2)


def test_an_attempt_that_died_before_its_commit_left_nothing(
    jobclaim: Harness, database: psycopg.Connection[Any], recipe: SimpleNamespace, server: str
) -> None:
    def die(job: Any) -> None:
        connection = psycopg.connect(server)
        connection.execute("INSERT INTO charges VALUES (%s, '7', 10)", (job.job_id,))
        connection.close()  # without a commit, as a killed process does
        jobclaim.travel(7200)
        jobclaim.recover()

    plans.extend([die, lambda job: recipe.charge(database, "7", 10, job)])
    process.delay()
    jobclaim.drain()

    assert order(database)[:2] == ("paid", 10)


def test_a_zombie_does_not_overwrite_what_the_next_attempt_wrote(
    jobclaim: Harness, database: psycopg.Connection[Any], recipe: SimpleNamespace
) -> None:
    answers: list[bool] = []

    def write(job: Any) -> None:
        answers.append(recipe.annotate(database, "7", f"attempt {job.attempt}", job.attempt))

    def zombie(job: Any) -> None:
        jobclaim.travel(7200)
        jobclaim.recover()
        jobclaim.deliver(jobclaim.messages.popleft())
        write(job)

    plans.extend([zombie, write])
    process.delay()
    jobclaim.drain()

    assert answers == [True, False]
    assert order(database)[2:] == ("attempt 2", 2)


def test_the_same_attempt_writes_once(database: psycopg.Connection[Any], recipe: SimpleNamespace) -> None:
    assert recipe.annotate(database, "7", "first", 1)
    assert not recipe.annotate(database, "7", "again", 1)
    assert order(database)[2:] == ("first", 1)
