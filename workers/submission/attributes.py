"""Check a task's own attributes, before its first job is written and before a worker starts.

A misspelled attribute has no visible effect: the task runs without its limit. So names that are nearly one of
jobclaim's names are refused, and arguments that an attribute names must be arguments of the body.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from celery import Task

from jobclaim.fleet.limits import MAX_CONCURRENCY
from jobclaim.fleet.rates import RateLimit
from jobclaim.jobs import InvalidInput, checks
from jobclaim.jobs.checks import MAX_COUNT
from jobclaim.specs.refusals import did_you_mean
from jobclaim.workers.libraries import is_of_library
from jobclaim.workers.sealed import hides
from jobclaim.workers.submission.idempotency import OWNERS
from jobclaim.workers.submission.options import REFUSED

OF_AUTORETRY: Final = frozenset(
    {"autoretry_for", "dont_autoretry_for", "override_max_retries", "retry_backoff", "retry_backoff_max"}
    | {"retry_jitter", "retry_kwargs"}
)
"""Attributes that Celery reads and does not declare."""
OF_ROUTES: Final = frozenset({"queue", "routing_key"})
OF_CALLS: Final = frozenset({"idempotency_key", "countdown", "eta"})
"""Options of a call, which have no effect as attributes of a task."""
REFUSED_ATTRIBUTES: Final = frozenset(
    {"compression", "delivery_mode", "exchange", "exchange_type", "immediate", "mandatory", "priority", "serializer"}
)
ORPHANS: Final = "recovery finds a lost worker's jobs, and on_orphan decides what happens to them; remove it"
DELETED: Final = "the message is deleted when the task starts, however it ends; remove it"
AGAINST_THE_CLAIM: Final[Mapping[str, tuple[Any, str]]] = {
    "acks_on_failure": (True, DELETED),
    "acks_on_failure_or_timeout": (True, DELETED),
    "acks_on_timeout": (True, DELETED),
    "reject_on_worker_lost": (False, ORPHANS),
    "retry_on_worker_lost": (False, ORPHANS),
}
"""Attributes with the only value that they may have, and why others are refused."""
CLOSE: Final = 0.85
"""Similarity from which a name counts as a misspelling; users' own attributes are less similar."""
RETRY_OPTIONS: Final = frozenset({"args", "countdown", "eta", "kwargs", "max_retries", "queue", "throw"})


def problems(task: Any) -> list[str]:
    """List the problems in a task's attributes: those without an effect, or without the intended one."""
    return [problem for check in _CHECKS for problem in check(task)]


def given(task: Any) -> Iterator[tuple[str, Any]]:
    """Return the attributes that the task or its users' base classes set, without their methods.

    The class is read from `__class__`: by `type`, a task that is not evaluated yet is one of Celery's proxies.
    """
    for cls in task.__class__.__mro__:
        if cls is Task or (is_of_library(cls) and "run" not in vars(cls)):
            continue
        for name, value in vars(cls).items():
            if not name.startswith("_") and not _is_method(name, value):
                yield name, value


def _is_method(name: str, value: Any) -> bool:
    if isinstance(value, (property, classmethod, type)) or inspect.isdatadescriptor(value):
        return True
    plain = value.__func__ if isinstance(value, staticmethod) else value
    return isinstance(plain, types.FunctionType) and plain.__name__ == name


def _misspelt(task: Any) -> Iterator[str]:
    known = {name for name in dir(_jobs_own(task)) if not name.startswith("_")} | OF_AUTORETRY | OF_ROUTES
    for name, value in given(task):
        if name in OF_CALLS:
            yield f"{name}={value!r} is an option of a call, apply_async(..., {name}=...), and has no effect on a task"
        elif name not in known and (close := get_close_matches(name, sorted(known | OF_CALLS), n=1, cutoff=CLOSE)):
            yield f"unknown attribute {name}={value!r}, did you mean {close[0]!r}? Correct or rename it"


def _jobs_own(task: Any) -> type:
    """Return the nearest base class of jobclaim's: attributes that it lacks may be misspelt."""
    bases: tuple[type, ...] = task.__class__.__mro__
    ours = (cls for cls in bases if cls.__module__.startswith("jobclaim.") and "run" not in vars(cls))
    return next(cls for cls in ours if hasattr(cls, "idempotency_rules"))


def _without_effect(task: Any) -> Iterator[str]:
    same = {name: task.app.conf.get(f"task_{name}", None) for name in ("serializer", "compression")}
    same |= {"priority": task.app.conf.task_default_priority, "serializer": "json"}
    for name, value in given(task):
        if name in REFUSED_ATTRIBUTES and value not in (None, "", False, same.get(name)):
            yield f"{name}={value!r}: {REFUSED[name]}"
        if name in AGAINST_THE_CLAIM and value not in (None, AGAINST_THE_CLAIM[name][0]):
            yield f"{name}={value!r}: {AGAINST_THE_CLAIM[name][1]}"
        if name == "routing_key" and value not in (None, "", getattr(task, "queue", None)):
            yield f"routing_key={value!r}: SQS has no routing keys; name the queue instead, queue=..."


def _arguments(task: Any) -> Iterator[str]:
    """Describe the attributes that name arguments which the task does not have."""
    parameters = inspect.signature(task.run).parameters
    if any(known.kind is inspect.Parameter.VAR_KEYWORD for known in parameters.values()):
        return
    for attribute, names in _named(task).items():
        for name in names:
            if name not in parameters:
                yield (
                    f"{attribute}={name!r} is not an argument of the task{did_you_mean(str(name), parameters)}; its "
                    f"arguments are {list(parameters)}"
                )


def _named(task: Any) -> dict[str, list[Any]]:
    named: dict[str, list[Any]] = {}
    for attribute in ("concurrency_key", "fair_by", "idempotency_scope_argument"):
        value = getattr(task, attribute, None)
        if value is not None and not callable(value):
            named[attribute] = [value]
    chosen = getattr(task, "idempotency_key_from", None)
    if isinstance(chosen, (list, tuple)):
        named["idempotency_key_from"] = list(chosen)
    scope = getattr(task, "idempotency_scope", None)
    if scope in OWNERS and not getattr(task, "idempotency_scope_argument", None):
        named[f"idempotency_scope={scope!r}, and so idempotency_scope_argument"] = [OWNERS[scope]]
    return named


def _figures(task: Any) -> Iterator[str]:
    retries, limit = task.max_retries, task.concurrency_limit
    try:
        checks.tags(task.tags)
    except InvalidInput as error:
        yield str(error)
    if retries is not None and (type(retries) is not int or not 0 <= retries < MAX_COUNT):
        yield f"max_retries={retries!r} must be a whole number from 0 to {MAX_COUNT - 1:,}, or None for no limit"
    if task.concurrency_key is not None and not (type(limit) is int and 1 <= limit <= MAX_CONCURRENCY):
        yield f"concurrency_limit={limit!r} must be a whole number from 1 to {MAX_CONCURRENCY}"
    if task.rate_limit:
        try:
            RateLimit.parse(task.rate_limit, task.rate_burst)
        except InvalidInput as error:
            yield str(error)
    yield from _retry_kwargs(getattr(task, "retry_kwargs", None) or {})


def _retry_kwargs(options: Any) -> Iterator[str]:
    for name, value in options.items():
        if name not in RETRY_OPTIONS:
            yield f"retry_kwargs has the unknown option {name}={value!r}{did_you_mean(name, sorted(RETRY_OPTIONS))}"
    retries = options.get("max_retries")
    if retries is not None and (type(retries) is not int or not 0 <= retries < MAX_COUNT):
        yield f"retry_kwargs: max_retries={retries!r} must be a whole number from 0 to {MAX_COUNT - 1:,}"


_CHECKS: Final = (hides, _misspelt, _without_effect, _arguments, _figures)
