"""A delivery that notes what it is told, in the place of a worker's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobclaim.jobs import Job
from jobclaim.jobs.repo import delivery
from jobclaim.jobs.repo.store import Store
from jobclaim.jobs.storage.pauses import Pauses


class Watched(delivery.Delivery):
    """Notes what it is told.

    Parameters
    ----------
    known : Pauses, optional
        The pauses that the worker knows.
    """

    worker_id = "w"

    def __init__(self, known: Pauses | None = None) -> None:
        self.told: list[str] = []
        self._known = known

    def pauses(self) -> Pauses | None:
        return self._known

    def asks(self, job_id: str, token: str) -> None:
        self.told.append("asks")

    def refused(self, job_id: str, token: str) -> None:
        self.told.append("refused")

    def claimed(self, repo: Store, claim: Job) -> None:
        self.told.append("claimed")

    def ended(self, repo: Store, claim: Job, after: Job) -> None:
        self.told.append(f"ended {after.status}")

    def lost(self, claim: Job, reason: str) -> None:
        self.told.append("lost")


@contextmanager
def watching() -> Iterator[Watched]:
    """Put a delivery in a worker's place inside the block."""
    where = Watched()
    delivery.enter(where)
    yield where
    delivery.enter(delivery.NOWHERE)
