"""Linked jobs: a job's parent and root, its callbacks, the rest of its chain, its chord and group."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from jobclaim.jobs import Job
from jobclaim.jobs.storage.edits import Edited
from jobclaim.workers.messages.envelope import unseal

MOST: Final = 12
"""Most linked jobs whose states are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A linked job.

    Attributes
    ----------
    relation : str
        ``edited from``, ``edited as``, ``root``, ``parent``, ``next`` (next in the chain), ``later`` (further on in the
        chain), ``callback``, ``on failure``, ``chord`` (runs when all members have ended).
    job_id : str
        Empty if it gets its id later.
    status : str
        Empty if it is not a job yet, or unknown.
    """

    relation: str
    job_id: str
    task: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """All linked jobs of a job."""

    before: tuple[Link, ...] = ()
    after: tuple[Link, ...] = ()
    group_id: str = ""
    group_index: int | None = None

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.group_id)

    def job_ids(self) -> list[str]:
        """Return the ids of the jobs whose states should be read."""
        return list(dict.fromkeys(link.job_id for link in (*self.before, *self.after) if link.job_id))[:MOST]

    def with_states(self, jobs: Mapping[str, Job]) -> Links:
        """Return the links with the states that were read."""

        def known(link: Link) -> Link:
            job = jobs.get(link.job_id)
            return replace(link, status=str(job.status), task=job.task) if job else link

        return replace(self, before=tuple(map(known, self.before)), after=tuple(map(known, self.after)))


def links_of(job: Job, edited: Edited = Edited()) -> Links:  # noqa: B008 - a frozen value
    """Read a job's links from its envelope, none if that cannot be read, and those to its edited retries."""
    origin = [Link(relation="edited from", job_id=edited.edited_from)] if edited.edited_from else []
    retries = [Link(relation="edited as", job_id=job_id) for job_id in reversed(edited.edited_as)]
    try:
        options = unseal(job.envelope)
    except (ValueError, TypeError, zlib.error):  # written by hand, or by a newer version
        options = {}
    index = options.get("group_index")
    return Links(
        before=(*origin, *_before(options, job.job_id)),
        after=(*retries, *_after(options)),
        group_id=str(options.get("group_id") or ""),
        group_index=index if isinstance(index, int) else None,
    )


def _before(options: Mapping[str, Any], own: str) -> Iterator[Link]:
    root, parent = options.get("root_id"), options.get("parent_id")
    if isinstance(root, str) and root not in (own, parent):
        yield Link(relation="root", job_id=root)
    if isinstance(parent, str) and parent != own:
        yield Link(relation="parent", job_id=parent)


def _after(options: Mapping[str, Any]) -> Iterator[Link]:
    for number, step in enumerate(reversed(_list(options.get("chain")))):  # Celery stores the next one last
        yield _link("later" if number else "next", step)
    for option, relation in (("link", "callback"), ("link_error", "on failure"), ("chord", "chord")):
        for step in _list(options.get(option)):
            yield _link(relation, step)


def _link(relation: str, signature: Any) -> Link:
    if not isinstance(signature, Mapping):
        return Link(relation=relation, job_id="", task=str(signature))
    options = signature.get("options")
    job_id = options.get("task_id") if isinstance(options, Mapping) else None
    return Link(relation=relation, job_id=str(job_id or ""), task=str(signature.get("task") or ""))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
