"""Celery's consumer with one change: a message that it would drop with a log line is handled as a poison message."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from celery import signals
from celery.worker.consumer import Consumer


class JobConsumer(Consumer):
    """A consumer that handles poison messages. Celery's drops what it cannot run, or crashes, and fails unknown tasks
    in its event loop.

    Attributes
    ----------
    awaiting_eta : WeakSet
        Requests in memory until their ETA, which only plain tasks have: they do not use a process yet. Celery keeps
        such a set itself since 5.7.
    """

    class Blueprint(Consumer.Blueprint):
        """Celery's steps, and the one that distributes the processes."""

        default_steps = (*Consumer.Blueprint.default_steps, "jobclaim.workers.process.intake:Intake")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.awaiting_eta: WeakSet[Any] = WeakSet()
        super().__init__(*args, **kwargs)
        signals.task_received.connect(self._note_eta, sender=self)

    def on_close(self) -> None:
        """Drop the messages received over a lost connection: SQS delivers them again."""
        self.awaiting_eta.clear()
        super().on_close()

    def apply_eta_task(self, task: Any) -> None:
        """Start a request whose ETA is reached."""
        self.awaiting_eta.discard(task)
        super().apply_eta_task(task)

    def _limit_post_eta(self, request: Any, bucket: Any, tokens: int) -> Any:
        self.awaiting_eta.discard(request)
        return super()._limit_post_eta(request, bucket, tokens)

    def _note_eta(self, request: Any, **_: Any) -> None:
        if request.eta:
            self.awaiting_eta.add(request)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Handle a message without a task name."""
        signals.task_rejected.send(sender=self, message=message, exc=None)
        message.channel.poisoned(message, "the message names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """Handle a task that is not registered here, but may be elsewhere."""
        name = message.headers.get("task")
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=message.headers.get("id"))
        message.channel.poisoned(
            message,
            f"task {name!r} is not registered in this worker; add its module to task_modules or correct the name",
            unregistered=True,
        )

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """Handle headers that are refused when the request is made."""
        signals.task_rejected.send(sender=self, message=message, exc=exc)
        message.channel.poisoned(message, f"the message is not a valid request: {exc}")

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Handle a call that cannot be decoded."""
        message.channel.poisoned(message, f"the call cannot be decoded: {type(exc).__name__}: {exc}")
