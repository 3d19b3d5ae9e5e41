"""Services of the pages, created once from settings: the job table, the fleet table, the queues, a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self, TypeVar

from jobclaim.dashboard import redaction
from jobclaim.dashboard.meter import Metered
from jobclaim.dashboard.operations import Operations
from jobclaim.dashboard.sharing import Shared
from jobclaim.fleet.breaker import Breakers
from jobclaim.fleet.workers import FleetRecords
from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.clock import Clock, system_clock
from jobclaim.recovery.cancels import Cancels
from jobclaim.recovery.dead import DeadLetters
from jobclaim.settings import Settings

T = TypeVar("T")

PARALLEL: Final = 16
"""Most concurrent requests of all viewers."""


@dataclass(frozen=True)
class Services:
    """Services that pages use; every request through them is counted by the meter of the page view.

    Attributes
    ----------
    dynamodb, sqs
        Metered boto3 clients.
    send : callable
        ``send(job, delay_seconds)`` publishes a job's message.
    redact : callable
        Hook for your own rules: masks more of a job after `jobclaim.dashboard.redaction`.
    clock : callable
        Epoch milliseconds.
    app : callable, optional
        Returns the Celery app with the users' tasks, for submissions; default: made from settings, and the tasks are
        imported.
    shared : Shared
        Data that one viewer has just read, shared with the others.
    """

    settings: Settings
    dynamodb: Any
    sqs: Any
    send: Callable[[Job, float], Any]
    redact: Callable[[Job], Job] = lambda job: job
    clock: Clock = system_clock
    app: Callable[[], Any] | None = None
    shared: Shared = field(default_factory=Shared)
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(PARALLEL, thread_name_prefix="dashboard-read")
    )

    @classmethod
    def of(cls, settings: Settings, *, clock: Clock = system_clock, app: Callable[[], Any] | None = None) -> Self:
        """Create clients from settings. Sends no request."""
        from jobclaim.infra.clients import sqs_client
        from jobclaim.jobs.storage.lean import client_of

        return cls(
            settings=settings,
            dynamodb=Metered(client_of(settings, "dynamodb"), capacity=True),
            sqs=Metered(sqs_client(settings), capacity=False),
            send=_sender(settings),
            clock=clock,
            app=app,
            shared=Shared(clock),
        )

    @cached_property
    def repo(self) -> JobRepo:
        """The jobs."""
        return JobRepo.from_settings(self.settings, client=self.dynamodb, clock=self.clock)

    @cached_property
    def fleet(self) -> FleetRecords:
        """The workers."""
        return FleetRecords.of(self.repo)

    @cached_property
    def letters(self) -> DeadLetters:
        """The dead letters."""
        return DeadLetters(self.repo, send=self.send)

    @cached_property
    def cancels(self) -> Cancels:
        """The open jobs, to be cancelled by a filter."""
        return Cancels(self.repo, send=self.send)

    @cached_property
    def operations(self) -> Operations:
        """Return the actions on many jobs that are running, or have run, in this process."""
        return Operations(self.clock)

    @cached_property
    def breakers(self) -> Breakers:
        """The circuit breakers."""
        return Breakers.of(self.repo)

    @cached_property
    def app_with_tasks(self) -> Any:
        """The Celery app with the users' tasks: with the first submission, their modules are imported."""
        if self.app is not None:
            return self.app()
        from jobclaim.workers import create_app

        app = create_app(self.settings)
        app.loader.import_default_modules()
        return app

    def shown(self, job: Job) -> Job:
        """Return a job redacted for pages and the API."""
        return self.redact(redaction.shown(job, self.settings))

    def together(self, requests: Sequence[Callable[[], T]]) -> list[T]:
        """Run independent requests concurrently, counted by this page view's meter; return the results in order.

        Raises the exception of the first one that failed, after all have ended.
        """
        if len(requests) < 2:
            return [request() for request in requests]
        futures = [self.pool.submit(copy_context().run, request) for request in requests]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def close(self) -> None:
        """Stop the operations and the threads."""
        self.operations.close()
        self.pool.shutdown(wait=False, cancel_futures=True)


def _sender(settings: Settings) -> Callable[[Job, float], Any]:
    """Return a function that sends by a Celery app, created with the first message: viewing does not need Celery."""
    apps: list[Any] = []

    def send(job: Job, delay_seconds: float = 0.0) -> Any:
        from jobclaim.workers import create_app
        from jobclaim.workers.submission.dispatch import publish

        if not apps:
            apps.append(create_app(settings))
        return publish(apps[0], job, delay_seconds)

    return send
