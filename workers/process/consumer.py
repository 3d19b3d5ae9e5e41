"""Celery's consumer with one change: a message that it would drop with a log line is dealt with as poison."""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer


class JobConsumer(Consumer):
    """Celery drops what it cannot run, or dies of it, and marks unknown tasks as failed from its event loop."""

    class Blueprint(Consumer.Blueprint):
        """Celery's steps, and the one that shares out the processes."""

        default_steps = (*Consumer.Blueprint.default_steps, "jobclaim.workers.process.intake:Intake")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """No task's name in it."""
        message.channel.poisoned(message, "the message names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A task that is not registered here."""
        name = message.headers.get("task")
        message.channel.poisoned(
            message,
            f"task {name!r} is not registered in this worker; add its module to task_modules or mend the name",
        )

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """Headers that are refused when the request is made."""
        message.channel.poisoned(message, f"the message is no valid request: {exc}")

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """A call that cannot be read."""
        message.channel.poisoned(message, f"the call cannot be decoded: {type(exc).__name__}: {exc}")
