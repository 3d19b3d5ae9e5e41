"""Worker steps that start with the pool and must outlive the consumer."""

from __future__ import annotations

import os
import socket
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from celery import bootsteps, signals
from celery.worker import state

from jobclaim.fleet.registered import digest_of, own
from jobclaim.fleet.workers import WorkerRecord
from jobclaim.workers.process import ecs
from jobclaim.workers.process.parent import Parent
from jobclaim.workers.state import worker as this


class ParentStep(bootsteps.StartStopStep):
    """Starts the heartbeat and the other threads when the pool has forked. They end on `worker_shutdown`, after the
    drain: a step that requires the pool would be stopped before it.
    """

    requires = ("celery.worker.components:Pool",)
    parent: Parent | None = None

    def start(self, worker: Any) -> None:
        """Start."""
        parent = Parent(worker.app, worker.pool, worker.hub, _about(worker))
        this.current().owner = parent
        parent.start()
        self.parent = parent
        signals.worker_shutdown.connect(partial(_end, parent), weak=False)

    def stop(self, worker: Any) -> None:
        """Record what children have handed over: after a cold stop, no `worker_shutdown` follows."""
        if self.parent is not None:
            self.parent.flush()

    terminate = stop


class ProtectionStep(bootsteps.StartStopStep):
    """Starts ECS scale-in protection where there is an agent; ends as `ParentStep`."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Start."""
        if url := ecs.agent_url():
            protection = ecs.Protection(url, lambda: bool(len(state.reserved_requests)))
            protection.start()
            signals.worker_shutdown.connect(lambda **_: protection.stop(), weak=False)


def _end(parent: Parent, **_: Any) -> None:
    try:
        parent.close()
    finally:
        this.end()


def _about(worker: Any) -> WorkerRecord:
    return WorkerRecord(
        worker_id=this.current().worker_id,
        started_at=worker.app.jobclaim.repo.clock(),
        queues=tuple(sorted(worker.app.amqp.queues.consume_from)),
        version=_version(),
        host=socket.gethostname(),
        pid=os.getpid(),
        concurrency=worker.max_concurrency or worker.concurrency,
        digest=worker.app.jobclaim.settings.digest,
        node=worker.hostname,
        tasks=digest_of(own(worker.app.tasks)),
    )


def _version() -> str:
    try:
        return version("jobclaim")
    except PackageNotFoundError:
        return "unknown"
