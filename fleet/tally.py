"""Reads what the whole fleet counted for alerts; `jobclaim.jobs.storage.counters` counts and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, number_in, text_in
from jobclaim.jobs.storage.counters import PREFIX, WINDOW_MS, Counters, window_key

COUNTERS: Final = ("submitted", "duplicates", "critical", "healed", "failed_again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the fleet counted in the current window and the one before.

    Attributes
    ----------
    critical : int
        Failures of critical tasks.
    healed, failed_again : int
        Automatic retries of dead letters that completed, and those that failed.
    last_task, last_job : str
        Task and job id of the most recent failure of a critical task.
    """

    submitted: int = 0
    duplicates: int = 0
    critical: int = 0
    healed: int = 0
    failed_again: int = 0
    last_task: str = ""
    last_job: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """What the fleet counted in five minutes; ``at`` is when they began, in epoch milliseconds."""

    at: int
    submitted: int = 0
    duplicates: int = 0
    critical: int = 0
    healed: int = 0
    failed_again: int = 0


class Tally(Counters):
    """Adds to the fleet's counters, and reads them."""

    def read(self) -> Counts:
        """Return the counts of the current window and the one before. Raises `StoreUnavailable`."""
        now = self._clock()
        totals: Counter[str] = Counter()
        last = {"last_task": "", "last_job": ""}
        for key in (window_key(now - WINDOW_MS), window_key(now)):
            answer = self._ask(lambda key=key: self._client().get_item(TableName=self._table, Key=key))  # type: ignore[misc]
            item = answer.get("Item", {})
            totals.update({name: number_in(item, name) for name in COUNTERS})
            last.update({name: text for name in last if (text := text_in(item, name))})
        return Counts(**{name: totals[name] for name in COUNTERS}, **last)  # type: ignore[arg-type]


def window_in(name: str, item: Item) -> Window:
    """Read the counts of five minutes; the name of the record is the time when they began."""
    return Window(int(name), **{counter: number_in(item, counter) for counter in COUNTERS})


def windows_in(items: Iterable[Item]) -> list[Window]:
    """Pick the counts from records of the fleet table, oldest first; they are kept for a day."""
    keyed = {str(item[schema.FLEET_KEY]["S"]): item for item in items}
    named = {key.removeprefix(PREFIX): item for key, item in keyed.items() if key.startswith(PREFIX)}
    found = [window_in(name, item) for name, item in named.items() if name.isdecimal()]
    return sorted(found, key=lambda window: window.at)
