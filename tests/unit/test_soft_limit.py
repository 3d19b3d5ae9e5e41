"""The soft time limit stops bodies, not the writing of what they came to."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler

from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers.attempt import soft_limit
from jobclaim.workers.attempt.outcome import record_success


def reach_soft_limit() -> None:
    """What the main process does to a child at the limit."""
    os.kill(os.getpid(), SIG_SOFT_TIMEOUT)


@pytest.mark.usefixtures("in_child")
def test_a_limit_reached_while_the_result_is_written_does_not_fail_the_job(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = jobclaim.repo.create_job("unit.any")
    job = jobclaim.repo.claim_job(created.job_id)
    assert job is not None
    client = jobclaim.repo.table.client()
    write = client.update_item

    def at_the_limit(**asked: Any) -> Any:
        reach_soft_limit()
        return write(**asked)

    monkeypatch.setattr(client, "update_item", at_the_limit)
    assert record_success(jobclaim.repo, job.job_id, job.claim_token, "done") is not None
    assert jobclaim.job(job).status is JobStatus.COMPLETED
    with pytest.raises(SoftTimeLimitExceeded):  # the next body has its limit again
        reach_soft_limit()


@pytest.mark.usefixtures("in_child")
def test_the_limit_holds_again_after_a_write_that_failed() -> None:
    with pytest.raises(KeyError), soft_limit.passes_by():
        raise KeyError("anything")
    with pytest.raises(SoftTimeLimitExceeded):
        reach_soft_limit()


def test_a_process_that_is_no_child_keeps_its_own_handler() -> None:
    before = signal.getsignal(SIG_SOFT_TIMEOUT)
    with soft_limit.passes_by():
        assert signal.getsignal(SIG_SOFT_TIMEOUT) is before


@pytest.mark.usefixtures("in_child")
def test_another_thread_leaves_the_handler_alone() -> None:
    seen: list[Any] = []

    def look() -> None:
        with soft_limit.passes_by():
            seen.append(signal.getsignal(SIG_SOFT_TIMEOUT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [soft_timeout_sighandler]
