"""Checks before a worker receives its first message: SQS must keep messages hidden for long enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from jobclaim.jobs.log import get_logger
from jobclaim.settings import Settings

log = get_logger("jobclaim.startup")


NO_FANOUT: Final = "workers send no events on SQS; use `jobclaim dashboard` and `jobclaim workers`"
MEMORY: Final = "a worker fetches only as many messages as it has free processes, whatever is set"
CANCELS: Final = "cancellations are kept in the fleet table, not in a worker's file"


def override_options(worker: Any, settings: Settings) -> list[dict[str, str]]:
    """Reset options of `celery worker` that have no effect here; return each with both values and the reason."""
    required: tuple[tuple[str, str, Any, str], ...] = (
        ("task_events", "--task-events", False, NO_FANOUT),
        ("statedb", "--statedb", None, CANCELS),
        ("prefetch_multiplier", "--prefetch-multiplier", settings.prefetch_multiplier, MEMORY),
    )
    overridden = [
        {"key": option, "yours": str(configured), "ours": str(ours), "why": why}
        for name, option, ours, why in required
        if (configured := getattr(worker, name, ours)) != ours and (configured or ours)
    ]
    for name, _, ours, _ in required:
        setattr(worker, name, ours)
    return overridden


def low_visibility(live: Mapping[str, int], settings: Settings) -> list[str]:
    """Return the queues whose live visibility timeout is below the derived one, each with the problem and the remedy.

    Parameters
    ----------
    live : mapping of str to int
        SQS's visibility timeouts, seconds, by logical queue name.
    """
    return [
        f"queue {queue!r}: its visibility timeout is {seconds} s, but its time limits need "
        f"{settings.visibility_timeout(queue)} s; run `jobclaim up` or deploy the current template.yaml, or set "
        "JOBCLAIM_ALLOW_LOW_VISIBILITY=true to start anyway"
        for queue, seconds in live.items()
        if seconds < settings.visibility_timeout(queue)
    ]


def live_visibility(sqs: Any, urls: Mapping[str, str], queues: Iterable[str]) -> dict[str, int]:
    """Read the visibility timeouts of these queues from SQS; a queue that cannot be read is left out, and logged.

    A worker must also start while SQS fails: it then polls until SQS is back.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    found: dict[str, int] = {}
    for queue in queues:
        try:
            answer = sqs.get_queue_attributes(QueueUrl=urls[queue], AttributeNames=["VisibilityTimeout"])
            found[queue] = int(answer["Attributes"]["VisibilityTimeout"])
        except (BotoCoreError, ClientError) as error:
            log.warning("queue.visibility_unknown", queue=queue, error=type(error).__name__)
    return found


def refuse_away_from_home(settings: Settings) -> None:
    """Refuse to start a worker in a region that holds a replica only, and must not claim from it.

    Raises
    ------
    SystemExit
        The message names both regions and the remedy.
    """
    if problem := settings.away_from_home:
        raise SystemExit(f"jobclaim: this worker cannot start: {problem}")


def refuse_low_visibility(worker: Any, settings: Settings) -> None:
    """Refuse to start a worker whose queues would deliver a message twice while a job runs.

    Raises
    ------
    SystemExit
        The message names each queue, its live and its derived visibility timeout, and the remedy.
    """
    from jobclaim.workers.transport.client import sqs_client

    known = worker.app.conf.broker_transport_options.get("predefined_queues") or {}
    queues = [name for name in worker.app.amqp.queues.consume_from if name in settings.queue_names and name in known]
    urls = {name: known[name]["url"] for name in queues}
    problems = low_visibility(live_visibility(sqs_client(settings), urls, queues), settings)
    if problems and settings.allow_low_visibility:
        log.warning("queue.visibility_too_low", problems=problems)
    elif problems:
        raise SystemExit("jobclaim: this worker cannot start:\n" + "\n".join(f"- {problem}" for problem in problems))
