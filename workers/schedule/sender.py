"""Send a tick once, for any kind of task."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from kombu.exceptions import OperationalError

from jobclaim.jobs import StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.tick_notes import Taken, TickNotes
from jobclaim.workers.schedule.entries import RECOVERY_TASK
from jobclaim.workers.task import JobTask

log = get_logger("jobclaim.beat")

SEND_ERRORS: Final = (OperationalError, OSError, BotoCoreError, ClientError)
"""Errors of plain Celery's send that may be temporary; any other is the entry's own fault."""


@dataclass(frozen=True, slots=True)
class TickCall:
    """A call that a tick makes; its options hold the tick's id as ``task_id``."""

    task: str
    args: Any
    kwargs: Any
    options: Mapping[str, Any]


class Sender:
    """Submits calls for one beat.

    For a `JobTask`, the job's id makes the ticks of several beats one. For a plain task the beats coordinate by a note.
    Recovery needs neither: its passes are safe in parallel, and it must not depend on the table that it repairs.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._name = uuid.uuid4().hex

    def send(self, call: TickCall) -> tuple[Any, bool]:
        """Submit a call; return its result and whether its message is known to be sent, by whichever beat.

        Raises
        ------
        StoreUnavailable
            It is unknown whether the message was sent.
        """
        notes = self._notes(call.task)
        if notes is None:
            result = self._submit(call)
            return result, not getattr(result, "unsent", False)
        tick = call.options["task_id"]
        taken = notes.take(tick, self._name)
        if taken is not Taken.MINE:
            return None, taken is Taken.SENT
        result = self._submit_plain(call)
        if result is None:
            return None, False
        try:
            notes.mark_as_sent(tick)
        except StoreUnavailable as error:
            log.warning("tick.not_recorded", tick=tick, reason=str(error))
        return result, True

    def _notes(self, name: str) -> TickNotes | None:
        task = self._app.tasks.get(name)
        handle = getattr(self._app, "jobclaim", None)
        if handle is None or name == RECOVERY_TASK or isinstance(task, JobTask) or self._app.conf.task_always_eager:
            return None
        return TickNotes.of(handle.repo)

    def _submit_plain(self, call: TickCall) -> Any:
        try:
            return self._submit(call)
        except SEND_ERRORS as error:
            log.warning("tick.not_sent", task=call.task, tick=call.options["task_id"], error=type(error).__name__)
            return None

    def _submit(self, call: TickCall) -> Any:
        task = self._app.tasks.get(call.task)
        if task is not None:
            return task.apply_async(call.args, call.kwargs, **call.options)
        return self._app.send_task(call.task, call.args, call.kwargs, **call.options)
