"""The pauses in a worker's main process: read with the heartbeat, shared with the children, logged when they change."""

from __future__ import annotations

from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.pauses import KnownPauses, Pause, PauseKind, Pauses
from jobclaim.workers.state import worker

log = get_logger("jobclaim.worker")


class PauseWatch:
    """Keeps the worker's pauses up to date: one consistent read of one small item per heartbeat interval."""

    def __init__(self, known: KnownPauses) -> None:
        self._known = known
        self._reported: dict[str, Pause] = {}

    def learn(self) -> None:
        """Read the pauses if that is due, and share them.

        Raises
        ------
        StoreUnavailable
            They were never read: nothing may be claimed before.
        """
        found = self._known.current(needed=True)
        active = {one.subject: one for one in found.active(self._known.now())}
        worker.current().tell_pauses(Pauses(tuple(active.values()), found.version))
        for subject in active.keys() - self._reported.keys():
            one = active[subject]
            log.warning("pause.started", paused=subject, by=one.by, reason=one.reason, until=one.until)
        for subject in self._reported.keys() - active.keys():
            ended = {one.subject: one.ended_by for one in found.known}
            log.warning("pause.ended", paused=subject, by=ended.get(subject, ""))
        self._reported = active


def is_queue_paused(queue: str, now: int) -> bool:
    """Check whether this worker leaves a queue alone."""
    known = worker.current().pauses()
    return known is not None and known.of(PauseKind.QUEUE, queue, now) is not None
