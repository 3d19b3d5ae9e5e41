"""The options of a call. Every option is honored or refused; none is dropped silently.

::

    option of a call ──▶ jobclaim's, stored with the job, or of one send     honored
                    ──▶ needs another broker, or contradicts the claim rule  refused, with the reason
                    ──▶ any other name                                       refused, with the nearest name there is

``docs/celery.md`` has the same table for readers, and tests hold the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jobclaim.jobs import InvalidInput
from jobclaim.specs.refusals import did_you_mean
from jobclaim.workers.messages.envelope import KEPT, OF_ONE_SEND

GROUP: Final = "MessageGroupId"
OURS: Final = frozenset(
    {"args", "countdown", "eta", "expires", "headers", "idempotency_key", "idempotency_ttl", "kwargs", "queue"}
    | {"tags", "task_id"}
)
"""Options that the job itself keeps."""
OF_CELERY: Final = frozenset({"argsrepr", "ignore_result", "kwargsrepr", "origin", "retries", "route_name"})
"""Options that Celery's canvas passes by itself, and those that are met anyway: log lines never show arguments, and
results need not be read.
"""
SAME_ANYWAY: Final[Mapping[str, Any]] = {
    "serializer": "json",
    "content_type": "application/json",
    "content_encoding": "utf-8",
}
"""Options with the only value that they may have."""
NOT_ON_SQS: Final = "SQS has no {}; remove it"
REFUSED: Final[Mapping[str, str]] = {
    "compression": "a message carries the job's id only; large arguments go to S3 (JOBCLAIM_BUCKET). Remove it",
    "content_encoding": "arguments are stored as JSON in UTF-8; remove it",
    "content_type": "arguments are stored as JSON; remove it",
    "declare": "queues are made by `jobclaim up` or your template; remove it",
    "delay_seconds": "use countdown, which holds for retries too and may exceed 15 minutes",
    "DelaySeconds": "use countdown, which holds for retries too and may exceed 15 minutes",
    "delivery_mode": NOT_ON_SQS.format("delivery modes, because every message is persistent"),
    "exchange": NOT_ON_SQS.format("exchanges; name the queue instead, queue=..."),
    "exchange_type": NOT_ON_SQS.format("exchanges"),
    "expiration": "an expired message would leave its job waiting; use expires",
    "immediate": NOT_ON_SQS.format("immediate delivery"),
    "mandatory": NOT_ON_SQS.format("mandatory routing"),
    "MessageDeduplicationId": "FIFO queues are not supported; use idempotency_key, which holds for days",
    "MessageAttributes": "kombu calls it message_attributes; use that name",
    "priority": "SQS delivers without priorities; send the job to a queue of higher priority, queue=...",
    "publisher": "it is Celery's old name of producer; use producer",
    "result_cls": "a job's result is read from the job table; remove it",
    "router": "routes are settings, JOBCLAIM_TASKS or the app's task_routes, or queue=...; remove it",
    "serializer": "arguments are stored as JSON, serializer='json'; convert values that JSON cannot represent, or set "
    "validate=True",
    "task_type": "Celery sets it itself; remove it",
}
LEGAL_GROUP: Final = re.compile(r"[\w!-/:-@\[-`{-~]{1,128}", re.ASCII)
"""The values that SQS accepts as a ``MessageGroupId`` (AWS, "SendMessage")."""


def check(task: str, queue: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a call that would have no effect.

    Parameters
    ----------
    queue : str
        The job's queue, with which a ``routing_key`` must agree.

    Raises
    ------
    InvalidInput
        The message names task, option, value, and the replacement.
    """
    check_names(task, options)
    for name in REFUSED.keys() & options.keys():
        value = options[name]
        if value not in (None, "", SAME_ANYWAY.get(name)):
            raise InvalidInput(f"task {task!r} was called with {name}={value!r}: {REFUSED[name]}")
    routing_key = options.get("routing_key")
    if routing_key not in (None, "", queue):
        raise InvalidInput(
            f"task {task!r} was called with routing_key={routing_key!r}, but its job goes to queue {queue!r}, and SQS "
            "has no routing keys; name the queue instead, queue=..."
        )
    if options.get(GROUP) is not None:
        check_group(options[GROUP])
    _check_attributes(task, options.get("message_attributes"))


def check_names(task: str, options: Mapping[str, Any]) -> None:
    """Refuse names that are not options of a call; stamps, which are headers with their own names, are allowed.

    Raises
    ------
    InvalidInput
    """
    stamps = frozenset(options.get("stamped_headers") or ())
    for name in options:
        if name not in KNOWN and name not in stamps:
            raise InvalidInput(
                f"task {task!r} was called with the unknown option "
                f"{name}={options[name]!r}{did_you_mean(name, sorted(KNOWN - REFUSED.keys()))}; docs/celery.md lists "
                "the options; pass arguments of the task in args or kwargs"
            )


def check_retry(task: str, options: Mapping[str, Any]) -> None:
    """Refuse options of ``self.retry`` that would have no effect: a retry keeps the options of its job's call.

    Raises
    ------
    InvalidInput
    """
    check_names(task, options)
    for name, value in options.items():
        if name not in OF_RETRIES and value is not None:
            raise InvalidInput(
                f"task {task!r} retries with {name}={value!r}, but a retry keeps the options of the job's call. Set "
                f"it in that call, or submit another job; a retry accepts {sorted(OF_RETRIES - OF_CELERY)} and new "
                "arguments"
            )


def check_group(value: Any) -> str:
    """Require a message group that SQS accepts.

    Raises
    ------
    InvalidInput
    """
    if not isinstance(value, str) or not LEGAL_GROUP.fullmatch(value):
        raise InvalidInput(
            f"{GROUP}={value!r} must be text of 1 to 128 ASCII letters, digits and punctuation, without spaces"
        )
    return value


def _check_attributes(task: str, value: Any) -> None:
    if value is None:
        return
    fits = isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(inner, Mapping) and "DataType" in inner for name, inner in value.items()
    )
    if not fits or len(value) > 10:
        raise InvalidInput(
            f"task {task!r} was called with message_attributes={value!r}; give at most 10, in boto3's form: {{'tier': "
            "{'DataType': 'String', 'StringValue': 'gold'}}"
        )


OF_RETRIES: Final = OF_ONE_SEND | OF_CELERY | {"queue"}
KNOWN: Final = OURS | OF_CELERY | KEPT | OF_ONE_SEND | REFUSED.keys() | {"routing_key"}
"""All known options, including the refused ones."""
