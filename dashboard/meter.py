"""Cost of a page view: its requests to DynamoDB and SQS and its read units, checked against a budget.

::

    page view ──▶ Meter in a context variable ◀── Metered client counts each request and its ConsumedCapacity
                  room()?  the query stops and pages     over budget: OverBudget, before the request is made

Work that runs outside a page view (a group action in its thread) is not metered here.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from jobclaim.jobs import JobError

READS: Final = frozenset({"get_item", "batch_get_item", "query", "scan"})


@dataclass(frozen=True, slots=True)
class Budget:
    """Most that a page view may cost, however large the tables are.

    Attributes
    ----------
    requests : int
        Requests to DynamoDB and SQS together.
    read_units : float
        Read units as DynamoDB reports them.
    """

    requests: int
    read_units: float = 0

    def __add__(self, other: Budget) -> Budget:
        return Budget(self.requests + other.requests, self.read_units + other.read_units)


class OverBudget(JobError):
    """A page view would exceed its budget."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(
            f"this page would need more than its budget of {budget.requests} requests and {budget.read_units:g} read "
            "units; narrow the filters. This is a bug, because pages should stop in time: please report it"
        )


@dataclass(slots=True)
class Meter:
    """Counts the cost of one page view; thread-safe.

    Attributes
    ----------
    shared_ms : int or None
        Age of the data, if this view uses what another viewer has just read.
    remembered : dict
        Data that this view has read through `jobclaim.dashboard.sharing.Shared`, by key.
    """

    budget: Budget
    requests: int = 0
    read_units: float = 0.0
    shared_ms: int | None = None
    remembered: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def room(self, requests: int = 1, read_units: float = 0.0) -> bool:
        """Return whether this much more fits into the budget."""
        return (
            self.requests + requests <= self.budget.requests and self.read_units + read_units <= self.budget.read_units
        )

    def start(self) -> None:
        """Count a request before it is made. Raises `OverBudget` instead of exceeding."""
        with self._lock:
            if self.requests >= self.budget.requests or self.read_units > self.budget.read_units:
                raise OverBudget(self.budget)
            self.requests += 1

    def consumed(self, read_units: float) -> None:
        """Count the cost of a response."""
        with self._lock:
            self.read_units += read_units

    def words(self) -> str:
        """Describe the cost, for the page's footer."""
        known = f"{self.requests} of {self.budget.requests} requests"
        units = f"{self.read_units:g} of {self.budget.read_units:g} read units"
        shared = f"; shared with a view {self.shared_ms} ms ago" if self.shared_ms is not None else ""
        return f"{known}, {units}{shared}"


_current: ContextVar[Meter | None] = ContextVar("dashboard_meter", default=None)


def current() -> Meter | None:
    """Return the meter of the current page view."""
    return _current.get()


@contextmanager
def metered(budget: Budget) -> Iterator[Meter]:
    """Meter the block, in this thread and in those of `Services.together`."""
    token = _current.set(meter := Meter(budget))
    try:
        yield meter
    finally:
        _current.reset(token)


class Metered:
    """A boto3 client whose requests are counted by the current meter.

    Parameters
    ----------
    client
        A boto3 client, or an equivalent.
    capacity : bool
        Whether it is DynamoDB's, which reports consumed capacity.
    """

    def __init__(self, client: Any, *, capacity: bool) -> None:
        self._client = client
        self._capacity = capacity

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name.startswith("_") or name in ("meta", "exceptions") or not callable(found):
            return found
        return partial(self._ask, found, self._capacity and name in READS)

    def _ask(self, request: Any, reads: bool, /, **arguments: Any) -> Any:
        meter = current()
        if meter is None:
            return request(**arguments)
        meter.start()
        if not reads:
            return request(**arguments)
        answer = request(**{**arguments, "ReturnConsumedCapacity": "TOTAL"})
        meter.consumed(_units(answer.get("ConsumedCapacity")))
        return answer


def _units(consumed: Any) -> float:
    """Sum the cost of one response, of one table or, for a batch, of several."""
    rows = consumed if isinstance(consumed, list) else [consumed] if consumed else []
    return float(sum(row.get("CapacityUnits", 0) for row in rows))
