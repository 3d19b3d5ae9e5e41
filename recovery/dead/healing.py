"""How well automatic retries of dead letters do: how many of those that ended in the last day completed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobclaim.fleet.tally import Window, windows_in
from jobclaim.fleet.workers import FleetRecords
from jobclaim.jobs.storage.records import HasTable


@dataclass(frozen=True, slots=True)
class Healing:
    """Automatic retries that ended within the day for which the fleet's counts are kept.

    Attributes
    ----------
    healed, failed_again : int
        Automatic retries that completed, and those that failed.
    """

    healed: int = 0
    failed_again: int = 0

    @property
    def rate(self) -> float | None:
        """Return the share that completed, from 0 to 1; ``None`` if no retry has ended."""
        ended = self.healed + self.failed_again
        return self.healed / ended if ended else None


def healing(repo: HasTable) -> Healing:
    """Read the counts of the last day: a scan of the small fleet table. Raises `StoreUnavailable`."""
    return healing_of(windows_in(item for items, _ in FleetRecords.of(repo).pages() for item in items))


def healing_of(windows: Iterable[Window]) -> Healing:
    """Add up windows of five minutes."""
    known = list(windows)
    return Healing(sum(each.healed for each in known), sum(each.failed_again for each in known))
