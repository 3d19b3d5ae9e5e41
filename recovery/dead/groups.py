"""Groups of dead letters with the same cause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobclaim.jobs.model import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dead letters with the same cause.

    Attributes
    ----------
    first_at, last_at : int
        When the first and the last of them failed, epoch milliseconds.
    sample : str
        Id of one of them.
    """

    fingerprint: str
    kind: str
    exception: str
    where: str
    task: str
    count: int
    first_at: int
    last_at: int
    sample: str
    message: str


def grouped(jobs: Iterable[Job]) -> list[Group]:
    """Group dead letters by their fingerprints, the largest group first."""
    groups: dict[str, Group] = {}
    for job in jobs:
        mark = job.failure.fingerprint if job.failure else ""
        groups[mark] = _with(groups.get(mark), job, mark)
    return sorted(groups.values(), key=lambda group: -group.count)


def _with(group: Group | None, job: Job, mark: str) -> Group:
    failure, at = job.failure, job.finished_at
    return Group(
        fingerprint=mark,
        kind=str(failure.kind) if failure else "",
        exception=failure.exception if failure else "",
        where=failure.where if failure else "",
        task=job.task if group is None or group.task == job.task else "several",
        count=1 + (group.count if group else 0),
        first_at=min(at, group.first_at) if group else at,
        last_at=max(at, group.last_at) if group else at,
        sample=group.sample if group else job.job_id,
        message=group.message if group else (failure.message if failure else ""),
    )
