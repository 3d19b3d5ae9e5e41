"""The fleet table in one read: workers, breakers, counts, alerts. It is small, so one bounded scan reads it all.

The table holds a record per worker, per breaker and per five minutes of a day, however many jobs there are. All pages
share one read per second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from jobclaim.dashboard.meter import Budget, current
from jobclaim.dashboard.services import Services
from jobclaim.fleet import alerts, breaker
from jobclaim.fleet.alerts import published_in
from jobclaim.fleet.breaker import BreakerState, state_in
from jobclaim.fleet.by_hand import RunByHand, runs_in
from jobclaim.fleet.tally import Window, windows_in
from jobclaim.fleet.workers import WorkerRecord, workers_in
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item
from jobclaim.jobs.storage.pauses import Pauses, pauses_in
from jobclaim.settings import Settings
from jobclaim.specs.agreement import compare

PAGES: Final = 2
"""Most pages of a megabyte that one view reads: several thousand workers."""
PAGE_UNITS: Final = 128.5
"""Read units of a page of the scan at its largest."""
BUDGET: Final = Budget(requests=PAGES, read_units=PAGES * PAGE_UNITS)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that was raised and not cleared; ``since`` is epoch milliseconds."""

    name: str
    text: str
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Contents of the fleet table.

    Attributes
    ----------
    workers : tuple of WorkerRecord
        Longest running first.
    windows : tuple of Window
        Oldest first, at most a day; five minutes in which nothing was submitted are missing.
    evaluated_at : int
        When recovery last evaluated the alerts, epoch milliseconds; 0 for never.
    more : bool
        Whether the table is larger than one view reads.
    pauses : Pauses
    by_hand : mapping of str to RunByHand
        The last run by hand, by schedule.
    """

    workers: tuple[WorkerRecord, ...] = ()
    breakers: tuple[BreakerState, ...] = ()
    windows: tuple[Window, ...] = ()
    alerts: tuple[Alert, ...] = ()
    evaluated_at: int = 0
    more: bool = False
    pauses: Pauses = field(default_factory=Pauses)
    by_hand: Mapping[str, RunByHand] = field(default_factory=dict)

    def alive(self, now: int, dead_after_seconds: int) -> tuple[WorkerRecord, ...]:
        """Return the live workers: those with a recent heartbeat."""
        return tuple(one for one in self.workers if not one.is_lost(now, dead_after_seconds))


def read(services: Services) -> Fleet:
    """Read the fleet table, or reuse another viewer's read of the last second. Raises `StoreUnavailable`."""
    return services.shared.get("fleet", lambda: _read(services))


def differing(living: Sequence[WorkerRecord], settings: Settings) -> str:
    """Describe which workers' settings differ from each other or from the dashboard's; empty if none do."""
    found = compare({one.worker_id: one.digest for one in living}, settings.digest, caller="the dashboard")
    return found.text if found.differs else ""


def _read(services: Services) -> Fleet:
    items: list[Item] = []
    meter = current()
    for number, (page, is_last) in enumerate(services.fleet.pages(), start=1):
        items += page
        if is_last:
            return of_items(items, services.clock(), more=False)
        if number == PAGES or (meter is not None and not meter.room(1, PAGE_UNITS)):
            break
    return of_items(items, services.clock(), more=True)


def of_items(items: list[Item], now: int, *, more: bool = False) -> Fleet:
    """Sort the table's items by kind; items of an unknown kind are skipped."""
    keyed = {str(item[schema.FLEET_KEY]["S"]): item for item in items}
    evaluated_at, published = published_in(keyed.get(alerts.KEY, {}))
    alerted = [Alert(name, one.text, one.since) for name, one in published.items()]
    return Fleet(
        workers=tuple(workers_in(items)),
        breakers=tuple(_each(keyed, breaker.PREFIX, partial(state_in, now=now))),
        windows=tuple(windows_in(items)),
        alerts=tuple(sorted(alerted, key=lambda one: one.since)),
        evaluated_at=evaluated_at,
        more=more,
        pauses=pauses_in(items),
        by_hand=runs_in(items),
    )


def _each(keyed: Mapping[str, Item], prefix: str, make: Callable[[str, Item], Any]) -> list[Any]:
    return [make(key.removeprefix(prefix), item) for key, item in sorted(keyed.items()) if key.startswith(prefix)]
