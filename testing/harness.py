"""Test harness: an app with its table in memory, a list as its queue, and a method as its worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery, current_app
from celery.app.trace import build_tracer
from kombu.utils.json import dumps, loads

from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.protocol.claims import new_token
from jobclaim.settings import Settings
from jobclaim.testing.table import in_memory
from jobclaim.workers.handle import handle_of
from jobclaim.workers.messages import call
from jobclaim.workers.messages.links import FIELDS
from jobclaim.workers.messages.message import TOKEN
from jobclaim.workers.scope import contained
from jobclaim.workers.sealed import traced
from jobclaim.workers.task import JobTask

MOST: Final = 1_000
"""Messages that one `Harness.drain` delivers at most, so that a task that submits itself forever fails its test."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was sent and not delivered yet.

    Attributes
    ----------
    due : int
        When SQS would deliver it, epoch milliseconds.
    options : mapping
        Other options of the call: links, headers, limits.
    """

    task: str
    task_id: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    due: int
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


class RecordingRepo(JobRepo):
    """A repo that records the jobs submitted through it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.submitted: list[Job] = []

    def create_job(self, *args: Any, **kwargs: Any) -> Job:
        """Create a job as the repo does; a duplicate is not recorded as a submission."""
        job = super().create_job(*args, **kwargs)
        if job.created:
            self.submitted.append(job)
        return job


class Harness:
    """An app under test, with its table and queue in memory; made by `Harness.of` or by the fixture ``jobclaim``.

    Attributes
    ----------
    app : Celery
    repo : JobRepo
        The app's repo, on a table in memory.
    messages : deque of Message
        Sent and not delivered yet. A test may drop, duplicate or reorder them, as SQS does.
    eager : bool
        Deliver each message as soon as the task that sent it has ended. The job is still claimed and fenced.
    """

    def __init__(self, app: Celery, client: Any) -> None:
        self.app = app
        self.eager = False
        self.messages: deque[Message] = deque()
        self._ahead_ms = 0
        self._delivering = False
        self.repo = RecordingRepo(client, settings=app.jobclaim.settings, clock=self.clock, sleep=lambda _: None)

    @classmethod
    @contextmanager
    def of(cls, app: Celery | None = None) -> Iterator[Harness]:
        """Use a table in memory for an app and keep the messages that it sends; restore the app at the end."""
        app = app or _own_app()
        handle = handle_of(app)
        with in_memory(handle.settings) as client:
            made = cls(app, client)
            replaced = {"send_task": made._send, "connection_for_write": _no_connection}
            settings = handle.settings
            before = {name: vars(app)[name] for name in replaced if name in vars(app)}
            vars(app).update(replaced)
            handle.use(settings, made.repo)
            app.backend._cache.clear()
            current = current_app._get_current_object()
            app.set_current()  # `shared_task` resolves to the current app, otherwise the one created last
            try:
                yield made
            finally:
                current.set_current()
                for name in replaced:
                    vars(app).pop(name, None)
                vars(app).update(before)
                handle.use(settings)
                app.backend._cache.clear()

    def use(self, **changes: Any) -> None:
        """Change settings for the rest of the test: limits, a bucket, retention."""
        changed = Settings(**{**self.app.jobclaim.settings.model_dump(exclude_unset=True), **changes})
        repo = RecordingRepo(self.repo.table.client(), settings=changed, clock=self.clock, sleep=lambda _: None)
        repo.submitted = self.repo.submitted
        self.repo = repo
        handle_of(self.app).use(changed, repo)

    # --- time
    def clock(self) -> int:
        """Return the current time, epoch milliseconds: the machine's time plus the time traveled."""
        return system_clock() + self._ahead_ms

    def travel(self, seconds: float) -> None:
        """Move time forward, past delays, leases, windows and retention. Nothing runs until `drain` or `recover`."""
        self._ahead_ms += round(seconds * 1000)

    # --- submissions
    @property
    def submitted(self) -> list[Job]:
        """Return the submitted jobs as they were at submission, without duplicates."""
        return list(self.repo.submitted)

    def submitted_of(self, task: Any, *args: Any, **kwargs: Any) -> list[Job]:
        """Return the submitted jobs of one task; with arguments, only those called with exactly these."""
        name = getattr(task, "name", task)
        wanted = (list(args), kwargs)
        return [
            job
            for job in self.submitted
            if job.task == name and ((not args and not kwargs) or call.from_payload(job.payload) == wanted)
        ]

    def assert_submitted(self, task: Any, *args: Any, times: int = 1, **kwargs: Any) -> Job:
        """Assert that a task was submitted ``times`` times, with these arguments if any; return the last such job.

        Raises
        ------
        AssertionError
            The message lists what was submitted instead.
        """
        found = self.submitted_of(task, *args, **kwargs)
        name = getattr(task, "name", task)
        seen = [f"{job.task}{call.from_payload(job.payload)}" for job in self.submitted] or ["nothing"]
        assert len(found) == times, (
            f"{name} was submitted {len(found)} times with these arguments, not {times}; submissions: {seen}"
        )
        return found[-1] if found else None  # type: ignore[return-value]

    def assert_not_submitted(self, task: Any, *args: Any, **kwargs: Any) -> None:
        """Assert that a task was not submitted, or not with these arguments."""
        self.assert_submitted(task, *args, times=0, **kwargs)

    def job(self, result: Any) -> Job:
        """Read the current job of a result, an id or a job that was read before."""
        return self.repo.get_job(getattr(result, "job_id", None) or getattr(result, "id", None) or result)

    # --- running
    def drain(self, *, most: int = MOST) -> int:
        """Deliver every message that is due, and those that are sent meanwhile; return their number.

        Raises
        ------
        AssertionError
            More messages than the limit were delivered.
        """
        delivered = 0
        while (message := self._next_due()) is not None:
            self.messages.remove(message)
            self.deliver(message)
            assert delivered < most, (
                f"messages are left after {most} deliveries; the last one was {message}. Pass a higher `most`, or "
                "find the task that submits itself"
            )
            delivered += 1
        return delivered

    def deliver(self, message: Message) -> None:
        """Deliver one message as a worker's process does; it may have been delivered before."""
        task = self.app.tasks[message.task]
        links = {name: message.options[option] for option, name in FIELDS.items() if option in message.options}
        request = {
            **links,
            "id": message.task_id,
            "task": message.task,
            "root_id": links.get("root_id") or message.task_id,
            "args": message.args,
            "kwargs": message.kwargs,
            "retries": message.options.get("retries", 0),
            "delivery_info": {"exchange": "", "routing_key": message.queue},
            "hostname": "jobclaim-testing",
            "is_eager": False,
            TOKEN: new_token(),
            **(message.options.get("headers") or {}),
        }
        before, self._delivering = self._delivering, True
        try:
            tracer = build_tracer(task.name, task, app=self.app)
            surrounded = traced if isinstance(task, JobTask) else contained
            surrounded(tracer, task)(message.task_id, list(message.args), dict(message.kwargs), request)
        finally:
            self._delivering = before

    def abandon(self) -> Job:
        """Claim the next message's job and do nothing, as a lost worker does. After `travel`, `recover` finds it."""
        message = self._next_due()
        assert message is not None, "no message is due"
        self.messages.remove(message)
        job = self.repo.claim_job(message.task_id, worker_id="jobclaim-testing:dead")
        assert job is not None, f"job {message.task_id} cannot be claimed: {self.repo.get_job(message.task_id).status}"
        return job

    def retry(self, job_id: str) -> Job:
        """Start a FAILED job again, as a person does."""
        job = self.repo.retry_job(job_id)
        self.publish(job, 0)
        return job

    def recover(self) -> Any:
        """Run one recovery pass and return its report."""
        from jobclaim.recovery import sweep

        return sweep(self.repo, send=self.publish)

    def publish(self, job: Job, delay_seconds: float = 0.0) -> None:
        """Send the message of a job's next attempt, for a job that was not written through its task."""
        from jobclaim.workers.submission.dispatch import publish

        publish(self.app, job, delay_seconds)

    def _next_due(self) -> Message | None:
        now = self.clock()
        return next((message for message in self.messages if message.due <= now), None)

    def _send(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Stand in for `Celery.send_task`: the message passes through JSON, as it would on the wire."""
        from celery import uuid

        options.pop("producer", None)
        options.pop("task_type", None)
        result_cls = options.pop("result_cls", None)
        task_id = options.pop("task_id", None) or uuid()
        delay = options.pop("DelaySeconds", None) or options.pop("countdown", None) or 0
        queue = options.pop("queue", None) or self.app.jobclaim.settings.queue_of(name)
        body = loads(dumps({"args": list(args or ()), "kwargs": dict(kwargs or {}), "options": _plain(options)}))
        due = self.clock() + round(1000 * delay)
        self.messages.append(
            Message(name, task_id, body["args"], body["kwargs"], getattr(queue, "name", queue), due, body["options"])
        )
        result = (result_cls or self.app.AsyncResult)(task_id)
        if options.get("add_to_parent", True) and (parent := self.app.current_worker_task):
            parent.add_trail(result)
        if self.eager and not self._delivering:
            self.drain()
        return result

    # --- states
    def states(self) -> dict[JobStatus, int]:
        """Count the submitted jobs by their current state."""
        counts: dict[JobStatus, int] = {}
        for job in self.repo.table.get_many([job.job_id for job in self.submitted]).values():
            counts[job.status] = counts.get(job.status, 0) + 1
        return counts


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a message carries."""
    kept = {*FIELDS, "MessageGroupId", "headers", "message_attributes", "retries", "shadow"}
    kept |= {"soft_time_limit", "time_limit"}
    return {name: value for name, value in options.items() if name in kept and value is not None}


def _no_connection(*_: Any, **__: Any) -> Any:
    from kombu import Connection

    return Connection("memory://")


def _own_app() -> Celery:
    from jobclaim.workers.apps import default_app

    return default_app()
