"""Receive as many messages as the worker has free processes, and release at once those that it does not start.

Celery's prefetch counts messages per connection and ignores that a received message is hidden from every other worker.
This step of the consumer tells the transport how many processes there are and how many messages are held; the transport
distributes them between the queues (`jobclaim.workers.transport.plan`).
"""

from __future__ import annotations

import heapq
import time
from functools import partial
from typing import Any, Final

from celery import bootsteps
from celery.worker import state
from kombu.message import Message

from jobclaim.jobs.log import get_logger
from jobclaim.workers import plain
from jobclaim.workers.pools.threads import TaskPool
from jobclaim.workers.process.pauses import is_queue_paused
from jobclaim.workers.process.poison import PoisonHandler
from jobclaim.workers.state import worker
from jobclaim.workers.transport.client import sqs_client
from jobclaim.workers.transport.compatibility import ensure_supported
from jobclaim.workers.transport.plan import KEPT_RECEIVES, receives_of

log = get_logger("jobclaim.worker")

MAX_WAIT_SECONDS: Final = 1.0
"""How long a message that was fetched ahead of a free process may wait for one; then it is released."""
CLOSE_SECONDS: Final = 5.0
MANY_TIMERS: Final = 1_000
"""Timers of the event loop from which on cancelled ones are looked for."""


class Intake(bootsteps.StartStopStep):
    """Connects the consumer's channel to the worker's pool. Stopped before the pool drains."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        ensure_supported()
        self._desk: PoisonHandler | None = None
        self._waiting: dict[Any, float] = {}
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        """Start distributing the processes; the event loop has not started yet."""
        if isinstance(consumer.pool, TaskPool):
            # bodies run in this process, and Celery has just made its tracers; a child does this itself
            plain.contain(consumer.app)
        channel, controller, pool = consumer.task_consumer.channel, consumer.controller, consumer.pool
        poller = channel.poller
        poller.processes = lambda: controller.max_concurrency or pool.num_processes
        poller.held = lambda: _started() + channel.unstarted() - len(consumer.awaiting_eta)
        poller.paused = lambda: not worker.current().may_claim()
        poller.is_paused = lambda queue: is_queue_paused(queue, consumer.app.jobclaim.repo.clock())
        self._desk = PoisonHandler(
            consumer.app, partial(sqs_client, consumer.app.jobclaim.settings), channel.deletes.put
        )
        channel.on_poison = self._desk.put
        consumer.timer.call_repeatedly(MAX_WAIT_SECONDS / 2, self._look_for_waiting, (consumer, channel))

    def stop(self, consumer: Any) -> None:
        """Stop receiving, and release messages that are not started; the pool still works on the rest."""
        if isinstance(consumer.pool, TaskPool):
            consumer.pool.withdraw()
        if consumer.task_consumer:
            _run_pending_acks(consumer.hub)
            given_back = consumer.task_consumer.channel.retire()
            if given_back:
                log.info("messages.released", count=given_back)

    def terminate(self, consumer: Any) -> None:
        """Stop as `stop`, without waiting, for a cold shutdown."""
        if consumer.task_consumer:
            consumer.task_consumer.channel.abandon_polls()
        self.stop(consumer)

    def shutdown(self, consumer: Any) -> None:
        """Finish handling poison messages; the channel closes after this."""
        if self._desk is not None:
            self._desk.flush(CLOSE_SECONDS)

    def _look_for_waiting(self, consumer: Any, channel: Any) -> None:
        """Release requests that have waited too long for a process, because the jobs before them run longer than
        expected.
        """
        drop_cancelled(consumer.timer)
        semaphore, now = consumer.controller.semaphore, time.monotonic()
        waiting = [entry[1][0] for entry in list(semaphore._waiting)] if semaphore is not None else []
        self._waiting = {request: self._waiting.get(request, now) for request in filter(_is_releasable, waiting)}
        late = {request for request, since in self._waiting.items() if now - since > MAX_WAIT_SECONDS}
        if not late:
            return
        kept = [entry for entry in semaphore._waiting if entry[1][0] not in late]
        semaphore._waiting.clear()
        semaphore._waiting.extend(kept)
        for request in late:
            state.task_ready(request)
            channel.release(request.message.delivery_tag)
        log.info("messages.released_unserved", count=len(late))


def drop_cancelled(timer: Any) -> None:
    """Drop cancelled timers.

    Celery sets one for each job's time limit and cancels it when the job ends, but kombu keeps it until it would have
    been due: in a busy worker these are hundreds of thousands.
    """
    queue: Any = getattr(timer, "_queue", ())
    if len(queue) > MANY_TIMERS:
        queue[:] = [scheduled for scheduled in queue if not scheduled.entry.canceled]
        heapq.heapify(queue)


def _is_releasable(request: Any) -> bool:
    """Return whether a waiting message may be released. One received too often is kept, or SQS would move it to the
    dead-letter queue.
    """
    return receives_of(request.message.delivery_info.get("sqs_message", {})) < KEPT_RECEIVES


def _started() -> int:
    """Count the requests at work whose messages are deleted; the channel counts the others' messages."""
    return sum(bool(request.acknowledged) for request in state.active_requests)


def _run_pending_acks(hub: Any) -> None:
    """Delete the messages of requests that have just started, because the loop does not run again."""
    for callback in hub._pop_ready():
        if isinstance(getattr(getattr(callback, "fun", None), "__self__", None), Message):
            callback()
        else:
            hub.call_soon(callback)
