"""Idempotency for code outside tasks, and what people see and do about keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobclaim.jobs import IdempotencyService, IllegalTransition, InvalidInput, InvalidPayload, JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.idempotency import derive_key
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint
from tests.support.recovery import Bench, Requests, bench_settings

pytestmark = pytest.mark.real


@pytest.fixture
def bench(dynamodb_local: Endpoint) -> Bench:
    client = dynamodb_local.client(max_pool_connections=64)
    return Bench(client, bench_settings(), ManualClock(system_clock()))


@pytest.fixture
def service(bench: Bench) -> IdempotencyService:
    return IdempotencyService(bench.repo)


def test_a_result_answers_until_its_window_is_over(bench: Bench, service: IdempotencyService) -> None:
    assert service.check_duplicate("order-7") is None
    assert service.store_result("order-7", {"total": 12.5}, ttl_seconds=60).created
    found = service.check_duplicate("order-7")
    assert found is not None
    assert found.result == {"total": 12.5}
    bench.clock.advance(60)
    assert service.check_duplicate("order-7") is None


def test_a_result_that_is_none_is_a_result(service: IdempotencyService) -> None:
    service.store_result("k", None)
    found = service.check_duplicate("k")
    assert found is not None
    assert found.result is None


def test_of_64_results_stored_at_once_the_first_one_stands_for_all(bench: Bench) -> None:
    services = [IdempotencyService(bench.new_repo()) for _ in range(64)]
    with ThreadPoolExecutor(32) as pool:
        stored = list(pool.map(lambda n: services[n].store_result("k", n), range(64)))
    assert sum(job.created for job in stored) == 1
    assert len({job.result for job in stored}) == 1


def test_after_the_window_a_new_result_takes_the_place_of_the_old_one(bench: Bench, service: Any) -> None:
    service.store_result("k", 1, ttl_seconds=10)
    bench.clock.advance(10)
    assert service.store_result("k", 2, ttl_seconds=10).created
    assert service.check_duplicate("k").result == 2


def test_a_check_and_a_store_cost_one_request_each(bench: Bench, service: IdempotencyService) -> None:
    with Requests(bench.client) as requests:
        service.check_duplicate("k")
        service.store_result("k", 1)
        assert requests.counts == {"GetItem": 1, "PutItem": 1}


def test_services_with_names_of_their_own_do_not_share_keys(bench: Bench) -> None:
    IdempotencyService(bench.repo, namespace="billing").store_result("k", 1)
    assert IdempotencyService(bench.repo, namespace="mail").check_duplicate("k") is None


def test_recovery_and_lists_pass_results_over(bench: Bench, service: IdempotencyService) -> None:
    service.store_result("k", 1)
    bench.clock.advance(3600)
    report = bench.sweep()
    assert report.examined == 0
    assert bench.repo.list_jobs("PENDING").jobs == ()


@pytest.mark.parametrize(("key", "result"), [("", 1), (None, 1), ("k" * 1025, 1), ("k", {1}), ("k", object())])
def test_what_cannot_be_stored_is_refused_and_nothing_is_written(service: Any, key: Any, result: Any) -> None:
    with pytest.raises((InvalidInput, InvalidPayload)):
        service.store_result(key, result)
    assert service.check_duplicate("k") is None


# --- keys of tasks
def test_a_tasks_key_shows_its_job_in_any_state(bench: Bench, service: IdempotencyService) -> None:
    assert service.check_idempotency_key("t", "k") is None
    job = bench.repo.create_job("t", idempotency_key="k")
    bench.repo.claim_job(job.job_id)
    bench.repo.update_status(job.job_id, "FAILED", error="x")
    found = service.check_idempotency_key("t", "k")
    assert found is not None
    assert found.status is JobStatus.FAILED


def test_a_key_is_found_by_the_values_that_it_was_derived_from(bench: Bench, service: IdempotencyService) -> None:
    values = {"job_id": 7, "execution_date": "2026-11-21"}
    job = bench.repo.create_job("t", idempotency_key=derive_key("t", values))
    found = service.check_idempotency_key("t", {"execution_date": "2026-11-21", "job_id": 7.0})
    assert found is not None
    assert found.job_id == job.job_id


def test_clearing_the_key_of_a_completed_job_lets_the_next_call_run(bench: Bench, service: IdempotencyService) -> None:
    job = bench.repo.create_job("t", idempotency_key="k")
    bench.repo.claim_job(job.job_id)
    bench.repo.update_status(job.job_id, "COMPLETED", result="wrong")
    assert service.clear_idempotency_key("t", "k")
    assert bench.repo.get_job(job.job_id).result == "wrong"  # still there to be looked at
    assert not service.clear_idempotency_key("t", "k")
    assert bench.repo.create_job("t", idempotency_key="k").created


def test_clearing_the_key_of_a_waiting_job_cancels_it(bench: Bench, service: IdempotencyService) -> None:
    job = bench.repo.create_job("t", idempotency_key="k")
    assert service.clear_idempotency_key("t", "k")
    assert bench.status(job.job_id) is JobStatus.CANCELLED
    assert bench.repo.create_job("t", idempotency_key="k").created


def test_the_key_of_a_running_job_is_not_cleared_under_it(bench: Bench, service: IdempotencyService) -> None:
    job = bench.repo.create_job("t", idempotency_key="k")
    bench.repo.claim_job(job.job_id)
    with pytest.raises(IllegalTransition, match="still holds key"):
        service.clear_idempotency_key("t", "k")
    assert bench.status(job.job_id) is JobStatus.PROCESSING


def test_a_key_that_nobody_used_has_nothing_to_clear(service: IdempotencyService) -> None:
    assert not service.clear_idempotency_key("t", "k")


# --- windows
def test_of_64_equal_submissions_at_the_end_of_a_window_one_runs_anew(bench: Bench) -> None:
    first = bench.repo.create_job("t", idempotency_key="k", ttl=60)
    bench.repo.claim_job(first.job_id)
    bench.repo.update_status(first.job_id, "COMPLETED", result=1)
    bench.clock.advance(60)
    repos = [bench.new_repo() for _ in range(64)]
    with ThreadPoolExecutor(32) as pool:
        jobs = list(pool.map(lambda repo: repo.create_job("t", idempotency_key="k", ttl=60), repos))
    assert sum(job.created for job in jobs) == 1
    assert {job.job_id for job in jobs} == {first.job_id}
    assert bench.repo.get_job(first.job_id).status is JobStatus.PENDING


def test_a_body_may_choose_its_results_window(bench: Bench) -> None:
    job = bench.repo.create_job("t", idempotency_key="k", ttl=60)
    bench.repo.claim_job(job.job_id)
    bench.repo.update_status(job.job_id, "COMPLETED", result=1, ttl=600)
    bench.clock.advance(599)
    assert not bench.repo.create_job("t", idempotency_key="k").created
    bench.clock.advance(1)
    assert bench.repo.create_job("t", idempotency_key="k").created
