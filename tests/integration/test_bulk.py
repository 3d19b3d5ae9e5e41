"""Many jobs at once: requests and memory counted, on a real table and a real queue."""

from __future__ import annotations

import resource
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import Job, JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission import batch_messages
from jobclaim.workers.submission.bulk import BulkReport
from jobclaim.workers.transport.client import sqs_client
from tests.support.endpoints import Endpoint
from tests.support.stack import deployed
from tests.support.tasks import note

pytestmark = pytest.mark.real
JOBS = 4_000


class Requests:
    """Counts the requests that are made of clients, and hands them on."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def through(self, client: Any) -> Any:
        """Give a client whose requests are counted."""
        counter = self

        class Counted:
            def __getattr__(self, name: str) -> Any:
                def ask(**request: Any) -> Any:
                    with counter._lock:
                        counter.counts[name] += 1
                    return getattr(client, name)(**request)

                return ask

        return Counted()


def test_thousands_of_jobs_cost_one_point_one_requests_each_and_no_memory(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes 15 s: that memory does not grow shows after thousands of jobs only."""
    with deployed(dynamodb_local, elasticmq, tmp_path) as stack:
        app = create_app(stack.settings)
        app.set_current()
        requests = Requests()
        table, queue = requests.through(app.jobclaim.repo.table.client()), requests.through(sqs_client(stack.settings))
        monkeypatch.setattr(app.jobclaim.repo.table, "client", lambda: table)
        monkeypatch.setattr(batch_messages, "sqs_client", lambda _: queue)
        peaks: list[int] = []
        seen: list[int] = []

        def progress(report: BulkReport) -> None:
            if report.total % 1000 == 0 and report.total:
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
                seen.append(report.total)

        def calls() -> Iterator[tuple[int]]:
            yield from ((number,) for number in range(JOBS))

        report = note.submit_many(calls(), progress=progress)
        assert (report.submitted, report.failed, report.sent, report.unsent) == (JOBS, 0, JOBS, 0)
        assert requests.counts["put_item"] == JOBS
        assert requests.counts["send_message_batch"] == JOBS / 10
        assert sum(requests.counts.values()) <= 1.2 * JOBS
        assert peaks[-1] - peaks[0] < 2.2 * (seen[-1] - seen[0]), f"{peaks} KiB after {seen} jobs"
        app.close()


def test_a_batch_that_is_repeated_adds_nothing_and_its_jobs_run_once(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    with deployed(dynamodb_local, elasticmq, tmp_path) as stack:
        app = create_app(stack.settings)
        app.set_current()
        jobs: dict[int, Job] = {}
        first = note.submit_many(range(25), batch="import", each=jobs.__setitem__)
        again = note.submit_many(range(30), batch="import", each=jobs.__setitem__)
        assert (first.submitted, again.duplicates, again.submitted) == (25, 25, 5)
        stack.worker("bulk", "-Q", "default", "-c", "2")
        ids = [jobs[position].job_id for position in range(30)]
        done = stack.wait_for(ids, JobStatus.COMPLETED, 60)
        assert [done[job_id].result for job_id in ids] == [2 * number for number in range(30)]
        assert set(stack.bodies().values()) == {1}
        app.close()
