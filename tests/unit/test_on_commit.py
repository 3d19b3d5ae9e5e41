"""Submitting when a transaction of Django's is committed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from celery import shared_task

from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.submission.on_commit import NoDjango


@shared_task(base=JobTask, name="on_commit.job")
def as_job(name: str) -> str:
    """Greet."""
    return f"Hello {name}"


@shared_task(base=IdempotentTask, name="on_commit.idempotent")
def once(name: str) -> str:
    """Greet once."""
    return f"Hello {name}"


@pytest.fixture(params=["job", "idempotent"])
def greet(request: pytest.FixtureRequest, jobclaim: Harness) -> Any:
    """A claimed task of each base, on the app under test."""
    return jobclaim.app.tasks[f"on_commit.{request.param}"]


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What the open transaction does when it is committed."""
    transaction = pytest.importorskip("django.db.transaction")
    waiting: list[Callable[[], Any]] = []
    monkeypatch.setattr(transaction, "on_commit", waiting.append)
    return waiting


def test_a_job_is_written_when_the_transaction_is_committed(
    jobclaim: Harness, greet: Any, commits: list[Callable[[], Any]]
) -> None:
    greet.delay_on_commit("Ada")
    greet.apply_async_on_commit(["Bob"], countdown=5)
    jobclaim.assert_not_submitted(greet)
    for commit in commits:
        commit()
    jobclaim.assert_submitted(greet, "Ada")
    jobclaim.assert_submitted(greet, "Bob")


def test_a_transaction_that_is_rolled_back_writes_none(
    jobclaim: Harness, greet: Any, commits: list[Callable[[], Any]]
) -> None:
    greet.delay_on_commit("Ada")
    commits.clear()
    jobclaim.drain()
    jobclaim.assert_not_submitted(greet)


@pytest.mark.parametrize("call", ["delay", "apply_async"])
def test_without_django_it_says_what_to_call_instead(
    jobclaim: Harness, greet: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "django"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(NoDjango, match=f"not installed; call {greet.name}.{call} instead$"):
        getattr(greet, f"{call}_on_commit")()
    jobclaim.assert_not_submitted(greet)
