"""A worker's main process: it records what a child that is gone cannot, and goes on through an outage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from billiard.exceptions import WorkerLostError

from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.workers.process import unreported
from jobclaim.workers.process.unreported import HeldAttempt
from tests.simulation.actors.stage import Stage
from tests.simulation.line import Process
from tests.simulation.world import World

INSISTS_SECONDS: Final = 30.0


class MainProcess:
    """The one of a worker."""

    def __init__(self, stage: Stage, process: Process, repo: JobRepo) -> None:
        self._stage, self._process, self._repo = stage, process, repo

    def loses_child(self) -> bool:
        """Whether the child dies now."""
        dimension = "children" in self._stage.scenario.dimensions
        return dimension and not self._process.shared.world.calm and self._process.random.random() < 0.2

    def complete(self, job: Job) -> Job:
        """Write the completion that the child has planned."""
        planned = self._repo.plan_completion(job.job_id, job.claim_token, [job.attempt])
        self._repo.hand_over(planned)
        self._repo.write_planned(planned)
        return replace(job, status=JobStatus.COMPLETED)

    def record(self, job: Job) -> None:
        """Write the end of an attempt whose child is gone."""
        self._process.note(f"{job.job_id[:12]}: child lost")
        stage, process = self._stage, self._process

        app: Any = SimpleNamespace(
            jobclaim=SimpleNamespace(repo=self._repo, settings=self._repo.settings),
            publish=lambda after: stage.publish(process, after),
        )
        attempt = HeldAttempt(job.job_id, job.attempt - 1, job.claim_token)
        gone = WorkerLostError("the child is gone")
        until = process.shared.world.now / 1000 + INSISTS_SECONDS

        def record() -> bool:
            unreported.lost(app, attempt, gone)
            return True

        done = unreported.persist(record, until=until)
        stage.oracle.recorded(process, job, given_up=done is None)


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Let all recorders wait in the world's time, and send by their apps."""
    time = SimpleNamespace(
        monotonic=lambda: world.now / 1000, sleep=lambda seconds: world.pause(max(1, round(seconds * 1000)))
    )
    with (
        patch.object(unreported, "time", time),
        patch.object(unreported, "publish_if_due", lambda app, after: app.publish(after)),
    ):
        yield
