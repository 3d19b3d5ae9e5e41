"""Celery's remote control without a broadcast: answered from worker records where possible, else refused by name.

::

    app.control.*, app.control.inspect().*, celery inspect|status|control
        ├──▶ asks what workers do     their records, the jobs that they run
        ├──▶ revoke, terminate        cancels jobs
        ├──▶ shutdown                 leaves the command in the records
        └──▶ anything else            refused, with the command of jobclaim that does it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from celery.app.control import Control
from celery.app.events import Events
from kombu.matcher import match

from jobclaim.fleet.workers import FleetRecords
from jobclaim.jobs import IllegalTransition, JobError, JobNotFound, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.specs.refusals import did_you_mean
from jobclaim.workers.answers import ANSWERS, Fleet
from jobclaim.workers.cancel import cancel

log = get_logger("jobclaim.cancel")

EVENTS: Final = "workers send no events on SQS; use `jobclaim dashboard`, `jobclaim workers` and docs/observability.md"
POOL: Final = "a worker's processes are fixed when it starts: `jobclaim worker restart`, or more workers"
QUEUES: Final = (
    "a worker's queues are fixed when it starts: `jobclaim worker start NAME -q QUEUE`, or your service's command; "
    "`jobclaim pause queue QUEUE` holds a queue on all of them"
)
MEMORY: Final = (
    "workers cannot be asked on SQS; measure the process on its host (`jobclaim workers` shows host and pid)"
)
REFUSED: Final[Mapping[str, str]] = {
    "add_consumer": QUEUES,
    "autoscale": POOL,
    "cancel_consumer": QUEUES,
    "clock": "workers have no logical clock on SQS; `jobclaim workers` shows when each was last seen",
    "conf": "workers report only a digest of their settings, which `jobclaim workers` and `jobclaim doctor` compare",
    "disable_events": EVENTS,
    "election": "workers do not hold elections on SQS",
    "enable_events": EVENTS,
    "heartbeat": "each worker writes its own record; see `jobclaim workers`",
    "hello": "workers do not mingle on SQS",
    "memdump": MEMORY,
    "memsample": MEMORY,
    "objgraph": MEMORY,
    "pool_grow": POOL,
    "pool_restart": POOL,
    "pool_shrink": POOL,
    "rate_limit": "rate_limit holds for the whole fleet: change the attribute and deploy; "
    "`jobclaim pause task TASK` holds a task meanwhile; see docs/tasks.md",
    "reserved": "a worker holds only jobs that it runs; `jobclaim queues` shows what waits",
    "revoke_by_stamped_headers": "stamps are not indexed; cancel by id: `jobclaim list -o ids`, then `jobclaim cancel`",
    "scheduled": "jobs wait in the table until they are due; `jobclaim list --status pending` shows when that is",
    "time_limit": "leases and visibility timeouts are derived from time limits: change JOBCLAIM_TASKS or the task, and "
    "deploy; `jobclaim doctor` checks them",
}
"""By Celery's name of the command, why it is not possible, and the alternative."""
EVERYWHERE: Final = "jobclaim"
"""Node name of answers that do not come from a single worker."""


class NoRemoteControl(JobError):
    """A command to workers that SQS cannot carry; the message says what to do instead."""


class NoReceiver:
    """Replaces the receiver of events and is refused on SQS, because `celery events` and Flower would wait forever."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise NoRemoteControl(EVENTS)


class JobEvents(Events):
    """Celery's events, which do not work on SQS: using them raises an error that names the alternative.

    A worker's own steps read the class when they are made, but never instantiate it.
    """

    Receiver = NoReceiver


class JobControl(Control):
    """Celery's remote control through the fleet table, because SQS cannot broadcast."""

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Any = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Any = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: Any = None,
        **further: Any,
    ) -> list[dict[str, Any]] | None:
        """Answer a command as workers would.

        Parameters
        ----------
        destination : list of str, optional
            Workers by Celery's name or by id; default all living ones.
        reply : bool
            Whether to return the answers; ``connection``, ``channel`` and ``timeout`` have no effect.

        Raises
        ------
        NoRemoteControl
            The command is not possible on SQS, or there is no live worker of that name.
        """
        arguments_ = {name: value for name, value in {**(arguments or {}), **further}.items() if value is not None}
        if command in ("revoke", "terminate"):
            answers = {EVERYWHERE: self._revoked(arguments_["task_id"])}
        elif command == "shutdown":
            answers = self._shut_down(self._named(command, destination, pattern, matcher))
        elif command in ANSWERS:
            fleet = self._fleet(destination, pattern, matcher)
            answers = {node: ANSWERS[command](fleet, node, **arguments_) for node in fleet.nodes}
            _refuse_unknown_ids(command, arguments_, answers)
        else:
            _refuse(command)
        replies = [{node: answer} for node, answer in answers.items()][:limit]
        for each in replies if callback else ():
            callback(each)
        return replies if reply else None

    def revoke(self, task_id: str | Iterable[str], *_: Any, **__: Any) -> dict[str, str]:
        """Cancel jobs, running ones too, whether or not ``terminate`` is given; return the answer for each.

        A job that has ended stays as it is, and its answer is its status: as in Celery, that is not an error. With
        several ids, each is answered: "unknown" for an id without a job, "refused" for a job that runs outside of a
        worker.

        Raises
        ------
        JobNotFound
            The only id that was given does not belong to a job.
        StoreUnavailable
            DynamoDB did not answer for some; all others were cancelled.
        """
        if isinstance(task_id, str):
            return {task_id: self._answer(task_id)}
        answers: dict[str, str] = {}
        unanswered: list[StoreUnavailable] = []
        for job_id in task_id:
            try:
                answers[job_id] = self._answer(job_id)
            except JobNotFound:
                answers[job_id] = "unknown"
            except StoreUnavailable as error:
                unanswered.append(error)
        if unanswered:
            raise StoreUnavailable(
                f"{len(unanswered)} of {len(unanswered) + len(answers)} jobs were not cancelled; revoke them again. "
                f"The first error: {unanswered[0]}"
            ) from unanswered[0]
        return answers

    def revoke_by_stamped_headers(self, headers: Any, *_: Any, **__: Any) -> NoReturn:
        """Refuse: there is no index of stamps."""
        _refuse("revoke_by_stamped_headers")

    def _answer(self, job_id: str) -> str:
        repo = self.app.jobclaim.repo
        try:
            return str(cancel(repo, job_id))
        except IllegalTransition as error:
            job = repo.get_job(job_id)
            if not job.status.is_open:
                return str(job.status)
            log.warning("cancel.refused", reason=str(error), **job.log_context())
            return "refused"

    def _revoked(self, ids: Any) -> dict[str, str]:
        answers = self.revoke([ids] if isinstance(ids, str) else list(ids))
        lines = "\n".join(f"{job_id}: {answer}" for job_id, answer in answers.items())
        return {"error" if {"unknown", "refused"}.intersection(answers.values()) else "ok": lines}

    def _shut_down(self, fleet: Fleet) -> dict[str, Any]:
        repo = self.app.jobclaim.repo
        records, seconds = FleetRecords.of(repo), repo.settings.heartbeat_seconds
        return {
            node: {"error": "its record no longer exists, because it has stopped"}
            if records.ask_to_drain(record.worker_id) is None
            else {"ok": f"stops after its next heartbeat, within {seconds} s"}
            for node, record in fleet.nodes.items()
        }

    def _fleet(self, destination: Any, pattern: str | None, matcher: Any) -> Fleet:
        fleet = Fleet.of(self.app)
        if destination:
            fleet = fleet.only([destination] if isinstance(destination, str) else destination)
        if pattern:
            fleet = fleet.only([node for node in fleet.nodes if match(node, pattern, matcher)])
        return fleet

    def _named(self, command: str, destination: Any, pattern: str | None, matcher: Any) -> Fleet:
        fleet = self._fleet(destination, pattern, matcher)
        if not fleet.nodes:
            living = sorted(Fleet.of(self.app).nodes)
            raise NoRemoteControl(
                f"{command} matched no live worker ({destination or pattern or 'all'}); live workers: "
                f"{', '.join(living) or 'none'}; see `jobclaim workers`"
            )
        return fleet


def _refuse(command: str) -> NoReturn:
    why = REFUSED.get(command)
    if why is None:
        known = [*ANSWERS, "revoke", "terminate", "shutdown"]
        why = (
            f"workers cannot be asked on SQS, which has no broadcast{did_you_mean(command, known)}; supported "
            f"commands: {', '.join(sorted(known))}"
        )
    raise NoRemoteControl(f"remote control command {command!r}: {why}")


def _refuse_unknown_ids(command: str, arguments: Mapping[str, Any], answers: Mapping[str, Any]) -> None:
    """Refuse unknown ids: an empty answer would be wrong, because jobs that do not run may wait or have ended."""
    if command == "query_task" and not any(answers.values()):
        raise NoRemoteControl(
            f"none of the jobs {arguments.get('ids')} runs on a live worker; `jobclaim show ID` shows its state"
        )
