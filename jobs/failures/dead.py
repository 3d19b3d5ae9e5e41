"""Dead letters: what follows when a job has FAILED, by the kind of its failure. Pure functions.

::

    FAILED ──▶ SCHEDULED ──retry_at──▶ PENDING ... FAILED ──▶ SCHEDULED ... ──▶ WAITING ──▶ a person decides
               while its rule has retries left                                   │ retry    ──▶ PENDING, the rule anew
                                                                                 │ resolve  ──▶ RESOLVED
                                                                                 └ abandon  ──▶ ABANDONED

The first rule found applies: that of the task's author, of the task in settings, of the kind in settings, the defaults
(`settings.DEAD_LETTER_RULES`). Each automatic retry is one attempt; a person's retry allows all attempts again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.model import DeadState, Decision, FailureKind, Job
from jobclaim.settings import DeadLetterRule, Settings

DECISIONS: Final = 20
"""Maximum number of decisions that a job stores."""
LONGEST_WHY: Final = 200
"""Maximum stored bytes of a reason, and of a name."""
RECOVERY: Final = "recovery"
_KINDS: Final = frozenset(str(kind) for kind in FailureKind)


def seal_policy(rules: Mapping[Any, Any] | None, *, critical: bool = False) -> str:
    """Write a task's failure rules for its jobs to carry; empty if the task defines none.

    Parameters
    ----------
    rules : mapping, optional
        Rules by failure kind: each a `settings.DeadLetterRule`, or its fields as a map.
    critical : bool
        Whether any failure raises an alert.

    Raises
    ------
    InvalidInput
        An unknown kind, or invalid figures.
    """
    sealed: dict[str, Any] = {"critical": True} if critical else {}
    for kind, rule in (rules or {}).items():
        if str(kind) not in _KINDS:
            raise InvalidInput(f"dead_letters[{kind!r}] is not a failure kind; use one of {sorted(_KINDS)}")
        try:
            checked = DeadLetterRule.model_validate(rule)
        except ValueError as error:
            raise InvalidInput(f"dead_letters[{kind!r}]={rule!r}: {error}") from None
        sealed[str(kind)] = checked.model_dump()
    return json.dumps(sealed, separators=(",", ":")) if sealed else ""


def rule_of(job: Job, kind: str, settings: Settings) -> DeadLetterRule:
    """Return the rule for a job that ended in a failure of that kind."""
    own = _opened(job.failure_policy).get(str(kind))
    return DeadLetterRule.model_validate(own) if own else settings.dead_letter_rule(job.task, str(kind))


def is_critical(job: Job, settings: Settings) -> bool:
    """Check whether any failure of the job must raise an alert."""
    return bool(_opened(job.failure_policy).get("critical")) or settings.task_spec(job.task).critical


def as_dead_letter(job: Job, now: int, delay_seconds: float | None) -> Job:
    """Decide what follows for a job that has just failed: an automatic retry at a time, or a person's decision."""
    if delay_seconds is None:
        return replace(job, retry_at=0, dead_state=DeadState.WAITING)
    return replace(job, retry_at=now + round(delay_seconds * 1000), dead_state=DeadState.SCHEDULED)


def decided(job: Job, verb: str, by: str, why: str, now: int) -> Job:
    """Record a decision about a job, with its author and reason."""
    decision = Decision(verb=verb, by=codec.cut(by, LONGEST_WHY), why=codec.cut(why, LONGEST_WHY), at=now)
    return replace(job, decisions=(*job.decisions, decision)[-DECISIONS:])


def is_due(job: Job, now: int) -> bool:
    """Check whether recovery must start the job again."""
    return job.dead_state == DeadState.SCHEDULED and 0 < job.retry_at <= now


def _opened(policy: str) -> dict[str, Any]:
    if not policy:
        return {}
    opened: dict[str, Any] = json.loads(policy)
    return opened
