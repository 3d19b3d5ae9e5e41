"""The AWS identity with which this process signs its requests: asked of STS once, and remembered for a while."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs.locks import ProcessLock
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.connect import is_loopback
from jobclaim.settings import Settings

log = get_logger("jobclaim.audit")

KNOWN_SECONDS: Final = 900.0
"""How long an answer is used: credentials of a role change their session with each renewal."""
UNKNOWN_SECONDS: Final = 60.0
"""How long a failure is remembered, so that an unreachable STS delays one act a minute and not every act."""
TIMEOUT_SECONDS: Final = 2.0
"""Longest wait for STS, to connect and to answer each."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs this process's requests, as AWS says.

    Attributes
    ----------
    arn : str
        ARN of the user or of the assumed role's session; empty if STS could not be asked.
    user_id : str
        Unique id, the value of ``aws:userid`` in policies; empty if STS could not be asked.
    """

    arn: str = ""
    user_id: str = ""


UNKNOWN: Final = Identity()
_answers: dict[tuple[str | None, str | None], tuple[float, Identity]] = {}
_lock: Final = ProcessLock()


def caller(settings: Settings) -> Identity:
    """Return the identity of this process; `UNKNOWN` if STS could not be asked.

    Never raises: an action must not fail because STS does not answer. A local DynamoDB without a general
    ``endpoint_url`` has no STS beside it, so no request is made.
    """
    if settings.endpoint_url is None and is_loopback(settings.endpoint("dynamodb")):
        return UNKNOWN
    key = (settings.endpoint_url, settings.region)
    with _lock:
        until, known = _answers.get(key, (0.0, UNKNOWN))
        if time.monotonic() < until:
            return known
        found = _ask(settings)
        _answers[key] = (time.monotonic() + (KNOWN_SECONDS if found.arn else UNKNOWN_SECONDS), found)
        return found


def forget() -> None:
    """Ask again with the next call, because the credentials have changed."""
    with _lock:
        _answers.clear()


def _ask(settings: Settings) -> Identity:
    try:
        answer: dict[str, Any] = _client(settings).get_caller_identity()
        return Identity(str(answer["Arn"]), str(answer["UserId"]))
    except Exception as error:  # noqa: BLE001 - an action is not refused because STS failed
        log.info("audit.identity_unknown", error=type(error).__name__)
        return UNKNOWN


def _client(settings: Settings) -> Any:
    from jobclaim.jobs.storage.connect import client

    hurried = settings.model_copy(
        update={"connect_timeout_seconds": TIMEOUT_SECONDS, "read_timeout_seconds": TIMEOUT_SECONDS}
    )
    return client(hurried, "sts", attempts=1)
