"""The fleet table in one look: workers, breakers, counts, alerts. It is small, so one bounded scan brings it all.

The table holds a record per worker, per breaker and per five minutes of a day, however many jobs there are. All pages
that show something of it share one read of the last second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.dashboard.meter import Budget, Meter, current
from jobclaim.dashboard.services import Services
from jobclaim.fleet import breaker, tally
from jobclaim.fleet.workers import WorkerRecord, record_of
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item
from jobclaim.jobs.storage import counters
from jobclaim.jobs.storage.resilience import persistently
from jobclaim.recovery import alerts
from jobclaim.settings import Settings
from jobclaim.specs.agreement import compare

PAGES: Final = 2
"""Pages of a megabyte that one view reads: several thousand workers."""
PAGE_UNITS: Final = 128.5
"""Read units of a page of the scan at its largest."""
BUDGET: Final = Budget(requests=PAGES, read_units=PAGES * PAGE_UNITS)


@dataclass(frozen=True, slots=True)
class BreakerState:
    """One circuit breaker.

    Attributes
    ----------
    state : str
        ``closed``; ``open``: nobody calls the service; ``half open``: one probe may.
    streak : int
        Failures in a row so far.
    open_until : int
        Epoch milliseconds, 0 for none.
    """

    name: str
    state: str
    streak: int
    open_until: int


@dataclass(frozen=True, slots=True)
class Window:
    """What the fleet counted in five minutes; ``at`` is their beginning, epoch milliseconds."""

    at: int
    submitted: int = 0
    duplicates: int = 0
    critical: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that was raised and not cleared; ``since`` is epoch milliseconds."""

    name: str
    text: str
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The fleet table as it was read.

    Attributes
    ----------
    workers : tuple of WorkerRecord
        Longest running first.
    windows : tuple of Window
        Oldest first, at most a day; five minutes in which nothing was submitted are missing.
    evaluated_at : int
        When recovery last looked whether there is something to alert about, epoch milliseconds; 0 for never.
    more : bool
        Whether the table is larger than one view reads.
    """

    workers: tuple[WorkerRecord, ...] = ()
    breakers: tuple[BreakerState, ...] = ()
    windows: tuple[Window, ...] = ()
    alerts: tuple[Alert, ...] = ()
    evaluated_at: int = 0
    more: bool = False

    def alive(self, now: int, dead_after_seconds: int) -> tuple[WorkerRecord, ...]:
        """Workers that were seen recently enough."""
        return tuple(one for one in self.workers if now - one.seen_at < dead_after_seconds * 1000)


def read(services: Services) -> Fleet:
    """Read the fleet table, or what another viewer read within the last second. Raises `StoreUnavailable`."""
    return services.shared.get("fleet", lambda: _read(services))


def differing(living: Sequence[WorkerRecord], settings: Settings) -> str:
    """Say which workers have settings other than each other's or than the dashboard's; nothing where none has."""
    found = compare({one.worker_id: one.digest for one in living}, settings.digest, asker="the dashboard")
    return found.text if found.differs else ""


def _read(services: Services) -> Fleet:
    items: list[Item] = []
    request: dict[str, Any] = {"TableName": services.settings.fleet_table}
    meter = current()
    for _ in range(PAGES):
        answer = _scan(services, request)
        items += answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return of_items(items, services.clock(), more=False)
        if meter is not None and not _room(meter):
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    return of_items(items, services.clock(), more=True)


def _room(meter: Meter) -> bool:
    return meter.room(1, PAGE_UNITS)


def _scan(services: Services, request: Mapping[str, Any]) -> Mapping[str, Any]:
    def ask() -> Mapping[str, Any]:
        answer: Mapping[str, Any] = services.dynamodb.scan(**request)
        return answer

    return persistently(ask, clock=services.clock, sleep=services.repo.table.sleep)


def of_items(items: list[Item], now: int, *, more: bool = False) -> Fleet:
    """Sort the table's items out; what is of no known kind is passed over."""
    keyed = {str(item[schema.FLEET_KEY]["S"]): item for item in items}
    workers = [record_of(item) for key, item in keyed.items() if "seen_at" in item and not key.startswith("#")]
    known = keyed.get(alerts.KEY, {})
    return Fleet(
        workers=tuple(sorted(workers, key=lambda one: (one.started_at, one.worker_id))),
        breakers=tuple(_each(keyed, breaker.PREFIX, lambda name, item: _breaker(name, item, now))),
        windows=tuple(sorted(_each(keyed, counters.PREFIX, _window), key=lambda window: window.at)),
        alerts=_alerts(known),
        evaluated_at=_number(known, "evaluated_at"),
        more=more,
    )


def _each(keyed: Mapping[str, Item], prefix: str, make: Callable[[str, Item], Any]) -> list[Any]:
    return [make(key.removeprefix(prefix), item) for key, item in sorted(keyed.items()) if key.startswith(prefix)]


def _breaker(name: str, item: Item, now: int) -> BreakerState:
    until = _number(item, "open_until")
    state = "closed" if not until else "open" if now < until else "half open"
    return BreakerState(name, state, _number(item, "streak"), until)


def _window(name: str, item: Item) -> Window:
    return Window(int(name), *(_number(item, counter) for counter in tally.COUNTERS))


def _alerts(item: Item) -> tuple[Alert, ...]:
    try:
        said = json.loads(item["said"]["S"])
        found = [Alert(name, str(row["text"]), int(row["since"])) for name, row in said.items()]
    except (KeyError, ValueError, TypeError, AttributeError):
        return ()
    return tuple(sorted(found, key=lambda one: one.since))


def _number(item: Item, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0
