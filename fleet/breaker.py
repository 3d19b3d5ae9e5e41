"""Circuit breakers shared by the whole fleet: one small record per external service in the fleet table.

::

    closed ── failures in a row, within a window ──▶ open ── `open_seconds` ──▶ half open: one probe, no other calls
       ▲                                              ▲                             │
       └───────────────── it succeeded ───────────────┼─────────────────────────────┤
                                                      └──────── it failed ──────────┘

A process caches what it read for a few seconds, and an opening until its probe: a breaker that is asked a thousand
times a second costs one read per process every few seconds. A process that has not yet seen the opening learns of it
from its own first failure, because that write returns the record: after a breaker opened, at most one call per process
reaches the service, besides the probes.

Times are taken from the caller's clock. A time that only a clock more than a minute ahead can have written is ignored:
such an opening is due for its probe, such a probe is abandoned, and such a count of failures starts again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs import checks
from jobclaim.jobs.clock import BELIEVED_AHEAD_MS, Clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute, number_in
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.locks import ProcessLock
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.records import Records

log = get_logger("jobclaim.worker")

PREFIX: Final = "#breaker#"
TRUSTED_MS: Final = 5_000
"""How long a process trusts what it read."""
KEPT_SECONDS: Final = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a service counts as unavailable. Equal names are one breaker across all tasks and workers.

    Attributes
    ----------
    failures : int
        Consecutive failures within ``window_seconds`` that open it.
    open_seconds : float
        Time until one call probes whether the service is available again.
    probe_seconds : float
        Time after which a probe without a result is abandoned.
    """

    name: str
    failures: int = 5
    window_seconds: float = 60.0
    open_seconds: float = 30.0
    probe_seconds: float = 120.0

    def __post_init__(self) -> None:
        checks.text(self.name, "breaker", 200)
        if isinstance(self.failures, bool) or self.failures < 1:
            raise InvalidInput(f"breaker {self.name!r}: failures={self.failures!r} must be at least 1")
        for name in ("window_seconds", "open_seconds", "probe_seconds"):
            if not 0 < getattr(self, name) <= 86_400:
                raise InvalidInput(
                    f"breaker {self.name!r}: {name}={getattr(self, name)!r} must be above 0, at most a day"
                )


@dataclass(frozen=True, slots=True)
class View:
    """A record as it was read. Times are epoch milliseconds, 0 for none."""

    read_at: int
    streak: int = 0
    open_until: int = 0
    probe_until: int = 0


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The state of one circuit breaker.

    Attributes
    ----------
    state : str
        ``closed``; ``open``: no call is allowed; ``half open``: one probe is allowed.
    streak : int
        Consecutive failures so far.
    open_until : int
        Epoch milliseconds, 0 for none.
    """

    name: str
    state: str
    streak: int
    open_until: int


class Breakers(Records):
    """Reads and updates the breakers of one fleet table; thread-safe. All methods raise `StoreUnavailable`.

    Parameters
    ----------
    client : callable
        Returns a boto3 DynamoDB client of this process.
    """

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._views: dict[str, View] = {}
        self._lock = ProcessLock()

    def ask(self, breaker: Breaker) -> int:
        """Return 0 if a call may be made now, perhaps as a probe; else when to ask again, in epoch milliseconds."""
        now = self._clock()
        view = self._views.get(breaker.name)
        if view is not None and _is_open(breaker, view, now):
            # no probe was due, so it is still open; a read could return the record from before it opened
            return view.open_until
        if view is None or not 0 <= now - view.read_at < TRUSTED_MS:  # the clock may have been put back
            view = self._read(breaker)
        if not view.open_until:
            return 0
        if _is_open(breaker, view, now):
            return view.open_until
        return self._probe(breaker, view, now)

    def failed(self, breaker: Breaker) -> int:
        """Record a failure that is the service's fault; return until when the breaker is now open, or 0."""
        now = self._clock()
        view = self._count(breaker, now)
        if _is_open(breaker, view, now):
            return view.open_until
        if not view.open_until and view.streak < breaker.failures:
            return 0
        return self._open(breaker, view, now)

    def succeeded(self, breaker: Breaker) -> None:
        """Record a success: no request if there was no failure before. Only a probe's success closes a breaker."""
        view = self._views.get(breaker.name)
        if view is None or not (view.streak or view.open_until) or _is_open(breaker, view, self._clock()):
            return
        condition = "open_until = :seen" if view.open_until else "attribute_not_exists(open_until)"
        values = {":seen": attribute(view.open_until)} if view.open_until else {}
        applied, view_now = self._update(
            breaker, "REMOVE open_until, probe_until, streak, streak_at", condition, values, now=self._clock()
        )
        self._keep(breaker, view_now)
        if applied and view.open_until:
            log.warning("breaker.closed", breaker=breaker.name)

    # --- requests
    def _read(self, breaker: Breaker) -> View:
        answer = self._ask(lambda: self._client().get_item(TableName=self._table, Key=_key(breaker)))
        return self._keep(breaker, _view(answer.get("Item"), self._clock()))

    def _count(self, breaker: Breaker, now: int) -> View:
        one = {":one": attribute(1)}
        since = {
            ":since": attribute(now - round(breaker.window_seconds * 1000)),
            ":ahead": attribute(now + BELIEVED_AHEAD_MS),
        }
        counting = "streak_at BETWEEN :since AND :ahead"
        first = {":now": attribute(now)}
        applied, view = self._update(breaker, "ADD streak :one", counting, since | one, now=now)
        if not applied:
            idle = f"attribute_not_exists(streak_at) OR NOT {counting}"
            applied, view = self._update(
                breaker, "SET streak = :one, streak_at = :now", idle, since | one | first, now=now
            )
        if not applied:  # another process has just written the first failure: this is the next one
            _, view = self._update(breaker, "ADD streak :one", "", one, now=now)
        return self._keep(breaker, view)

    def _open(self, breaker: Breaker, view: View, now: int) -> int:
        until = now + round(breaker.open_seconds * 1000)
        condition = "open_until = :seen" if view.open_until else "attribute_not_exists(open_until)"
        values = {":until": attribute(until)} | ({":seen": attribute(view.open_until)} if view.open_until else {})
        applied, view_now = self._update(
            breaker, "SET open_until = :until REMOVE probe_until", condition, values, now=now
        )
        if applied:
            log.error("breaker.opened", breaker=breaker.name, failures=view.streak, open_seconds=breaker.open_seconds)
        return self._keep(breaker, view_now).open_until

    def _probe(self, breaker: Breaker, view: View, now: int) -> int:
        values = {
            ":seen": attribute(view.open_until),
            ":now": attribute(now),
            ":until": attribute(now + round(breaker.probe_seconds * 1000)),
            ":wild": attribute(now + round(breaker.probe_seconds * 1000) + BELIEVED_AHEAD_MS),
        }
        applied, view_now = self._update(
            breaker,
            "SET probe_until = :until",
            "open_until = :seen AND (attribute_not_exists(probe_until) OR probe_until <= :now OR probe_until > :wild)",
            values,
            now=now,
        )
        self._keep(breaker, view_now)
        if applied or not view_now.open_until:
            return 0
        opens = view_now.open_until if _is_open(breaker, view_now, now) else 0
        return max(opens, now + min(TRUSTED_MS, round(breaker.open_seconds * 1000)))

    def _update(
        self, breaker: Breaker, expression: str, condition: str, values: Mapping[str, Any], *, now: int
    ) -> tuple[bool, View]:
        """Write conditionally; return whether the condition held, and the record after the write."""
        verb, _, rest = expression.partition("SET ")
        kept = f"SET #ttl = :ttl{', ' + rest if rest else ''} {verb}"
        applied, item = self._write(
            "update_item",
            Key=_key(breaker),
            UpdateExpression=kept.strip(),
            ExpressionAttributeNames={"#ttl": schema.FLEET_TTL},
            ExpressionAttributeValues={**values, ":ttl": attribute(now // 1000 + KEPT_SECONDS)},
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
            **({"ConditionExpression": condition} if condition else {}),
        )
        return applied, _view(item, now)

    def _keep(self, breaker: Breaker, view: View) -> View:
        with self._lock:
            self._views[breaker.name] = view
        return view


def _is_open(breaker: Breaker, view: View, now: int) -> bool:
    """Check whether the breaker blocks calls. A time further ahead than any plausible clock writes is ignored."""
    return now < view.open_until <= now + round(breaker.open_seconds * 1000) + BELIEVED_AHEAD_MS


def _key(breaker: Breaker) -> Item:
    return {schema.FLEET_KEY: attribute(f"{PREFIX}{breaker.name}")}


def state_in(name: str, item: Item, now: int) -> BreakerState:
    """Read a breaker's record for display."""
    view = _view(item, now)
    state = "closed" if not view.open_until else "open" if now < view.open_until else "half open"
    return BreakerState(name, state, view.streak, view.open_until)


def _view(item: Mapping[str, Any] | None, now: int) -> View:
    return View(now, **{name: number_in(item or {}, name) for name in ("streak", "open_until", "probe_until")})
