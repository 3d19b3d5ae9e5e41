"""Results under keys, and the jobs that hold tasks' keys, on the simulation's table."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from jobclaim.jobs import (
    IllegalTransition,
    InvalidInput,
    InvalidPayload,
    Job,
    JobRepo,
    JobStatus,
    PayloadTooLarge,
    StoreUnavailable,
)
from jobclaim.jobs import idempotency as service_module
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.idempotency import IdempotencyService, derive_key, store_result
from jobclaim.jobs.storage.written import Written
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

SHOP = "shop.charge"


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(Settings(_env_file=None, idempotency_ttl_seconds=60, max_result_bytes=500), clock)


@pytest.fixture
def service(repo: JobRepo) -> IdempotencyService:
    return IdempotencyService(repo)


def test_the_first_result_answers_until_its_window_is_over_and_then_another_takes_its_place(
    repo: JobRepo, service: IdempotencyService, clock: ManualClock
) -> None:
    assert service.check_duplicate("k") is None
    first = service.store_result("k", {"n": 1})
    again = service.store_result("k", {"n": 2}, ttl_seconds=5)
    assert (first.created, again.created, again.result) == (True, False, {"n": 1})
    assert (first.task, first.queue, first.idempotency_key) == (service_module.RESULTS, "default", "k")
    found = service.check_duplicate("k")
    assert found is not None
    assert (found.result, found.status) == ({"n": 1}, JobStatus.COMPLETED)
    assert IdempotencyService(repo, namespace="other").check_duplicate("k") is None

    clock.advance(61)
    assert service.check_duplicate("k") is None
    later = service.store_result("k", None, ttl_seconds=5)
    assert (later.created, later.result) == (True, None)
    assert service.check_duplicate("k") is not None
    clock.advance(6)
    assert service.check_duplicate("k") is None


@pytest.mark.parametrize(
    ("key", "result", "error"),
    [
        ("", 1, InvalidInput),
        ("k" * 1025, 1, InvalidInput),
        ("k", {LARGE_MARK: 1}, InvalidPayload),
        ("k", {1, 2}, InvalidPayload),
        ("k", "x" * 500, PayloadTooLarge),
    ],
)
def test_what_cannot_be_stored_is_refused(service: IdempotencyService, key: str, result: Any, error: Any) -> None:
    with pytest.raises(error, match=r"key|result"):
        service.store_result(key, result)


def test_a_result_may_be_stored_under_an_id_alone(repo: JobRepo) -> None:
    stored = store_result(repo, SHOP, "k", 5, job_id="known")

    assert (stored.job_id, stored.idempotency_key, stored.fingerprint) == ("known", "", "")
    assert repo.get_job("known").result == 5


# --- the keys of tasks
class Tasks:
    """The tasks of a program: one is idempotent everywhere, one within a scope, one not at all."""

    def __init__(self) -> None:
        self.known = {
            SHOP: self.task(SHOP, SimpleNamespace(scope="global")),
            "user": self.task("user", SimpleNamespace(scope="user")),
            "plain": self.task("plain", None),
        }

    @staticmethod
    def task(name: str, rules: Any) -> Any:
        return SimpleNamespace(name=name, idempotency_rules=lambda: rules)

    def registered(self, name: str) -> Any:
        return self.known.get(name)

    def key_of(self, task: Any, values: Mapping[str, Any]) -> str:
        return derive_key(task.name, {"resolved": dict(values)})


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    known = Tasks()
    monkeypatch.setattr(service_module, "_tasks", [known])
    return known


def held(repo: JobRepo, task: str, key: str) -> Job:
    return repo.create_job(task, idempotency_key=key)


def test_the_key_of_a_task_is_found_by_its_text_or_by_the_values_of_a_call(
    repo: JobRepo, service: IdempotencyService, tasks: Tasks
) -> None:
    shop = tasks.known[SHOP]
    by_key = held(repo, SHOP, "whole")
    by_values = held(repo, SHOP, tasks.key_of(shop, {"n": 1}))
    everywhere = held(repo, SHOP, tasks.key_of(shop, {}))
    plain = held(repo, "plain", derive_key("plain", {"n": 1}))

    for task in (SHOP, shop):
        assert [
            found and found.job_id
            for found in (
                service.check_idempotency_key(task, what) for what in ("whole", {"n": 1}, "global", "unknown", {"n": 2})
            )
        ] == [by_key.job_id, by_values.job_id, everywhere.job_id, None, None]
    found = service.check_idempotency_key("plain", {"n": 1})
    assert found is not None
    assert found.job_id == plain.job_id
    assert service.check_idempotency_key("user", "user=5/abc") is None
    assert service.check_idempotency_key("nobody", "unknown") is None
    for task, what in (("user", "5"), ("user", "a=b"), ("user", "a/b"), ("plain", {"n": 2}), ("nobody", "global")):
        with pytest.raises(InvalidInput, match="cannot be computed"):
            service.check_idempotency_key(task, what)


def test_without_tasks_keys_are_text_alone(
    repo: JobRepo, service: IdempotencyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_tasks", [])
    job = held(repo, SHOP, "whole")

    found = service.check_idempotency_key(SHOP, "whole")
    assert found is not None
    assert found.job_id == job.job_id


def test_a_cleared_key_lets_the_next_call_run_and_a_running_job_keeps_it(
    repo: JobRepo, service: IdempotencyService, tasks: Tasks
) -> None:
    waits, runs, done = (held(repo, SHOP, key) for key in ("waits", "runs", "done"))
    assert repo.claim_job(runs.job_id)
    assert repo.claim_job(done.job_id)
    repo.update_status(done.job_id, "COMPLETED", result=1)

    with pytest.raises(IllegalTransition, match="because it is running"):
        service.clear_idempotency_key(SHOP, "runs")
    assert [service.clear_idempotency_key(SHOP, key) for key in ("waits", "done")] == [True, True]
    assert repo.get_job(waits.job_id).status is JobStatus.CANCELLED
    assert repo.get_job(done.job_id).status is JobStatus.COMPLETED
    assert repo.create_job(SHOP, idempotency_key="done").created
    assert [service.clear_idempotency_key(SHOP, key) for key in ("waits", "nothing")] == [False, False]


def test_a_task_of_another_program_a_found_text_and_a_whole_key_need_no_rules(
    repo: JobRepo, service: IdempotencyService, tasks: Tasks, clock: ManualClock
) -> None:
    new = Tasks.task("new", SimpleNamespace(scope="global"))
    jobs = [held(repo, "new", tasks.key_of(new, {"n": 1})), held(repo, "user", "5")]
    held(repo, "user", tasks.key_of(tasks.known["user"], {}))

    found = [service.check_idempotency_key(new, {"n": 1}), service.check_idempotency_key("user", "5")]
    assert [job and job.job_id for job in found] == [job.job_id for job in jobs]
    assert service.check_idempotency_key("user", "user=5/abc") is None
    with pytest.raises(InvalidInput):
        service.check_duplicate("")
    repo.cancel_job(jobs[1].job_id, reason="old")
    clock.advance(400 * 86_400)
    assert service.check_idempotency_key("user", "user=5/abc") is None
    with pytest.raises(InvalidInput, match="cannot be computed"):
        service.check_idempotency_key("user", "5")


def test_a_result_takes_the_place_of_an_ended_run_in_the_default_queue(clock: ManualClock) -> None:
    repo = model_repo(Settings(_env_file=None, tasks={SHOP: {"queue": "recovery"}}), clock)
    failed = held(repo, SHOP, "k")
    assert repo.claim_job(failed.job_id)
    repo.update_status(failed.job_id, "FAILED", error="no")

    stored = store_result(repo, SHOP, "k", 5)
    assert (stored.attempt, stored.queue, repo.get_job(failed.job_id).result) == (1, "default", 5)


def test_a_key_that_changes_at_each_try_is_given_up(
    repo: JobRepo, service: IdempotencyService, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = held(repo, SHOP, "done")
    assert repo.claim_job(done.job_id)
    repo.update_status(done.job_id, "COMPLETED", result=1)
    monkeypatch.setattr(repo.table, "apply", lambda *_: Written(False, None))

    with pytest.raises(StoreUnavailable, match="while it was cleared"):
        service.clear_idempotency_key(SHOP, "done")
    with pytest.raises(StoreUnavailable, match="while its result was stored"):
        service.store_result("k", 1)
