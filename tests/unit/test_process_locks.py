"""A child that was forked while another thread held a lock does not wait for that thread, which it does not have."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import pytest

from jobclaim.fleet import identity
from jobclaim.fleet.breaker import Breaker, Breakers
from jobclaim.jobs import JobRepo
from jobclaim.jobs.locks import ProcessLock
from jobclaim.testing import Harness
from jobclaim.workers import apps

PATIENCE = 30.0


def lives(repo: JobRepo) -> None:
    job = repo.claim_job(repo.create_job("tasks.work").job_id)
    assert job is not None
    repo.progress(job.job_id, 1, 2)
    repo.update_status(job.job_id, "COMPLETED")


USES: dict[str, tuple[Callable[[JobRepo], ProcessLock], Callable[[JobRepo], object]]] = {
    "claims": (lambda repo: repo._claims._lock, lives),
    "bodies": (lambda repo: repo._runs._lock, lives),
    "apps": (lambda repo: apps._lock, lambda repo: apps.app_for(repo.settings)),
    "identity": (lambda repo: identity._lock, lambda repo: identity.forget()),
}


def ends(use: Callable[[JobRepo], object], repo: JobRepo) -> bool:
    """Whether a forked child does this to its end."""
    child = multiprocessing.get_context("fork").Process(target=use, args=(repo,))
    child.start()
    child.join(PATIENCE)
    child.kill()
    child.join()
    return child.exitcode == 0


@pytest.mark.parametrize("name", USES)
def test_a_child_is_not_held_up_by_a_lock_that_its_parent_held_at_the_fork(jobclaim: Harness, name: str) -> None:
    lock_of, use = USES[name]

    with lock_of(jobclaim.repo):
        assert ends(use, jobclaim.repo)


def test_a_child_asks_a_breaker_whose_lock_was_held(jobclaim: Harness) -> None:
    breakers = Breakers.of(jobclaim.repo)

    with breakers._lock:
        assert ends(lambda _: breakers.ask(Breaker(name="mail")), jobclaim.repo)


def test_threads_of_one_process_exclude_each_other() -> None:
    lock = ProcessLock()

    with lock:
        assert not lock._own().acquire(blocking=False)
    assert lock._own().acquire(blocking=False)
