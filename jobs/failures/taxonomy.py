"""Classify exceptions by kind, from the names of their classes; the cause decides before the exception that wraps it.

::

    the task's rules for its own exceptions ─▶ registered kinds ─▶ the exception's `failure_kind` ─▶ known libraries
    no result for the exception itself? ──▶ the same for what it wraps (`__cause__`, else `__context__`) ──▶ PERMANENT

An exception of a known library determines its kind itself, whatever it wraps. A general one (``RuntimeError``,
``ValueError``) or an unknown one is treated as a wrapper: the first exception behind it that has a kind decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.failures.known_errors import DATABASE_API, DRIVERS, KINDS, RULES
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import FailureKind

log = get_logger("jobclaim.jobs")

KindRule: TypeAlias = FailureKind | Callable[[BaseException], FailureKind | None]
"""A kind, or a function that inspects the exception and may leave the decision to other rules."""
LONGEST_CHAIN: Final = 20
"""Maximum number of chained exceptions that are inspected."""

_registered: Final[dict[str, dict[type[BaseException] | str, KindRule]]] = {}


def register_kind(exception: type[BaseException] | str, kind: KindRule | str, *, task: str = "") -> None:
    """Register the kind of an exception, which takes precedence over built-in kinds; also applies to derived classes.

    Parameters
    ----------
    exception : class or str
        The class, or its dotted name if it need not be importable: ``"stripe.error.RateLimitError"``.
    kind : FailureKind, str or callable
        The kind, or a function that takes the exception and returns a kind, or ``None`` to leave the decision to other
        rules. A function that raises, or returns anything else, is logged and skipped.
    task : str
        Task to which the kind applies; default: all tasks.

    Raises
    ------
    InvalidInput
        Not an exception, or not a kind.
    """
    if not (isinstance(exception, str) and exception) and not (
        isinstance(exception, type) and issubclass(exception, BaseException)
    ):
        raise InvalidInput(f"{exception!r} is not an exception class; pass the class, or its dotted name")
    if not callable(kind):
        try:
            kind = FailureKind(kind)
        except ValueError:
            names = [str(known) for known in FailureKind]
            raise InvalidInput(f"kind={kind!r} of {exception!r} is not a failure kind; use one of {names}") from None
    _registered.setdefault(task, {})[exception] = kind


def classify(error: BaseException, task: str = "") -> FailureKind:
    """Return the kind of an exception that was raised in a task."""
    for link in _chain(error):
        kind = _kind_of(link, task)
        if kind is not None:
            return kind
    return FailureKind.PERMANENT


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and its causes, outermost first; a cycle ends the chain."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < LONGEST_CHAIN:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _kind_of(error: BaseException, task: str) -> FailureKind | None:
    """Return the kind of the exception itself; ``None`` if it may only be a wrapper."""
    for scope in dict.fromkeys((task, "")):
        if (kind := _by_rules(error, _registered.get(scope, {}))) is not None:
            return kind
    if (kind := _own_kind(error)) is not None:
        return kind
    if isinstance(error, BaseExceptionGroup):
        return _kind_of_group(error, task)
    for base in type(error).__mro__:
        if (kind := _known(error, base)) is not None:
            return kind
    return None


def _own_kind(error: BaseException) -> FailureKind | None:
    """Return the exception's ``failure_kind``, a kind or its name; any other value is logged and ignored.

    It may be a property defined by the user, and may raise anything.
    """
    own = None
    try:
        own = getattr(error, "failure_kind", None)
        return FailureKind(own) if own else None
    except Exception as broken:  # noqa: BLE001
        kind, known = str(own) if isinstance(own, str) else type(own).__name__, ", ".join(FailureKind)
        _log_broken_rule(error, broken, f"its failure_kind raised, or is not one of {known}", kind=kind)
        return None


def _kind_of_group(group: BaseExceptionGroup[BaseException], task: str) -> FailureKind | None:
    """Return the kind that all errors of a group share, else the worst: a retry fails as long as one of them
    persists.
    """
    kinds = {classify(error, task) for error in group.exceptions}
    order = [FailureKind.PERMANENT, FailureKind.CONFIGURATION, FailureKind.TIMEOUT, FailureKind.EXTERNAL]
    return next((kind for kind in order if kind in kinds), min(kinds))


def _by_rules(error: BaseException, rules: Mapping[type[BaseException] | str, KindRule]) -> FailureKind | None:
    if not rules:
        return None
    for base in type(error).__mro__:
        rule = rules.get(base) or rules.get(_name(base))
        if rule is not None and (kind := _kind_by_rule(rule, error)) is not None:
            return kind
    return None


def _kind_by_rule(rule: KindRule, error: BaseException) -> FailureKind | None:
    """Return the result of a user's rule; a rule that fails is ignored, because the attempt's end must be written."""
    if isinstance(rule, FailureKind):
        return rule
    try:
        kind = rule(error)
        return FailureKind(kind) if kind else None
    except Exception as broken:  # noqa: BLE001
        _log_broken_rule(
            error,
            broken,
            f"{getattr(rule, '__qualname__', type(rule).__name__)} raised, or did not return a kind",
        )
        return None


def _log_broken_rule(error: BaseException, broken: Exception, reason: str, **more: str) -> None:
    log.warning(
        "failure.classifier_failed",
        exception=type(error).__name__,
        error=type(broken).__name__,
        reason=reason,
        **more,
    )


def _known(error: BaseException, base: type) -> FailureKind | None:
    name = _name(base)
    kind = None
    with suppress(Exception):  # no rule; or an exception built by hand, without attributes that its library always sets
        kind = RULES[name](error)
    if kind is None:
        kind = KINDS.get(name)
    if kind is None and base.__module__.partition(".")[0] in DRIVERS:
        kind = DATABASE_API.get(base.__name__)
    return kind


def _name(base: type) -> str:
    return f"{base.__module__}.{base.__qualname__}".removeprefix("builtins.")
